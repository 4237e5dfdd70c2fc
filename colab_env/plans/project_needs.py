"""Which versions a project itself accepts: PEP 621's lists, dependency groups (PEP 735), and Poetry's own tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name

from colab_env.errors import ProjectFileError
from colab_env.plans.distributions import accepts
from colab_env.pyproject import Pyproject
from colab_env.results import short

_POETRY_RANGE = re.compile(r"(\^|~(?![=]))\s*(\d+(?:\.\d+)*)(\S*)")


@dataclass(frozen=True, kw_only=True)
class Need:
    """What the project says about one distribution: any of some ranges, or None for an address, such as one of git."""

    name: str
    text: str
    ranges: tuple[SpecifierSet, ...] | None

    def accepts(self, version: str) -> bool:
        """Say whether a version fits."""
        return self.ranges is not None and any(accepts(specifier, version) for specifier in self.ranges)


def read(project: Pyproject, markers: Mapping[str, str], *, extras: Iterable[str] = ()) -> list[Need]:
    """Return what pyproject.toml asks for under these markers: its dependencies, all groups, and the named extras.

    Poetry's newest form has a list under [project] and more about the same names under [tool.poetry]: both count.
    """
    document = project.values
    try:
        return [*_standard(document, markers, extras), *_poetry(document.get("tool", {}).get("poetry", {}))]
    except (
        ValueError,
        KeyError,
        RecursionError,
    ) as error:  # a marker that compares what cannot be compared, such as 'a' < 'b'
        msg = f"{short(project.path)} asks for packages in a way that cannot be read: {error}"
        raise ProjectFileError(msg, hint="mend the file; nothing was changed") from error


def refusal(needs: Iterable[Need], name: str, version: str) -> str | None:
    """Return what the project says that a version of `name` does not fit, or None."""
    return next((need.text for need in needs if need.name == name and not need.accepts(version)), None)


def _standard(document: Mapping[str, Any], markers: Mapping[str, str], extras: Iterable[str]) -> Iterator[Need]:
    project = document.get("project", {})
    named = project.get("optional-dependencies", {})
    lists = [project.get("dependencies", []), *(named.get(extra, []) for extra in extras)]
    for line in (line for lines in (*lists, *document.get("dependency-groups", {}).values()) for line in lines):
        try:
            requirement = Requirement(line)
        except (InvalidRequirement, TypeError):  # {include-group = "..."} is in the other group's list
            continue
        if requirement.marker is None or requirement.marker.evaluate({**markers, "extra": ""}):
            ranges = None if requirement.url else (requirement.specifier,)
            text = requirement.url or str(requirement.specifier) or "any version"
            yield Need(name=canonicalize_name(requirement.name), text=text, ranges=ranges)


def _poetry(table: Mapping[str, Any]) -> Iterator[Need]:
    groups = (group.get("dependencies", {}) for group in table.get("group", {}).values())
    for named in (table.get("dependencies", {}), table.get("dev-dependencies", {}), *groups):
        needs = (_poetry_need(name, value) for name, value in named.items() if name != "python")
        yield from (need for need in needs if need is not None)


def _poetry_need(name: str, value: Any) -> Need | None:
    # Of several alternatives, each with a marker of its own, one that fits is enough.
    entries = value if isinstance(value, list) else [value]
    texts = [entry.get("version") if isinstance(entry, Mapping) else entry for entry in entries]
    versions = [text for text in texts if isinstance(text, str)]
    elsewhere = any(key in entry for entry in entries if isinstance(entry, Mapping) for key in ("git", "path", "url"))
    if not versions and not elsewhere:
        return None  # {source = "..."}: its versions are in PEP 621's list
    ranges = tuple(specifier for text in versions for specifier in poetry_ranges(text)) if versions else None
    return Need(name=canonicalize_name(name), text=" || ".join(versions) or "another place", ranges=ranges)


def poetry_ranges(text: str) -> list[SpecifierSet]:
    """Read Poetry's form of a range: alternatives of "^1.2", "~1.2", "1.2.*", "1.2.3", ">=1,<2" and "*".

    What cannot be read accepts everything: the check after the install has the last word.
    """
    return [_poetry_range(part.strip()) for part in text.split("||")]


def _poetry_range(text: str) -> SpecifierSet:
    parts = [part for part in re.split(r"\s*,\s*|\s+(?=[<>=!^~])", text) if part and part != "*"]
    specifiers = (_POETRY_RANGE.sub(_spell_out, part) for part in parts)
    try:
        return SpecifierSet(",".join(part if part[0] in "<>=!~" else f"=={part}" for part in specifiers))
    except InvalidSpecifier:
        return SpecifierSet()


def _spell_out(match: re.Match[str]) -> str:
    # ^ keeps the first part that is not zero, ~ the second one.
    parts = [int(part) for part in match[2].split(".")]
    if match[1] == "^":
        keep = next((number for number, part in enumerate(parts) if part), len(parts) - 1)
    else:
        keep = min(1, len(parts) - 1)
    upper = [*parts[:keep], parts[keep] + 1]
    return f">={match[2]}{match[3]},<{'.'.join(map(str, upper))}"
