"""Which Python a person asks for, and what a Python is called."""

from __future__ import annotations

from pathlib import Path

import pytest

from colab_env.errors import UsageError
from colab_env.interpreter import Interpreter, fits_short_version, parse_specifier


@pytest.mark.parametrize(
    ("asked", "fitting", "others"),
    [
        ("3", ["3.8.0", "3.13.5"], ["2.7.18", "4.0.0"]),
        ("3.12", ["3.12.0", "3.12.11"], ["3.11.9", "3.13.0", "3.120.0"]),
        ("3.12.4", ["3.12.4"], ["3.12.5"]),
        (" 3.12 ", ["3.12.1"], ["3.11.1"]),
        (">=3.11,<3.13", ["3.11.0", "3.12.9"], ["3.10.9", "3.13.0"]),
        ("~=3.11", ["3.11.0", "3.13.0"], ["3.10.0", "4.0.0"]),
        ("==3.11.*", ["3.11.7"], ["3.12.0"]),
        ("!=3.12.*,>=3.11", ["3.11.1", "3.13.1"], ["3.12.1"]),
        ("*", ["3.8.0", "3.13.0"], []),
        ("", ["3.8.0"], []),
        # Poetry's own spellings, by the examples of its manual.
        ("^3.11", ["3.11.0", "3.13.1"], ["3.10.9", "4.0.0"]),
        ("^3.11.4", ["3.11.4", "3.12.0"], ["3.11.3", "4.0.0"]),
        ("^3", ["3.8.0"], ["4.0.0"]),
        ("~3.11", ["3.11.9"], ["3.10.0", "3.12.0"]),
        ("~3.11.2", ["3.11.2", "3.11.9"], ["3.11.1", "3.12.0"]),
        ("~3", ["3.13.0"], ["4.0.0"]),
        ("^3.9,<3.13", ["3.9.0", "3.12.0"], ["3.13.0"]),
    ],
)
def test_a_version_is_read_as_pip_and_poetry_read_it(asked, fitting, others):
    specifier = parse_specifier(asked)
    assert [version for version in fitting if not specifier.contains(version)] == []
    assert [version for version in others if specifier.contains(version)] == []


@pytest.mark.parametrize(
    ("asked", "fitting", "other"),
    [("3.11.*", "3.11.7", "3.12.0"), ("3.*", "3.11.7", "4.0.0"), ("~3.9 || ~3.11", "3.11.2", "3.10.1")],
)
def test_poetrys_stars_and_alternatives_are_read(asked, fitting, other):
    assert parse_specifier(asked).contains(fitting)
    assert not parse_specifier(asked).contains(other)


@pytest.mark.parametrize("asked", ["banana", "3.y", ">=", "3.12-dev", "pypy3.10", "^", "3..1", "^banana"])
def test_what_is_no_version_is_refused_with_an_example(asked):
    with pytest.raises(UsageError, match="is not a Python version") as caught:
        parse_specifier(asked)
    assert asked in caught.value.message
    assert ">=3.11,<3.13" in caught.value.hint


@pytest.mark.parametrize(
    ("asked", "short_version", "fits"),
    [("3.12", "3.12", True), ("3.12.4", "3.12", True), ("<3.12", "3.12", False), (">3.12.5,<3.13", "3.12", True)],
)
def test_a_short_version_fits_when_one_of_its_releases_does(asked, short_version, fits):
    assert fits_short_version(parse_specifier(asked), short_version) is fits


def test_an_interpreter_has_the_names_that_kernels_and_wheels_use():
    python = Interpreter(path=Path("/usr/bin/python3.9"), version="3.9.18", source="system")
    assert (python.short_version, python.tag) == ("3.9", "cp39")
    assert Interpreter(path=Path("/x"), version="3.13.0", source="uv").tag == "cp313"


def test_a_version_with_or_gets_the_form_that_is_read():
    with pytest.raises(UsageError) as caught:
        parse_specifier("3.10 or 3.12")
    assert "did you mean '3.10 || 3.12'?" in caught.value.hint
