"""The kernel layer: a directory with what a kernel needs beside the project's own packages.

Everywhere that is ipykernel. On Colab it is also the running machine's own `google.colab`, with the packages it needs
to start. The layer is shared by all projects on one Python and is visible in kernels only (see `_launch.py`), so that
installing, locking and syncing a project never meet it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from colab_env import _files, _process, _state, pins
from colab_env.results import short

if TYPE_CHECKING:
    from colab_env.interpreter import Interpreter
    from colab_env.machine import Machine
    from colab_env.wheels import WheelInstaller

_PACKAGE = Path(__file__).parents[1]
_STANDALONE = _PACKAGE / "standalone"
_LAUNCHER = "colab_kernel_launcher.py"
# What `import colab_env` finds in a kernel: it asks the machine's own Python, where the package is.
_REMOTE = ("_remote.py", "_leave.py", "_plain.py", "_remote_magics.py")
# The first proves that the packages work together. Both, side by side, compile what the first kernel, and its first
# completion, traceback and shell command, would wait for; not every version has all of the second.
_PROOF = (
    "import IPython.core.completer, ipykernel.kernelapp, ipykernel.ipkernel, ipykernel.zmqshell, jupyter_client.manager"
)
_COMPILED = """\
import contextlib, importlib
for name in ("debugpy.server.api", "jedi.api", "IPython.core.debugger", "stack_data", "pexpect"):
    with contextlib.suppress(ImportError):
        importlib.import_module(name)
"""


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """Our mark in a layer: what it was made from, and the names in its directory of packages."""

    schema: ClassVar[str] = "layer"
    version: ClassVar[int] = 1

    inputs: dict[str, Any]
    entries: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The Python that kernels call for this package, and the directory that it finds the package in.

    `_remote.py`, which stands in every layer that was ever made, reads these two names.
    """

    schema: ClassVar[str] = "machine"
    version: ClassVar[int] = 1

    python: Path
    path: Path


def directory(machine: Machine, python: Interpreter) -> Path:
    """Return the layer's place: one for each Python and each set of inputs."""
    digest = hashlib.sha256(json.dumps(_inputs(machine, python), sort_keys=True).encode()).hexdigest()
    return machine.data / "layers" / f"{python.tag}-{digest[:12]}"


def launcher(layer: Path) -> Path:
    """Return the file that starts a kernel with this layer."""
    return layer / "launch.py"


def site(layer: Path) -> Path:
    """Return the layer's directory of packages."""
    return layer / "site"


def health_check(layer: Path) -> str | None:
    """Return why the layer has to be built, or None. Reads files, starts nothing."""
    receipt = _state.receipt(layer, Receipt)
    if receipt is None:
        return _state.fault(layer / _files.RECEIPT, Receipt) or "the kernel's packages are not installed"
    there = {path.name for path in site(layer).iterdir()} if site(layer).is_dir() else set()
    gone = sorted(set(receipt.entries) - there)
    if gone or not launcher(layer).is_file():
        return f"the kernel's packages are damaged: {', '.join(gone[:3]) or 'launch.py'} is missing"
    origin = _state.read(_origin_file(layer), Origin)
    if origin is None:
        return _state.fault(_origin_file(layer), Origin) or f"{short(_origin_file(layer))} is gone"
    if not (origin.python.is_file() and (origin.path / "colab_env").is_dir()):
        return "the colab-env that kernels call is gone"
    return None


def build(layer: Path, *, machine: Machine, python: Interpreter, installer: WheelInstaller) -> None:
    """Install the packages, on Colab graft its `google.colab`, and prove that they import."""
    from colab_env import content  # only what builds waits for its imports

    with _files.replacing(layer, is_ours=lambda _: True):  # the name, with its checksum, says so
        wanted = kernel_requirements(python.short_version, colab=machine.is_colab)

        def install() -> None:
            _files.empty(layer)
            for each in wanted:
                installer.install(each.names, python=python.path, target=site(layer), alone=each.alone)

        survey, _ = content.prove(layer, install, unpacked=installer)
        if machine.colab_packages is not None:
            _graft(machine.colab_packages, site(layer))
        _add_remote(layer, machine)
        _files.copy(_STANDALONE / "_launch.py", launcher(layer))
        environ = {**_process.child_environ(machine.environ), "PYTHONPATH": str(site(layer))}
        _process.run_parallel(
            lambda: _process.run([python.path, "-c", _PROOF], environ=environ),
            lambda: _process.run([python.path, "-c", _COMPILED], environ=environ, check=False),
        )
        content.write(layer, content.Survey(layer, earlier=survey).content({}))
        receipt = Receipt(inputs=_inputs(machine, python), entries=tuple(_entries(layer)))
        _state.complete(layer, receipt)


def versions(layer: Path) -> dict[str, str]:
    """Return the versions of IPython and ipykernel in the layer."""
    found = (path.name.removesuffix(".dist-info").rpartition("-") for path in site(layer).glob("*.dist-info"))
    return {name: version for name, _, version in found if name in ("ipython", "ipykernel")}


def _graft(colab_packages: Path, target: Path) -> None:
    # Without google/__init__.py: it would hide google.auth, google.protobuf ... of the environment.
    _files.copy(colab_packages / "google" / "colab", target / "google" / "colab", ignore=("__pycache__",))
    _files.copy(_STANDALONE / "_colab_kernel.py", target / "colab_env_kernel.py")
    # After a switch a shim stands in the launcher's place, and the original beside it.
    kept = (colab_packages / f"{_LAUNCHER}.colab-env-original", colab_packages / _LAUNCHER)
    launcher = next((path for path in kept if path.is_file()), None)
    if launcher is not None:
        _files.copy(launcher, target / _LAUNCHER)


def _add_remote(layer: Path, machine: Machine) -> None:
    file = _origin_file(layer)
    for name in _REMOTE:
        _files.copy(_STANDALONE / name, file.with_name(name.replace("_remote.py", "__init__.py")))
    _state.write(file, Origin(python=machine.machine_python, path=_PACKAGE.parent))


def _origin_file(layer: Path) -> Path:
    return site(layer) / "colab_env" / "machine.json"


def kernel_requirements(short_version: str, *, colab: bool) -> tuple[pins.Requirements, ...]:
    """Return what the kernel layer for Python X.Y consists of."""
    if not colab:
        return (pins.Requirements(names=(f"ipykernel=={pins.PLAIN.get(short_version, pins.PLAIN_NEWER)}",)),)
    ipython, ipykernel = pins.COLAB.get(short_version, pins.COLAB_NEWER)
    return pins.Requirements(
        names=(f"ipykernel=={ipykernel}", f"ipython=={ipython}", *pins.COLAB_START)
    ), pins.COLAB_WIDGETS


def _inputs(machine: Machine, python: Interpreter) -> dict[str, Any]:
    own = hashlib.sha256()
    for name in ("_launch.py", "_colab_kernel.py", *_REMOTE):
        own.update((_STANDALONE / name).read_bytes())
    return {
        "python": [str(python.path), python.version],
        "requirements": [asdict(each) for each in kernel_requirements(python.short_version, colab=machine.is_colab)],
        "colab": _fingerprint(machine.colab_packages),
        "own": own.hexdigest(),
    }


def _fingerprint(colab_packages: Path | None) -> str | None:
    # Sizes and times are enough: Colab's own packages change with the machine's image only.
    if colab_packages is None:
        return None
    digest = hashlib.sha256()
    for path in sorted((colab_packages / "google" / "colab").rglob("*.py")):
        status = path.stat()
        digest.update(f"{path}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _entries(layer: Path) -> list[str]:
    return sorted(path.name for path in site(layer).iterdir() if path.name != "__pycache__")
