"""A project's environment.yml, as an environment that conda made from it: whole or not at all, in our own directory.

Conda itself reads the file. One project, one file and one content make one directory, so that a changed file is built
beside the environment that still works.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from colab_env import _files, _state, _transactions
from colab_env.errors import CondaError, MissingStepError, NoSuchPythonError, PackageNotFoundError, UsageError
from colab_env.interpreter import Interpreter, format_specifier, require_version
from colab_env.miniconda import conda
from colab_env.results import short

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet

    from colab_env.machine import Machine

HOME = "conda-envs"  # in the data directory
# What `conda env export` writes without `--no-builds`: builds are made for one system, and go when newer ones come.
BUILD = re.compile(r"""(?m)^\s*-\s*["']?python=([\w.]+)=(\w+)""")
EXPORT_HINT = (
    "`conda env export --from-history` writes one for every system, where the environment is; "
    "or take a copy without the builds, such as numpy=1.26.3 for numpy=1.26.3=py311hdab7c0b_0, and name it with lock=..."
)
_DISTRIBUTIONS = ("miniconda", "miniforge")
_LIST = re.compile(r"(?m)^channels:(.*(?:\n(?:[ \t]*-.*|[ \t]*(?:#.*)?(?=\n)))*)")


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """Our mark in an environment: whose it is, its Python with its path relative to the prefix, and conda's records."""

    schema: ClassVar[str] = "conda environment"
    version: ClassVar[int] = 1

    kind: Literal["conda environment"]
    project: str
    file: str
    python: str
    interpreter: Path
    packages: tuple[str, ...]

    def __post_init__(self) -> None:
        require_version(self.python)


@dataclass(frozen=True, kw_only=True)
class CondaEnvironment:
    """What one project's environment.yml becomes with the conda of a `distribution`. Raises UsageError.

    `file` is its path, `digest` a checksum of what it says.
    """

    project: Path
    file: Path
    digest: str
    distribution: str
    machine: Machine

    def __post_init__(self) -> None:
        if self.distribution not in _DISTRIBUTIONS:
            msg = f"{short(self.file)} needs conda, and the Python chosen is of {self.distribution!r}"
            hint = "give interpreter='miniconda' (or 'miniforge'), or name another lock file with lock=..."
            raise UsageError(msg, hint=hint)

    @property
    def prefix(self) -> Path:
        """Return where it is, or will be."""
        inputs = [str(self.project), str(self.file), self.distribution, self.digest]
        return _base(self.machine) / hashlib.sha256("\0".join(inputs).encode()).hexdigest()[:16]

    def check(self, specifier: SpecifierSet) -> str | None:
        """Return why it has to be made, or None. Starts nothing. Raises NoSuchPythonError when its Python does not fit."""
        reason = health_check(self.prefix)
        if reason is None:
            self._require(specifier, self.interpreter().version)
        return reason

    def build(self, base: Path, specifier: SpecifierSet, *, sleep: Callable[[float], object] = time.sleep) -> None:
        """Let the conda in `base` make it. Raises as `conda.install_packages` does, and NoSuchPythonError."""
        prefix = self.prefix
        with _transactions.replacing(prefix):
            environ = self._environ()
            try:
                conda.create_environment(
                    base, self.file, into=prefix, environ=environ, machine=self.machine, sleep=sleep
                )
            except PackageNotFoundError as error:
                if not BUILD.search(self.file.read_text(encoding="utf-8", errors="replace")):
                    raise
                raise PackageNotFoundError(error.message, hint=EXPORT_HINT, lines=error.lines) from error
            # An environment.yml need not name a Python, and conda then makes none.
            python = self._made_python(prefix)
            version = conda.working_version(python, environ=environ)
            self._require(specifier, version)
            receipt = Receipt(
                kind="conda environment",
                project=str(self.project),
                file=str(self.file),
                python=version,
                interpreter=python.relative_to(prefix),
                packages=tuple(_records(prefix)),
            )
            _state.complete(prefix, receipt)

    def interpreter(self) -> Interpreter:
        """Return its Python. Raises MissingStepError when it is not there."""
        receipt = _state.receipt(self.prefix, Receipt)
        if receipt is None:
            msg = f"the environment of {short(self.file)} is not made yet"
            raise MissingStepError(msg, hint="run configure_venv() first")
        return Interpreter(path=self.prefix / receipt.interpreter, version=receipt.python, source=self.distribution)

    def packages(self) -> int:
        """Return how many packages conda and pip installed."""
        pips = self.prefix.glob("lib/python3*/site-packages/*.dist-info/INSTALLER")
        by_pip = sum(path.read_bytes().strip() == b"pip" for path in pips)
        return len(_records(self.prefix)) + by_pip

    def _environ(self) -> dict[str, str]:
        # Nothing is written into conda's own directory, nor into the user's ~/.conda.
        environ = {
            **self.machine.environ,
            "CONDA_PKGS_DIRS": str(self.machine.data / "conda-pkgs"),
            "CONDA_REGISTER_ENVS": "false",
        }
        channels = named_channels(self.file.read_text(encoding="utf-8", errors="replace"))
        if channels and "defaults" not in channels:
            # Conda adds Miniconda's `defaults` to the channels of the file, and stops at the terms of a channel that
            # nobody named; `conda env create` has no --override-channels. What the user made of `defaults` does not
            # matter for a file without them.
            environ["CONDA_DEFAULT_CHANNELS"] = ",".join(channels)
        return environ

    def _made_python(self, prefix: Path) -> Path:
        try:
            return conda.interpreter(prefix)
        except MissingStepError as error:
            msg = f"{short(self.file)} has no Python among its dependencies, nor needs one"
            raise CondaError(msg, hint="add a line such as `- python=3.12` to its dependencies") from error

    def _require(self, specifier: SpecifierSet, version: str) -> None:
        if not specifier.contains(version):
            msg = f"{short(self.file)} makes Python {version}, and {format_specifier(specifier)} is asked for"
            hint = f"write `- python={format_specifier(specifier)}` among its dependencies, or ask for no Python"
            raise NoSuchPythonError(msg, hint=hint)


def health_check(prefix: Path) -> str | None:
    """Return why the environment in `prefix` has to be made, or None. Reads files, starts nothing."""
    receipt = _state.receipt(prefix, Receipt)
    if receipt is None:
        unusable = _state.fault(prefix / _files.RECEIPT, Receipt)
        return unusable or "there is no environment of environment.yml as it is now"
    if not os.access(prefix / receipt.interpreter, os.X_OK):
        return f"{short(prefix / receipt.interpreter)} is gone"
    gone = sorted(set(receipt.packages) - set(_records(prefix)))
    return f"packages are gone from {short(prefix)}: {', '.join(gone[:3])}" if gone else None


def prefix_of(python: Path, machine: Machine) -> Path | None:
    """Return the environment of this kind that an interpreter belongs to, or would if it were there; None for others."""
    prefix = python.parents[1]
    return prefix if prefix.parent == _base(machine) else None


def is_of(python: Path, project: Path, machine: Machine) -> bool:
    """Say whether an interpreter belongs to the environment that conda made for this project."""
    prefix = prefix_of(python, machine)
    receipt = _state.receipt(prefix, Receipt) if prefix else None
    return receipt is not None and receipt.project == str(project)


def remove_others(project: Path, python: Path, machine: Machine) -> None:
    """Delete what conda made for a project before; what `python` belongs to stays, and what a program runs from."""
    for prefix in sorted(_base(machine).glob("[!.]*")):
        receipt = _state.receipt(prefix, Receipt)
        if receipt is None or receipt.project != str(project) or prefix in python.parents:
            continue
        if not _is_in_use(prefix):
            _files.remove(prefix)


def named_channels(text: str) -> list[str]:
    """Return the channels that an environment.yml names, in its order; none where that is not said plainly.

    This decides only whether conda's `defaults` is wanted: conda reads the file.
    """
    match = _LIST.search(text)
    listed = re.sub(r"(?m)(^|\s)#.*$", "", match[1]) if match else ""
    if listed.count("[") != listed.count("]"):
        return []
    words = (word.strip("'\"") for word in re.split(r"[\s,\[\]]+", listed))
    return [word for word in words if word not in ("", "-", "nodefaults")]


def _base(machine: Machine) -> Path:
    return machine.data / HOME


def _records(prefix: Path) -> list[str]:
    return sorted(path.stem for path in (prefix / "conda-meta").glob("*.json"))


def _is_in_use(prefix: Path) -> bool:
    for link in Path("/proc").glob("[0-9]*/exe"):
        with contextlib.suppress(OSError):  # it has ended, or is somebody else's
            if prefix in link.readlink().parents:
                return True
    return False
