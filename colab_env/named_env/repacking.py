"""Wheels of what no index has, kept beside a lock: as they came, or made again of what was installed from them."""

from __future__ import annotations

import base64
import configparser
import hashlib
import io
import itertools
import os
import re
import stat
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from colab_env import _files, content
from colab_env.locks.requirements_text import normalized
from colab_env.named_env.recipe import without_secrets

if TYPE_CHECKING:
    pass

# What an installer adds to a .dist-info directory.
INSTALLERS_OWN = frozenset({"RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json", "uv_build.json"})
_SHEBANG = re.compile(rb"#!.*python[^\n]*|#!/bin/sh\n'''exec' .*\n' '''")
_WRITTEN = (1980, 1, 1, 0, 0, 0)  # the same files are the same wheel, whenever it is made
SOURCES = "colab-env-sources"  # beside it: wheels that no index has


def content_hash(info: str, survey: content.Survey) -> str:
    """Return a checksum of what a distribution holds, wherever it is installed; `info` is its .dist-info directory.

    Programs, which say the path of their Python, and what installers add do not count.
    """
    promised = {**survey.metadata[info], **survey.records[info]}  # not every build backend lists its metadata
    site = os.path.dirname(info)  # noqa: PTH120
    lines = [
        f"{os.path.relpath(path, site) if path.startswith(f'{site}/') else f'../{path}'}\0{digest}\n"
        for path, digest in promised.items()
        if not _is_installers(path, info) and not path.startswith("bin/")
    ]
    return f"sha256:{hashlib.sha256(''.join(sorted(lines)).encode('utf-8', 'surrogateescape')).hexdigest()}"


def wheel(directory: Path, info: str, paths: Iterable[str]) -> tuple[str, bytes]:
    """Return the file name and the content of a wheel with what a distribution has installed in a `directory`.

    `paths` are those of its RECORD, `info` is its .dist-info directory, all relative to the directory.
    """
    site, name = os.path.dirname(info), os.path.basename(info).removesuffix(".dist-info")  # noqa: PTH119, PTH120
    made_anew = _entry_points(directory / info / "entry_points.txt")
    files: dict[str, tuple[bytes, int]] = {}
    metadata_files = {str(path.relative_to(directory)) for path in (directory / info).rglob("*") if path.is_file()}
    for path in sorted({*paths, *metadata_files}):  # not every build backend lists its metadata
        if _is_installers(path, info) or (path.startswith("bin/") and path.removeprefix("bin/") in made_anew):
            continue
        if not (directory / path).is_file():  # published with a RECORD that names what the wheel does not hold
            continue
        content, mode = (directory / path).read_bytes(), (directory / path).stat().st_mode
        if path.startswith(f"{site}/"):
            target = os.path.relpath(path, site)
        elif path.startswith("bin/"):
            target, content = f"{name}.data/scripts/{path.removeprefix('bin/')}", _SHEBANG.sub(b"#!python", content, 1)
        else:
            target = f"{name}.data/data/{path}"
        files[target] = (content, 0o755 if mode & stat.S_IXUSR else 0o644)
    record = f"{name}.dist-info/RECORD"
    rows = [f'"{path}",{_digest(content)},{len(content)}\n' for path, (content, _) in files.items()]
    files[record] = (f"{''.join(rows)}{record},,\n".encode("utf-8", "surrogateescape"), 0o644)
    return f"{name}-{_tags(directory / info / 'WHEEL')}.whl", _zipped(files)


def _zipped(files: Mapping[str, tuple[bytes, int]]) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, (content, mode) in files.items():
            entry = zipfile.ZipInfo(path, _WRITTEN)
            entry.external_attr, entry.compress_type = (stat.S_IFREG | mode) << 16, zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
    return written.getvalue()


def _is_installers(path: str, info: str) -> bool:
    return path.startswith(f"{info}/") and path.removeprefix(f"{info}/") in INSTALLERS_OWN


def _entry_points(path: Path) -> set[str]:
    """Return the programs that an installer makes by itself."""
    parser = configparser.ConfigParser(delimiters=("=",), strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # names keep their capitals
    try:
        parser.read(path, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError):
        return set()
    sections = (section for section in ("console_scripts", "gui_scripts") if parser.has_section(section))
    return set(itertools.chain.from_iterable(parser.options(section) for section in sections))


def _tags(path: Path) -> str:
    """Return the tags of a wheel's file name, such as "py2.py3-none-any"; its WHEEL has them one by one."""
    tags = re.findall(r"(?m)^Tag:\s*([\w.]+)-([\w.]+)-([\w.]+)\s*$", path.read_text(encoding="utf-8", errors="replace"))
    columns = zip(*tags, strict=True) if tags else (("py3",), ("none",), ("any",))
    return "-".join(".".join(dict.fromkeys(column)) for column in columns)


def _digest(content: bytes) -> str:
    return f"sha256={base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b'=').decode()}"


@dataclass(frozen=True)
class KeptWheels:
    """The environment in a `directory`, and what is kept of it `into` another, or the same."""

    directory: Path
    into: Path

    def files(self, info: str, promised: Mapping[str, str], wheelhouses: Sequence[Path]) -> dict[str, Any] | None:
        """Return the files of a package that no index has, which are kept now, or None."""
        origin = _files.read_json(self.directory / info / "direct_url.json")
        url = str(origin.get("url") or "") if isinstance(origin, dict) else ""
        try:
            parts = urlsplit(url)
        except ValueError:  # damaged, and no address
            parts = urlsplit("")
        if not parts.scheme:
            wheels = next(filter(None, (_in_wheelhouse(info, directory) for directory in wheelhouses)), [])
            return {"wheels": [self.keep(path.name, path.read_bytes()) for path in wheels]} if wheels else None
        if parts.scheme != "file":
            return address_files(origin, without_secrets(url))
        path = Path(unquote(parts.path))
        if _table(origin, "dir_info").get("editable"):
            return {"directory": {"path": str(path), "editable": True}}
        is_wheel = path.suffix == ".whl" and path.is_file()
        return {"wheels": [self.keep(path.name, path.read_bytes()) if is_wheel else self.repack(info, promised)]}

    def repack(self, info: str, promised: Mapping[str, str]) -> dict[str, Any]:
        return self.keep(*wheel(self.directory, info, promised))

    def keep(self, name: str, wheel: bytes) -> dict[str, Any]:
        _files.put_back(self.into / SOURCES / name, wheel, mode=0o644, mtime_ns=0)
        return {"path": f"{SOURCES}/{name}", "hashes": {"sha256": hashlib.sha256(wheel).hexdigest()}}


def address_files(origin: Mapping[str, Any], url: str) -> dict[str, Any] | None:
    vcs, archive = _table(origin, "vcs_info"), _table(origin, "archive_info")
    subdirectory = {"subdirectory": origin["subdirectory"]} if isinstance(origin.get("subdirectory"), str) else {}
    if vcs:
        commit = vcs.get("commit_id", "")
        return {"vcs": {"type": vcs.get("vcs", "git"), "url": url, "commit-id": commit, **subdirectory}}
    algorithm, _, digest = str(archive.get("hash", "")).partition("=")  # the older form
    hashes = _table(archive, "hashes") or ({algorithm: digest} if digest else {})
    return {"archive": {"url": url, "hashes": hashes, **subdirectory}}


def _table(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = values.get(key)
    return value if isinstance(value, dict) else {}


def _in_wheelhouse(info: str, wheelhouse: Path) -> list[Path]:
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename

    wheels = []
    for path in sorted(wheelhouse.glob("*.whl")):
        try:
            name, version, _, _ = parse_wheel_filename(path.name)
        except InvalidWheelFilename:
            continue
        if (name, str(version)) == pinned(info):
            wheels.append(path)
    return wheels


def pinned(info: str) -> tuple[str, str]:
    name, _, version = os.path.basename(info).removesuffix(".dist-info").rpartition("-")  # noqa: PTH119
    return normalized(name), version
