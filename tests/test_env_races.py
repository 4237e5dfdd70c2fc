"""Commands about one environment at the same moment: each finds, once its turn comes, what the others have made."""

# ruff: noqa: F811  the fixtures are imported
from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from env_fixtures import Command, base, command, stable, web, wheels  # noqa: F401
from small_wheels import write_wheel

from colab_env import _file_locks, envs

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def in_turn(command: Command, lock: Path, *lines: Sequence[str]) -> list[int]:
    """Run commands that all wait for a lock before any of them has it; return their exit codes, sorted."""
    with _file_locks.locked(lock):
        runs = [command.start(*line) for line in lines]
        for run in runs:
            assert run.stderr is not None
            while "Waiting for another run" not in (said := run.stderr.readline()):
                assert said, run.communicate()
    for run in runs:
        run.communicate(timeout=300)
    return sorted(run.returncode for run in runs)


def packages(name: str) -> set[str]:
    return {package.rpartition("-")[0] for package in envs.history(name)[0].packages}


def test_packages_that_are_added_at_the_same_moment_are_all_there(base, web, wheels, command):
    for name in ("one", "two"):
        write_wheel(wheels, name, "1.0")
    lines = [("env", "add", "web", "one"), ("env", "add", "web", "two"), ("env", "upgrade", "web")]
    assert in_turn(command, base / ".locks/web", *lines) == [0, 0, 0]
    assert packages("web") == {"demo", "other", "one", "two"}
    envs.upgrade("web")
    assert packages("web") == {"demo", "other", "one", "two"}


def test_a_repair_that_waited_keeps_what_was_added_meanwhile(base, web, wheels, command):
    write_wheel(wheels, "one", "1.0")
    next(web.glob("lib/python3*/site-packages/demo.py")).write_text("damaged")
    lines = [("env", "add", "web", "one"), ("env", "check", "--deep", "--repair", "web")]
    assert in_turn(command, base / ".locks/web", *lines) == [0, 0]
    assert packages("web") == {"demo", "other", "one"}
    assert not envs.check("web", deep=True)[0].problems


def test_of_two_that_take_one_name_the_second_is_refused(base, web, wheels, command):
    envs.create("api", "other", wheels=wheels)
    lines = [("env", "rename", name, "new") for name in ("web", "api")]
    assert in_turn(command, base / ".locks/new", *lines) == [0, 33]
    assert {each.name for each in envs.list_environments()} in ({"new", "api"}, {"new", "web"})
    assert len(envs.history("new")) == 1


def test_of_two_that_are_adopted_under_one_name_the_second_stays_where_it_is(base, tmp_path, command):
    sources = [tmp_path / "one", tmp_path / "two"]
    for source in sources:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", source], check=True)
    lines = [("env", "adopt", "web", str(source)) for source in sources]
    assert in_turn(command, base / ".locks/web", *lines) == [0, 33]
    assert sum(source.is_dir() for source in sources) == 1
    assert len(envs.history("web")) == 1


def test_an_environment_that_another_run_has_renamed_meanwhile_is_said_to_be_gone(base, web, command):
    lines = [("env", "rename", "web", name) for name in ("one", "two")]
    assert in_turn(command, base / ".locks/web", *lines) == [0, 31]
    assert len(envs.list_environments()) == 1


def test_what_another_run_has_purged_meanwhile_is_gone_and_no_stranger(base, web, command):
    lines = [("env", "purge", "web"), ("env", "purge", "web")]
    assert in_turn(command, base / ".locks/web", *lines) == [0, 31]


def test_what_another_run_has_purged_meanwhile_may_be_gone(base, web, command):
    lines = [("env", "remove", "--if-exists", "web"), ("env", "remove", "--if-exists", "web")]
    assert in_turn(command, base / ".locks/web", *lines) == [0, 0]
