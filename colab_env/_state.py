"""State files: what colab-env wrote down for its next run, read as typed values or not at all.

A file holds its schema's name, its version, and the fields of one dataclass. Fields that the dataclass does not know are
ignored: a version that has to be understood counts its number up. A file without a schema is of the first release, before
there were any, and counts as version 0. Where a class's fields have changed, `upgrade` turns older values into its own.
"""

from __future__ import annotations

import contextlib
import functools
import json
import math
import os
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, TypeVar, Union, cast

from colab_env import _files
from colab_env.results import short

_LARGEST = 2**63


class State(Protocol):
    """A frozen dataclass that has a file: what makes a value of it impossible, `__post_init__` tells by a ValueError."""

    schema: ClassVar[str]
    version: ClassVar[int]


_Kind = TypeVar("_Kind", bound=State)


def read(path: Path, kind: type[_Kind]) -> _Kind | None:
    """Return what a file says, or None: it is missing, damaged, of another schema, or a newer version wrote it."""
    found = _examined(path, kind)
    return None if isinstance(found, str) else found


def fault(path: Path, kind: type[State]) -> str | None:
    """Return why a file that is there cannot be used, or None when it can, or there is none."""
    found = _examined(path, kind) if os.path.lexists(path) else None
    return f"{short(path)} {found}" if isinstance(found, str) else None


def receipt(directory: Path, kind: type[_Kind]) -> _Kind | None:
    """Return what was written when `directory` was completed, or None: not ours, or not complete."""
    return read(directory / _files.RECEIPT, kind)


def is_marked(directory: Path) -> bool:
    """Say whether a directory has a receipt, in whatever state: it is ours, complete or not."""
    return os.path.lexists(directory / _files.RECEIPT)


def complete(directory: Path, value: State) -> None:
    """Mark `directory` as ours and complete, once all of it is on the disk. The last thing a transaction does."""
    with _files.explaining(directory):
        _files.sync_tree(directory)
    write(directory / _files.RECEIPT, value)


def write(path: Path, value: State, *, indent: int | None = 1) -> None:
    """Replace a state file whole or not at all."""
    if path.is_dir() and not any(path.iterdir()):
        _files.remove(path)  # a file does not replace a directory
    said = {"schema": value.schema, "version": value.version, **vars(value)}
    text = json.dumps(said, indent=indent, ensure_ascii=False, default=_plain) + "\n"
    with contextlib.suppress(UnicodeEncodeError):
        text.encode()
        _files.write_text(path, text)
        return
    # A path whose bytes are no text.
    _files.write_text(path, json.dumps(said, indent=indent, default=_plain) + "\n")


def typed(kind: Any, value: Any) -> Any:  # noqa: PLR0911 - one line for each kind of type
    """Return a parsed JSON value as a type's own: a dataclass, a path, a tuple. Raises ValueError where it is none."""
    origin, parameters = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return value
    if origin in (Union, types.UnionType):
        return _any_of(parameters, value)
    if origin is Literal:
        return _required(any(value == each and type(value) is type(each) for each in parameters), value)
    if origin in (tuple, list):
        return origin(typed(parameters[0], each) for each in _required(isinstance(value, list), value))
    if origin in (dict, Mapping):
        _, of = parameters
        return {typed(str, key): typed(of, each) for key, each in _required(isinstance(value, dict), value).items()}
    if is_dataclass(kind) and isinstance(kind, type):
        return kind(**_fields(kind, _required(isinstance(value, dict), value)))
    if hasattr(kind, "parsed"):
        return kind.parsed(value)
    return _plainly(kind, value)


def _examined(path: Path, kind: type[_Kind]) -> _Kind | str:
    values = _files.read_json(path)
    if not isinstance(values, dict):
        return "is damaged"
    is_landed = "schema" not in values
    version = 0 if is_landed else values.get("version")
    if not (is_landed or values["schema"] == kind.schema) or type(version) is not int or version < 0:
        return "is damaged"
    if version > kind.version:
        return "was written by a newer colab-env"
    upgrade = getattr(kind, "upgrade", None)
    try:
        return cast("_Kind", typed(kind, upgrade(values, version) if upgrade else values))
    except (ValueError, OverflowError, RecursionError):
        return "is damaged"


def _fields(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    hints = _hints(kind)
    missing = [each.name for each in fields(kind) if each.default is each.default_factory is MISSING]
    _required(values.keys() >= {*missing}, values)
    return {each.name: typed(hints[each.name], values[each.name]) for each in fields(kind) if each.name in values}


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _any_of(kinds: tuple[Any, ...], value: Any) -> Any:
    if value is None and type(None) in kinds:
        return None
    (kind,) = (each for each in kinds if each is not type(None))
    return typed(kind, value)


def _plainly(kind: Any, value: Any) -> Any:
    if kind in (str, Path):
        # Neither a path nor a screen takes a NUL, or half of a surrogate pair (a UnicodeEncodeError is a ValueError).
        return kind(_required(isinstance(value, str) and b"\0" not in os.fsencode(value), value))
    if kind is float:
        return float(_required(type(value) in (int, float) and math.isfinite(value), value))
    return _required(type(value) is kind and (kind is not int or abs(value) < _LARGEST), value)


def _required(is_right: bool, value: Any) -> Any:  # noqa: FBT001
    if not is_right:
        msg = f"{value!r} is of another type"
        raise ValueError(msg)
    return value


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else vars(value)
