"""What a snapshot of a set-up project is: what it holds, what it depends on, and when it fits this machine.

A snapshot is found by three hashes in its name: of the project's files as they were before colab-env completed them, of
the same files afterwards (each with the machine and the places), and of the Python with its kernel layer. The first lets
a fresh machine, where poetry.toml or even poetry.lock is not written yet, find what was made from the same beginning.

The kernelspec and the command `poetry` are not inside: they are made anew, since a kernel is tried before it is
registered, and the command may hold the address of a private index.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colab_env import _ledger, _process, _state, poetry, uv, venv
from colab_env._ledger import Entry
from colab_env.errors import CommandError
from colab_env.interpreter import Interpreter
from colab_env.interpreter_sources import source_of
from colab_env.jupyter import colab_layer, kernelspec
from colab_env.snapshot import moving
from colab_env.snapshot._archive import Tree
from colab_env.snapshot.manifest import PROJECT_FILES, Files, Inputs, Manifest, Name, hashed, key

if TYPE_CHECKING:
    from colab_env.machine import Machine
    from colab_env.request import Request

FORMAT = 2
_QUESTION = "import sys, json; print(json.dumps(sys.version))"
# The flags that a processor of each level has beyond the level before (x86-64 psABI), those that tell them apart.
_LEVELS = (("sse4_2", "ssse3", "popcnt"), ("avx2", "bmi2", "fma", "movbe"), ("avx512f", "avx512bw", "avx512vl"))


def inputs(request: Request, *, options_digest: str | None = None, starting: bool = True) -> Inputs:
    """Return what has to be the same where a snapshot is made and where it is used, but for files and Python.

    `options_digest` stands for the options of the request, where only that is known of them. Without `starting`, no
    program is: the build of the machine's Python may then be missing.
    """
    machine = request.machine
    builds = (build_of(machine.machine_python, machine),) if starting or _is_this(machine.machine_python) else ()
    return Inputs(
        format=FORMAT,
        machine=platform.machine(),
        libc=_libc(),
        package=str(Path(__file__).parents[2]),  # a kernel finds colab_env where it was when its layer was made
        machine_python=(os.path.normpath(machine.machine_python), *builds),
        colab=machine.is_colab,
        data=str(machine.data),
        project=str(request.project),
        system_site_packages=request.system_site_packages,
        wanted=options_digest or request.options_digest,
        pythons=str(machine.uv_pythons),
    )


def identity(inputs: Inputs) -> dict[str, Any]:
    """Return what of these inputs a snapshot is found by: all but paths, which may be others where it moves."""
    return {name: value for name, value in asdict(inputs).items() if name not in moving.PLACES}


def identities(inputs: Inputs) -> list[dict[str, Any]]:
    """Return what a snapshot may be found by: one of this format, and one of the first, which stays at its paths."""
    first = {**{name: value for name, value in asdict(inputs).items() if name != "pythons"}, "format": 1}
    return [identity(inputs), first]


def files_now(project: Path) -> Files:
    """Return the project's files as they are."""
    return {name: _sha256(project / name) for name in PROJECT_FILES}


def original_files(machine: Machine, project: Path) -> Files:
    """Return the project's files as they were before colab-env changed them, as far as nobody else did since."""
    entries = _ledger.Ledger(machine.data).read().entries
    return {name: _original_digest(project / name, entries) for name in PROJECT_FILES}


def build_of(python: Path, machine: Machine) -> str:
    """Return the build of a Python, as `sys.version` has it, or "" when it does not start."""
    # No process for what is known already.
    if _is_this(python):
        return sys.version
    try:
        answer = _process.run([python, "-I", "-S", "-c", _QUESTION], environ=_process.child_environ(machine.environ))
        return str(json.loads(answer.lines[-1]))
    except (CommandError, ValueError, IndexError):
        return ""


def _is_this(python: Path) -> bool:
    """Say whether this process runs on a Python, by whatever name."""
    return os.path.realpath(python) == os.path.realpath(sys.executable)


def manifest(request: Request, python: Interpreter) -> dict[str, Any]:
    """Describe the snapshot of a project that is set up: what it depends on, what it holds."""
    machine, project = request.machine, request.project
    current = inputs(request)
    build = build_of(python.path, machine)
    kernels = [kernel.name for kernel in kernelspec.registered(machine) if kernel.ours and kernel.project == project]
    included = trees(machine, project, python)
    links = source_of(python, machine).links(python)
    texts, fixed = _moving_parts(included, current, python)
    return {
        "inputs": {**asdict(current), "machine_python": list(current.machine_python)},
        "given": original_files(machine, project),
        "left": files_now(project),
        "python": {**asdict(python), "path": str(python.path)},
        "build": build,
        "layer": colab_layer.of_environment(project / venv.NAME, machine=machine, python=python).name,
        "poetry": poetry.installed_version(machine),
        "kernel": kernels[0] if kernels else None,
        "packages": venv.packages(project),
        "cpu": cpu_level() if _built_here(project) else None,
        "trees": {tree.name: str(tree.directory) for tree in included},
        "links": {str(link): str(link.readlink()) for link in links} if _holds_python(included) else {},
        "texts": {name: [*listed] for name, listed in texts.items()},
        "fixed": fixed,
        "made": time.time(),
    }


def _moving_parts(
    included: list[Tree], current: Inputs, python: Interpreter
) -> tuple[dict[str, tuple[str, ...]], str | None]:
    """Return which files name their paths, and why a snapshot of these trees does not move, or None."""
    if _holds_python(included) and not python.path.is_relative_to(current.pythons):
        return {}, "what conda installs names its paths in programs too"
    fixed = moving.outside(included, current)
    return ({}, fixed) if fixed else moving.texts_of(included, current)


def name_of(machine: Machine, described: Manifest) -> Name:
    """Return the name for a snapshot with this manifest."""
    # The hash for a Python, its build and the kernel layer that belongs to it: 8 hexadecimal digits. A
    # Python of uv's is the same in another home.
    python = described.python
    if python.path.is_relative_to(machine.uv_pythons):
        python = replace(python, path=python.path.relative_to(machine.uv_pythons))
    identified, build = (
        identity(described.inputs),
        hashed([str(python.path), python.source, described.build, colab_layer.directory(machine, python).name], 8),
    )
    if described.fixed is not None:  # one of each place
        build = hashed([build, [getattr(described.inputs, name) for name in moving.PLACES]], 8)
    return Name(
        label=re.sub(r"[^A-Za-z0-9._]+", "-", Path(described.inputs.project).name).strip("-.") or "root",
        given=key(identified, described.given),
        left=key(identified, described.left),
        build=build,
    )


def trees(machine: Machine, project: Path, python: Interpreter) -> list[Tree]:
    """Return the directories that belong to a project's snapshot and are complete. One that is a link is left out."""
    prefix = source_of(python, machine).own_prefix(python, machine)
    layer = colab_layer.of_environment(project / venv.NAME, machine=machine, python=python)
    directories = {**own_directories(machine, project, layer=layer), **({"python": prefix} if prefix else {})}
    without = {"venv": frozenset({kernelspec.UNTRIED}), "python": frozenset({"pkgs"})}
    return [
        Tree(name=name, directory=directory, without=without.get(name, frozenset()))
        for name, directory in directories.items()
        if not directory.is_symlink() and (name == "python" or _state.receipt(directory, _RECEIPTS[name]) is not None)
    ]


_RECEIPTS: dict[str, type[_state.State]] = {
    "venv": venv.Receipt,
    "layer": colab_layer.Receipt,
    "poetry": poetry.Receipt,
    "uv": uv.Receipt,
}


def own_directories(machine: Machine, project: Path, *, layer: Path) -> dict[str, Path]:
    """Return where this machine has the parts of a snapshot but for Python, by the name that they have in it."""
    return {
        "venv": project / venv.NAME,
        "layer": layer,
        "poetry": poetry.home(machine),
        "uv": machine.data / "uv",
    }


def cpu_level() -> int:
    """Return the x86-64 level of this processor, 1 to 4, from the flags that Linux lists; 1 for any other."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 1
    flags = next((set(line.split()) for line in text.splitlines() if line.startswith("flags")), set())
    level = 1
    # The x86-64 levels of the psABI: each holds all of the one before.
    for level_flags in _LEVELS:
        if not flags.issuperset(level_flags):
            break
        level += 1
    return level


def _built_here(project: Path) -> bool:
    # Wheels from an index are for every processor (manylinux); one that was built here has the plain platform tag.
    for wheel in (project / venv.NAME).glob("lib/python3*/site-packages/*.dist-info/WHEEL"):
        if re.search(rf"^Tag: .*-linux_{platform.machine()}$", wheel.read_text(errors="replace"), re.MULTILINE):
            return True
    return False


def _holds_python(included: list[Tree]) -> bool:
    return any(tree.name == "python" for tree in included)


def _original_digest(path: Path, entries: Sequence[Entry]) -> str | None:
    # A change that the ledger does not know is somebody else's, and what the next entry found is what was given.
    digest: str | None = None
    expected: str | None = "nothing"
    for entry in (entry for entry in entries if entry.path == path):
        original = entry.sha256_before
        is_failed = expected == entry.after == _ledger.UNKNOWN  # a step that was taken back has no second entry
        if is_failed or expected not in (original, _ledger.UNKNOWN):
            digest = original
        expected = None if entry.after == _ledger.ABSENT else str(entry.after)
    current = _sha256(path)
    return digest if current == expected else current


def _sha256(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def _libc() -> str:
    try:
        return os.confstr("CS_GNU_LIBC_VERSION") or "unknown"
    except (ValueError, OSError):
        return "-".join(platform.libc_ver()) or "unknown"
