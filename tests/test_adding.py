"""`%colab_env add`: a package gets into the files of the project's own tool and into its environment, or nothing changes."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import PreparedMachine
from index_server import IndexServer
from small_wheels import write_wheel
from test_installers import fill, uv_program

from colab_env import adding, kernel
from colab_env.errors import ColabEnvError, UsageError

TABLE = '[project]\nname = "lesson"\nversion = "0.1.0"\nrequires-python = ">=3.8"\ndependencies = ["alpha"]\n'
FILES = {"uv.lock": "pyproject.toml", "pyproject.toml": "pyproject.toml", "requirements.txt": "requirements.txt"}


@pytest.fixture
def lesson(
    machine: PreparedMachine, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], Path]]:
    """A project with one package, locked in one way and set up; its index is a directory."""
    for name in ("alpha", "beta", "pip"):
        write_wheel(tmp_path / "wheels", name, "99.0")
    with IndexServer(tmp_path / "wheels") as server:
        monkeypatch.setenv("UV_DEFAULT_INDEX", server.url)
        monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))

        def made(lock: str) -> Path:
            text = "alpha" if lock == "requirements.txt" else TABLE
            (project / FILES[lock]).write_text(text)
            if lock == "uv.lock":
                subprocess.run([uv_program(), "lock", "-q"], cwd=project, check=True)
            fill(project, python=machine.python)
            return project

        yield made


def modules(project: Path) -> set[str]:
    return {path.stem for path in project.glob(".venv/lib/python3*/site-packages/*.py")} & {"alpha", "beta"}


def texts(project: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in project.iterdir() if path.is_file()}


@pytest.mark.parametrize("lock", FILES)
def test_a_package_is_in_the_projects_own_file_and_can_be_imported_or_nothing_changes(
    lesson: Callable[[str], Path], lock: str
) -> None:
    project = lesson(lock)
    before = texts(project)
    for package in ("nowhere", "no such thing"):
        with pytest.raises(ColabEnvError):
            adding.add(["beta", package], project)
        assert texts(project) == before
        assert modules(project) == {"alpha"}
    adding.add(["beta<100"], project)
    assert "beta<100" in (project / FILES[lock]).read_text()
    assert modules(project) == {"alpha", "beta"}
    assert set(texts(project)) == set(before)  # above all, no lock file of another tool


def test_what_another_tool_writes_is_left_to_it(machine: PreparedMachine, project: Path) -> None:
    (project / "Pipfile").write_text("")
    (project / "Pipfile.lock").write_text(
        '{"_meta": {"pipfile-spec": 6, "hash": {"sha256": ""}}, "default": {}, "develop": {}}'
    )
    before = texts(project)
    with pytest.raises(UsageError, match="pipenv install beta"):
        adding.add(["beta"], project)
    assert texts(project) == before


def test_the_advice_for_what_is_missing_names_the_projects_own_tool(project: Path) -> None:
    lack = kernel.Lack(missing={"sheets": "needs pandas"}, packages=("pandas",))
    advice = {}
    for name, text in {
        "requirements.txt": "six",
        "pyproject.toml": TABLE,
        "uv.lock": "version = 1\n",
        "poetry.lock": "",
    }.items():
        (project / name).write_text(text)
        advice[name] = kernel._advice(lack, project)[-1].partition(": ")[2]
    assert advice == {
        "requirements.txt": "lines in requirements.txt: pandas",
        "pyproject.toml": "uv add pandas",
        "uv.lock": "uv add pandas",
        "poetry.lock": "poetry add pandas",
    }
