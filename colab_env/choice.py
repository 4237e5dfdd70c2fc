"""What earlier steps have chosen: the disk is the only memory between two cells of a notebook."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colab_env import _files
from colab_env.errors import MissingStepError, UsageError
from colab_env.interpreter import Interpreter

if TYPE_CHECKING:
    from colab_env.runtime import Runtime

CONDA = ("miniconda", "miniforge")
SOURCES = ("auto", *CONDA, "uv", "system")


def source(interpreter: str, runtime: Runtime) -> str:
    """Return where a Python comes from on this machine, for "auto" too. Raises UsageError for what is no source."""
    if interpreter not in SOURCES:
        msg = f"there is no interpreter source {interpreter!r}"
        raise UsageError(msg, hint=f"choose one of {', '.join(SOURCES)}")
    if interpreter == "auto":
        return "miniconda" if runtime.is_colab else "system"
    return interpreter


def python(runtime: Runtime) -> Interpreter | None:
    """Return the Python that was chosen last, or None."""
    known = _read(runtime).get("python")
    return Interpreter(**{**known, "path": Path(known["path"])}) if known else None


def required_python(runtime: Runtime) -> Interpreter:
    """Return the Python that was chosen last. Raises MissingStepError when there is none, or none any more."""
    known = python(runtime)
    if known is None or not known.path.is_file():
        msg = "no Python is chosen yet" if known is None else f"{known.path} is gone"
        raise MissingStepError(msg, hint="run install_miniconda() or install_python() first")
    return known


def place(runtime: Runtime, key: str) -> Path | None:
    """Return the "prefix" of conda or the "project" that was used last, or None."""
    known = _read(runtime).get(key)
    return Path(known) if known else None


def remember(runtime: Runtime, chosen: Interpreter, **places: Path) -> None:
    """Keep a choice for the next steps."""
    before = _read(runtime)
    named = {key: str(path) for key, path in places.items()}
    after = {**before, "python": {**asdict(chosen), "path": str(chosen.path)}, **named}
    if after != before:
        _files.write_json(_file(runtime), after)


def _read(runtime: Runtime) -> dict[str, Any]:
    return _files.read_json(_file(runtime)) or {}


def _file(runtime: Runtime) -> Path:
    return runtime.data / "chosen.json"
