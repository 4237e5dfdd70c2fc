"""The manifest of a machine's environments: a TOML file with a table for each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from colab_env import _files, toml_text
from colab_env.errors import ColabEnvError, ProjectFileError, UsageError
from colab_env.interpreter import parse_specifier
from colab_env.named_env import exporting
from colab_env.named_env.names import check_environment_name
from colab_env.named_env.recipe import Recipe
from colab_env.results import short

_KINDS: Mapping[str, Any] = {
    "python": str, "packages": list, "project": str, "requirements": str, "wheels": str, "export": str,
    "system-site-packages": bool, "kernel": bool, "keep": int,
}  # fmt: skip
_PATHS = ("project", "requirements", "wheels")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One environment of a manifest: the options of `create`, or the file of an `export`; paths are absolute."""

    name: str
    said: Mapping[str, Any]

    def wanted(self, scratch: Path) -> tuple[Recipe, Path | None, int | None, tuple[str, ...]]:
        """Return what it is made of, the directory with its lock where it is an export, how many builds stay, what was added."""
        keep = self.said.get("keep")
        if "export" in self.said:
            exported, lock = exporting.unpack(self.said["export"], scratch)
            return exported.recipe(lock), scratch, exported.keep if keep is None else keep, exported.added
        options = {key.replace("-", "_"): value for key, value in self.said.items() if key != "keep"}
        return Recipe(**{**options, "packages": tuple(options.get("packages", ()))}).checked(), None, keep, ()


def read(path: Path) -> list[Entry]:
    """Return the environments of a manifest. Raises ProjectFileError, which names the table and the key."""
    content = _files.content(path)
    try:
        if content is None:
            raise ValueError("there is no such file")  # noqa: TRY301
        document = toml_text.parsed(content.decode())
        tables = document.get("environments")
        if not isinstance(tables, dict) or (strange := sorted(document.keys() - {"environments"})):
            msg = f"it has {strange[0]!r}" if isinstance(tables, dict) else "it has no table [environments.NAME]"
            raise ValueError(msg)  # noqa: TRY301
        return [_entry(name, table, path.parent) for name, table in tables.items()]
    except ValueError as error:
        msg = f"{short(path)} is not a manifest of environments: {error}"
        raise ProjectFileError(msg, hint='write [environments.web] and packages = ["flask"], for example') from error


def _entry(name: str, table: Any, directory: Path) -> Entry:
    try:
        check_environment_name(name)
    except ColabEnvError as error:
        raise ValueError(error.message) from error
    if not isinstance(table, dict):
        msg = f"{name} is no table"
        raise ValueError(msg)  # noqa: TRY004
    for key, value in table.items():
        kind = _KINDS.get(key)
        if (
            kind is None
            or type(value) is not kind
            or (kind is list and not all(isinstance(each, str) for each in value))
        ):
            wanted = f"takes {_TAKES[kind]}" if kind else f"is not one of {', '.join(_KINDS)}"
            msg = f"[environments.{name}] {key} {wanted}"
            raise ValueError(msg)
    if "export" in table and (others := table.keys() - {"export", "keep"}):
        msg = f"[environments.{name}] has an export and {min(others)}"
        raise ValueError(msg)
    try:
        return Entry(name=name, said={**table, **_checked(table, directory)})
    except ColabEnvError as error:
        msg = f"[environments.{name}] {error.message}"
        raise ValueError(msg) from error


def _checked(table: Mapping[str, Any], directory: Path) -> dict[str, Any]:
    """Return what a table says with paths that start at the manifest. Raises UsageError for values that cannot be."""
    values: dict[str, Any] = {
        key: directory / _files.named_path(table[key]) for key in (*_PATHS, "export") if key in table
    }
    if table.get("keep", 0) < 0:
        msg = f"keep is {table['keep']}, which is not a number of builds"
        raise UsageError(msg)
    python = table.get("python")
    if python is not None and "/" in python:
        values["python"] = str(directory / _files.named_path(python))
    elif python is not None:
        parse_specifier(python)
    if "packages" in table:
        values["packages"] = [_from(directory, each) for each in table["packages"]]
    return values


def _from(directory: Path, package: str) -> str:
    is_path = ("/" in package or package.endswith(".whl")) and "://" not in package and " @ " not in package
    return str(directory / _files.named_path(package)) if is_path else package


_TAKES = {str: "a text", list: "a list of texts", bool: "true or false", int: "a number"}
