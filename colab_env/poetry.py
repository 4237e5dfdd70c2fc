"""Poetry: in a tool environment of its own, and what it is asked to do with a project."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from colab_env import _files, _process, _state, index, pins
from colab_env.errors import BuildError, CommandError, DiskFullError, LockMismatchError, NetworkError, PoetryError
from colab_env.results import short
from colab_env.standalone._poetry import NOTE as INDEX_NOTE

if TYPE_CHECKING:
    from colab_env.runtime import Runtime
    from colab_env.wheels import WheelInstaller

_LAUNCHER = Path(__file__).parent / "standalone" / "_poetry.py"
_WRAPPER = """\
#!/bin/sh
# Poetry in an environment of its own. Made by colab-env.
unset PYTHONPATH PYTHONHOME
{defaults}exec {program} "$@"
"""


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """Our mark in Poetry's own environment: its version, such as "2.5.1"."""

    schema: ClassVar[str] = "poetry"
    version: ClassVar[int] = 1

    poetry: str

    @staticmethod
    def upgrade(values: Mapping[str, Any], version: int) -> Mapping[str, Any]:
        return values if version else {"poetry": values.get("version")}


def home(runtime: Runtime) -> Path:
    return runtime.data / "poetry"


def health_check(runtime: Runtime, *, version: str | None) -> str | None:
    """Return why Poetry or its command has to be installed, or None. Reads files, starts nothing."""
    return missing(runtime, version=version) or _command_problem(runtime)


def missing(runtime: Runtime, *, version: str | None = None) -> str | None:
    """Return why a project cannot be installed with Poetry, or None. Reads files, starts nothing."""
    there = installed_version(runtime)
    if there is None:
        return _state.fault(home(runtime) / _files.RECEIPT, Receipt) or "Poetry is not installed"
    if there != (version or there):
        return f"Poetry {there} is installed, {version} is asked for"
    if not _program(runtime).is_file() or not _python(runtime).is_file():
        return "Poetry's environment is damaged"
    if not any(home(runtime).glob("venv/lib/python3*/site-packages/poetry_plugin_export")):
        return "Poetry's export plugin is missing"
    return None


def installed_version(runtime: Runtime) -> str | None:
    receipt = _state.receipt(home(runtime), Receipt)
    return receipt.poetry if receipt else None


def install(runtime: Runtime, *, version: str | None, installer: WheelInstaller) -> None:
    """Make the tool environment, and prove that Poetry starts. Where only its command is missing, write that."""
    if missing(runtime, version=version) is None:
        write_command(runtime)
        return
    wanted = version or pins.POETRY
    with _files.replacing(home(runtime)):
        installer.make_venv(home(runtime) / "venv", runtime.machine_python)
        installer.install([f"poetry=={wanted}", *_plugins(wanted)], python=_python(runtime))
        write_command(runtime)
        answer = _process.run([*_argv(runtime), "--version", "--no-ansi"], environ=_environ(runtime))
        found = re.search(r"\d+(\.\w+)+", answer.output)
        _state.complete(home(runtime), Receipt(poetry=found[0] if found else wanted))


def _plugins(version: str) -> list[str]:
    pinned = [pins.POETRY_MIRROR_PLUGIN, pins.POETRY_EXPORT_PLUGIN]
    # An older Poetry needs older plugins: the installer finds those that fit.
    return pinned if version == pins.POETRY else [each.partition("==")[0] for each in pinned]


def write_command(runtime: Runtime) -> None:
    """Write the command `poetry`, which never waits for a keyring and knows the machine's package index."""
    _files.write_text(_launcher(runtime), _LAUNCHER.read_text(encoding="utf-8"))
    _files.write_program(runtime.bin / "poetry", _command_text(runtime))


def _command_text(runtime: Runtime) -> str:
    settings = index.settings(runtime)
    defaults = {"PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring", **settings.poetry_environ({})}
    lines = "".join(f"export {name}=${{{name}:-{shlex.quote(value)}}}\n" for name, value in defaults.items())
    return _WRAPPER.format(defaults=lines, program=shlex.join(map(str, _argv(runtime, _launcher(runtime)))))


def _command_problem(runtime: Runtime) -> str | None:
    command, launcher = runtime.bin / "poetry", _launcher(runtime)
    if not command.is_file():
        return "the command poetry is missing"
    if not launcher.is_file() or launcher.read_bytes() != _LAUNCHER.read_bytes():
        return "the command poetry is of another version of colab-env"
    if command.read_bytes() != _command_text(runtime).encode():
        return "the command poetry knows other index settings than this machine has"
    return None


def install_project(
    project: Path,
    *,
    runtime: Runtime,
    environment: Path | None = None,
    options: Sequence[str] = (),
) -> tuple[str, ...]:
    """Make the environment hold exactly what the project's lock file says, making the lock file when there is none.

    It is the project's `.venv`, or the virtual environment `environment` wherever that is; `options` are those of
    `poetry sync`. Returns what a person should read. Raises LockMismatchError, BuildError, NetworkError, DiskFullError or
    PoetryError, each with Poetry's last lines.
    """
    environ = _environ(runtime) | {"POETRY_VIRTUALENVS_IN_PROJECT": "true", "POETRY_VIRTUALENVS_CREATE": "true"}
    if environment is not None:
        environ["VIRTUAL_ENV"] = str(environment)  # Poetry takes the active environment before all others
    old = (installed_version(runtime) or "").startswith(("0.", "1."))
    verb = ["install", "--sync"] if old else ["sync"]
    return _run(verb, *options, project=project, runtime=runtime, environ=environ)


def export(
    project: Path,
    *,
    runtime: Runtime,
    environment: Path | None = None,
    options: Sequence[str] = (),
) -> tuple[str, tuple[str, ...]]:
    """Return what the project's lock file says in pip's format, making the lock file when there is none.

    Beside it stands what a person should read. Poetry resolves for the Python of the virtual environment `environment`; it
    makes none itself. `options` are those of `poetry export`. Raises what `install_project` raises.
    """
    environ = _environ(runtime) | {"POETRY_VIRTUALENVS_CREATE": "false"}
    if environment is not None:
        environ["VIRTUAL_ENV"] = str(environment)
    # To a file that only we read: with credentials, it must not pass over the screen.
    with _files.private_directory(runtime.data) as place:
        target = place / "requirements.txt"
        argv = ["export", "--output", str(target)]
        notes = _run(argv, *options, project=project, runtime=runtime, environ=environ)
        return target.read_text(encoding="utf-8"), notes


def _run(verb: list[str], *options: str, project: Path, runtime: Runtime, environ: dict[str, str]) -> tuple[str, ...]:
    argv = [*_argv(runtime), *verb, "--no-interaction", "--no-ansi", *options]
    finished = _process.run(argv, environ=environ, cwd=project, check=False)
    if finished.returncode:
        raise index.not_an_index(environ, finished.lines) or _explained(finished, project)
    return (INDEX_NOTE,) if INDEX_NOTE in finished.output else ()


def _environ(runtime: Runtime) -> dict[str, str]:
    return _process.child_environ(runtime.environ, **index.settings(runtime).poetry_environ(runtime.environ))


def _python(runtime: Runtime) -> Path:
    return home(runtime) / "venv/bin/python"


def _program(runtime: Runtime) -> Path:
    return home(runtime) / "venv/bin/poetry"


def _launcher(runtime: Runtime) -> Path:
    # A copy, so that a package that is removed or updated breaks no command.
    return runtime.bin / _LAUNCHER.name


def _argv(runtime: Runtime, launcher: Path = _LAUNCHER) -> list[str | Path]:
    # Everybody starts Poetry this way: what its index answers is asked, remembered and healed in one place.
    return [_python(runtime), "-I", launcher, runtime.data / "index.json"]


def _explained(finished: _process.Finished, project: Path) -> CommandError | DiskFullError | NetworkError:
    text = finished.output
    if "No space left on device" in text:
        msg = f"no space left on the disk while Poetry installed {short(project)}"
        return DiskFullError(msg, hint="free some space, then run the same call again")
    kind, message, hint = _cause(text, project)
    if kind is NetworkError:
        return NetworkError(f"{message}: {_last_line(text)}", hint=hint)
    return _process.failed(finished, kind=kind, message=message, hint=hint)  # type: ignore[arg-type]


def _cause(text: str, project: Path) -> tuple[type[CommandError | NetworkError], str, str]:
    where = short(project)
    if "changed significantly since poetry.lock" in text:
        hint = "run `poetry lock` in that directory, then this call again"
        return LockMismatchError, f"{where}/poetry.lock does not belong to its pyproject.toml", hint
    if built := re.search(r"(?:PEP517 build of|Note: This error originates from|Unable to (?:build|install)).*", text):
        named = r"(?:issues with|(?:Cannot|Unable to) (?:install|build)) (?:dependency |package )?([\w.-]+)"
        package = re.search(named, text)
        name = package[1].rstrip(".") if package else re.sub(r".*build of (?:a dependency|(\S+)).*", r"\1", built[0])
        hint = "a compiler or a system library may be missing, see above; a wheel for this Python avoids building"
        return BuildError, f"Poetry could not build {name or 'a package'}", hint
    if re.search(r"All attempts to connect|ConnectionError|Max retries exceeded|resolve host|Connection refused", text):
        return NetworkError, "Poetry cannot reach the package index", "check the network or proxy, then run it again"
    if "No file/folder found for package" in text:
        hint = "set `package-mode = false` under [tool.poetry] if the project is only an environment"
        return PoetryError, f"{where} has no package to install", hint
    return PoetryError, f"Poetry failed in {where}", "the lines above say why; nothing was changed"


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
