"""What a Pipfile.lock says, read as Pipenv does."""

from __future__ import annotations

import functools
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

from colab_env import index, out_of_step
from colab_env.errors import LockMismatchError, UsageError
from colab_env.locks import requirements_text
from colab_env.locks.installing import PoetrySource
from colab_env.locks.lock_format import LockFile, reading
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
        version = requires.get("python_full_version") or requires.get("python_version")
        return None if version is None else str(version)


def sources(lock: LockFile) -> Sequence[PoetrySource]:
    """Return which packages come from an index of the project's own."""
    with reading(lock):
        document = _document(lock)
        # Thousands of packages share a few indexes.
        expand = functools.cache(lambda url: None if url is None else _expanded(url, lock))
        packages = (package for category in _categories(document) for package in _packages(document, category, lock))
        return [
            PoetrySource(
                name=package.name, version=version, hashes=frozenset(package.hashes), url=expand(package.index)
            )
            for package in packages
            for version in package.pins
        ]


@dataclass(frozen=True, kw_only=True)
class _Package:
    """One entry: `requirement` is what goes before the marker; `index` the url of its source, None for the default index."""

    name: str
    requirement: str
    pins: tuple[str, ...] = ()
    marker: str | None = None
    hashes: tuple[str, ...] = ()
    index: str | None = None

    @property
    def line(self) -> str:
        marker = f" ; {self.marker}" if self.marker else ""
        return "".join([self.requirement, marker, *(f" \\\n    --hash={digest}" for digest in self.hashes), "\n"])

    def joined(self, other: _Package) -> _Package:
        """Return this package as two categories want it; where they differ, this one counts."""
        is_same = self.pins == other.pins if self.pins else self.requirement == other.requirement
        if not is_same or self.marker == other.marker:
            return self
        either = f"({self.marker}) or ({other.marker})" if self.marker and other.marker else None
        return replace(self, marker=either)


def text(lock: LockFile, selection: Selection) -> str:
    """Return in pip's format what is wanted of a lock file. Raises as `LockFormat.export` does."""
    with reading(lock):
        document = _document(lock)
        _check_fresh(lock, document, selection)
        packages: dict[str, _Package] = {}
        available = [name for name in _categories(document) if name != _MAIN]
        selected = [_ALIASES.get(name, name) for name in selection.groups or ()]
        missing = [name for name in selected if name not in (*available, _MAIN)]
        if missing:
            msg = f"{short(lock.path)} has no group {missing[0]!r}"
            raise UsageError(msg, hint=f"it has {', '.join(available) or 'the main dependencies alone'}")
        # The main packages first: what a category says of one of them is joined to it.
        for category in list(dict.fromkeys([_MAIN, *selected])):
            for package in _packages(document, category, lock):
                packages[package.name] = packages[package.name].joined(package) if package.name in packages else package
        return "".join([*_trusted(document), *(package.line for package in packages.values())])


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
    if not all(_HASH.fullmatch(digest) for digest in hashes):
        msg = f"a hash of {name} is none"
        raise ValueError(msg)
    reference = _direct_reference(name, entry, lock)
    if reference is not None:
        # Of a directory and of a git repository there is no hash.
        hashes = hashes if urlsplit(reference).path.endswith((".whl", ".gz", ".zip", ".bz2")) else ()
        return _Package(name=canonicalize_name(name), requirement=reference, marker=marker, hashes=hashes)
    extras = f"[{','.join(entry['extras'])}]" if entry.get("extras") else ""
    requirement = Requirement(f"{name}{extras}{entry.get('version', '').replace('*', '')}")
    if entry.get("index") not in indexes:
        msg = f"{name} is from the index {entry['index']!r}, which is not among its sources"
        raise ValueError(msg)
    return _Package(
        name=canonicalize_name(name),
        requirement=str(requirement),
        pins=tuple(requirements_text.pins(requirement)),
        marker=marker,
        hashes=hashes,
        index=indexes[entry.get("index")],
    )


def _marker(entry: Mapping[str, Any]) -> str | None:
    markers = [str(Marker(entry[key])) for key in ("markers", "os_markers") if entry.get(key)]
    return " and ".join(f"({marker})" for marker in markers) if len(markers) > 1 else next(iter(markers), None)


def _direct_reference(name: str, entry: Mapping[str, Any], lock: LockFile) -> str | None:
    """Return the direct reference (PEP 508) to a path, an address or a repository, or None for a package of an index."""
    vcs = next((key for key in _VCS if key in entry), None)
    if vcs is not None:
        return _named(name, entry, _vcs_address(vcs, entry, lock))
    address = next((str(entry[key]) for key in ("file", "url", "path") if key in entry), None)
    if address is None:
        return None
    if urlsplit(address).scheme in ("http", "https", "file"):
        return _named(name, entry, address)
    # The name may be Pipenv's own invention: that of a directory or a file is in itself.
    uri = (lock.directory / address).resolve().as_uri()
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
    sources = [(source.get("name"), str(source["url"])) for source in _meta(document).get("sources", [])]
    urls = [(name, None if index.is_default(url) else url) for name, url in sources]
    return {**dict(urls), None: urls[0][1] if urls else None}


def _trusted(document: Mapping[str, Any]) -> Iterator[str]:
    for source in _meta(document).get("sources", []):
        if source.get("verify_ssl") is False and not index.is_default(source["url"]):
            host = urlsplit(source["url"]).netloc.rpartition("@")[2]
            yield f"--trusted-host {''.join(host.split())}\n"


def _expanded(url: str, lock: LockFile) -> str:
    """Put environment variables in as Pipenv does: in a name and password, what a url cannot hold is written out."""
    start, _, rest = url.partition("://")
    # A name or a password is quoted, for it may hold what separates the parts of an address.
    login, at, location = rest.rpartition("@")

    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if name not in os.environ:
            msg = f"{short(lock.path)} has an index whose address needs the environment variable {name}"
            raise UsageError(msg, hint=f"set {name}, then run the same call again")
        return os.environ[name]

    login = _VARIABLE.sub(lambda match: quote(value(match), safe=""), login)
    return f"{start}://{login}{at}{_VARIABLE.sub(value, location)}"


def _check_fresh(lock: LockFile, document: Mapping[str, Any], selection: Selection) -> None:
    """Raise LockMismatchError for a file that its Pipfile has moved on from, or say so where that is enough."""
    pipfile, locked = pipfile_of(lock), _meta(document).get("hash", {}).get("sha256")
    if not locked or not pipfile.content or pipfile.path == lock.path:
        return
    values = pipfile.values
    sources = _meta(document).get("sources", [])
    # Pipenv 2026 writes names in their normalized form first.
    if locked in (_checksum(values, sources, str), _checksum(values, sources, canonicalize_name)):
        return
    reason = (
        _differing(values, document) or "its packages fit, but their options, its Python or its sources have changed"
    )
    msg = f"{short(lock.path)} does not belong to its Pipfile: {reason}"
    if not selection.accepts_stale:
        raise LockMismatchError(msg, hint=_HINT)
    selection.notes.append(f"{msg}; installed as it is, as by `pipenv sync`; `pipenv lock` makes it anew")


def _differing(pipfile: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    asked, locked = list[tuple[str, str]](), dict[str, list[str]]()
    for section in ("packages", "dev-packages", *(name for name in pipfile if name not in _NO_CATEGORIES)):
        for name, wanted in pipfile.get(section, {}).items():
            version = wanted.get("version", "*") if isinstance(wanted, Mapping) else wanted
            asked.append((name, str(version)))
    for category in _categories(document):
        for name, entry in document[category].items():
            version = entry.get("version", "") if isinstance(entry, Mapping) else entry
            pins = locked.setdefault(canonicalize_name(name), [])
            pins.extend([version.removeprefix("==")] if version.startswith("==") else [])
    return out_of_step.described(asked, locked)


def _checksum(pipfile: Mapping[str, Any], sources: Any, spell: Callable[[str], str]) -> str:
    """Return what Pipenv writes as `_meta.hash`: of the Pipfile's sections, by the names that they have in the lock."""

    def section(name: str) -> dict[str, Any]:
        return {spell(key): value for key, value in pipfile.get(name, {}).items()}

    # As pipenv does it (plette's `Pipfile.get_hash`): another order or blank would be another sum.
    hashed = {
        "_meta": {"sources": pipfile.get("source", sources), "requires": pipfile.get("requires", {})},
        **{name: section(name) for name in pipfile if name not in _NO_CATEGORIES},
        _MAIN: section("packages"),
        "develop": section("dev-packages"),
    }
    text = json.dumps(hashed, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def pipfile_of(lock: LockFile) -> Pyproject:
    return Pyproject.read(lock.directory, name="Pipfile")
