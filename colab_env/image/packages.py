"""What is locked, as installers inside a container read it: with hashes, without the paths of this machine."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from colab_env import system
from colab_env.errors import NoSuchPythonError, UsageError
from colab_env.locks import requirements_text
from colab_env.pyproject import Pyproject
from colab_env.request import Request
from colab_env.results import short

_INDEX = re.compile(r"(--index-url|--extra-index-url|-i|--find-links|-f)[ =]+(\S+)")
_NAMED = re.compile(r"([\w.-]+)[ \t]*(?:\[[^\]]*\])?[ \t]*@[ \t]*(\S+)(.*)", re.DOTALL)
_EDITABLE = re.compile(r"^(?:-e|--editable)[ =]\s*")
_SECRET = re.compile(r"(?<=://)[^/@\s]+@")


@dataclass(frozen=True, kw_only=True)
class Unhashed:
    """A locked requirement without a hash.

    `kind` is "git", "address", "directory", "file", or "index" for an exact version whose lock file has no hashes; `path`
    is that of a directory or file, relative to the build context. `line` is the requirement in pip's format.
    """

    name: str
    kind: str
    line: str
    path: Path | None = None


@dataclass(frozen=True, kw_only=True)
class LockedPackages:
    """The locked packages without the project itself.

    `hashed` is in pip's format, every line with its hashes and markers, none with a path of this machine; `indexes` are
    the options for other indexes, without passwords. `needs_password` says that one of them had some.
    """

    hashed: str
    unhashed: tuple[Unhashed, ...] = ()
    indexes: tuple[str, ...] = ()
    needs_password: bool = False

    @property
    def directories(self) -> tuple[Path, ...]:
        """Return the directories in the build context that are installed as packages besides the project."""
        return tuple(each.path for each in self.unhashed if each.kind == "directory" and each.path is not None)

    @property
    def requirements(self) -> str:
        """Return the hashed requirements with the options for other indexes."""
        return "".join(f"{line}\n" for line in self.indexes) + self.hashed

    @property
    def unhashed_requirements(self) -> str:
        """Return the lines without a hash that an installer can take as they are."""
        return "".join(f"{each.line}\n" for each in self.unhashed if each.kind != "directory")


def read(request: Request, context: Path) -> LockedPackages:
    """Return what the lock file of a request says, for every platform that it was made for.

    Raises what `LockFormat.export_universal` raises, and UsageError for what lies outside of the build context.
    """
    lock = request.lock
    text = lock.format.export_universal(lock, request.selection, python=reader(request), machine=request.machine)
    return parsed(text, directory=lock.directory, context=context, project=request.project)


def parsed(text: str, *, directory: Path, context: Path, project: Path) -> LockedPackages:
    """Split requirements by what vouches for them; relative paths in them start from `directory`."""
    hashed: list[str] = []
    indexes: list[str] = []
    unhashed: list[Unhashed] = []
    for line in _lines(text):
        if found := _INDEX.match(line):
            indexes.append(f"{found[1]} {found[2]}")
        elif line.startswith(("--", "-c ", "-r ")):
            continue
        elif "--hash" in line and not line.startswith(("./", "../", "/", "file:")):
            hashed.append(line)
        else:
            each = _unhashed(line, directory=directory, context=context)
            if each.kind != "directory" or context / (each.path or "") != project:
                unhashed.append(each)
    plain = [_SECRET.sub("", each) for each in dict.fromkeys(indexes)]
    return LockedPackages(
        hashed="".join(f"{line}\n" for line in hashed),
        unhashed=tuple(unhashed),
        indexes=tuple(dict.fromkeys(plain)),
        needs_password=plain != list(dict.fromkeys(indexes)),
    )


def _lines(text: str) -> Iterator[str]:
    for line in requirements_text.logical_lines(text):
        stripped = re.sub(r"(^|\s)#\s.*$", "", line, flags=re.MULTILINE).strip()
        if stripped and not stripped.startswith("#"):
            yield stripped


def _unhashed(line: str, *, directory: Path, context: Path) -> Unhashed:
    named = _NAMED.fullmatch(line)
    target = named[2] if named else _EDITABLE.sub("", line).partition(" ;")[0].strip()
    name = requirements_text.normalized(named[1]) if named else ""
    if re.match(r"(git|hg|svn|bzr)\+", target):
        return Unhashed(name=name or target, kind="git", line=_SECRET.sub("", line))
    if re.match(r"https?://", target):
        return Unhashed(name=name or target, kind="address", line=_SECRET.sub("", line))
    if not named and re.match(r"[\w.-]+(\[[^\]]*\])?[ \t]*===?", line):
        return Unhashed(name=requirements_text.normalized(re.split(r"[\[=\s]", line)[0]), kind="index", line=line)
    if not named and "/" not in target and target != ".":
        msg = f"{line!r} names no exact version"
        raise UsageError(msg, hint="lock it first: `uv lock`, or `uv pip compile --universal --generate-hashes`")
    path = _inside(target, directory=directory, context=context)
    kind = "file" if (context / path).is_file() else "directory"
    marker = f" {named[3].strip()}" if named and named[3].strip() else ""
    if kind == "directory" and not name:
        pyproject = Pyproject.read(context / path)
        told = pyproject.at("project", "name") or pyproject.at("tool", "poetry", "name")
        name = requirements_text.normalized(told) if isinstance(told, str) else ""
    return Unhashed(name=name or path.name, kind=kind, line=f"./{path.as_posix()}{marker}", path=path)


def _inside(target: str, *, directory: Path, context: Path) -> Path:
    """Return a path relative to the build context. Raises UsageError for one outside."""
    text = unquote(urlsplit(target).path) if target.startswith("file:") else target
    path = Path(os.path.normpath(directory / text))
    if not os.path.lexists(path):
        msg = f"the lock file names {short(path)}, which is not there"
        raise UsageError(msg, hint="get it, or lock the project anew; nothing was written")
    try:
        return path.resolve().relative_to(context.resolve())
    except ValueError:
        msg = f"the lock file names {short(path)}, which is outside of {short(context)}: a build cannot see it"
        hint = "move it into the project, name it by a git address, or publish it to an index; nothing was written"
        raise UsageError(msg, hint=hint) from None


def reader(request: Request) -> Path:
    """Return a Python that the lock file's tool can resolve for; the machine's own where none fits."""
    if request.recorded_python is not None and request.recorded_python.path.is_file():
        return request.recorded_python.path
    try:
        return system.find(request.specifier, machine=request.machine).path
    except NoSuchPythonError:
        return request.machine.machine_python
