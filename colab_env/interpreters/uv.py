"""A Python that uv installs: about 30 MB, in seconds."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from colab_env import index, system, uv
from colab_env.errors import CommandError, NetworkError, NoSuchPythonError
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

    def find(self, request: Request, notes: list[str] | None = None) -> Interpreter:
        machine = request.machine
        program, settings = uv.ensure(machine), index.settings(machine)
        usual = _usual(program, request.specifier, machine)
        better = request.better_pythons(usual.python.short_version) if usual else None
        if better is not None:
            # One that is not offered, or that cannot be downloaded where another one is there already.
            with contextlib.suppress(NoSuchPythonError, NetworkError):
                found = uv.install_python(program, better.specifier, machine=machine, index=settings)
                if notes is not None:
                    notes.append(better.reason)
                return found
        return uv.install_python(program, request.specifier, machine=machine, index=settings)

    def resolve(self, request: Request) -> ResolvedPython:
        if previous := self.previous(request):
            return ResolvedPython(python=previous, is_installed=True)
        machine, program = request.machine, uv.find(request.machine)
        usual = _usual(program, request.specifier, machine)
        if usual is None:
            raise system.missing(request.specifier, [])
        better = request.better_pythons(usual.python.short_version)
        found = _usual(program, better.specifier, machine) if better else None
        return replace(found, notes=(better.reason,)) if better and found else usual

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


def _usual(program: Path | None, specifier: SpecifierSet, machine: Machine) -> ResolvedPython | None:
    """Return the Python that uv takes: an installed one, else the newest that it offers; None where none fits."""
    listed = _listed(program, specifier, machine) if program else []
    known = (f"3.{minor}" for minor in range(_NEWEST_KNOWN, 7, -1))
    listed = listed or [(version, None) for version in known if fits_short_version(specifier, version)]
    for version, path in [build for build in listed if build[1]] or listed[:1]:
        # Only X.Y is known of a Python that uv has not downloaded yet.
        python = Interpreter(path=path or Path("python"), version=version, source="uv")
        return ResolvedPython(python=python, is_installed=path is not None)
    return None


def _listed(program: Path, specifier: SpecifierSet, machine: Machine) -> list[tuple[str, Path | None]]:
    """Return uv's Pythons that fit, newest first, and where those are that are installed. Needs no network."""
    try:
        lines = uv.list_managed(program, environ=uv.environ(machine, index.settings(machine))).lines
    except CommandError:
        return []
    # Not PyPy, and no free-threaded or debug build: wheels are made for the default one.
    usual = [build for build in uv.listed(lines) if build.implementation == "cpython" and build.variant == "default"]
    return [(build.version, build.path) for build in usual if specifier.contains(build.version, prereleases=False)]
