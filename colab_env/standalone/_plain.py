"""Carry plain values between two kernels: None, bool, int, float, str, bytes, and lists, tuples, sets, dicts of these.

Runs in kernels of any Python (3.6 or newer); a copy lies in every kernel layer as part of its package `colab_env`.
"""

from __future__ import annotations

import base64
import pickle
from typing import Any

ATOMS = (type(None), bool, int, float, complex, str, bytes)
GROUPS = (list, tuple, set, frozenset)


def packed(value: object) -> str:
    """Return the value as ASCII text. Raises TypeError, naming the type, when it is not plain."""
    check(value)
    return base64.b64encode(pickle.dumps(value, protocol=4)).decode("ascii")


def unpacked(text: str) -> Any:
    """Return the value of such a text."""
    return pickle.loads(base64.b64decode(text))  # noqa: S301  (from our own kernel, of types that were checked)


def check(value: Any) -> None:
    """Raise TypeError unless the value is plain. Exact types only: an int of numpy needs numpy on the other side."""
    if type(value) in ATOMS:
        return
    if type(value) in GROUPS:
        inner = value
    elif type(value) is dict:
        inner = [*value, *value.values()]
    else:
        kind = type(value)
        raise TypeError(f"a {kind.__module__}.{kind.__qualname__} is not a plain value")
    for item in inner:
        check(item)
