"""The ledger: what was at a path before colab-env changed it, written down before the change, so that `undo` can put it back.

Only `_files`, the overlay and the steps write here. What lies in the data directory is not recorded: all of it is
colab-env's own. The file is only appended to, one line of JSON for each entry, with a checksum; a torn or damaged line
is no entry, and takes no other one with it.
"""

from __future__ import annotations

import contextlib
import contextvars
import fcntl
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import Any

from colab_env.errors import NotWritableError
from colab_env.machine import Machine
from colab_env.results import short

ABSENT = "absent"
TREE = "tree"  # a directory that the step fills and marks as ours
BY_TOOL = "tool"  # what uv, pip, Poetry or conda makes
UNKNOWN = "unknown"  # a tool is about to write the file
# What Poetry and conda make for themselves below the home directory. Their download caches are everybody's, and stay.
_TOOLS = (".config/pypoetry", ".conda")


@dataclass(frozen=True, kw_only=True)
class File:
    """A regular file; its content is kept in the ledger's directory under its SHA-256."""

    sha256: str
    mode: int
    mtime_ns: int


@dataclass(frozen=True, kw_only=True)
class Link:
    """A symbolic link."""

    target: str


@dataclass(frozen=True, kw_only=True)
class Directory:
    """A directory, whose content has entries of its own."""


@dataclass(frozen=True, kw_only=True)
class MovedTo:
    """A directory that was renamed."""

    path: Path


@dataclass(frozen=True, kw_only=True)
class Overlaid:
    """A directory of the machine that a tool installs into; the overlay keeps its originals at `saved`."""

    saved: Path


@dataclass(frozen=True, kw_only=True)
class Installed:
    """Packages of the system that apt installs together; the path is where dpkg lists the files of the first one."""

    packages: tuple[str, ...]


Before = File | Link | Directory | None
After = (
    str | MovedTo | Overlaid | Installed
)  # a string is the SHA-256 of the file that comes, or one of the words above


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One change: the step that made it, the path, what was there, what comes, and the parents that did not exist."""

    step: str
    path: Path
    before: Before
    after: After
    made: tuple[Path, ...] = ()

    @property
    def sha256_before(self) -> str | None:
        return self.before.sha256 if isinstance(self.before, File) else None


@dataclass(frozen=True, kw_only=True)
class Record:
    """The entries that are not undone, oldest first, and the number of lines that cannot be read.

    `begins` says whether the first one is there. `made` are parents that were made for what is undone, and that were in use
    then.
    """

    entries: tuple[Entry, ...]
    damaged: int
    begins: bool = field(default=True, compare=False)
    made: tuple[Path, ...] = ()


class Ledger:
    """The ledger of one data directory."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.directory = data / "journal"  # the first release's name for it, whose entries are read too
        self._file = self.directory / "journal.jsonl"

    def exists(self) -> bool:
        """Say whether anything has been written down yet."""
        return os.path.lexists(self._file)

    def is_begun(self) -> bool:
        """Say whether its first line is or was there. That of a run that was killed at it has no end, and no change followed."""
        is_torn = not any(line.endswith(b"\n") for line in self._lines())
        return self.exists() and (not is_torn or os.path.lexists(self.data / "chosen.json"))

    def read(self) -> Record:
        """Read the whole ledger, once. A last line without its end is that of a run that was killed: no change followed."""
        entries: list[Entry | None] = []
        by_path: dict[Path, list[int]] = {}
        created: list[Path] = []
        damaged = 0
        lines = self._lines()
        for line in lines:
            values = _checked(line)
            # One pass: parsing all of it for each note cost 7 seconds for 200 links with 1,800 entries.
            if values is not None and isinstance(values.get("undone"), str):
                for number in by_path.pop(Path(values["undone"]), []):
                    entries[number] = None
                created += [Path(text) for text in _texts(values.get("made"))]
            elif values is not None and (entry := _parsed(values)) is not None:
                by_path.setdefault(entry.path, []).append(len(entries))
                entries.append(entry)
            elif line.endswith(b"\n"):
                damaged += 1
        open_entries = tuple(entry for entry in entries if entry is not None)
        begins = bool(lines) and _is_first(lines[0])
        return Record(entries=open_entries, damaged=damaged, begins=begins, made=tuple(dict.fromkeys(created)))

    def content(self, sha256: str) -> Path:
        """Return where the content with this hash is kept."""
        return self.directory / sha256

    def append(self, entry: Entry) -> None:
        """Write an entry to the disk, before the change that it is about."""
        self._append(_as_dict(entry))

    def undone(self, path: Path, *, made: Iterable[Path] = ()) -> None:
        """Write down that everything at this path has been put back; of the parents `made` for it, these are in use."""
        self._append({"undone": str(path), "made": [str(parent) for parent in made]})

    def keep(self, path: Path) -> Before:
        """Describe what is at a path, and keep its content if it is a file."""
        earlier = look_at(path)
        if isinstance(earlier, File):
            target = self.content(earlier.sha256)
            target.parent.mkdir(parents=True, exist_ok=True)
            # What the file says may be meant for its owner only.
            descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(path.read_bytes())
                file.flush()
                os.fsync(descriptor)
        return earlier

    def _lines(self) -> list[bytes]:
        try:
            # Anything else than a file, such as a pipe to wait at, is one damaged line.
            return self._file.read_bytes().splitlines(keepends=True) if self._file.is_file() else self._odd()
        except (FileNotFoundError, NotADirectoryError):
            return []

    def _odd(self) -> list[bytes]:
        return [b"\n"] if self.exists() else []

    def _append(self, values: Mapping[str, Any]) -> None:
        is_new = not self.directory.is_dir()
        self.directory.mkdir(parents=True, exist_ok=True)
        if self._odd() and not self._file.is_file():
            msg = f"{short(self._file)} is no file"
            raise NotWritableError(msg, hint="move it away: colab-env writes down there what it changes")
        descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        with FileIO(descriptor, "r+") as file:
            with contextlib.suppress(OSError):  # without locks, appending is still one write
                fcntl.flock(file, fcntl.LOCK_EX)
            # What a run left half written that was killed before the change goes, and takes nothing with it.
            os.ftruncate(descriptor, _end_of_lines(file))
            file.write(_line(values))
            os.fsync(descriptor)
        if is_new:
            sync_directory(self.directory)


@dataclass(kw_only=True)
class _Recording:
    """The step at work, and the directories that are ours whole, so that nothing inside them needs an entry."""

    ledger: Ledger
    step: str
    trees: set[Path] = field(default_factory=set)

    def append(self, entry: Entry) -> None:
        self.ledger.append(entry)
        self.know(entry)

    def know(self, entry: Entry) -> None:
        """Remember a directory that is ours whole, by its real path too: files are written behind links."""
        if entry.after == TREE:
            self.trees |= {entry.path, Path(os.path.realpath(entry.path))}


_recording: contextvars.ContextVar[_Recording | None] = contextvars.ContextVar("colab_env_recording", default=None)


@contextlib.contextmanager
def recording(step: str, machine: Machine, *, made: Iterable[Path] | None = None) -> Iterator[Record]:
    """Record every change inside the block as this step's; outside of such a block nothing is recorded.

    Gives what the ledger holds so far. `made` are the parents of the data directory that this run has made already.
    """
    ledger = Ledger(machine.data)
    # Poetry's and conda's own directories count only where this step is what made them.
    directories = [machine.home / name for name in _TOOLS]
    missing = {path: tuple(missing_parents(path)) for path in directories if not path.exists()}
    # The first entry is the data directory itself, in which the ledger lies.
    if not ledger.is_begun():
        earlier = look_at(machine.data)
        outer = missing_parents(machine.data) if made is None else made
        ledger.append(Entry(step=step, path=machine.data, before=earlier, after=BY_TOOL, made=tuple(outer)))
    record = ledger.read()
    current = _Recording(ledger=ledger, step=step, trees={machine.data, Path(os.path.realpath(machine.data))})
    for entry in record.entries:
        current.know(entry)
    token = _recording.set(current)
    try:
        yield record
    finally:
        _recording.reset(token)
        for path, parents in missing.items():
            if path.exists():
                ledger.append(Entry(step=step, path=path, before=None, after=BY_TOOL, made=parents))


@contextlib.contextmanager
def paused() -> Iterator[None]:
    """Record nothing inside the block, which keeps records of its own."""
    token = _recording.set(None)
    try:
        yield
    finally:
        _recording.reset(token)


def note(path: Path, after: After) -> None:
    """Write down what is at this path now, and what comes."""
    current = _recording.get()
    if current is None:
        return
    path = Path(os.path.abspath(path))  # noqa: PTH100  (resolve() would follow a link)
    if not current.trees.isdisjoint(path.parents):
        return
    created = tuple(missing_parents(path))
    earlier = current.ledger.keep(path)
    current.append(Entry(step=current.step, path=path, before=earlier, after=after, made=created))


def note_packages(packages: Iterable[str]) -> None:
    """Write down that apt is about to install these packages, none of which was there."""
    names = tuple(packages)
    current = _recording.get()
    if current is not None and names:
        path = Path(f"/var/lib/dpkg/info/{names[0]}.list")
        current.append(Entry(step=current.step, path=path, before=None, after=Installed(packages=names)))


def swept(record: Record) -> Iterator[Path]:
    """Return the paths beside which a run that was killed may have left something."""
    for entry in record.entries:
        if not isinstance(entry.after, Overlaid | Installed) and entry.after != BY_TOOL:
            yield entry.path
        if isinstance(entry.after, MovedTo):
            yield entry.after.path


def forget(path: Path) -> None:
    """Write down that the changes at a path have been taken back by the step that made them."""
    current = _recording.get()
    if current is not None:
        current.ledger.undone(path)


def made_by_tool(path: Path, *, parents: Iterable[Path]) -> None:
    """Write down that a tool has made what is at this path, and these parents of it."""
    current = _recording.get()
    if current is not None:
        entry = Entry(step=current.step, path=path, before=None, after=BY_TOOL, made=tuple(parents))
        current.append(entry)


def look_at(path: Path) -> Before:
    """Describe what is at a path, or None."""
    try:
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    # Never through a link: what it leads to is somebody else's.
    if stat.S_ISLNK(status.st_mode):
        return Link(target=str(path.readlink()))
    if stat.S_ISREG(status.st_mode):
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        return File(sha256=sha256, mode=stat.S_IMODE(status.st_mode), mtime_ns=status.st_mtime_ns)
    return Directory()


def sync_directory(path: Path) -> None:
    """Bring the names in a directory to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):  # some network file systems know no such thing
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _end_of_lines(file: FileIO) -> int:
    """Return where the last whole line ends."""
    position = file.seek(0, os.SEEK_END)
    while position:
        # From the end and a block at a time: the file grows with every step, and only its last line can be torn.
        start = max(0, position - 4096)
        file.seek(start)
        newline = file.read(position - start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        position = start
    return 0


def _line(values: Mapping[str, Any]) -> bytes:
    return (json.dumps({**values, "version": 2, "sum": _sum(values)}) + "\n").encode()


def _sum(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def _checked(line: bytes) -> dict[str, Any] | None:
    """Return what a line says, or None. Lines of the first version have no checksum."""
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(values, dict):
        return None
    # A version that is not known here counts as damaged, so that nothing is undone by half an understanding of it.
    version, checksum = values.pop("version", 1), values.pop("sum", None)
    return values if version == 1 or (version == 2 and checksum == _sum(values)) else None


def _is_first(line: bytes) -> bool:
    """Say whether a line is about the data directory itself. The first release, without checksums, wrote no such line."""
    values = _checked(line)
    return values is not None and (values.get("after") == BY_TOOL or b'"sum": ' not in line)


def _as_dict(entry: Entry) -> dict[str, Any]:
    return {
        "step": entry.step,
        "path": str(entry.path),
        "before": _before_dict(entry.before),
        "after": _after_value(entry.after),
        "made": [str(path) for path in entry.made],
    }


def _before_dict(state: Before) -> dict[str, Any] | None:
    match state:
        case File():
            return {"kind": "file", "sha256": state.sha256, "mode": state.mode, "mtime_ns": state.mtime_ns}
        case Link():
            return {"kind": "link", "link": state.target}
        case Directory():
            return {"kind": "directory"}
    return None


def _after_value(after: After) -> Any:
    match after:
        case MovedTo():
            return {"moved_to": str(after.path)}
        case Overlaid():
            return {"saved": str(after.saved)}
        case Installed():
            return {"packages": list(after.packages)}
    return after


def _parsed(values: Mapping[str, Any]) -> Entry | None:
    match values:
        case {"step": str(step), "path": str(path), "before": before, "after": after, "made": [*made]} if _is_path(
            path
        ):
            pass
        case _:
            return None
    try:
        return Entry(
            step=step, path=Path(path), before=_before(before), after=_after(after), made=tuple(map(Path, made))
        )
    except (TypeError, ValueError):
        return None


def _before(value: Any) -> Before:
    match value:
        case None:
            return None
        case {"kind": "file", "sha256": str(sha256), "mode": int(mode), "mtime_ns": int(mtime_ns)} if _is_hash(sha256):
            return File(sha256=sha256, mode=mode, mtime_ns=mtime_ns)
        case {"kind": "link", "link": str(target)}:
            return Link(target=target)
        case {"kind": "directory"}:
            return Directory()
    raise ValueError(value)


def _after(value: Any) -> After:
    match value:
        case str():
            return value
        case {"moved_to": str(path)}:
            return MovedTo(path=Path(path))
        case {"saved": str(path)}:
            return Overlaid(saved=Path(path))
        case {"packages": [*packages]} if all(isinstance(name, str) for name in packages):
            return Installed(packages=tuple(packages))
    raise ValueError(value)


def _texts(value: Any) -> list[str]:
    return [text for text in value if isinstance(text, str)] if isinstance(value, list) else []


def _is_path(text: str) -> bool:
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def _is_hash(text: str) -> bool:
    return re.fullmatch("[0-9a-f]{64}", text) is not None


def missing_parents(path: Path) -> list[Path]:
    """Return the parents of a path that do not exist, the innermost first."""
    return [parent for parent in path.parents if not parent.exists()]
