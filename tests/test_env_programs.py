"""A shell in an environment, links to its programs, packages added to it, and environments of scripts that nothing uses."""

# ruff: noqa: F811  the fixtures are imported; exit codes are what is looked at
from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from env_fixtures import Command, base, command, stable, web, wheels  # noqa: F401
from small_wheels import write_wheel

from colab_env import _state, env_programs, envs
from colab_env.errors import NoSuchProgramError, NotOursError, UsageError
from colab_env.machine import Machine
from colab_env.named_env import programs, scripts
from colab_env.named_env.inventory import Receipt
from colab_env.named_env.recipe import Recipe


def output(program: Path, *words: str) -> str:
    return subprocess.run([program, *words], check=True, capture_output=True, text=True).stdout.strip()


# shell


@pytest.mark.parametrize("shell", ["bash", "sh", "zsh", "fish"])
def test_a_shell_has_the_programs_first_whatever_its_settings_say(web, command, tmp_path, shell):
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"there is no {shell} here")
    for name in (".bashrc", ".zshrc"):
        (tmp_path / name).write_text("PATH=/usr/bin:/bin; echo settings were read\n")
    environ = {**os.environ, "SHELL": program, "HOME": str(tmp_path), "PYTHONPATH": "/nonsense"}
    words = 'command -v demo\necho "pythonpath=$PYTHONPATH" "$VIRTUAL_ENV_PROMPT"\nexit 3\n'
    answer = command("env", "shell", "web", input=words, env=environ)
    assert answer.returncode == 3
    assert f"{web.resolve()}/bin/demo" in answer.stdout
    assert "pythonpath= web" in answer.stdout
    assert shell not in ("bash", "zsh") or "settings were read" in answer.stdout


def test_zsh_reads_the_files_that_its_own_zshenv_points_to(web, command, tmp_path):
    program = shutil.which("zsh")
    if program is None:
        pytest.skip("there is no zsh here")
    (tmp_path / "z").mkdir()
    (tmp_path / ".zshenv").write_text("ZDOTDIR=~/z\n")
    (tmp_path / "z/.zshrc").write_text("PATH=/usr/bin:/bin; echo settings were read\n")
    environ = {name: value for name, value in os.environ.items() if name != "ZDOTDIR"}
    environ |= {"SHELL": program, "HOME": str(tmp_path)}
    answer = command("env", "shell", "web", input='command -v demo\necho "<$ZDOTDIR>"\nexit 3\n', env=environ)
    assert f"{web.resolve()}/bin/demo" in answer.stdout
    assert "settings were read" in answer.stdout
    assert f"<{tmp_path}/z>" in answer.stdout


def test_a_shell_that_cannot_be_run_is_named(web, monkeypatch):
    monkeypatch.setenv("SHELL", "/nonsense/sh")
    with pytest.raises(UsageError, match="SHELL names /nonsense/sh"):
        env_programs.shell("web")


# expose


def test_exposed_programs_are_links_that_follow_the_environment(web, wheels, tmp_path):
    links = tmp_path / "links"
    (exposed,) = env_programs.expose("web", directory=links)
    assert (exposed.program, exposed.action) == ("demo", "done")
    assert "is not on PATH" in exposed.notes[0]
    assert output(links / "demo") == "1.0"
    write_wheel(wheels, "demo", "2.0", code="def main(): print('two')", programs=["demo"])
    envs.upgrade("web")
    assert output(links / "demo") == "two"
    assert env_programs.expose("web", "demo", directory=links)[0].action == "already there"
    assert [each.action for each in env_programs.expose("web", remove=True, directory=links)] == ["removed"]
    assert list(links.iterdir()) == []


def test_links_in_any_directory_on_path_follow_a_new_name_and_go_with_the_environment(web, tmp_path, monkeypatch):
    links, other = tmp_path / "links", tmp_path / "other"
    monkeypatch.setenv("PATH", f"{os.environ['PATH']}:{links}:{other}")
    env_programs.expose("web", directory=links)
    other.mkdir()
    (other / "demo").write_text("somebody's own\n")
    envs.rename("web", "site")
    assert output(links / "demo") == "1.0"
    envs.purge("site")
    assert list(links.iterdir()) == []
    assert (other / "demo").exists()


def test_nobodys_file_is_replaced_and_nothing_is_exposed_then(web, tmp_path):
    links = tmp_path / "links"
    links.mkdir()
    (links / "demo").write_text("mine")
    with pytest.raises(NotOursError, match="is somebody's own"):
        env_programs.expose("web", directory=links)
    assert env_programs.expose("web", remove=True, directory=links) == []
    assert (links / "demo").read_text() == "mine"
    (links / "demo").unlink()
    (links / "demo").symlink_to("/bin/true")
    with pytest.raises(NotOursError, match="is a link to /bin/true"):
        env_programs.expose("web", directory=links)


def test_python_is_not_exposed_and_an_unknown_program_gets_near_matches(web, tmp_path):
    with pytest.raises(UsageError, match="would leave its environment"):
        env_programs.expose("web", "python", directory=tmp_path)
    with pytest.raises(NoSuchProgramError) as raised:
        env_programs.expose("web", "dmeo", directory=tmp_path)
    assert "demo" in raised.value.hint


def test_links_follow_a_rename_and_go_with_the_environment(web, tmp_path, monkeypatch):
    monkeypatch.setattr(programs, "link_directory", lambda machine: tmp_path / "links")
    env_programs.expose("web")
    envs.rename("web", "site")
    assert output(tmp_path / "links/demo") == "1.0"
    envs.purge("site")
    assert list((tmp_path / "links").iterdir()) == []


def test_links_in_a_directory_of_ones_own_follow_too(web, tmp_path):
    links = tmp_path / os.fsdecode(b"caf\xe9 b")  # a name that is no text
    env_programs.expose("web", directory=links)
    envs.rename("web", "site")
    assert output(links / "demo") == "1.0"
    envs.purge("site")
    assert list(links.iterdir()) == []
    assert not (web.parent / ".links").exists()


def test_without_programs_of_what_was_asked_for_those_of_the_rest_are_exposed(web, wheels, tmp_path):
    write_wheel(wheels, "plain", "1.0", needs=["demo"])
    envs.create("web", "plain", wheels=wheels)
    assert [each.program for each in env_programs.expose("web", directory=tmp_path / "links")] == ["demo"]


# add


def test_what_is_added_is_the_next_build_and_the_rest_stays_as_it_is(web, wheels):
    write_wheel(wheels, "more", "3.0")
    write_wheel(wheels, "demo", "2.0", programs=["demo"])
    result = envs.add("web", "more")
    assert result.notes == ("+ more 3.0",)
    assert output(web / "bin/demo") == "1.0"
    assert "more" in (web / "pylock.toml").read_text()
    assert envs.create("web", "demo", "more", wheels=wheels).action == "already there"
    assert [each.number for each in envs.history("web")] == [2, 1]


def test_another_version_may_be_added(web, wheels):
    write_wheel(wheels, "demo", "2.0", code="def main(): print('two')", programs=["demo"])
    assert envs.add("web", "demo==2.0").notes[0] == "demo 1.0 → 2.0"
    assert output(web / "bin/demo") == "two"


def test_an_option_is_not_added(web):
    with pytest.raises(UsageError, match="is not a package"):
        envs.add("web", "--index-url=https://example.org")


# prune


def test_environments_of_scripts_go_when_they_were_not_used_for_long(base, tmp_path):
    for name in ("script-old", "script-new", "web"):
        envs.create(name)
        os.utime(base / name / "pyvenv.cfg", (0, 0))
    for name in ("script-old", "web"):
        receipt = base / name / "colab-env.json"
        _state.write(receipt, replace(_state.read(receipt, Receipt), created=0.0))
    note = base / ".scripts/%nothing%x.py"
    note.parent.mkdir()
    note.write_text("script-old\n1 2 3\n")
    (planned,) = envs.prune(dry_run=True)
    assert (planned.name, planned.reason) == ("script-old", "it would go")
    assert (base / "script-old").is_dir()
    assert [each.name for each in envs.prune()] == ["script-old"]
    assert [each.name for each in envs.list_environments()] == ["script-new", "web"]
    assert not note.exists()


def test_the_names_of_scripts_environments_have_the_prefix_that_prune_looks_for():
    assert scripts.environment_name(Recipe(packages=("six",)), machine=Machine.detect()).startswith(scripts.PREFIX)


def test_remove_is_another_word_for_purge(web, command):
    assert command("env", "remove", "web").returncode == 0
    assert not web.exists()


def test_status_shows_the_named_environments_and_what_is_wrong_with_them(web, command, tmp_path):
    words = ("status", "--project", str(tmp_path))
    shown = command(*words).stdout
    assert "Environments 1 named: web" in shown
    assert "its Python is gone" not in shown
    (web / "bin/python").unlink()
    assert "web: its Python is gone" in command(*words).stdout
