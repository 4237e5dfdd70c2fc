"""Compiled files of packages, kept for all environments of an account: what one build has compiled, the next ones copy.

Python takes a compiled file for its source's where it names the time and the size of that (PEP 552). So all sources have the same
time here: compiled files are then the same bytes in every environment, and a file system with reflinks stores them once.
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from colab_env import _file_locks, _files, _process, _state, content
from colab_env.errors import DiskFullError, NotWritableError
from colab_env.named_env import repacking

if TYPE_CHECKING:
    from colab_env.interpreter import Interpreter
    from colab_env.machine import Machine

_STORE = "compiled"  # in the data directory, by the version of Python, then by the contents of a distribution
_INDEX = "colab-env-compiled.json"
_SOURCE_TIME = 315532800  # seconds since 1970: 1980-01-01, the first day that a wheel can name
_TIME = slice(8, 12)  # bytes of a compiled file's header
_DAY = 86400  # seconds


@dataclass(frozen=True, kw_only=True)
class Compiled:
    """The compiled files of a distribution: the digest of each by its path; the first is stored as `0`, the next as `1`."""

    schema: ClassVar[str] = "compiled"
    version: ClassVar[int] = 1

    files: dict[str, str]


def date_sources(directory: Path) -> None:
    """Give every source in an environment the same time, so that a compiled file of one fits all of its copies."""
    for site in directory.glob("lib/python3*/site-packages"):
        for parent, _, names in os.walk(site):
            for name in names:
                if name.endswith(".py"):
                    _files.set_time(f"{parent}/{name}", _SOURCE_TIME)


def fill(directory: Path, survey: content.Survey, *, python: Interpreter, machine: Machine) -> content.Survey:
    """Give the packages in an environment their compiled files, and return what is in it then; `survey` is what was.

    A daemon's account may not write them there, and would compile at every start. A stored file is taken only if it is what
    was written down of it; everything else is compiled now, by the environment's own Python.
    """
    library = next(path.name for path in directory.glob("lib/python3*"))  # a free-threaded Python has one of its own
    store = machine.data / _STORE / f"{library}-{python.version}"
    entries = {info: store / repacking.content_hash(info, survey).removeprefix("sha256:") for info in survey.records}
    copied = {info: _copy_in(entry, directory) for info, entry in entries.items()}
    survey = content.Survey(directory, earlier=survey)
    wrong = [
        info
        for info, files in copied.items()
        if files is None or any(survey.digests.get(path) != digest for path, digest in files.items())
    ]
    if not wrong:
        return survey
    for info in wrong:
        _files.discard(entries[info])
        for path in copied[info] or ():
            _files.unlink(directory / path)  # what is not right here would count as up to date
    _compile(directory, machine=machine)
    survey = content.Survey(directory, earlier=survey)
    by_source = _by_source(survey)
    for info in wrong:
        compiled = [path for source in survey.records[info] for path in by_source.get(source, ())]
        _store(survey, [path for path in compiled if _is_dated(directory / path)], entries[info])
    return survey


def forget_unused(machine: Machine, *, days: float) -> None:
    """Delete what no build has copied or compiled for so many days."""
    for entry in (machine.data / _STORE).glob("*/*"):
        if entry.stat().st_mtime < time.time() - days * _DAY:
            _files.discard(entry)


def _copy_in(entry: Path, directory: Path) -> dict[str, str] | None:
    """Copy the stored files of a distribution into an environment; return their digests, or None where none are stored."""
    stored = _state.read(entry / _INDEX, Compiled)
    if stored is None:
        return None
    with contextlib.suppress(OSError):  # which says when it was of use last
        _files.set_time(entry, time.time())
    for parent in {os.path.dirname(path) for path in stored.files}:  # noqa: PTH120
        _files.make_directory(directory / parent)
    for number, path in enumerate(stored.files):
        with contextlib.suppress(FileNotFoundError):  # the digest that is not there then says so
            _files.clone(entry / str(number), directory / path)
    return stored.files


def _store(survey: content.Survey, paths: list[str], entry: Path) -> None:
    # Another run may have stored it meanwhile, and where the disk is full it is done without.
    with (
        contextlib.suppress(OSError, NotWritableError, DiskFullError),
        _file_locks.private_directory(entry.parent) as scratch,
    ):
        filled = scratch / "filled"
        _files.make_directory(filled)
        for number, path in enumerate(paths):
            _files.clone(survey.directory / path, filled / str(number))
        _state.write(filled / _INDEX, Compiled(files={path: survey.digests[path] for path in paths}), indent=None)
        _files.rename(filled, entry)


def _by_source(survey: content.Survey) -> dict[str, list[str]]:
    """Return the compiled files that there are, by the path of their source."""
    compiled: dict[str, list[str]] = {}
    for path in survey.digests:
        parent, is_compiled, name = path.rpartition("/__pycache__/")
        if is_compiled:
            compiled.setdefault(f"{parent}/{name.partition('.')[0]}.py", []).append(path)
    return compiled


def _is_dated(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(_TIME.stop)[_TIME] == _SOURCE_TIME.to_bytes(4, "little")


def _compile(directory: Path, *, machine: Machine) -> None:
    environ = _process.child_environ(machine.environ)
    environ.pop("SOURCE_DATE_EPOCH", None)  # with it, compileall writes files that say no time
    for site in directory.glob("lib/python3*/site-packages"):
        argv: list[str | Path] = [directory / "bin/python", "-I", "-S", "-m", "compileall"]
        # What cannot be compiled, its import will say: templates, and code for other versions of Python.
        _process.run([*argv, "-q", "-q", "-j", "0", "-r", "100", site], environ=environ, check=False)
