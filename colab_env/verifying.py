"""Prove that what was installed is still what was installed, file by file, and build anew what is not."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from colab_env import (
    _files,
    _process,
    _report,
    _state,
    _transactions,
    content,
    environment,
    poetry,
    proving,
    steps,
    venv,
)
from colab_env.errors import DiskFullError, MissingStepError, NotWritableError
from colab_env.interpreter import Interpreter
from colab_env.jupyter import colab_layer
from colab_env.machine import Machine
from colab_env.request import Request, project_directory
from colab_env.results import CardResult, StepResult, short
from colab_env.step import changing, project_lock

_SHOWN = 10  # damaged files that are shown by name


@dataclass(frozen=True, kw_only=True)
class VerifiedPart:
    """One directory: its number of `files`, what is `damaged`, what was `added` to it since, whether it was `repaired`.

    `note` is a sentence that a person should read, or None; it `is_partly_known` when an older version made it, which did
    not write down what it installed. `seconds` is the time that reading took.
    """

    name: str
    where: Path
    files: int
    damaged: tuple[str, ...]
    added: tuple[str, ...]
    seconds: float
    repaired: bool = False
    note: str | None = None
    is_partly_known: bool = False

    def __repr__(self) -> str:
        head = f"{'✗' if self.damaged else '✓'} {self.name:<12} {short(self.where)}: "
        if self.damaged:
            lines = [f"{head}{content.pluralize(len(self.damaged), 'file')} damaged", *self.damaged[:_SHOWN]]
            lines += [f"and {len(self.damaged) - _SHOWN} more"] if len(self.damaged) > _SHOWN else []
        else:
            how = "repaired, and as installed" if self.repaired else "as installed"
            lines = [f"{head}{content.pluralize(self.files, 'file')} {how} ({self.seconds:.1f} s)"]
        lines += [self.note] if self.note else []
        more = len(self.added) - _SHOWN
        listed = ", ".join(self.added[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
        lines += [f"added since, and not checked: {listed}"] if listed else []
        return "\n  ".join(lines)


@dataclass(frozen=True, kw_only=True)
class Verified(CardResult):
    """What `verify` found for one project."""

    project: Path
    parts: tuple[VerifiedPart, ...]

    @property
    def ok(self) -> bool:
        """Say whether nothing is damaged."""
        return not any(part.damaged for part in self.parts)

    def __repr__(self) -> str:
        return "\n".join([f"Project {short(self.project)}", *map(repr, self.parts)])

    def _repr_html_(self) -> str:
        from colab_env import cards

        rows = [
            cards.Row(
                mark="✗" if part.damaged else "✓",
                name=part.name,
                text=f"{content.pluralize(len(part.damaged), 'file')} damaged"
                if part.damaged
                else f"{content.pluralize(part.files, 'file')} {'repaired, and ' if part.repaired else ''}as installed",
                aside=f"{part.seconds:.1f} s",
                notes=(part.note,) if part.note else (),
                details=(str(part.where), *part.damaged[:_SHOWN], *(f"added: {name}" for name in part.added[:_SHOWN])),
            )
            for part in self.parts
        ]
        title = "All is as it was installed" if self.ok else "Files are damaged"
        return cards.card(title, rows, mark="✓" if self.ok else "✗", aside=f"project {short(self.project)}")

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        parts = [{**asdict(part), "where": str(part.where)} for part in self.parts]
        return {"project": str(self.project), "ok": self.ok, "parts": parts}


@dataclass(frozen=True, kw_only=True)
class _Tree:
    """A directory that a step made: its file `lock`, what reads it, and the step that `builds` it anew.

    `problem` is damage that does not show in its files, `stale` what `setup` has to do for other reasons: both are asked
    while no step works on it.
    """

    name: str
    where: Path
    lock: Path
    python: Path
    problem: Callable[[], str | None]
    builds: Callable[[str], StepResult]
    stale: Callable[[], str | None] = lambda: None


@_report.ends_in_card
def verify(project: str | Path = ".", *, repair: bool = False) -> Verified:
    """Read every file of a project's environment, its kernel's packages and Poetry, and compare it with what was installed.

    With `repair`, what is damaged is built anew from the lock file; otherwise nothing is changed but the note of when all
    was proven last. What was added by hand is no damage, and goes with a repair. Raises MissingStepError when the project
    is not set up, and with `repair` what `setup` raises; then that part is as it was.
    """
    machine, directory = Machine.detect(), project_directory(project)
    with _waiting(directory / venv.NAME, project_lock(machine, directory), machine):
        python = venv.recorded_python(directory)
    if python is None:
        msg = venv.fault(directory) or f"{short(directory)} has no virtual environment of colab-env's"
        raise MissingStepError(msg, hint="run setup() first")
    parts = [_verified(tree, machine, repair=repair) for tree in _trees(directory, python, machine)]
    return Verified(project=directory, parts=tuple(parts))


def _trees(project: Path, python: Interpreter, machine: Machine) -> list[_Tree]:
    def environment_anew(reason: str) -> StepResult:
        request = Request.as_recorded(project, machine)
        return steps.virtual_environment(request, python, anew=reason)

    around = colab_layer.unfit(venv.versions(project / venv.NAME), python=python, machine=machine)
    layer = colab_layer.directory(machine, python, around)
    trees = [
        _Tree(
            name="Environment",
            where=project / venv.NAME,
            lock=project_lock(machine, project),
            python=venv.python_of(project),
            problem=lambda: venv.mismatch(
                project,
                python=python,
                system_site_packages=venv.sees_system(project),
                receipt=venv.read_receipt(project),
            ),
            stale=lambda: environment.recorded_health(project, python, machine),
            builds=environment_anew,
        ),
        _Tree(
            name="Packages",
            where=layer,
            lock=machine.data / "locks" / "conda",  # that of the step, which installs conda's packages as well
            python=python.path,
            problem=lambda: colab_layer.health_check(layer),
            builds=lambda reason: steps.kernel_packages(python, machine, around=around, anew=reason),
        ),
    ]
    home = poetry.home(machine)
    if _state.is_ours(poetry.home(machine)):
        version = poetry.installed_version(machine)
        tool = _Tree(
            name="Poetry",
            where=home,
            lock=machine.data / "locks" / "poetry",
            python=home / "venv/bin/python",
            problem=lambda: poetry.missing(machine),
            builds=lambda reason: steps.poetry_itself(machine, version=version, anew=reason),
        )
        trees.insert(0, tool)  # what reads the lock file comes first
    return trees


def _verified(tree: _Tree, machine: Machine, *, repair: bool) -> VerifiedPart:
    part = _look_at(tree, machine)
    # Of what an older version made, not every file can be proven until it is built anew.
    if not repair or not (part.damaged or part.is_partly_known):
        return part
    tree.builds(part.damaged[0] if part.damaged else str(part.note))
    return replace(_look_at(tree, machine), repaired=True)


def _look_at(tree: _Tree, machine: Machine) -> VerifiedPart:
    """Read one directory while no step works on it, and write down when all was proven."""
    began, note = time.monotonic(), None
    with _files.translate_os_errors(tree.where), _waiting(tree.where, tree.lock, machine) as may_write:
        if not tree.where.is_dir():
            gone = ("it is gone",)
            return VerifiedPart(name=tree.name, where=tree.where, files=0, damaged=gone, added=(), seconds=0.0)
        with _report.activity(f"Reading {short(tree.where)}"):
            survey, recorded = content.Survey(tree.where), content.read(tree.where)
            added = survey.added(recorded) if recorded else []
            damaged = [problem] if (problem := tree.problem()) else []
            if recorded is None:
                damaged += [str(problem) for problems in survey.broken().values() for problem in problems]
                note = (
                    content.fault(tree.where) or "an older version made it: only what packages list could be compared"
                )
            else:
                damaged += _differences(tree, survey, recorded, machine)
                stale = None if damaged else tree.stale()
                note = f"setup() has something to do: {stale}" if stale else None
        if recorded is not None and not damaged and may_write:
            with contextlib.suppress(DiskFullError, NotWritableError):  # only the date would be lost
                content.write(tree.where, survey.proven(recorded))
    return VerifiedPart(
        name=tree.name,
        where=tree.where,
        files=len(survey.digests) - len([path for path in added if path in survey.digests]),
        damaged=tuple(dict.fromkeys(damaged)),
        added=tuple(added),
        seconds=time.monotonic() - began,
        note=note,
        is_partly_known=recorded is None,
    )


def _differences(tree: _Tree, survey: content.Survey, recorded: content.Content, machine: Machine) -> list[str]:
    environ = _process.child_environ(machine.environ)
    wrong = proving.wrong_bytecode(survey, recorded, python=tree.python, environ=environ)
    problems = [str(problem) for problem in [*survey.differences(recorded), *wrong]]
    return problems if _state.is_sealed(tree.where / _files.RECEIPT) else [*problems, f"{_files.RECEIPT} has changed"]


@contextlib.contextmanager
def _waiting(where: Path, lock: Path, machine: Machine) -> Iterator[bool]:
    """Wait for steps that work on a directory, and bring back what one that was killed has left; say whether to write to it."""
    with contextlib.ExitStack() as stack:
        may_write = all(os.access(path, os.W_OK) for path in (where.parent, machine.data, machine.data.parent))
        if may_write:
            try:
                stack.enter_context(changing("verify", machine, lock, recorded=False))
                _transactions.recover(where)
            except (DiskFullError, NotWritableError):  # reading needs no room
                may_write = False
        yield may_write
