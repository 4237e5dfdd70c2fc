"""Which wheel of every locked package goes into an image, and its files, installed for a Python that may not be on this machine."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import posixpath
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from colab_env import _process, toml_text
from colab_env.content import record_rows
from colab_env.errors import CommandError, NoWheelError, ProjectFileError
from colab_env.image._layers import LayerFile
from colab_env.locks import requirements_text
from colab_env.locks.requirements_text import normalized
from colab_env.locks.uv_install import translate_error

if TYPE_CHECKING:
    from packaging.tags import Tag

    from colab_env.image.base_python import BasePython
    from colab_env.image.project import LockedPackages
    from colab_env.locks.uv_install import UvInstaller


# The minor versions of glibc that uv knows a platform of.
_OF_UV = (17, 28, *range(31, 41))
_BUILDS = {
    "git": "it comes from git",
    "directory": "it is a directory of sources",
    "file": "it is a file beside the project",
}


@dataclass(frozen=True, kw_only=True)
class LockedWheel:
    """One file for one package; `sha256` is hexadecimal, `size` in bytes or 0 where the index does not say."""

    name: str
    version: str
    file: str
    url: str
    sha256: str
    size: int

    @property
    def requirement(self) -> str:
        """Return it in pip's format: this very file."""
        return f"{self.name}=={self.version} --hash=sha256:{self.sha256}"


def platform_arguments(base: BasePython) -> list[str]:
    """Return uv's options for a base image. Raises NoWheelError for a glibc older than any wheel of today is made for."""
    fitting = [minor for minor in _OF_UV if minor <= base.glibc]
    if not fitting:
        msg = f"the base has glibc 2.{base.glibc}, and wheels are made for 2.17 and newer"
        raise NoWheelError(msg, hint="give a newer base with --base")
    return ["--python-platform", f"{base.machine}-manylinux_2_{fitting[-1]}", "--python-version", base.version]


def require_buildless(packages: LockedPackages) -> None:
    """Raise NoWheelError for packages that can only be built: from git, or from a directory."""
    lines = [f"{line.name}: {_BUILDS[line.kind]}" for line in packages.unhashed if line.kind in _BUILDS]
    if lines:
        raise _no_wheels(lines)


def choose_wheels(
    entries: Sequence[Any], base: BasePython, *, hashes: dict[str, set[str]], unfit: Sequence[str] = ()
) -> list[LockedWheel]:
    """Choose among the files of a pylock.toml's packages as installers do: the first tag of the base's that one has.

    A file whose hash is not locked is none. Raises NoWheelError; `unfit` are packages that are known to have no wheel.
    """
    ranks = {tag: rank for rank, tag in enumerate(tags(base))}
    wheels: list[LockedWheel] = []
    lacking = [f"{name}: {_missing_wheel_reason([], base)}" for name in unfit]
    for entry in entries:
        files = [entry["archive"]] if "archive" in entry else entry.get("wheels", [])
        locked = hashes.get(normalized(entry["name"]))
        all_files = [wheel for file in files if (wheel := _wheel(entry, file)) is not None]
        offered = [wheel for wheel in all_files if locked is None or f"sha256:{wheel.sha256}" in locked]
        fitting = [(rank, wheel) for wheel in offered if (rank := _rank(wheel.file, ranks)) is not None]
        if fitting:
            wheels.append(min(fitting, key=lambda pair: (pair[0], pair[1].file))[1])
        else:
            lacking.append(f"{entry['name']} {entry.get('version', '')}: {_missing_wheel_reason(offered, base)}")
    if lacking:
        raise _no_wheels(lacking)
    return sorted(wheels, key=lambda wheel: wheel.name)


def _no_wheels(lines: list[str]) -> NoWheelError:
    count = "a package" if len(lines) == 1 else f"{len(lines)} packages"
    msg = "\n    ".join(
        [f"{count} would have to be built, and there is no compiler in an image without an engine:", *lines]
    )
    hint = "`colab-env container write` makes a Dockerfile that builds it in a stage of its own; nothing was downloaded"
    return NoWheelError(msg, hint=hint)


def _missing_wheel_reason(offered: list[LockedWheel], base: BasePython) -> str:
    if not offered:
        return (
            f"it has no locked wheel for Python {base.minor} on {base.machine} with glibc 2.{base.glibc}; "
            "its sources have to be built, and may need a compiler, headers and libraries"
        )
    listed = ", ".join(sorted(wheel.file for wheel in offered)[:3])
    return f"it has {listed}, none for Python {base.minor} on {base.machine} with glibc 2.{base.glibc}"


def _wheel(entry: Any, file: Any) -> LockedWheel | None:
    name = file.get("name") or posixpath.basename(unquote(urlsplit(file.get("url") or file.get("path") or "").path))
    sha256 = (file.get("hashes") or {}).get("sha256")
    version = entry.get("version") or (name.split("-")[1] if name.endswith(".whl") else "")
    if not name.endswith(".whl") or sha256 is None:
        return None
    return LockedWheel(
        name=normalized(entry["name"]),
        version=str(version),
        file=name,
        url=str(file.get("url") or ""),
        sha256=str(sha256),
        size=int(file.get("size") or 0),
    )


def _rank(file: str, ranks: dict[Tag, int]) -> int | None:
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename

    try:
        _, _, _, wheel_tags = parse_wheel_filename(file)
    except InvalidWheelFilename:
        return None
    return min((ranks[tag] for tag in wheel_tags if tag in ranks), default=None)


def tags(base: BasePython) -> Iterator[Tag]:
    """Yield the tags of wheels that a base takes, the best first (PyPA's specification of platform tags)."""
    from packaging import tags as known

    major, minor = (int(part) for part in base.minor.split("."))
    platforms = list(_platforms(base))
    yield from known.cpython_tags((major, minor), platforms=platforms)
    yield from known.compatible_tags((major, minor), interpreter=f"cp{major}{minor}", platforms=platforms)


def _platforms(base: BasePython) -> Iterator[str]:
    # The names that came before PEP 600, of the glibc that each stood for.
    old = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
    oldest = 5 if base.machine == "x86_64" else 17
    for minor in range(base.glibc, oldest - 1, -1):
        yield f"manylinux_2_{minor}_{base.machine}"
        if minor in old:
            yield f"{old[minor]}_{base.machine}"
    yield f"linux_{base.machine}"


# uv's own notes for the machine that it installs on.
_NOTES = ("uv_cache.json", "uv_build.json")
# It has no sources either: else uv leaves it to others what becomes of it.
_NO_WHEEL = re.compile(r"Because ([\w.-]+)==(\S+) has no (?:usable )?wheels")
_FEW = 100  # files
_LARGEST_SCRIPT = 1 << 20
# How installers write the first lines of a script: a plain one, and what a shell reads where the path is long.
_FIRST_LINE = re.compile(rb"#![^\n]*\n|#!/bin/sh\n'''exec' [^\n]*\n' '''\n")


@dataclass(frozen=True, kw_only=True)
class InstalledDistribution:
    """One distribution as an image gets it: its name, its version, and its files by their paths in the image."""

    name: str
    version: str
    files: dict[str, LayerFile]


@dataclass(frozen=True, kw_only=True)
class Wheelhouse:
    """How wheels are installed for a base image.

    `python` is any Python of this machine, which uv insists on; `compiler` one of the base's minor version, or None where
    there is none, or no `.pyc` are wanted; `environ` is for it.
    """

    base: BasePython
    installer: UvInstaller
    python: Path
    compiler: Path | None

    def resolve(self, packages: LockedPackages, *, directory: Path, work: Path) -> list[LockedWheel]:
        """Return the wheel of every package that the base gets; relative paths start from `directory`.

        uv asks the index, and nothing of a package is downloaded. Raises NoWheelError that names all without a wheel.
        """
        text, unfit = packages.requirements + packages.unhashed_requirements, dict[str, str]()
        while (answer := self._resolved(text, directory, work, unfit)) is None:
            text = requirements_text.without(text, unfit)
        hashes = {normalized(name): set(digests) for name, digests in requirements_text.hashes(packages.hashed).items()}
        versions = [f"{name} {version}" for name, version in unfit.items()]
        try:
            entries = toml_text.parsed(answer).get("packages", [])
            return choose_wheels(entries, self.base, hashes=hashes, unfit=versions)
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            msg = f"what uv says about the locked packages cannot be read: {error}"
            raise ProjectFileError(msg, hint="`pip install -U uv`, then run it again") from error

    def _resolved(self, text: str, directory: Path, work: Path, unfit: dict[str, str]) -> str | None:
        """Return uv's answer, or None where it names a package without a wheel, which then is in `unfit`."""
        listed = work / "locked.txt"
        listed.write_text(text)
        arguments: list[str | Path] = [*platform_arguments(self.base), "--no-deps", listed]
        try:
            return self.installer.resolve(arguments, known="", python=self.python, cwd=directory)
        except CommandError as error:
            without_wheel = _NO_WHEEL.search(" ".join(" ".join(error.lines).split()))
            if without_wheel is None or normalized(without_wheel[1]) in unfit:
                raise
            unfit[normalized(without_wheel[1])] = without_wheel[2]
            return None

    def install(self, requirements: Sequence[str], root: Path, *, hashed: bool) -> list[InstalledDistribution]:
        """Install exactly these lines below a new directory, and return what there is then, in order of names."""
        self._run_uv(requirements, root, hashed=hashed)
        site = self._moved(root)
        if self.compiler is not None:
            self._compile(self.compiler, root, site)
        return [self._distribution(info, root) for info in sorted(site.glob("*.dist-info"))]

    def _run_uv(self, requirements: Sequence[str], root: Path, *, hashed: bool) -> None:
        prefix = root / self.base.prefix.lstrip("/")
        prefix.mkdir(parents=True)
        listed = root / "requirements.txt"
        listed.write_text("".join(f"{line}\n" for line in requirements))
        argv: list[str | Path] = [self.installer.program, "pip", "install", "--no-config", "--python", self.python]
        argv += ["--prefix", prefix, "--no-deps", "--only-binary", ":all:", *(["--require-hashes"] if hashed else [])]
        argv += [*platform_arguments(self.base), "--requirements", listed]
        # Read, and never written: what uv keeps may be linked to, wherever it lies.
        environ = {**self.installer.environ, "UV_LINK_MODE": "hardlink", "UV_COMPILE_BYTECODE": "0"}
        try:
            _process.run(argv, environ=environ, cwd=root)
        except CommandError as error:
            raise translate_error(error, self.installer.environ) from error
        listed.unlink()

    def _moved(self, root: Path) -> Path:
        """Give what uv installed for a Python of this machine the names that it has under the base's."""
        prefix, site = root / self.base.prefix.lstrip("/"), root / self.base.site.lstrip("/")
        site_packages = next(iter(sorted(prefix.glob("lib*/python3*/*-packages"))), None)
        site.parent.mkdir(parents=True, exist_ok=True)
        if site_packages is None:  # nothing to install
            site.mkdir(exist_ok=True)
        elif site_packages != site:
            site_packages.rename(site)
        headers = prefix / f"include/site/python{self.base.minor}"
        for other in headers.parent.glob("python3*"):
            if other != headers:
                other.rename(headers)
        return site

    def _compile(self, compiler: Path, root: Path, site: Path) -> None:
        """Compile for the paths in the image; files that no Python of this version reads stay as they are."""
        # Workers take longer to start than a few files to compile.
        workers = "0" if sum(1 for _ in site.rglob("*.py")) > _FEW else "1"
        argv: list[str | Path] = [compiler, "-I", "-m", "compileall", "-qq", "-j", workers, "-s", root, "-p", "/"]
        environ = _process.child_environ(self.installer.environ, PYTHONHASHSEED="0")
        _process.run([*argv, "--invalidation-mode", "unchecked-hash", site], environ=environ, check=False)

    def _distribution(self, info: Path, root: Path) -> InstalledDistribution:
        site = posixpath.join("/", str(info.parent.relative_to(root)))
        rows: dict[str, tuple[str, str]] = {}
        files: dict[str, LayerFile] = {}
        for name, digest, size in (row for row in record_rows(info / "RECORD") if len(row) == 3):
            if name.endswith(".dist-info/RECORD"):
                continue
            path = posixpath.normpath(posixpath.join(site, name))
            path = re.sub(r"(/include/site/)python3\.\d+/", rf"\1python{self.base.minor}/", path)
            file = root / path.lstrip("/")
            if not file.is_file() or path.startswith("/..") or _is_of_this_machine(file):
                continue
            files[path] = self._in_image(path, file)
            content = files[path].content
            rows[posixpath.relpath(path, site)] = (digest, size) if content is None else _digest(content)
            files |= _compiled(path, file)
        record = posixpath.join(site, info.name, "RECORD")
        files[record] = LayerFile(content=_record(rows, posixpath.relpath(record, site)))
        name, _, version = info.name.removesuffix(".dist-info").partition("-")
        return InstalledDistribution(name=normalized(name), version=version, files=files)

    def _in_image(self, path: str, file: Path) -> LayerFile:
        """Return a file as the image has it: a script starts the image's Python, not one of this machine."""
        layer_file = LayerFile.of(file)
        if posixpath.dirname(path) != self.base.scripts or file.stat().st_size > _LARGEST_SCRIPT:
            return layer_file
        content = file.read_bytes()
        first = _FIRST_LINE.match(content)
        if first is None or b"python" not in first[0]:
            return layer_file
        changed = f"#!{self.base.executable}\n".encode() + content[first.end() :]
        return LayerFile(content=changed, is_program=True)


def _is_of_this_machine(file: Path) -> bool:
    """Say whether a file is about where the wheel came from on this machine."""
    if file.parent.suffix != ".dist-info":
        return False
    if file.name == "direct_url.json":
        try:
            return str(json.loads(file.read_bytes())["url"]).startswith("file:")
        except (ValueError, TypeError, LookupError, RecursionError):
            return True
    return file.name in _NOTES


def _compiled(path: str, file: Path) -> dict[str, LayerFile]:
    if file.suffix != ".py":
        return {}
    compiled = sorted((file.parent / "__pycache__").glob(f"{file.stem}.cpython-*.pyc"))
    directory = posixpath.join(posixpath.dirname(path), "__pycache__")
    return {
        posixpath.join(directory, pyc.name): LayerFile(source=pyc)
        for pyc in compiled
        if pyc.name.count(".") == file.name.count(".") + 1
    }


def _digest(content: bytes) -> tuple[str, str]:
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return f"sha256={digest}", str(len(content))


def _record(rows: dict[str, tuple[str, str]], record_path: str) -> bytes:
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerows([name, *rows[name]] for name in sorted(rows))
    writer.writerow([record_path, "", ""])
    return out.getvalue().encode("utf-8", "surrogateescape")
