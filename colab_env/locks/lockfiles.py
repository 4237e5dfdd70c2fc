"""Which file says what a project's environment consists of: found by name, nothing is started here."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from colab_env import pyproject
from colab_env.errors import UsageError
from colab_env.locks import script_block
from colab_env.results import short

CONDA = "environment.yml"  # the kind that only conda reads

# In the order in which they are looked for.
_NAMES = {
    "poetry.lock": "poetry.lock",
    "uv.lock": "uv.lock",
    "pylock.toml": "pylock.toml",
    "requirements.txt": "requirements.txt",
    "environment.yml": "environment.yml",
    "environment.yaml": "environment.yml",
}
_WISHES = ("requirements.txt", "environment.yml")  # they may be loose, so a project's own dependencies come first
_SUFFIXES = {
    ".txt": "requirements.txt",
    ".in": "requirements.txt",
    ".yml": "environment.yml",
    ".yaml": "environment.yml",
    ".py": "script",
    ".ipynb": "script",
}
# In environment.yml as items of the list under `pip:`.
_INCLUDE = re.compile(r"""(?m)^\s*(?:-\s+["']?)?(?:-r|-c|--requirement|--constraint)[ =]?\s*([^\s"']+)""")


@dataclass(frozen=True, kw_only=True)
class LockFile:
    """A lock file: its absolute `path`, and its `kind`.

    The kinds are "poetry.lock", "uv.lock", "pylock.toml", "requirements.txt", "environment.yml" and "script" (a Python
    file or a notebook with a block of PEP 723).
    """

    path: Path
    kind: str

    @property
    def directory(self) -> Path:
        """Return the directory that relative paths in the file start from."""
        return self.path.parent


def find(project: Path, lock: str | Path | None = None) -> LockFile | None:
    """Return the lock file of a project, or None: nothing is locked yet.

    `lock` names one, absolute or relative to the project. Raises UsageError when it is not there or of no known kind.
    """
    if lock is not None:
        return _named(project / Path(lock).expanduser())
    return next(iter(candidates(project)), None)


def candidates(project: Path) -> list[LockFile]:
    """Return every lock file of a project, the one that counts first.

    requirements.txt and environment.yml count where pyproject.toml has no dependencies of its own.
    """
    there = [LockFile(path=project / name, kind=kind) for name, kind in _NAMES.items() if (project / name).is_file()]
    if any(each.kind in _WISHES for each in there) and pyproject.has_dependencies(project):
        there = [each for each in there if each.kind not in _WISHES]
    return there


def requires_python(lock: LockFile) -> str | None:
    """Return the Python that a lock file asks for by itself, or through the pyproject.toml beside it, or None."""
    if lock.kind == "pylock.toml":
        head = lock.path.read_text(encoding="utf-8").partition("[[packages")[0]
        found = re.search(r"""(?m)^requires-python\s*=\s*(["'])(.*?)\1""", head)
        return found[2] if found else None
    if lock.kind == "script":
        return script_block.requires_python(script_block.block(lock.path))
    return pyproject.requires_python(lock.directory)


def digest(lock: LockFile) -> str:
    """Return a checksum of what the lock file says: of a script its block, with others the files that pip includes."""
    if lock.kind == "script":
        return hashlib.sha256(script_block.block(lock.path).encode()).hexdigest()
    paths = [lock.path]
    if lock.kind in ("requirements.txt", CONDA):
        paths = _with_included(lock.path)
    elif lock.kind in ("poetry.lock", "uv.lock"):
        paths.append(lock.directory / "pyproject.toml")
    total = hashlib.sha256()
    for path in paths:
        total.update(f"{path.name}\0".encode() + (path.read_bytes() if path.is_file() else b"") + b"\0")
    return total.hexdigest()


def _named(path: Path) -> LockFile:
    path = path.absolute()
    kind = _kind(path.name)
    if kind is None:
        msg = f"{path.name} is not a lock file of a known kind"
        raise UsageError(msg, hint=f"give one of {', '.join(_NAMES)}, or a script or notebook with a block of PEP 723")
    if not path.is_file():
        msg = f"there is no lock file {short(path)}"
        raise UsageError(msg, hint="check the path, which is relative to the project; nothing was changed")
    return LockFile(path=path, kind=kind)


def _kind(name: str) -> str | None:
    if re.fullmatch(r"pylock(\.[^.]+)?\.toml", name):
        return "pylock.toml"
    return _NAMES.get(name) or _SUFFIXES.get(Path(name).suffix)


def _with_included(path: Path) -> list[Path]:
    found: list[Path] = []
    left = [path]
    while left:
        current = left.pop()
        if current in found:
            continue
        found.append(current)
        if current.is_file():
            text = current.read_text(encoding="utf-8", errors="replace")
            left += [current.parent / name for name in _INCLUDE.findall(text) if "://" not in name]
    return found
