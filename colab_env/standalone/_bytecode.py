"""Say which compiled files are not what their source compiles to. Runs under the Python that wrote them.

Reads a JSON list of paths from its standard input and answers with a line for each: what a damaged file does to `marshal`
may end this process, and then the answers end before that file's.
"""

import importlib.util
import io
import json
import marshal
import sys
import warnings
from pathlib import Path
from types import CodeType
from typing import Any

_HEADER = 16  # bytes: magic number, flags, then time and size of the source, or a hash of it (PEP 552)
# What a comparison of two code objects leaves out. `co_linetable` is of 3.10 and newer, `co_qualname` of 3.11.
_MORE = (
    *("co_exceptiontable", "co_linetable" if sys.version_info >= (3, 10) else "co_lnotab", "co_qualname"),
    *("co_stacksize", "co_nlocals", "co_varnames", "co_cellvars", "co_freevars", "co_filename"),
)
# From 3.11 on, sets are written in one order. The first form of marshal has neither references nor interned strings: there
# the same code is the same bytes, with what no attribute shows.
_CANONICAL = 0 if sys.version_info >= (3, 11) else None


def verdict(path: Path) -> str:
    """Return "ok", "wrong", "moved" for what names another source file, or "passed over" for what Python does not read."""
    name, _, level = path.stem.partition(".opt-")
    if not name.endswith(f".{sys.implementation.cache_tag}"):
        return "ok"  # another Python's, or a tool's that rewrites what it compiles: this one never reads it
    try:
        source = Path(importlib.util.source_from_cache(str(path)))
        compiled, text = path.read_bytes(), source.read_bytes()
        if _is_passed_over(compiled, source, text):
            return "passed over"
        body = io.BytesIO(compiled[_HEADER:])
        code = marshal.load(body)  # noqa: S302  in a process of its own, which nothing is lost with
        expected = compile(text, code.co_filename, "exec", dont_inherit=True, optimize=int(level or 0))
        if (
            body.read(1)
            or _is_lying(compiled, text)
            or not _is_same(code, expected)
            or _canonical(code) != _canonical(expected)
        ):
            return "wrong"
        return "ok" if Path(code.co_filename).resolve() == source.resolve() else "moved"
    except FileNotFoundError:
        return "passed over"
    except Exception:  # noqa: BLE001  damaged data fails in every way there is
        return "wrong"


def _is_passed_over(compiled: bytes, source: Path, text: bytes) -> bool:
    if sys.version_info < (3, 7):  # noqa: UP036 - it runs under these, too, whose files say less of their source
        return True
    flags, *recorded = (int.from_bytes(compiled[start : start + 4], "little") for start in (4, 8, 12))
    if compiled[:4] != importlib.util.MAGIC_NUMBER or len(compiled) < _HEADER or flags not in (0, 1, 3):
        return True
    if flags:  # by hash: checked at every start (3), or never (1)
        return flags == 3 and compiled[8:_HEADER] != importlib.util.source_hash(text)
    status = source.stat()
    return recorded != [int(status.st_mtime) & 0xFFFFFFFF, status.st_size & 0xFFFFFFFF]


def _is_lying(compiled: bytes, text: bytes) -> bool:
    """Say whether it tells Python never to look at the source (flags 1), and was not made from this one."""
    return compiled[4] == 1 and compiled[8:_HEADER] != importlib.util.source_hash(text)


def _is_same(one: Any, other: Any) -> bool:
    if one != other or any(getattr(one, name, None) != getattr(other, name, None) for name in _MORE):
        return False
    pairs = zip(one.co_consts, other.co_consts)  # noqa: B905  `strict` is of 3.10
    return all(_is_same(mine, its) for mine, its in pairs if isinstance(mine, CodeType))


def _canonical(code: CodeType) -> "bytes | None":
    if _CANONICAL is None:
        return None
    try:
        return marshal.dumps(code, _CANONICAL)
    except ValueError:  # the slices of 3.14 have no place in it
        return None


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    for path in json.load(sys.stdin):
        sys.stdout.write(f"ce:{verdict(Path(path))}\n")
        sys.stdout.flush()
