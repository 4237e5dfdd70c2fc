"""pyproject.toml and poetry.toml: read what they ask for, write what a directory without a project lacks.

Also workspaces of uv: which project is a member of which, as uv finds it, read from pyproject.toml files alone.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from colab_env import _files, toml_text
from colab_env.errors import ProjectFileError
from colab_env.package_names import normalized
from colab_env.results import short

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

    from colab_env.interpreter import Interpreter


_CONFLICT = re.compile(rb"(?m)^(?:<<<<<<< |>>>>>>> )")
_LARGEST = 2**20  # bytes; a person wrote it
# What has to be of a type wherever it stands; "*" is every key of a table.
_TABLES = (
    *("project", "project.optional-dependencies", "dependency-groups", "virtualenvs", "virtualenvs.options"),
    *("tool", "tool.poetry", "tool.poetry.dependencies", "tool.poetry.dev-dependencies", "tool.poetry.group"),
    *("tool.poetry.group.*", "tool.poetry.group.*.dependencies", "tool.colab-env", "tool.colab-env.native"),
)
_LISTS = (
    *("project.dependencies", "project.dynamic", "project.optional-dependencies.*", "dependency-groups.*"),
    "tool.colab-env.apt",
)
_READ_BY_OTHERS = ("build-system", "tool.poetry")  # than uv
_TEXTS = ("project.name", "project.requires-python", "tool.poetry.name")
_SHAPES: tuple[tuple[tuple[str, ...], type, str, str], ...] = (
    (_TABLES, Mapping, "a table", "write it as [{}]"),
    (_LISTS, list, "a list", 'write it as {} = ["..."]'),
    (_TEXTS, str, "a text", 'write it as {} = "..."'),
)
_Document = TypeVar("_Document", bound=Mapping[str, Any])
_NEW = """\
[project]
name = "{name}"
version = "0.1.0"
requires-python = "{requires_python}"
dependencies = []

[tool.poetry]
package-mode = false  # only an environment; there is nothing to build
"""


_SETTINGS = """\
[virtualenvs]
in-project = true

[virtualenvs.options]
system-site-packages = {visible}
"""


@dataclass(frozen=True, kw_only=True)
class Pyproject:
    """A project's pyproject.toml as it was when it was read: once. What it says is parsed when it is first asked for.

    `content` is None where there is no such file. Raises ProjectFileError for one that cannot be read, or is not TOML.
    """

    path: Path
    content: bytes | None = field(repr=False)

    @classmethod
    def read(cls, project: Path, *, name: str = "pyproject.toml") -> Pyproject:
        """Read the file of this name in the directory `project`."""
        path = project / name
        return cls(path=path, content=_files.content(path, largest=_LARGEST))

    @cached_property
    def values(self) -> dict[str, Any]:
        """Return what it says, as plain values; empty where there is none."""
        return {} if self.content is None else _read_as(self.path, self.content, toml_text.parsed)

    @property
    def requires_python(self) -> str | None:
        """Return the Python that the project asks for (PEP 621, or Poetry's own older table), or None."""
        specifier = self.at("project", "requires-python") or self.at("tool", "poetry", "dependencies", "python")
        return specifier if isinstance(specifier, str) else None

    @property
    def has_dependencies(self) -> bool:
        """Say whether it names dependencies: any, in a group, or some that its build backend finds out."""
        poetry = dict(self.at("tool", "poetry", "dependencies") or {})
        poetry.pop("python", None)
        paths = (("project", "dependencies"), ("project", "optional-dependencies"), ("dependency-groups",))
        grouped = (("tool", "poetry", "group"), ("tool", "poetry", "dev-dependencies"))
        dynamic = "dependencies" in (self.at("project", "dynamic") or [])
        return bool(poetry) or dynamic or any(self.at(*keys) for keys in (*paths, *grouped))

    @property
    def poetry_groups(self) -> list[str]:
        """Return the dependency groups that `poetry install` takes: all but the optional ones, and without "main"."""
        poetry = self.at("tool", "poetry", "group") or {}
        groups = [*poetry, *(self.at("dependency-groups") or {})]
        legacy = ["dev"] if self.at("tool", "poetry", "dev-dependencies") else []
        # One group may stand in both tables, in another spelling.
        optional = {normalized(name) for name, group in poetry.items() if _at(group, "optional")}
        return [name for name in _distinct([*groups, *legacy]) if normalized(name) not in {*optional, "main"}]

    @property
    def extras(self) -> list[str]:
        """Return the names of the project's extras."""
        return [*(self.at("project", "optional-dependencies") or {}), *(self.at("tool", "poetry", "extras") or {})]

    @property
    def groups(self) -> list[str]:
        """Return the names of all its dependency groups, optional or not, as they are written first."""
        dev = [self.at("tool", "poetry", "dev-dependencies"), self.at("tool", "uv", "dev-dependencies")]
        group_names = [*(self.at("tool", "poetry", "group") or {}), *(self.at("dependency-groups") or {})]
        return _distinct([*group_names, *(["dev"] if any(dev) else [])])

    @property
    def is_named_by_backend(self) -> bool:
        """Say whether a build backend, and neither a table of the standard nor Poetry's, says what the project is."""
        backend = str(self.at("build-system", "build-backend") or "setuptools")
        is_named = self.at("project", "name") or self.at("tool", "poetry")
        return not is_named and not backend.startswith(("setuptools", "poetry"))

    @property
    def is_poetry_package(self) -> bool:
        """Say whether Poetry would install the project itself."""
        return self.at("tool", "poetry", "package-mode") is not False

    @property
    def is_standard(self) -> bool:
        """Say whether the tables of the standard (PEP 621), or uv's, say what the project is."""
        return isinstance(self.at("project", "name"), str) or isinstance(self.at("tool", "uv"), Mapping)

    @property
    def has_only_settings(self) -> bool:
        """Say whether it describes no project: settings of tools such as ruff, and dependency groups, are all that it has."""
        return bool((self.content or b"").strip()) and self.values.keys().isdisjoint(("project", "build-system"))

    @property
    def names_poetry(self) -> bool:
        """Say whether it is written for Poetry."""
        return self.names("poetry")

    def names(self, tool: str) -> bool:
        """Say whether it is written for a tool, such as "pdm": by its build backend, or a table of its own."""
        is_backend = re.match(rf"{tool}\b|{tool}_", str(self.at("build-system", "build-backend") or "")) is not None
        return is_backend or self.at("tool", tool) is not None

    def at(self, *keys: str) -> Any:
        """Return what stands at the end of these keys, or None."""
        return _at(self.values, *keys)


def complete(project: Path, *, python: Interpreter, system_site_packages: bool) -> list[str]:
    """Write what Poetry needs and the project lacks, and return the names of the files written.

    A directory without a project gets a minimal pyproject.toml, and a poetry.toml that asks for an in-project virtual
    environment and for the wanted view of the system's packages. A pyproject.toml that exists keeps its comments and order
    and gets a project table only when it has none; a poetry.toml that exists is its owner's. Raises ProjectFileError for a
    file that is not TOML, and for one that says how something is built and not what.
    """
    changes = {
        "pyproject.toml": _completed_project(project, python),
        "poetry.toml": _completed_settings(project, system_site_packages=system_site_packages),
    }
    written = [name for name, text in changes.items() if text is not None]
    # Both are composed before either is written: a fault in one leaves the other as it was.
    for name in written:
        # With the line ends that the file has: git would show every line as changed.
        _files.write_text(project / name, (changes[name] or "").replace("\n", _line_end(project / name)))
    return written


def add_apt(project: Path, packages: Sequence[str]) -> list[str]:
    """Write packages of the system into `[tool.colab-env] apt`, and into apt.txt where there is one; return which files.

    A project without a pyproject.toml gets none for that. What stands there stays, and nothing is written twice.
    """
    written = []
    document = _read(project / "pyproject.toml")
    if document is not None:
        import tomlkit

        # A super table is not written: `[tool.colab-env]` alone stands in the file.
        table = document.setdefault("tool", tomlkit.table(is_super_table=True)).setdefault("colab-env", tomlkit.table())
        listed = table.setdefault("apt", tomlkit.array())
        if new := [name for name in packages if name not in listed]:
            listed.extend(new)
            path = project / "pyproject.toml"
            _files.write_text(path, document.as_string().replace("\n", _line_end(path)))
            written.append("pyproject.toml")
    content = _files.content(project / "apt.txt", largest=_LARGEST)
    if content is not None:
        lines = content.decode("utf-8", "surrogateescape").splitlines()
        if new := [name for name in packages if name not in {line.partition("#")[0].strip() for line in lines}]:
            _files.write_bytes(project / "apt.txt", "\n".join([*lines, *new, ""]).encode("utf-8", "surrogateescape"))
            written.append("apt.txt")
    return written


def _completed_project(project: Path, python: Interpreter) -> str | None:
    path = project / "pyproject.toml"
    document = _read(path)
    if _at(document, "project", "name") or _at(document, "tool", "poetry", "name"):
        return None
    if _at(document, "tool", "poetry", "package-mode") is False:
        return None
    if document is None or not document.as_string().strip():
        return _NEW.format(name=_project_name(project), requires_python=_range(python))
    if _at(document, "build-system") and not _at(document, "tool", "poetry"):
        msg = f"{short(path)} says how something is built, and not what: it has no [project]"
        hint = "add [project] with a name and a version, or give a lock file with lock=...; nothing was changed"
        raise ProjectFileError(msg, hint=hint)
    import tomlkit

    table: Any = document.setdefault("project", tomlkit.table())
    defaults = {
        "name": _project_name(project),
        "version": "0.1.0",
        "requires-python": _range(python),
        "dependencies": [],
    }
    for key, value in defaults.items():
        if key not in table and key not in table.get("dynamic", []):
            table[key] = value
    document.setdefault("tool", tomlkit.table(is_super_table=True)).setdefault("poetry", tomlkit.table())
    poetry: Any = document["tool"]["poetry"]
    poetry["package-mode"] = False
    return tomlkit.dumps(document)


def _completed_settings(project: Path, *, system_site_packages: bool) -> str | None:
    own, other = (
        _SETTINGS.format(visible=str(value).lower()) for value in (system_site_packages, not system_site_packages)
    )
    document = _read(project / "poetry.toml")
    if document is not None:  # of our own, the view that is asked for may have changed
        return own if document.as_string() == other else None
    return None if _read(project / "pyproject.toml") else own


def _read(path: Path) -> TOMLDocument | None:
    content = _files.content(path, largest=_LARGEST)
    return None if content is None else _read_as(path, content, toml_text.document)


def _read_as(path: Path, content: bytes, parse: Callable[[str], _Document]) -> _Document:
    if match := _CONFLICT.search(content):
        line = content.count(b"\n", 0, match.start()) + 1
        msg = f"{short(path)}, line {line}: it has the marks of a git conflict"
        raise ProjectFileError(msg, hint="resolve the conflict; nothing was changed")
    try:
        text = content.decode("utf-8-sig")  # editors on Windows write a byte-order mark, and uv reads over it
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        msg = f"{short(path)}, line {line}: it is not UTF-8 text"
        raise ProjectFileError(msg, hint="save it as UTF-8; nothing was changed") from error
    try:
        # Lines end as Python's text files end them: the line ends of the file itself are kept by whoever writes it.
        document = parse(text.replace("\r\n", "\n").replace("\r", "\n"))
    except ValueError as error:
        is_placed = str(error).startswith("line ")
        msg = f"{short(path)}{', ' if is_placed else ' cannot be read as TOML: '}{error}"
        hint = "mend that line; nothing was changed" if is_placed else "mend the file; nothing was changed"
        raise ProjectFileError(msg, hint=hint) from error
    if content.startswith(codecs.BOM_UTF8) and any(_all_at(document, name) for name in _READ_BY_OTHERS):
        msg = f"{short(path)} begins with a byte-order mark, which Poetry and build backends cannot read"
        raise ProjectFileError(msg, hint="save it as UTF-8 without one (BOM); nothing was changed")
    for paths, kind, word, hint in _SHAPES:
        for name in paths:
            if not all(isinstance(value, kind) for value in _all_at(document, name)):
                msg = f"{short(path)}: {name!r} is not {word}"
                raise ProjectFileError(msg, hint=f"{hint.format(name)}; nothing was changed")
    return document


def _all_at(document: Any, name: str) -> list[Any]:
    """Return what is there at a dotted name, for every key where that has "*"."""
    values = [document]
    for key in name.split("."):
        tables = [table for table in values if isinstance(table, Mapping)]
        values = [table[member] for table in tables for member in (table if key == "*" else (key,)) if member in table]
    return values


def _distinct(names: Sequence[str]) -> list[str]:
    first: dict[str, str] = {}
    for name in names:
        first.setdefault(normalized(name), name)
    return list(first.values())


def _at(document: Any, *keys: str) -> Any:
    for key in keys:
        document = document.get(key) if hasattr(document, "get") else None
    return document


def _line_end(path: Path) -> str:
    return "\r\n" if path.is_file() and b"\r\n" in path.read_bytes() else "\n"


def _project_name(project: Path) -> str:
    return re.sub(r"[^a-z0-9]+", "-", project.name.lower()).strip("-") or "notebook"


def _range(python: Interpreter) -> str:
    major, minor = python.short_version.split(".")
    return f">={major}.{minor},<{major}.{int(minor) + 1}"


_PIN = re.compile(r"(?:cpython[-@]?|python)?(3\.\d{1,2})(?:\.\d{1,2})?", re.ASCII)
_MOST = 200  # directories; no resolution reads more


def uv_workspace_root(project: Path, pyproject: Pyproject) -> Path | None:
    """Return the root of the workspace that a project is a member of, or None: also where it is the root itself."""
    if (
        pyproject.content is None
        or "workspace" in (uv_table := uv_settings(pyproject))
        or uv_table.get("managed") is False
    ):
        return None
    for directory in project.parents:
        if not os.path.lexists(directory / pyproject.path.name):
            continue
        try:  # what is wrong in another project's file is that one's
            parent = Pyproject.read(directory)
            workspace, is_project = uv_settings(parent).get("workspace"), "project" in parent.values
        except ProjectFileError:
            return None
        if isinstance(workspace, Mapping):
            parts = project.relative_to(directory).parts
            is_member = _is_listed(parts, workspace.get("members")) and not _is_listed(parts, workspace.get("exclude"))
            return directory if is_member else None
        if is_project:
            return None
    return None


def local_projects(project: Path, pyproject: Pyproject) -> list[Path]:
    """Return the directories that a project's resolution reads too: its workspace, and sources that are paths, with theirs."""
    reached, waiting = {project: None}, [(project, pyproject)]
    while waiting and len(reached) < _MOST:
        directory, current = waiting.pop()
        root = uv_workspace_root(directory, current)
        for neighbour in (*([root] if root else []), *_members(directory, current), *_path_sources(directory, current)):
            if neighbour not in reached and neighbour.is_dir():
                reached[neighbour] = None
                with contextlib.suppress(ProjectFileError):  # what is wrong in another project's file is that one's
                    waiting.append((neighbour, Pyproject.read(neighbour)))
    return [path for path in reached if path != project]


def _members(directory: Path, pyproject: Pyproject) -> Iterator[Path]:
    workspace = uv_settings(pyproject).get("workspace")
    listed = workspace.get("members") if isinstance(workspace, Mapping) else None
    for pattern in listed if isinstance(listed, list) else ():
        below = re.sub(r"(?:\*\*/)+", "**/", f"{pattern}/")  # each further ** would walk all directories once more
        with contextlib.suppress(ValueError, NotImplementedError, IndexError):  # no pattern, or an absolute one
            yield from (path.parent for path in sorted(directory.glob(f"{below}pyproject.toml")))


def _path_sources(directory: Path, pyproject: Pyproject) -> Iterator[Path]:
    sources = uv_settings(pyproject).get("sources")
    for value in sources.values() if isinstance(sources, Mapping) else ():
        for source in value if isinstance(value, list) else [value]:
            path = source.get("path") if isinstance(source, Mapping) else None
            if isinstance(path, str) and "\0" not in path:
                yield Path(os.path.normpath(directory / path))


def uv_settings(pyproject: Pyproject) -> Mapping[str, Any]:
    """Return `[tool.uv]`; nothing where there is none."""
    table = (pyproject.values.get("tool") or {}).get("uv")
    return table if isinstance(table, Mapping) else {}


def pinned_python(*directories: Path) -> str | None:
    """Return the X.Y of CPython that the first `.python-version` in these directories pins, or None.

    uv takes the very patch level that is written there; here any one of that X.Y will do, as everywhere else.
    """
    match = _PIN.fullmatch(pinned_text(*directories))
    return match[1] if match else None


def pinned_text(*directories: Path) -> str:
    """Return the line that counts of the first `.python-version` in these directories, whatever it says, or nothing."""
    for directory in directories:
        lines = (_files.content(directory / ".python-version") or b"").decode("utf-8", "replace").splitlines()
        pinned = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
        if pinned:
            return pinned[0]
    return ""


def _is_listed(parts: Sequence[str], patterns: Any) -> bool:
    listed = patterns if isinstance(patterns, list) else []
    return any(
        _matches_pattern(parts, os.path.normpath(pattern).split("/")) for pattern in listed if isinstance(pattern, str)
    )


def _matches_pattern(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    reached = {0}  # how many parts the pattern so far may stand for: to try them one by one takes 2**n attempts
    for name in pattern:
        if name == "**":
            reached = set(range(min(reached, default=len(parts) + 1), len(parts) + 1))
        else:
            reached = {at + 1 for at in reached if at < len(parts) and fnmatchcase(parts[at], name)}
    return len(parts) in reached
