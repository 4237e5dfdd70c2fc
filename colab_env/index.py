"""Which package index this machine uses, as pip and uv are set up here, told to the tools that do not look there."""

from __future__ import annotations

import configparser
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from colab_env import _download, _files, _report, toml_text
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
    try:
        host = (urlsplit(url).hostname or "").removeprefix("www.")
    except ValueError:  # no address
        return False
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
            parser.read_string(_content(path).decode("utf-8"))
        except (configparser.Error, UnicodeDecodeError):  # pip says what is wrong there
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
    if named and os.path.exists(named):  # noqa: PTH110  (no name is too long for it)  # in the place of the user's files
        yield Path(named)
    else:
        yield from (machine.home / ".pip/pip.conf", config / "pip/pip.conf")


def _uv_file(machine: Machine) -> str | None:
    config = Path(machine.environ.get("XDG_CONFIG_HOME") or machine.home / ".config")
    return next(
        (url for path in (config / "uv/uv.toml", Path("/etc/uv/uv.toml")) if (url := _default_index(path))), None
    )


def _default_index(path: Path) -> str | None:
    try:
        document = toml_text.parsed(_content(path).decode("utf-8"))
    except ValueError:  # uv says what is wrong there
        return None
    indexes = document.get("index")
    tables = [each for each in indexes if isinstance(each, dict)] if isinstance(indexes, list) else []
    listed = [each.get("url") for each in tables if each.get("default") is True]
    return next((url for url in [*listed, document.get("index-url")] if url and isinstance(url, str)), None)


def _content(path: Path) -> bytes:
    """Return what a file of settings says; a link to /dev/null is the usual sign for nothing."""
    return b"" if os.path.realpath(path) == os.devnull else _files.content(path) or b""
