"""What a Pipfile.lock says, read as Pipenv does."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from colab_env import index
from colab_env.errors import LockMismatchError, UsageError
from colab_env.locks import requirements_text
from colab_env.locks.lock_format import LockFile, reading
from colab_env.locks.poetry_sources import Source
from colab_env.pyproject import Pyproject
from colab_env.results import short

if TYPE_CHECKING:
    from colab_env.locks.installing import Selection

_LARGEST = 16_000_000  # bytes; of thousands of packages there are a few million
_MAIN = "default"
_ALIASES = {"dev": "develop", "dev-packages": "develop", "packages": _MAIN}
_NO_CATEGORIES = frozenset({"source", "packages", "dev-packages", "requires", "scripts", "pipfile", "pipenv"})
_VCS = ("git", "hg", "svn", "bzr")
_HASH = re.compile(r"\w+:[0-9a-fA-F]+")
# The name that old Pipenvs gave to what has none: seven digits of a checksum.
_CHECKSUM = re.compile(r"[0-9a-f]{7}")
_VARIABLE = re.compile(r"'?\$\{([^}]+)\}'?|\$([A-Za-z_]\w*)")
_HINT = "run `pipenv lock` for it, then this call again"


def requires_python(lock: LockFile) -> str | None:
    """Return the Python that the lock file asks for, or None."""
    with reading(lock):
        requires = _meta(_document(lock)).get("requires", {})
        asked = requires.get("python_full_version") or requires.get("python_version")
        return None if asked is None else str(asked)


def sources(lock: LockFile) -> Sequence[Source]:
    """Return which packages come from an index of the project's own."""
    with reading(lock):
        document = _document(lock)
        expand = _once(lambda url: _expanded(url, lock))
        packages = (each for category in _categories(document) for each in _packages(document, category, lock))
        return [
            Source(name=each.name, version=version, hashes=frozenset(each.hashes), url=expand(each.index))
            for each in packages
            for version in each.pins
        ]


@dataclass(frozen=True, kw_only=True)
class _Package:
    """One entry: `asked` is what goes before the marker; `index` the url of its source, None for the default index."""

    name: str
    asked: str
    pins: tuple[str, ...] = ()
    marker: str | None = None
    hashes: tuple[str, ...] = ()
    index: str | None = None

    @property
    def line(self) -> str:
        marker = f" ; {self.marker}" if self.marker else ""
        return "".join([self.asked, marker, *(f" \\\n    --hash={each}" for each in self.hashes), "\n"])

    def joined(self, other: _Package) -> _Package:
        """Return this package as two categories want it; where they differ, this one counts."""
        is_same = self.pins == other.pins if self.pins else self.asked == other.asked
        if not is_same or self.marker == other.marker:
            return self
        either = f"({self.marker}) or ({other.marker})" if self.marker and other.marker else None
        return replace(self, marker=either)


def text(lock: LockFile, selection: Selection) -> str:
    """Return in pip's format what is wanted of a lock file. Raises as `LockFormat.export` does."""
    with reading(lock):
        document = _document(lock)
        _require_fresh(lock, document)
        packages: dict[str, _Package] = {}
        for category in _wanted(lock, document, selection):
            for each in _packages(document, category, lock):
                packages[each.name] = packages[each.name].joined(each) if each.name in packages else each
        return "".join([*_trusted(document), *(each.line for each in packages.values())])


def _wanted(lock: LockFile, document: Mapping[str, Any], selection: Selection) -> list[str]:
    known = [name for name in _categories(document) if name != _MAIN]
    wanted = [_ALIASES.get(name, name) for name in selection.groups or ()]
    missing = [name for name in wanted if name not in (*known, _MAIN)]
    if missing:
        msg = f"{short(lock.path)} has no group {missing[0]!r}"
        raise UsageError(msg, hint=f"it has {', '.join(known) or 'the main dependencies alone'}")
    return list(dict.fromkeys([_MAIN, *wanted]))


def _document(lock: LockFile) -> dict[str, Any]:
    if len(lock.content) > _LARGEST:
        msg = f"it has {len(lock.content)} bytes"
        raise ValueError(msg)
    document = json.loads(lock.content.decode("utf-8-sig"))
    _meta(document)
    return dict(document)


def _meta(document: Mapping[str, Any]) -> dict[str, Any]:
    return dict(document["_meta"].items())


def _categories(document: Mapping[str, Any]) -> list[str]:
    return [name for name in document if name != "_meta"]


def _packages(document: Mapping[str, Any], category: str, lock: LockFile) -> list[_Package]:
    indexes = _indexes(document)
    return [_package(name, entry, indexes, lock) for name, entry in document.get(category, {}).items()]


def _package(name: str, entry: Any, indexes: Mapping[str | None, str | None], lock: LockFile) -> _Package:
    if isinstance(entry, str):  # as the oldest Pipenvs wrote it
        entry = {"version": entry if entry == "*" or entry[:1] in "=<>~!" else f"=={entry}"}
    marker, hashes = _marker(entry), tuple(entry.get("hashes", ()))
    if not all(_HASH.fullmatch(each) for each in hashes):
        msg = f"a hash of {name} is none"
        raise ValueError(msg)
    place = _place(name, entry, lock)
    if place is not None:
        # Of a directory and of a git repository there is no hash.
        kept = hashes if urlsplit(place).path.endswith((".whl", ".gz", ".zip", ".bz2")) else ()
        return _Package(name=canonicalize_name(name), asked=place, marker=marker, hashes=kept)
    extras = f"[{','.join(entry['extras'])}]" if entry.get("extras") else ""
    requirement = Requirement(f"{name}{extras}{entry.get('version', '').replace('*', '')}")
    if entry.get("index") not in indexes:
        msg = f"{name} is from the index {entry['index']!r}, which is not among its sources"
        raise ValueError(msg)
    return _Package(
        name=canonicalize_name(name),
        asked=str(requirement),
        pins=tuple(requirements_text.pins(requirement)),
        marker=marker,
        hashes=hashes,
        index=indexes[entry.get("index")],
    )


def _marker(entry: Mapping[str, Any]) -> str | None:
    found = [str(Marker(entry[key])) for key in ("markers", "os_markers") if entry.get(key)]
    return " and ".join(f"({each})" for each in found) if len(found) > 1 else next(iter(found), None)


def _place(name: str, entry: Mapping[str, Any], lock: LockFile) -> str | None:
    """Return the requirement for a package of a place of its own, or None for one of an index."""
    vcs = next((each for each in _VCS if each in entry), None)
    if vcs is not None:
        return _named(name, entry, _vcs_address(vcs, entry, lock))
    found = next((str(entry[key]) for key in ("file", "url", "path") if key in entry), None)
    if found is None:
        return None
    if urlsplit(found).scheme in ("http", "https", "file"):
        return _named(name, entry, found)
    # The name may be Pipenv's own invention: that of a directory or a file is in itself.
    uri = (lock.directory / found).resolve().as_uri()
    return f"-e {uri}" if entry.get("editable") else uri


def _vcs_address(vcs: str, entry: Mapping[str, Any], lock: LockFile) -> str:
    if vcs != "git":
        msg = f"{short(lock.path)} has a package from {vcs}, which uv does not read"
        raise UsageError(msg, hint="install it with pipenv, or lock a release of it")
    address = str(entry[vcs]).removeprefix("git+")
    if "://" not in address:  # git's short form, user@host:path
        address = f"ssh://{address.replace(':', '/', 1)}"
    address, _, _ = address.partition("#")
    ref = entry.get("ref")
    at = f"@{ref}" if ref and not address.endswith(f"@{ref}") else ""
    within = f"#subdirectory={entry['subdirectory']}" if entry.get("subdirectory") else ""
    return f"git+{address}{at}{within}"


def _named(name: str, entry: Mapping[str, Any], address: str) -> str:
    extras = f"[{','.join(entry['extras'])}]" if entry.get("extras") else ""
    requirement = Requirement(f"{name}{extras} @ {address}")
    return address if _CHECKSUM.fullmatch(name) else f"{requirement.name}{extras} @ {requirement.url}"


def _indexes(document: Mapping[str, Any]) -> dict[str | None, str | None]:
    """Return the url of each source by its name, and that of the first by None; None for the default index."""
    sources = [(each.get("name"), str(each["url"])) for each in _meta(document).get("sources", [])]
    urls = [(name, None if index.is_default(url) else url) for name, url in sources]
    return {**dict(urls), None: urls[0][1] if urls else None}


def _trusted(document: Mapping[str, Any]) -> Iterator[str]:
    for each in _meta(document).get("sources", []):
        if each.get("verify_ssl") is False and not index.is_default(each["url"]):
            host = urlsplit(each["url"]).netloc.rpartition("@")[2]
            yield f"--trusted-host {''.join(host.split())}\n"


def _once(expand: Callable[[str], str]) -> Callable[[str | None], str | None]:
    known: dict[str | None, str | None] = {None: None}

    def expanded(url: str | None) -> str | None:
        if url is not None and url not in known:
            known[url] = expand(url)
        return known[url]

    return expanded


def _expanded(url: str, lock: LockFile) -> str:
    """Put environment variables in as Pipenv does: in a name and password, what a url cannot hold is written out."""
    start, _, rest = url.partition("://")
    login, at, place = rest.rpartition("@")

    def value(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        if name not in os.environ:
            msg = f"{short(lock.path)} has an index whose address needs the environment variable {name}"
            raise UsageError(msg, hint=f"set {name}, then run the same call again")
        return os.environ[name]

    login = _VARIABLE.sub(lambda found: quote(value(found), safe=""), login)
    return f"{start}://{login}{at}{_VARIABLE.sub(value, place)}"


def _require_fresh(lock: LockFile, document: Mapping[str, Any]) -> None:
    pipfile, locked = pipfile_of(lock), _meta(document).get("hash", {}).get("sha256")
    if not locked or not pipfile.content or pipfile.path == lock.path:
        return
    values = pipfile.values
    sources = _meta(document).get("sources", [])
    # Pipenv 2026 writes names in their normalized form first.
    if locked not in (_checksum(values, sources, str), _checksum(values, sources, canonicalize_name)):
        msg = f"{short(lock.path)} does not belong to its Pipfile"
        raise LockMismatchError(msg, hint=_HINT)


def _checksum(pipfile: Mapping[str, Any], sources: Any, spell: Callable[[str], str]) -> str:
    """Return what Pipenv writes as `_meta.hash`: of the Pipfile's sections, by the names that they have in the lock."""

    def section(name: str) -> dict[str, Any]:
        return {spell(key): value for key, value in pipfile.get(name, {}).items()}

    said = {
        "_meta": {"sources": pipfile.get("source", sources), "requires": pipfile.get("requires", {})},
        **{name: section(name) for name in pipfile if name not in _NO_CATEGORIES},
        _MAIN: section("packages"),
        "develop": section("dev-packages"),
    }
    text = json.dumps(said, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def pipfile_of(lock: LockFile) -> Pyproject:
    return Pyproject.read(lock.directory, name="Pipfile")
