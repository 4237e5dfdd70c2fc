"""Pipfile.lock: read here, as `pipenv sync` takes it, and installed by uv."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.utils import canonicalize_name

from colab_env.errors import LockMismatchError, UsageError
from colab_env.locks.lock_format import LockFile, LockFormat
from colab_env.locks.poetry_sources import Source
from colab_env.results import short

if TYPE_CHECKING:
    from colab_env.locks.installing import Selection
    from colab_env.machine import Machine

_DEFAULT, _DEVELOP = "default", "develop"
_PYPI = "pypi"  # what Pipenv calls the index that everybody has


class PipfileLock(LockFormat):
    """Pipenv's lock file: `default`, and on demand `develop` ("dev") and other categories."""

    name = "Pipfile.lock"
    rank = 50
    file_names = ("Pipfile.lock",)
    options = LockFormat.options - {"extras"}
    names_python = True

    def requires_python(self, lock: LockFile) -> str | None:
        asked = _section(_read(lock), "_meta").get("requires", {})
        version = asked.get("python_full_version") or asked.get("python_version") if isinstance(asked, dict) else None
        return version if isinstance(version, str) else None

    def peek(self, lock: LockFile, selection: Selection, *, machine: Machine, python_is_there: bool) -> str | None:
        return _text(lock, selection)

    def export(
        self, lock: LockFile, selection: Selection, *, python: Path, machine: Machine, editable: bool = True
    ) -> str:
        return _text(lock, selection, editable=editable)

    def sources(self, lock: LockFile) -> Sequence[Source]:
        try:
            return list(_sources(_read(lock)))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise _damaged(lock) from error


def _text(lock: LockFile, selection: Selection, *, editable: bool = True) -> str:
    document = _read(lock)
    wanted = [_DEFAULT, *(_DEVELOP if each == "dev" else each for each in selection.groups or ())]
    known = [name for name in document if name != "_meta"]
    if missing := [name for name in wanted if name not in known and name != _DEFAULT]:
        msg = f"{short(lock.path)} has no group {missing[0]!r}"
        raise UsageError(msg, hint=f"it has {', '.join(map(repr, known)) or 'none'}")
    # What two categories name is locked alike in both; the first counts.
    entries = {name: entry for category in reversed(wanted) for name, entry in _section(document, category).items()}
    try:
        return "".join(f"{_line(name, entry, editable=editable)}\n" for name, entry in entries.items())
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise _damaged(lock) from error


def _line(name: str, entry: Mapping[str, Any], *, editable: bool) -> str:
    marker = f" ; {entry['markers']}" if entry.get("markers") else ""
    path = entry.get("path") or entry.get("file")
    if entry.get("git"):
        below = f"#subdirectory={entry['subdirectory']}" if entry.get("subdirectory") else ""
        return f"{name} @ git+{entry['git']}@{entry['ref']}{below}{marker}"
    if path:
        is_address = "://" in path
        if not is_address and entry.get("editable") and editable:
            return f"-e {path}{marker}"
        return f"{name} @ {path}{marker}" if is_address else f"{path}{marker}"
    version = str(entry.get("version", "*"))
    hashes = "".join(f" --hash={each}" for each in entry.get("hashes", []))
    return f"{name}{'' if version == '*' else version}{marker}{hashes}"


def _sources(document: Mapping[str, Any]) -> Iterator[Source]:
    named = {each["name"]: each["url"] for each in _section(document, "_meta").get("sources", [])}
    first = next(iter(named), _PYPI)
    for category in (name for name in document if name != "_meta"):
        for name, entry in _section(document, category).items():
            index = entry.get("index", first)
            yield Source(
                name=canonicalize_name(name),
                version=str(entry.get("version", "")).lstrip("="),
                hashes=frozenset(entry.get("hashes", [])),
                url=None if index == _PYPI else _expanded(named[index]),
            )


def _expanded(url: str) -> str:
    # Names and passwords come from variables, as Pipenv has them.
    return re.sub(r"\$\{(\w+)\}|\$(\w+)", lambda found: os.environ.get(found[1] or found[2], found[0]), url)


def _read(lock: LockFile) -> dict[str, Any]:
    try:
        document = json.loads(lock.text)
    except (ValueError, RecursionError) as error:
        raise _damaged(lock) from error
    if not isinstance(document, dict) or _DEFAULT not in document or not all(map(_is_section, document.values())):
        raise _damaged(lock)
    return document


def _section(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = document.get(name, {})
    return found


def _damaged(lock: LockFile) -> LockMismatchError:
    return LockMismatchError(
        f"{short(lock.path)} is not as Pipenv writes it", hint="run `pipenv lock`, or mend the file"
    )


def _is_section(value: object) -> bool:
    return isinstance(value, dict)
