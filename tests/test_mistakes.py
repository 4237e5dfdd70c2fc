"""What people do wrong is said in words, and what the hint says works: `python -m tests.mistakes`."""

from __future__ import annotations

import pytest
from mistakes import trial, versions
from mistakes.rows import MISTAKES

from colab_env.errors import ProjectFileError
from colab_env.interpreter import parse_specifier


@pytest.mark.parametrize(("text", "fits", "other", "tool"), versions.ACCEPTED)
def test_every_form_of_a_version_is_read_as_its_tool_reads_it(text, fits, other, tool):
    specifier = parse_specifier(text)
    assert fits in specifier
    assert not other or other not in specifier


@pytest.mark.parametrize("text", [text for text, *_ in (*versions.MEANT, *versions.REFUSED)])
def test_a_version_in_a_file_is_that_file_s_mistake(text):
    with pytest.raises(ProjectFileError, match=r"^pyproject.toml, line 3: .* is not a Python version\n") as caught:
        parse_specifier(text, source="pyproject.toml, line 3: ")
    assert "'>=3.11,<3.13'; nothing was changed" in caught.value.hint


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: f"{mistake.door}: {mistake.name}")
def test_a_mistake_is_said_in_words_and_its_hint_cures(mistake):
    if mistake.waits:
        pytest.skip(f"waits for {mistake.waits}")
    assert trial.attempt(mistake).problems == {}


def test_mistakes_have_names_of_their_own():
    assert len({(mistake.door, mistake.name) for mistake in MISTAKES}) == len(MISTAKES)
