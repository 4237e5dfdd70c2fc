"""pdm.lock: read here, as `pdm sync` takes it, and installed by uv."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from colab_env import system
from colab_env.errors import LockMismatchError, UsageError
from colab_env.interpreter import Interpreter
from colab_env.locks import poetry_sources
from colab_env.locks.lock_format import LockFile, LockFormat
from colab_env.results import short

if TYPE_CHECKING:
    from colab_env.locks.installing import Selection
    from colab_env.machine import Machine

_DEFAULT = "default"  # PDM's name for the main dependencies
Package = Mapping[str, Any]


class PdmLock(LockFormat):
    """PDM's lock file: the main dependencies, all development groups, and on demand optional ones."""

    name = "pdm.lock"
    rank = 40
    file_names = ("pdm.lock",)

    def inputs(self, lock: LockFile) -> list[tuple[str, bytes]]:
        return [(lock.path.name, lock.content), (lock.pyproject.path.name, lock.pyproject.content or b"")]

    def export(
        self, lock: LockFile, selection: Selection, *, python: Path, machine: Machine, editable: bool = True
    ) -> str:
        try:
            document = poetry_sources.parsed(lock.text)
            wanted = _wanted_groups(lock, document, selection)
            packages = _packages(lock, document, wanted, python=python, machine=machine)
            lines = dict.fromkeys(_line(each, editable=editable) for each in packages)
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            msg = f"{short(lock.path)} is not as PDM writes it"
            raise LockMismatchError(msg, hint="run `pdm lock`, or mend the file") from error
        own = f"{'-e ' if editable else ''}{lock.directory.as_uri()}\n" if _is_distribution(lock) else ""
        return "".join(f"{line}\n" for line in lines) + own


def _is_distribution(lock: LockFile) -> bool:
    # pdm.project.core.Project.is_distribution
    settings = lock.pyproject.values.get("tool", {}).get("pdm", {})
    if not lock.pyproject.values.get("project", {}).get("name"):
        return False
    if "package-type" in settings:
        return bool(settings["package-type"] == "library")
    return bool(settings.get("distribution", True))


def _wanted_groups(lock: LockFile, document: Mapping[str, Any], selection: Selection) -> list[str]:
    development, optional = _development(lock), _table(lock, "project", "optional-dependencies")
    locked = document["metadata"].get("groups", [_DEFAULT, *development, *optional])
    known = {canonicalize_name(each): each for each in locked}
    asked = [*selection.extras, *(selection.groups or ())]
    if missing := [each for each in asked if canonicalize_name(each) not in known]:
        what = "extra" if missing[0] in selection.extras else "group"
        msg = f"{short(lock.path)} has no {what} {missing[0]!r}"
        raise UsageError(msg, hint=f"it has {', '.join(map(repr, locked))}")
    usual = development if selection.groups is None else []
    return [known[name] for name in map(canonicalize_name, [_DEFAULT, *usual, *asked]) if name in known]


def _packages(
    lock: LockFile, document: Mapping[str, Any], groups: Sequence[str], *, python: Path, machine: Machine
) -> list[Package]:
    packages = document.get("package", [])
    direct = [each for group in groups for each in _requirements(lock, group)]
    for requirement in direct:
        _require_locked(lock, requirement, packages)
    if "inherit_metadata" in document["metadata"].get("strategy", []):
        return [each for each in packages if set(each.get("groups", [_DEFAULT])) & set(groups)]
    asked = Interpreter(path=python, version="3", source="system")
    return _reached(direct, packages, dict(system.query_interpreter(asked, machine=machine).markers))


def _require_locked(lock: LockFile, requirement: Requirement, packages: Sequence[Package]) -> None:
    name = canonicalize_name(requirement.name)
    versions = [str(each["version"]) for each in packages if canonicalize_name(each["name"]) == name]
    fits = requirement.url or any(requirement.specifier.contains(each, prereleases=True) for each in versions)
    if (versions and not fits) or (not versions and requirement.marker is None):
        has = f"has {requirement.name} {versions[0]}" if versions else f"does not have {requirement.name}"
        msg = f"{short(lock.path)} does not belong to its pyproject.toml, which asks for {requirement}: it {has}"
        raise LockMismatchError(msg, hint="run `pdm lock` for it, then this call again")


def _reached(direct: Sequence[Requirement], packages: Sequence[Package], markers: dict[str, str]) -> list[Package]:
    """Return what the requirements come to, by the dependencies that stand at each package."""
    by_name: dict[str, list[Package]] = {}
    for each in packages:
        by_name.setdefault(canonicalize_name(each["name"]), []).append(each)
    found: list[Package] = []
    waiting = list(direct)
    while waiting:
        need = waiting.pop()
        if need.marker is not None and not need.marker.evaluate({**markers, "extra": ""}):
            continue
        for package in by_name.get(canonicalize_name(need.name), []):
            # A package with extras is an entry of its own, which names the plain one as a dependency.
            is_wanted = set(package.get("extras", [])) <= need.extras and _accepts(need, package)
            if is_wanted and package not in found:
                found.append(package)
                waiting += [Requirement(each) for each in package.get("dependencies", [])]
    return found


def _accepts(need: Requirement, package: Package) -> bool:
    return bool(need.url) or need.specifier.contains(str(package["version"]), prereleases=True)


def _line(package: Package, *, editable: bool) -> str:
    name, marker = package["name"], f" ; {package['marker']}" if package.get("marker") else ""
    below = f"#subdirectory={package['subdirectory']}" if package.get("subdirectory") else ""
    if git := package.get("git"):
        return f"{name} @ git+{git}@{package.get('revision') or package['ref']}{below}{marker}"
    if url := package.get("url"):
        return f"{name} @ {url}{below}{marker}"
    if path := package.get("path"):
        return f"{'-e ' if package.get('editable') and editable else ''}{path}{marker}"
    hashes = "".join(f" --hash={each['hash']}" for each in package.get("files", []))
    return f"{name}=={package['version']}{marker}{hashes}"


def _requirements(lock: LockFile, group: str) -> Iterator[Requirement]:
    name = canonicalize_name(group)
    tables = (
        {_DEFAULT: lock.pyproject.values.get("project", {}).get("dependencies", [])},
        _table(lock, "project", "optional-dependencies"),
        _table(lock, "dependency-groups"),
        _table(lock, "tool", "pdm", "dev-dependencies"),
    )
    for table in tables:
        for line in (line for key, lines in table.items() if canonicalize_name(key) == name for line in lines):
            if isinstance(line, dict):  # {include-group = "..."}, PEP 735
                yield from _requirements(lock, line["include-group"])
            elif not line.startswith("-e"):  # a path, which the lock alone names
                yield Requirement(line)


def _development(lock: LockFile) -> list[str]:
    return [*_table(lock, "dependency-groups"), *_table(lock, "tool", "pdm", "dev-dependencies")]


def _table(lock: LockFile, *keys: str) -> dict[str, Any]:
    found: Any = lock.pyproject.values
    for key in keys:
        found = found.get(key, {})
    return dict(found)
