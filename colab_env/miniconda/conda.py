"""Install Miniconda or Miniforge and packages with it.

Where the pinned installers come from is told in `_run`: most of their SHA-256 sums rest on one public source, and
a sum given by the user wins. Exit codes prove nothing here (an empty installer ends with 0), so that every installation
is tried before it counts.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from colab_env import _download, _file_locks, _files, _process, _report, _state, _transactions
from colab_env.errors import (
    DiskFullError,
    InstallerError,
    MissingStepError,
    NoSuchPythonError,
    NotOursError,
    UsageError,
)
from colab_env.interpreter import Interpreter, require_version
from colab_env.machine import Machine
from colab_env.miniconda import _overlay, _run
from colab_env.miniconda._overlay import Overlay, overlaying
from colab_env.miniconda._run import Installer, Source, choose, installer_argv, installers
from colab_env.miniconda._stage import staging
from colab_env.results import short

__all__ = [
    "Installer",
    "Source",
    "choose",
    "create_environment",
    "health_check",
    "hides_google",
    "install",
    "install_packages",
    "installer_argv",
    "installers",
    "interpreter",
    "interrupted",
    "is_own",
    "packages_missing",
    "python",
    "python_version",
    "recover",
    "saved_directory",
    "verify",
    "working_version",
]


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """Our mark in a prefix: where its conda came from, whether it lies over the machine's own files, and its Python.

    `interpreter` is relative to the prefix; `print` is its size in bytes and its time of change in nanoseconds.
    """

    schema: ClassVar[str] = "conda"
    version: ClassVar[int] = 1

    kind: Literal["conda"]
    distribution: str
    installer: str
    sha256: str
    overlay: bool
    python: str
    interpreter: Path
    print: tuple[int, ...]

    def __post_init__(self) -> None:
        require_version(self.python)


def health_check(prefix: Path, *, specifier: SpecifierSet | None = None) -> str | None:
    """Return why `prefix` is not a working installation of ours with a fitting Python, or None. Starts no process."""
    receipt = _state.receipt(prefix, Receipt)
    if receipt is None:
        unusable = interrupted(prefix) or _state.fault(prefix / _files.RECEIPT, Receipt)
        return unusable or f"{short(prefix)} has no Miniconda of colab-env"
    python = prefix / receipt.interpreter
    if not os.access(python, os.X_OK) or not python.is_file():
        return f"{short(python)} is gone"
    # Somebody's own installer over the same prefix would have another interpreter.
    if _fingerprint(python) != receipt.print:
        return f"{short(python)} was changed"
    if not (prefix / "lib" / python.name / "site-packages/conda/__init__.py").is_file():
        return f"conda is gone from {short(prefix)}"
    if specifier is not None and not specifier.contains(receipt.python):
        return f"{short(prefix)} has Python {receipt.python}, which does not fit {specifier}"
    return None


def interrupted(prefix: Path) -> str | None:
    """Return that a change of conda's was begun and not ended, or None. Our receipt is away until then."""
    is_open = (prefix / _overlay.OPEN).exists()
    return f"a change of the conda in {short(prefix)} was interrupted, or is going on" if is_open else None


def recover(prefix: Path, machine: Machine) -> None:
    """Take back a change that was begun and not ended."""
    with _file_locks.locked(_lock(prefix, machine)):
        _overlay.recover(prefix, saved=saved_directory(prefix, machine))


def install(
    source: Source,
    *,
    prefix: Path,
    machine: Machine,
    specifier: SpecifierSet | None = None,
    sleep: Callable[[float], object] = time.sleep,
) -> bool:
    """Install into `prefix`, or leave it as it was. Returns False when another run has just done it.

    An installation of ours that is damaged or does not fit is replaced. In a directory that the machine uses, such as
    /usr/local, the machine's own commands work on (see `_overlay`). Needs 100 to 160 MB of network, 600 MB of disk.
    Raises UsageError, NoSuchPythonError, NetworkError, HashMismatchError, InstallerError, NotOursError,
    NotWritableError or DiskFullError.
    """
    specifier = specifier or SpecifierSet()
    installer = require_installable(source, specifier, prefix=prefix, machine=machine)
    with _file_locks.locked(_lock(prefix, machine)):
        _overlay.recover(prefix, saved=saved_directory(prefix, machine))
        if health_check(prefix, specifier=specifier) is None and _is_from(prefix, installer, source):
            return False
        script = _fetched(installer, machine=machine, sleep=sleep)
        with _removed_if_useless(script), _building(prefix, machine) as overlay:
            path = machine.environ.get("PATH", "")
            with staging(overlay, path=path, is_new=True) if overlay else contextlib.nullcontext(prefix) as target:
                _run.run_installer(script, prefix, into=target, environ=machine.environ)
                _installed_python(target, installer)
            python = interpreter(prefix)
            if overlay is not None:
                overlay.settle(python=python, path=path)
            # Inside the transaction: what does not start is taken back.
            version = verify(prefix, specifier=specifier, machine=machine)
            receipt = Receipt(
                kind="conda",
                distribution=installer.distribution,
                installer=installer.name,
                sha256=installer.sha256.lower(),
                overlay=overlay is not None,
                python=version,
                interpreter=python.relative_to(prefix),
                print=_fingerprint(python),
            )
            if overlay is None:
                _keep_environments(prefix)
            _state.complete(prefix, receipt)
        _files.remove(script)
    return True


def verify(prefix: Path, *, specifier: SpecifierSet | None = None, machine: Machine) -> str:
    """Start the installed Python and conda; return the Python's version. Raises InstallerError or NoSuchPythonError."""
    python = interpreter(prefix)
    version = working_version(python, environ=machine.environ)
    # Return code 0 of the installer proves nothing: cut by one byte, it ends with 0.
    _answer([python, "-m", "conda", "--version"], prefix, environ=machine.environ)
    if specifier is not None and not specifier.contains(version):
        msg = f"the installer brought Python {version}, which does not fit {specifier}"
        raise NoSuchPythonError(
            msg, hint=f"ask for =={version.rpartition('.')[0]}.*, or give installer=URL and sha256=..."
        )
    return version


def working_version(python: Path, *, environ: Mapping[str, str]) -> str:
    """Start a Python of conda's and return its version. Raises InstallerError."""
    code = "import platform, ssl, sys; print(sys.prefix, platform.python_version())"
    return _answer([python, "-c", code], python.parents[1], environ=environ).split()[-1]


def _answer(argv: Sequence[str | Path], prefix: Path, *, environ: Mapping[str, str]) -> str:
    finished = _process.run(argv, environ=_run.conda_environ(environ), check=False)
    if finished.returncode or not finished.lines:
        msg = f"the installation in {short(prefix)} does not work: `{' '.join(finished.argv)}` failed"
        hint = "run the same call again, or choose another prefix"
        raise _process.failed(finished, kind=InstallerError, message=msg, hint=hint)
    return finished.lines[-1]


def interpreter(prefix: Path) -> Path:
    """Return conda's own `bin/python3.X`: never `bin/python`, which may be the machine's. Raises MissingStepError."""
    # conda's own record: in /usr/local, `bin/python3` is the machine's.
    for record in sorted((prefix / "conda-meta").glob("python-3.*.json")):
        if match := re.match(r"python-(3\.\d+)\.", record.name):
            python = prefix / "bin" / f"python{match[1]}"
            if python.is_file():
                return python
    msg = f"{short(prefix)} has no Python of conda's"
    raise MissingStepError(msg, hint="run install_miniconda() first")


def python(prefix: Path, distribution: str) -> Interpreter:
    """Return conda's own Python. Raises MissingStepError."""
    return Interpreter(path=interpreter(prefix), version=python_version(prefix), source=distribution)


def has_python(prefix: Path, python: Interpreter) -> bool:
    """Say whether an interpreter is where the conda of a prefix has its Python, or will have it. Reads nothing."""
    return python.path == prefix / f"bin/python{python.short_version}"


def python_version(prefix: Path) -> str:
    """Return the version of conda's own Python, such as "3.12.4". Raises MissingStepError."""
    receipt = _state.receipt(prefix, Receipt)
    if receipt is None:
        msg = f"{short(prefix)} has no Miniconda of colab-env"
        raise MissingStepError(msg, hint="run install_miniconda() first")
    return receipt.python


def packages_missing(prefix: Path, packages: Sequence[str]) -> list[str]:
    """Return those of `packages` that are not installed, or not in a version that is asked for.

    Of what PEP 440 has no words for, such as builds, the name counts alone.
    """
    records = (record.name.rsplit("-", 2) for record in (prefix / "conda-meta").glob("*.json"))
    present = {record[0]: record[1] for record in records if len(record) == 3}
    return [package for package in packages if not _is_satisfied(package, present)]


def _is_satisfied(package: str, present: Mapping[str, str]) -> bool:
    # A channel may stand in front: conda-forge::numpy>=2.
    text = package.rpartition("::")[2].strip()
    version = present.get(re.split(r"[\s=<>!~\[]", text, maxsplit=1)[0].lower())
    if version is None:
        return False
    constraint = re.sub(r"^[^\s=<>!~\[]+", "", text).strip()
    if fuzzy := re.fullmatch(r"=?\s*(\d[\w.]*?)(?:\.?\*)?(?:[\s=].*)?", constraint):
        constraint = f"=={fuzzy[1]}.*"  # conda's `=3.9`, and its `3.9` after a space, are any 3.9
    try:
        return SpecifierSet(constraint).contains(Version(version), prereleases=True)
    except (InvalidSpecifier, InvalidVersion):
        return True


def hides_google(prefix: Path) -> Path | None:
    """Return the file of conda's google-colab (2021) that hides every other `google.…` package, or None.

    Beside a `google/__init__.py`, Python takes no part of the `google` package from anywhere else.
    """
    for record in (prefix / "conda-meta").glob("google-colab-*.json"):
        for name in _recorded_files(record):
            if name.endswith("site-packages/google/__init__.py") and (prefix / name).is_file():
                return prefix / name
    return None


def install_packages(
    prefix: Path,
    packages: Sequence[str],
    *,
    channels: Sequence[str] = ("conda-forge",),
    machine: Machine,
    sleep: Callable[[float], object] = time.sleep,
) -> None:
    """Install packages from these channels and no others, or leave everything as it was.

    Broken transfers are tried four times, waiting 1, 2, 4 seconds. Nobody's terms of service are accepted: a channel
    that wants that raises TermsOfServiceError. Raises also PackageNotFoundError, NetworkError, DiskFullError,
    NotWritableError or CondaError.
    """
    with _file_locks.locked(_lock(prefix, machine)):
        _overlay.recover(prefix, saved=saved_directory(prefix, machine))
        interpreter(prefix)
        receipt = _state.receipt(prefix, Receipt)
        if receipt is None:
            msg = f"{short(prefix)} has no Miniconda of colab-env"
            raise MissingStepError(msg, hint="run install_miniconda() first")
        saved, path = saved_directory(prefix, machine), machine.environ.get("PATH", "")
        with overlaying(prefix, saved=saved, path=path, owned=not receipt.overlay) as overlay:
            with staging(overlay, path=path) if receipt.overlay else contextlib.nullcontext(prefix) as target:
                _run.install_packages(
                    target / receipt.interpreter,
                    packages,
                    prefix=prefix,
                    channels=channels,
                    environ=machine.environ,
                    sleep=sleep,
                )
            python = interpreter(prefix)
            # The machine's commands come back before anything is proven: nobody waits for them any longer than needed.
            overlay.settle(python=python, path=path)
            version = verify(prefix, machine=machine) if _fingerprint(python) != receipt.print else receipt.python
            interpreter_now = python.relative_to(prefix)
            receipt = replace(receipt, python=version, interpreter=interpreter_now, print=_fingerprint(python))
            _state.complete(prefix, receipt)


def create_environment(
    prefix: Path,
    file: Path,
    *,
    into: Path,
    environ: Mapping[str, str],
    machine: Machine,
    sleep: Callable[[float], object] = time.sleep,
) -> None:
    """Let the conda in `prefix` make an environment from an environment.yml `into` an empty directory.

    `environ` is the machine's with what this run shall know. `prefix` stays as it is. Raises as `install_packages` does.
    """
    with _file_locks.locked(_lock(prefix, machine)):
        _run.create_environment(interpreter(prefix), into, file, environ=environ, sleep=sleep)


def saved_directory(prefix: Path, machine: Machine) -> Path:
    """Return where the originals of what an installation into `prefix` overwrote are kept."""
    return machine.data / "saved" / _key(prefix)


def require_installable(source: Source, specifier: SpecifierSet, *, prefix: Path, machine: Machine) -> Installer:
    """Return the installer that fits, for a prefix that can take it. Raises what `install` raises before it writes."""
    installer = source.choose(specifier, environ=machine.environ)
    if re.search(r"\s", str(prefix)):
        msg = f"the prefix {str(prefix)!r} has a space in it, which the installer does not take"
        raise UsageError(msg, hint="choose a prefix without spaces")
    if prefix == machine.data or prefix in machine.data.parents:
        msg = f"the prefix {short(prefix)} holds colab-env's own data"
        raise UsageError(msg, hint="choose a directory of its own, such as ~/miniconda3")
    # The installer would write over the standard library of that Python, file by file.
    python_marker = installer.python and prefix / "lib" / f"python{installer.python}" / "os.py"
    if (
        python_marker
        and python_marker.is_file()
        and not _state.is_marked(prefix)
        and not _is_unfinished(prefix, machine)
    ):
        msg = f"{short(prefix)} has a Python {installer.python} that colab-env did not install"
        raise NotOursError(msg, hint="choose another prefix; nothing was changed")
    _files.check_writable(prefix)
    return installer


def _is_unfinished(prefix: Path, machine: Machine) -> bool:
    marker = prefix.with_name(f".{prefix.name}.colab-env-building")
    return marker.exists() or (saved_directory(prefix, machine) / "transaction.json").exists()


def _is_from(prefix: Path, installer: Installer, source: Source) -> bool:
    # Only what the user named counts: a newer row of the table is no reason to install again.
    receipt = _state.receipt(prefix, Receipt)
    return receipt is not None and (not source.sha256 or receipt.sha256 == installer.sha256.lower())


@contextlib.contextmanager
def _removed_if_useless(script: Path) -> Iterator[None]:
    """Delete an installer that does not install, or that has filled the disk: it takes 100 MB or more."""
    try:
        yield
    except (InstallerError, DiskFullError):
        _files.remove(script)
        raise


def _fetched(installer: Installer, *, machine: Machine, sleep: Callable[[float], object]) -> Path:
    script = machine.data / "downloads" / installer.name
    with _report.activity(f"Downloading {installer.name}"):
        # One of an earlier run may be here: it counts if it is the very file.
        if not script.is_file() or hashlib.sha256(script.read_bytes()).hexdigest() != installer.sha256.lower():
            _download.fetch(installer.url, script, sha256=installer.sha256, sleep=sleep)
    return script


@contextlib.contextmanager
def _building(prefix: Path, machine: Machine) -> Iterator[Overlay | None]:
    """Hold the transaction that fits: our own prefix is built anew, a directory of the machine is overlaid."""
    saved = saved_directory(prefix, machine)
    with contextlib.ExitStack() as stack:
        overlay = None
        try:
            stack.enter_context(_transactions.replacing(prefix, is_ours=lambda _: _may_be_replaced(prefix, saved)))
        # /usr/local and the like: what is there stays, so conda is laid over it and can be taken off again.
        except NotOursError:
            with _report.activity(f"Saving what {short(prefix)} holds"):
                overlay = stack.enter_context(overlaying(prefix, saved=saved))
                overlay.clear()
        yield overlay


def _keep_environments(prefix: Path) -> None:
    """Give an installation that replaces another one the environments that the user made in that one."""
    old, new = _files.scratch_name(prefix, "old") / "envs", prefix / "envs"
    for environment in old.iterdir() if old.is_dir() else ():
        if environment.is_dir() and not os.path.lexists(new / environment.name):
            # Links: the old directory stays whole until the new one has its receipt.
            _files.copy_links(environment, new / environment.name)


def _installed_python(prefix: Path, installer: Installer) -> Path:
    try:
        return interpreter(prefix)
    except MissingStepError as error:
        msg = f"{installer.name} ended without an error, but {short(prefix)} has no Python of conda's"
        hint = "check that the file is a whole installer for Linux x86_64"
        raise InstallerError(msg, hint=hint, returncode=0) from error


def is_own(prefix: Path) -> bool:
    """Say whether the whole directory is an installation of ours: not a directory of the machine that we overlaid."""
    receipt = _state.receipt(prefix, Receipt)
    return receipt is not None and not receipt.overlay and not prefix.is_symlink()


def _may_be_replaced(prefix: Path, saved: Path) -> bool:
    # Of a receipt that cannot be read, the originals that an overlay keeps say which kind of installation it is.
    if _state.receipt(prefix, Receipt) is not None or prefix.is_symlink():
        return is_own(prefix)
    return _state.is_marked(prefix) and not saved.exists()


def _fingerprint(python: Path) -> tuple[int, ...]:
    status = python.stat()
    return status.st_size, status.st_mtime_ns


def _recorded_files(record: Path) -> list[str]:
    package = _files.read_json(record)
    files = package.get("files") if isinstance(package, dict) else None
    return [name for name in files if isinstance(name, str)] if isinstance(files, list) else []


def _key(prefix: Path) -> str:
    # One lock and one store of originals for a prefix, by whichever path it is named.
    return hashlib.sha256(os.fsencode(os.path.realpath(prefix))).hexdigest()[:16]


def _lock(prefix: Path, machine: Machine) -> Path:
    return machine.data / "locks" / f"conda-{_key(prefix)}"
