"""Find the Pythons that are on this machine: on PATH, in pyenv's and uv's own directories.

The order is uv's: PATH from left to right, then managed directories, newest first. Programs of a virtual environment
stand for the interpreter they were made from, and pyenv's shims are passed over for the interpreters behind them.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from colab_env import _process, _state
from colab_env.errors import CommandError, NoSuchPythonError
from colab_env.interpreter import (
    OLDEST,
    Interpreter,
    fits_short_version,
    format_specifier,
    installing_hint,
    require_version,
    unsupported_python_message,
)

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet

    from colab_env.machine import Machine

_NAME = re.compile(r"python(3(\.(\d+))?)?")
# `_base_executable` is, for a virtual environment's Python, the one that it was made from.
_QUESTION = (
    "import sys, json; print(json.dumps([sys.implementation.name, '.'.join(map(str, sys.version_info[:3])),"
    " getattr(sys, '_base_executable', None) or sys.executable, sys.version_info.releaselevel]))"
)
# The names are those of PEP 508. Without -S and -I, so that the answer is what a program of this Python sees.
_LOOK = """\
import json, os, platform as p, sys
directories = [path for path in sys.path if os.path.basename(path) in ("site-packages", "dist-packages")]
markers = {"os_name": os.name, "sys_platform": sys.platform, "platform_machine": p.machine(),
 "platform_python_implementation": p.python_implementation(), "platform_release": p.release(),
 "platform_system": p.system(), "platform_version": p.version(), "implementation_name": sys.implementation.name,
 "python_version": ".".join(p.python_version_tuple()[:2]), "python_full_version": p.python_version(),
 "implementation_version": p.python_version()}
print(json.dumps({"directories": directories, "markers": markers}))
"""


@dataclass(frozen=True, kw_only=True)
class SitePaths:
    """What a Python sees: its `directories` of packages, the first wins, and its `markers` (PEP 508's names)."""

    directories: tuple[Path, ...]
    markers: Mapping[str, str]


def query_interpreter(python: Interpreter, *, machine: Machine) -> SitePaths:
    """Ask a Python where its packages are. Raises CommandError when it does not start, or is none."""
    # It is asked itself: where its packages lie is patched by distributions.
    answer = _process.run([python.path, "-c", _LOOK], environ=_process.child_environ(machine.environ))
    try:
        site_paths: SitePaths = _state.from_json(answer.lines[-1], SitePaths)
    except (ValueError, IndexError) as error:
        msg = f"{python.path} does not answer as a Python does"
        raise _process.failed(answer, message=msg, hint="choose another Python, or mend this one") from error
    return site_paths


def machine_python(machine: Machine) -> Interpreter | None:
    """Return the Python that the machine's own tools run on; None when it is none that can be used."""
    return inspect(machine.machine_python, machine=machine)


def find(
    specifier: SpecifierSet, *, machine: Machine, accept: Callable[[Interpreter], bool] = lambda _: True
) -> Interpreter:
    """Return the first CPython on this machine that fits, and that is taken if it is asked for by `accept`.

    Raises NoSuchPythonError, which names those that are here.
    """
    for candidate in _candidates(machine, specifier):
        interpreter = inspect(candidate, machine=machine)
        if interpreter is not None and specifier.contains(interpreter.version) and accept(interpreter):
            return interpreter
    raise missing(specifier, available(machine=machine), own=machine_python(machine), is_colab=machine.is_colab)


def available(*, machine: Machine) -> list[Interpreter]:
    """Return every CPython that is found, newest first, one for each X.Y."""
    from packaging.version import Version

    interpreters = [inspect(path, machine=machine) for path in _candidates(machine, None)]
    best: dict[str, Interpreter] = {}
    for interpreter in interpreters:
        if interpreter is not None:
            best.setdefault(interpreter.short_version, interpreter)
    return sorted(best.values(), key=lambda interpreter: Version(interpreter.version), reverse=True)


def at_path(path: Path, *, machine: Machine) -> Interpreter:
    """Return the interpreter that a person named by its path."""
    interpreter = inspect(path, machine=machine) if path.is_file() else None
    if interpreter is None:
        msg = f"{path} is not a CPython {'.'.join(map(str, OLDEST))} or newer"
        raise NoSuchPythonError(msg, hint="give the path of a python program, or a version such as 3.12")
    return interpreter


def is_discovered(path: Path, *, machine: Machine, named: Sequence[Path] = ()) -> bool:
    """Say whether a program is a Python of a directory where `find` looks, or where a program that it meets really is.

    So it is beside one that a person has `named`. Starts nothing.
    """
    if _NAME.fullmatch(path.name) is None or ".." in path.parts:
        return False
    programs = [*_programs(machine), machine.machine_python, *named]
    return path.parent in {program.parent for program in (*programs, *(program.resolve() for program in programs))}


def inspect(path: Path, *, machine: Machine) -> Interpreter | None:
    """Ask a program which Python it is; None when it is no CPython that can be used."""
    try:
        name, version, base, level = _identity(path, machine)
        require_version(version)
    except (CommandError, ValueError, IndexError):
        return None
    too_old = tuple(int(part) for part in version.split(".")[:2]) < OLDEST
    if name != "cpython" or level != "final" or too_old:
        return None
    return Interpreter(path=Path(base), version=version, source="system")


def _identity(path: Path, machine: Machine) -> tuple[str, ...]:
    """Return what `_QUESTION` asks for. The Python that runs this is not started again for it."""
    if path.parent == Path(sys.executable).parent and path.is_file() and path.samefile(sys.executable):
        base, *numbers = getattr(sys, "_base_executable", None) or sys.executable, *sys.version_info[:3]
        return sys.implementation.name, ".".join(map(str, numbers)), base, sys.version_info.releaselevel
    # Isolated and without site: neither variables nor what is installed there change the answer.
    environ = _process.child_environ(machine.environ)
    answer = _process.run([path, "-I", "-S", "-c", _QUESTION], environ=environ)
    identity: tuple[str, ...] = _state.from_json(answer.lines[-1], tuple[str, ...])
    return identity


def missing(
    specifier: SpecifierSet, interpreters: list[Interpreter], *, own: Interpreter | None = None, is_colab: bool = False
) -> NoSuchPythonError:
    """Make the error that says which Pythons there are instead, and whether the machine's `own` was left behind."""
    listed = ", ".join(f"{interpreter.version} ({interpreter.path})" for interpreter in interpreters)
    msg = f"no Python on this machine fits {format_specifier(specifier)!r}; there is: {listed or 'none that this package can use'}"
    how = installing_hint(specifier)
    hint = "ask for one of these" + (f", or let one be installed: {how}" if how else "")
    if own is not None and (
        message := unsupported_python_message(own.version, specifier, asking="this", is_colab=is_colab)
    ):
        hint = message + (f", installed with {how}" if how else "; none that fits can be installed")
    return NoSuchPythonError(msg, hint=hint)


def _candidates(machine: Machine, specifier: SpecifierSet | None) -> Iterator[Path]:
    real: set[Path] = set()
    for path in _programs(machine):
        resolved = path.resolve()
        if resolved not in real and _may_fit(resolved, specifier):
            real.add(resolved)
            yield path


def _may_fit(program: Path, specifier: SpecifierSet | None) -> bool:
    # A name such as python3.9 rules a program out without starting it.
    match = _NAME.fullmatch(program.name)
    if specifier is None or match is None or match[3] is None:
        return True
    return fits_short_version(specifier, f"3.{match[3]}")


def _programs(machine: Machine) -> Iterator[Path]:
    for directory in _directories(machine):
        if directory.name == "shims" or not os.path.isdir(directory):  # noqa: PTH112  (it may be closed to this user)
            continue
        names = (path for path in directory.glob("python*") if _NAME.fullmatch(path.name))
        yield from sorted(names, key=lambda path: len(path.name))
    yield Path(sys.executable)


def _directories(machine: Machine) -> Iterator[Path]:
    yield from (Path(part) for part in machine.environ.get("PATH", "").split(":") if part)
    pyenv = Path(machine.environ.get("PYENV_ROOT") or machine.home / ".pyenv")
    yield from _newest_first(pyenv / "versions")
    yield from _newest_first(machine.uv_pythons)


def _newest_first(directory: Path) -> list[Path]:
    def version(path: Path) -> list[int]:
        return [int(number) for number in re.findall(r"\d+", path.name)[:3]]

    return [path / "bin" for path in sorted(directory.glob("*3.*"), key=version, reverse=True)]
