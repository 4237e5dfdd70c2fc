"""What is in a directory that was installed, file by file: read in full, and compared with what was written down.

A wheel brings a RECORD with the SHA-256 of each of its files. So a content file keeps, by distribution, the digest of its
RECORD, and the digests of everything that no RECORD vouches for: scripts, settings, compiled files.
"""

from __future__ import annotations

import binascii
import errno
import hashlib
import os
import re
import stat
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar, NamedTuple

from colab_env import _files, _report, _state
from colab_env.results import short

FILE = _files.CONTENT
UNTRIED = "colab-env-untried"  # comes with a snapshot, goes with the kernel's trial
BUILD = "colab-env-build"  # the number and the path of a named environment's build, for `front.sh`
PURGED = "colab-env-purged"  # in a build that no name stands for yet, or that somebody has removed: it may go
# Written later, or never the same: what says that a directory is complete, and what was here before it was.
_OWN = frozenset({_files.RECEIPT, FILE, UNTRIED, BUILD, PURGED})
_LINK = "link="
_SIGNATURES = ("/RECORD.jws", "/RECORD.p7s")  # no RECORD names them (PEP 427)
_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_UNREADABLE = (
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG),
    *(errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE),
)
_BLOCK = 1 << 20  # bytes
_CHUNKS = 8  # pieces of work for each thread
NAMED = 3  # files that a message names


@dataclass(frozen=True, kw_only=True)
class Installed:
    """One distribution: the digest of its RECORD, its `source` where that is no index, and the `hashes` it was locked by.

    A source is an address, host and last part only: elsewhere in it services put tokens. A hash is such as "sha256:9f86...".
    """

    record: str
    source: str | None = None
    hashes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Content:
    """What a directory held when it was `proven`, in seconds since 1970; all paths are relative to it.

    `distributions` are by the path of their .dist-info directory. `others` are what no RECORD vouches for, by their own
    path: "sha256=...", "link=...", or nothing for a file that a RECORD names and no wheel holds. `programs` may be executed.
    """

    schema: ClassVar[str] = "content"
    version: ClassVar[int] = 1

    proven: float
    distributions: dict[str, Installed]
    others: dict[str, str]
    programs: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Damage:
    """One file that is not as it was installed: what is `wrong` with it, and the distribution that it belongs to, or None.

    `promised` is what the RECORD in the directory `info` says of it, where that is known.
    """

    path: str
    wrong: str
    distribution: str | None = None
    info: str = ""
    promised: str = ""

    def __str__(self) -> str:
        return f"{self.path} {self.wrong}" + (f" ({self.distribution})" if self.distribution else "")


class Survey:
    """Every file and link below a directory, by its relative path, with its digest as a RECORD writes it."""

    def __init__(self, directory: Path, *, earlier: Survey | None = None) -> None:
        """Read the whole tree, or what has changed in it since an `earlier` look of this run. Raises OSError."""
        self.directory = directory
        measured_before = earlier._measured if earlier else {}  # noqa: SLF001
        self._measured: dict[str, _Measured] = _measured(str(directory), measured_before)
        self.digests = {path: measured.digest for path, measured in self._measured.items()}

    @property
    def size(self) -> int:
        """Return the bytes of all files, but for links and what colab-env wrote down itself."""
        return sum(file.status[1] for file in self._measured.values() if not file.digest.startswith(_LINK))

    @cached_property
    def records(self) -> dict[str, dict[str, str]]:
        """Return, for each .dist-info directory, the digests that its RECORD promises, by path."""
        records = [path.removesuffix("/RECORD") for path in self.digests if path.endswith(".dist-info/RECORD")]
        return {info: dict(self._promised(info)) for info in sorted(_outermost(records))}

    @cached_property
    def metadata(self) -> dict[str, dict[str, str]]:
        """Return the digests of what is in each .dist-info directory, by path."""
        metadata: dict[str, dict[str, str]] = {info: {} for info in self.records}
        for path, digest in self.digests.items():
            info, is_inside, _ = path.partition(".dist-info/")
            if is_inside and f"{info}.dist-info" in metadata:
                metadata[f"{info}.dist-info"][path] = digest
        return metadata

    @cached_property
    def owners(self) -> dict[str, list[str]]:
        """Return which distributions list a path; more than one may, such as tests/__init__.py."""
        owners: dict[str, list[str]] = {}
        for info, promised in self.records.items():
            for path in promised:
                owners.setdefault(path, []).append(info)
        return owners

    def broken(self, earlier: Content | None = None) -> dict[str, list[Damage]]:
        """Return the files that are not as any RECORD says, by the normalized name of the distribution.

        What was written down like this `before` was published so.
        """
        others_before = earlier.others if earlier else {}
        broken: dict[str, list[Damage]] = {}
        wrong = [(path, infos) for path, infos in self.owners.items() if not self._is_promised(path)]
        for path, infos in [*wrong, *self._unlisted()]:
            if path in others_before and others_before[path] == self.digests.get(path, ""):
                continue
            how = "is missing" if path not in self.digests else "is not what its RECORD says"
            for info in infos:
                promised = self.records[info].get(path, "")
                damage = Damage(path=path, wrong=how, distribution=_displayed(info), info=info, promised=promised)
                broken.setdefault(name_of(info), []).append(damage)
        for info in self._unrecorded():
            wrong_how = "is not whole" if info in self.records else "is missing"
            damage = Damage(path=f"{info}/RECORD", wrong=wrong_how, distribution=_displayed(info), info=info)
            broken.setdefault(name_of(info), []).append(damage)
        return broken

    def content(self, hashes: Mapping[str, Collection[str]], before: Content | None = None) -> Content:
        """Return what there is to write down; `hashes` are those that names were locked by.

        What is as it was `before`, its RECORD included, was not installed now, and keeps the hashes of then.
        """
        distributions = {}
        for info in self.records:
            record = self.digests[f"{info}/RECORD"]
            earlier = before.distributions.get(info) if before else None
            is_new = earlier is None or earlier.record != record
            locked = tuple(sorted(hashes.get(name_of(info), ()))) if is_new else earlier.hashes  # type: ignore[union-attr]
            origin = _files.read_json(self.directory / info / "direct_url.json")
            url = origin.get("url") if isinstance(origin, dict) else None
            distributions[info] = Installed(
                record=record,
                source=_report.address(url.partition("#")[0]) if isinstance(url, str) else None,
                hashes=locked,
            )
        others = {path: digest for path, digest in self.digests.items() if not self._is_promised(path)}
        absent = {path: "" for path in self.owners if path not in self.digests}
        return Content(
            proven=time.time(),
            distributions=distributions,
            others={path: digest for path, digest in others.items() if not self._is_record(path)} | absent,
            programs=tuple(sorted(path for path, measured in self._measured.items() if measured.is_program)),
        )

    def differences(self, content: Content) -> list[Damage]:
        """Return what is not as the content file says; files that were added since are no damage."""
        return [*self._altered_records(content), *self._altered_files(content), *self._altered_programs(content)]

    def added(self, content: Content) -> list[str]:
        """Return what was added since: distributions such as "six 1.17.0", and the paths of files that belong to none."""
        infos = [info for info in self.records if info not in content.distributions]
        listed = content.others.keys() | self.owners.keys() | {f"{info}/RECORD" for info in self.records}
        loose = (path for path in self.digests if path not in listed and not _is_compiled(path))
        return [*map(_displayed, infos), *sorted(loose)]

    def compiled(self, content: Content) -> list[str]:
        """Return the compiled files that are not as the content file says: Python has written them since, or damage."""
        return [
            path
            for path, digest in self.digests.items()
            if _is_compiled(path) and not self._is_promised(path) and content.others.get(path) != digest
        ]

    def proven(self, content: Content) -> Content:
        """Return the same content, proven now, with the compiled files that have come since."""
        compiled = {path: self.digests[path] for path in self.compiled(content)}
        return replace(content, proven=time.time(), others={**content.others, **compiled})

    def _altered_records(self, content: Content) -> Iterator[Damage]:
        for info, installed in content.distributions.items():
            path = f"{info}/RECORD"
            if path not in self.digests:
                yield Damage(path=path, wrong="is missing", distribution=_displayed(info))
            elif self.digests[path] != installed.record:
                yield Damage(path=path, wrong="has changed", distribution=_displayed(info))

    def _altered_files(self, content: Content) -> Iterator[Damage]:
        for path, digest in content.others.items():
            # Python may write it anew (see `compiled`), unless something else is in its way.
            if _is_compiled(path) and (path in self.digests or not os.path.lexists(self.directory / path)):
                continue
            if self.digests.get(path, "") != digest and not self._is_promised(path):
                owner = next(map(_displayed, self.owners.get(path, ())), None)
                wrong = "has changed" if path in self.digests else "is missing"
                yield Damage(path=path, wrong=wrong, distribution=owner)
        for path, infos in self.owners.items():
            if path in content.others or not any(info in content.distributions for info in infos):
                continue
            if not self._is_promised(path) and not (_is_compiled(path) and path in self.digests):
                wrong = "has changed" if path in self.digests else "is missing"
                yield Damage(path=path, wrong=wrong, distribution=_displayed(infos[0]))

    def _altered_programs(self, content: Content) -> Iterator[Damage]:
        for path in content.programs:
            if path in self._measured and not self._measured[path].is_program:
                yield Damage(path=path, wrong="can no longer be executed")

    def _is_promised(self, path: str) -> bool:
        digest = self.digests.get(path)
        return digest is not None and any(self.records[info][path] == digest for info in self.owners.get(path, ()))

    def _unlisted(self) -> Iterator[tuple[str, list[str]]]:
        """Return the files that no RECORD names, with whose they may be: a RECORD may have lost its end."""
        sites = {os.path.dirname(info) for info in self.records}  # noqa: PTH120
        sharers = {info: {info} for info in self.records}  # an empty RECORD does not even name itself
        for path, infos in self.owners.items():
            sharers.setdefault(_package(path, sites), set()).update(infos)
        for path, digest in self.digests.items():
            package = "" if path in self.owners or digest.startswith(_LINK) else _package(path, sites)
            is_expected = _is_compiled(path) or self._is_record(path) or path.endswith(_SIGNATURES)
            if package in sharers and package and not is_expected:
                yield path, sorted(sharers[package])

    def _unrecorded(self) -> list[str]:
        """Return the .dist-info directories that uv leaves where it fails, and then takes for whole: their RECORD is none.

        One that has lost its end does not name itself, and INSTALLER, which comes after it, is not there.
        """
        infos = {
            f"{info}.dist-info"
            for info, inside, _ in (path.partition(".dist-info/") for path in self.digests)
            if inside
        }
        without = {info for info in _outermost(infos) - self.records.keys() if f"{info}/METADATA" not in self.owners}
        half = {
            info for info in self.records if f"{info}/INSTALLER" not in self.digests and not self._names_itself(info)
        }
        return sorted(without | half)

    def _names_itself(self, info: str) -> bool:
        own = f"{os.path.basename(info)}/RECORD"  # noqa: PTH119
        return any(len(row) > 2 and row[0].endswith(own) for row in record_rows(self.directory / info / "RECORD"))

    def _is_record(self, path: str) -> bool:
        return path.endswith("/RECORD") and path.removesuffix("/RECORD") in self.records

    def _promised(self, info: str) -> Iterator[tuple[str, str]]:
        site = os.path.dirname(info)  # noqa: PTH120
        for row in record_rows(self.directory / info / "RECORD"):
            algorithm, _, digest = row[1].partition("=") if len(row) > 1 else ("", "", "")
            path = os.path.normpath(os.path.join(site, row[0])) if row and row[0] else ""  # noqa: PTH118
            if not digest or not path or path.startswith(("/", "..")):
                continue
            yield path, row[1] if algorithm == "sha256" else self._other_digest(path, algorithm, row[1])

    def _other_digest(self, path: str, algorithm: str, promised: str) -> str:
        """Return the SHA-256 of a file that keeps what a RECORD promises by another algorithm, else the promise."""
        # shake's digests have no length of their own, and RECORD names none.
        if algorithm not in hashlib.algorithms_guaranteed or algorithm.startswith("shake"):
            return promised
        try:
            actual = hashlib.new(algorithm, (self.directory / path).read_bytes()).digest()
        except OSError:
            return promised
        return self.digests.get(path, promised) if _written(algorithm, actual) == promised else promised


def write(directory: Path, content: Content) -> None:
    """Write down what is in a directory, before the receipt that says that it is complete."""
    _state.write(directory / FILE, content, indent=None)


def read(directory: Path) -> Content | None:
    """Return what was written down, or None: a version before there was such a file made it, or it is damaged."""
    return _state.read(directory / FILE, Content) if _state.is_sealed(directory / FILE) else None


def fault(directory: Path) -> str | None:
    """Return why the content file cannot be used, or None."""
    is_damaged = os.path.lexists(directory / FILE) and read(directory) is None
    return _state.fault(directory / FILE, Content) or (f"{short(directory / FILE)} is damaged" if is_damaged else None)


def proven(directory: Path) -> float | None:
    """Return when a directory's content was last compared with what was installed, in seconds since 1970, or None."""
    content = read(directory)
    return content.proven if content else None


def unproven(earlier: Content | None, content: Content, hashes: Mapping[str, Collection[str]]) -> list[str]:
    """Return the distributions that were left as they were, though their lock file now asks for other files."""
    return [
        _displayed(info)
        for info, distribution in content.distributions.items()
        if (locked := hashes.get(name_of(info)))
        and not (distribution.hashes and set(distribution.hashes) <= set(locked))
        and earlier is not None
        and info in earlier.distributions
    ]


def summary(damages: Iterable[Damage]) -> str:
    """Return the first few of what is wrong, and how many more there are."""
    listed = list(damages)
    more = f" and {len(listed) - NAMED} more" if len(listed) > NAMED else ""
    return ", ".join(map(str, listed[:NAMED])) + more


def pluralize(number: int, noun: str) -> str:
    """Return such as "1 file" or "18,406 files"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def is_record(path: Path) -> bool:
    """Say whether a RECORD can be read by every installer: each of its lines has three fields."""
    import csv

    try:
        with path.open(newline="", encoding="utf-8") as file:
            return {len(row) for row in csv.reader(file)} == {3}
    except (OSError, UnicodeError, csv.Error):
        return False


def name_of(info: str) -> str:
    """Return the normalized name of the distribution whose .dist-info directory this is."""
    return re.sub(r"[-_.]+", "-", _displayed(info).partition(" ")[0]).lower()


def _displayed(info: str) -> str:
    return os.path.basename(info).removesuffix(".dist-info").replace("-", " ", 1)  # noqa: PTH119


def _package(path: str, sites: Collection[str]) -> str:
    """Return the directory, beside those of other packages, that a path lies in; nothing for any other path."""
    site = next((site for site in sites if _is_below(path, site)), None)
    if site is None:
        return ""
    name, slash, _ = path[len(site) + bool(site) :].partition("/")
    return f"{site}/{name}" if slash else ""


def _outermost(infos: Iterable[str]) -> set[str]:
    """Leave out the .dist-info directories that a package has vendored: all that is in them is content of that package."""
    parents = {info: os.path.dirname(info) for info in infos}  # noqa: PTH120
    tops = {*parents.values()}
    tops = {parent for parent in tops if not any(_is_below(parent, other) for other in tops)}
    return {info for info, parent in parents.items() if parent in tops}


def _is_below(path: str, parent: str) -> bool:
    return path != parent and (not parent or path.startswith(f"{parent}/"))


def _is_compiled(path: str) -> bool:
    return path.endswith(".pyc") and "/__pycache__/" in f"/{path}"


def record_rows(record: Path) -> list[list[str]]:
    """Return the rows of a RECORD, each path relative to the directory that it was installed into; none of an unreadable one."""
    import csv

    # A damaged RECORD promises less; what it no longer names is then nobody's, and that shows.
    try:
        with record.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            rows = list(csv.reader(file))
    except (OSError, csv.Error):
        return []
    # Poetry's, of a project itself, has absolute paths. Its own row says from where, also after the environment has moved.
    own = f"/{record.parent.name}/RECORD"
    site = next(
        (row[0].removesuffix(own) for row in rows if row and row[0].startswith("/") and row[0].endswith(own)), ""
    )
    return [
        [os.path.relpath(row[0], site), *row[1:]] if site and row and row[0].startswith("/") else row for row in rows
    ]


class _Measured(NamedTuple):
    """A file's digest, and what the file system said of it then: its inode, its size in bytes, its time, its mode."""

    status: tuple[int, int, int, int]
    digest: str

    @property
    def is_program(self) -> bool:
        return bool(self.status[3] & stat.S_IXUSR) and not self.digest.startswith(_LINK)


def _measured(directory: str, earlier: Mapping[str, _Measured]) -> dict[str, _Measured]:
    start, files, measured = len(directory) + 1, [], {}
    for entry in _walk(directory):
        path, entry_status = entry.path[start:], entry.stat(follow_symlinks=False)
        status = (entry_status.st_ino, entry_status.st_size, entry_status.st_mtime_ns, entry_status.st_mode)
        if path in _OWN:
            continue
        if entry.is_symlink():
            measured[path] = _Measured(status, f"{_LINK}{os.readlink(entry.path)}")  # noqa: PTH115
        elif path in earlier and earlier[path].status == status:
            measured[path] = earlier[path]
        else:
            files.append((path, status))
    from concurrent.futures import ThreadPoolExecutor  # only what builds and verifies waits for it

    threads = os.cpu_count() or 1
    pieces = threads * _CHUNKS
    chunks = [files[number::pieces] for number in range(pieces)]
    with ThreadPoolExecutor(threads) as pool:  # hashing a large piece leaves Python's lock to others
        for chunk in pool.map(lambda chunk: [(path, digest(f"{directory}/{path}")) for path, _ in chunk], chunks):
            measured.update({path: _Measured((0, 0, 0, 0), entry_status) for path, entry_status in chunk})
    return measured | {path: _Measured(status, measured[path].digest) for path, status in files}


def _walk(directory: str) -> Iterator[os.DirEntry[str]]:
    waiting = [directory]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as listing:
                entries = list(listing)
        except OSError as error:
            if error.errno not in _UNREADABLE:
                raise
            continue  # what lies in it counts as missing
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                waiting.append(entry.path)
            elif entry.is_symlink() or entry.is_file(follow_symlinks=False):
                yield entry


def digest(path: str | Path) -> str:
    """Return a file's SHA-256 as a RECORD has it, or nothing where there is no file that can be read."""
    sha256 = hashlib.sha256()
    try:
        # os.open and os.read: this runs once for each of tens of thousands of files.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            while block := os.read(descriptor, _BLOCK):
                sha256.update(block)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _UNREADABLE:
            raise
        return ""
    return _written("sha256", sha256.digest())


def digest_of(content: bytes) -> str:
    """Return the SHA-256 of a file's content as a RECORD has it."""
    return _written("sha256", hashlib.sha256(content).digest())


def promised(directory: Path, info: str) -> list[str]:
    """Return the paths, relative to a directory, that the RECORD of one of its distributions names."""
    site = os.path.dirname(info)  # noqa: PTH120
    recorded = (row[0] for row in record_rows(directory / info / "RECORD") if row and row[0])
    paths = (os.path.normpath(os.path.join(site, name)) for name in recorded)  # noqa: PTH118
    return [path for path in paths if not path.startswith(("/", ".."))]


def _written(algorithm: str, digest: bytes) -> str:
    encoded = binascii.b2a_base64(digest, newline=False).rstrip(b"=").translate(_URL_SAFE)
    return f"{algorithm}={encoded.decode()}"
