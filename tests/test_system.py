"""The Pythons of a machine are found where they are, in the order in which people expect them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from colab_env import system
from colab_env.errors import NoSuchPythonError
from colab_env.interpreter import parse_specifier
from colab_env.machine import Machine


def program(path: Path, *, name: str = "cpython", version: str = "3.12.4", level: str = "final") -> Path:
    """Make a program that answers as an interpreter of that version would."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/sh\necho \'["{name}", "{version}", "{path}", "{level}"]\'\n')
    path.chmod(0o755)
    return path


@pytest.fixture
def runtime(tmp_path: Path) -> Machine:
    path = f"{tmp_path}/one:{tmp_path}/two:/usr/bin:/bin"
    return Machine.detect({"HOME": str(tmp_path), "PATH": path, "PYENV_ROOT": f"{tmp_path}/pyenv"})


def found(asked: str, runtime: Machine) -> Path:
    return system.find(parse_specifier(asked), machine=runtime).path


def test_path_is_searched_from_left_to_right(tmp_path, runtime):
    program(tmp_path / "two/python3", version="3.12.9")
    first = program(tmp_path / "one/python3", version="3.12.1")
    assert found("3.12", runtime) == first


def test_a_python_that_does_not_fit_is_passed_over(tmp_path, runtime):
    program(tmp_path / "one/python3", version="3.10.1")
    second = program(tmp_path / "two/python3", version="3.12.1")
    assert found(">=3.12", runtime) == second


def test_path_comes_before_pyenv_and_pyenv_before_uv(tmp_path, runtime):
    of_uv = program(tmp_path / ".local/share/uv/python/cpython-3.9.9-linux/bin/python3.9", version="3.9.9")
    assert found("==3.9.9", runtime) == of_uv
    of_pyenv = program(tmp_path / "pyenv/versions/3.9.9/bin/python3.9", version="3.9.9")
    assert found("==3.9.9", runtime) == of_pyenv
    on_path = program(tmp_path / "two/python3.9", version="3.9.9")
    assert found("==3.9.9", runtime) == on_path


def test_of_pyenvs_pythons_the_newest_that_fits_is_taken(tmp_path, runtime):
    for version in ("3.7.1", "3.9.2", "3.9.10"):
        program(tmp_path / f"pyenv/versions/{version}/bin/python3", version=version)
    assert found("3.9", runtime) == tmp_path / "pyenv/versions/3.9.10/bin/python3"


def test_pyenvs_shims_are_passed_over(tmp_path):
    program(tmp_path / "shims/python3", version="3.12.9")
    runtime = Machine.detect({"HOME": str(tmp_path), "PATH": f"{tmp_path}/shims"})
    assert all(each.path.parent.name != "shims" for each in system.available(machine=runtime))


@pytest.mark.parametrize(
    "odd", [{"name": "pypy"}, {"level": "candidate"}, {"version": "3.5.10"}, {"version": "2.7.18"}]
)
def test_what_cannot_be_used_is_passed_over(tmp_path, runtime, odd):
    path = program(tmp_path / "one/python3", **odd)
    assert system.inspect(path, machine=runtime) is None
    assert path not in [each.path for each in system.available(machine=runtime)]


@pytest.mark.parametrize(
    "text", ["#!/bin/sh\nexit 1\n", "#!/bin/sh\necho hello\n", "#!/nowhere\n", "", "#!/bin/sh\necho '[1]'\n"]
)
def test_a_broken_program_is_passed_over(tmp_path, runtime, text):
    path = program(tmp_path / "one/python3")
    path.write_text(text)
    assert system.inspect(path, machine=runtime) is None
    second = program(tmp_path / "two/python3", version="3.12.1")
    assert found("3.12", runtime) == second


def test_a_program_that_only_sounds_like_python_is_not_started(tmp_path, runtime):
    for name in ("python3-config", "python3.12-config", "pythonw", "python3.12t"):
        path = program(tmp_path / "one" / name)
        path.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    system.available(machine=runtime)
    assert not (tmp_path / "started").exists()


def test_a_name_that_cannot_fit_is_not_started(tmp_path, runtime):
    path = program(tmp_path / "one/python3.9")
    path.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    second = program(tmp_path / "two/python3", version="3.12.1")
    assert found("3.12", runtime) == second
    assert not (tmp_path / "started").exists()


def test_none_that_fits_is_an_error_that_names_what_there_is(tmp_path, runtime):
    path = program(tmp_path / "one/python3", version="3.12.1")
    with pytest.raises(NoSuchPythonError, match=r"'3\.99'") as caught:
        found("3.99", runtime)
    assert f"3.12.1 ({path})" in caught.value.message
    assert "uv" in caught.value.hint


def test_an_environments_python_stands_for_the_one_it_was_made_from(pythons, tmp_path, runtime):
    subprocess.run([pythons[0].path, "-m", "venv", "--without-pip", tmp_path / "env"], check=True)
    interpreter = system.at_path(tmp_path / "env/bin/python", machine=runtime)
    assert interpreter.path.resolve() == pythons[0].path.resolve()
    assert interpreter.version == pythons[0].version


def test_variables_for_another_python_change_nothing(pythons, tmp_path, monkeypatch):
    (tmp_path / "json.py").write_text("raise SystemExit('the wrong json')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    runtime = Machine.detect(os.environ)
    assert system.at_path(pythons[0].path, machine=runtime).version == pythons[0].version


def test_the_pythons_of_this_machine_are_listed_newest_first(pythons):
    versions = [tuple(map(int, each.version.split("."))) for each in pythons]
    assert versions == sorted(versions, reverse=True)
    assert len({version[:2] for version in versions}) == len(versions)


def test_the_python_that_runs_this_is_known_without_being_started(monkeypatch, runtime):
    path = Path(sys.executable)
    asked = subprocess.run([path, "-I", "-S", "-c", system._QUESTION], check=True, capture_output=True, text=True)
    monkeypatch.setattr(system._process, "run", lambda *_, **__: 1 / 0)
    assert list(system._identity(path, runtime)) == json.loads(asked.stdout)
