"""Which Pythons a lock file has wheels for, by the names of the files in it: nothing is downloaded, nothing is built."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from colab_env import toml_text
from colab_env.errors import ColabEnvError, UsageError
from colab_env.interpreter import fits_short_version
from colab_env.locks.lock_format import reading
from colab_env.native_need import locked_files
from colab_env.native_need.locked_files import LockedPackage, Target
from colab_env.results import short

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet

    from colab_env.locks.lock_format import LockFile

_MINORS = range(8, 18)  # minor versions of Python 3 that are compared: from the oldest of uv, to some that are to come
_SMALL = 50_000  # bytes of a lock file
_SHOWN = 3  # packages in a reason


@dataclass(frozen=True, kw_only=True)
class Better:
    """Which Pythons are better than the one that would be taken, and the reason in words."""

    specifier: SpecifierSet
    reason: str


def locked_packages(lock: LockFile, target: Target) -> list[LockedPackage]:
    """Return the packages of a lock file that are installed on a target. Raises UsageError for one that names no files."""
    (packages,) = _read(lock, [target])
    return packages


def is_quickly_read(lock: LockFile) -> bool:
    """Say whether a lock file takes less than seconds to read: Python's own parser of TOML came with 3.11."""
    return sys.version_info >= (3, 11) or len(lock.content) <= _SMALL


def better_pythons(lock: LockFile, specifier: SpecifierSet, *, than: str) -> Better | None:
    """Return on which of the Pythons that fit the fewest packages of a lock file are built, where `than` (X.Y) is none of them.

    A range such as ">=3.8" is open at its end: the newest Python takes it, and then minutes of compiling, or compilers that do
    not take sources of that age. None where `than` is as good as any, or nobody can say.
    """
    versions = [f"3.{minor}" for minor in _MINORS if fits_short_version(specifier, f"3.{minor}")]
    if len(versions) < 2 or than not in versions or not lock.is_there or not is_quickly_read(lock):
        return None
    try:
        (usual,) = _built(lock, [than])
        built = dict(zip(versions, _built(lock, versions), strict=True)) if usual else {}
    except (
        ColabEnvError
    ):  # it names no files, or is damaged, which who installs it says; or no wheel is for this machine
        return None
    fewest = min(map(len, built.values()), default=len(usual))
    if len(usual) == fewest:
        return None
    best = next(names for names in reversed(built.values()) if len(names) == fewest)
    more = sorted(usual - best)
    listed = ", ".join(more[:_SHOWN]) + (f" and {len(more) - _SHOWN} more" if len(more) > _SHOWN else "")
    return Better(
        specifier=specifier & ",".join(f"!={version}.*" for version, names in built.items() if len(names) > fewest),
        reason=f"not Python {than}, for which {lock.path.name} has no wheel of {listed} (--python, or python=, takes it)",
    )


def _built(lock: LockFile, versions: Sequence[str]) -> list[set[str]]:
    """Return for each X.Y what is built on this machine, by name and version."""
    targets = [locked_files.parse_target(None, version) for version in versions]
    return [
        {f"{package.name} {package.version}" for package in packages if package.is_built(target)}
        for target, packages in zip(targets, _read(lock, targets), strict=True)
    ]


def _read(lock: LockFile, targets: Sequence[Target]) -> list[list[LockedPackage]]:
    if lock.format.name not in locked_files.NAMES_FILES:
        msg = f"{short(lock.path)} does not say which files its packages have"
        raise UsageError(msg, hint=f"this can be told of {', '.join(locked_files.NAMES_FILES)}")
    project = lock.pyproject.at("project", "dependencies") or ()
    of_poetry = lock.pyproject.at("tool", "poetry", "dependencies") or ()
    names = (match[0] for words in (*project, *of_poetry) if (match := re.match(r"[\w.-]+", str(words))))
    direct = set(map(locked_files.normalized, names))
    with reading(lock):
        document = toml_text.parsed(lock.text)
        return [locked_files.read(lock.format.name, document, target, direct=direct) for target in targets]
