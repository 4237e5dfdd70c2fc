"""Read pip's requirements format, and take lines out of it."""

from __future__ import annotations

import codecs
import contextlib
import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from colab_env import _files

if TYPE_CHECKING:
    from packaging.markers import Marker
    from packaging.requirements import Requirement

_EDITABLE = re.compile(r"^(?:-e|--editable)[ =]\s*")
# Of one requirement, such as --hash and --config-settings.
_OPTIONS = re.compile(r"\s--\w.*", re.DOTALL)
# In environment.yml as items of the list under `pip:`.
_HASH = re.compile(r"\s--hash[= ](\w+:[0-9A-Fa-f]+)")
_INCLUDE = re.compile(r"""(?m)^[ \t]*(?:-[ \t]+["']?)?(-r|-c|--requirement|--constraint)[ =]?[ \t]*([^\s"'\0]+)""")
# As pip has it: a # within a word, such as that of #egg=, begins none.
_COMMENT = re.compile(r"(^|\s)#.*$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class RequiredVersion:
    """One requirement: `version` is the exact version, or what is written instead: a range, an address or a path."""

    name: str
    version: str
    exact: bool


def as_utf8(content: bytes) -> bytes:
    """Return a text file's bytes in UTF-8: `pip freeze > requirements.txt` writes UTF-16 in Windows' PowerShell, as pip knows."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        with contextlib.suppress(UnicodeDecodeError):
            return content.decode("utf-16").encode("utf-8", "replace")
    return content.removeprefix(codecs.BOM_UTF8)


def read(text: str, markers: Mapping[str, str]) -> dict[str, RequiredVersion]:
    """Return by name what the lines ask for under these markers; includes and other options are passed over."""
    parsed = (_parse(line, markers) for line in map(_plain, filter(str.strip, logical_lines(text))) if line)
    return {requirement.name: requirement for requirement in parsed if requirement is not None}


def with_included(path: Path, content: bytes | None = None) -> list[tuple[str, bytes]]:
    """Return name and content of a file and of all that it includes, in environment.yml as items under `pip:` too.

    `content` is that of the file itself, where it has been read.
    """
    files: dict[str, tuple[str, bytes]] = {}  # by the real path, for a file may be included for both
    for real, name, text, _ in _included(path, content):
        files.setdefault(real, (name, text))
    return list(files.values())


def parts(path: Path, content: bytes | None = None) -> tuple[list[str], list[str]]:
    """Return the texts that say what is installed, and those that only limit versions (`-c`), of a file and its includes."""
    sides: tuple[list[str], list[str]] = ([], [])
    for _, _, text, is_limit in _included(path, content):
        sides[is_limit].append(text.decode("utf-8", errors="replace"))
    return sides


def _included(path: Path, content: bytes | None) -> Iterator[tuple[str, str, bytes, bool]]:
    """Yield the real path, the name and the content of each file, and whether it only limits versions."""
    seen: set[tuple[str, bool]] = set()
    pending = [(path, False)]
    while pending:
        current, is_limit = pending.pop()
        real = os.path.realpath(current)  # one file has any number of paths, such as x/../x/../a.txt
        if (real, is_limit) in seen:
            continue
        seen.add((real, is_limit))
        current_content = content if content is not None and current == path else _files.content(current) or b""
        yield real, current.name, current_content, is_limit
        text = current_content.decode("utf-8", errors="replace")
        pending += [
            (current.parent / name, is_limit or "c" in option[:3])
            for option, name in _INCLUDE.findall(text)
            if "://" not in name
        ]


def missing_include(path: Path, content: bytes) -> tuple[int, str] | None:
    """Return line and name of the first file that a requirements file includes and that is not there, or None."""
    text = content.decode("utf-8", errors="replace")
    for match in _INCLUDE.finditer(text):
        name = match[2]
        is_local = "://" not in name and "$" not in name  # pip puts variables in: ${HOME}/base.txt
        if is_local and not (path.parent / name).exists():
            return text.count("\n", 0, match.start(2)) + 1, name
    return None


def requirements(text: str) -> list[tuple[str, Requirement]]:
    """Return the lines that name a distribution, each with what it asks for."""
    lines = [(line, _requirement(_plain(line))) for line in logical_lines(text) if line.strip()]
    return [(line, requirement) for line, requirement in lines if requirement is not None]


def pins(requirement: Requirement) -> list[str]:
    """Return the exact versions that a requirement names: usually one or none."""
    return [
        specifier.version
        for specifier in requirement.specifier
        if specifier.operator in ("==", "===") and "*" not in specifier.version
    ]


def without(text: str, names: Collection[str]) -> str:
    """Return the text without the lines that name one of these (normalized) distributions, hashes and all."""
    lines = [line for line in logical_lines(text) if not line.strip() or _name(_plain(line)) not in names]
    return "".join(f"{line}\n" for line in lines)


def hashes(text: str) -> dict[str, frozenset[str]]:
    """Return the hashes that the lines ask for, such as "sha256:9f86...", by normalized name."""
    by_name: dict[str, frozenset[str]] = {}
    for line in logical_lines(text):
        digests = frozenset(digest.lower() for digest in _HASH.findall(line))
        if digests and (name := _name(_plain(line))):
            by_name[name] = by_name.get(name, frozenset()) | digests
    return by_name


def logical_lines(text: str) -> list[str]:
    """Return the lines of a requirements file, those that a backslash continues as one."""
    lines: list[list[str]] = []
    goes_on = False
    for line in text.splitlines():
        if goes_on:
            lines[-1].append(line)
        else:
            lines.append([line])
        goes_on = line.endswith("\\")
    return ["\n".join(parts) for parts in lines]


def _plain(line: str) -> str:
    return _OPTIONS.sub("", _COMMENT.sub("", line).replace("\\\n", " ")).strip()


def _name(line: str) -> str | None:
    requirement = _requirement(line)
    return normalized(requirement.name) if requirement else None


# The imports stand inside: every command imports this module, and few read requirements.


def _requirement(line: str) -> Requirement | None:
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        return Requirement(line) if line else None
    except (InvalidRequirement, RecursionError):
        return None


def normalized(name: str) -> str:
    """Return a distribution's name as indexes compare it (PEP 503)."""
    from packaging.utils import canonicalize_name

    return canonicalize_name(name)


def _parse(line: str, markers: Mapping[str, str]) -> RequiredVersion | None:
    requirement = _requirement(_EDITABLE.sub("", line))
    if requirement is None:
        # A path or an address without a name in front: its last part, which may carry the name after #egg=.
        reference, _, marker = _EDITABLE.sub("", line).partition(" ;")
        reference = reference.strip()
        if not reference or reference.startswith("-") or not _holds(_marker(marker), markers):
            return None
        path, _, fragment = reference.partition("#")
        egg = re.search(r"egg=([\w.-]+)", fragment)
        last = re.sub(r"(-\d[^/]*)?(\.whl|\.tar\.gz|\.zip|\.git)?(@[^/]*)?$", "", path.rstrip("/").rpartition("/")[2])
        if egg is None and last in ("", ".", ".."):
            return None  # the project itself, or one beside it: nothing says its name here
        return RequiredVersion(name=normalized(egg[1] if egg else last), version=reference, exact=False)
    if not _holds(requirement.marker, markers):
        return None
    name = normalized(requirement.name)
    if requirement.url:
        return RequiredVersion(name=name, version=requirement.url, exact=False)
    exact = pins(requirement)
    return RequiredVersion(
        name=name, version=exact[0] if exact else str(requirement.specifier) or "any", exact=bool(exact)
    )


def _marker(text: str) -> Marker | None:
    from packaging.markers import InvalidMarker, Marker

    try:
        return Marker(text) if text.strip() else None
    except InvalidMarker:
        return None


def _holds(marker: Marker | None, markers: Mapping[str, str]) -> bool:
    return marker is None or marker.evaluate({**markers, "extra": ""})
