"""poetry.lock is guessed at while Poetry is being installed; Poetry's own answer decides."""

from __future__ import annotations

import re
import shutil
import sys

import pytest
from conftest import ROOT

from colab_env import pins, poetry, setting_up, steps
from colab_env.errors import LockMismatchError
from colab_env.formats import poetry_lock
from colab_env.locks import registry
from colab_env.locks.installing import Selection
from colab_env.machine import Machine

LOCKS = sorted((ROOT / "benchmarks/locks").iterdir())

pytestmark = pytest.mark.skipif(sys.version_info < (3, 11), reason="read with tomllib")


def pinned(text: str) -> dict[str, set[str]]:
    """Return the hashes of each pinned package."""
    lines = text.replace("\\\n", " ").splitlines()
    named = (line for line in lines if re.match(r"[\w.-]+(\[.*?\])?==", line))
    return {re.sub(r"\[.*?\]", "", line.split()[0]): set(re.findall(r"--hash=(\S+)", line)) for line in named}


@pytest.mark.parametrize("place", LOCKS, ids=lambda path: path.name)
def test_the_guess_is_what_poetry_says(machine, place, tmp_path):
    shutil.copytree(place, tmp_path / "project")
    lock = registry.find(tmp_path / "project")
    said = lock.format.export(lock, Selection(), python=machine.python.path, machine=Machine.detect())
    guessed = poetry_lock.guess(lock.path.read_text(), ())
    assert len(pinned(said)) >= 10
    assert pinned(guessed) == pinned(said)


LOCK = """\
[[package]]
name = "one"
version = "1.0"
optional = false
groups = ["main", "dev"]
markers = {dev = "python_version < \\"3.9\\"", main = "sys_platform == \\"linux\\""}
files = [{file = "one.whl", hash = "sha256:aa"}]

[[package]]
name = "two"
version = "2.0"
optional = false
groups = ["dev"]
files = []
%s
[metadata]
lock-version = "%s"
"""


def test_groups_have_their_own_markers():
    text = LOCK % ("", "2.1")
    assert poetry_lock.guess(text, ()) == 'one==1.0 ; (sys_platform == "linux") --hash=sha256:aa\n'
    both = 'one==1.0 ; (sys_platform == "linux") or (python_version < "3.9") --hash=sha256:aa\ntwo==2.0\n'
    assert poetry_lock.guess(text, {"dev"}) == both


@pytest.mark.parametrize(
    "text", ["", "[", "package = 3", LOCK % ("", "2.0"), LOCK % ('[package.source]\ntype = "git"', "2.1")]
)
def test_where_reading_is_not_plain_there_is_no_guess(text):
    assert poetry_lock.guess(text, ()) is None


@pytest.mark.network
@pytest.mark.parametrize(
    "guess", ["six==1.15.0\ncharset-normalizer==3.4.0\n", "idna==0.0\n", "six==1.16.0 --hash=sha256:00\n"]
)
def test_a_wrong_guess_is_put_right(machine, project, built_project, monkeypatch, guess):
    for name in ("pyproject.toml", "poetry.lock"):
        shutil.copy(built_project / name, project)
    monkeypatch.setattr(poetry_lock, "guess", lambda *_: guess)
    steps.configure_venv(project, python=machine.python)
    there = {path.name.removesuffix(".dist-info") for path in project.glob(".venv/lib/*/site-packages/*.dist-info")}
    assert {name for name in there if not name.startswith("pip-")} == {"idna-3.6", "six-1.16.0"}


@pytest.mark.machine
@pytest.mark.network
def test_poetry_is_installed_while_packages_are(home, machine, project, built_project, monkeypatch):
    """On a machine without Poetry the guess is installed first, and what Poetry refuses is taken back."""
    (machine.data / "poetry").unlink()
    for name in ("pyproject.toml", "poetry.lock"):
        shutil.copy(built_project / name, project)
    text = (project / "pyproject.toml").read_text()
    (project / "pyproject.toml").write_text(text.replace("six==1.16.0", "six==1.15.0"))
    with pytest.raises(LockMismatchError):
        setting_up.setup(str(machine.python.path), interpreter="system", project=project)
    assert poetry.installed_version(Machine.detect()) == pins.POETRY
    assert not (project / ".venv").exists()
    (project / "pyproject.toml").write_text(text)
    result = setting_up.setup(str(machine.python.path), interpreter="system", project=project)
    assert [step.step for step in result.steps] == [
        *("install_python", "install_colab_packages", "install_poetry", "configure_venv", "register_kernel")
    ]
