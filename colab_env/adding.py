"""Add packages to a project, by the tool whose file says what it consists of, and install them: what `%colab_env add` does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from colab_env import _files, _process, _report, _transactions, choice, uv
from colab_env.errors import UsageError
from colab_env.index import settings
from colab_env.machine import Machine
from colab_env.request import Request
from colab_env.results import short
from colab_env.step import changing, project_lock
from colab_env.steps import configure_venv


def add(packages: Sequence[str], project: Path | None = None) -> None:
    """Add packages, such as `numpy` or `"numpy<2"`, to the project that was set up last, or to another one.

    Poetry's and uv's own `add` writes their files, requirements.txt gets a line for each. When something fails, every file is
    as before. Raises UsageError where another tool writes the lock file.
    """
    machine = Machine.detect()
    project = project or choice.path(machine, "project") or Path.cwd()
    request = Request.as_recorded(project, machine)
    lock = request.lock
    files = {project / name for name in ("pyproject.toml", *lock.format.project_files)} | {lock.path}
    with (
        changing("add", machine),
        _transactions.restoring(*sorted(files)),
        _report.activity(f"Adding {' '.join(packages)}"),
    ):
        if lock.format.adding == "poetry add":
            with changing("add", machine, project_lock(machine, project)):
                argv: list[str | Path] = [machine.bin / "poetry", "add", "--no-interaction", *packages]
                _process.run(argv, environ=_process.child_environ(machine.environ), cwd=project)
        else:
            _write(request, packages)
            configure_venv(project)
    _report.tell(f"✓ {' '.join(packages)} added to {short(project)}")


def _write(request: Request, packages: Sequence[str]) -> None:
    """Write the packages into the files of a project that Poetry has nothing to do with; nothing is installed yet."""
    lock, machine = request.lock, request.machine
    if lock.format.adding == "uv add":
        # A project that is not locked stays so: uv would write a lock file that nobody asked for.
        kind = "--no-sync" if lock.format.is_lock else "--frozen"
        options: list[str | Path] = [kind, "--project", request.project]
        argv = [uv.ensure(machine), "add", *options, *packages]
        _process.run(argv, environ=uv.environ(machine, settings(machine)), cwd=request.project)
    elif lock.format.name == "requirements.txt":
        text = lock.path.read_text(encoding="utf-8") if lock.is_there else ""
        lines = [text.rstrip("\n"), *map(_line, packages)] if text.strip() else [*map(_line, packages)]
        _files.write_text(lock.path, "\n".join(lines) + "\n")
    else:
        msg = f"{short(lock.path)} is not written by colab-env"
        how = f"`{lock.format.adding} {' '.join(packages)}` in a terminal" if lock.format.adding else "add them there"
        raise UsageError(msg, hint=f"{how}, then run setup() again; nothing was changed")


def _line(package: str) -> str:
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        return str(Requirement(package))
    except InvalidRequirement as error:
        msg = f"{package!r} is no package: {str(error).partition(chr(10))[0]}"
        raise UsageError(msg, hint="such as numpy, or 'numpy<2'; nothing was changed") from error
