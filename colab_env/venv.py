"""The project's own virtual environment, `.venv`: what it is, whether it is fine, how to make it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from colab_env import _files
from colab_env.errors import NotOursError
from colab_env.interpreter import Interpreter
from colab_env.results import short

NAME = ".venv"
_NAMED = 3  # missing packages that a message names


def python_of(project: Path) -> Path:
    """Return the path of the environment's own python."""
    return project / NAME / "bin" / "python"


def health_check(project: Path, *, python: Interpreter, system_site_packages: bool, inputs: str) -> str | None:
    """Return why the environment has to be worked on, or None. Reads files, starts nothing.

    `inputs` is a checksum of what it is to be filled from.
    """
    return misfit(project, python=python, system_site_packages=system_site_packages) or _outdated(project, inputs)


def misfit(project: Path, *, python: Interpreter, system_site_packages: bool) -> str | None:
    """Return why the environment has to be made anew, or None when installing into it is enough."""
    settings = _settings(project / NAME)
    if settings is None:
        return "there is no virtual environment"
    if not python_of(project).is_file():
        return "the Python of the virtual environment is gone"
    version = settings.get("version_info", settings.get("version", ""))
    if version != python.version or not _made_by(settings, python):
        return f"the virtual environment was made by Python {version} in {settings.get('home')}"
    if sees_system(project) != system_site_packages:
        return f"the virtual environment {'sees' if not system_site_packages else 'does not see'} the system's packages"
    return None


def set_aside_foreign(project: Path) -> Path | None:
    """Keep an environment that somebody else made: rename it to `.venv.old`, or `.venv.old2` and so on.

    Returns the new name, or None when there is nothing to keep. Raises NotOursError when `.venv` is not a virtual
    environment at all.
    """
    target = project / NAME
    if not (target.exists() or target.is_symlink()) or _files.read_receipt(target) is not None:
        return None
    if _settings(target) is None:
        msg = f"{short(target)} exists and is not a virtual environment"
        raise NotOursError(msg, hint="move it away; nothing was changed")
    names = (target.with_name(f"{NAME}.old{number or ''}") for number in (0, *range(2, 1000)))
    kept = next(name for name in names if not name.exists())
    _files.move(target, kept)
    return kept


def write_receipt(project: Path, *, python: Interpreter, inputs: str, wanted: Mapping[str, Any]) -> None:
    """Mark the environment as ours, with what it was made from, what was `wanted` of it and what is in it."""
    made_by = {**asdict(python), "path": str(python.path)}
    receipt = {"python": made_by, "inputs": inputs, "wanted": dict(wanted), "packages": _packages(project)}
    _files.write_receipt(project / NAME, receipt)


def recorded_wish(project: Path) -> dict[str, Any]:
    """Return what was wanted of the environment when it was filled last."""
    return dict((_files.read_receipt(project / NAME) or {}).get("wanted", {}))


def recorded_python(project: Path) -> Interpreter | None:
    """Return the Python that our environment was made from, or None when there is no environment of ours."""
    receipt = _files.read_receipt(project / NAME)
    if receipt is None:
        return None
    return Interpreter(**{**receipt["python"], "path": Path(receipt["python"]["path"])})


def sees_system(project: Path) -> bool:
    """Say whether the environment that is there sees the system's packages."""
    return (_settings(project / NAME) or {}).get("include-system-site-packages") == "true"


def packages(project: Path) -> int:
    """Return how many distributions are installed in the environment itself."""
    return len(_packages(project))


def _outdated(project: Path, inputs: str) -> str | None:
    receipt = _files.read_receipt(project / NAME)
    if receipt is None:
        return "the virtual environment was not completed by colab-env"
    if receipt.get("inputs") != inputs:
        return "the project's files or what is wanted of them have changed"
    gone = sorted(set(receipt.get("packages", [])) - set(_packages(project)))
    if gone:
        more = f" and {len(gone) - _NAMED} more" if len(gone) > _NAMED else ""
        return f"packages are missing: {', '.join(gone[:_NAMED])}{more}"
    return None


def _settings(directory: Path) -> dict[str, Any] | None:
    try:
        lines = (directory / "pyvenv.cfg").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    pairs = (line.partition("=") for line in lines)
    return {key.strip().lower(): value.strip() for key, _, value in pairs}


def _made_by(settings: dict[str, Any], python: Interpreter) -> bool:
    home = Path(settings.get("home", ""))
    return home.resolve() == python.path.parent.resolve() or home.resolve() == python.path.resolve().parent


def _packages(project: Path) -> list[str]:
    found = (project / NAME).glob("lib/python3*/site-packages/*.dist-info")
    return sorted(path.name.removesuffix(".dist-info") for path in found)
