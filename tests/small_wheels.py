"""Wheels of a few lines, written by hand, so that environments can be filled without a network."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

_WHEEL = "Wheel-Version: 1.0\nGenerator: by-hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def write_wheel(
    directory: Path, name: str, version: str, *, code: str = "", programs: Sequence[str] = (), needs: Sequence[str] = ()
) -> Path:
    """Write a wheel with one module of `code`; each of the `programs` calls its function `main`."""
    info = f"{name}-{version}.dist-info"
    requires = "".join(f"Requires-Dist: {each}\n" for each in needs)
    entries = "".join(f"{program} = {name}:main\n" for program in programs)
    files = {
        f"{name}.py": f'version = "{version}"\n{code}',
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}",
        f"{info}/WHEEL": _WHEEL,
        f"{info}/entry_points.txt": f"[console_scripts]\n{entries}",
    }
    return write_archive(directory / f"{name}-{version}-py3-none-any.whl", files, info)


def write_archive(path: Path, files: Mapping[str, str], info: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name), text)  # of no date: the same wheel has the same hash
        lines = [f"{name},sha256={_hash(text)},{len(text.encode())}" for name, text in files.items()]
        archive.writestr(zipfile.ZipInfo(f"{info}/RECORD"), "\n".join([*lines, f"{info}/RECORD,,"]) + "\n")
    return path


def _hash(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
