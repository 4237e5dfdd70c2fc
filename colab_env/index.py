"""Which package index this machine uses, as pip and uv are set up here, told to the tools that do not look there."""

from __future__ import annotations

import configparser
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from colab_env import _download, _files, _report, toml_text
from colab_env.errors import NetworkError

if TYPE_CHECKING:
    from colab_env.machine import Machine
    from colab_env.pyproject import Pyproject

_FOUND_NONE = re.compile(
    r"No solution found|No matching distribution found"  # uv, pip
    r"|version solving failed|ackage \S+ .*not found|Expecting value: line 1"  # Poetry
)
# Where a child is told which index to use: uv, pip, Poetry's plugin.
_ADDRESSES = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL", "POETRY_PYPI_MIRROR_URL")
BEST = "unsafe-best-match"
# What a user says for projects in uv's settings: which versions may be taken.
_OF_PROJECTS = (
    *("exclude-newer", "exclude-newer-package", "constraint-dependencies", "override-dependencies"),
    *("build-constraint-dependencies", "exclude-dependencies", "resolution", "prerelease"),
)
_LISTS = {"extra": "extra-index-url", "links": "find-links", "trusted": "trusted-host"}


@dataclass(frozen=True, kw_only=True)
class Index:
    """The machine's own settings: the `url` of a simple index (PEP 503) and a `certificates` file, None for the defaults.

    `extra` are further indexes, `links` directories or pages of files, `trusted` hosts whose certificates are not
    checked: as pip has them.
    """

    url: str | None = None
    certificates: str | None = None
    extra: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    trusted: tuple[str, ...] = ()
    strategy: str | None = None
    """How uv chooses among indexes, where its own settings say so."""

    def uv_environ(self, environ: Mapping[str, str]) -> dict[str, str]:
        """Return what uv has to be told: it reads its own settings, but not pip's."""
        variables = {
            "UV_DEFAULT_INDEX": self.url,
            "SSL_CERT_FILE": self.certificates,
            "UV_EXTRA_INDEX_URL": " ".join(self.extra),
            # pip takes the best file of all indexes; whoever set them up for pip expects that. uv's own settings go first.
            "UV_INDEX_STRATEGY": BEST if self.extra and not self.strategy else None,
            "UV_FIND_LINKS": ",".join(self.links),
            "UV_INSECURE_HOST": " ".join(self.trusted),
        }
        return {name: value for name, value in variables.items() if value and name not in environ}

    def poetry_environ(self, environ: Mapping[str, str]) -> dict[str, str]:
        """Return what Poetry has to be told: the plugin poetry-plugin-pypi-mirror reads the address."""
        variables = {"POETRY_PYPI_MIRROR_URL": self.url, "REQUESTS_CA_BUNDLE": self.certificates}
        return {name: value for name, value in variables.items() if value and name not in environ}


def settings(machine: Machine, *, pyproject: Pyproject | None = None) -> Index:
    """Read the settings of the machine, and of a project where one is given: uv's first, then pip's. Starts nothing."""
    pip = _pip(machine)
    uv = (
        # In uv's own order: the variable of today, the older one, then its files.
        machine.environ.get("UV_DEFAULT_INDEX")
        or machine.environ.get("UV_INDEX_URL")
        or _from_uv_files(machine, _default_index)
    )
    listed = {key: tuple(pip.get(name, "").split()) for key, name in _LISTS.items()}
    project_strategy = _strategy_of_project(pyproject) if pyproject else None
    # What a user chose for uv stays, whatever indexes pip has.
    strategy = machine.environ.get("UV_INDEX_STRATEGY") or project_strategy or _from_uv_files(machine, _strategy)
    return Index(url=uv or pip.get("index-url"), certificates=pip.get("cert"), strategy=strategy, **listed)


def not_an_index(environ: Mapping[str, str], lines: Iterable[str]) -> NetworkError | None:
    """Return the error for an index that shows a page to sign in, where a tool with this `environ` found no package.

    The index is asked once, and only if the tool's `lines` say that it found none.
    """
    text = "\n".join(lines)
    if not _FOUND_NONE.search(text) or "the provided package locations" in text:  # uv's words where it asks no index
        return None
    url = next((environ[name] for name in _ADDRESSES if environ.get(name)), None) or default_url()
    title = _download.sign_in_page(f"{url.rstrip('/')}/pip/") if url else None
    if title is None:
        return None
    address = _report.clean(url or "", _report.hidden(environ))
    msg = f"the package index {address} shows a web page, “{title}”, where packages should be"
    hint = "sign in to this network in a browser, or check the index's address in the settings of pip or uv"
    return NetworkError(msg, hint=hint)


def is_default(url: str) -> bool:
    """Say whether an address is that of the index that pip uses without settings, by its name of today or of before 2018."""
    default_host = urlsplit(default_url() or "").hostname
    try:
        host = (urlsplit(url).hostname or "").removeprefix("www.")
    except ValueError:  # no address
        return False
    return default_host is not None and host in (default_host, default_host.replace("pypi.", "pypi.python."))


def default_url() -> str | None:
    """Return the simple index that pip and uv use without settings, or None: pip knows the address."""
    try:
        from pip._internal.models.index import PyPI
    except ImportError:
        return None
    return str(PyPI.simple_url)


def _pip(machine: Machine) -> dict[str, str]:
    # pip's documented order, later ones win: global, user (old and new place), PIP_CONFIG_FILE, environment.
    options: dict[str, str] = {}
    for path in _pip_files(machine):
        parser = configparser.RawConfigParser()
        try:
            parser.read_string(_content(path).decode("utf-8"))
        except (configparser.Error, UnicodeDecodeError):  # pip says what is wrong there
            continue
        for section in ("global", "install"):
            if parser.has_section(section):
                options.update({key.replace("_", "-"): value for key, value in parser.items(section)})
    for key in ("index-url", "cert", *_LISTS.values()):
        if value := machine.environ.get(f"PIP_{key.upper().replace('-', '_')}"):
            options[key] = value
    return options


def _pip_files(machine: Machine) -> Iterator[Path]:
    config = Path(machine.environ.get("XDG_CONFIG_HOME") or machine.home / ".config")
    config_file = machine.environ.get("PIP_CONFIG_FILE")
    if config_file == os.devnull:  # pip's own sign for "no file at all"
        return
    yield from (Path("/etc/xdg/pip/pip.conf"), Path("/etc/pip.conf"))
    if config_file and os.path.exists(config_file):  # noqa: PTH110  (no name is too long for it)  # in the place of the user's files
        yield Path(config_file)
    else:
        yield from (machine.home / ".pip/pip.conf", config / "pip/pip.conf")


def tool_settings(machine: Machine) -> str:
    """Return the user's own settings of uv, but for what is meant for projects: cut-offs, constraints and overrides."""
    import tomlkit

    merged: dict[str, Any] = {}
    # The weaker file first, so that the stronger one overwrites it.
    for path in reversed(_uv_files(machine)):
        merged |= _uv_settings(path)
    # A cut-off, constraints or overrides are meant for projects, not for the kernel's packages.
    inherited = {key: value for key, value in merged.items() if key not in _OF_PROJECTS}
    if isinstance(inherited.get("pip"), dict):
        inherited["pip"] = {key: value for key, value in inherited["pip"].items() if key not in _OF_PROJECTS}
    return tomlkit.dumps(inherited)


def _from_uv_files(machine: Machine, choose: Callable[[Mapping[str, Any]], str | None]) -> str | None:
    return next((value for path in _uv_files(machine) if (value := choose(_uv_settings(path)))), None)


def _uv_files(machine: Machine) -> list[Path]:
    # The user's file goes first.
    config = Path(machine.environ.get("XDG_CONFIG_HOME") or machine.home / ".config")
    config_file = machine.environ.get("UV_CONFIG_FILE")
    return [Path(config_file)] if config_file else [config / "uv/uv.toml", Path("/etc/uv/uv.toml")]


def _uv_settings(path: Path) -> Mapping[str, Any]:
    try:
        return toml_text.parsed(_content(path).decode("utf-8"))
    except ValueError:  # uv says what is wrong there
        return {}


def _default_index(document: Mapping[str, Any]) -> str | None:
    indexes = document.get("index")
    tables = [table for table in indexes if isinstance(table, dict)] if isinstance(indexes, list) else []
    listed = [table.get("url") for table in tables if table.get("default") is True]
    return next((url for url in [*listed, document.get("index-url")] if url and isinstance(url, str)), None)


def _strategy(document: Mapping[str, Any]) -> str | None:
    of_pip = document.get("pip")
    listed = [of_pip.get("index-strategy") if isinstance(of_pip, dict) else None, document.get("index-strategy")]
    return next((value for value in listed if isinstance(value, str)), None)


def _strategy_of_project(pyproject: Pyproject) -> str | None:
    """Return how uv is to choose among indexes for one project: what its `[tool.uv]` says, or None."""
    uv = (pyproject.values.get("tool") or {}).get("uv")
    return _strategy(uv) if isinstance(uv, dict) else None


def _content(path: Path) -> bytes:
    """Return what a file of settings says; a link to /dev/null is the usual sign for nothing."""
    return b"" if os.path.realpath(path) == os.devnull else _files.content(path) or b""
