"""Prove that what was installed is still what was installed, file by file, and build anew what is not."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from colab_env import _files, _process, _report, _state, content, environment, poetry, steps, venv
from colab_env.errors import MissingStepError
from colab_env.interpreter import Interpreter
from colab_env.jupyter import colab_layer
from colab_env.machine import Machine
from colab_env.request import Request
from colab_env.results import StepResult, short
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
            more = len(self.damaged) - _SHOWN
            lines += [f"and {more} more"] if more > 0 else []
        else:
            how = "repaired, and as installed" if self.repaired else "as installed"
            lines = [f"{head}{content.pluralize(self.files, 'file')} {how} ({self.seconds:.1f} s)"]
        lines += [self.note] if self.note else []
        lines += [f"added since, and not checked: {', '.join(self.added)}"] if self.added else []
        return "\n  ".join(lines)


@dataclass(frozen=True, kw_only=True)
class Verified:
    """What `verify` found for one project."""

    project: Path
    parts: tuple[VerifiedPart, ...]

    @property
    def ok(self) -> bool:
        """Say whether nothing is damaged."""
        return not any(part.damaged for part in self.parts)

    def __repr__(self) -> str:
        return "\n".join([f"Project {short(self.project)}", *map(repr, self.parts)])

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        parts = [{**asdict(part), "where": str(part.where)} for part in self.parts]
        return {"project": str(self.project), "ok": self.ok, "parts": parts}


@dataclass(frozen=True, kw_only=True)
class _Tree:
    """A directory that a step made: its file `lock`, what reads it, and the step that `builds` it anew.

    `problem` is damage that does not show in its files, `stale` what `setup` has to do for other reasons.
    """

    name: str
    where: Path
    lock: Path
    python: Path
    problem: str | None
    stale: str | None = None
    builds: Callable[[str], StepResult]


def verify(project: str | Path = ".", *, repair: bool = False) -> Verified:
    """Read every file of a project's environment, its kernel's packages and Poetry, and compare it with what was installed.

    With `repair`, what is damaged is built anew from the lock file; otherwise nothing is changed but the note of when all
    was proven last. What was added by hand is no damage, and goes with a repair. Raises MissingStepError when the project
    is not set up, and with `repair` what `setup` raises; then that part is as it was.
    """
    machine, directory = Machine.detect(), Path(project).expanduser().resolve()
    python = venv.recorded_python(directory)
    if python is None:
        msg = venv.fault(directory) or f"{short(directory)} has no virtual environment of colab-env's"
        raise MissingStepError(msg, hint="run setup() first")
    with _report.screen():
        parts = [_verified(tree, machine, repair=repair) for tree in _trees(directory, python, machine)]
    return Verified(project=directory, parts=tuple(parts))


def _trees(project: Path, python: Interpreter, machine: Machine) -> list[_Tree]:
    def environment_anew(reason: str) -> StepResult:
        request = Request.as_recorded(project, machine)
        return steps.virtual_environment(request, python, anew=reason)

    layer = colab_layer.directory(machine, python)
    trees = [
        _Tree(
            name="Environment",
            where=project / venv.NAME,
            lock=project_lock(machine, project),
            python=venv.python_of(project),
            problem=venv.mismatch(project, python=python, system_site_packages=venv.sees_system(project)),
            stale=environment.recorded_health(project, python, machine),
            builds=environment_anew,
        ),
        _Tree(
            name="Packages",
            where=layer,
            lock=machine.data / "locks" / "conda",
            python=python.path,
            problem=colab_layer.health_check(layer),
            builds=lambda reason: steps.kernel_packages(python, machine, anew=reason),
        ),
    ]
    home = poetry.home(machine)
    if _state.is_marked(home):
        version = poetry.installed_version(machine)
        tool = _Tree(
            name="Poetry",
            where=home,
            lock=machine.data / "locks" / "poetry",
            python=home / "venv/bin/python",
            problem=poetry.missing(machine),
            builds=lambda reason: steps.poetry_itself(machine, version=version, anew=reason),
        )
        trees.insert(0, tool)  # what reads the lock file comes first
    return trees


def _verified(tree: _Tree, machine: Machine, *, repair: bool) -> VerifiedPart:
    part = _look_at(tree, machine)
    if not repair or not (part.damaged or part.is_partly_known):
        return part
    tree.builds(part.damaged[0] if part.damaged else str(part.note))
    return replace(_look_at(replace(tree, problem=None, stale=None), machine), repaired=True)


def _look_at(tree: _Tree, machine: Machine) -> VerifiedPart:
    """Read one directory while no step works on it, and write down when all was proven."""
    began, note = time.monotonic(), None
    if not tree.where.is_dir():
        return VerifiedPart(name=tree.name, where=tree.where, files=0, damaged=("it is gone",), added=(), seconds=0.0)
    with _files.translate_os_errors(tree.where), _waiting(tree, machine) as may_write:
        with _report.activity(f"Reading {short(tree.where)}"):
            survey, known = content.Survey(tree.where), content.read(tree.where)
            damaged = [tree.problem] if tree.problem else []
            if known is None:
                damaged += [str(each) for found in survey.broken().values() for each in found]
                note = (
                    content.fault(tree.where) or "an older version made it: only what packages list could be compared"
                )
            else:
                damaged += _differences(tree, survey, known, machine)
                note = f"setup() has something to do: {tree.stale}" if tree.stale and not damaged else None
        if known is not None and not damaged and may_write:
            content.write(tree.where, survey.proven(known))
    return VerifiedPart(
        name=tree.name,
        where=tree.where,
        files=len(survey.digests),
        damaged=tuple(dict.fromkeys(damaged)),
        added=tuple(survey.added(known)) if known else (),
        seconds=time.monotonic() - began,
        note=note,
        is_partly_known=known is None,
    )


def _differences(tree: _Tree, survey: content.Survey, known: content.Content, machine: Machine) -> list[str]:
    environ = _process.child_environ(machine.environ)
    wrong = content.wrong_bytecode(tree.where, survey.compiled(known), python=tree.python, environ=environ)
    found = [str(each) for each in [*survey.differences(known), *wrong]]
    return found if _state.is_sealed(tree.where / _files.RECEIPT) else [*found, f"{_files.RECEIPT} has changed"]


@contextlib.contextmanager
def _waiting(tree: _Tree, machine: Machine) -> Iterator[bool]:
    """Wait for steps that work on a directory; say whether it may be written to."""
    if not all(os.access(path, os.W_OK) for path in (tree.where, machine.data, machine.data.parent)):
        yield False
        return
    with changing("verify", machine, tree.lock, recorded=False):
        yield True
