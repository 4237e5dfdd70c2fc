"""Add packages to a project, by the tool whose file says what it consists of, and install them: what `%colab_env add` does."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from pathlib import Path

from colab_env import _file_locks, _files, _report, _transactions, choice, index, poetry, pyproject, uv
from colab_env.errors import ProjectFileError, UsageError
from colab_env.formats import poetry_lock
from colab_env.locks import installing
from colab_env.locks.lock_format import LockFile, reading
from colab_env.machine import Machine
from colab_env.request import Request, project_directory
from colab_env.results import short
from colab_env.step import changing, project_lock
from colab_env.steps import configure_venv, python_for


def add(packages: Sequence[str], project: Path | None = None) -> None:
    """Add packages, such as `numpy` or `"numpy<2"`, to the project that was set up last, or to another one.

    Poetry and uv write their own files, requirements.txt gets a line for each; then the environment is filled as
    `configure_venv` does it. When something fails, files and environment are as before. Raises UsageError where another tool
    writes the lock file, and what `configure_venv` raises.
    """
    machine = Machine.detect()
    project = project_directory(project or choice.path(machine, "project") or Path.cwd())
    # A member's uv writes into the files of its workspace, which other members may be changing.
    root = pyproject.uv_workspace_root(project, pyproject.Pyproject.read(project))
    directories = [project, *([root] if root else [])]
    # The locks first: what is read before them, another run may be changing, and would be put back by this one.
    with changing("add", machine, *(project_lock(machine, directory) for directory in directories)):
        request = Request.as_recorded(project, machine)
        lock = request.lock
        # Where its tool works: a lock file that was named may lie beside a pyproject.toml of its own.
        tool_directory = lock.pyproject.path.parent
        names = {"pyproject.toml", *lock.format.project_files, *(["uv.lock"] if lock.format.adding == "uv add" else [])}
        files = {directory / name for directory in (*directories, tool_directory) for name in names} | {lock.path}
        with _transactions.restoring(*sorted(files)), _report.activity(f"Adding {' '.join(packages)}"):
            _write(request, packages)
            configure_venv(project)
    _report.tell(f"✓ {' '.join(packages)} added to {short(project)}")


def _write(request: Request, packages: Sequence[str]) -> None:
    """Write the packages into the project's files; nothing is installed yet."""
    lock, machine, directory = request.lock, request.machine, request.lock.pyproject.path.parent
    if lock.format.adding == "poetry add":
        poetry_lock.require_poetry(machine)
        python = python_for(request)
        pyproject.complete(directory, python=python, system_site_packages=request.system_site_packages)
        # Poetry asks an environment for its Python. The project's may not be there yet; what this one holds is no matter.
        with _file_locks.private_directory(machine.data) as scratch:
            uv.installer(machine, index.settings(machine)).make_venv(scratch / "venv", python.path)
            poetry.add(directory, packages, machine=machine, environment=scratch / "venv")
    elif lock.format.adding == "uv add":
        installer = installing.installer(machine, pyproject=lock.pyproject)
        installer.add(packages, project=directory, python=python_for(request).path, is_locked=lock.format.is_lock)
    elif lock.format.name == "requirements.txt":
        _files.write_bytes(lock.path.resolve(), _with_lines(lock, [_line(package) for package in packages]))
    else:
        msg = f"{short(lock.path)} is not written by colab-env"
        how = f"`{lock.format.adding} {' '.join(packages)}` in a terminal" if lock.format.adding else "add them there"
        raise UsageError(msg, hint=f"{how}, then run setup() again; nothing was changed")


def _with_lines(lock: LockFile, lines: Sequence[str]) -> bytes:
    """Return a file's bytes, every one as it is, and below them these lines in its own encoding and with its own line ends."""
    content = _files.content(lock.path) or b""
    marks = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}  # PowerShell's `pip freeze >`
    encoding = marks.get(content[:2], "utf-8")
    with reading(lock):
        text = content.decode(encoding)
    line_end = "\r\n" if "\r\n" in text else "\n"
    last = text.removesuffix("\n").removesuffix("\r")
    if last.endswith("\\"):
        msg = f"{short(lock.path)}, line {last.count(chr(10)) + 1}: it ends in a backslash, so what is added would be a part of it"
        raise ProjectFileError(msg, hint="take the backslash away, or end that line; nothing was changed")
    missing = "" if not text.lstrip("\ufeff") or text.endswith("\n") else line_end
    return content + (missing + "".join(f"{line}{line_end}" for line in lines)).encode(encoding)


def _line(package: str) -> str:
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        return str(Requirement(package))
    except InvalidRequirement as error:
        msg = f"{package!r} is no package: {str(error).partition(chr(10))[0]}"
        raise UsageError(msg, hint="such as numpy, or 'numpy<2'; nothing was changed") from error
