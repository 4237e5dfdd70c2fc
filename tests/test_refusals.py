"""What can be refused is refused before anything is installed or written, and says what is wrong, where, and what next."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from test_installers import fill

import colab_env
from colab_env import poetry, setting_up, uv, wheels
from colab_env.errors import ColabEnvError, CommandError, MissingStepError, NetworkError, NoSuchPythonError, UsageError
from colab_env.machine import Machine

OLD_PEP621 = '[project]\nname = "a"\nversion = "1"\n'


def tree(*places: Path) -> list[Path]:
    return sorted(path for place in places for path in place.rglob("*"))


@pytest.mark.parametrize(
    ("options", "files", "message"),
    [
        ({"kernel": "a name"}, {}, "a name"),
        ({"lock": "nothere.txt"}, {}, "there is no lock file"),
        ({"poetry_version": "newest"}, {}, "'newest' is not a version of Poetry"),
        ({"poetry_version": "1.1.15"}, {}, "export plugin needs Poetry 1.3"),
        ({"python": "three"}, {}, "three"),
        ({"extras": ["x"]}, {"pyproject.toml": OLD_PEP621}, "has no extra 'x'"),
        ({}, {"pyproject.toml": "[project\n"}, "pyproject.toml, line 1"),
        ({}, {"pyproject.toml": "<<<<<<< HEAD\n"}, "pyproject.toml, line 1: it has the marks of a git conflict"),
        ({}, {"poetry.lock": "[metadata]\n<<<<<<< HEAD\n"}, "poetry.lock, line 2: it has the marks of a git"),
        ({}, {"poetry.lock": 'package = []\n[metadata]\nlock-version = "2.1\n'}, "poetry.lock cannot be read"),
        ({}, {"uv.lock": "version = 1\n[[package]]\nname = 'a\n"}, "uv.lock cannot be read"),
        ({}, {"pylock.toml": 'lock-version = "1.0"\nx = [\n'}, "pylock.toml cannot be read"),
        (
            {},
            {"pylock.toml": "# made by uv\n-e .\nanyio==4.9.0 \\\n    --hash=sha256:00\n"},
            "pylock.toml is in pip's format",
        ),
        ({}, {"requirements.txt": "-r more.txt\n", "more.txt": "a\n>>>>>>> b\n"}, "more.txt, line 2: it has the marks"),
        (
            {},
            {"uv.lock": "[[package]]\n" + f'name = "{"x" * 100_000}"\n[[package]]\nname = "y'},
            "uv.lock cannot be read",
        ),
    ],
)
def test_a_refusal_comes_first_and_leaves_no_trace(project, home, no_children, options, files, message):
    for name, text in files.items():
        (project / name).write_text(text)
    before = tree(project, home)
    with pytest.raises(ColabEnvError) as caught:
        setting_up.setup(project=project, **{"interpreter": "system", **options})
    assert message in caught.value.message
    assert caught.value.hint
    assert tree(project, home) == before


@pytest.mark.parametrize("version", ["3.9", "3.9.18"])
def test_a_python_that_the_project_refuses_is_not_chosen(project, home, version):
    (project / "pyproject.toml").write_text(f'{OLD_PEP621}requires-python = ">=3.10"\n')
    before = tree(project, home)
    with pytest.raises(NoSuchPythonError, match=f"asks for Python '>=3.10', but {version} was chosen"):
        setting_up.setup(version, project=project, interpreter="system")
    assert tree(project, home) == before


def test_a_project_that_does_not_exist_is_not_made_for_a_refusal(tmp_path, home):
    with pytest.raises(UsageError, match="there is no lock file"):
        setting_up.setup(project=tmp_path / "new", interpreter="system", lock="nothere.txt")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("version", [None, "2.5.1", "1.8.5", "2.0.0rc1", "1.3"])
def test_versions_of_poetry_that_can_be_installed(version):
    poetry.require_version(version)


UNREACHED = {
    "its name is not known here": "error: Failed to fetch: `https://me:pw@a.example/simple/six/`\n"
    " dns error: failed to lookup address information",
    "it refuses connections": "  Caused by: Failed to fetch: `https://a.example/x`\n"
    " tcp connect error: Connection refused (os error 111)",
    "the proxy does not answer": "WARNING: Retrying (Retry(total=0)) after 'ProxyError('Cannot connect to proxy.', "
    "NewConnectionError(\"HTTPSConnection(host='a.example', port=443): Failed\"))'",
    "its certificate is not trusted": "Failed to fetch: `https://a.example/x`\n invalid peer certificate: UnknownIssuer",
}


@pytest.mark.parametrize("message", UNREACHED)
def test_an_index_that_is_not_reached_is_told_in_a_few_words(message):
    lines = tuple(UNREACHED[message].splitlines())
    error = wheels.translate_error(CommandError("uv failed", lines=lines), {})
    assert isinstance(error, NetworkError)
    assert f"a.example: {message}" in error.message
    assert "pw@" not in error.message
    assert "\n" not in error.message


def test_the_address_that_is_not_reached_is_named_and_no_other_that_was_asked_meanwhile():
    lines = (
        "   Updating https://github.com/huggingface/diffusers (HEAD)",
        "error: Request failed after 3 retries in 7.2s",
        "cause: Failed to fetch: https://wheels.example/cu128/torch/",
        "cause: error sending request for url (https://wheels.example/cu128/torch/)",
        "cause: failed to lookup address information: Name or service not known",
    )
    error = wheels.translate_error(CommandError("uv failed", lines=lines), {})
    assert error.message == "the package index cannot be reached: wheels.example: its name is not known here"


@pytest.mark.parametrize(
    "line",
    [
        "urllib.error.URLError: <urlopen error [Errno -2] Name or service not known>",
        "Error: cannot download https://node.example/v20.tar.gz: [Errno -2] Name or service not known",
        "fatal: unable to access 'https://a.example/b/': Could not resolve host: a.example",
        "curl: (7) Failed to connect to a.example port 443: Connection refused",
        "socket.gaierror: [Errno -3] Temporary failure in name resolution",
    ],
)
def test_a_build_that_asks_the_network_is_told_as_that(line):
    hint = wheels.build_hint(f"Failed to build `lesson`\n  cause: The build backend returned an error\n{line}\n")
    assert hint.startswith("its build asks the network for something that cannot be reached")


def test_a_package_without_a_wheel_for_this_python_is_told_with_uv_s_own_hint():
    lines = (
        "error: Package `beancount` can't be installed because it doesn't have a source distribution or wheel",
        "       for the current platform",
        "",
        "hint: You're using CPython 3.11 (`cp311`), but `beancount` (v3.2.0) only has wheels with `cp312`",
    )
    error = wheels.translate_error(CommandError("`/a/uv pip install ...` ended with exit code 2", lines=lines), {})
    assert error.message.startswith("Package `beancount` can't be installed")
    assert error.message.endswith("for the current platform")
    assert error.hint.startswith("You're using CPython 3.11")


def test_a_uv_that_is_too_old_is_named_as_that():
    lines = ("error: unexpected argument '--no-annotate' found", "Usage: uv export --no-header")
    error = wheels.translate_error(CommandError("`/a/uv export ...` ended with exit code 2", lines=lines), {})
    assert error.message == "the uv that is on PATH is too old: it does not know --no-annotate"
    assert "uv self update" in error.hint


@pytest.mark.network
def test_pins_that_do_not_fit_are_told_with_the_cause_and_not_with_a_command_line(machine, project):
    (project / "requirements.txt").write_text("six==1.16.0\nsix==1.15.0\n")
    with pytest.raises(CommandError) as caught:
        fill(project, python=machine.python)
    assert "no versions fit what is asked for: Because you require six==1.16.0 and six==1.15.0" in caught.value.message
    assert caught.value.hint
    assert "pip install" not in str(caught.value)
    (project / "requirements.txt").write_text("six==99\n")
    with pytest.raises(CommandError, match=r"Because there is no version of six==99"):
        fill(project, python=machine.python)
    assert not (project / ".venv").exists()


@pytest.mark.usefixtures("offline")
def test_a_fresh_home_without_a_network_is_said_in_a_few_words(project, home, monkeypatch):
    monkeypatch.setattr(uv, "find", lambda _machine: None)
    (project / "requirements.txt").write_text("six==1.16.0\n")
    with pytest.raises(NetworkError, match=r"the package index cannot be reached: .*(proxy|refuses)") as caught:
        setting_up.setup(project=project, interpreter="system")
    assert "Retrying" not in caught.value.message
    assert not (project / ".venv").exists()
    assert not [*(Machine.detect().data / "layers").glob("*")]


@pytest.mark.parametrize(("typed", "meant"), [("setpu", "setup"), ("swich", "switch"), ("env", "envs")])
def test_a_name_that_the_package_does_not_have_is_met_with_what_was_meant(typed: str, meant: str) -> None:
    with pytest.raises(AttributeError, match=f"has no attribute '{typed}': did you mean .*{meant}"):
        getattr(colab_env, typed)


def test_what_asks_for_names_that_may_be_missing_waits_for_no_search() -> None:
    """IPython asks every value for a dozen names with underscores, and each import of a module asks here first."""
    code = "import sys, colab_env; hasattr(colab_env, '_repr_html_'); from colab_env import cards; print('difflib' in sys.modules)"
    done = subprocess.run([sys.executable, "-S", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_kernel_asked_for_where_there_is_none_has_a_hint_that_makes_one(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, hint in ((None, "setup() makes one"), ("py312", "none is there yet: setup() makes one")):
        with pytest.raises(MissingStepError) as caught:
            colab_env.check_kernel(name)
        assert caught.value.hint == hint
