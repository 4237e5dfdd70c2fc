"""Poetry: in a tool environment of its own, and what it is asked to do with a project."""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from colab_env import (
    _file_locks,
    _files,
    _process,
    _state,
    _transactions,
    index,
    out_of_step,
    package_names,
    pins,
    proving,
    toml_text,
    wheels,
)
from colab_env.errors import (
    BuildError,
    ColabEnvError,
    CommandError,
    DiskFullError,
    LockMismatchError,
    NetworkError,
    PoetryError,
    UsageError,
)
from colab_env.interpreter import require_text
from colab_env.pyproject import Pyproject
from colab_env.results import short
from colab_env.standalone._poetry import NOTE as INDEX_NOTE

if TYPE_CHECKING:
    from colab_env.machine import Machine
    from colab_env.wheels import WheelInstaller

NO_PACKAGE = "the project itself has no package to install; `package-mode = false` under [tool.poetry] says that"
_OLDEST = (1, 3)  # whose plugins there are: poetry-plugin-export, poetry-plugin-pypi-mirror
_LAUNCHER = Path(__file__).parent / "standalone" / "_poetry.py"
_WRAPPER = """\
#!/bin/sh
# Poetry in an environment of its own. Made by colab-env.
unset PYTHONPATH PYTHONHOME
# What poetry.toml would say, for an environment of colab-env's: it is the project's own, and keeps its view of the machine.
if [ -e .venv/{receipt} ]; then
    export POETRY_VIRTUALENVS_IN_PROJECT=${{POETRY_VIRTUALENVS_IN_PROJECT:-true}}
    visible=$(sed -n 's/^include-system-site-packages = //p' .venv/pyvenv.cfg)
    export POETRY_VIRTUALENVS_OPTIONS_SYSTEM_SITE_PACKAGES=${{POETRY_VIRTUALENVS_OPTIONS_SYSTEM_SITE_PACKAGES:-$visible}}
fi
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
        # The first release had no schema, and Poetry's version under this name.
        return values if version else {"poetry": values.get("version")}


def home(machine: Machine) -> Path:
    return machine.data / "poetry"


def health_check(machine: Machine, *, version: str | None) -> str | None:
    """Return why Poetry or its command has to be installed, or None. Reads files, starts nothing."""
    return missing(machine, version=version) or _command_problem(machine)


def missing(machine: Machine, *, version: str | None = None) -> str | None:
    """Return why a project cannot be installed with Poetry, or None. Reads files, starts nothing."""
    installed = installed_version(machine)
    if installed is None:
        return _state.fault(home(machine) / _files.RECEIPT, Receipt) or "Poetry is not installed"
    if installed != (version or installed):
        return f"Poetry {installed} is installed, {version} is asked for"
    if not (home(machine) / "venv/bin/poetry").is_file() or not _python(machine).is_file():
        return "Poetry's environment is damaged"
    # Since Poetry 2.0 the export is a plugin, and without it no lock file can be read.
    if not any(home(machine).glob("venv/lib/python3*/site-packages/poetry_plugin_export")):
        return "Poetry's export plugin is missing"
    return None


def installed_version(machine: Machine) -> str | None:
    receipt = _state.receipt(home(machine), Receipt)
    return receipt.poetry if receipt else None


def install(machine: Machine, *, version: str | None, installer: WheelInstaller, anew: bool = False) -> None:
    """Make the tool environment, and prove that Poetry starts. Where only its command is missing, write that."""
    if not anew and missing(machine, version=version) is None:
        write_command(machine)
        return
    from colab_env import content

    requested = version or pins.POETRY
    with _transactions.replacing(home(machine)):

        def fill() -> None:
            _files.empty(home(machine))
            installer.make_venv(home(machine) / "venv", machine.machine_python)
            installer.install([f"poetry=={requested}", *_plugins(requested)], python=_python(machine))

        survey, _ = proving.prove(home(machine), fill, unpacked=installer)
        write_command(machine)
        # That every file is as it was published is the proof: a first start takes 1.8 seconds, for which nobody shall wait.
        content.write(home(machine), survey.content({}))
        _state.complete(home(machine), Receipt(poetry=requested))


def require_version(version: str | None) -> None:
    """Raise UsageError for a version that cannot be installed: what is none, or one without the plugins that are needed."""
    require_text(version, name="poetry_version")
    match = re.fullmatch(r"(\d+)\.(\d+)[\w.]*", version or pins.POETRY)
    if match is None:
        msg = f"{version!r} is not a version of Poetry"
        raise UsageError(msg, hint=f"write it as {pins.POETRY}; nothing was changed")
    if (int(match[1]), int(match[2])) < _OLDEST:
        oldest = ".".join(map(str, _OLDEST))
        msg = f"Poetry {version} cannot export what it has locked: its export plugin needs Poetry {oldest} or newer"
        raise UsageError(msg, hint=f"give {oldest} or a newer one; poetry.lock of older ones is read by it too")


def _plugins(version: str) -> list[str]:
    pinned = [pins.POETRY_MIRROR_PLUGIN, pins.POETRY_EXPORT_PLUGIN]
    # An older Poetry needs older plugins: the installer finds those that fit.
    return pinned if version == pins.POETRY else [requirement.partition("==")[0] for requirement in pinned]


def write_command(machine: Machine) -> None:
    """Write the command `poetry`, which never waits for a keyring and knows the machine's package index."""
    _files.write_text(_launcher(machine), _LAUNCHER.read_text(encoding="utf-8"))
    # For its owner alone: it may hold the address of a private index.
    _files.write_text(machine.bin / "poetry", _command_text(machine), mode=0o700)


def _command_text(machine: Machine) -> str:
    settings = index.settings(machine)
    defaults = {"PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring", **settings.poetry_environ({})}
    lines = "".join(f"export {name}=${{{name}:-{shlex.quote(value)}}}\n" for name, value in defaults.items())
    program = shlex.join(map(str, _argv(machine, _launcher(machine))))
    return _WRAPPER.format(defaults=lines, receipt=_files.RECEIPT, program=program)


def _command_problem(machine: Machine) -> str | None:
    command, launcher = machine.bin / "poetry", _launcher(machine)
    if not command.is_file():
        return "the command poetry is missing"
    if not launcher.is_file() or launcher.read_bytes() != _LAUNCHER.read_bytes():
        return "the command poetry is of another version of colab-env"
    if command.read_bytes() != _command_text(machine).encode():
        return "the command poetry knows other index settings than this machine has"
    return None


def install_project(
    project: Path,
    *,
    machine: Machine,
    environment: Path | None = None,
    options: Sequence[str] = (),
) -> tuple[str, ...]:
    """Make the environment hold exactly what the project's lock file says, making the lock file when there is none.

    It is the project's `.venv`, or the virtual environment `environment` wherever that is; `options` are those of
    `poetry sync`. Returns what a person should read. Raises LockMismatchError, BuildError, NetworkError, DiskFullError or
    PoetryError, each with Poetry's last lines.
    """
    environ = _environ(machine) | {"POETRY_VIRTUALENVS_IN_PROJECT": "true", "POETRY_VIRTUALENVS_CREATE": "true"}
    if environment is not None:
        environ["VIRTUAL_ENV"] = str(environment)  # Poetry takes the active environment before all others
    # `poetry sync` came with 2.0.
    old = (installed_version(machine) or "").startswith(("0.", "1."))
    verb = ["install", "--sync"] if old else ["sync"]
    try:
        return _run(verb, *options, project=project, machine=machine, environ=environ)
    except PoetryError as error:
        if not has_no_package(error.lines):
            raise
        # Poetry 2 calls it an error that a project has no package of its name.
        return (*_run([*verb, "--no-root"], *options, project=project, machine=machine, environ=environ), NO_PACKAGE)


def install_root(project: Path, *, machine: Machine, environment: Path) -> tuple[str, ...]:
    """Install the project itself alone, editable, into a virtual environment. Returns and raises as `install_project`."""
    environ = _environ(machine) | {"VIRTUAL_ENV": str(environment)}
    return _of_package(["install", "--only-root"], project=project, machine=machine, environ=environ)


def build(project: Path, directory: Path, *, machine: Machine) -> tuple[str, ...]:
    """Build the project's wheel into a directory, where it has a package. Returns and raises as `install_project`."""
    argv = ["build", "--format=wheel", f"--output={directory}"]
    return _of_package(argv, project=project, machine=machine, environ=_environ(machine))


def _of_package(verb: list[str], *, project: Path, machine: Machine, environ: dict[str, str]) -> tuple[str, ...]:
    try:
        return _run(verb, project=project, machine=machine, environ=environ)
    except PoetryError as error:
        if not has_no_package(error.lines):
            raise
        return (NO_PACKAGE,)


def has_no_package(lines: Sequence[str]) -> bool:
    """Say whether a project was not installed because it has no package by its name: Poetry's own words."""
    return "No file/folder found for package" in " ".join(lines)


def export(
    project: Path,
    *,
    machine: Machine,
    environment: Path | None = None,
    options: Sequence[str] = (),
) -> tuple[str, tuple[str, ...]]:
    """Return what the project's lock file says in pip's format, making the lock file when there is none.

    Beside it stands what a person should read. Poetry resolves for the Python of the virtual environment `environment`; it
    makes none itself. `options` are those of `poetry export`. Raises what `install_project` raises.
    """
    environ = _environ(machine) | {"POETRY_VIRTUALENVS_CREATE": "false"}
    if environment is not None:
        environ["VIRTUAL_ENV"] = str(environment)
    # To a file that only we read: with credentials, it must not pass over the screen.
    with _file_locks.private_directory(machine.data) as directory:
        target = directory / "requirements.txt"
        argv = ["export", "--output", str(target)]
        notes = _run(argv, *options, project=project, machine=machine, environ=environ)
        return target.read_text(encoding="utf-8"), notes


def add(project: Path, packages: Sequence[str], *, machine: Machine, environment: Path) -> None:
    """Write packages into the project's pyproject.toml and its lock file, and install nothing.

    Poetry resolves for the Python of the virtual environment `environment`; it makes none itself. Raises what
    `install_project` raises.
    """
    environ = _environ(machine) | {"POETRY_VIRTUALENVS_CREATE": "false", "VIRTUAL_ENV": str(environment)}
    _run(["add", "--lock"], *packages, project=project, machine=machine, environ=environ)


def _run(verb: list[str], *options: str, project: Path, machine: Machine, environ: dict[str, str]) -> tuple[str, ...]:
    # By the option: the variable POETRY_NO_INTERACTION does nothing (2.5.1).
    argv = [*_argv(machine), *verb, "--no-interaction", "--no-ansi", *options]
    finished = _process.run(argv, environ=environ, cwd=project, check=False)
    if finished.returncode:
        raise index.not_an_index(environ, finished.lines) or _translate_error(finished, project)
    return (INDEX_NOTE,) if INDEX_NOTE in finished.output else ()


def _environ(machine: Machine) -> dict[str, str]:
    return _process.child_environ(machine.environ, **index.settings(machine).poetry_environ(machine.environ))


def _python(machine: Machine) -> Path:
    return home(machine) / "venv/bin/python"


def _launcher(machine: Machine) -> Path:
    # A copy, so that a package that is removed or updated breaks no command.
    return machine.bin / _LAUNCHER.name


def _argv(machine: Machine, launcher: Path = _LAUNCHER) -> list[str | Path]:
    # -I, so that neither PYTHONPATH nor a module in the project hides one of Poetry's.
    # Everybody starts Poetry this way: what its index answers is asked, remembered and healed in one place.
    return [_python(machine), "-I", launcher, machine.data / "index.json"]


def _translate_error(finished: _process.Finished, project: Path) -> CommandError | DiskFullError | NetworkError:
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
        reason = ""
        # Poetry read both files; what is odd in them for this reader is a detail that the message goes without.
        with contextlib.suppress(ColabEnvError, ValueError, LookupError, TypeError, AttributeError):
            reason = _differing(project)
        reason = reason or "what it was made for has changed, and no package shows it"
        hint = "run `poetry lock` in that directory, which writes poetry.lock and nothing else; then this call again"
        return LockMismatchError, f"{where}/poetry.lock does not belong to its pyproject.toml: {reason}", hint
    if built := re.search(r"(?:PEP517 build of|Note: This error originates from|Unable to (?:build|install)).*", text):
        pattern = r"(?:issues with|(?:Cannot|Unable to) (?:install|build)) (?:dependency |package )?([\w.-]+)"
        package = re.search(pattern, text)
        name = package[1].rstrip(".") if package else _after_build_of(built[0])
        return BuildError, f"Poetry could not build {name or 'a package'}", wheels.build_hint(text)
    if cloned := re.search(r"Failed to clone \w+://(?:[^/@\s]*@)?([^/:\s]+)", text):
        hint = "check the address, your access to that repository, and the network or proxy"
        return NetworkError, f"git cannot fetch from {cloned[1]}", hint
    if re.search(r"All attempts to connect|ConnectionError|Max retries exceeded|resolve host|Connection refused", text):
        return NetworkError, "Poetry cannot reach the package index", "check the network or proxy, then run it again"
    unknown = re.search(r"Could not find a matching version of package ([\w.-]*\w)", text)  # what `poetry add` says
    if name := unknown[1] if unknown else wheels.blamed(text.splitlines()):
        message, hint = f"no version of {name} fits what is asked for", package_names.hint(name)
    elif "version solving failed" in text:
        message, hint = (
            f"no versions fit what {where} asks for",
            "change the versions that are asked for; nothing was changed",
        )
    else:
        message, hint = f"Poetry failed in {where}", "the lines above say why; nothing was changed"
    return PoetryError, message, hint


def _differing(project: Path) -> str:
    """Return what a project asks for and its poetry.lock does not hold, as far as that can be read, or nothing."""
    from packaging.requirements import InvalidRequirement, Requirement

    pyproject = Pyproject.read(project)
    tables = [pyproject.at("tool", "poetry", key) or {} for key in ("dependencies", "dev-dependencies")]
    tables += [group.get("dependencies", {}) for group in (pyproject.at("tool", "poetry", "group") or {}).values()]
    asked = [
        (name, wanted.get("version", "*") if isinstance(wanted, Mapping) else wanted)
        for table in tables
        for name, wanted in table.items()
        if name != "python" and not isinstance(wanted, list)
    ]
    lists = [pyproject.at("project", "dependencies") or [], *(pyproject.at("dependency-groups") or {}).values()]
    lists += (pyproject.at("project", "optional-dependencies") or {}).values()
    for line in (line for lines in lists for line in lines if isinstance(line, str)):
        with contextlib.suppress(InvalidRequirement):
            requirement = Requirement(line)
            asked.append((requirement.name, str(requirement.specifier)))
    locked: dict[str, list[str]] = {}
    content = _files.content(project / "poetry.lock") or b""
    for package in toml_text.parsed(content.decode("utf-8")).get("package", []):
        locked.setdefault(package_names.normalized(package["name"]), []).append(package["version"])
    return out_of_step.described(asked, locked) if locked else ""


def _after_build_of(line: str) -> str:
    _, _, name = line.partition("build of ")
    return "" if name.startswith("a dependency") else name.partition(" ")[0] or line


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
