"""Install into a directory that the machine already uses: its own files are saved first and put back."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import stat
import threading
import time
from collections.abc import Container, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import ClassVar

from colab_env import _files, _ledger, _report, _state, _transactions
from colab_env.errors import NotOursError
from colab_env.miniconda._originals import Entry, Originals, behind_links, look_at, walk
from colab_env.miniconda._prefix import is_directory, is_further_down, names_in, remove_empty, remove_new, repoint
from colab_env.results import short

_STAYS = ("lib/", "include/")  # conda's programs need the libraries that conda brought
OWN_TREES = ("pkgs", "conda-meta")  # conda goes on writing here between two transactions
OPEN = "colab-env-unfinished"  # a file in the prefix while a transaction is open
_JOURNAL, _MANIFEST = "transaction.json", "manifest.json"
_BEAT = 1.0  # seconds between two touches of the journal while its transaction is open
_LATE = 5.0  # seconds by which a touch may come late on a busy machine: what appears within them counts as conda's
_CLOCK = 0.1  # seconds: the clock of file systems is behind that of programs, by milliseconds
STAGE_MARK = "colab-env-stage"  # a file in the tree in which conda works: it is ours to delete
_SHORTEST_STAGE = 4  # characters of a name that nobody else has chosen
_SCRATCH = ".colab-env-"  # in the names of what an interrupted taking back leaves
_ASIDE = "aside-"


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What finished transactions did, as paths below the prefix.

    `new` was not there before, `put_back` was overwritten and restored at once, `overwritten` stays overwritten and has
    its originals kept. `last` is how a transaction last left what is new or overwritten.
    """

    schema: ClassVar[str] = "overlay"
    version: ClassVar[int] = 1

    new: tuple[str, ...]
    put_back: tuple[str, ...]
    overwritten: Mapping[str, Entry]
    last: Mapping[str, Entry]

    @classmethod
    def read(cls, saved: Path) -> Manifest | None:
        return _state.read(saved / _MANIFEST, cls)

    @classmethod
    def empty(cls) -> Manifest:
        return cls(new=(), put_back=(), overwritten={}, last={})

    @classmethod
    def fault(cls, saved: Path) -> str | None:
        """Return why it is not known what finished transactions did, or None when it is, or there were none."""
        return _state.fault(saved / _MANIFEST, cls)

    def write(self, saved: Path) -> None:
        _state.write(saved / _MANIFEST, self)


@dataclass(frozen=True, kw_only=True)
class Transaction:
    """What there was when a transaction began: whether the prefix `existed`, what is not looked into, every file."""

    schema: ClassVar[str] = "overlay transaction"
    version: ClassVar[int] = 1

    prefix: Path
    existed: bool
    closed: tuple[str, ...]
    manifest: Manifest | None
    before: Mapping[str, Entry]
    downloads: tuple[str, ...] | None = None
    """The names in conda's cache of packages, which is not looked into."""
    began: float | None = None
    """In seconds since the epoch. The time of this file says then until when the run lived; None: the first version's."""
    taken: tuple[str, ...] | None = None
    """Once taking back has begun, all that it takes."""

    @classmethod
    def read(cls, saved: Path) -> Transaction | None:
        return _state.read(saved / _JOURNAL, cls)


class Overlay:
    """One open transaction. Its journal is on the disk before anything in the prefix changes."""

    def __init__(self, prefix: Path, *, saved: Path, owned: bool = False) -> None:
        self.prefix = prefix
        self.saved = saved
        self.is_settled = False
        self._manifest = Manifest.read(saved) or Manifest.empty()
        self._originals = Originals(saved / "transaction")
        self._conda = frozenset({*self._manifest.new, *self._manifest.overwritten})
        self._owned = owned
        has_packages = os.path.lexists(prefix / "pkgs")
        self._closed = frozenset({"pkgs"} if not has_packages or self.is_conda("pkgs") else ())
        self._existed = prefix.exists()
        self._downloads: frozenset[str] | None = frozenset(names_in(prefix / "pkgs"))
        self.before: dict[str, Entry] = {}
        self._put_back: tuple[str, ...] = ()

    @classmethod
    def left_open(cls, journal: Transaction, prefix: Path, *, saved: Path) -> Overlay:
        """Return the transaction of a run that was killed."""
        overlay = cls(prefix, saved=saved)
        overlay._existed = journal.existed
        overlay._closed = frozenset(journal.closed)
        overlay.before = dict(journal.before)
        overlay._downloads = None if journal.downloads is None else frozenset(journal.downloads)
        return overlay

    def is_conda(self, path: str) -> bool:
        """Say whether an earlier transaction brought what is at this path."""
        return self._owned or path in self._conda

    def stays_machines(self, name: str) -> bool:
        """Say whether the machine has something at this path that conda shall not replace."""
        exists = name in self.before and os.path.lexists(self.prefix / name)
        return exists and not self.is_conda(name) and not name.startswith(_STAYS)

    def hides(self, name: str, link: Path, *, path: str) -> bool:
        """Say whether `link`, as `name` in the prefix, would hide a command further down the search path `path`."""
        return name.startswith("bin/") and link.is_symlink() and is_further_down(self.prefix / name, path=path)

    def begin(self) -> None:
        """Save everything that could be overwritten, then write the journal."""
        _files.remove(self._originals.directory)
        try:
            entries = {**self._look(), **behind_links(self.prefix)}
            self.before = self._originals.keep(self.prefix, entries, is_conda=self.is_conda)
            _files.sync_tree(self.saved)  # the journal promises that they are whole
            journal = Transaction(
                prefix=self.prefix,
                existed=self._existed,
                closed=tuple(sorted(self._closed)),
                manifest=Manifest.read(self.saved),
                before=self.before,
                downloads=None if self._downloads is None else tuple(sorted(self._downloads)),
                began=time.time(),
            )
            _state.write(self.saved / _JOURNAL, journal, indent=None)
        except BaseException:
            self._close()
            raise

    def clear(self) -> None:
        """Take away what earlier transactions brought, except downloaded packages: another version comes."""
        remove_new(self.prefix, self._manifest.new, keep=self._closed)
        originals = Originals(self.saved / "originals", is_permanent=True)
        for name, entry in sorted(self._manifest.overwritten.items()):
            originals.restore(self.prefix / name, entry)

    def settle(self, *, python: Path | None = None, path: str = "") -> None:
        """Put the machine's own commands and settings back now, and let conda's scripts run on `python` instead.

        New aliases in `bin` (`python3` ...) that would hide a command further down the search path `path` go away.
        """
        current = self._look()
        mine = [name for name in self._changed(current) if not self.is_conda(name) and not name.startswith(_STAYS)]
        # conda's Python stays under its full name, `python3.X`; the short names are the machine's again.
        for name in sorted(mine):
            self._originals.restore(self.prefix / name, self.before[name])
        for name in self._new(current):
            if self.hides(name, self.prefix / name, path=path):
                _files.remove(self.prefix / name)
        if python is not None:
            repoint(self.prefix, current.keys() - set(mine), python=python)
        self._put_back = tuple(mine)
        self.is_settled = True

    def commit(self) -> None:
        """Keep the originals of what stays overwritten, record what is new, close the transaction."""
        current, past = self._look(), self._manifest
        done = {*self._conda, *self._put_back}
        staying = {name: entry for name, entry in self._changed(current).items() if name not in done}
        new, overwritten = {*past.new, *self._new(current)}, {**past.overwritten, **staying}
        manifest = Manifest(
            new=tuple(sorted(new)),
            put_back=tuple(sorted({*past.put_back, *self._put_back})),
            overwritten={**past.overwritten, **self._originals.extract(staying, self.saved / "originals")},
            last={name: self._last(name, current[name]) for name in current.keys() & {*new, *overwritten}},
        )
        # In a prefix of its own all is conda's, and `undo` takes the directory as a whole.
        if not self._owned:
            manifest.write(self.saved)
        self._close()

    def roll_back(self) -> None:
        """Make the prefix what it was when the transaction began. Can be repeated after an interruption."""
        if journal := Transaction.read(self.saved):
            self._take_back(journal, self._look(), somebodys=frozenset())

    def take_back(self, journal: Transaction) -> None:
        """Do that for a run that was killed; what was put there or changed after its end is somebody's and stays.

        Such as a program that `pip install` has brought since. What is taken is written down first: deleting one name of
        a file changes the times of its others, so that a second attempt could not tell any more.
        """
        current = self._look()
        touched = self._new(current) | self._downloaded() | self._changed(current).keys()
        ended = None if journal.began is None else (self.saved / _JOURNAL).stat().st_mtime + _BEAT + _LATE
        inodes = {entry.inode for entry in self.before.values()}
        taken = {
            name
            for name in touched
            if (journal.taken is None or name in journal.taken or _SCRATCH in name)
            and not _is_somebodys(self.prefix / name, since=journal.began, until=ended, originals=inodes)
        }
        somebodys = touched - taken
        _state.write(self.saved / _JOURNAL, replace(journal, taken=tuple(sorted(taken))), indent=None)
        with _touching(self.saved / _JOURNAL):
            is_all_back = self._take_back(journal, current, somebodys=somebodys)
        if somebodys:
            count = f"{len(somebodys)} path{'' if len(somebodys) == 1 else 's'}"
            originals = "" if is_all_back else f"; what was there before is in {short(max(set_aside(self.saved)))}"
            _report.keep(
                f"Left in {short(self.prefix)}, because somebody changed it since: {count}, such as {min(somebodys)}{originals}"
            )

    def _take_back(self, journal: Transaction, current: Mapping[str, Entry], *, somebodys: AbstractSet[str]) -> bool:
        """Say whether every original is back."""
        new = self._new(current) - somebodys
        for name in self._downloaded() - somebodys:  # the space is given back too: it may be what was short
            _files.remove(self.prefix / name)
        is_cache_recorded = "pkgs" in self._closed and self._downloads is not None
        if is_cache_recorded and "pkgs" in new:
            remove_empty(self.prefix / "pkgs")
        remove_new(self.prefix, new, keep=frozenset({*current.keys() - new, *(["pkgs"] if is_cache_recorded else [])}))
        blocked = {str(parent) for name in somebodys for parent in PurePath(name).parents}
        is_all_back = True
        for name, entry in sorted(self._changed(current).items()):
            parents = [self.prefix / parent for parent in PurePath(name).parents if str(parent) in somebodys]
            is_below = not all(map(is_directory, parents))
            if name in somebodys or is_below or (name in blocked and not stat.S_ISDIR(entry.mode)):
                is_all_back = False
            else:
                self._originals.restore(self.prefix / name, entry)
        if not self._existed:
            remove_empty(self.prefix)
        if journal.manifest is None:
            _files.remove(self.saved / _MANIFEST)
            _files.remove(self.saved / "originals")
        else:
            journal.manifest.write(self.saved)
        if not is_all_back:
            _put_aside(self.saved)  # those originals are nobody's to throw away
        self._close()
        return is_all_back

    def _close(self) -> None:
        # The journal goes first: without it the saved files mean nothing.
        _files.remove(self.saved / _JOURNAL)
        _files.remove(self._originals.directory)
        remove_empty(self.saved)

    def _last(self, name: str, current: Entry) -> Entry:
        # What somebody changed between two transactions stays noted as it was before that.
        is_untouched = current.is_same(self.before.get(name))
        return self._manifest.last.get(name, current) if is_untouched else current

    def _look(self) -> dict[str, Entry]:
        return walk(self.prefix, closed=self._closed)

    def _downloaded(self) -> set[str]:
        """Return what came into conda's cache of packages, which is not looked into."""
        if "pkgs" not in self._closed or self._downloads is None:
            return set()
        return {f"pkgs/{name}" for name in names_in(self.prefix / "pkgs") - self._downloads}

    def _new(self, current: Mapping[str, Entry]) -> set[str]:
        return current.keys() - self.before.keys()

    def _changed(self, current: Mapping[str, Entry]) -> dict[str, Entry]:
        def present(name: str) -> Entry | None:
            return look_at(self.prefix / name) if name.startswith("../") else current.get(name)

        return {name: entry for name, entry in self.before.items() if not entry.is_same(present(name))}


@contextlib.contextmanager
def overlaying(prefix: Path, *, saved: Path, path: str = "", owned: bool = False) -> Iterator[Overlay]:
    """Let the block install into `prefix`, and give the machine back what it had there.

    `saved` is a directory of this prefix alone, outside of it, for the originals. What existed and was changed outside
    `lib` and `include` is put back when the block calls `settle`, or ends; under `lib` and `include` the originals are
    kept for `undo`. Any exception, the stop button included, restores everything; after a kill, the next call does.
    `path` is the search path that the machine finds its commands on. `owned` says that the whole prefix is conda's:
    nothing is put back but after an exception. Raises NotOursError when somebody else's conda is there.
    """
    recover(prefix, saved=saved)
    if unreadable := Manifest.fault(saved):
        msg = f"{unreadable}: it said which files in {short(prefix)} are conda's"
        raise NotOursError(msg, hint=f"choose another prefix; the machine's originals are in {short(saved)}")
    overlay = Overlay(prefix, saved=saved, owned=owned)
    if os.path.lexists(prefix / "conda-meta") and not overlay.is_conda("conda-meta"):
        msg = f"{short(prefix)} holds a conda that colab-env did not install"
        raise NotOursError(msg, hint="choose another prefix; nothing was changed")
    if not owned:
        _ledger.note(prefix, _ledger.Overlaid(saved=saved))
    with _ledger.paused():
        with _files.translate_os_errors(prefix):
            overlay.begin()
            # Until the block has written a new receipt, nothing here counts as installed.
            prefix.mkdir(exist_ok=True)
            (prefix / OPEN).touch()
            _files.discard(prefix / _files.RECEIPT)
        with _touching(saved / _JOURNAL):
            try:
                yield overlay
                _files.discard(prefix / OPEN)
                if not overlay.is_settled:
                    overlay.settle(path=path)
                overlay.commit()
            except BaseException:
                overlay.roll_back()
                raise


def recover(prefix: Path, *, saved: Path) -> bool:
    """Undo what a killed run left open; say whether there was anything.

    Of a transaction that cannot be read, the originals are set aside: without its record they belong nowhere.
    """
    if _state.fault(saved / _JOURNAL, Transaction):
        _put_aside(saved)
    journal = Transaction.read(saved)
    if journal is not None:
        # Its own record says what to do: the ledger needs no entry for each of 40,000 files.
        with _ledger.paused(), _report.activity(f"Taking back an interrupted installation in {short(prefix)}"):
            discard_stage(prefix)
            Overlay.left_open(journal, prefix, saved=saved).take_back(journal)
    elif saved.is_dir():
        _transactions.recover(saved / _JOURNAL)
        _transactions.recover(saved / _MANIFEST)
        _files.remove(saved / "transaction")
        remove_empty(saved)
    return journal is not None


def stage_of(prefix: Path) -> Path | None:
    """Return the path of the tree beside the prefix in which conda works (see `_stage`), or None where there can be none."""
    # Exactly as long as the prefix's: conda fills up the paths in programs with zero bytes to a fixed length.
    length = len(os.fsencode(prefix.name))
    stage = prefix.with_name("." + (hashlib.sha256(os.fsencode(prefix)).hexdigest() * 4)[: length - 1])
    parent = prefix.parent
    if not _SHORTEST_STAGE <= length <= 255 or not prefix.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        return None
    if prefix.stat().st_dev != parent.stat().st_dev or (stage.exists() and not (stage / STAGE_MARK).exists()):
        return None
    return stage


def discard_stage(prefix: Path) -> None:
    """Delete the tree that a killed run left beside the prefix."""
    stage = stage_of(prefix)
    if stage is not None:
        _transactions.recover(stage)
        _files.remove(stage)


@contextlib.contextmanager
def _touching(journal: Path) -> Iterator[None]:
    """Let the time of the journal say, to the second, that this run lives. Its children die with it."""
    done = threading.Event()

    def touch() -> None:
        while not done.wait(_BEAT):
            with contextlib.suppress(OSError):  # closed already
                os.utime(journal)

    thread = threading.Thread(target=touch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _is_somebodys(path: Path, *, since: float | None, until: float | None, originals: Container[int]) -> bool:
    """Say whether a path was put there or changed by nobody who worked between two moments.

    What counts is when the inode changed last: programs can set the other times, as conda and pip do. What is older was
    moved there in its directory, or lies on another disk. In a directory everybody works: what is in it decides.
    """
    if since is None or until is None or not os.path.lexists(path):
        return False
    if is_directory(path) and path.parent.name != "pkgs":
        return False
    status = path.lstat()
    return status.st_ctime > until or (status.st_ctime < since - _CLOCK and status.st_ino not in originals)


def set_aside(saved: Path) -> list[Path]:
    """Return the directories with originals that were not put back: their record is damaged, or somebody's file is there."""
    return sorted(saved.glob(f"{_ASIDE}*"))


def _put_aside(saved: Path) -> None:
    aside = next(path for number in itertools.count() if not (path := saved / f"{_ASIDE}{number}").exists())
    aside.mkdir()
    for name in ("transaction", _JOURNAL):  # without the second, the first means nothing
        if os.path.lexists(saved / name):
            (saved / name).rename(aside / name)
