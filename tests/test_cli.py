"""The command `colab-env`: help with examples, one JSON value, exit codes by cause, and never a traceback."""

from __future__ import annotations

import argparse
import ast
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT

from colab_env import _report, cli, env_cli, steps, usage
from colab_env.errors import CommandError


def commands(
    parser: argparse.ArgumentParser, words: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], argparse.ArgumentParser]]:
    """Return every command that does something, with its words."""
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not groups:
        yield words, parser
    for group in groups:
        for name, inner in group.choices.items():
            yield from commands(inner, (*words, name))


COMMANDS = dict(commands(cli._parser()))


def run(*words: str | Path, **options) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, with pipes."""
    return subprocess.run(
        [sys.executable, "-m", "colab_env", *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        **options,
    )


@pytest.mark.parametrize("words", list(COMMANDS), ids=" ".join)
def test_every_command_explains_itself_with_an_example_that_is_right(words, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main([*words, "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    example = text.split("example:\n")[1].splitlines()[0].strip()
    assert example.startswith("colab-env ")
    assert words[-1] in example


def test_the_overview_names_every_group(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    text = capsys.readouterr().out
    assert "examples:" in text
    assert all(words[0] in text for words in COMMANDS)


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (["setpu"], "colab-env has no command 'setpu'", "did you mean setup?"),
        (["kernel"], "colab-env kernel needs a command", "one of list, register, remove, check"),
        (["kernel", "lst"], "colab-env kernel has no command 'lst'", "did you mean list?"),
        (["quux"], "colab-env has no command 'quux'", "see `colab-env --help`"),
        (["install", "six"], "colab-env has no command 'install'", "`colab-env setup` for a project"),
        (["setup", "--pyhton", "3.12"], "colab-env setup has no option --pyhton", "did you mean --python?"),
        (["status", "frob"], "colab-env status has no use for 'frob'", "see `colab-env status --help`"),
        (["completion", "basch"], "shell cannot be 'basch'", "did you mean bash?"),
        (["kernel", "remove"], "colab-env kernel remove: it needs NAME", "see `colab-env kernel remove --help`"),
        (["cache", "prune", "x", "--keep", "two"], "--keep: invalid int value: 'two'", "see `colab-env cache prune"),
        (["setup", "--python"], "--python: expected one argument", "see `colab-env setup --help`"),
    ],
)
def test_what_is_no_command_line_is_answered_in_two_lines_with_what_was_meant(words, message, hint, capsys):
    assert cli.main(words) == 2
    said = capsys.readouterr()
    first, second = said.err.splitlines()
    assert first.startswith("colab-env: ")
    assert message in first
    assert second.startswith("→ ")
    assert hint in second
    assert said.out == ""
    assert cli.main([*words, "--json"]) == 2
    answer = json.loads(capsys.readouterr().out)
    assert answer["error"] == "UsageError"
    assert message in answer["message"] or words[-1] == "--python"  # which takes `--json` for its value, and says so


def test_the_command_alone_says_what_to_do_first_and_then_every_command_by_group(capsys):
    assert cli.main([]) == 0
    text = capsys.readouterr().out
    assert [line.split()[1] for line in text.splitlines()[2:5]] == ["open", "setup", "status"]
    listed = [line.split()[0] for line in text.splitlines() if re.match(r"  [a-z]", line)]
    assert [*dict.fromkeys(words[0] for words in COMMANDS)] == [name for name in listed if name != "colab-env"] or (
        {words[0] for words in COMMANDS} == {name for name in listed if name != "colab-env"}
    )
    assert max(map(len, text.splitlines())) <= 120


def test_every_command_is_in_one_group():
    grouped = [name for _, names in usage.GROUPS for name in names]
    assert sorted(grouped) == sorted({words[0] for words in COMMANDS})


@pytest.mark.parametrize(
    ("python", "shell"),
    [
        ("run setup() first", "run `colab-env setup` first"),
        (
            "run install_miniconda() or install_python() first",
            "run `colab-env install-miniconda` or `colab-env install-python` first",
        ),
        (
            "run setup(interpreter='miniconda'), or name another lock file with lock=...",
            "run `colab-env setup --interpreter miniconda`, or name another lock file with --lock ...",
        ),
        ("; use python='3.12' or interpreter='uv'", "; use --python 3.12 or --interpreter uv"),
        ("use python='>=3.11,<3.13'", "use --python '>=3.11,<3.13'"),
        ("(--exact, or exact=True, removes it)", "(--exact removes it)"),
        (
            "forget it with --defaults, defaults=True; nothing was changed",
            "forget it with --defaults; nothing was changed",
        ),
        (
            "write elsewhere with --output DIR, output=DIR; or over it with --overwrite, overwrite=True; nothing was written",
            "write elsewhere with --output DIR; or over it with --overwrite; nothing was written",
        ),
        ("take kind='packages', --kind packages: the files", "take --kind packages: the files"),
        (
            "give names alone, such as keep=['torch']: the version is the machine's",
            "give names alone, such as --keep torch: the version is the machine's",
        ),
        ("pass repository='OWNER/NAME', or `git remote add`", "pass --repository OWNER/NAME, or `git remote add`"),
        ("run configure_venv() first", "run `colab-env configure-venv` first"),
        ("run register_kernel() first, or name a kernel", "run `colab-env kernel register` first, or name a kernel"),
        ("x = y; print() showed it; a==1", "x = y; print() showed it; a==1"),
    ],
)
def test_the_command_speaks_as_a_shell_does(python, shell):
    assert usage.in_shell(python) == shell


# They are run in a notebook only, or are no words for people.
OF_NOTEBOOKS = {"magics", "switching", "live_proof", "jupyter.background", "jupyter.sessions", "jupyter.guard"}


def test_what_steps_say_speaks_as_a_shell_does_too(capsys):
    with _report.screen(_report.Plain(), wording=usage.in_shell):
        _report.keep("  setup() has something to do; keep=['torch'] keeps it")
    assert capsys.readouterr().err == "  `colab-env setup` has something to do; --keep torch keeps it\n"


def test_help_imports_nothing_that_takes_long():
    code = "import sys; sys.path.append(sys.argv.pop(1)); from colab_env import cli; cli._parser().format_help()"
    code += "; print(sorted({'dataclasses', 'inspect', 'pathlib', 'shutil', 'typing', 'difflib', 'json'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code, ROOT], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_no_message_or_hint_speaks_python_to_a_shell():
    python = re.compile(r"\b[a-z_]+=(?:'[^']|True\b|False\b)|\b(?!print\b)[a-z]+_?[a-z_]*\(\)")
    left = []
    for path in (ROOT / "colab_env").rglob("*.py"):
        module = ".".join(path.relative_to(ROOT / "colab_env").with_suffix("").parts)
        if module in OF_NOTEBOOKS or module.startswith("standalone."):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            is_hint = isinstance(node, ast.keyword) and node.arg == "hint"
            is_message = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in ("msg", "hint")
            parts = ast.walk(node.value) if is_hint or is_message else ()
            texts = [part.value for part in parts if isinstance(part, ast.Constant)]
            shown = [usage.in_shell(text) for text in texts if isinstance(text, str) and " " in text]
            left += [
                f"{module}, line {node.lineno if hasattr(node, 'lineno') else '?'}: {text}"
                for text in shown
                if python.search(text)
            ]
    assert left == []


def test_a_source_that_nobody_has_is_answered_with_those_there_are(project, home, capsys):
    assert cli.main(["setup", "--project", str(project), "--interpreter", "brew"]) == 2
    text = capsys.readouterr().err
    assert "there is no interpreter source 'brew'" in text
    assert "auto, miniconda, miniforge, system, uv" in text
    assert list(project.iterdir()) == []


def test_the_version_is_printed_installed_or_not(tmp_path):
    done = run("--version", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout.startswith("colab-env")
    assert not done.stderr


MISTAKES = [
    (["install-python", "--python", "banana", "--interpreter", "system"], 2),
    (["install-python", "--python", "3.99", "--interpreter", "system"], 3),
    (["setup", "--python", "3.99", "--interpreter", "system"], 3),
    (["setup", "--interpreter", "system", "--project", "broken"], 18),
    (["install-python", "--interpreter", "system", "--project", "broken/pyproject.toml"], 2),
    (["setup", "--interpreter", "system", "--lock", "conda/environment.yml"], 2),
    (["configure-venv", "--lock", "conda/environment.yml"], 2),
    (["install-python", "--interpreter", "system", "--project", "broken/pyproject.toml/inner"], 6),
    (["configure-venv"], 4),
    (["install-colab-packages"], 4),
    (["kernel", "register"], 4),
    (["kernel", "check", "nothing"], 4),
    (["kernel", "remove", "nothing"], 19),
    (["kernel", "remove", "../nothing"], 19),
    (["kernel", "remove", "taken"], 20),
    (["notebook", "set-kernel", "broken/pyproject.toml", "py312"], 22),
    (["notebook", "set-kernel", "nothing.ipynb", "py312"], 22),
    (["badge", "nothing.ipynb"], 25),
]


@pytest.fixture
def place(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a broken project in it, and a home with somebody else's kernel."""
    (tmp_path / "broken").mkdir()
    (tmp_path / "conda").mkdir()
    (tmp_path / "conda" / "environment.yml").write_text("dependencies: [python]\n")
    (tmp_path / "broken" / "pyproject.toml").write_text("[project\n")
    taken = home / ".local/share/jupyter/kernels/taken/kernel.json"
    taken.parent.mkdir(parents=True)
    taken.write_text('{"argv": [], "display_name": "Mine", "language": "x"}')
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "code"), MISTAKES, ids=lambda value: " ".join(value) if isinstance(value, list) else None
)
def test_a_mistake_has_the_exit_code_of_its_cause_and_a_hint(place, words, code, capsys):
    assert cli.main(words) == code
    captured = capsys.readouterr()
    assert any(line.startswith("→ ") for line in captured.err.splitlines())
    assert "colab-env: " in captured.err
    assert "Traceback" not in captured.err + captured.out


@pytest.mark.parametrize(
    ("words", "code"), MISTAKES, ids=lambda value: " ".join(value) if isinstance(value, list) else None
)
def test_a_mistake_is_one_json_value_where_that_is_asked_for(place, words, code, capsys):
    assert cli.main([*words, "--json"]) == code
    captured = capsys.readouterr()
    value = json.loads(captured.out)
    assert set(value) >= {"error", "message", "hint"}
    assert not captured.err


@pytest.mark.parametrize(
    "words", [["status"], ["kernel", "list"], ["install-python", "--interpreter", "system"]], ids=" ".join
)
def test_what_a_command_answers_is_one_json_value_on_stdout(words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main([*words, "--json"]) == 0
    captured = capsys.readouterr()
    assert isinstance(json.loads(captured.out), dict)
    assert not captured.err


@pytest.mark.parametrize(
    "words", [["status"], ["kernel", "list"], ["install-python", "--interpreter", "system"]], ids=" ".join
)
def test_quiet_is_quiet(words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main([*words, "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


def test_quiet_still_says_what_is_wrong(place, capsys):
    assert cli.main(["install-python", "--python", "3.99", "--interpreter", "system", "--quiet"]) == 3
    captured = capsys.readouterr()
    assert "no Python on this machine fits" in captured.err
    assert not captured.out


def test_a_badge_obeys_json_and_quiet(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lesson.ipynb").write_text('{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}')
    for words in (["init", "-q"], ["remote", "add", "origin", "https://github.com/ada/lessons"]):
        subprocess.run(["git", *words], check=True)
    arguments = ["badge", "lesson.ipynb", "--repository", "ada/lessons", "--branch", "main"]
    assert cli.main([*arguments, "--json"]) == 0
    assert "colab-badge.svg" in json.loads(capsys.readouterr().out)["markdown"]
    assert cli.main([*arguments, "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


def test_the_stop_button_is_no_traceback(monkeypatch, capsys):
    def stopped(*_arguments: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(steps, "install_python", stopped)
    assert cli.main(["install-python"]) == 130
    assert "what was there before is still there" in capsys.readouterr().err


def test_ctrl_c_while_the_command_is_loaded_is_no_traceback():
    stopping = (
        "import os, signal, sys\n"
        "class Stopped:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'colab_env.step_cli': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Stopped())\n"
        "from colab_env.__main__ import main\n"
        "main()\n"
    )
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", stopping], env=environ, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


def test_a_failed_tools_words_are_shown(monkeypatch, capsys):
    def failing(*_arguments: object, **_options: object) -> None:
        msg = "`tool` ended with exit code 7\n    its last words"
        raise CommandError(msg, hint="try again", returncode=7)

    monkeypatch.setattr(steps, "install_python", failing)
    assert cli.main(["install-python"]) == 10
    assert "its last words" in capsys.readouterr().err


def test_a_pipe_gets_results_on_stdout_and_progress_on_stderr(tmp_path):
    done = run("install-python", "--interpreter", "system", cwd=tmp_path)
    assert done.returncode == 0
    (line,) = done.stdout.splitlines()
    assert line.startswith("✓ Python ")
    assert done.stderr.splitlines() == ["Choosing a Python: none is chosen yet ..."]
    assert "\x1b" not in done.stdout + done.stderr
    assert run("install-python", "--interpreter", "system", cwd=tmp_path).stderr == ""


def test_a_reader_that_goes_away_is_no_traceback(tmp_path):
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = f'"{sys.executable}" -m colab_env status; echo "code $?" >&2'
    done = subprocess.run(
        ["bash", "-c", f"({command}) | true"], env=environ, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_letters_beyond_ascii_are_printed_whatever_the_locale(tmp_path, monkeypatch):
    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.setenv("PYTHONUTF8", "0")
    monkeypatch.setenv("PYTHONCOERCECLOCALE", "0")
    done = run("install-python", "--interpreter", "system", cwd=tmp_path, encoding="utf-8", errors="replace")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.network
def test_setup_answers_in_json_and_in_plain_lines(machine, project):
    done = run("setup", "--interpreter", "system", "--kernel", "lesson", "--json", cwd=project)
    assert done.returncode == 0, done.stderr
    value = json.loads(done.stdout)
    assert value["kernel"] == "lesson"
    assert [step["step"] for step in value["steps"]][-1] == "register_kernel"
    assert not done.stderr
    again = run("setup", "--interpreter", "system", "--kernel", "lesson", cwd=project)
    lines = again.stdout.splitlines()
    assert lines[-1].startswith("✓ Ready in ")
    assert len([line for line in lines if "already there" in line]) == 5
    assert run("kernel", "check", "lesson", "--json", cwd=project).returncode == 0
    assert run("kernel", "remove", "lesson", "--quiet", cwd=project).stdout == ""


@pytest.mark.network
def test_the_stop_button_ends_a_command_with_130(machine, project):
    child = subprocess.Popen(
        [sys.executable, "-m", "colab_env", "setup", "--interpreter", "system"],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=project, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    while not (project / ".venv").exists() and child.poll() is None:
        pass
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=300)
    assert child.returncode == 130
    assert errors.splitlines()[-1] == "stopped; what was there before is still there"
    assert "Traceback" not in errors
    assert list(project.iterdir()) == []


@pytest.mark.parametrize("words", [words for words in COMMANDS if env_cli.verb(words)], ids=" ".join)
def test_a_command_about_environments_is_parsed_without_the_parsers_of_all_others(words):
    ((parsed, parser),) = [item for item in commands(cli._parser(words)) if item[0] == words]
    assert len(dict(commands(cli._parser(words)))) <= 2
    assert parser.format_help() == COMMANDS[parsed].format_help()
