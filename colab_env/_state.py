"""State files: what colab-env wrote down for its next run, read as typed values or not at all.

A file holds its schema's name, its version, and the fields of one dataclass. Fields that the dataclass does not know are
ignored: a version that has to be understood counts its number up. A file without a schema is of the first release, before
there were any, and counts as version 0. Where a class's fields have changed, `upgrade` turns older values into its own.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import os
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, TypeVar, Union, cast

from colab_env import _files
from colab_env.results import short

_LARGEST = 2**63
_NO_SUM = "0" * 16  # where the checksum will stand, while it is computed
_SUM = re.compile(r'"sum": "([0-9a-f]{16})"\n?\}\n\Z')


class State(Protocol):
    """A frozen dataclass that has a file: what makes a value of it impossible, `__post_init__` tells by a ValueError."""

    schema: ClassVar[str]
    version: ClassVar[int]


_Kind = TypeVar("_Kind", bound=State)


def read(path: Path, kind: type[_Kind]) -> _Kind | None:
    """Return what a file says, or None: it is missing, damaged, of another schema, or a newer version wrote it."""
    state = _examined(path, kind)
    return None if isinstance(state, str) else state


def fault(path: Path, kind: type[State]) -> str | None:
    """Return why a file that is there cannot be used, or None when it can, or there is none."""
    state = _examined(path, kind) if os.path.lexists(path) else None
    return f"{short(path)} {state}" if isinstance(state, str) else None


def receipt(directory: Path, kind: type[_Kind]) -> _Kind | None:
    """Return what was written when `directory` was completed, or None: not ours, or not complete."""
    return read(directory / _files.RECEIPT, kind)


def is_marked(directory: Path) -> bool:
    """Say whether a directory has a receipt, in whatever state: it is ours, complete or not."""
    return os.path.lexists(directory / _files.RECEIPT)


def is_ours(directory: Path) -> bool:
    """Say whether colab-env made a directory, by its receipt or the list of what is in it: one may be lost."""
    return is_marked(directory) or is_sealed(directory / _files.CONTENT)


def complete(directory: Path, value: State) -> None:
    """Mark `directory` as ours and complete, once all of it is on the disk. The last thing a transaction does."""
    with _files.translate_os_errors(directory):
        _files.sync_tree(directory)
    write(directory / _files.RECEIPT, value)


def write(path: Path, value: State, *, indent: int | None = 1, mode: int | None = None) -> None:
    """Replace a state file whole or not at all, keeping its mode unless one is given."""
    if path.is_dir() and not any(path.iterdir()):
        _files.remove(path)  # a file does not replace a directory
    values = {"schema": value.schema, "version": value.version, **vars(value), "sum": _NO_SUM}
    text = json.dumps(values, indent=indent, ensure_ascii=False, default=_plain) + "\n"
    try:
        text.encode()
    except UnicodeEncodeError:  # a path whose bytes are no text
        text = json.dumps(values, indent=indent, default=_plain) + "\n"
    _files.write_text(path, _sum(text).join(text.rsplit(_NO_SUM, 1)), mode=mode)


def is_sealed(path: Path) -> bool:
    """Say whether a state file is, byte by byte, as it was written; one of a version before there were sums is not."""
    try:
        text = path.read_bytes().decode()
    except (OSError, ValueError):
        return False
    match = _SUM.search(text)
    return match is not None and match[1] == _sum(_unsealed(text, match))


def resealed(old_content: bytes, after: bytes) -> bytes:
    """Return a changed state file with the sum that it has to have now; what had no right sum `before` stays as it is."""
    try:
        texts = old_content.decode(), after.decode()
    except UnicodeDecodeError:
        return after
    old, new = (_SUM.search(text) for text in texts)
    # A file whose sum was wrong before is damaged, and must not become right by being moved.
    if old is None or new is None or old[1] != _sum(_unsealed(texts[0], old)):
        return after
    text = _unsealed(texts[1], new)
    return f"{text[: new.start(1)]}{_sum(text)}{text[new.end(1) :]}".encode()


def _unsealed(text: str, match: re.Match[str]) -> str:
    return f"{text[: match.start(1)]}{_NO_SUM}{text[match.end(1) :]}"


def typed(kind: Any, value: Any) -> Any:  # noqa: C901, PLR0911, PLR0912 - a line or two for each kind of type
    """Return a parsed JSON value as a type's own: a dataclass, a path, a tuple. Raises ValueError where it is none."""
    origin, parameters = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in parameters:
            return None
        (kind,) = (parameter for parameter in parameters if parameter is not type(None))
        origin, parameters = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return value
    if kind in (str, Path):
        # Neither a path nor a screen takes a NUL, or half of a surrogate pair (a UnicodeEncodeError is a ValueError).
        if isinstance(value, str) and b"\0" not in os.fsencode(value):
            return kind(value)
    elif origin is Literal:
        if any(value == literal and type(value) is type(literal) for literal in parameters):
            return value
    elif origin in (tuple, list):
        if isinstance(value, list):
            return origin(typed(parameters[0], item) for item in value)
    elif origin in (dict, Mapping):
        if isinstance(value, dict):
            return {typed(str, key): typed(parameters[1], item) for key, item in value.items()}
    elif is_dataclass(kind) and isinstance(kind, type):
        if isinstance(value, dict) and value.keys() >= _required_fields(kind):
            hints = _hints(kind)
            return kind(**{name: typed(hint, value[name]) for name, hint in hints.items() if name in value})
    elif hasattr(kind, "parsed"):
        return kind.parsed(value)
    elif kind is float:
        if type(value) in (int, float) and math.isfinite(value):
            return float(value)
    elif type(value) is kind and (kind is not int or abs(value) < _LARGEST):
        return value
    msg = f"{value!r} is of another type"
    raise ValueError(msg)


def from_json(text: str, kind: Any) -> Any:
    """Return what another program printed, as a type's own. Raises ValueError for anything else."""
    try:
        return typed(kind, json.loads(text))
    except (OverflowError, RecursionError) as error:
        msg = "it is too large, or nested too deeply"
        raise ValueError(msg) from error


def _examined(path: Path, kind: type[_Kind]) -> _Kind | str:
    values = _files.read_json(path)
    if not isinstance(values, dict):
        return "is damaged"
    is_of_first_release = "schema" not in values  # which wrote neither a schema nor a version of it
    version = 0 if is_of_first_release else values.get("version")
    if not (is_of_first_release or values["schema"] == kind.schema) or type(version) is not int or version < 0:
        return "is damaged"
    if version > kind.version:
        return "was written by a newer colab-env"
    if "sum" in values and not is_sealed(path):
        return "is damaged"
    upgrade = getattr(kind, "upgrade", None)
    try:
        return cast("_Kind", typed(kind, upgrade(values, version) if upgrade else values))
    except (ValueError, OverflowError, RecursionError):
        return "is damaged"


def _sum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[: len(_NO_SUM)]


@functools.cache
def _required_fields(kind: type) -> frozenset[str]:
    return frozenset(field.name for field in fields(kind) if field.default is field.default_factory is MISSING)


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind)}


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else vars(value)
