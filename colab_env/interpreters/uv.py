"""A Python that uv installs: about 30 MB, in seconds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from colab_env import _process, index, system, uv
from colab_env.errors import CommandError
from colab_env.interpreter import Interpreter, fits_short_version
from colab_env.interpreter_sources import ResolvedPython
from colab_env.interpreters.system import System

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet

    from colab_env.machine import Machine
    from colab_env.request import Request

_PROGRAM = re.compile(r"bin/python(3(\.\d+t?)?)?", re.ASCII)
_NEWEST_KNOWN = 13  # the newest Python 3.X that this package was tried with


class Uv(System):
    """uv's own builds of CPython."""

    names = ("uv",)

    def require(self, request: Request) -> None:
        uv.require_offered(request.specifier)

    def find(self, request: Request) -> Interpreter:
        machine = request.machine
        return uv.install_python(uv.ensure(machine), request.specifier, machine=machine, index=index.settings(machine))

    def resolve(self, request: Request) -> ResolvedPython:
        if previous := self.previous(request):
            return ResolvedPython(python=previous, is_installed=True)
        program = uv.find(request.machine)
        listed = _listed(program, request.specifier, request.machine) if program else []
        for version, path in listed:
            if path is not None:
                return ResolvedPython(python=Interpreter(path=path, version=version, source="uv"), is_installed=True)
        minors = [f"3.{minor}" for minor in range(8, _NEWEST_KNOWN + 1)]
        fits = [version for version, _ in listed[:1]]
        fits = fits or [minor for minor in minors if fits_short_version(request.specifier, minor)]
        if not fits:
            raise system.missing(request.specifier, [])
        # Only X.Y is known of a Python that uv has not downloaded yet.
        absent = Interpreter(path=Path("python"), version=fits[-1], source="uv")
        return ResolvedPython(python=absent, is_installed=False)

    def own_prefix(self, python: Interpreter, machine: Machine) -> Path | None:
        version_directory = python.path.parents[1]
        prefix = (
            version_directory.parent / version_directory.readlink()
            if version_directory.is_symlink()
            else version_directory
        )
        return prefix if prefix.parent == machine.uv_pythons and prefix.is_dir() else None

    def links(self, python: Interpreter) -> list[Path]:
        # uv names a Python by X.Y through a link beside it.
        version_directory = python.path.parents[1]
        return [version_directory] if version_directory.is_symlink() else []

    def would_take(self, python: Interpreter, request: Request) -> bool:
        if python.path.parents[2] != request.machine.uv_pythons:
            return super().would_take(python, request)
        return _PROGRAM.fullmatch("/".join(python.path.parts[-2:])) is not None and _real_name(python) is not None

    def snapshot_prefix(self, python: Interpreter, request: Request) -> Path | None:
        real, base = _real_name(python), request.machine.uv_pythons
        return base / real if real is not None and python.path.parents[2] == base else None

    def snapshot_links(self, python: Interpreter, prefix: Path) -> Mapping[Path, str]:
        version_directory = python.path.parents[1]
        return {version_directory: prefix.name} if version_directory != prefix else {}


def _real_name(python: Interpreter) -> str | None:
    """Return what uv calls the directory of a Python, by its full version where its path has X.Y; None: no name of uv's."""
    for version in (python.version, python.short_version):
        match = re.fullmatch(rf"cpython-{re.escape(version)}([-+][\w.+-]*\w)", python.path.parts[-3], re.ASCII)
        if match:
            return f"cpython-{python.version}{match[1]}"
    return None


def _listed(program: Path, specifier: SpecifierSet, machine: Machine) -> list[tuple[str, Path | None]]:
    """Return uv's Pythons that fit, newest first, and where those are that are installed. Needs no network."""
    argv: list[str | Path] = [program, "python", "list", "--managed-python", "--output-format", "json"]
    try:
        lines = _process.run(argv, environ=uv.environ(machine, index.settings(machine))).lines
    except CommandError:
        return []
    # Not PyPy, and no free-threaded or debug build: wheels are made for the default one.
    usual = [build for build in uv.listed(lines) if build.implementation == "cpython" and build.variant == "default"]
    return [(build.version, build.path) for build in usual if specifier.contains(build.version, prereleases=False)]
