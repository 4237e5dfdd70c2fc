"""pylock.toml (PEP 751): uv reads and installs it."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colab_env import _file_locks, _files, toml_text
from colab_env.errors import ProjectFileError
from colab_env.locks import installing, requirements_text
from colab_env.locks.lock_format import LockFile, LockFormat, reading
from colab_env.results import short

if TYPE_CHECKING:
    from colab_env.locks.installing import Selection, Target
    from colab_env.machine import Machine

_OF_PIP = re.compile(rb"(?m)^[\w.-]+(?:\[[\w., -]*\])?==[^\s]")
_OF_PIPENV = re.compile(rb'(?m)^created-by = "pipenv"')
_SOURCES = ("archive", "directory", "sdist", "vcs")


class PylockToml(LockFormat):
    """The lock file that every tool may write."""

    name = "pylock.toml"
    rank = 30
    file_names = ("pylock.toml",)
    names_python = True

    def matches(self, name: str) -> bool:
        return re.fullmatch(r"pylock(\.[^.]+)?\.toml", name) is not None

    def is_one(self, lock: LockFile) -> bool:
        """Say no of one that Pipenv wrote beside its Pipfile.lock: its files have addresses that no index serves."""
        is_copy = (lock.directory / "Pipfile.lock").is_file() and _OF_PIPENV.search(lock.content)
        return not is_copy and super().is_one(lock)

    def requires_python(self, lock: LockFile) -> str | None:
        head = lock.text.partition("[[packages")[0]
        match = re.search(r"""(?m)^requires-python\s*=\s*(["'])(.*?)\1""", head)
        return match[2] if match else None

    def check_content(self, lock: LockFile) -> None:
        super().check_content(lock)
        if _OF_PIP.search(lock.content):  # as `uv export -o pylock.toml` once wrote it
            msg = f"{short(lock.path)} is in pip's format"
            hint = "make it anew (`uv export --format pylock.toml -o pylock.toml`), or name it requirements.txt"
            raise ProjectFileError(msg, hint=f"{hint}; nothing was changed")

    def peek(self, lock: LockFile, selection: Selection, *, machine: Machine, has_python: bool) -> str | None:
        return None if has_python else read(lock.text)

    def extras(self, lock: LockFile) -> Collection[str]:
        return _listed(lock, "extras")

    def groups(self, lock: LockFile) -> Collection[str]:
        return _listed(lock, "dependency-groups")

    def export(
        self, lock: LockFile, selection: Selection, *, python: Path, machine: Machine, editable: bool = True
    ) -> str:
        return installing.installer(machine, pyproject=lock.pyproject).pylock(
            lock.path, python=python, options=options(lock, selection)
        )

    def export_universal(self, lock: LockFile, selection: Selection, *, python: Path, machine: Machine) -> str:
        groups = [*_listed(lock, "default-groups"), *(selection.groups or ())]
        chosen = {"extras": selection.extras, "dependency_groups": groups}
        with reading(lock):
            return _with_hashes(universal(lock.text, chosen), hashes(lock.text))

    def install(self, lock: LockFile, selection: Selection, *, target: Target) -> Mapping[str, Collection[str]]:
        self.require_uv(lock, target)
        install(lock, selection, target=target, cwd=lock.directory, options=options(lock, selection))
        installing.add_pip(target)  # uv takes nothing else beside a pylock.toml
        with reading(lock):
            return hashes(lock.text)


def install(lock: LockFile, selection: Selection, *, target: Target, cwd: Path, options: Sequence[str] = ()) -> None:
    """Make an environment hold exactly what a pylock.toml says, by uv with the settings of the directory `cwd`."""
    installer = target.installer(lock.pyproject)
    with _file_locks.private_directory(target.machine.data) as scratch:
        path = lock.path
        if selection.left_out is not None:
            text = installer.pylock(lock.path, python=target.python, options=options)
            path = scratch / "pylock.toml"
            names = selection.left_out(text)
            with reading(lock):
                remaining = without(lock.text, names, directory=lock.directory)
            _files.write_text(path, remaining)
        argv: list[str | Path] = [*target.options, "--exact", *options, "-r", path]
        installer.install(argv, python=target.python, cwd=cwd)


def options(lock: LockFile, selection: Selection) -> list[str]:
    """Return the options of `uv pip install` for what is wanted of a pylock.toml."""
    # uv leaves the default groups out where one is named, and the main packages may be such a group.
    groups = dict.fromkeys([*_listed(lock, "default-groups"), *selection.groups]) if selection.groups else ()
    return [*(f"--extra={name}" for name in selection.extras), *(f"--group={name}" for name in groups)]


def _listed(lock: LockFile, key: str) -> list[str]:
    with reading(lock):
        return [str(value) for value in toml_text.parsed(lock.text).get(key, [])]


def read(text: str) -> str:
    """Return what the lock file names in pip's requirements format, without hashes; markers are kept where pip has them."""
    return "".join(f"{_line(package)}\n" for package in _packages(text))


def _packages(text: str) -> list[dict[str, Any]]:
    document = toml_text.parsed(text)
    version = document.get("lock-version", "1.0")
    if not re.fullmatch(r"1\.\d+", str(version)):  # PEP 751: another major version may mean anything
        msg = f"its lock-version is {version}, and what is known here is 1.0"
        raise ValueError(msg)
    return list(document.get("packages", []))


def universal(text: str, chosen: Mapping[str, Collection[str]]) -> str:
    """Return the same for the `chosen` names of "extras" and "dependency_groups"; where a package comes from is kept too."""
    names = {kind: set(map(requirements_text.normalized, listed)) for kind, listed in chosen.items()}
    lines = []
    for package in _packages(text):
        marker = _decided(package.get("marker", ""), names)
        if marker is not None:
            lines.append(f"{package['name']}{_origin(package)}" + (f" ; {marker}" if marker else ""))
    return "".join(f"{line}\n" for line in lines)


def _origin(package: dict[str, Any]) -> str:
    """Return what follows a package's name: an address where it has one, though most have a version too."""
    if vcs := package.get("vcs"):
        part = f"#subdirectory={vcs['subdirectory']}" if "subdirectory" in vcs else ""
        return f" @ {vcs['type']}+{vcs.get('url') or vcs['path']}@{vcs['commit-id']}{part}"
    source = next((package[name] for name in ("archive", "directory") if name in package), None)
    return f"=={package['version']}" if source is None else f" @ {source.get('url') or source['path']}"


def _decided(marker: str, chosen: Mapping[str, Collection[str]]) -> str | None:
    """Return a marker without what it says of extras and groups; "" is always, None is never."""
    if not any(kind in marker for kind in chosen):
        return marker
    try:  # but for one operator, a marker is an expression of Python
        tree = _Decider(chosen).visit(ast.parse(marker.replace("~=", "|"), mode="eval").body)
    except SyntaxError as error:
        msg = f"the marker {marker!r} is not valid"
        raise ValueError(msg) from error
    if isinstance(tree, ast.Constant):
        return "" if tree.value else None
    return ast.unparse(tree).replace(" | ", " ~= ")


class _Decider(ast.NodeTransformer):
    """Puts True or False for every condition on extras and dependency groups, and folds what that decides."""

    def __init__(self, chosen: Mapping[str, Collection[str]]) -> None:
        self._chosen = chosen

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        where, name = node.comparators[0], node.left
        if not (isinstance(where, ast.Name) and where.id in self._chosen and isinstance(name, ast.Constant)):
            return node
        is_chosen = requirements_text.normalized(str(name.value)) in self._chosen[where.id]
        return ast.Constant(is_chosen is isinstance(node.ops[0], ast.In))

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:
        decisive = isinstance(node.op, ast.Or)
        values = [self.visit(value) for value in node.values]
        if any(isinstance(value, ast.Constant) and value.value is decisive for value in values):
            return ast.Constant(decisive)
        undecided = [value for value in values if not isinstance(value, ast.Constant)]
        if len(undecided) > 1:
            return ast.BoolOp(op=node.op, values=undecided)
        return undecided[0] if undecided else ast.Constant(not decisive)


def hashes(text: str) -> dict[str, frozenset[str]]:
    """Return the hashes of every package's files, such as "sha256:9f86...", by normalized name."""
    packages = toml_text.parsed(text).get("packages", [])
    return {
        requirements_text.normalized(package["name"]): frozenset(
            f"{algorithm}:{digest}".lower()
            for source in _sources(package)
            for algorithm, digest in source.get("hashes", {}).items()
        )
        for package in packages
    }


def _with_hashes(text: str, hashes: Mapping[str, frozenset[str]]) -> str:
    lines = []
    for line in text.splitlines():
        name = line.partition(" ")[0].partition("==")[0]
        digests = [] if " @ git" in line else sorted(hashes.get(requirements_text.normalized(name), ()))
        lines.append(" \\\n    ".join([line, *(f"--hash={digest}" for digest in digests)]))
    return "".join(f"{line}\n" for line in lines)


def _line(package: dict[str, Any]) -> str:
    marker = package.get("marker", "")
    if "extras" in marker or "dependency_groups" in marker:  # whether these are asked for, uv decides
        marker = ""
    url = next((source.get("url") or source.get("path") for source in _sources(package)), "")
    requirement = f"=={package['version']}" if "version" in package else f" @ {url}"
    return f"{package['name']}{requirement}" + (f" ; {marker}" if marker else "")


def without(text: str, names: Collection[str], *, directory: Path) -> str:
    """Return the lock file without these (normalized) packages, its paths, relative to `directory`, made absolute."""
    import tomlkit

    document = toml_text.parsed(text)
    remaining = [
        package
        for package in document.get("packages", [])
        if requirements_text.normalized(package["name"]) not in names
    ]
    for source in (source for package in remaining for source in _sources(package)):
        # A relative path means the directory of the file, which is another one now.
        if "path" in source:
            source["path"] = str(directory / source["path"])
    return tomlkit.dumps({**document, "packages": remaining})


def _sources(package: dict[str, Any]) -> list[dict[str, Any]]:
    return [*(package[name] for name in _SOURCES if name in package), *package.get("wheels", [])]
