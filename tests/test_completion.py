"""Completion in real shells: commands, options, names of environments and programs, without colab-env's Python."""

# ruff: noqa: F811, PLW1510  the fixtures are imported; exit codes are what is looked at
from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from env_fixtures import Command, base, command, stable  # noqa: F401

LINES = {
    "colab-env env cr": "create",
    "colab-env env create --py": "--python",
    "colab-env run ": "api web",
    "colab-env run --base BASE/other ": "elsewhere",
    "colab-env run web gun": "gunicorn",
    "colab-env which --base BASE/other elsewhere d": "demo",
    "colab-env env remove web a": "api",
    "colab-env completion ": "bash fish zsh",
    "colab-env completion z": "zsh",
    "colab-env nonsense ": "",
    "colab-env env nonsense ": "",
    "colab-env env create new flask ": "",
}


@pytest.fixture
def there(base: Path) -> Path:
    """Environments as far as completion looks at them."""
    for path in (base / "web/bin/gunicorn", base / "api/bin/flask", base / "other/elsewhere/bin/demo"):
        path.parent.mkdir(parents=True)
        path.touch(mode=0o755)
        (path.parent / "notes").touch(mode=0o644)
        (path.parents[1] / "colab-env.json").touch()
    (base / "precious").mkdir()
    return base


def need(shell: str) -> str:
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"there is no {shell} here")
    return found


def written(command: Command, shell: str, directory: Path) -> Path:
    path = directory / f"colab-env.{shell}"
    path.write_text(command("completion", shell).stdout)
    # From here on, whatever takes Python fails.
    command.path.with_name("colab-env-main").write_text("#!/bin/sh\nexit 99\n")
    return path


def test_bash_completes(there, command, tmp_path):
    path = written(command, "bash", tmp_path)
    lines = [
        "try " + line.replace("BASE", str(there)).strip() + (" ''" if line.endswith(" ") else "") for line in LINES
    ]
    text = [
        f". {path}",
        'try() { COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)); _colab_env',
        'echo $(printf "%s\\n" "${COMPREPLY[@]}" | sort); }',
    ]
    done = subprocess.run(
        [need("bash"), "-c", "\n".join([*text, *lines])], capture_output=True, text=True, cwd=tmp_path
    )
    assert (done.stderr, done.stdout.splitlines()) == ("", list(LINES.values()))


def test_bash_completes_files_directories_and_accounts(there, command, tmp_path):
    path = written(command, "bash", tmp_path)
    (tmp_path / "work").mkdir()
    (tmp_path / "work/one dir").mkdir()
    (tmp_path / "work/one.txt").touch()
    lines = [
        f". {path}",
        'try() { COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)); _colab_env; printf "%s|" "${COMPREPLY[@]}"; echo; }',
        "try colab-env env create --project on",
        "try colab-env env import on",
        "try colab-env run web gunicorn --bind x on",
        "try colab-env unit --user roo",
    ]
    done = subprocess.run([need("bash"), "-c", "\n".join(lines)], capture_output=True, text=True, cwd=tmp_path / "work")
    assert done.stdout.splitlines()[0] == "one dir|"
    assert [sorted(each.split("|")) for each in done.stdout.splitlines()[1:3]] == [["", "one dir", "one.txt"]] * 2
    assert "root|" in done.stdout.splitlines()[3]


def test_fish_completes(there, command, tmp_path):
    path = written(command, "fish", tmp_path)
    lines = [f"complete -C '{line.replace('BASE', str(there))}' | string split -f1 \\t; echo ==" for line in LINES]
    program = [need("fish"), "--no-config", "-c", "\n".join([f"source {path}", *lines])]
    done = subprocess.run(
        program, capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "HOME": str(tmp_path)}
    )
    answers = [" ".join(each.split()) for each in done.stdout.split("==\n")[:-1]]
    assert (done.stderr, answers) == ("", list(LINES.values()))


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_key_completes(there, command, tmp_path, shell):
    path = written(command, shell, tmp_path)
    program = [need(shell), *(["--norc", "--noprofile"] if shell == "bash" else ["-f"]), "-i"]
    environ = {**os.environ, "HOME": str(tmp_path), "PS1": "$ ", "TERM": "dumb", "INPUTRC": "/dev/null"}
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(program[0], program, environ)
    try:
        talk(terminal, f". {path}; echo re''ady\n", until="ready")
        answer = talk(terminal, "colab-env run web guni\t", until="gunicorn")
        assert "gunicorn" in answer
    finally:
        os.close(terminal)
        os.waitpid(pid, 0)


def talk(terminal: int, words: str, *, until: str) -> str:
    """Type, and return what the screen shows until a word has come."""
    os.write(terminal, words.encode())
    seen, end = "", time.monotonic() + 30
    while until not in seen and time.monotonic() < end:
        if select.select([terminal], [], [], 0.2)[0]:
            seen += os.read(terminal, 65536).decode(errors="replace")
    return seen


def test_every_command_and_option_is_completed(command):
    from colab_env import cli, completion

    text = completion.script(cli._parser(), "bash")
    for each in completion._walk(cli._parser(), ()):
        assert f"'{' '.join(each.words)}')" in text or f"    {' '.join(each.words)})" in text
    assert "--keep-pythonpath" in text
    assert "--force" in text


def test_a_base_that_cannot_be_read_is_silent(command, tmp_path):
    assert command("--complete", str(tmp_path / "nothing"), "environments").stdout == ""
    assert command("--complete", str(tmp_path), "programs", "../x").stdout == ""
