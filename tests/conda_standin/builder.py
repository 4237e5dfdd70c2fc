"""Make the stand-in's installer and its channel. Nothing here is Miniconda; see the package."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
LEFT_OUT = {
    "test",
    "tests",
    "site-packages",
    "idlelib",
    "tkinter",
    "turtledemo",
    "lib2to3",
    "pydoc_data",
    "lib-dynload",
}
BASE = ("python", "conda", "pip")
PLACEHOLDER = "/standin/placeholder"
_OPEN = {"uid": 0, "gid": 0, "uname": "root", "gname": "root"}


@dataclass(frozen=True, kw_only=True)
class Standin:
    """A built installer."""

    path: Path
    sha256: str
    python: str

    @property
    def name(self) -> str:
        return self.path.name


def find_python(short: str | None = None) -> Path:
    """Return the prefix of a CPython that still runs when its files are copied elsewhere."""
    roots = [Path(os.environ.get("PYENV_ROOT", "/root/.pyenv")) / "versions", Path.home() / ".local/share/uv/python"]
    found = [path for root in roots if root.is_dir() for path in sorted(root.iterdir(), reverse=True)]
    found.append(Path(sys.base_prefix))
    for prefix in found:
        names = [path.name for path in (prefix / "bin").glob("python3.*") if re.fullmatch(r"python3\.\d+", path.name)]
        if (
            names
            and names[0] == (f"python{short}" if short else "python3.12")
            and (prefix / "lib" / names[0] / "os.py").exists()
        ):
            return prefix
    if short is None:
        return Path(sys.base_prefix)
    msg = f"no Python {short} on this machine"
    raise LookupError(msg)


def build_channel(directory: Path, *, short: str, also: Path | None = None, many: int = 0) -> Path:
    """Make a local channel of tiny packages, and of those in `also`, indexed by py-rattler.

    With `many`, the package of that name has so many files.
    """
    site = f"lib/python{short}/site-packages"
    spec = {
        "argv": ["/standin/placeholder/bin/python", "-m", "ipykernel_launcher"],
        "display_name": "conda's",
        "language": "python",
    }
    _package(directory, "jupyter", "1.1.1", depends=["ipykernel"], files={
        "bin/jupyter": _script("jupyter of conda"),
        "bin/jupyter-kernelspec": _script("jupyter-kernelspec of conda"),
        "etc/jupyter/jupyter_config.json": "{}\n",
    })  # fmt: skip
    _package(directory, "ipykernel", "6.29.5", files={
        "bin/ipython": _script("ipython of conda"),
        f"{site}/ipykernel/__init__.py": "",
        "share/jupyter/kernels/python3/kernel.json": json.dumps(spec),
        "lib/libstandin.so.1": "conda's library, first\n",
    })  # fmt: skip
    # As conda-forge's build of February 2021 does, it imports a module that Python 3.12 has no more.
    _package(directory, "google-colab", "1.0.0", files={
        f"{site}/google/__init__.py": "",
        f"{site}/google/colab/__init__.py": "import imp\n",
    })  # fmt: skip
    _package(directory, "unfit", "1.0", depends=["nowhere-to-be-found >=2"], files={"share/unfit": ""})
    if many:
        listed = (f"{site}/many/p{number // 200}/m{number}.py" for number in range(many))
        _package(directory, "many", "1.0", files={name: f"# {name}\n" for name in listed})
    (directory / "noarch").mkdir(exist_ok=True)
    for package in also.glob("*/*.conda") if also else ():
        shutil.copy(package, directory / package.relative_to(also))
    from rattler.index import index_fs

    asyncio.run(index_fs(directory))
    return directory


def add_python(channel: Path, python: Path) -> str:
    """Add a real CPython and, for it, the package `greeting` 1.0 and 2.0 to a channel; return its version X.Y.Z.

    The package `python` only says where the unpacked one lies: the stand-in's conda copies it from there.
    """
    short, version = python_version(python)
    place = channel / "pythons" / version
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        tar_python(tar, python, short)
    raw.seek(0)
    with tarfile.open(fileobj=raw) as tar:
        tar.extractall(place)
    _package(channel, "python", version, files={"share/standin-python": str(place)})
    _package(channel, "pip", "25.1", files={"share/standin-pip": ""})
    for number in ("1.0", "2.0"):
        _package(channel, "greeting", number, depends=[f"python {short}.*"], files={
            f"lib/python{short}/site-packages/greeting.py": f"version = {number!r}\n",
            "bin/greet": "#!/bin/sh\necho hello\n",
        })  # fmt: skip
    from rattler.index import index_fs

    asyncio.run(index_fs(channel))
    return version


def build_installer(
    directory: Path, *, channel: Path, python: Path, name: str = "Miniconda3-py312_26.5.3-1-Linux-x86_64.sh"
) -> Standin:
    """Make an installer that brings a copy of the Python at `python` and the stand-in's conda."""
    directory.mkdir(parents=True, exist_ok=True)
    short, version = python_version(python)
    tool = (HERE / "tool.sh").read_bytes()
    payload = tool + _payload(python, short=short, version=version, channel=channel)
    header = (HERE / "header.sh").read_text()
    header = header.replace("@MD5@", hashlib.md5(payload).hexdigest())
    header = header.replace("@TOOL_SIZE@", str(len(tool))).replace("@PAYLOAD_START@", str(len(tool) + 1))
    path = directory / name
    content = header.encode() + payload
    path.write_bytes(content)
    return Standin(path=path, sha256=hashlib.sha256(content).hexdigest(), python=version)


def python_version(prefix: Path) -> tuple[str, str]:
    names = [path for path in (prefix / "bin").glob("python3.*") if re.fullmatch(r"python3\.\d+", path.name)]
    program = max(names)
    code = "import platform; print(platform.python_version())"
    version = subprocess.run([program, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    return program.name.removeprefix("python"), version


def _payload(python: Path, *, short: str, version: str, channel: Path) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        tar_python(tar, python, short)
        site = f"lib/python{short}/site-packages"
        for source in (HERE / "conda").glob("*.py"):
            _add(tar, f"{site}/conda/{source.name}", source.read_bytes())
        settings = {"rattler": _rattler(), "channel": channel.as_uri(), "base": BASE}
        _add(tar, f"{site}/conda/standin.json", json.dumps(settings).encode())
        _add(tar, "pkgs/entry_points/conda", b"#!\nimport runpy\nrunpy.run_module('conda', run_name='__main__')\n")
        _add(tar, "pkgs/entry_points/pip", b"#!\nprint('pip of conda')\n")
        for name, number in {"python": version, "conda": "26.5.3", "pip": "25.1"}.items():
            _add(tar, f"conda-meta/{name}-{number}-h0_0.json", json.dumps(_record(name, number)).encode())
    return raw.getvalue()


def _record(name: str, version: str) -> dict[str, object]:
    file_name = f"{name}-{version}-h0_0.conda"
    return {
        "name": name,
        "version": version,
        "build": "h0_0",
        "build_number": 0,
        "subdir": "linux-64",
        "depends": [],
        "fn": file_name,
        "url": f"https://standin.invalid/linux-64/{file_name}",
        "channel": "https://standin.invalid",
        "files": [f"pkgs/{file_name}"],
        "paths_data": {"paths": [{"_path": f"pkgs/{file_name}", "path_type": "hardlink"}], "paths_version": 1},
    }


def tar_python(tar: tarfile.TarFile, python: Path, short: str) -> None:
    def wanted(item: tarfile.TarInfo) -> tarfile.TarInfo | None:
        path = Path(item.name)
        name = path.name
        left_out = name in LEFT_OUT or name.startswith("config-") or ".opt-" in name
        return None if left_out else item

    program = (python / "bin" / f"python{short}").resolve()
    _add(tar, f"bin/python{short}", _relocated(program.read_bytes(), python), mode=0o755)
    for alias in ("python", "python3"):
        link = tarfile.TarInfo(f"bin/{alias}")
        link.type, link.linkname = tarfile.SYMTYPE, f"python{short}"
        tar.addfile(link)
    tar.add(python / "lib" / f"python{short}", f"lib/python{short}", filter=wanted)
    libraries = [
        *(python / "lib").glob("libpython*.so.*"),
        *(python / "lib" / f"python{short}" / "lib-dynload").glob("*.so"),
    ]
    for library, content in _stripped(libraries).items():
        _add(tar, str(library.relative_to(python)), content, mode=0o755)


def _stripped(libraries: list[Path]) -> dict[Path, bytes]:
    # Debugging symbols are four fifths of a Python that somebody built for himself.
    wanted = [path for path in libraries if not path.name.startswith(("_test", "_codecs_", "_ctypes_test"))]
    if not shutil.which("strip"):
        return {path: path.read_bytes() for path in wanted}
    with tempfile.TemporaryDirectory() as directory:
        copies = {path: shutil.copy(path, directory) for path in wanted}
        subprocess.run(["strip", "--strip-debug", *copies.values()], check=True)
        return {path: Path(copy).read_bytes() for path, copy in copies.items()}


def _relocated(program: bytes, python: Path) -> bytes:
    # A program linked against libpython names the directory to find it in: here, the one beside it.
    old = os.fsencode(python / "lib") + b"\0"
    return program.replace(old, b"$ORIGIN/../lib".ljust(len(old), b"\0"))


def _rattler() -> str:
    import rattler

    return str(Path(rattler.__file__).parents[1])


def _add(tar: tarfile.TarFile, name: str, content: bytes, *, mode: int = 0o644) -> None:
    item = tarfile.TarInfo(name)
    item.size, item.mode, item.mtime = len(content), mode, 1_700_000_000
    tar.addfile(item, io.BytesIO(content))


def _script(says: str) -> str:
    return f"#!{PLACEHOLDER}/bin/python\nprint({says!r})\n"


def _package(
    channel: Path, name: str, version: str, *, files: dict[str, str], depends: list[str] | None = None
) -> None:
    target = channel / "linux-64" / f"{name}-{version}-h0_0.tar.bz2"
    target.parent.mkdir(parents=True, exist_ok=True)
    index = {
        "name": name,
        "version": version,
        "build": "h0_0",
        "build_number": 0,
        "depends": depends or [],
        "subdir": "linux-64",
    }
    paths = [
        {
            "_path": path,
            "path_type": "hardlink",
            "sha256": hashlib.sha256(text.encode()).hexdigest(),
            "size_in_bytes": len(text.encode()),
            # The stand-in's conda does this itself, in place; the real one is told here.
            **({"prefix_placeholder": PLACEHOLDER, "file_mode": "text"} if PLACEHOLDER in text else {}),
        }
        for path, text in files.items()
    ]
    with tarfile.open(target, "w:bz2") as tar:
        _add(tar, "info/index.json", json.dumps(index).encode())
        _add(tar, "info/paths.json", json.dumps({"paths": paths, "paths_version": 1}).encode())
        _add(tar, "info/files", "".join(f"{path}\n" for path in files).encode())
        for path, text in files.items():
            _add(tar, path, text.encode(), mode=0o755 if path.startswith("bin/") else 0o644)
