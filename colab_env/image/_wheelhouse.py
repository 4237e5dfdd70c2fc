"""Install wheels for another Python than any that is here, into a directory that stands for the image's root."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from colab_env import _process, toml_text
from colab_env.errors import CommandError, ProjectFileError
from colab_env.image import locked_wheels
from colab_env.image._layer import LayerFile
from colab_env.locks import requirements_text
from colab_env.locks.requirements_text import normalized
from colab_env.locks.uv_install import translate_error

if TYPE_CHECKING:
    from colab_env.image.base_python import BasePython
    from colab_env.image.locked_wheels import LockedWheel
    from colab_env.image.packages import LockedPackages
    from colab_env.locks.uv_install import UvInstaller

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
        hashes = {normalized(name): set(each) for name, each in requirements_text.hashes(packages.hashed).items()}
        versions = [f"{name} {version}" for name, version in unfit.items()]
        try:
            entries = toml_text.parsed(answer).get("packages", [])
            return locked_wheels.chosen(entries, self.base, hashes=hashes, unfit=versions)
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            msg = f"what uv says about the locked packages cannot be read: {error}"
            raise ProjectFileError(msg, hint="`pip install -U uv`, then run it again") from error

    def _resolved(self, text: str, directory: Path, work: Path, unfit: dict[str, str]) -> str | None:
        """Return uv's answer, or None where it names a package without a wheel, which then is in `unfit`."""
        listed = work / "locked.txt"
        listed.write_text(text)
        arguments: list[str | Path] = [*locked_wheels.platform_arguments(self.base), "--no-deps", listed]
        try:
            return self.installer.resolve(arguments, known="", python=self.python, cwd=directory)
        except CommandError as error:
            named = _NO_WHEEL.search(" ".join(" ".join(error.lines).split()))
            if named is None or normalized(named[1]) in unfit:
                raise
            unfit[normalized(named[1])] = named[2]
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
        argv += [*locked_wheels.platform_arguments(self.base), "--requirements", listed]
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
        made = next(iter(sorted(prefix.glob("lib*/python3*/*-packages"))), None)
        site.parent.mkdir(parents=True, exist_ok=True)
        if made is None:  # nothing to install
            site.mkdir(exist_ok=True)
        elif made != site:
            made.rename(site)
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
        for name, digest, size in _rows(info / "RECORD"):
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


def _rows(record: Path) -> list[list[str]]:
    with record.open(newline="", encoding="utf-8") as file:
        return [row for row in csv.reader(file) if len(row) == 3 and not row[0].endswith(".dist-info/RECORD")]


def _is_of_this_machine(file: Path) -> bool:
    """Say whether a file is about where the wheel came from on this machine."""
    if file.parent.suffix != ".dist-info":
        return False
    if file.name == "direct_url.json":
        try:
            return str(json.loads(file.read_bytes())["url"]).startswith("file:")
        except (ValueError, TypeError, LookupError):
            return True
    return file.name in _NOTES


def _compiled(path: str, file: Path) -> dict[str, LayerFile]:
    if file.suffix != ".py":
        return {}
    there = sorted((file.parent / "__pycache__").glob(f"{file.stem}.cpython-*.pyc"))
    directory = posixpath.join(posixpath.dirname(path), "__pycache__")
    return {
        posixpath.join(directory, pyc.name): LayerFile(source=pyc)
        for pyc in there
        if pyc.name.count(".") == file.name.count(".") + 1
    }


def _digest(content: bytes) -> tuple[str, str]:
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return f"sha256={digest}", str(len(content))


def _record(rows: dict[str, tuple[str, str]], own: str) -> bytes:
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerows([name, *rows[name]] for name in sorted(rows))
    writer.writerow([own, "", ""])
    return out.getvalue().encode()
