"""What an environment is made of, as a person asked for it: kept in its receipt, so that it can be made again."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from colab_env import _files
from colab_env.errors import UsageError
from colab_env.locks import registry
from colab_env.locks.lock_format import LockFile
from colab_env.pyproject import Pyproject
from colab_env.results import short

_SECRET = re.compile(r"(?<=://)[^/\s]+@|(?<=\S)\?[^\s#]*(?=$|[\s#])")
_PROJECT_FILES = ("pyproject.toml", "setup.py", "setup.cfg", "poetry.toml")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """`python` is a version, a specifier or a path; `wheels` a directory that is the only source of packages."""

    python: str | None = None
    packages: tuple[str, ...] = ()
    project: Path | None = None
    requirements: Path | None = None
    wheels: Path | None = None
    system_site_packages: bool = False
    kernel: bool = False

    def checked(self) -> Recipe:
        """Return the recipe with absolute paths. Raises UsageError for what is not there or does not go together."""
        if sum(map(bool, (self.packages, self.project, self.requirements))) > 1:
            msg = "a project, a requirements file and packages do not go together"
            raise UsageError(msg, hint="give one of them")
        if bad := [each for each in self.packages if not each or each.startswith("-")]:
            msg = f"{bad[0]!r} is not a package"
            raise UsageError(msg, hint="write a name, with a version if need be such as 'flask==3.1', or a wheel")
        return replace(
            self,
            project=_absolute(self.project, is_directory=True),
            requirements=_absolute(self.requirements, is_directory=False),
            wheels=_absolute(self.wheels, is_directory=True),
        )

    @property
    def lock(self) -> LockFile | None:
        """Return the project's lock file, or None. The requirements.txt of a package is none: its metadata counts."""
        found = registry.find(self.project) if self.project else None
        if found is None or not (found.is_there and found.format.is_lock):
            return None
        is_package = any((found.directory / name).is_file() for name in ("setup.py", "setup.cfg"))
        return None if found.format.is_loose and is_package else found

    def recorded(self) -> Recipe:
        """Return it as a receipt has it, which everybody may read: without the names, passwords and queries in addresses."""
        return replace(self, packages=tuple(_SECRET.sub("", each) for each in self.packages))

    def specifier(self) -> str:
        """Return which Python is asked for, here or in the project."""
        if self.python or self.project is None:
            return self.python or "*"
        lock = self.lock
        return (lock.requires_python if lock else None) or Pyproject.read(self.project).requires_python or "*"

    def digest(self) -> str:
        """Return a checksum of the recipe and of the files it names."""
        digest = hashlib.sha256(json.dumps(self.as_dict(), sort_keys=True).encode())
        named = [self.project / name for name in _PROJECT_FILES] if self.project else []
        for path in named:
            digest.update(f"{path.name}\0".encode() + (_files.content(path) or b"") + b"\0")
        if self.requirements:
            digest.update(registry.find(self.requirements.parent, self.requirements).digest.encode())
        if lock := self.lock:
            digest.update(f"{lock.format.name}\0{lock.digest}".encode())
        for path in sorted(self.wheels.iterdir()) if self.wheels and self.wheels.is_dir() else ():
            digest.update(f"{path.name}\0{path.stat().st_size}\n".encode())
        return digest.hexdigest()

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, which the checksum is made of."""
        return {key: str(value) if isinstance(value, Path) else value for key, value in asdict(self).items()}


def _absolute(path: Path | None, *, is_directory: bool) -> Path | None:
    if path is None:
        return None
    path = _files.named_path(path).absolute()
    if path.is_dir() if is_directory else path.is_file():
        return path
    msg = f"there is no {'directory' if is_directory else 'file'} {short(path)}"
    raise UsageError(msg, hint="check the path; nothing was changed")
