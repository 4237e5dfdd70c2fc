"""Named environments as files: an export, which is a ZIP archive of a lock and wheels, and the manifest of a machine."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from colab_env import _files, _state, _transactions, toml_text
from colab_env.errors import ColabEnvError, ProjectFileError, UsageError
from colab_env.interpreter import parse_specifier, require_version
from colab_env.named_env import additions, locking
from colab_env.named_env.base_dirs import check_environment_name
from colab_env.named_env.inventory import Receipt
from colab_env.named_env.recipe import Recipe
from colab_env.named_env.repacking import SOURCES
from colab_env.results import short

SUFFIX = ".env.zip"
_DESCRIPTION = "environment.json"
_VERSION = 1
_MOST = 100 << 20  # bytes that an archive may hold beside many times its own length
_KINDS: Mapping[str, Any] = {
    "python": str, "packages": list, "project": str, "requirements": str, "wheels": str, "export": str,
    "system-site-packages": bool, "kernel": bool, "keep": int,
}  # fmt: skip
_PATHS = ("project", "requirements", "wheels")
_TAKES = {str: "a text", list: "a list of texts", bool: "true or false", int: "a number"}


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What an export says of the environment: `python` is its full version; `packages` are those that were asked for by name.

    `added` is what somebody has added with pip.
    """

    version: int
    name: str
    python: str
    packages: tuple[str, ...] = ()
    system_site_packages: bool = False
    kernel: bool = False
    keep: int | None = None
    added: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        require_version(self.python)
        if self.version != _VERSION:
            msg = f"it has version {self.version}, and this colab-env reads version {_VERSION}"
            raise ValueError(msg)
        if any(not requirement or requirement.startswith("-") for requirement in (*self.packages, *self.added)):
            msg = "it asks for what is no package"
            raise ValueError(msg)
        if self.keep is not None and self.keep < 0:
            msg = f"{self.keep} is not a number of builds"
            raise ValueError(msg)

    @classmethod
    def of(cls, name: str, receipt: Receipt, directory: Path) -> Exported:
        """Return what there is to say of an environment, whose build is in a directory."""
        recipe = receipt.recipe
        # What was named by a path, or comes from a directory of wheels, has its lock alone on another machine.
        is_named = recipe.wheels is None and not any(
            "/" in package or package.endswith(".whl") for package in recipe.packages
        )
        return cls(
            version=_VERSION,
            name=name,
            python=receipt.python.version,
            packages=recipe.packages if is_named and recipe.script is None else (),
            system_site_packages=recipe.system_site_packages,
            kernel=recipe.kernel,
            keep=receipt.keep,
            added=additions.requirements(directory, receipt),
        )

    def recipe(self, lock: bytes) -> Recipe:
        """Return what an environment that is made from this lock is made of."""
        return Recipe(
            python=".".join(self.python.split(".")[:2]),
            packages=self.packages,
            system_site_packages=self.system_site_packages,
            kernel=self.kernel,
            export=hashlib.sha256(lock).hexdigest(),
        )


def require_whole(packages: Sequence[locking.LockedPackage]) -> None:
    """Raise UsageError for a package that is used where its sources are: no file can hold it."""
    if editable := [package for package in packages if "directory" in package.files]:
        msg = f"{editable[0].name!r} is installed in place, from {editable[0].files['directory']['path']}"
        raise UsageError(
            msg, hint="an export holds copies: install it without -e, or create the environment again where there is uv"
        )


def write(output: Path, exported: Exported, directory: Path) -> None:
    """Write the lock in a directory and the files beside it as one archive, whole or not at all.

    The same environment gives the same bytes.
    """
    sources = directory / SOURCES
    bundled = sorted(path for path in sources.iterdir()) if sources.is_dir() else []
    with _transactions.staging(output) as (scratch,):
        with zipfile.ZipFile(scratch, "w") as archive:
            text = json.dumps(asdict(exported), indent=1, ensure_ascii=False) + "\n"
            archive.writestr(zipfile.ZipInfo(_DESCRIPTION), text)
            for path in (directory / locking.FILE, *bundled):
                archive.writestr(zipfile.ZipInfo(str(path.relative_to(directory))), path.read_bytes())
        _files.chmod(scratch, 0o666 & ~_files.umask())
        _files.move(scratch, output)


def require_export(file: Path) -> None:
    """Raise UsageError or ProjectFileError for what is no export at first sight, before anything is written."""
    if not file.is_file():
        msg = f"there is no file {short(file)}"
        raise UsageError(msg, hint="check the path; nothing was changed")
    if not zipfile.is_zipfile(file):
        msg = f"{short(file)} is not an exported environment"
        raise ProjectFileError(msg, hint="make one with colab-env env export NAME; nothing was changed")


def unpack(file: Path, into: Path) -> tuple[Exported, bytes]:
    """Put the lock of an export and the files beside it into a directory, and return what it says, and its lock.

    Raises ProjectFileError for a file that is no export, or a damaged one.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            names = [entry.filename for entry in entries]
            _require_own(names)
            if sum(entry.file_size for entry in entries) > _MOST + 20 * file.stat().st_size:
                raise ValueError("it would grow to many times its length")  # noqa: TRY301
            exported = _state.from_json(archive.read(_DESCRIPTION).decode(), Exported)
            check_environment_name(exported.name)
            for name in names:
                if name != _DESCRIPTION:
                    _files.put_back(into / name, archive.read(name), mode=0o644, mtime_ns=0)
        locking.read((into / locking.FILE).read_text(encoding="utf-8"), path=file)
    except FileNotFoundError as error:
        msg = f"there is no file {short(file)}"
        raise UsageError(msg, hint="check the path; nothing was changed") from error
    except (OSError, ValueError, KeyError, RuntimeError, NotImplementedError, EOFError, zipfile.BadZipFile) as error:
        msg = f"{short(file)} is not an exported environment: {error}"
        raise ProjectFileError(msg, hint="make one with colab-env env export NAME; nothing was changed") from error
    return exported, (into / locking.FILE).read_bytes()


def _require_own(names: Sequence[str]) -> None:
    required = {_DESCRIPTION, locking.FILE}
    others = [name for name in names if name not in required]
    strange = [name for name in others if Path(name).parts[:-1] != (SOURCES,) or not name.endswith(".whl")]
    if strange or len({*names}) != len(names) or not required <= {*names}:
        msg = (
            f"it has {strange[0]!r}"
            if strange
            else f"it lacks {' or '.join(sorted(required - {*names}))}, or has it twice"
        )
        raise ValueError(msg)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One environment of a manifest: the options of `create`, or the file of an `export`; paths are absolute."""

    name: str
    options: Mapping[str, Any]

    def contents(self, scratch: Path) -> tuple[Recipe, Path | None, int | None, tuple[str, ...]]:
        """Return what it is made of, the directory with its lock where it is an export, how many builds stay, what was added."""
        keep = self.options.get("keep")
        if "export" in self.options:
            exported, lock = unpack(self.options["export"], scratch)
            return exported.recipe(lock), scratch, exported.keep if keep is None else keep, exported.added
        options = {key.replace("-", "_"): value for key, value in self.options.items() if key != "keep"}
        return Recipe(**{**options, "packages": tuple(options.get("packages", ()))}).checked(), None, keep, ()


def read_manifest(path: Path) -> list[Entry]:
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
            or (kind is list and not all(isinstance(text, str) for text in value))
        ):
            expected = f"takes {_TAKES[kind]}" if kind else f"is not one of {', '.join(_KINDS)}"
            msg = f"[environments.{name}] {key} {expected}"
            raise ValueError(msg)
    if "export" in table and (others := table.keys() - {"export", "keep"}):
        msg = f"[environments.{name}] has an export and {min(others)}"
        raise ValueError(msg)
    try:
        return Entry(name=name, options={**table, **_checked(table, directory)})
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
        values["packages"] = [_from(directory, package) for package in table["packages"]]
    return values


def _from(directory: Path, package: str) -> str:
    is_path = ("/" in package or package.endswith(".whl")) and "://" not in package and " @ " not in package
    return str(directory / _files.named_path(package)) if is_path else package
