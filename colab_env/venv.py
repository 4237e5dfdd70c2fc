"""The project's own virtual environment, `.venv`: what it is, whether it is fine, how to make it.

Its packages are compiled while nobody waits for them, since the first imports would otherwise.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from colab_env import _files, _process, _state
from colab_env.errors import CommandError, NotOursError
from colab_env.interpreter import Interpreter, require_version
from colab_env.results import short

if TYPE_CHECKING:
    from colab_env.machine import Machine


_COMPILING = ".compiling"
_ELSEWHERE = ("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX")  # the person wants no compiled files beside the sources
_PATIENCE = 10.0  # seconds; the file at hand is finished in less, and what comes later is only one more compiled file


def start_compiling(environment: Path, python: Path, *, machine: Machine, lock: Path) -> None:
    """Begin to compile the packages of an environment, in processes of low priority that go on after this run.

    They stop when somebody takes `lock`, that of the project, to change it.
    """
    _run_compiler(environment, python, "--behind", machine=machine, lock=lock)


def finish_compiling(environment: Path, python: Path, *, machine: Machine, lock: Path) -> None:
    """Compile what is not compiled yet, and return when that is done."""
    stop_compiling(lock)
    _run_compiler(environment, python, machine=machine, lock=lock)


def stop_compiling(lock: Path) -> None:
    """End what `start` began, so that nothing is written behind the back of a change."""
    mark = _compiling_mark(lock)
    with contextlib.suppress(FileNotFoundError), mark.open() as file:
        _files.unlink(mark)
        descriptor = file.fileno()
        # The compiler looks for the mark between two files and holds a lock on it to its end.
        deadline = time.monotonic() + _PATIENCE
        while not _is_free(descriptor) and time.monotonic() < deadline:
            time.sleep(0.02)


def stop_all_compiling(locks: Path) -> None:
    """End all that `start` began, where the lock files of the projects are in one directory."""
    for mark in sorted(locks.glob(f"*{_COMPILING}")):
        stop_compiling(mark.with_suffix(""))


def _run_compiler(environment: Path, python: Path, *options: str, machine: Machine, lock: Path) -> None:
    if any(machine.environ.get(name) for name in _ELSEWHERE):
        return
    script, mark = Path(__file__).parent / "standalone" / "_compile.py", _compiling_mark(lock)
    workers = str(len(os.sched_getaffinity(0)))
    with contextlib.suppress(CommandError, OSError):  # imports do without, more slowly
        environ = _process.child_environ(machine.environ)
        site = next(environment.glob("lib/python3*/site-packages"), environment)
        _process.run([python, "-I", "-S", script, site, mark, workers, *options], environ=environ)


def _compiling_mark(lock: Path) -> Path:
    return lock.with_name(lock.name + _COMPILING)


def _is_free(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


NAME = ".venv"
_ACTIVATED = re.compile(r"""(?m)^\s*(?:export )?VIRTUAL_ENV=["']?(/[^"'\n\0]*)["']?$""")
_NAMED = 3  # missing packages that a message names


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What was wanted of an environment, as the options of `configure_venv`, and the metadata of what was `kept`.

    `lock` is relative to the project, or an absolute path.
    """

    lock: str | None
    installer: Literal["uv", "poetry"] | None
    extras: tuple[str, ...]
    groups: tuple[str, ...] | None
    keep: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.keep and self.installer == "poetry":
            msg = "Poetry keeps nothing"
            raise ValueError(msg)


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """Our mark in an environment: what it was made from, what was `wanted` of it and what is in it.

    Its programs work at one `path` only; the first release did not write it down.
    """

    schema: ClassVar[str] = "venv"
    version: ClassVar[int] = 1

    python: Interpreter
    inputs: str
    wanted: Recorded
    packages: tuple[str, ...]
    path: Path | None = None

    def __post_init__(self) -> None:
        require_version(self.python.version)


def python_of(project: Path) -> Path:
    """Return the path of the environment's own python."""
    return project / NAME / "bin" / "python"


def health_check(
    project: Path, *, python: Interpreter, system_site_packages: bool, inputs: str, receipt: Receipt | None
) -> str | None:
    """Return why the environment has to be worked on, or None. Reads files, starts nothing.

    `inputs` is a checksum of what it is to be filled from, `receipt` what `read_receipt` gave.
    """
    wrong = mismatch(project, python=python, system_site_packages=system_site_packages, receipt=receipt)
    return wrong or _outdated(project, inputs, receipt)


def mismatch(project: Path, *, python: Interpreter, system_site_packages: bool, receipt: Receipt | None) -> str | None:
    """Return why the environment has to be made anew, or None when installing into it is enough."""
    settings = _settings(project / NAME)
    if settings is None:
        return "there is no virtual environment"
    if "home" not in settings:
        return f"{short(project / NAME / 'pyvenv.cfg')} is damaged"
    if not python_of(project).is_file():
        return "the Python of the virtual environment is gone"
    # virtualenv and uv write "version_info", Python's own venv writes "version".
    version, made_at = settings.get("version_info", settings.get("version", "")), _made_at(project / NAME, receipt)
    problem = None
    if version != python.version or not _made_by(settings, python):
        problem = f"the virtual environment was made by Python {version} in {settings.get('home')}"
    elif made_at != project / NAME:
        problem = f"the virtual environment was made in {short(made_at)} and has been moved or copied"
    elif sees_system(project) != system_site_packages:
        word = "sees" if not system_site_packages else "does not see"
        problem = f"the virtual environment {word} the system's packages"
    return problem


def set_aside_foreign(project: Path) -> Path | None:
    """Keep an environment that somebody else made: rename it to `.venv.old`, or `.venv.old2` and so on.

    Returns the new name, or None when there is nothing to keep. Raises NotOursError when `.venv` is not a virtual
    environment at all.
    """
    target = project / NAME
    if not (target.exists() or target.is_symlink()) or _state.is_ours(target):
        return None
    if _settings(target) is None and not target.is_symlink() and _holds_only_compiled_files(target):
        _files.remove(target)  # what Python left of one that somebody deleted while it was in use
        return None
    if _settings(target) is None:
        msg = f"{short(target)} exists and is not a virtual environment"
        raise NotOursError(msg, hint="move it away; nothing was changed")
    names = (target.with_name(f"{NAME}.old{number or ''}") for number in (0, *range(2, 1000)))
    aside = next(name for name in names if not name.exists())
    _files.move(target, aside)
    return aside


def _holds_only_compiled_files(directory: Path) -> bool:
    """Say whether there are directories and compiled files, and nothing else."""
    paths = [path for path in directory.rglob("*") if path.is_symlink() or not path.is_dir()]
    return bool(paths) and all(path.suffix == ".pyc" and path.parent.name == "__pycache__" for path in paths)


def write_receipt(project: Path, *, python: Interpreter, inputs: str, wanted: Recorded) -> None:
    """Mark the environment as ours and complete."""
    packages, path = tuple(_packages(project)), project / NAME
    receipt = Receipt(python=python, inputs=inputs, wanted=wanted, packages=packages, path=path)
    _state.complete(project / NAME, receipt)


def read_receipt(project: Path) -> Receipt | None:
    """Return what our environment was made from, or None when there is none of ours, or its mark is damaged."""
    return _state.receipt(project / NAME, Receipt)


def recorded_python(project: Path) -> Interpreter | None:
    """Return the Python that our environment was made from, or None when there is no environment of ours."""
    receipt = read_receipt(project)
    return receipt.python if receipt else None


def fault(project: Path) -> str | None:
    """Return why our mark in the environment says nothing, or None when it does, or there is none."""
    return _state.fault(project / NAME / _files.RECEIPT, Receipt)


def sees_system(project: Path) -> bool:
    """Say whether the environment that is there sees the system's packages."""
    return (_settings(project / NAME) or {}).get("include-system-site-packages") == "true"


def packages(project: Path) -> int:
    """Return how many distributions are installed in the environment itself."""
    return len(_packages(project))


def by_hand(project: Path, receipt: Receipt | None) -> list[str]:
    """Return the distributions that somebody has installed beside those that colab-env did, such as "six 1.16.0"."""
    recorded = set(receipt.packages) if receipt else set()
    return [package.replace("-", " ") for package in _packages(project) if receipt and package not in recorded]


def removed(project: Path, receipt: Receipt | None) -> list[str]:
    """Return the distributions of an earlier environment that are not in this one in any version, but for pip."""
    installed = versions(project / NAME)
    earlier = versions_in(Path(f"{package}.dist-info") for package in receipt.packages) if receipt else {}
    return [f"{name} {version}" for name, version in sorted(earlier.items()) if name not in installed and name != "pip"]


def versions(environment: Path) -> dict[str, str]:
    """Return the version of each distribution that is installed in an environment, by normalized name."""
    return versions_in(environment.glob("lib/python3*/site-packages/*.dist-info"))


def versions_in(infos: Iterable[Path]) -> dict[str, str]:
    """Return the versions that these .dist-info directories are named by."""
    parts = (path.name.removesuffix(".dist-info").rpartition("-") for path in infos)
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, _, version in parts}


def _outdated(project: Path, inputs: str, receipt: Receipt | None) -> str | None:
    if receipt is None:
        return fault(project) or "the virtual environment was not completed by colab-env"
    if receipt.inputs != inputs:
        return "the project's files or what is wanted of them have changed"
    gone = sorted(set(receipt.packages) - set(_packages(project)))
    if gone:
        more = f" and {len(gone) - _NAMED} more" if len(gone) > _NAMED else ""
        return f"packages are missing: {', '.join(gone[:_NAMED])}{more}"
    return None


def _made_at(environment: Path, receipt: Receipt | None) -> Path:
    """Return where an environment was made, which its programs and `pip` in it name; where that is not known, its path."""
    if receipt is not None and receipt.path is not None:
        return receipt.path
    try:
        # pyvenv.cfg does not name its own directory; the activation script does, as the maker saw it.
        text = (environment / "bin/activate").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return environment
    match = _ACTIVATED.search(text)
    return Path(match[1]) if match else environment


def _settings(directory: Path) -> dict[str, str] | None:
    """Return what pyvenv.cfg says, nothing when it is damaged, or None when there is none."""
    path = directory / "pyvenv.cfg"
    try:
        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None
    except OSError:
        return {}
    if text is None:
        return None
    pairs = (line.partition("=") for line in text.splitlines() if "\0" not in line)  # no path has a NUL in it
    return {key.strip().lower(): value.strip() for key, _, value in pairs}


def _made_by(settings: dict[str, str], python: Interpreter) -> bool:
    home = Path(settings.get("home", ""))
    return home.resolve() == python.path.parent.resolve() or home.resolve() == python.path.resolve().parent


def _packages(project: Path) -> list[str]:
    metadata = (project / NAME).glob("lib/python3*/site-packages/*.dist-info")
    return sorted(path.name.removesuffix(".dist-info") for path in metadata)
