"""Inputs: realistic documents, changed in their structure, in their text and in their bytes; and what is no document at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from hypothesis import strategies as st

LONG = 100_000
DEEP = 20_000


class Raw(str):
    """Characters that a writer puts down as they are, such as a date of TOML."""

    __slots__ = ()


def nested(depth: int, leaf: Any = None, key: str | None = None) -> Any:
    value = leaf
    for _ in range(depth):
        value = [value] if key is None else {key: value}
    return value


WORDS = (
    *(
        "",
        " ",
        "\0",
        "a\0b",
        "\ud800",
        "\udcff",
        "é",
        "😀",
        "\n",
        "\r\n",
        "\x1b[31m",
        "\ufeff",
        "٣",
        "²",
        "-",
        "--",
        ".",
        "..",
        "/",
        "~",
    ),
    *(
        "~nobody/x",
        "${HOME}",
        "${",
        "%s",
        "%(home)s",
        "{0}",
        "{connection_file}",
        "../../../etc/passwd",
        "/dev/zero",
        "*",
        "x" * 300,
    ),
    *(
        "http://[::1",
        "http://[::1]:x/",
        "https://user:pw@host:99999/a?b=c#d",
        "file:///",
        "git+",
        "://",
        "http://",
        "//x",
        "http://\0",
    ),
    *(
        "1",
        "1.0",
        "==1",
        "==1.*",
        ">=3.9 <3.13",
        "~=3.11",
        "^3.10",
        "~3",
        "3.10 || 3.12",
        "||" * 5,
        "!=",
        "1e999",
        "9" * 5000,
        "1" + ".1" * 3000,
    ),
    *(
        "python_version < '3'",
        "extra == 'x'",
        "'x' < 'y'",
        "os_name",
        "(" * 50,
        "x[",
        "x @ ",
        "x;",
        "NaN",
        "sha256:",
        "2020-01-01",
        "none",
    ),
)
NUMBERS = (
    *(0, -1, 1, 2, 3.12, 1.5, 4, 2**31, 2**63, 2**64, -(2**63), 10**400, 1e308, -0.0, 5e-324),
    *(float("nan"), float("inf"), float("-inf")),
)
DATES = tuple(
    map(
        Raw,
        ("2020-01-01", "07:32:00", "1979-05-27T07:32:00Z", "1979-05-27T07:32:00+23:59", "1e999", "0x_", "inf", "-nan"),
    )
)
OTHERS = (None, True, False, [], {}, [None], [[]], [1, "a"], {"": ""}, {"a": {"b": 1}}, [{"name": 1}], {"name": []})
HUGE = (
    "x" * LONG,
    " " * LONG,
    nested(DEEP),
    nested(300),
    nested(300, 1, "a"),
    ["x"] * 2000,
    {str(n): n for n in range(500)},
    "((" * 20_000,
)

values = st.one_of(
    st.sampled_from(WORDS),
    st.sampled_from(NUMBERS),
    st.sampled_from(OTHERS),
    st.sampled_from(DATES),
    st.text(max_size=20),
)
_values = values


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Give the way to everything inside a document, but for what is deeper than tools write."""
    if path:
        yield path
    if len(path) == 8:
        return
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(inner, (*path, key))


def changed(value: Any, path: Sequence[Any], change: Callable[[Any, Any], None]) -> Any:
    """Return a copy of a document after `change(container, key)` of what is at a path."""
    if not path:
        return value
    copy = dict(value) if isinstance(value, dict) else list(value)
    if len(path) == 1:
        change(copy, path[0])
    else:
        copy[path[0]] = changed(copy[path[0]], path[1:], change)
    return copy


@st.composite
def restructured(draw: st.DrawFn, seeds: Sequence[Any]) -> Any:
    """Draw a document with some of its values missing, repeated, renamed or of another type."""
    value = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(0, 3))):
        found = list(places(value)) if isinstance(value, (dict, list)) else []
        if not found:
            return draw(_values)
        path = draw(st.sampled_from(found))
        kind = draw(st.sampled_from(("value", "value", "value", "gone", "key", "wrapped", "huge")))
        new: Any = draw(st.sampled_from(HUGE)) if kind == "huge" else draw(_values)
        value = changed(value, path, _CHANGES[kind](new))
    return value


def _set(new: Any) -> Callable[[Any, Any], None]:
    return lambda container, key: container.__setitem__(key, new)


def _wrap(_new: Any) -> Callable[[Any, Any], None]:
    return lambda container, key: container.__setitem__(key, [container[key], container[key]])


def _drop(_new: Any) -> Callable[[Any, Any], None]:
    return lambda container, key: container.__delitem__(key)


def _rename(new: Any) -> Callable[[Any, Any], None]:
    def rename(container: Any, key: Any) -> None:
        if isinstance(container, dict):
            container[str(new)] = container.pop(key)
        else:
            container.append(new)

    return rename


_CHANGES = {"value": _set, "huge": _set, "gone": _drop, "key": _rename, "wrapped": _wrap}


@st.composite
def damaged(draw: st.DrawFn, texts: st.SearchStrategy[bytes]) -> bytes:
    """Draw a file whose bytes are as they were written in half of the cases, else cut, flipped, repeated or grown."""
    content = draw(texts)
    for _ in range(draw(st.sampled_from((0, 0, 0, 1, 1, 2)))):
        at = draw(st.integers(0, len(content)))
        end = at + draw(st.integers(0, 40))
        kind = draw(st.sampled_from(("cut", "drop", "flip", "put", "put", "twice", "deep", "lines", "mark")))
        if kind == "cut":
            content = content[:at]
        elif kind == "drop":
            content = content[:at] + content[end:]
        elif kind == "flip":
            content = (
                content[:at]
                + bytes(each ^ draw(st.sampled_from((1, 0x80, 0xFF))) for each in content[at : at + 1])
                + content[at + 1 :]
            )
        elif kind == "put":
            content = content[:at] + draw(st.sampled_from(_BYTES)) + content[at:]
        elif kind == "twice":
            content = content[:end] + content[at:]
        elif kind == "deep":
            content = (
                content[:at]
                + draw(st.sampled_from((b"[", b"{", b'{"a":', b"(", b"a.", b'"a".', b"\\")))
                * draw(st.sampled_from((50, 5000)))
                + content[at:]
            )
        elif kind == "lines":
            lines = content.splitlines(keepends=True)
            content = b"".join(lines + draw(st.permutations(lines)) if len(lines) < 100 else lines * 2)
        else:
            content = b"<<<<<<< HEAD\n" + content + b"=======\n" + content[:at] + b">>>>>>> other\n"
    return content


_BYTES = (
    *(
        b"\0",
        b"\xff\xfe",
        b"\xed\xa0\x80",
        b"\xef\xbb\xbf",
        b"\n",
        b"\r",
        b"\x1b[2J",
        b'"',
        b"'",
        b"\\",
        b"=",
        b"1e999",
        b"NaN",
        b"-Infinity",
    ),
    *(
        b"9" * 5000,
        b"[[",
        b"]",
        b"}",
        b",",
        b":",
        b"#",
        b" ",
        b"\t",
        b"\\ud800",
        b"${X}",
        b"-r a.txt\n",
        b"x" * 5000,
        "é²٣".encode(),
        b"||",
        b";",
    ),
)


def written(seeds: Sequence[Any], write: Callable[[Any], str]) -> st.SearchStrategy[bytes]:
    """Draw files of a format that has documents: restructured, then damaged; and now and then any text or bytes."""
    documents = restructured(seeds).map(lambda value: write(value).encode("utf-8", "surrogatepass"))
    return st.one_of(damaged(documents), damaged(documents), damaged(documents), free)


def lines(seeds: Sequence[str], *more: str) -> st.SearchStrategy[bytes]:
    """Draw files of a format that has lines: some of those of the seeds and of `more`, damaged; and any text or bytes."""
    known = [line for seed in seeds for line in seed.splitlines()] + list(more)
    mixed = st.lists(st.one_of(st.sampled_from(known), st.sampled_from(known), st.sampled_from(WORDS)), max_size=12)
    texts = st.one_of(st.sampled_from(seeds), mixed.map("\n".join)).map(
        lambda text: text.encode("utf-8", "surrogatepass")
    )
    return st.one_of(damaged(texts), damaged(texts), free)


free = st.one_of(
    st.binary(max_size=200),
    st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.sampled_from(
        (
            b"",
            b"\0",
            b"null",
            b"[]",
            b"{}",
            b"5",
            b'"x"',
            b"[" * LONG,
            b'{"a":' * DEEP,
            b"a." * DEEP + b"b = 1",
            b"x" * LONG,
            b"\n" * (LONG // 2),
        )
    ),
)


@st.composite
def words(draw: st.DrawFn, seeds: Sequence[str]) -> str:
    """Draw a word that a person, or a program, may have written: one of the seeds, several, changed, or anything."""
    parts = draw(
        st.lists(
            st.one_of(st.sampled_from(seeds), st.sampled_from(seeds), st.sampled_from(WORDS), st.text(max_size=8)),
            max_size=4,
        )
    )
    text = draw(st.sampled_from(("", "", " ", ",", "/", "."))).join(parts)
    if draw(st.integers(0, 9)) == 0:
        text = text[:20] * draw(st.sampled_from((2, 500, 5000)))
    return text


# --- writers


def as_json(value: Any) -> str:
    return json.dumps(value, indent=1) if _depth(value) < 20 else _joined(value, "{", "}", ": ", json.dumps)


def _joined(value: Any, opening: str, closing: str, colon: str, scalar: Callable[[Any], str]) -> str:
    parts: list[str] = []
    left: list[Any] = [value]
    while left:
        current = left.pop()
        if isinstance(current, _Mark):
            parts.append(current)
        elif isinstance(current, dict):
            inner = [
                item
                for key, each in current.items()
                for item in (_Mark(f"{json.dumps(str(key))}{colon}"), each, _Mark(","))
            ]
            left += [_Mark(closing), *reversed(inner[:-1]), _Mark(opening)]
        elif isinstance(current, (list, tuple)):
            inner = [item for each in current for item in (each, _Mark(","))]
            left += [_Mark("]"), *reversed(inner[:-1]), _Mark("[")]
        else:
            parts.append(current if isinstance(current, Raw) else scalar(current))
    return "".join(parts)


class _Mark(str):
    __slots__ = ()


def as_toml(value: Any) -> str:
    """Write a document as TOML, as far as it can be one: tables, arrays of tables, and everything else in their lines."""
    if not isinstance(value, dict):
        return _toml_value(value)
    return "".join(_toml_table(value, ""))


def _toml_table(table: dict[Any, Any], path: str) -> Iterator[str]:
    inner = {key: each for key, each in table.items() if _is_table(each) or _is_tables(each)}
    for key, each in table.items():
        if key not in inner:
            yield f"{_toml_key(key)} = {_toml_value(each)}\n"
    for key, each in inner.items():
        name = f"{path}.{_toml_key(key)}" if path else _toml_key(key)
        for one in [each] if isinstance(each, dict) else each:
            yield f"\n[{name}]\n" if isinstance(each, dict) else f"\n[[{name}]]\n"
            yield from _toml_table(one, name)


def _is_table(value: Any) -> bool:
    return isinstance(value, dict) and _depth(value) < 20


def _is_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_table, value))


def _depth(value: Any) -> int:
    depth, left = 0, [value]
    while left and depth < 30:
        depth += 1
        left = [
            inner
            for each in left
            for inner in (each.values() if isinstance(each, dict) else each if isinstance(each, list) else ())
        ]
    return depth


def _toml_key(key: Any) -> str:
    text = str(key)
    return (
        text if text and all(each.isascii() and (each.isalnum() or each in "-_") for each in text) else json.dumps(text)
    )


def _toml_value(value: Any) -> str:
    return _joined(value, "{", "}", " = ", _toml_scalar)


def _toml_scalar(value: Any) -> str:
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, bool) or value is None:
        return "true" if value else "false"
    return repr(value)
