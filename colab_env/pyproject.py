"""pyproject.toml and poetry.toml: read what they ask for, write what a directory without a project lacks."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from colab_env import _files, toml_text
from colab_env.errors import ProjectFileError
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
        named = (("project", "dependencies"), ("project", "optional-dependencies"), ("dependency-groups",))
        grouped = (("tool", "poetry", "group"), ("tool", "poetry", "dev-dependencies"))
        dynamic = "dependencies" in (self.at("project", "dynamic") or [])
        return bool(poetry) or dynamic or any(self.at(*keys) for keys in (*named, *grouped))

    @property
    def poetry_groups(self) -> list[str]:
        """Return the dependency groups that `poetry install` takes: all but the optional ones, and without "main"."""
        poetry = self.at("tool", "poetry", "group") or {}
        named = [*poetry, *(self.at("dependency-groups") or {})]
        legacy = ["dev"] if self.at("tool", "poetry", "dev-dependencies") else []
        optional = {name for name, group in poetry.items() if _at(group, "optional")}
        return [name for name in dict.fromkeys([*named, *legacy]) if name not in optional and name != "main"]

    @property
    def extras(self) -> list[str]:
        """Return the names of the project's extras."""
        return [*(self.at("project", "optional-dependencies") or {}), *(self.at("tool", "poetry", "extras") or {})]

    @property
    def groups(self) -> list[str]:
        """Return the names of all its dependency groups, optional or not."""
        dev = [self.at("tool", "poetry", "dev-dependencies"), self.at("tool", "uv", "dev-dependencies")]
        named = [*(self.at("tool", "poetry", "group") or {}), *(self.at("dependency-groups") or {})]
        return list(dict.fromkeys([*named, *(["dev"] if any(dev) else [])]))

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
    def names_poetry(self) -> bool:
        """Say whether it is written for Poetry."""
        is_backend = str(self.at("build-system", "build-backend") or "").startswith("poetry")
        return is_backend or self.at("tool", "poetry") is not None

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
    for name in written:
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
        text = content.decode("utf-8")
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
