"""The read-only layers over the real machine: Colab's public packages, and Colab's own files."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import stat
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from .environment import colab_environment
from .namespace import Namespace, scratch_directory

if TYPE_CHECKING:
    from collections.abc import Iterator

_HERE = Path(__file__).parent
_PINS = _HERE / "packages.txt"
PYTHON = "/usr/bin/python3"

# Directories whose contents on the real machine a fresh Colab machine does not have, with their modes.
_EMPTY = {
    "root": 0o700,
    "home": 0o755,
    "tmp": 0o1777,
    "run": 0o755,
    "content": 0o755,
    "env/python": 0o755,
    "usr/local": 0o755,
}


def stdlib() -> Path:
    """Return the standard library directory of the machine's Python, such as /usr/lib/python3.11."""
    code = "import sysconfig; print(sysconfig.get_path('stdlib'))"
    return Path(subprocess.run([PYTHON, "-c", code], check=True, capture_output=True, text=True).stdout.strip())


def dist_packages() -> str:
    """Return where the machine's Python keeps Colab's packages, relative to /."""
    return f"usr/local/lib/{stdlib().name}/dist-packages"


def base_layer(layer: Path) -> Path:
    """Write a layer that hides what Colab's machine does not have, and names the real machine's resolver."""
    for place, mode in _EMPTY.items():
        _hide_contents(layer / place, mode)
    (layer / "usr/local/bin").mkdir()
    for gone in (stdlib() / "ensurepip", stdlib() / "EXTERNALLY-MANAGED"):
        _hide(layer / gone.relative_to("/"))
    for name in ("etc/resolv.conf", "etc/hosts"):
        # Copies: an overlay does not see what a container engine mounts over these files.
        _copy(Path("/", name), layer / name)
    return layer


def packages_layer(cache: Path, *, base: Path) -> Path:
    """Return the layer with Colab's public packages; install them into `cache` when they are not there yet."""
    layer = cache / f"packages-{_key()}"
    with _locked(cache):
        if not layer.is_dir():
            with scratch_directory() as scratch:
                _install(Namespace([base], scratch=scratch / "build"), layer)
    return layer


def colab_layer(layer: Path, *, google_colab: Path | None) -> Path:
    """Write a layer with Colab's own files; `google_colab` is a real google/colab tree to take for the stand-in's."""
    packages = layer / dist_packages()
    shutil.copytree(_HERE / "files", layer)
    shutil.copytree(_HERE / "dist_packages", packages, ignore=shutil.ignore_patterns("__pycache__"))
    (layer / "content/sample_data").mkdir(parents=True)
    if google_colab is not None:
        shutil.rmtree(packages / "google")
        (packages / "google").mkdir()
        shutil.copy(google_colab.parent / "__init__.py", packages / "google")
        shutil.copytree(google_colab, packages / "google/colab")
    return layer


def _install(namespace: Namespace, layer: Path) -> None:
    try:
        for command in _install_commands():
            argv = namespace.argv(command, cwd="/")
            # The pins as input: inside, this checkout may be hidden, as everything below /tmp is.
            subprocess.run(argv, check=True, env=colab_environment(), input=_PINS.read_bytes())
    finally:
        namespace.close()
    partial = layer.with_name(f"{layer.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    # cp, for it keeps the whiteouts that shutil cannot copy.
    subprocess.run(["cp", "--archive", str(namespace.upper / "usr"), str(partial)], check=True)
    partial.rename(layer)


def _install_commands() -> list[list[str]]:
    pip = [PYTHON, "-m", "pip", "--quiet", "--no-cache-dir", "install", "--root-user-action=ignore"]
    uv = ["/usr/local/bin/uv", "pip", "install", "--quiet", "--no-cache", "--compile-bytecode", f"--python={PYTHON}"]
    return [[*pip, "uv"], [*uv, "--requirements=-"]]


def _key() -> str:
    version = Path(PYTHON).resolve().name
    return hashlib.sha256(_PINS.read_bytes() + version.encode()).hexdigest()[:16]


@contextmanager
def _locked(cache: Path) -> Iterator[None]:
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _hide_contents(path: Path, mode: int) -> None:
    path.mkdir(parents=True)
    path.chmod(mode)
    os.setxattr(path, "trusted.overlay.opaque", b"y")


def _hide(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # An overlay reads a character device 0/0 as "deleted".
    os.mknod(path, stat.S_IFCHR, os.makedev(0, 0))


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(source.read_bytes())
