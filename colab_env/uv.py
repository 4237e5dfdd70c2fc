"""uv: find it, get it, and ask it for Pythons, virtual environments and packages."""

from __future__ import annotations

import os
import shutil
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from colab_env import _file_locks, _files, _process, _report, _state, _transactions, pins
from colab_env.errors import CommandError, NetworkError, NoSuchPythonError
from colab_env.interpreter import OLDEST_OF_UV, Interpreter, format_specifier, installing_hint, require_version
from colab_env.wheels import WheelInstaller, run_uv, translate_error

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet

    from colab_env.index import Index
    from colab_env.machine import Machine


# Which versions a user allows in projects; that says nothing of colab-env's own tools, nor of a kernel's packages.
_OF_PROJECTS = frozenset(
    (
        *("UV_EXCLUDE_NEWER", "UV_EXCLUDE_NEWER_PACKAGE", "UV_CONSTRAINT", "UV_OVERRIDE", "UV_BUILD_CONSTRAINT"),
        *("UV_EXCLUDE", "UV_RESOLUTION", "UV_PRERELEASE", "PIP_CONSTRAINT", "PIP_BUILD_CONSTRAINT"),
    )
)


@dataclass(frozen=True, kw_only=True)
class ListedPython:
    """One Python in uv's list: `path` is None for one that is not installed."""

    version: str
    implementation: str
    path: Path | None = None
    variant: str = "default"

    def __post_init__(self) -> None:
        require_version(self.version)


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """Our mark in uv's own directory: its version, such as "0.9.1"."""

    schema: ClassVar[str] = "uv"
    version: ClassVar[int] = 1

    uv: str

    @staticmethod
    def upgrade(values: Mapping[str, Any], version: int) -> Mapping[str, Any]:
        # The first release had no schema, and uv's version under this name.
        return values if version else {"uv": values.get("version")}


def find(machine: Machine) -> Path | None:
    """Return uv where there is one: our own, on PATH, or beside the Python that runs this."""
    program = Path(sysconfig.get_path("scripts")) / "uv"
    on_path = shutil.which("uv", path=machine.environ.get("PATH"))
    candidates = [_own(machine), *([Path(on_path)] if on_path else []), program]
    return next((path for path in candidates if path.is_file()), None)


def ensure(machine: Machine) -> Path:
    """Return uv, installing it with pip into this package's own directory where there is none."""
    if program := find(machine):
        return program
    home = machine.data / "uv"
    with _file_locks.locked(machine.data / "locks" / "uv"):
        if not _own(machine).is_file():
            _install(home, machine)
    return _own(machine)


def _install(home: Path, machine: Machine) -> None:
    from colab_env import content

    pip: list[str | Path] = [machine.machine_python, "-m", "pip", "install", "-q", "--retries=1"]
    pip += ["--disable-pip-version-check", "--no-input"]
    environ = _process.child_environ(machine.environ)
    with _report.activity(f"Installing uv {pins.UV}"), _transactions.replacing(home):
        try:
            # `--target` needs no virtual environment, which Colab's Python cannot make (no ensurepip).
            _process.run([*pip, "--target", home, f"uv=={pins.UV}"], environ=environ)
        except CommandError as error:
            raise translate_error(error, environ) from error
        content.write(home, content.Survey(home).content({}))
        _state.complete(home, Receipt(uv=pins.UV))


def obtain(machine: Machine) -> Path | None:
    """Return uv as `ensure` does, or None where it cannot be had. Raises NetworkError: nothing else could be had either."""
    try:
        return ensure(machine)
    except CommandError:
        return None


def environ(machine: Machine, index: Index) -> dict[str, str]:
    """Return the environment that every uv call gets."""
    # Its bars are for terminals; how far it is, `uv_install` finds out for every screen.
    changes = {"UV_NO_PROGRESS": "1", **index.uv_environ(machine.environ)}
    return _process.child_environ(machine.environ, **changes)


def installer(machine: Machine, index: Index) -> WheelInstaller:
    """Return how packages are installed on this machine."""
    return WheelInstaller(uv=find(machine), machine_python=machine.machine_python, environ=environ(machine, index))


def tool_installer(machine: Machine, index: Index) -> WheelInstaller:
    """Return how colab-env's own tools and a kernel's packages are installed.

    The versions that the user allows for projects, by uv's settings or variables, are not theirs.
    """
    from colab_env.index import tool_settings

    settings, text = machine.data / "uv.toml", tool_settings(machine)
    if _files.content(settings) != text.encode():
        _files.write_text(settings, text, mode=0o600)  # an address in it may hold a password
    variables = {name: value for name, value in environ(machine, index).items() if name not in _OF_PROJECTS}
    variables["UV_CONFIG_FILE"] = str(settings)  # uv looks for no other then, in the working directory neither
    return WheelInstaller(uv=find(machine), machine_python=machine.machine_python, environ=variables)


def require_offered(specifier: SpecifierSet) -> None:
    """Raise NoSuchPythonError where no Python of uv's can fit; nothing is started."""
    if "'uv'" not in (hint := installing_hint(specifier)):
        msg = f"uv has no Python that fits {format_specifier(specifier)!r}"
        older = f"an older one: {hint}" if hint else "ask for one of these, such as 3.12"
        raise NoSuchPythonError(msg, hint=f"its oldest is {'.'.join(map(str, OLDEST_OF_UV))}; {older}")


def install_python(uv: Path, specifier: SpecifierSet, *, machine: Machine, index: Index) -> Interpreter:
    """Install a uv-managed CPython (about 30 MB) that fits, or return the one that is there.

    Raises NoSuchPythonError when uv offers none that fits, NetworkError when its download site is not reached.
    """
    request, children = str(specifier) or "3", environ(machine, index)
    require_offered(specifier)
    try:
        # uv's directory is everybody's: `undo` takes away only what this step added.
        with _files.noting_new(machine.uv_pythons):
            run_uv([uv, "python", "install", request], environ=children)
        answer = run_uv([uv, "python", "find", "--managed-python", "--no-project", request], environ=children)
    except CommandError as error:
        raise _translate_error(error, format_specifier(specifier)) from error
    if not answer.lines:
        msg = f"uv finds no Python that fits {format_specifier(specifier)!r}"
        raise NoSuchPythonError(msg, hint="`uv python list` shows what there is")
    path = Path(answer.lines[-1])
    return Interpreter(path=path, version=_version(uv, path, children), source="uv")


def _own(machine: Machine) -> Path:
    return machine.data / "uv/bin/uv"


def _version(uv: Path, path: Path, children: dict[str, str]) -> str:
    answer, real = list_managed(uv, "--only-installed", environ=children), path.resolve()
    # Compared by what they lead to: uv may answer with its link for X.Y.
    for entry in listed(answer.lines):
        if entry.path is not None and entry.path.resolve() == real:
            return entry.version
    msg = f"uv has installed {path}, and does not list it"
    raise _process.failed(
        answer, message=msg, hint="run `uv python list --managed-python`, and see what is wrong there"
    )


def list_managed(uv: Path, *options: str, environ: Mapping[str, str]) -> _process.Finished:
    """Let uv print its own Pythons as JSON: those that it has and, without `--only-installed`, those that it offers.

    It starts every other Python on PATH too, if only to leave it out: one to two seconds where they are pyenv's.
    """
    argv: list[str | Path] = [uv, "python", "list", "--managed-python", "--output-format", "json", *options]
    return _process.run(argv, environ={**environ, "UV_PYTHON_SEARCH_PATH": os.devnull})


def listed(lines: Sequence[str]) -> list[ListedPython]:
    """Return what `uv python list` printed as JSON; nothing where it printed none. Warnings may stand around it."""
    try:
        pythons = _state.from_json(next((line for line in lines if line.startswith("[")), ""), list[ListedPython])
    except ValueError:
        return []
    return cast("list[ListedPython]", pythons)


def _translate_error(error: CommandError, request: str) -> CommandError | NoSuchPythonError | NetworkError:
    text = "\n".join(error.lines)
    if "No download found" in text or "No interpreter found" in text or "Invalid version request" in text:
        msg = f"uv offers no Python that fits {request!r}"
        return NoSuchPythonError(msg, hint="`uv python list` shows what there is")
    if "Failed to download" in text or "error sending request" in text:
        msg = "uv cannot download its Python: " + text.strip().splitlines()[-1].strip()
        return NetworkError(
            msg, hint="check the network or proxy, set UV_PYTHON_INSTALL_MIRROR, or use interpreter='system'"
        )
    return error
