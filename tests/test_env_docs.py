"""The page about named environments says what is so: its command lines are understood, and its tests exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from colab_env import cli, env_cli

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/named-environments.md").read_text(encoding="utf-8")
LINES = sorted(set(re.findall(r"(?m)^ *(?:.*lock )?(colab-env .+?)(?: >.*| +#.*)?$", PAGE)))


@pytest.mark.parametrize("line", LINES)
def test_every_command_line_is_understood(line):
    own, _ = env_cli.split_command_line(shlex.split(line)[1:])
    arguments = cli._parser().parse_args(own)
    assert callable(arguments.run)


def test_there_are_command_lines():
    assert len(LINES) >= 7


def test_every_test_that_is_named_exists():
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").glob("test_env*.py"))
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert len(named) > 15
    assert not [name for name in named if f"def {name}(" not in code]
