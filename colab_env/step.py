"""What every step does: check, and only if something is not fine, lock, check again, build, and say how it went."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from colab_env import _files, _journal, _process, _report
from colab_env.interpreter import Interpreter
from colab_env.results import StepResult
from colab_env.runtime import Runtime


def project_lock(runtime: Runtime, project: Path) -> Path:
    """Return the lock file for work on a project."""
    # A file's name holds 255 bytes, a path may be longer.
    return runtime.data / "locks" / f"project-{hashlib.sha256(os.fsencode(project)).hexdigest()[:16]}"


@dataclass(frozen=True, kw_only=True)
class Found:
    """What is there after a step: the thing with its version, its path, and the Python that it chose, or None."""

    what: str
    where: Path
    python: Interpreter | None = None


@dataclass(frozen=True, kw_only=True)
class Step:
    """One verb at work: `check` is quick and returns why there is something to do, or None; `build` is one transaction."""

    name: str
    title: str
    lock: Path
    check: Callable[[], str | None]
    build: Callable[[], None]
    describe: Callable[[], Found]
    notes: list[str] = field(default_factory=list)

    def run(self) -> StepResult:
        """Do what is needed and return the line for it."""
        began = time.monotonic()
        reason = self.check()
        if reason is not None:
            with _report.screen():
                reason = self._locked_build()
        result = self._result(reason, time.monotonic() - began)
        _report.keep(repr(result))
        return result

    def _locked_build(self) -> str | None:
        held = _files.locked(self.lock, meanwhile=_process.stop_if_asked)
        with _files.explaining(self.lock), _journal.during(self.name), held:
            reason = self.check()  # another run may have done it while this one waited
            if reason is not None:
                with _report.activity(f"{self.title}: {reason}"):
                    self.build()
        return reason

    def _result(self, reason: str | None, seconds: float) -> StepResult:
        found = self.describe()
        return StepResult(
            step=self.name,
            what=found.what,
            where=found.where,
            python=found.python,
            action="already there" if reason is None else "done",
            seconds=seconds,
            reason=reason,
            notes=tuple(self.notes),
        )
