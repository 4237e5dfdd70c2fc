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
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colab_env import _ledger, _process, _state, poetry, uv, venv
from colab_env._ledger import Entry
from colab_env.errors import CommandError, SnapshotError
from colab_env.interpreter import Interpreter
from colab_env.interpreter_sources import source_of
from colab_env.jupyter import colab_layer, kernelspec
from colab_env.snapshot._archive import Tree

if TYPE_CHECKING:
    from colab_env.machine import Machine
    from colab_env.request import Request

FORMAT = 1
PROJECT_FILES = ("pyproject.toml", "poetry.lock", "poetry.toml")
_NAMES = re.compile(
    r"(?P<label>.+)-(?P<given>[0-9a-f]{12})-(?P<left>[0-9a-f]{12})-(?P<build>[0-9a-f]{8})\.tar\.zst", re.ASCII
)
_QUESTION = "import sys, json; print(json.dumps(sys.version))"
# The flags that a processor of each level has beyond the level before (x86-64 psABI), those that tell them apart.
_LEVELS = (("sse4_2", "ssse3", "popcnt"), ("avx2", "bmi2", "fma", "movbe"), ("avx512f", "avx512bw", "avx512vl"))

Files = Mapping[str, str | None]  # SHA-256 of a project's files by name, None where there is none


@dataclass(frozen=True, kw_only=True)
class Name:
    """The name of a snapshot's file, in its parts."""

    label: str
    given: str
    left: str
    build: str

    @property
    def key(self) -> str:
        """Return the three hashes, which decide."""
        return f"{self.given}-{self.left}-{self.build}"

    def __str__(self) -> str:
        return f"{self.label}-{self.key}.tar.zst"

    @classmethod
    def parsed(cls, text: str) -> Name | None:
        """Read a file's name; None when it is not a snapshot's."""
        found = _NAMES.fullmatch(text)
        return cls(**found.groupdict()) if found else None


def inputs(request: Request, *, options_digest: str | None = None) -> dict[str, Any]:
    """Return what has to be the same where a snapshot is made and where it is used, but for files and Python.

    `options_digest` stands for the options of the request, where only that is known of them.
    """
    machine = request.machine
    return {
        "format": FORMAT,
        "machine": platform.machine(),
        "libc": _libc(),
        "package": str(Path(__file__).parents[2]),  # a kernel finds colab_env where it was when its layer was made
        "machine_python": [os.path.normpath(machine.machine_python), build_of(machine.machine_python, machine)],
        "colab": machine.is_colab,
        "data": str(machine.data),
        "project": str(request.project),
        "system_site_packages": request.system_site_packages,
        "wanted": options_digest or request.options_digest,
    }


def key(known: Mapping[str, Any], files: Files) -> str:
    """Return the hash for these inputs and these project files: 12 hexadecimal digits."""
    return _hash([known, files], 12)


def build_key(machine: Machine, python: Interpreter, build: str) -> str:
    """Return the hash for a Python, its build and the kernel layer that belongs to it: 8 hexadecimal digits."""
    return _hash([str(python.path), python.source, build, colab_layer.directory(machine, python).name], 8)


def files_now(project: Path) -> Files:
    """Return the project's files as they are."""
    return {name: _sha256(project / name) for name in PROJECT_FILES}


def files_given(machine: Machine, project: Path) -> Files:
    """Return the project's files as they were before colab-env changed them, as far as nobody else did since."""
    entries = _ledger.Ledger(machine.data).read().entries
    return {name: _given(project / name, entries) for name in PROJECT_FILES}


def build_of(python: Path, machine: Machine) -> str:
    """Return the build of a Python, as `sys.version` has it, or "" when it does not start."""
    if python == Path(sys.executable):
        return sys.version
    try:
        answer = _process.run([python, "-I", "-S", "-c", _QUESTION], environ=_process.child_environ(machine.environ))
        return str(json.loads(answer.lines[-1]))
    except (CommandError, ValueError, IndexError):
        return ""


def manifest(request: Request, python: Interpreter) -> dict[str, Any]:
    """Describe the snapshot of a project that is set up: what it depends on, what it holds."""
    machine, project = request.machine, request.project
    known = inputs(request)
    build = build_of(python.path, machine)
    kernels = [each.name for each in kernelspec.registered(machine) if each.ours and each.project == project]
    found = trees(machine, project, python)
    links = source_of(python, machine).links(python)
    return {
        "inputs": known,
        "given": files_given(machine, project),
        "left": files_now(project),
        "python": {**asdict(python), "path": str(python.path)},
        "build": build,
        "layer": colab_layer.directory(machine, python).name,
        "poetry": poetry.installed_version(machine),
        "kernel": kernels[0] if kernels else None,
        "packages": venv.packages(project),
        "cpu": cpu_level() if _built_here(project) else None,
        "trees": {tree.name: str(tree.place) for tree in found},
        "links": {str(link): str(link.readlink()) for link in links} if _holds_python(found) else {},
        "made": time.time(),
    }


def name_of(machine: Machine, described: Mapping[str, Any]) -> Name:
    """Return the name for a snapshot with this manifest."""
    python, known = python_in(described), described["inputs"]
    return Name(
        label=re.sub(r"[^A-Za-z0-9._]+", "-", Path(known["project"]).name).strip("-.") or "root",
        given=key(known, described["given"]),
        left=key(known, described["left"]),
        build=build_key(machine, python, described["build"]),
    )


def trees(machine: Machine, project: Path, python: Interpreter) -> list[Tree]:
    """Return the directories that belong to a project's snapshot and are complete. One that is a link is left out."""
    own = source_of(python, machine).own_prefix(python, machine)
    places = {**own_places(machine, project, python), **({"python": own} if own else {})}
    without = {"venv": frozenset({kernelspec.UNTRIED}), "python": frozenset({"pkgs"})}
    return [
        Tree(name=name, place=place, without=without.get(name, frozenset()))
        for name, place in places.items()
        if not place.is_symlink() and (name == "python" or _state.receipt(place, _RECEIPTS[name]) is not None)
    ]


_RECEIPTS: dict[str, type[_state.State]] = {
    "venv": venv.Receipt,
    "layer": colab_layer.Receipt,
    "poetry": poetry.Receipt,
    "uv": uv.Receipt,
}


def own_places(machine: Machine, project: Path, python: Interpreter) -> dict[str, Path]:
    """Return where this machine has the parts of a snapshot but for Python, by the name that they have in it."""
    return {
        "venv": project / venv.NAME,
        "layer": colab_layer.directory(machine, python),
        "poetry": poetry.home(machine),
        "uv": machine.data / "uv",
    }


def python_in(described: Mapping[str, Any]) -> Interpreter:
    """Return the Python that a snapshot was made with."""
    return Interpreter(**{**described["python"], "path": Path(described["python"]["path"])})


def holds_its_python(described: Mapping[str, Any]) -> bool:
    """Say whether a snapshot brings its Python; /usr/local belongs to the machine and is never inside."""
    return "python" in described["trees"]


def mismatch(described: Mapping[str, Any], request: Request, *, options_digest: str | None = None) -> str | None:
    """Return why a snapshot cannot be used for a request, or None. Its manifest may be anybody's."""
    try:
        return _mismatch(described, request, options_digest)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError):
        return "its description is not one of colab-env's"


def _mismatch(described: Mapping[str, Any], request: Request, options_digest: str | None) -> str | None:
    wanted = inputs(request, options_digest=options_digest)
    other = [name for name, value in wanted.items() if described["inputs"].get(name) != value]
    if other:
        shown = {name: _shown(described["inputs"].get(name)) for name in other}
        return "it was made for " + ", ".join(f"{_WORDS[name]} {shown[name]}" for name in other)
    now = files_now(request.project)
    if now not in (described["given"], described["left"]):
        return "it was made from other project files"
    level = described["cpu"]
    if level is not None and level > cpu_level():
        return f"packages in it were compiled for a newer processor (x86-64-v{level})"
    return _python_mismatch(described, request) or _path_mismatch(described, request)


def _python_mismatch(described: Mapping[str, Any], request: Request) -> str | None:
    python, machine, path = python_in(described), request.machine, request.python_path
    if request.source is not None and python.source != request.source:
        return f"its Python is of {python.source}, and {request.source} is asked for"
    if not request.specifier.contains(python.version):
        return f"its Python is {python.version}, and {request.specifier} is asked for"
    if path is not None and os.path.realpath(path) != os.path.realpath(python.path):
        return f"its Python is {python.path}"
    if colab_layer.directory(machine, python).name != described["layer"]:
        return "it holds other kernel packages"
    there = python.path.is_file() or source_of(python, machine).is_lasting
    if there and not holds_its_python(described) and build_of(python.path, machine) != described["build"]:
        return f"{python.path} is of another build, or is gone"
    return None


def _path_mismatch(described: Mapping[str, Any], request: Request) -> str | None:
    python, paths, links = python_in(described), dict(described["trees"]), described["links"]
    machine, of_python, source = request.machine, paths.pop("python", None), source_of(python, request.machine)
    expected = own_places(machine, request.project, python)
    if any(name not in expected or str(expected[name]) != path for name, path in paths.items()):
        return "its parts belong to other places"
    if source.is_in_prefix and request.source is not None and python.path.parents[1] != request.prefix:
        return f"its conda is in {python.path.parents[1]}"
    if of_python is not None and Path(of_python) not in source.snapshot_places(python, machine, links):
        return "its Python belongs to another place"
    if any(Path(link).parent / target != Path(str(of_python)) for link, target in links.items()):
        return "a link beside its Python leads elsewhere"
    return None


def link_check(machine: Machine, described: Mapping[str, Any]) -> Any:
    """Return the test for symbolic links: they name something in the snapshot, or a Python that it was made with."""
    places = {name: str(place) for name, place in described["trees"].items()}
    python = python_in(described)
    known = {os.path.realpath(path) for path in (python.path, machine.machine_python)}

    def check(tree: str, below: str, target: str) -> None:
        # Where the link leads by its letters; members are never written through one.
        path = os.path.normpath(os.path.join(places[tree], os.path.dirname(below), target))  # noqa: PTH118, PTH120
        inside = any(path == place or path.startswith(f"{place}/") for place in (*places.values(), *described["links"]))
        if not inside and path != str(python.path) and os.path.realpath(path) not in known:
            msg = f"the link {places[tree]}/{below} leads to {target}, which is outside of what a snapshot holds"
            raise SnapshotError(msg, hint="a snapshot holds links to its own parts and to its Python only")

    return check


def cpu_level() -> int:
    """Return the x86-64 level of this processor, 1 to 4, from the flags that Linux lists; 1 for any other."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 1
    flags = next((set(line.split()) for line in text.splitlines() if line.startswith("flags")), set())
    level = 1
    for wanted in _LEVELS:
        if not flags.issuperset(wanted):
            break
        level += 1
    return level


_WORDS = {
    "format": "another version of colab-env: format",
    "machine": "a machine of kind",
    "libc": "the C library",
    "machine_python": "a machine whose own Python is",
    "package": "a machine with colab_env in",
    "colab": "Colab:",
    "data": "the data directory",
    "project": "the project",
    "system_site_packages": "system_site_packages =",
    "wanted": "another lock file, or other options:",
}


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _built_here(project: Path) -> bool:
    # Wheels from an index are for every processor (manylinux); one that was built here has the plain platform tag.
    for wheel in (project / venv.NAME).glob("lib/python3*/site-packages/*.dist-info/WHEEL"):
        if re.search(rf"^Tag: .*-linux_{platform.machine()}$", wheel.read_text(errors="replace"), re.MULTILINE):
            return True
    return False


def _holds_python(found: list[Tree]) -> bool:
    return any(tree.name == "python" for tree in found)


def _given(path: Path, entries: Sequence[Entry]) -> str | None:
    # A change that the ledger does not know is somebody else's, and what the next entry found is what was given.
    given: str | None = None
    expected: str | None = "nothing"
    for entry in (entry for entry in entries if entry.path == path):
        before = entry.sha256_before
        is_failed = expected == entry.after == _ledger.UNKNOWN  # a step that was taken back has no second entry
        if is_failed or expected not in (before, _ledger.UNKNOWN):
            given = before
        expected = None if entry.after == _ledger.ABSENT else str(entry.after)
    now = _sha256(path)
    return given if now == expected else now


def _sha256(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def _hash(value: Any, digits: int) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:digits]


def _libc() -> str:
    try:
        return os.confstr("CS_GNU_LIBC_VERSION") or "unknown"
    except (ValueError, OSError):
        return "-".join(platform.libc_ver()) or "unknown"
