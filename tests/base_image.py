"""A stand-in for the official image python:X.Y-slim-bookworm, where no registry can be reached: `python tests/base_image.py DIR`.

Debian 12 by mmdebstrap, and a CPython of this machine copied to /usr/local, without bytecode of the standard library and
under the official name, so that generated files are built unchanged. What it cannot show: the official image's own patch
version, its pip, and libraries that its CPython was linked with otherwise. Needs root, mmdebstrap and buildah.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

# What a CPython links to, and what official images have besides.
_DEBIAN = (
    *("ca-certificates", "netbase", "tzdata", "libbz2-1.0", "libexpat1", "libffi8", "liblzma5", "libncursesw6"),
    *("libreadline8", "libsqlite3-0", "libssl3", "libuuid1", "zlib1g"),
)
_SKIPPED = {"__pycache__", "test", "tests", "site-packages", "idlelib", "turtledemo"}


@dataclass(frozen=True, kw_only=True)
class Storage:
    """buildah's images in a directory of their own."""

    directory: Path

    def buildah(self, *words: str | Path, cwd: Path | None = None, timeout: float = 900) -> str:
        """Run buildah and return what it prints."""
        base = ["buildah", "--root", self.directory / "root", "--runroot", self.directory / "run"]
        environ = {**os.environ, "BUILDAH_ISOLATION": "chroot", "STORAGE_DRIVER": "overlay"}
        done = subprocess.run(
            [*base, *words], cwd=cwd, env=environ, capture_output=True, text=True, check=False, timeout=timeout
        )
        assert done.returncode == 0, f"{words}\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
        return done.stdout


def reason_to_skip() -> str | None:
    """Return in one line why there can be no image on this machine, or None."""
    if os.geteuid() != 0:
        return "images are built by root only"
    if missing := [each for each in ("buildah", "mmdebstrap") if shutil.which(each) is None]:
        return f"{', '.join(missing)} is not installed"
    return None


def make(directory: Path, *, python: Path, storage: Storage) -> str:
    """Make the base image in the storage, and return its name, such as "python:3.12-slim-bookworm"."""
    question = "import sys; print(sys.base_prefix); print('%d.%d' % sys.version_info[:2])"
    prefix, version = subprocess.run(
        [python, "-c", question], capture_output=True, text=True, check=True
    ).stdout.split()
    archive = directory / "base.tar"
    _debian(directory / "debian.tar")
    root = directory / "rootfs"
    root.mkdir()
    subprocess.run(["tar", "-xf", directory / "debian.tar", "-C", root], check=True)
    _copy_python(Path(prefix), root / "usr/local", version)
    _finish_python(root, version)
    subprocess.run(["tar", "-cf", archive, "--numeric-owner", "-C", root, "."], check=True)
    shutil.rmtree(root)
    name = f"python:{version}-slim-bookworm"
    container = storage.buildah("from", "scratch").strip()
    storage.buildah("add", container, archive, "/")
    path = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
    storage.buildah("config", "--env", f"PATH={path}", "--env", "LANG=C.UTF-8", "--cmd", "python3", container)
    storage.buildah("commit", "--format", "docker", "--rm", container, f"docker.io/library/{name}")
    archive.unlink()
    return name


def save(storage: Storage, name: str, archive: Path) -> None:
    """Write an image as `docker save` does."""
    storage.buildah("push", "--format", "docker", f"docker.io/library/{name}", f"docker-archive:{archive}:{name}")


def _debian(archive: Path) -> None:
    kept = ("man", "doc", "locale", "info", "lintian")
    left_out = [f"--dpkgopt=path-exclude=/usr/share/{each}/*" for each in kept]
    words = ["--quiet", "--variant=minbase", *left_out, f"--include={','.join(_DEBIAN)}", "bookworm", str(archive)]
    sources = Path("/etc/apt/sources.list.d/debian.sources")  # the mirror that this machine has
    subprocess.run(["mmdebstrap", *words, *([str(sources)] if sources.is_file() else [])], check=True)


def _copy_python(prefix: Path, target: Path, version: str) -> None:
    def left_out(directory: str, names: list[str]) -> set[str]:
        # .pyc of the standard library are in no official image.
        return {each for each in names if each in _SKIPPED or each.endswith((".pyc", ".a"))}

    for part in (f"lib/python{version}", f"include/python{version}"):
        shutil.copytree(prefix / part, target / part, ignore=left_out, symlinks=True, dirs_exist_ok=True)
    for library in (prefix / "lib").glob("libpython*"):
        shutil.copy2(library, target / "lib" / library.name, follow_symlinks=False)
    (target / f"lib/python{version}/site-packages").mkdir()
    shutil.copy2(prefix / f"bin/python{version}", target / f"bin/python{version}")
    for name in ("python3", "python"):
        (target / "bin" / name).symlink_to(f"python{version}")


def _finish_python(root: Path, version: str) -> None:
    python = f"/usr/local/bin/python{version}"
    for words in (
        ["ldconfig"],
        [python, "-B", "-m", "ensurepip", "--altinstall"],
        ["sh", "-c", f"ln -s pip{version} /usr/local/bin/pip && ln -s pip{version} /usr/local/bin/pip3"],
        ["find", "/usr/local", "-name", "__pycache__", "-prune", "-exec", "rm", "-rf", "{}", "+"],
    ):
        subprocess.run(
            ["chroot", root, *words], check=True, env={"PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
        )


def names_in(archive: Path) -> list[str]:
    """Return the names of what is no directory in a tar file."""
    with tarfile.open(archive) as opened:
        return [member.name for member in opened.getmembers() if not member.isdir()]


if __name__ == "__main__":
    place = Path(sys.argv[1])
    place.mkdir(parents=True, exist_ok=True)
    built = make(
        place,
        python=Path(sys.argv[2] if len(sys.argv) > 2 else sys.executable),
        storage=Storage(directory=place / "storage"),
    )
    save(Storage(directory=place / "storage"), built, place / "base-archive.tar")
    print(built, place / "base-archive.tar")
