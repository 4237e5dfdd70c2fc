"""A range of Pythons is open at its end, and a lock file is not: it has wheels for the Pythons of its time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from colab_env import interpreter_sources
from colab_env.image import project as image_project
from colab_env.interpreter import parse_specifier
from colab_env.locks import registry, wheel_support
from colab_env.machine import Machine
from colab_env.request import InstallOptions, Request

OLD = [f"old-1.0-cp3{minor}-cp3{minor}-manylinux_2_17_x86_64.manylinux2014_x86_64.whl" for minor in (9, 10)]
OLD += [name.replace("x86_64", "aarch64") for name in OLD]
SHA = "0" * 64
PROJECT = '[project]\nname = "work"\nversion = "1"\nrequires-python = ">=3.9"\ndependencies = ["old", "plain"]\n'


def files(*names: str) -> str:
    return ", ".join(f'{{file = "{name}", hash = "sha256:{SHA}"}}' for name in names)


def urls(*names: str) -> str:
    return ", ".join(f'{{url = "https://example.org/{name}", hash = "sha256:{SHA}"}}' for name in names)


def hashed(*names: str) -> str:
    listed = (
        f'{{name = "{name}", url = "https://example.org/{name}", hashes = {{sha256 = "{SHA}"}}}}' for name in names
    )
    return ", ".join(listed)


LOCKS = {
    "poetry.lock": f"""
[[package]]
name = "old"
version = "1.0"
optional = false
python-versions = ">=3.9"
files = [{files(*OLD, "old-1.0.tar.gz")}]

[[package]]
name = "plain"
version = "2"
optional = false
python-versions = ">=3.9"
files = [{files("plain-2-py3-none-any.whl")}]

[metadata]
lock-version = "2.0"
python-versions = ">=3.9"
content-hash = "{SHA}"
""",
    "uv.lock": f"""
version = 1
requires-python = ">=3.9"

[[package]]
name = "work"
version = "1"
source = {{ virtual = "." }}
dependencies = [{{ name = "old" }}, {{ name = "plain" }}]

[[package]]
name = "old"
version = "1.0"
source = {{ registry = "https://example.org/simple" }}
sdist = {urls("old-1.0.tar.gz")}
wheels = [{urls(*OLD)}]

[[package]]
name = "plain"
version = "2"
source = {{ registry = "https://example.org/simple" }}
wheels = [{urls("plain-2-py3-none-any.whl")}]
""",
    "pdm.lock": f"""
[metadata]
groups = ["default"]
lock_version = "4.5.0"
content_hash = "sha256:{SHA}"

[[package]]
name = "old"
version = "1.0"
groups = ["default"]
files = [{files(*OLD, "old-1.0.tar.gz")}]

[[package]]
name = "plain"
version = "2"
groups = ["default"]
files = [{files("plain-2-py3-none-any.whl")}]
""",
    "pylock.toml": f"""
lock-version = "1.0"
requires-python = ">=3.9"

[[packages]]
name = "old"
version = "1.0"
wheels = [{hashed(*OLD)}]
sdist = {hashed("old-1.0.tar.gz")}

[[packages]]
name = "plain"
version = "2"
wheels = [{hashed("plain-2-py3-none-any.whl")}]
""",
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    directory = tmp_path / "work"
    directory.mkdir()
    (directory / "pyproject.toml").write_text(PROJECT)
    (directory / "poetry.lock").write_text(LOCKS["poetry.lock"])
    return directory


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine whose first Python is a 3.12, with a 3.10 and a 3.9 behind it."""
    for place, version in (("one", "3.12.4"), ("two", "3.10.1"), ("three", "3.9.1")):
        program = tmp_path / place / "python3"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\necho \'["cpython", "{version}", "{program}", "final"]\'\n')
        program.chmod(0o755)
    path = ":".join(f"{tmp_path}/{place}" for place in ("one", "two", "three"))
    return Machine.detect({"HOME": str(tmp_path), "PATH": f"{path}:/usr/bin:/bin", "PYENV_ROOT": f"{tmp_path}/pyenv"})


def resolved(project: Path, machine: Machine, **more) -> interpreter_sources.ResolvedPython:
    request = Request.read(project, machine, **{"source": "system", **more})
    return interpreter_sources.source_for(request).resolve(request)


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_file_says_which_pythons_it_has_wheels_for(tmp_path, name):
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    (tmp_path / name).write_text(LOCKS[name])
    better = wheel_support.better_pythons(registry.find(tmp_path), parse_specifier(">=3.9"), than="3.12")
    assert better is not None
    assert [minor for minor in range(9, 16) if better.specifier.contains(f"3.{minor}.1")] == [9, 10]
    assert better.reason == (
        f"not Python 3.12, for which {name} has no wheel of old 1.0 (--python, or python=, takes it)"
    )


@pytest.mark.parametrize(
    ("name", "text", "specifier", "than"),
    [
        ("poetry.lock", LOCKS["poetry.lock"], ">=3.11", "3.12"),  # built on all of them
        ("poetry.lock", LOCKS["poetry.lock"], ">=3.9,<3.11", "3.10"),  # on none of them
        ("poetry.lock", LOCKS["poetry.lock"], ">=3.9", "3.9"),
        ("poetry.lock", LOCKS["poetry.lock"], "==3.12.*", "3.12"),
        ("poetry.lock", "[[package]\n", ">=3.9", "3.12"),
        ("poetry.lock", '[[package]]\nname = 1\nfiles = "none"\n', ">=3.9", "3.12"),
        ("requirements.txt", "old==1.0\n", ">=3.9", "3.12"),
    ],
)
def test_where_pythons_do_not_differ_or_nobody_can_say_none_is_preferred(tmp_path, name, text, specifier, than):
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    (tmp_path / name).write_text(text)
    lock = registry.find(tmp_path, name)
    assert wheel_support.better_pythons(lock, parse_specifier(specifier), than=than) is None


def test_of_the_machines_pythons_one_is_taken_that_the_lock_file_has_wheels_for(project, machine):
    taken = resolved(project, machine)
    assert taken.python.version == "3.10.1"
    (note,) = taken.notes
    assert "not Python 3.12, for which poetry.lock has no wheel of old 1.0" in note


def test_the_step_takes_that_python_and_says_why(project, machine):
    request = Request.read(project, machine, source="system")
    result = interpreter_sources.source_for(request).ensure(request)
    assert result.python is not None
    assert result.python.version == "3.10.1"
    assert "no wheel of old 1.0" in result.notes[0]


def test_where_the_machine_has_no_such_python_the_usual_one_is_taken(project, machine, tmp_path):
    poor = replace(machine, environ={**machine.environ, "PATH": f"{tmp_path}/one"})
    taken = resolved(project, poor)
    assert (taken.python.version, taken.notes) == ("3.12.4", ())


@pytest.mark.parametrize(
    ("source", "short_version", "is_told"),
    [("miniconda", "3.10", True), ("miniforge", "3.13", False), ("uv", "3.10", True)],
)
def test_a_python_that_is_brought_is_one_that_the_lock_file_has_wheels_for(
    project, machine, tmp_path, source, short_version, is_told
):
    taken = resolved(project, machine, source=source, prefix=tmp_path / "conda")
    assert taken.python.short_version == short_version
    assert bool(taken.notes) == is_told  # of Miniforge only the newest release is known, with one Python


def test_an_image_has_such_a_python_too(project, machine):
    request = Request.read(project, machine)
    python, (note,) = image_project._python(request, None)
    assert python == "3.10"
    assert "no wheel of old 1.0" in note
    assert image_project._python(request, "python:3.12-slim") == ("3.12", ())
    (project / ".python-version").write_text("3.11\n")
    assert image_project._python(request, None) == ("3.11", ())


@pytest.mark.parametrize(
    "more", [{"python": "3.12"}, {"python": ">=3.9"}, {"options": InstallOptions(keep=("plain",))}]
)
def test_a_python_that_somebody_chose_stays(project, machine, more):
    taken = resolved(project, machine, **more)
    assert (taken.python.version, taken.notes) == ("3.12.4", ())


def test_a_python_that_the_project_pins_stays(project, machine):
    (project / ".python-version").write_text("3.12\n")
    (project / "poetry.lock").rename(project / "uv.lock").write_text(LOCKS["uv.lock"])
    assert resolved(project, machine).python.version == "3.12.4"
