"""Every parser accepts what it is given or refuses it with an error of ours, in bounded time and memory: a sample.

`python -m tests.fuzz --count 10000` gives each of them ten thousand inputs.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from fuzz import trial
from fuzz.parsers import PARSERS
from fuzz.trial import Parser

from colab_env.errors import ProjectFileError

COUNT = 25


@pytest.fixture
def world(tmp_path: Path):
    with trial.world(tmp_path) as made:
        yield made


@pytest.mark.parametrize("parser", PARSERS, ids=lambda each: each.name)
def test_every_input_is_accepted_or_refused_with_an_error_of_ours(parser, world):
    tally = trial.run(parser, world, count=COUNT)
    assert tally.faults == {}
    assert tally.inputs >= COUNT / 2


def test_the_names_of_parsers_are_each_ones_own():
    assert len({each.name for each in PARSERS}) == len(PARSERS) >= 21


def _parser(call) -> Parser:
    from hypothesis import strategies as st

    return Parser(name="x", inputs=st.integers(), call=call)


def test_an_error_of_python_s_is_a_fault(world):
    tally = trial.run(_parser(lambda _world, value: 1 // (value - value)), world, count=10)
    assert list(tally.faults) == ["ZeroDivisionError in tests"]
    assert tally.untyped == tally.inputs


def test_an_error_of_ours_is_none(world):
    def refuse(_world, _value):
        raise ProjectFileError("no")

    tally = trial.run(_parser(refuse), world, count=10)
    assert (tally.refused, tally.faults) == (tally.inputs, {})


def test_what_takes_too_long_or_too_much_is_a_fault(world, monkeypatch):
    monkeypatch.setattr(trial, "SECONDS", 0.001)
    tally = trial.run(_parser(lambda _world, _value: sum(range(1_000_000))), world, count=3)
    assert any("more than" in kind for kind in tally.faults)
