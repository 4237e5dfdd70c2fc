"""Which Python a set-up will take, found without installing or choosing anything."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from colab_env import _process, choice, index, system, uv, venv
from colab_env.errors import CommandError
from colab_env.interpreter import Interpreter, fits_short_version, parse_specifier
from colab_env.miniconda import conda

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet

    from colab_env.machine import Machine

_NEWEST_KNOWN = 13  # the newest Python 3.X that this package was tried with


@dataclass(frozen=True, kw_only=True)
class Foreseen:
    """A Python, and whether it is `there` already; one that is not has the version that is known beforehand."""

    python: Interpreter
    there: bool


def python(asked: str | None, *, given: bool, source: str, project: Path, prefix: Path, machine: Machine) -> Foreseen:
    """Return the Python that `setup` would take; `given` says that the caller named it, not the project.

    Raises NoSuchPythonError, as `setup` would.
    """
    if source == "system" and asked is not None and "/" in asked:
        return Foreseen(python=system.at_path(Path(asked).expanduser(), machine=machine), there=True)
    specifier = parse_specifier(asked or "*")
    if source in choice.CONDA:
        return _conda(specifier, source, prefix)
    known = (None if given else venv.recorded_python(project), choice.python(machine))
    for each in known:
        if each is not None and each.source == source and each.path.is_file() and specifier.contains(each.version):
            return Foreseen(python=each, there=True)
    if source == "uv":
        return _uv(specifier, machine)
    return Foreseen(python=system.find(specifier, machine=machine), there=True)


def _conda(specifier: SpecifierSet, distribution: str, prefix: Path) -> Foreseen:
    if conda.health_check(prefix, specifier=specifier) is None:
        return Foreseen(python=conda.python(prefix, distribution), there=True)
    short = conda.choose(specifier, distribution=distribution).python or "3"
    return _absent(short, distribution, prefix / f"bin/python{short}")


def _uv(specifier: SpecifierSet, machine: Machine) -> Foreseen:
    program = uv.find(machine)
    listed = _listed(program, specifier, machine) if program else []
    for version, path in listed:
        if path is not None:
            return Foreseen(python=Interpreter(path=path, version=version, source="uv"), there=True)
    if listed:
        return _absent(listed[0][0], "uv", Path("python"))
    fits = [f"3.{minor}" for minor in range(8, _NEWEST_KNOWN + 1) if fits_short_version(specifier, f"3.{minor}")]
    if not fits:
        raise system.missing(specifier, [])
    return _absent(fits[-1], "uv", Path("python"))


def _listed(program: Path, specifier: SpecifierSet, machine: Machine) -> list[tuple[str, Path | None]]:
    """Return uv's Pythons that fit, newest first, and where those are that are installed. Needs no network."""
    argv: list[str | Path] = [program, "python", "list", "--managed-python", "--output-format", "json"]
    try:
        lines = _process.run(argv, environ=uv.environ(machine, index.settings(machine))).lines
        found = json.loads(next(line for line in lines if line.startswith("[")))
    except (CommandError, ValueError, StopIteration):
        return []
    usual = [
        each for each in found if each["implementation"] == "cpython" and each.get("variant", "default") == "default"
    ]
    fitting = [each for each in usual if specifier.contains(each["version"], prereleases=False)]
    return [(each["version"], Path(each["path"]) if each.get("path") else None) for each in fitting]


def _absent(version: str, source: str, path: Path) -> Foreseen:
    return Foreseen(python=Interpreter(path=path, version=version, source=source), there=False)
