"""The file of an exported environment: a ZIP archive of its lock, the wheels that no index has, and what was asked for."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from colab_env import _files, _state
from colab_env.errors import ProjectFileError, UsageError
from colab_env.interpreter import require_version
from colab_env.named_env import locking
from colab_env.named_env.inventory import Receipt, added
from colab_env.named_env.names import check_environment_name
from colab_env.named_env.recipe import Recipe
from colab_env.results import short

SUFFIX = ".env.zip"
_SAID = "environment.json"
_VERSION = 1
_MOST = 100 << 20  # bytes that an archive may hold beside many times its own length


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
        if any(not each or each.startswith("-") for each in (*self.packages, *self.added)):
            msg = "it asks for what is no package"
            raise ValueError(msg)

    @classmethod
    def of(cls, name: str, receipt: Receipt, directory: Path) -> Exported:
        """Return what there is to say of an environment, whose build is in a directory."""
        recipe = receipt.recipe
        # What was named by a path, or comes from a directory of wheels, has its lock alone on another machine.
        is_named = recipe.wheels is None and not any("/" in each or each.endswith(".whl") for each in recipe.packages)
        return cls(
            version=_VERSION,
            name=name,
            python=receipt.python.version,
            packages=recipe.packages if is_named and recipe.script is None else (),
            system_site_packages=recipe.system_site_packages,
            kernel=recipe.kernel,
            keep=receipt.keep,
            added=tuple(dict.fromkeys((*receipt.added, *added(directory, receipt)))),
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
    if editable := [each for each in packages if "directory" in each.files]:
        msg = f"{editable[0].name!r} is installed in place, from {editable[0].files['directory']['path']}"
        raise UsageError(
            msg, hint="an export holds what is installed as a copy; install uv, and create the environment again"
        )


def write(output: Path, exported: Exported, directory: Path) -> None:
    """Write the lock in a directory and the files beside it as one archive, whole or not at all.

    The same environment gives the same bytes.
    """
    sources = directory / locking.SOURCES
    kept = sorted(path for path in sources.iterdir()) if sources.is_dir() else []
    with _files.staging(output) as (scratch,):
        with zipfile.ZipFile(scratch, "w") as archive:
            said = json.dumps(asdict(exported), indent=1, ensure_ascii=False) + "\n"
            archive.writestr(zipfile.ZipInfo(_SAID), said)
            for path in (directory / locking.FILE, *kept):
                archive.writestr(zipfile.ZipInfo(str(path.relative_to(directory))), path.read_bytes())
        _files.chmod(scratch, 0o666 & ~_files.umask())
        _files.move(scratch, output)


def unpack(file: Path, into: Path) -> tuple[Exported, bytes]:
    """Put the lock of an export and the files beside it into a directory, and return what it says, and its lock.

    Raises ProjectFileError for a file that is no export, or a damaged one.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            names = [each.filename for each in entries]
            _require_own(names)
            if sum(each.file_size for each in entries) > _MOST + 20 * file.stat().st_size:
                raise ValueError("it would grow to many times its length")  # noqa: TRY301
            exported = _state.from_json(archive.read(_SAID).decode(), Exported)
            check_environment_name(exported.name)
            for name in names:
                if name != _SAID:
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
    wanted = {_SAID, locking.FILE}
    others = [each for each in names if each not in wanted]
    strange = [each for each in others if Path(each).parts[:-1] != (locking.SOURCES,) or not each.endswith(".whl")]
    if strange or len({*names}) != len(names) or not wanted <= {*names}:
        msg = (
            f"it has {strange[0]!r}"
            if strange
            else f"it lacks {' or '.join(sorted(wanted - {*names}))}, or has it twice"
        )
        raise ValueError(msg)
