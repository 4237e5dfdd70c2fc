"""Which package index this machine uses, as pip and uv are set up here, told to the tools that do not look there."""

from __future__ import annotations

import configparser
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from colab_env import _download, _report
from colab_env.errors import NetworkError

if TYPE_CHECKING:
    from colab_env.machine import Machine

_FOUND_NONE = re.compile(
    r"No solution found|No matching distribution found"  # uv, pip
    r"|version solving failed|ackage \S+ .*not found|Expecting value: line 1"  # Poetry
)
# Where a child is told which index to use: uv, pip, Poetry's plugin.
_ADDRESSES = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL", "POETRY_PYPI_MIRROR_URL")
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

    def uv_environ(self, environ: Mapping[str, str]) -> dict[str, str]:
        """Return what uv has to be told: it reads its own settings, but not pip's."""
        told = {
            "UV_DEFAULT_INDEX": self.url,
            "SSL_CERT_FILE": self.certificates,
            "UV_EXTRA_INDEX_URL": " ".join(self.extra),
            # pip takes the best file of all indexes; whoever set them up for pip expects that.
            "UV_INDEX_STRATEGY": "unsafe-best-match" if self.extra else None,
            "UV_FIND_LINKS": ",".join(self.links),
            "UV_INSECURE_HOST": " ".join(self.trusted),
        }
        return {name: value for name, value in told.items() if value and name not in environ}

    def poetry_environ(self, environ: Mapping[str, str]) -> dict[str, str]:
        """Return what Poetry has to be told: the plugin poetry-plugin-pypi-mirror reads the address."""
        told = {"POETRY_PYPI_MIRROR_URL": self.url, "REQUESTS_CA_BUNDLE": self.certificates}
        return {name: value for name, value in told.items() if value and name not in environ}


def settings(machine: Machine) -> Index:
    """Read the machine's settings: uv's first, then pip's. Reads files, starts nothing."""
    pip = _pip(machine)
    uv = machine.environ.get("UV_DEFAULT_INDEX") or machine.environ.get("UV_INDEX_URL") or _uv_file(machine)
    listed = {key: tuple(pip.get(name, "").split()) for key, name in _LISTS.items()}
    return Index(url=uv or pip.get("index-url"), certificates=pip.get("cert"), **listed)


def not_an_index(environ: Mapping[str, str], lines: Iterable[str]) -> NetworkError | None:
    """Return the error for an index that shows a page to sign in, where a tool with this `environ` found no package.

    The index is asked once, and only if the tool's `lines` say that it found none.
    """
    text = "\n".join(lines)
    if not _FOUND_NONE.search(text) or "the provided package locations" in text:  # uv's words where it asks no index
        return None
    url = next((environ[name] for name in _ADDRESSES if environ.get(name)), None) or _default()
    title = _download.sign_in_page(f"{url.rstrip('/')}/pip/") if url else None
    if title is None:
        return None
    msg = f"the package index {_report.clean(url or '')} shows a web page, “{title}”, where packages should be"
    hint = "sign in to this network in a browser, or check the index's address in the settings of pip or uv"
    return NetworkError(msg, hint=hint)


def is_default(url: str) -> bool:
    """Say whether an address is that of the index that pip uses without settings, by its name of today or of before 2018."""
    known = urlsplit(_default() or "").hostname
    host = (urlsplit(url).hostname or "").removeprefix("www.")
    return known is not None and host in (known, known.replace("pypi.", "pypi.python."))


def _default() -> str | None:
    # What pip and uv use without settings; pip knows the address.
    try:
        from pip._internal.models.index import PyPI
    except ImportError:
        return None
    return str(PyPI.simple_url)


def _pip(machine: Machine) -> dict[str, str]:
    # pip's documented order, later ones win: global, user (old and new place), PIP_CONFIG_FILE, environment.
    found: dict[str, str] = {}
    for path in _pip_files(machine):
        parser = configparser.RawConfigParser()
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, OSError, UnicodeDecodeError):
            continue
        for section in ("global", "install"):
            if parser.has_section(section):
                found.update({key.replace("_", "-"): value for key, value in parser.items(section)})
    for key in ("index-url", "cert", *_LISTS.values()):
        if value := machine.environ.get(f"PIP_{key.upper().replace('-', '_')}"):
            found[key] = value
    return found


def _pip_files(machine: Machine) -> Iterator[Path]:
    config = Path(machine.environ.get("XDG_CONFIG_HOME") or machine.home / ".config")
    named = machine.environ.get("PIP_CONFIG_FILE")
    if named == os.devnull:  # pip's own sign for "no file at all"
        return
    yield from (Path("/etc/xdg/pip/pip.conf"), Path("/etc/pip.conf"))
    if named and Path(named).exists():  # in the place of the user's files
        yield Path(named)
    else:
        yield from (machine.home / ".pip/pip.conf", config / "pip/pip.conf")


def _uv_file(machine: Machine) -> str | None:
    config = Path(machine.environ.get("XDG_CONFIG_HOME") or machine.home / ".config")
    for path in (config / "uv/uv.toml", Path("/etc/uv/uv.toml")):
        if path.is_file() and (url := _default_index(path)):
            return url
    return None


def _default_index(path: Path) -> str | None:
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    try:
        document: Any = tomlkit.parse(path.read_text(encoding="utf-8")).unwrap()
    except (TOMLKitError, OSError):
        return None
    listed = [each.get("url") for each in document.get("index", []) if each.get("default")]
    return next((url for url in [*listed, document.get("index-url")] if url), None)
