"""The recorded failures in `tests/native/` have the form that its README describes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

ROWS = sorted((Path(__file__).parent / "native").glob("rows_*.jsonl"))
KINDS = {
    "tool",
    "exec",
    "header",
    "pc",
    "soname",
    "find_library",
    "library",
    "cmake",
    "typelib",
    "words",
    "perl",
    "python",
}


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("path", ROWS, ids=lambda path: path.stem)
def test_a_row_says_what_failed_and_how_it_is_made_to_fail_again(path: Path) -> None:
    for row in _rows(path):
        assert row["command"], row["package"]
        assert row["log"].strip(), row["package"]
        assert row["rc"] != 0, row["package"]
        assert row["phase"] in {"build", "import", "other"}
        assert all(need["kind"] in KINDS and need["name"] and need["apt"] for need in row["needed_in_order"])
        assert bool(row["needed_in_order"]) is not bool(row.get("cause")), row["package"]
        assert {need["apt"] for need in row["needed_in_order"]} <= set(row["accepted"])


@pytest.mark.parametrize("path", ROWS, ids=lambda path: path.stem)
def test_a_row_lies_in_the_half_that_its_name_says(path: Path) -> None:
    learning = {int(hashlib.sha256(row["package"].encode()).hexdigest()[0], 16) % 2 == 0 for row in _rows(path)}
    assert learning == {path.stem == "rows_learning"}


def test_a_reported_failure_says_where_it_was_reported_and_what_is_right() -> None:
    rows = _rows(Path(__file__).parent / "native" / "reported.jsonl")
    assert len({row["source"] for row in rows}) == len(rows)
    for row in rows:
        assert bool(row["needed_in_order"]) is not bool(row.get("cause")), row["source"]
        assert {need["apt"] for need in row["needed_in_order"]} <= set(row["accepted"])
        assert all(need["kind"] in KINDS for need in row["needed_in_order"])
