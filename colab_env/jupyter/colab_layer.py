"""The kernel layer: a directory with what a kernel needs beside the project's own packages.

Everywhere that is ipykernel. On Colab it is also the running machine's own `google.colab`, with the packages it needs
to start. It is visible in kernels only (see `_launch.py`), so that installing, locking and syncing a project never meet
it. There the project's own packages come first: where its versions do not fit the tested ones (`pins.KERNEL`), a layer is
resolved around them. All other projects on one Python share one.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from colab_env import _files, _process, _state, _transactions, pins, proving, venv
from colab_env.errors import CommandError
from colab_env.interpreter import OLDEST_OF_COLAB
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
_VERSION = re.compile(r"\d+(\.\d+)*((a|b|rc|\.post|\.dev)\d+)*(\+[\w.]+)?", re.ASCII)
# The first proves that the packages work together. Both, side by side, compile what the first kernel, and its first
# completion, traceback and shell command, would wait for; not every version has all of the second.
_PROOF = """\
import IPython.core.completer, ipykernel.kernelapp, ipykernel.ipkernel, ipykernel.zmqshell, jupyter_client.manager
from jupyter_client import jsonutil
jsonutil.parse_date("2020-01-01T00:00:00.0Z")  # as every message has one
"""
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


def has_colab(machine: Machine, python: Interpreter) -> bool:
    """Say whether a kernel of this Python can have Colab's features: on Colab, where Python reads google.colab."""
    return machine.is_colab and python.pair >= OLDEST_OF_COLAB


def unfit(versions: Mapping[str, str], *, python: Interpreter, machine: Machine) -> dict[str, str]:
    """Return which of a project's `versions` (by normalized name) its kernel's packages have to be resolved around.

    None where the tested ones fit them all, else every one that ipykernel might bring.
    """
    tested = _tested(python.short_version, colab=has_colab(machine, python))
    installed = {name: version for name in tested if (version := versions.get(name)) and _VERSION.fullmatch(version)}
    return installed if _refused(installed, tested) else {}


def directory(machine: Machine, python: Interpreter, around: Mapping[str, str] | None = None) -> Path:
    """Return the layer's directory: one for each Python and each set of inputs, and of versions that it is resolved `around`."""
    suffix = f"-{_digest(around)[:8]}" if around else ""
    return machine.data / "layers" / f"{python.tag}-{_digest(_inputs(machine, python))[:12]}{suffix}"


def of_environment(environment: Path, *, machine: Machine, python: Interpreter) -> Path:
    """Return the directory of the layer that fits what is installed in an environment."""
    return directory(machine, python, unfit(venv.versions(environment), python=python, machine=machine))


def is_name_of(name: str, machine: Machine, python: Interpreter) -> bool:
    """Say whether a layer of this name is for this machine and Python, whatever it was resolved around."""
    return re.fullmatch(re.escape(directory(machine, python).name) + "(-[0-9a-f]{8})?", name) is not None


def renamed(name: str, machine: Machine, old: Interpreter, new: Interpreter) -> str:
    """Return the name that a layer has for the same Python at another path; one that is not of this version keeps its own."""
    if old == new or not is_name_of(name, machine, old):
        return name
    return name.replace(directory(machine, old).name, directory(machine, new).name, 1)


def launcher(layer: Path) -> Path:
    """Return the file that starts a kernel with this layer."""
    return layer / "launch.py"


def site(layer: Path) -> Path:
    """Return the layer's directory of packages."""
    return layer / "site"


def ahead_site(layer: Path) -> Path:
    """Return the layer's directory of packages that come before the project's own; most layers have none."""
    return layer / "ahead"


def health_check(layer: Path) -> str | None:
    """Return why the layer has to be built, or None. Reads files, starts nothing."""
    receipt = _state.receipt(layer, Receipt)
    if receipt is None:
        return _state.fault(layer / _files.RECEIPT, Receipt) or "the kernel's packages are not installed"
    # Names at the top only: the content of all files is `verify`'s, which takes longer.
    names = {path.name for path in site(layer).iterdir()} if site(layer).is_dir() else set()
    gone = sorted(set(receipt.entries) - names)
    if gone or not launcher(layer).is_file():
        return f"the kernel's packages are damaged: {', '.join(gone[:3]) or 'launch.py'} is missing"
    origin = _state.read(_origin_file(layer), Origin)
    if origin is None:
        return _state.fault(_origin_file(layer), Origin) or f"{short(_origin_file(layer))} is gone"
    if not (origin.python.is_file() and (origin.path / "colab_env").is_dir()):
        return "the colab-env that kernels call is gone"
    return None


def build(
    layer: Path,
    *,
    machine: Machine,
    python: Interpreter,
    installer: WheelInstaller,
    around: Mapping[str, str] | None = None,
) -> str | None:
    """Install the packages, on Colab graft its `google.colab`, and prove that they import.

    Where nothing works with all versions that they are to be resolved `around`, some packages come before the project's own
    in its kernels. Returns a sentence that says so, or None.
    """

    def fill(chosen: Mapping[str, str], limits: Mapping[str, str], ahead: Collection[str] = ()) -> None:
        _fill(layer, machine=machine, python=python, installer=installer, chosen=(chosen, limits), ahead=ahead)

    with _transactions.replacing(layer, is_ours=lambda _: True):  # the name, with its checksum, says so
        if not around:
            fill({}, {})
            return None
        for limits in ({}, pins.MODEST):
            with contextlib.suppress(CommandError):
                fill(around, limits)
                return None
        refused = _refused(around, _tested(python.short_version, colab=has_colab(machine, python)))
        fill({}, {}, refused)
        in_front = _installed(ahead_site(layer))
    shadowed = [f"{name} {in_front[name]} and not {around[name]}" for name in sorted(in_front.keys() & around.keys())]
    return f"no ipykernel works with this project's packages: in its kernel is {', '.join(shadowed)}"


def _fill(
    layer: Path,
    *,
    machine: Machine,
    python: Interpreter,
    installer: WheelInstaller,
    chosen: tuple[Mapping[str, str], Mapping[str, str]],
    ahead: Collection[str],
) -> None:
    from colab_env import content  # only what builds waits for its imports

    (around, limits), path = chosen, layer / "constraints.txt"
    short_version, colab = python.short_version, has_colab(machine, python)

    def install() -> None:
        _files.empty(layer)
        _files.write_text(path, kernel_constraints(short_version, colab=colab, around=around, limits=limits))
        for requirement in kernel_requirements(short_version, colab=colab, around=around):
            _install(requirement, installer, python=python.path, target=site(layer), constraints=path)
        earlier_pins = [f"{name}=={version}" for name, version in _installed(site(layer)).items() if name in ahead]
        if earlier_pins:
            installer.install(earlier_pins, python=python.path, target=ahead_site(layer), alone=True)

    survey, _ = proving.prove(layer, install, unpacked=installer)
    if colab and machine.colab_packages is not None:
        _graft(machine.colab_packages, site(layer))
    _add_remote(layer, machine, python)
    _copy_for("_launch.py", launcher(layer), python)
    environ = {**_process.child_environ(machine.environ), "PYTHONPATH": str(site(layer))}
    _process.run_parallel(
        lambda: _process.run([python.path, "-c", _PROOF], environ=environ),
        lambda: _process.run([python.path, "-c", _COMPILED], environ=environ, check=False),
    )
    content.write(layer, content.Survey(layer, earlier=survey).content({}))
    inputs = {**_inputs(machine, python), **({"around": dict(around)} if around else {})}
    entries = sorted(path.name for path in site(layer).iterdir() if path.name != "__pycache__")
    _state.complete(layer, Receipt(inputs=inputs, entries=tuple(entries)))


def _install(packages: pins.Requirements, installer: WheelInstaller, **where: Any) -> None:
    """Install packages; of optional ones those that fit. What is missing then, the kernel's trial says."""
    try:
        installer.install(packages.names, alone=packages.alone, **where)
    except CommandError:
        if not packages.optional:
            raise
        # One by one: a single package without a wheel for this Python must not take the others away.
        for name in packages.names:
            with contextlib.suppress(CommandError):
                installer.install([name], **where)


def versions(layer: Path) -> dict[str, str]:
    """Return the versions of IPython and ipykernel in the layer, and of what it has before the project's own."""
    behind = _installed(site(layer))
    pair = {name: version for name, version in behind.items() if name in ("ipython", "ipykernel")}
    return pair | _installed(ahead_site(layer))


def _graft(colab_packages: Path, target: Path) -> None:
    # Without google/__init__.py: it would hide google.auth, google.protobuf ... of the environment.
    _files.copy(colab_packages / "google" / "colab", target / "google" / "colab", ignore=("__pycache__",))
    _files.copy(_STANDALONE / "_colab_kernel.py", target / "colab_env_kernel.py")
    # After a switch a shim stands in the launcher's place, and the original beside it.
    candidates = (colab_packages / f"{_LAUNCHER}.colab-env-original", colab_packages / _LAUNCHER)
    launcher = next((path for path in candidates if path.is_file()), None)
    if launcher is not None:
        _files.copy(launcher, target / _LAUNCHER)


def _add_remote(layer: Path, machine: Machine, python: Interpreter) -> None:
    file = _origin_file(layer)
    for name in _REMOTE:
        _copy_for(name, file.with_name(name.replace("_remote.py", "__init__.py")), python)
    _state.write(file, Origin(python=machine.machine_python, path=_PACKAGE.parent))


def _copy_for(name: str, target: Path, python: Interpreter) -> None:
    """Copy a file that runs in kernels; without its annotations where Python cannot leave them unread, before 3.7."""
    if python.pair >= (3, 7):
        _files.copy(_STANDALONE / name, target)
        return
    # `from __future__ import annotations` came with Python 3.7: for 3.6 the annotations are taken out.
    tree = ast.parse((_STANDALONE / name).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.returns = None
        elif isinstance(node, ast.arg):
            node.annotation = None
    bare = _Bare().visit(tree)
    _files.write_text(target, ast.unparse(bare) + "\n")


class _Bare(ast.NodeTransformer):
    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | None:
        return None if node.module == "__future__" else node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        return ast.copy_location(ast.Assign([node.target], node.value), node) if node.value else None


def _origin_file(layer: Path) -> Path:
    return site(layer) / "colab_env" / "machine.json"


def kernel_requirements(
    short_version: str, *, colab: bool, around: Mapping[str, str] | None = None
) -> tuple[pins.Requirements, ...]:
    """Return what the kernel layer for Python X.Y consists of.

    These are the pinned versions, or the newest up to them that fit those of a project that it is resolved `around`.
    """
    if colab:
        ipython, ipykernel = pins.COLAB.get(short_version, pins.COLAB_NEWER)
        pinned = {"ipykernel": ipykernel, "ipython": ipython}
    else:
        pinned = {"ipykernel": pins.PLAIN.get(short_version, pins.PLAIN_NEWER)}
    # Around older packages the pins are limits: the pinned jupyter_client does not import with typing_extensions before
    # 4.13.
    resolved, operator = around or {}, "<=" if around else "=="
    names = [name if name in resolved else f"{name}{operator}{version}" for name, version in pinned.items()]
    if not colab:
        return (pins.Requirements(names=tuple(names)),)
    return pins.Requirements(names=(*names, *pins.COLAB_START)), pins.COLAB_WIDGETS, pins.COLAB_SERVICES


def kernel_constraints(
    short_version: str,
    *,
    colab: bool,
    around: Mapping[str, str] | None = None,
    limits: Mapping[str, str] | None = None,
) -> str:
    """Return, in pip's format, which versions are taken: up to the tested, within `limits`, and a project's own."""
    allowed = {name: f"<={newest}" for name, (newest, _) in _tested(short_version, colab=colab).items()}
    if colab:
        allowed |= {name: f"<={newest}" for name, newest in pins.SERVICES_NEWEST.items()}
    if around:
        allowed |= {**pins.OLDEST, **(limits or {}), **{name: f"=={version}" for name, version in around.items()}}
    return "".join(f"{name}{limit}\n" for name, limit in sorted(allowed.items()))


def _tested(short_version: str, *, colab: bool) -> Mapping[str, tuple[str, str]]:
    return pins.KERNEL_COLAB_NEWER if colab and short_version not in pins.COLAB else pins.KERNEL


def _refused(versions: Mapping[str, str], tested: Mapping[str, tuple[str, str]]) -> list[str]:
    """Return the names of which the tested packages do not accept this version."""
    from packaging.specifiers import SpecifierSet

    accepted = {name: SpecifierSet(tested[name][1]) for name in versions}
    return [name for name, version in versions.items() if not accepted[name].contains(version, prereleases=True)]


def _inputs(machine: Machine, python: Interpreter) -> dict[str, Any]:
    digest, colab = hashlib.sha256(), has_colab(machine, python)
    # A new version of colab-env brings new files into old layers: what they say is an input, too.
    for name in ("_launch.py", "_colab_kernel.py", *_REMOTE):
        digest.update((_STANDALONE / name).read_bytes())
    return {
        "python": [str(python.path), python.version],
        "requirements": [asdict(requirement) for requirement in kernel_requirements(python.short_version, colab=colab)],
        "constraints": kernel_constraints(python.short_version, colab=colab),
        "colab": _fingerprint(machine.colab_packages) if colab else None,
        "own": digest.hexdigest(),
    }


def _digest(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _fingerprint(colab_packages: Path | None) -> str | None:
    # Sizes and times are enough: Colab's own packages change with the machine's image only.
    if colab_packages is None:
        return None
    digest = hashlib.sha256()
    for path in sorted((colab_packages / "google" / "colab").rglob("*.py")):
        status = path.stat()
        digest.update(f"{path}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _installed(directory: Path) -> dict[str, str]:
    return venv.versions_in(directory.glob("*.dist-info"))
