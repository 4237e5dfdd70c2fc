"""`[[tool.poetry.source]]`: which packages of a poetry.lock come from an index of the project's own, told to uv."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from colab_env import toml_text
from colab_env.locks import requirements_text

if TYPE_CHECKING:
    from packaging.requirements import Requirement

_DEFAULT = ("--index-url", "-i")
_INDEX = re.compile(r"(?m)^(--index-url|--extra-index-url|-i)[ =]+(\S+)[ \t]*\n?")
_HASH = re.compile(r"--hash[ =](\w+:[0-9a-f]+)")


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a lock file has one package from: the simple index, or page of links, at `url`, None for the default index.

    `name` is normalized, `hashes` are those of its files.
    """

    name: str
    version: str
    hashes: frozenset[str]
    url: str | None


def read(text: str) -> list[Source]:
    """Return where the packages of an index come from, or nothing if all are from the default one."""
    if 'type = "legacy"' not in text:  # a large file takes seconds to read
        return []
    packages = toml_text.parsed(text).get("package", [])
    return [
        Source(
            name=requirements_text.normalized(package["name"]),
            version=package["version"],
            hashes=frozenset(file["hash"] for file in package.get("files", [])),
            url=package.get("source", {}).get("url"),
        )
        for package in packages
        if package.get("source", {}).get("type", "legacy") == "legacy"
    ]


def with_sources(text: str, sources: Sequence[Source], *, project: str) -> tuple[str, str | None]:
    """Return the text, and a pyproject.toml that tells uv which packages come from which index, or None.

    uv asks such an index for these packages, and no other index for them; errors name the `project`. An index in the text stays
    if everything else comes from it; its name and password count for its packages too.
    """
    addresses = {_anonymous(match[2]): match[2] for match in _INDEX.finditer(text)}
    urls = {_anonymous(source.url) for source in sources if source.url}
    text = _INDEX.sub(lambda match: match[0] if match[1] in _DEFAULT and _anonymous(match[2]) in urls else "", text)
    chosen = [
        (requirement, url)
        for line, requirement in requirements_text.requirements(text)
        if (url := _url(line, requirement, sources)) is not None
    ]
    return text, _uv_sources(chosen, addresses, project) if chosen else None


def _url(line: str, requirement: Requirement, sources: Sequence[Source]) -> str | None:
    name, pins = requirements_text.normalized(requirement.name), requirements_text.pins(requirement)
    candidates = [source for source in sources if source.name == name and source.version in pins]
    # One version from two places, each for another marker: their files differ.
    hashes = set(_HASH.findall(line))
    return next((source.url for source in candidates if len(candidates) == 1 or hashes & source.hashes), None)


def _uv_sources(chosen: Sequence[tuple[Requirement, str]], addresses: Mapping[str, str], project: str) -> str:
    import tomlkit

    urls = list(dict.fromkeys(url for _, url in chosen))
    tables: dict[str, list[dict[str, str]]] = {}
    for requirement, url in chosen:
        marker = {"marker": str(requirement.marker)} if requirement.marker else {}
        tables.setdefault(requirement.name, []).append({"index": f"source-{urls.index(url)}", **marker})
    indexes = [
        {
            "name": f"source-{number}",
            "url": addresses.get(_anonymous(url), url),
            "explicit": True,
            # Poetry takes such an address for one page of links, as those of torch and jax are.
            **({"format": "flat"} if url.endswith((".html", ".htm")) else {}),
        }
        for number, url in enumerate(urls)
    ]
    # Not the project's own name, which may be that of a package.
    name = f"poetry-lock-of-{re.sub(r'[^a-z0-9]+', '-', project.lower()).strip('-')}".strip("-")
    table = {"name": name, "version": "0", "dependencies": [str(requirement) for requirement, _ in chosen]}
    return tomlkit.dumps({"project": table, "tool": {"uv": {"sources": tables, "index": indexes}}})


def _anonymous(url: str) -> str:
    return re.sub(r"(?<=://)[^/@]*@", "", url).rstrip("/")
