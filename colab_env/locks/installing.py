"""Put what a lock file says into an environment: by uv, whatever the format.

Also `[[tool.poetry.source]]`: which packages come from an index of the project's own, told to uv.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from colab_env import _download, _file_locks, _files, index, toml_text, uv, wheels
from colab_env.errors import CommandError, NetworkError
from colab_env.locks import requirements_text
from colab_env.locks.uv_install import UvInstaller

if TYPE_CHECKING:
    from packaging.requirements import Requirement

    from colab_env.machine import Machine
    from colab_env.pyproject import Pyproject


_DEFAULT = ("--index-url", "-i")
_INDEX = re.compile(r"(?m)^(--index-url|--extra-index-url|-i)[ =]+(\S+)[ \t]*\n?")
_URL = re.compile(r'(?m)^url = "(https?://[^"]+)"$')  # as `_uv_sources` writes it
_HASH = re.compile(r"--hash[ =](\w+:[0-9a-f]+)")


@dataclass(frozen=True, kw_only=True)
class PoetrySource:
    """Where a lock file has one package from: the simple index, or page of links, at `url`, None for the default index.

    `name` is normalized, `hashes` are those of its files.
    """

    name: str
    version: str
    hashes: frozenset[str]
    url: str | None


def poetry_sources(text: str) -> list[PoetrySource]:
    """Return where the packages of an index come from, or nothing if all are from the default one."""
    if 'type = "legacy"' not in text:  # a large file takes seconds to read
        return []
    packages = toml_text.parsed(text).get("package", [])
    return [
        PoetrySource(
            name=requirements_text.normalized(package["name"]),
            version=package["version"],
            hashes=frozenset(file["hash"] for file in package.get("files", [])),
            url=package.get("source", {}).get("url"),
        )
        for package in packages
        if package.get("source", {}).get("type", "legacy") == "legacy"
    ]


def with_sources(text: str, sources: Sequence[PoetrySource], *, project: str) -> tuple[str, str | None]:
    """Return the text, and a pyproject.toml that tells uv which packages come from which index, or None.

    uv asks such an index for these packages, and no other index for them; errors name the `project`. An index in the text stays
    if everything else comes from it; its name and password count for its packages too.
    """
    addresses = {_anonymous(match[2]): match[2] for match in _INDEX.finditer(text)}
    urls = {_anonymous(source.url) for source in sources if source.url}
    # Of the text's own index lines a default one stays that the sources name; uv is told the others by package.
    text = _INDEX.sub(lambda match: match[0] if match[1] in _DEFAULT and _anonymous(match[2]) in urls else "", text)
    chosen = [
        (requirement, url)
        for line, requirement in requirements_text.requirements(text)
        if (url := _url(line, requirement, sources)) is not None
    ]
    return text, _uv_sources(chosen, addresses, project) if chosen else None


def _url(line: str, requirement: Requirement, sources: Sequence[PoetrySource]) -> str | None:
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


_TRUSTED = re.compile(r"(?m)^[ \t]*--trusted-host[ =]+(\S+)")
# uv would write the name into the address that it records for a directory (PEP 610).
_EDITABLE_NAME = re.compile(r"(?m)^(-e file:[^#\s]+)#egg=[\w.-]+")
_PIP = re.compile(r"(?mi)^pip\b(?![-\w.\[])")
_LINKS = re.compile(r"(?m)^[ \t]*(?:-f|--find-links|--no-index)\b")


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What of a lock file is wanted, and who installs it.

    `extras` besides the main dependencies; `groups`: None for those that the lock file's own tool takes by default, else
    exactly these. `installer` is "uv" or "poetry". `notes` collects what a person should read; with `accepts_stale`, also
    that the project has moved on from its lock file, where the file's own tool installs nevertheless. `left_out` is shown
    the requirements that uv is about to install and returns the names that are not installed.
    """

    extras: tuple[str, ...] = ()
    groups: tuple[str, ...] | None = None
    installer: str = "uv"
    notes: list[str] = field(default_factory=list, compare=False)
    accepts_stale: bool = field(default=False, compare=False)
    left_out: Callable[[str], Collection[str]] | None = field(default=None, compare=False)


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where packages go: the virtual environment `environment`, by the tools of `machine`.

    `uv` is the program that installs, or None on a machine without it; with `pip`, the environment gets pip too;
    `editable` installs the project itself so that changes of its files count at once; `options` are added to uv's. `ready`
    returns when Poetry can be asked.
    """

    machine: Machine
    environment: Path
    uv: Path | None
    ready: Callable[[], object] = lambda: None
    pip: bool = True
    editable: bool = True
    options: tuple[str, ...] = ()

    @property
    def python(self) -> Path:
        return self.environment / "bin" / "python"

    @property
    def has_own_index(self) -> bool:
        """Say whether packages come from elsewhere than the default index: a mirror, a company's, a directory."""
        url = index.settings(self.machine).url
        return "--no-index" in self.options or (url is not None and not index.is_default(url))

    def installer(self, pyproject: Pyproject, *, takes_best: bool = False) -> UvInstaller:
        """Return uv as it installs here, for the project of `pyproject`; `takes_best` as in `installer`.

        What is edited in an environment must not change what uv keeps for the next one.
        """
        uv_installer = installer(self.machine, self.uv, pyproject=pyproject, takes_best=takes_best)
        return replace(uv_installer, environ={**_files.unshared(self.environment), **uv_installer.environ})


def installer(
    machine: Machine, program: Path | None = None, *, pyproject: Pyproject, takes_best: bool = False
) -> UvInstaller:
    """Return uv with this machine's index settings; it is installed where there is none.

    With `takes_best`, the best file of all indexes is taken, unless uv's settings here or those of the project say
    otherwise.
    """
    settings = index.settings(machine, pyproject=pyproject)
    environ = uv.environ(machine, settings)
    if takes_best and settings.strategy is None:
        environ["UV_INDEX_STRATEGY"] = index.BEST
    # Each call says --frozen or --locked itself, where it means it.
    environ = {name: value for name, value in environ.items() if name not in ("UV_FROZEN", "UV_LOCKED")}
    return UvInstaller(program=program or uv.ensure(machine), environ=environ, scratch=machine.data)


def install_text(
    installer: UvInstaller,
    text: str,
    selection: Selection,
    *,
    target: Target,
    directory: Path,
    sources: Sequence[PoetrySource] = (),
) -> Mapping[str, Collection[str]]:
    """Make an environment hold what a text in pip's format says, each version exact; relative paths start at `directory`.

    Returns the hashes that the text locks names by. `sources` say which packages come from an index of their own. The text
    may hold a password: it is written to no file that stays, and to no command line.
    """
    if selection.left_out:
        text = requirements_text.without(text, selection.left_out(text))
    # A lock is whole: nothing is resolved, and what it does not name goes.
    argv: list[str | Path] = [*target.options, *trusting(text), "--exact", "--no-deps", "-r", "-"]
    of_sources = None
    if sources:
        text, of_sources = with_sources(text, sources, project=directory.name)
    with _file_locks.private_directory(installer.scratch) as scratch:
        if of_sources:
            _files.write_text(scratch / "pyproject.toml", of_sources)
            argv += ["-r", scratch / "pyproject.toml"]
        text = _EDITABLE_NAME.sub(r"\1", _TRUSTED.sub("", text))

        def install(more: Sequence[str]) -> None:
            lines = "".join(f"\n{name}\n" for name in more)
            installer.install(argv, python=target.python, cwd=directory, text=text + lines)

        with naming_refusals(f"{text}\n{of_sources or ''}"):
            with_pip(install, target=target, text=text)
    return requirements_text.hashes(text)


@contextlib.contextmanager
def naming_refusals(text: str) -> Iterator[None]:
    """Raise NetworkError where a package is said not to be there because an index that the text names refuses a password.

    uv says so of the only index that it may ask for a package, and not always then; so that one is asked once more.
    """
    try:
        yield
    except CommandError as error:
        name = wheels.blamed(error.lines)
        urls = [*(match[2] for match in _INDEX.finditer(text)), *_URL.findall(text)]
        for url in dict.fromkeys(urls) if name else ():
            if not index.is_default(url) and _download.refuses(f"{url.rstrip('/')}/{name}/"):
                raise wheels.refused(url) from error
        raise


def with_pip(install: Callable[[Sequence[str]], None], *, target: Target, text: str) -> None:
    """Call `install` with what is to be installed beside a text in pip's format: pip, where it is wanted and not named.

    From an index of the project's own it comes only where the machine's is not reached: that may have none, or a stranger's.
    """
    if target.pip and not _PIP.search(text) and not _has_own_index(text):
        try:
            install(["pip"])
        except CommandError as error:  # by a setting of the project's, packages come from such an index
            if wheels.blamed(error.lines) != "pip":
                raise
        else:
            return
    install([])
    try:
        add_pip(target)
    except (CommandError, NetworkError):
        install(["pip"])


def _has_own_index(text: str) -> bool:
    return _LINKS.search(text) is not None or not all(index.is_default(match[2]) for match in _INDEX.finditer(text))


def add_pip(target: Target) -> None:
    """Add pip where it is wanted and not there yet; no setting of the project counts."""
    if target.pip and not any(target.environment.glob("lib/python3*/site-packages/pip-*.dist-info")):
        uv_installer = uv.tool_installer(target.machine, index.settings(target.machine))
        environ = {**_files.unshared(target.environment), **uv_installer.environ}
        replace(uv_installer, uv=target.uv, environ=environ).install(["pip"], python=target.python)


def trusting(text: str) -> list[str]:
    """Return the options for the lines `--trusted-host` of pip's, which uv takes on the command line only."""
    hosts = (address.rpartition("@")[2] for address in _TRUSTED.findall(text))
    return [f"--allow-insecure-host={host}" for host in dict.fromkeys(hosts)]
