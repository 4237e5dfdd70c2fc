"""pyproject.toml and poetry.toml: read what they ask for, write only what is missing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colab_env import _files
from colab_env.errors import ProjectFileError
from colab_env.results import short

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

    from colab_env.interpreter import Interpreter

_TABLES = (("project",), ("tool",), ("tool", "poetry"), ("virtualenvs",), ("virtualenvs", "options"))
_NEW = """\
[project]
name = "{name}"
version = "0.1.0"
requires-python = "{requires_python}"
dependencies = []

[tool.poetry]
package-mode = false  # only an environment; there is nothing to build
"""


def requires_python(project: Path) -> str | None:
    """Return the Python that the project asks for (PEP 621, or Poetry's own older table), or None."""
    document = _read(project / "pyproject.toml")
    asked = _at(document, "project", "requires-python") or _at(document, "tool", "poetry", "dependencies", "python")
    return str(asked) if isinstance(asked, str) else None


def read(project: Path) -> dict[str, Any]:
    """Return what pyproject.toml says, as plain values; empty when there is none. Raises ProjectFileError."""
    document = _read(project / "pyproject.toml")
    return document.unwrap() if document is not None else {}


def has_dependencies(project: Path) -> bool:
    """Say whether pyproject.toml names dependencies: any, in a group, or some that its build backend finds out."""
    document = _read(project / "pyproject.toml")
    poetry = dict(_at(document, "tool", "poetry", "dependencies") or {})
    poetry.pop("python", None)
    named = (("project", "dependencies"), ("project", "optional-dependencies"), ("dependency-groups",))
    grouped = (("tool", "poetry", "group"), ("tool", "poetry", "dev-dependencies"))
    dynamic = "dependencies" in (_at(document, "project", "dynamic") or [])
    return bool(poetry) or dynamic or any(_at(document, *keys) for keys in (*named, *grouped))


def default_groups(project: Path) -> list[str]:
    """Return the dependency groups that `poetry install` takes: all but the optional ones, and without "main"."""
    document = _read(project / "pyproject.toml")
    poetry = _at(document, "tool", "poetry", "group") or {}
    named = [*poetry, *(_at(document, "dependency-groups") or {})]
    legacy = ["dev"] if _at(document, "tool", "poetry", "dev-dependencies") else []
    optional = {name for name, group in poetry.items() if _at(group, "optional")}
    return [name for name in dict.fromkeys([*named, *legacy]) if name not in optional and name != "main"]


def is_package(project: Path) -> bool:
    """Say whether Poetry would install the project itself."""
    document = _read(project / "pyproject.toml")
    return _at(document, "tool", "poetry", "package-mode") is not False


def complete(project: Path, *, python: Interpreter, system_site_packages: bool) -> list[str]:
    """Write what Poetry needs and the project lacks, and return the names of the files written.

    A new pyproject.toml is minimal; one that exists keeps its comments and order and gets a project table only when it
    has none. poetry.toml asks for an in-project virtual environment and for the wanted view of the system's packages.
    Raises ProjectFileError for a file that is not TOML.
    """
    changes = {
        "pyproject.toml": _completed_project(project, python),
        "poetry.toml": _completed_settings(project, system_site_packages=system_site_packages),
    }
    written = [name for name, text in changes.items() if text is not None]
    for name in written:
        _files.write_text(project / name, (changes[name] or "").replace("\n", _line_end(project / name)))
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
    return _with_project_table(document, project, python)


def _with_project_table(document: TOMLDocument, project: Path, python: Interpreter) -> str:
    import tomlkit

    table: Any = document.setdefault("project", tomlkit.table())
    wanted = {"name": _project_name(project), "version": "0.1.0", "requires-python": _range(python), "dependencies": []}
    for key, value in wanted.items():
        if key not in table and key not in table.get("dynamic", []):
            table[key] = value
    document.setdefault("tool", tomlkit.table(is_super_table=True)).setdefault("poetry", tomlkit.table())
    poetry: Any = document["tool"]["poetry"]
    poetry["package-mode"] = False
    return tomlkit.dumps(document)


def _completed_settings(project: Path, *, system_site_packages: bool) -> str | None:
    import tomlkit

    document: Any = _read(project / "poetry.toml")
    document = tomlkit.document() if document is None else document
    before = tomlkit.dumps(document)
    environments = document.setdefault("virtualenvs", tomlkit.table())
    _set(environments, "in-project", value=True)
    _set(environments.setdefault("options", tomlkit.table()), "system-site-packages", value=system_site_packages)
    after = tomlkit.dumps(document)
    return after if after != before else None


def _set(table: Any, key: str, *, value: bool) -> None:
    if table.get(key) != value:
        table[key] = value


def _read(path: Path) -> TOMLDocument | None:
    if not path.exists():
        return None
    import tomlkit
    from tomlkit.exceptions import ParseError, TOMLKitError

    try:
        document = tomlkit.parse(path.read_text(encoding="utf-8"))
    except ParseError as error:
        msg = f"{short(path)}, line {error.line}, column {error.col}: {str(error).split(' at line')[0]}"
        raise ProjectFileError(msg, hint="mend that line; nothing was changed") from error
    except (TOMLKitError, UnicodeDecodeError, OSError) as error:
        msg = f"{short(path)} cannot be read as TOML: {error}"
        raise ProjectFileError(msg, hint="mend the file; nothing was changed") from error
    for keys in _TABLES:
        if not isinstance(_at(document, *keys), (Mapping, type(None))):
            msg = f"{short(path)}: {'.'.join(keys)!r} is not a table"
            raise ProjectFileError(msg, hint=f"write it as [{'.'.join(keys)}]; nothing was changed")
    return document


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
