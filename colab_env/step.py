"""What every step does: check, and only if something is not fine, lock, check again, build, and say how it went."""

from __future__ import annotations

import contextlib
import contextvars
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from colab_env import _file_locks, _files, _ledger, _log, _orphans, _process, _report, _transactions, venv
from colab_env.errors import ColabEnvError, NotOursError
from colab_env.interpreter import Interpreter
from colab_env.machine import Machine
from colab_env.results import StepResult, short


def project_lock(machine: Machine, project: Path) -> Path:
    """Return the lock file for work on a project."""
    # A file's name holds 255 bytes, a path may be longer.
    return machine.data / "locks" / f"project-{hashlib.sha256(os.fsencode(project)).hexdigest()[:16]}"


def machine_lock(machine: Machine) -> Path:
    """Return the lock file that every change holds with others, and `undo` alone. `undo` deletes the data directory."""
    lock_path = machine.data.with_name(f".{machine.data.name}.lock")
    is_closed = machine.data.is_dir() and not os.access(lock_path.parent, os.W_OK)  # a volume, in a directory of root's
    return machine.data / lock_path.name if is_closed else lock_path


# All that colab-env makes in its data directory.
_OWN = frozenset({
    *("bin", "chosen.json", "compiled", "conda-envs", "conda-pkgs", "downloads", "envs", "guard", "images", "index.json"),
    *("journal", "jupyter", "layers", "locks", "logs", "notebooks", "opened", "poetry", "python", "resolved", "saved"),
    *("scripts", "snapshot-key.json", "uv", "uv.toml"),
})  # fmt: skip
_held: contextvars.ContextVar[frozenset[Path]] = contextvars.ContextVar("colab_env_held", default=frozenset())
RUNNING = "locks"  # in the data directory: there are the marks of runs that may have started programs


def is_own(path: Path) -> bool:
    """Say whether what is in the data directory has a name that colab-env gives there."""
    is_scratch = path.name.startswith(".passing-") or _transactions.beside_of(path) is not None
    return path.name in _OWN or is_scratch or path.name == f".{path.parent.name}.lock"


def is_used(data: Path) -> bool:
    """Say whether colab-env has worked in a data directory."""
    return any(os.path.lexists(data / name) for name in ("journal", "chosen.json", "locks"))


def _require_own(data: Path) -> None:
    """Raise NotOursError for a directory in which somebody has what colab-env would call its own, such as `bin`."""
    if not data.is_dir():
        return
    # Looked at in this order: another first run may be making it at this moment.
    taken = sorted(path.name for path in data.iterdir() if path.name in _OWN)
    if taken and not is_used(data):
        msg = f"{short(data)} has {taken[0]!r}, which colab-env did not make"
        raise NotOursError(msg, hint="let COLAB_ENV_HOME name another directory; nothing was changed")


@contextlib.contextmanager
def changing(step: str, machine: Machine, *locks: Path, recorded: bool = True) -> Iterator[_ledger.Record]:
    """Hold all that a change of this machine needs, and clear away first what runs that ended early have left.

    `undo` waits for the block, and the block for `undo`; SIGTERM and SIGHUP are the stop button. What is changed is
    recorded as the step's, unless it is not `recorded`: then `undo` does not know it. Gives what the ledger holds so far.
    A change inside the block may name the same `locks`: it is a part of this one.
    """
    # Before the locks are made in it: `undo` takes away the parents that a step has made.
    created = _ledger.missing_parents(machine.data)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_report.logging_to(_log.Log(machine.data / "logs" / "colab-env.log")))
        stack.enter_context(_naming_the_log())
        stack.enter_context(_files.translate_os_errors(machine.data))
        stack.enter_context(_process.stoppable())
        for_all = _file_locks.locked(machine_lock(machine), shared=True, meanwhile=_process.stop_if_asked)
        stack.enter_context(for_all)
        _require_own(machine.data)
        record = stack.enter_context(_ledger.recording(step, machine, made=created))
        held = _held.get()
        for lock in locks:
            if lock not in held:  # it would wait for itself
                stack.enter_context(_file_locks.locked(lock, meanwhile=_process.stop_if_asked))
            venv.stop_compiling(lock)
        stack.callback(_held.reset, _held.set(held.union(locks)))
        _orphans.end_orphans(machine.data / RUNNING)
        stack.enter_context(_orphans.announced(machine.data / RUNNING))
        _transactions.sweep(machine.data, _ledger.swept(record))
        if not recorded:
            stack.enter_context(_ledger.paused())
        yield record


@contextlib.contextmanager
def _naming_the_log() -> Iterator[None]:
    """Write an error that ends the block to the log, and let it say where that is."""
    try:
        yield
    except ColabEnvError as error:
        if error.log is None:
            _report.log(f"{type(error).__name__}: {error}", waits=True)
            error.log = _report.log_path()
        raise
    except BaseException as error:
        _report.log(f"ended by {type(error).__name__}: {error}", waits=True)
        raise


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """What is there after a step: the thing with its version, its path, and the Python that it chose, or None."""

    what: str
    where: Path
    python: Interpreter | None = None


@dataclass(frozen=True, kw_only=True)
class Step:
    """One verb at work: `check` is quick and returns why there is something to do, or None; `build` is one transaction."""

    name: str
    title: str
    machine: Machine
    lock: Path
    check: Callable[[], str | None]
    build: Callable[[], None]
    describe: Callable[[], Artifact]
    notes: list[str] = field(default_factory=list)
    recorded: bool = True

    def run(self) -> StepResult:
        """Do what is needed and return the line for it."""
        began = time.monotonic()
        with _files.translate_os_errors(self.lock):
            reason = self.check()
            # A run that was killed after its receipt leaves its old tree beside.
            if reason is None and _transactions.leftovers(where := self.describe().where):
                _transactions.recover(where, wait=False)
                reason = self.check()
            if reason is not None:
                with _report.screen():
                    reason = self._locked_build()
            artifact = self.describe()
        result = StepResult(
            step=self.name,
            what=artifact.what,
            where=artifact.where,
            python=artifact.python,
            action="already there" if reason is None else "done",
            seconds=time.monotonic() - began,
            reason=reason,
            notes=tuple(self.notes),
        )
        _report.keep(repr(result))
        return result

    def _locked_build(self) -> str | None:
        with changing(self.name, self.machine, self.lock, recorded=self.recorded):
            reason = self.check()  # another run may have done it while this one waited
            if reason is not None:
                with _report.activity(f"{self.title}: {reason}"):
                    self.build()
        return reason
