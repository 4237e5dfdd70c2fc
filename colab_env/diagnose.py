"""What is there and whether it works: looks, starts kernels when asked to, changes nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any

from colab_env import (
    _files,
    _report,
    choice,
    content,
    environment,
    interpreter_sources,
    kernel,
    poetry,
    switching,
    uv,
    venv,
)
from colab_env.errors import ColabEnvError, MissingStepError, UsageError
from colab_env.jupyter import colab_layer, diversion, kernelspec
from colab_env.locks import registry
from colab_env.machine import Machine
from colab_env.named_env import base_dirs, inventory
from colab_env.part import Part
from colab_env.request import Request, project_directory
from colab_env.results import CardResult, short

_NAMED = 8  # environments that a line names
_OF_PROJECT = ("Python", "Poetry", "Environment", "Kernel")
_NOTHING = ("nothing is set up here yet", "run setup()")


@dataclass(frozen=True, kw_only=True)
class Status(CardResult):
    """All parts for one project; where it is not `is_set_up`, people are shown those of the machine alone."""

    project: Path
    parts: tuple[Part, ...]
    is_set_up: bool = True

    @property
    def ok(self) -> bool:
        """Say whether every part is healthy."""
        return all(part.problem is None for part in self.parts)

    @property
    def _shown(self) -> list[Part]:
        return [part for part in self.parts if self.is_set_up or part.name not in _OF_PROJECT]

    def __repr__(self) -> str:
        sizes = {part.name: part.size for part in self._shown if part.size}
        largest = max(sizes.values(), default=0)
        drawn = [
            f"  {name:<12} {_report.bar(size / largest, 20)} {_report.megabytes(size):>10}"
            for name, size in sizes.items()
        ]
        picture = ["On the disk:", *drawn] if len(drawn) > 1 else []
        nothing = [] if self.is_set_up else [": ".join(_NOTHING)]
        return "\n".join([f"Project {short(self.project)}", *nothing, *map(repr, self._shown), *picture])

    def _repr_html_(self) -> str:
        from colab_env import cards

        parts = self._shown
        largest = max((part.size or 0 for part in parts), default=0)
        wrong = sum(part.problem is not None for part in parts)
        title = f"{content.pluralize(wrong, 'part')} of {len(parts)} need a look" if wrong else "All is healthy"
        rows, mark, notes = [part.row(largest) for part in parts], "✗" if wrong else "✓", []
        if not self.is_set_up:
            title, mark, notes = _NOTHING[0].capitalize(), "·", [_NOTHING[1]]
        return cards.card(title, rows, mark=mark, aside=f"project {short(self.project)}", notes=notes)

    def html(self) -> str:
        """Return a page that shows it, and needs nothing else."""
        from colab_env import cards

        return cards.page(f"colab-env: {short(self.project)}", self._repr_html_())

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        parts = [{**asdict(part), "where": part.where and str(part.where)} for part in self.parts]
        return {"project": str(self.project), "ok": self.ok, "is_set_up": self.is_set_up, "parts": parts}


@dataclass(frozen=True, kw_only=True)
class KernelList:
    """The kernels that Jupyter finds."""

    kernels: tuple[kernelspec.Kernel, ...]

    def __repr__(self) -> str:
        rows = [(kernel.name, kernel.display_name, _maker(kernel)) for kernel in self.kernels]
        widths = [max((len(row[column]) for row in rows), default=0) for column in range(2)]
        lines = [f"{row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]}".rstrip() for row in rows]
        return "\n".join(lines) or "no kernels are registered"

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"kernels": [kernel.as_dict() for kernel in self.kernels]}


@dataclass(frozen=True, kw_only=True)
class KernelHealth(CardResult):
    """What a registered kernel answered when it was started; `outcome.failure` is None when all was well."""

    name: str
    outcome: kernel.Outcome

    @property
    def ok(self) -> bool:
        """Say whether every check passed."""
        return self.outcome.failure is None

    def __repr__(self) -> str:
        if self.ok:
            checks = ", ".join(self.outcome.seconds)
            return f"✓ Kernel {self.name!r} works ({checks}; {sum(self.outcome.seconds.values()):.1f} s)"
        return "\n".join(
            [f"✗ Kernel {self.name!r}: {self.outcome.failure}", *(f"    {line}" for line in self.outcome.log)]
        )

    def _repr_html_(self) -> str:
        from colab_env import cards

        seconds, failure = self.outcome.seconds, self.outcome.failure
        longest = max(seconds.values(), default=0.0)
        failed = failure.partition(":")[0] if failure else None
        rows = [
            cards.Row(
                mark="✗" if check == failed else "✓",
                name=check.replace("_", " "),
                aside=f"{time:.1f} s",
                share=time / longest if longest else 0.0,
            )
            for check, time in seconds.items()
        ]
        title = f"Kernel {self.name!r} {'works' if self.ok else 'does not work'}"
        lines = "".join(f"<p><code>{escape(line)}</code></p>" for line in self.outcome.log)
        return cards.card(
            title,
            rows,
            mark="✓" if self.ok else "✗",
            aside=f"{sum(seconds.values()):.1f} s",
            notes=[failure] if failure else [],
            more=cards.folded("What it printed last", lines) if lines else "",
        )

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"name": self.name, "ok": self.ok, **asdict(self.outcome)}


@_report.ends_in_card
def status(project: str | Path = ".") -> Status:
    """Look at everything that a project's kernel rests on. Starts nothing, takes well under a second.

    Raises UsageError where there is no such directory.
    """
    machine, directory = Machine.detect(), _files.named_path(project).resolve()
    if not directory.is_dir():
        msg = f"there is no directory {short(directory)}"
        raise UsageError(msg, hint="name the project's directory; nothing was changed")
    directory = project_directory(directory)
    parts = (
        *_python_parts(machine, directory),
        _poetry(machine, directory),
        _environment(machine, directory),
        *_kernels(machine, directory),
        *notebooks(machine),
        *_named_environments(machine),
    )
    return Status(project=directory, parts=parts, is_set_up=_is_begun(machine, directory))


def kernels() -> KernelList:
    """Return the kernels that Jupyter finds, and which of them colab-env made."""
    return KernelList(kernels=tuple(kernelspec.registered(Machine.detect())))


@_report.ends_in_card
def check_kernel(name: str | None = None) -> KernelHealth:
    """Start a kernel that colab-env registered, as the notebook server would, and return what it answered.

    `name` is by default that of the project set up last. Raises MissingStepError when colab-env has registered no such
    kernel.
    """
    if name is None:
        machine = Machine.detect()
        project = choice.path(machine, "project")
        kernel_names = [
            entry.name for entry in kernelspec.registered(machine) if entry.ours and entry.project == project
        ]
        if not kernel_names:
            if project is None:
                msg, hint = "no kernel is registered yet", "setup() makes one"
            else:
                msg = f"no kernel is registered for {short(project)}, which was set up last"
                hint = "run register_kernel(), or name another kernel"
            raise MissingStepError(msg, hint=hint)
        name = kernel_names[0]
    with _report.activity(f"Starting kernel {name}"):
        return KernelHealth(name=name, outcome=kernel.try_registered(Machine.detect(), name))


def _is_begun(machine: Machine, project: Path) -> bool:
    """Say whether one of the steps was done for a project, or something stands where it would go."""
    chosen = choice.read(machine)
    return (
        choice.fault(machine) is not None
        or (chosen is not None and chosen.project in (None, project))
        or os.path.lexists(project / venv.NAME)
        or any(entry.project == project for entry in kernelspec.registered(machine))
    )


def _python_parts(machine: Machine, project: Path) -> Iterator[Part]:
    # The project's own Python, not the one that another project has chosen since.
    python = venv.recorded_python(project) or choice.python(machine)
    if python is None:
        why = choice.fault(machine) or "no Python is chosen yet"
        yield Part(name="Python", what="none", where=None, problem=f"{why}: run setup()")
        return
    gone = choice.fault(machine) if python.path.is_file() else f"{python.path} is gone"
    yield Part(name="Python", what=f"{python.version}, {python.source}", where=python.path, problem=gone)
    yield from interpreter_sources.source_of(python, machine).parts(python, machine)
    layer = colab_layer.of_environment(project / venv.NAME, machine=machine, python=python)
    listed = ", ".join(f"{name} {version}" for name, version in sorted(colab_layer.versions(layer).items()))
    yield Part.of_directory(
        "Packages", listed or "none", layer, colab_layer.health_check(layer), proven=content.proven(layer)
    )


def _poetry(machine: Machine, project: Path) -> Part:
    version, tool = poetry.installed_version(machine), f"{'with' if uv.find(machine) else 'without'} uv"
    if version is None and not _needs_poetry(machine, project):
        return Part(name="Poetry", what=f"none, and none is needed here, {tool}", where=None)
    problem, home = poetry.health_check(machine, version=None), poetry.home(machine)
    return Part.of_directory("Poetry", f"{version or 'none'}, {tool}", home, problem, proven=content.proven(home))


def _needs_poetry(machine: Machine, project: Path) -> bool:
    try:
        return Request.as_recorded(project, machine).lock.format.is_made_by_tool
    except ColabEnvError:  # the environment's own line says what is wrong
        receipt = venv.read_receipt(project)
        # A lock file that is gone still has its name.
        formats = registry.formats_of(receipt.wanted.lock) if receipt and receipt.wanted.lock else []
        return not formats or formats[0].is_made_by_tool


def notebooks(machine: Machine) -> Iterator[Part]:
    """Say which notebooks are on which kernel: what a restart on Colab looks at; elsewhere what the servers answer."""
    choices, file = diversion.read(machine), diversion.own_file(machine)
    for chosen in (*choices.notebooks, *([choices.default] if choices.default else ())):
        whose = Path(chosen.session).name if chosen.session else chosen.kernel_id or "every other one"
        kernel_name = chosen.name or "the machine's own kernel"
        gone = None if chosen.kernel is None or chosen.kernel.is_file() else f"{short(chosen.kernel)} is gone"
        yield Part(name="Notebook", what=f"{whose}: {kernel_name}", where=file, problem=gone)
    # Without a choice there is no such file: one that gives none cannot be read.
    if file is not None and file.exists() and choices == diversion.Choices():
        damaged = f"{short(file)} is damaged: switching once more in a notebook writes it anew"
        yield Part(name="Notebook", what="unknown", where=file, problem=damaged)
    if diversion.usable_file(machine) is None:
        ours = {kernel.name for kernel in kernelspec.registered(machine) if kernel.ours}
        for session in switching.running(machine) if ours else ():
            if session.kernel_name in ours:
                yield Part(name="Notebook", what=f"{session.name}: {session.kernel_name}", where=None)


def _named_environments(machine: Machine) -> Iterator[Part]:
    """Say which named environments there are in each base, and what is wrong with the first that is not healthy."""
    try:
        bases = base_dirs.bases(machine)
    except UsageError as error:
        yield Part(name="Environments", what="unknown", where=None, problem=error.message)
        return
    for base in bases:
        environments = list(inventory.everything([base]))
        wrong = [f"{entry.name}: {problem}" for entry in environments if (problem := entry.health_check())]
        if environments:
            names = ", ".join(entry.name for entry in environments[:_NAMED]) + (
                ", ..." if environments[_NAMED:] else ""
            )
            problem = f"{wrong[0]}{f' (and {len(wrong) - 1} more)' if wrong[1:] else ''}" if wrong else None
            yield Part(name="Environments", what=f"{len(environments)} named: {names}", where=base, problem=problem)


def _environment(machine: Machine, project: Path) -> Part:
    where = project / venv.NAME
    python = venv.recorded_python(project) or choice.python(machine)
    if python is None:
        none = venv.fault(project) or "there is no virtual environment"
        return Part(name="Environment", what="none", where=None, problem=none)
    problem = environment.recorded_health(project, python, machine)
    count = venv.packages(project)
    added = venv.by_hand(project, venv.read_receipt(project))
    what = content.pluralize(count, "package") + (f", installed by hand: {', '.join(added)}" if added else "")
    return Part.of_directory("Environment", what, where, problem, proven=content.proven(where))


def _kernels(machine: Machine, project: Path) -> Iterator[Part]:
    ours = [entry for entry in kernelspec.registered(machine) if entry.project == project]
    if not ours:
        yield Part(name="Kernel", what="none", where=None, problem="no kernel is registered for this project")
    for entry in ours:
        # A kernel of ours names every file that its start needs.
        gone = next((word for word in entry.argv if word.startswith("/") and not Path(word).exists()), None)
        problem = entry.problem or (f"{gone} is gone" if gone else None)
        yield Part(
            name="Kernel",
            what=f"{entry.name} “{entry.display_name}”, {entry.tier}",
            where=entry.directory,
            problem=problem,
        )


def _maker(entry: kernelspec.Kernel) -> str:
    return (
        f"colab-env: {short(entry.project)}, {entry.tier}" if entry.ours and entry.project else short(entry.directory)
    )
