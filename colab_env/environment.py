"""A project's environment: its `.venv`, made or mended, filled with what its lock file says, whole or not at all."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from colab_env import _files, _process, _transactions, content, index, proving, pyproject, system, uv, venv, wheels
from colab_env.errors import ColabEnvError, CommandError, NoSuchPythonError, UsageError
from colab_env.interpreter import Interpreter, fits_short_version, parse_specifier, unsupported_python_message
from colab_env.jupyter import kernelspec
from colab_env.locks import registry
from colab_env.locks.installing import Target
from colab_env.locks.requirements_text import normalized
from colab_env.request import Request
from colab_env.results import short
from colab_env.step import Artifact

if TYPE_CHECKING:
    from colab_env.locks.installing import Selection
    from colab_env.machine import Machine
    from colab_env.plans import keeping


def recorded_health(project: Path, python: Interpreter, machine: Machine) -> str | None:
    """Return why a project's environment is not what was wanted of it last, or None. Reads files, starts nothing."""
    try:
        return health_check(Request.as_recorded(project, machine), python)
    except ColabEnvError as error:
        return error.message


def health_check(request: Request, python: Interpreter) -> str | None:
    """Return why there is something to do, or None. Starts nothing."""
    problem = venv.health_check(
        request.project,
        python=python,
        system_site_packages=request.system_site_packages,
        inputs=request.inputs,
        receipt=request.receipt,
    )
    gone = [Path(path).name for path in request.kept if not Path(path).exists()]
    return problem or (f"the machine no longer has what was kept of it: {', '.join(gone)}" if gone else None)


def require_python(request: Request, python: Interpreter) -> str | None:
    """Raise NoSuchPythonError for a Python that the project does not accept: a version, or X.Y of one that is not there.

    Return what is to be said of one that its own tool warns of, or None.
    """
    lock, requested = request.lock, request.lock.requires_python
    specifier = parse_specifier(requested or "*")
    is_full = python.version.count(".") > 1
    if specifier.contains(python.version) if is_full else fits_short_version(specifier, python.version):
        return None
    if lock.format.is_python_advice:
        return f"{lock.path.name} asks for Python {requested}; {python.version} was chosen"
    asking, machine = lock.asks_for_python, request.machine
    machine_python = system.machine_python(machine)
    advice = machine_python and unsupported_python_message(
        machine_python.version, specifier, asking=asking.name, is_colab=machine.is_colab
    )
    msg = f"{short(asking)} asks for Python {requested!r}, but {python.version} was chosen"
    raise NoSuchPythonError(msg, hint=advice or f"choose another Python: setup(python={requested!r})")


class _NotProvenError(Exception):
    """What was installed into an environment leaves a doubt about what was there."""


class Environment:
    """One project's virtual environment while it is checked and built."""

    def __init__(
        self,
        request: Request,
        python: Interpreter,
        *,
        ready: Callable[[], object] = lambda: None,
        anew: str | None = None,
    ) -> None:
        """Take what is wanted; `ready` returns when Poetry can be asked, `anew` is why it is made anew in any case."""
        self.anew = anew
        self.request = request
        self.python = python
        self.ready = ready
        self.notes: list[str] = request.notes(python.short_version)
        self._is_checked = False

    def check(self) -> str | None:
        """Return why there is something to do, or None."""
        if self._is_checked:  # then it has waited, and another run may have changed the files
            self.request = self.request.reread()
        self._is_checked = True
        reason = self.anew or health_check(self.request, self.python)
        added = venv.by_hand(self.request.project, self.request.receipt)
        if reason or not added:
            return reason
        listed = f"installed by hand: {', '.join(added)}"
        if not self.request.exact:
            self.notes[:] = [
                *self.request.notes(self.python.short_version),
                f"{listed} (--exact, or exact=True, removes it)",
            ]
        return listed if self.request.exact else None

    def build(self) -> None:
        """Make or mend it, whole or not at all."""
        project, earlier = self.request.project, self.request.receipt
        # Before anything is changed: afterwards nobody can tell what was put there by hand.
        by_hand = venv.by_hand(project, earlier)
        warning = require_python(self.request, self.python)
        self.notes.extend([warning] if warning else [])
        _transactions.recover(project / venv.NAME)
        files = [project / name for name in self.request.lock.format.project_files]
        with _transactions.restoring(*files) as know_files:
            if files:
                visible = self.request.system_site_packages
                # A step of colab-env's own writes these files, so the request has to be read once more.
                written = pyproject.complete(project, python=self.python, system_site_packages=visible)
                self.notes.extend(f"{name} was written" for name in written)
                self.request = self.request.reread()
            target = self._target()
            if not (self._can_be_updated(target) and self._update(target, know_files)):
                self._rebuild(target, know_files)
        installed = venv.versions(project / venv.NAME)
        gone = [
            *venv.removed(project, earlier),
            *(specification for specification in by_hand if normalized(specification.split()[0]) not in installed),
        ]
        self.notes.extend([f"removed: {', '.join(gone)}"] if gone else [])
        self._say_which_lock()

    def describe(self) -> Artifact:
        """Return what is there."""
        count = venv.packages(self.request.project)
        what = f"Virtual environment with Python {self.python.version} and {count} package{'' if count == 1 else 's'}"
        return Artifact(what=what, where=self.request.project / venv.NAME, python=self.python)

    def _keeper(self, target: Target) -> keeping.Keeper | None:
        request = self.request
        if not request.options.keep:
            return None
        if target.uv is None:
            msg = "only uv leaves out what is kept of the machine, and it cannot be had here"
            raise UsageError(msg, hint="leave keep= out, or install uv; nothing was changed")
        from colab_env.plans import keeping

        return keeping.Keeper(
            request.options.keep,
            python=self.python,
            project=request.lock.pyproject,
            extras=request.options.extras,
            machine=request.machine,
        )

    def _target(self) -> Target:
        environment = self.request.project / venv.NAME
        return Target(machine=self.request.machine, environment=environment, uv=self._uv(), ready=self.ready)

    def _uv(self) -> Path | None:
        machine, installer = self.request.machine, self.request.options.installer
        if installer is not None:
            return uv.ensure(machine) if installer == "uv" else None
        binary = uv.obtain(machine)
        if binary is None:
            other = "Poetry" if "poetry" in self.request.lock.format.options else "pip"
            self.notes.append(f"uv cannot be had here: {other} installs, more slowly")
        return binary

    def _can_be_updated(self, target: Target) -> bool:
        request = self.request
        # No tool shall install over links, nor beside what conda brings.
        if self.anew or request.options.keep or request.kept or request.lock.format.brings_python:
            return False
        # pip removes nothing, so what it fills is made anew.
        if request.receipt is None or (target.uv is None and "poetry" not in request.lock.format.options):
            return False
        visible = request.system_site_packages
        wrong = venv.mismatch(
            request.project, python=self.python, system_site_packages=visible, receipt=request.receipt
        )
        return wrong is None

    def _update(self, target: Target, know_files: Callable[[], object]) -> bool:
        """Install into what is there, if that leaves nothing to doubt; else it is as before, and this returns False."""
        earlier, notes = content.read(target.environment), len(self.notes)
        if earlier is None or self._is_doubtful(target, earlier):
            return False
        with contextlib.suppress(_NotProvenError), _transactions.updating(target.environment):
            keeper, hashes = self._install(target)
            self._settle(target)
            survey = content.Survey(target.environment)
            # What cannot be proven here is built anew from the lock file, where its hashes are checked.
            if survey.broken(earlier) or content.unproven(earlier, survey.content(hashes, earlier), hashes):
                raise _NotProvenError
            self._complete(target, keeper, survey, hashes, know_files, before=earlier)
            return True
        # They were about an installation that was taken back.
        del self.notes[notes:]
        return False

    def _is_doubtful(self, target: Target, earlier: content.Content) -> bool:
        """Say whether something was changed since, or whether uv might take another source's package for an index's."""
        project_uri = self.request.project.as_uri()
        if any(distribution.source not in (None, project_uri) for distribution in earlier.distributions.values()):
            return True
        return bool(content.Survey(target.environment).differences(earlier))

    def _rebuild(self, target: Target, know_files: Callable[[], object]) -> None:
        set_aside, earlier = venv.set_aside_foreign(self.request.project), content.read(target.environment)
        done: list[tuple[keeping.Keeper | None, Mapping[str, Collection[str]]]] = []
        installer = uv.installer(target.machine, index.settings(target.machine))
        installer = replace(installer, environ={**_files.unshared(target.environment.parent), **installer.environ})
        visible, pip = self.request.system_site_packages, target.uv is None  # uv brings pip with the packages
        notes = len(self.notes)

        def fill() -> None:
            del self.notes[notes:]
            _files.empty(target.environment)
            installer.make_venv(target.environment, self.python.path, system_site_packages=visible, pip=pip)
            done[:] = [self._install(target)]

        try:
            with _transactions.replacing(target.environment):
                survey, proof_notes = proving.prove(
                    target.environment, fill, unpacked=installer, settle=lambda: self._settle(target), before=earlier
                )
                self.notes.extend(proof_notes)
                ((keeper, hashes),) = done
                self._complete(target, keeper, survey, hashes, know_files)
        except BaseException:
            if set_aside is not None:
                _files.move_back(set_aside, target.environment)
            raise
        if set_aside is not None:
            self.notes.append(f"the virtual environment that was there is now {set_aside.name}")

    def _install(self, target: Target) -> tuple[keeping.Keeper | None, Mapping[str, Collection[str]]]:
        """Install what the lock file says; return what is kept of the machine, and the hashes that names are locked by."""
        keeper = self._keeper(target)
        lock = self.request.lock
        try:
            hashes = lock.format.install(lock, self._selection(keeper), target=target)
        except CommandError as error:
            name = wheels.blamed(error.lines)
            if name is None or (where := lock.named_at(name)) is None:
                raise
            msg = f"{where}: {error.message}"
            raise type(error)(msg, hint=error.hint, lines=error.lines) from error
        self.request = self.request.reread()  # Poetry may have made the lock file
        return keeper, hashes

    @staticmethod
    def _settle(target: Target) -> None:
        """Let this machine change what it changes whenever Python starts, before anything is written down."""
        _process.run([target.python, "-c", ""], environ=_process.child_environ(target.machine.environ), check=False)

    def _complete(
        self,
        target: Target,
        keeper: keeping.Keeper | None,
        survey: content.Survey,
        hashes: Mapping[str, Collection[str]],
        know_files: Callable[[], object],
        *,
        before: content.Content | None = None,
    ) -> None:
        """Add what no package brings, and write down what is there and what it was made from."""
        request = self.request
        kernelspec.write_ipython_config(target.environment)
        if not (ignored := target.environment / ".gitignore").exists():
            _files.write_text(ignored, "*\n")  # as uv does, so that no git sees it
        options = request.options.recorded()
        if keeper is not None:
            site = next(target.environment.glob("lib/python3*/site-packages"))
            keeper.finish(site, visible=request.system_site_packages)
            self.notes.extend(keeper.kept.notes)
            options = replace(options, kept=tuple(keeper.origins()))
        if request.is_notebooks_block and not options.lock:  # a later command does not find it by itself
            options = replace(options, lock=str(request.lock.path))
        know_files()
        surveyed = content.Survey(target.environment, earlier=survey)
        content.write(target.environment, surveyed.content(hashes, before))
        venv.write_receipt(request.project, python=self.python, inputs=request.inputs, wanted=options)

    def _selection(self, keeper: keeping.Keeper | None) -> Selection:
        left_out = keeper.left_out if keeper else None
        return replace(self.request.selection, notes=self.notes, accepts_stale=True, left_out=left_out)

    def _say_which_lock(self) -> None:
        request = self.request
        is_empty = venv.versions(request.project / venv.NAME).keys() <= {"pip", "setuptools", "wheel"}
        if is_empty and not (request.kept or request.lock.format.brings_python):
            self.notes.append("no packages: the project asks for none")
        unread = registry.unread(request.project, request.pyproject)
        candidates = registry.candidates(request.project, pyproject=request.pyproject)
        # The README often says conda; that its file is there and does not count is worth a word.
        if not any(lock.format.brings_python for lock in (request.lock, *candidates)):
            unread += registry.conda_files(request.project, request.pyproject)
        if unread:
            self.notes.append(f"not read: {', '.join(unread)}")
        if not request.lock.is_there:
            return
        others = [candidate.path.name for candidate in candidates if candidate.path != request.lock.path]
        if others or not request.lock.format.is_made_by_tool:
            passed_over = f"; not from {' or '.join(others)}, which lock=... chooses" if others else ""
            self.notes.append(f"Packages from {request.described_lock()}{passed_over}")
