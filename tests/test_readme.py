"""README: its two commands are what continuous integration runs. (What it shows and links to: test_docs.)"""

from __future__ import annotations

import re
from pathlib import Path

import colab_env

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_continuous_integration_runs_the_two_commands_for_a_fresh_machine():
    commands = re.findall(r"```console\n(.*build/venv.*)\n```", README)
    assert len(commands) == 2
    script = (ROOT / ".ci/run").read_text(encoding="utf-8")
    assert [command for command in commands if command not in script] == []


def test_every_function_it_calls_is_public():
    called = set(re.findall(r"colab_env\.([a-z_]+)\(", README))
    assert {"setup", "register_kernel", "switch", "undo"} <= called
    assert [name for name in called if not hasattr(colab_env, name)] == []


def test_every_module_of_the_picture_of_the_house_exists_and_none_is_called_otherwise():
    picture = (ROOT / "docs/architecture.md").read_text(encoding="utf-8").partition("```text")[2].partition("```")[0]
    named = re.findall(r"\b(_?[a-z][a-z_]*)\.py\b", picture)
    assert len(named) > 30
    assert [name for name in named if not (ROOT / "colab_env" / f"{name}.py").exists()] == []
    assert set(re.findall(r"\b([a-z_]+)/", picture)) == {
        path.parent.name for path in (ROOT / "colab_env").glob("*/__init__.py")
    }
