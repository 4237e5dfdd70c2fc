"""Kernelspecs: what Jupyter needs to know to start a kernel, in the user's own Jupyter directory."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from colab_env import _files, _state, _transactions
from colab_env.errors import KernelNameError, KernelTakenError, UsageError
from colab_env.jupyter import diversion
from colab_env.results import short, suggest

if TYPE_CHECKING:
    from colab_env.interpreter import Interpreter
    from colab_env.machine import Machine

# jupyter_client.kernelspec._kernel_name_pat, whose `$` and IGNORECASE also let a final newline and a few non-ASCII
# letters through, and which takes "..", a directory of its own.
_ALLOWED = re.compile(r"[A-Za-z0-9._-]*[A-Za-z0-9_-][A-Za-z0-9._-]*")
# PATH, jupyter_client (`{connection_file}` and others in argv, `${NAME}` in env) and our guard take these for their own.
_NO_PATH = re.compile(r":|\$[\w{$]|\{\w+\}|[\x00-\x1f\x7f\ud800-\udfff]")
_WHY = {
    ":": "PATH is divided there",
    "$": "a variable is put in there",
    "{": "Jupyter puts something else in there",
}
_USUAL = re.compile(r"py\d+(-|\Z)")  # how the names begin that nobody gave
UNTRIED = "colab-env-untried"  # in an environment that came from a snapshot, until a kernel of it has been tried
_OURS = "colab_env"  # the key in kernel.json's metadata that says whose it is
# Both words in each: Colab's /etc/ipython names google.colab's kernel class and extension for every IPython there.
_PLAIN = ("--IPKernelApp.kernel_class=ipykernel.ipkernel.IPythonKernel", "--InteractiveShellApp.extensions=[]")
_FULL = ("--IPKernelApp.kernel_class=colab_env_kernel.Kernel", "--InteractiveShellApp.extensions=['google.colab']")


@dataclass(frozen=True, kw_only=True)
class Tier:
    """How much of Colab a kernel has: `flags` for IPython, and the `checks` that a kernel of this tier must pass."""

    name: str
    flags: tuple[str, ...]
    checks: tuple[str, ...]
    structured: bool = False


_BASIC = ("kernel_info", "execute", "complete", "inspect", "shell", "interrupt")
FULL = Tier(name="full", flags=_FULL, checks=(*_BASIC, "colab", "shutdown"), structured=True)
WITH_COLAB = Tier(name="plain with google.colab", flags=_PLAIN, checks=(*_BASIC, "colab", "shutdown"))
PLAIN = Tier(name="plain", flags=_PLAIN, checks=(*_BASIC, "shutdown"))


TierName = Literal["full", "plain with google.colab", "plain"]


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """Our mark beside a kernel.json, which others may damage: the project and the tier. The first release had none."""

    schema: ClassVar[str] = "kernel"
    version: ClassVar[int] = 1

    project: Path
    tier: TierName


@dataclass(frozen=True, kw_only=True)
class Own:
    """What kernel.json's metadata say of a kernel of ours; `missing` are Colab's features that it lacks, with the reasons."""

    project: Path
    tier: TierName
    layer: Path
    missing: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _Metadata:
    colab_env: Own


@dataclass(frozen=True, kw_only=True)
class _Spec:
    """What has to be right in a kernel.json of ours."""

    argv: list[str]
    display_name: str
    env: dict[str, str]
    metadata: _Metadata


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """One registered kernel: its `name`, what Jupyter shows, its `project`, its tier, and whether colab-env made it.

    `problem` says why Jupyter cannot start one of ours, or is None.
    """

    name: str
    display_name: str
    directory: Path
    argv: tuple[str, ...]
    ours: bool
    project: Path | None = None
    tier: str | None = None
    problem: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        project = str(self.project) if self.project else None
        return {**asdict(self), "directory": str(self.directory), "project": project}


def check_project_path(project: Path) -> None:
    """Raise UsageError for a directory that a kernel cannot be started in as its name stands."""
    match = _NO_PATH.search(str(project))
    if match:
        why = _WHY.get(match[0][:1], "it is no character that a screen can show")
        msg = f"a kernel cannot work in {short(project)!a}: in its path stands {match[0]!a}, and {why}"
        raise UsageError(msg, hint="rename the directory, or choose another one; nothing was changed")


def display_name(python: Interpreter, project: Path) -> str:
    """Return what Jupyter's menus show, such as `Python 3.12 (content)`."""
    return f"Python {python.short_version} ({project.name or 'root'})"


def spec_dict(
    *,
    tier: Tier,
    python: Interpreter,
    project: Path,
    launcher: Path,
    display_name: str,
    commands: Sequence[Path],
    fingerprint: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the contents of kernel.json. Absolute paths only: a bare `python3` would become the server's own."""
    venv = environment_of(project)
    # The debugger wants to see frozen modules; a crash shall leave a stack.
    options = [*(["-Xfrozen_modules=off"] if python.pair >= (3, 11) else []), "-Xfaulthandler"]
    return {
        "argv": [str(venv / "bin" / "python"), *options, str(launcher), "-f", "{connection_file}", *tier.flags],
        "display_name": display_name,
        "language": "python",
        "interrupt_mode": "signal",
        "env": kernel_environ(venv, commands),
        "metadata": {"debugger": True, _OURS: {"project": str(project), "tier": tier.name, **fingerprint}},
    }


def environment_of(project: Path) -> Path:
    """Return a project's virtual environment; a named environment is its own project, and its name a link to a build."""
    if not (project / "pyvenv.cfg").is_file():
        return project / ".venv"
    # What runs must not see another build once the link names that one.
    return project.parent / project.readlink() if project.is_symlink() else project


def kernel_environ(venv: Path, commands: Sequence[Path]) -> dict[str, str]:
    """Return what a kernel's environment must say: its own commands first, nothing of the server's Python."""
    return {
        "VIRTUAL_ENV": str(venv),
        "PATH": ":".join([*map(str, (venv / "bin", *commands)), "${PATH}"]),
        "PYTHONPATH": "",
        # Colab's kernels have "true", with which `uv pip install` goes to the machine's Python whatever VIRTUAL_ENV says.
        "UV_SYSTEM_PYTHON": "false",
    }


def started_environ(spec: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, str]:
    """Return the whole environment of a kernel as a server with `environ` would start it."""
    added = {name: Template(value).safe_substitute(environ) for name, value in spec["env"].items()}
    return {**environ, **added}


def check_kernel_name(name: str) -> str:
    """Return the name if Jupyter takes it: ASCII letters, digits, dots, dashes and underscores. Else KernelNameError.

    Jupyter takes capitals too, but lists and finds every kernel by its name in lower case.
    """
    if _ALLOWED.fullmatch(name):
        return name
    other = re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-.") or "py312"
    msg = f"{name!r} is not a kernel name: Jupyter takes letters (a-z), digits, dots, dashes and underscores only"
    raise KernelNameError(msg, hint=f"use {other!r}, for example")


def directory(machine: Machine, name: str) -> Path:
    return machine.jupyter / "kernels" / name


def default_name(machine: Machine, project: Path, python: Interpreter) -> str:
    """Return the name for a project's kernel that nobody named: its own, else one such as "py312" or "py312-lesson".

    A name that somebody gave it before stays. None is taken from another project whose environment is there.
    """
    usual = f"py{python.short_version.replace('.', '')}"
    kernels: dict[str, Kernel] = {}
    for kernel in _all(machine):
        kernels.setdefault(kernel.name, kernel)
    project_kernels = [kernel.name for kernel in kernels.values() if kernel.ours and kernel.project == project]
    # One that somebody gave: it stays when the Python changes, and the usual ones follow the Python.
    if chosen := [name for name in project_kernels if not _USUAL.match(name)]:
        return chosen[0]
    label = re.sub(r"[^a-z0-9._]+", "-", project.name.lower()).strip("-.") or "root"
    names = (usual, *(f"{usual}-{label}{number}" for number in ("", *(f"-{count}" for count in range(2, 1000)))))
    return next(
        name for name in names if name not in kernels or name in project_kernels or not _is_in_use(kernels[name])
    )


def _is_in_use(kernel: Kernel) -> bool:
    """Say whether a kernel is somebody else's, or of a project whose environment is there."""
    project = kernel.project
    return not kernel.ours or (project is not None and (environment_of(project) / "pyvenv.cfg").is_file())


def check_free(machine: Machine, name: str, project: Path) -> None:
    """Raise KernelNameError or KernelTakenError unless `name` can be that of a project's kernel."""
    check_kernel_name(name)
    for kernel in _all(machine):
        if kernel.name != name.lower():
            continue
        if not kernel.ours:
            msg = f"the kernel {name!r} in {short(kernel.directory)} belongs to somebody else"
            raise KernelTakenError(msg, hint="choose another name; nothing was changed")
        if kernel.project != project and _is_in_use(kernel):
            msg = f"the kernel {name!r} is that of {short(kernel.project or kernel.directory)}"
            hint = f"choose another name, or run `colab-env kernel remove {name}` first; nothing was changed"
            raise KernelTakenError(msg, hint=hint)


def health_check(machine: Machine, name: str, spec: Mapping[str, Any]) -> str | None:
    """Return why the kernel has to be registered (again), or None; `spec` may be of any tier. Starts nothing."""
    current = read(machine, name)
    if current is None:
        file = directory(machine, name) / "kernel.json"
        return _damaged(file) if is_ours(file.parent) else f"no kernel {name!r} is registered"
    # The tier is what the trial found, so it is no reason to try again.
    if _untiered(current) != _untiered(spec):
        return f"the kernel {name!r} was registered for something else, or its parts have changed since"
    return None


def write(machine: Machine, name: str, spec: Mapping[str, Any]) -> None:
    """Register the kernel. The old kernelspec comes back if writing fails."""
    target = directory(machine, name)
    metadata = spec["metadata"][_OURS]
    with _transactions.replacing(target, is_ours=is_ours):
        _files.write_json(target / "kernel.json", spec)
        _state.complete(target, Receipt(project=Path(metadata["project"]), tier=metadata["tier"]))


def remove(machine: Machine, name: str) -> Path:
    """Take away a kernel that colab-env registered. Raises KernelNameError or KernelTakenError."""
    target = removable(machine, name)
    _files.remove(target)
    return target


def removable(machine: Machine, name: str) -> Path:
    """Return the directory of a kernel that colab-env registered. Raises KernelNameError or KernelTakenError."""
    target = directory(machine, check_kernel_name(name))
    if not target.is_dir():
        msg = f"no kernel {name!r} is registered in {short(target.parent)}"
        names = [kernel.name for kernel in registered(machine) if kernel.ours]
        raise KernelNameError(msg, hint=suggest(name, names, empty="none is there yet: setup() makes one"))
    if not is_ours(target):
        msg = f"the kernel {name!r} in {short(target)} belongs to somebody else"
        raise KernelTakenError(msg, hint="remove it with `jupyter kernelspec remove`")
    return target


def registered(machine: Machine) -> list[Kernel]:
    """Return the kernels that Jupyter finds, as it finds them: the user's directory hides others of the same name."""
    first: dict[str, Kernel] = {}
    for kernel in _all(machine):
        first.setdefault(kernel.name, kernel)
    return sorted(first.values(), key=lambda kernel: kernel.name)


def read(machine: Machine, name: str) -> dict[str, Any] | None:
    """Return kernel.json of a kernel of ours in the user's directory, or None: there is none, or it is damaged."""
    spec = _files.read_json(directory(machine, name) / "kernel.json")
    return spec if _own(spec) is not None else None


def own(spec: Mapping[str, Any]) -> Own:
    """Return what a spec that `read` or `spec_dict` gave says of itself."""
    metadata: Own = _state.typed(Own, spec["metadata"][_OURS])
    return metadata


def write_ipython_config(venv: Path) -> None:
    """Keep the machine's IPython configuration from killing what is started here by other ways than the kernel."""
    # A file below the environment's own prefix counts for every IPython that starts there, and /etc/ipython stays as it
    # is.
    text = (
        "# Made by colab-env. Colab's /etc/ipython names google.colab's kernel; only the registered kernel loads it.\n"
        "c = get_config()  # noqa: F821\n"
        'c.IPKernelApp.kernel_class = "ipykernel.ipkernel.IPythonKernel"\n'
        "c.InteractiveShellApp.extensions = []\n"
        "c.InteractiveShellApp.matplotlib = None  # Colab's 'inline' fails where there is no matplotlib\n"
        "c.IPKernelApp.matplotlib = None  # as Kaggle has it\n"
    )
    _files.write_text(venv / "etc" / "ipython" / "ipython_config.py", text)


def _all(machine: Machine) -> Iterator[Kernel]:
    # Jupyter's own order: JUPYTER_PATH, the user's directory, that of the Python that runs Jupyter, the machine's.
    directories = [Path(part) for part in machine.environ.get("JUPYTER_PATH", "").split(os.pathsep) if part]
    installed = [Path(prefix) / "share/jupyter" for prefix in (sys.prefix, "/usr/local", "/usr")]
    for root in dict.fromkeys([*directories, machine.jupyter, *installed]):
        for path in sorted((root / "kernels").glob("*/kernel.json")):
            spec = _files.read_json(path)
            if is_ours(path.parent):
                metadata = _own(spec)
                record = metadata or _state.receipt(path.parent, Receipt)
                fields = {"project": record.project, "tier": record.tier} if record else {}
                problem = None if metadata else _damaged(path)
                yield _kernel(path.parent, spec if isinstance(spec, dict) else {}, ours=True, problem=problem, **fields)
            elif isinstance(spec, dict):
                yield _kernel(path.parent, spec)


def _kernel(directory: Path, spec: Mapping[str, Any], **ours: Any) -> Kernel:
    argv = spec.get("argv")
    return Kernel(
        name=directory.name.lower(),
        display_name=str(spec.get("display_name", directory.name)),
        directory=directory,
        argv=tuple(map(str, argv)) if isinstance(argv, list) else (),
        **{"ours": False, **ours},
    )


def _damaged(file: Path) -> str:
    return f"{short(file)} is damaged" if os.path.lexists(file) else f"{short(file)} is gone"


def is_ours(directory: Path) -> bool:
    """Say whether colab-env made this kernel, whatever damage has come to its file; another's words make it theirs."""
    spec, word = _files.read_json(directory / "kernel.json"), f"{diversion.MACHINE_PYTHON}="
    if not isinstance(spec, dict):
        # The first release left no receipt beside kernel.json; the variable stands near the beginning.
        return _state.is_marked(directory) or (
            spec is None and f'"{word}'.encode() in _content(directory / "kernel.json")
        )
    metadata, argv = spec.get("metadata"), spec.get("argv")
    if isinstance(metadata, dict) and _OURS in metadata:
        return True
    if not isinstance(argv, list) or not argv or not all(isinstance(argument, str) for argument in argv):
        return _state.is_marked(directory)
    return any(argument.startswith(word) for argument in argv)


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes() if file.is_file() else b""
    except OSError:
        return b""


def _own(spec: Any) -> Own | None:
    try:
        parsed: _Spec = _state.typed(_Spec, spec)
    except (ValueError, OverflowError, RecursionError):
        return None
    return parsed.metadata.colab_env


def _untiered(spec: Mapping[str, Any]) -> dict[str, Any]:
    argv = [word for word in spec["argv"] if word not in (*_FULL, *_PLAIN)]
    return {**spec, "argv": argv, "metadata": {**spec["metadata"][_OURS], "tier": None, "missing": None}}
