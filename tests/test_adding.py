"""`%colab_env add`: a package gets into the files of the project's own tool and into its environment, or nothing changes."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import PreparedMachine, start_python
from index_server import IndexServer
from small_wheels import write_wheel
from test_installers import fill, uv_program

from colab_env import _file_locks, adding, kernel
from colab_env.environment import recorded_health
from colab_env.errors import ColabEnvError, ProjectFileError, UsageError
from colab_env.locks import registry
from colab_env.machine import Machine
from colab_env.step import project_lock

TABLE = '[project]\nname = "lesson"\nversion = "0.1.0"\nrequires-python = ">=3.8"\ndependencies = ["alpha"]\n'
POETRY = f"{TABLE}\n[tool.poetry]\npackage-mode = false\n"
FILES = {
    "uv.lock": "pyproject.toml",
    "pyproject.toml": "pyproject.toml",
    "requirements.txt": "requirements.txt",
    "poetry.lock": "pyproject.toml",
}


@pytest.fixture
def lesson(
    machine: PreparedMachine, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], Path]]:
    """A project with one package, locked in one way and set up; its index is a directory."""
    for name in ("alpha", "beta", "gamma", "pip"):
        write_wheel(tmp_path / "wheels", name, "99.0")
    # It can be locked, and not be installed here.
    write_wheel(tmp_path / "wheels", "delta", "1").rename(tmp_path / "wheels/delta-1-py3-none-win_amd64.whl")
    with IndexServer(tmp_path / "wheels") as server:
        monkeypatch.setenv("UV_DEFAULT_INDEX", server.url)
        monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))

        def made(lock: str) -> Path:
            texts = {"requirements.txt": "alpha", "poetry.lock": POETRY}
            (project / FILES[lock]).write_text(texts.get(lock, TABLE))
            if lock == "uv.lock":
                subprocess.run([uv_program(), "lock", "-q"], cwd=project, check=True)
            fill(project, python=machine.python)
            return project

        yield made


def modules(project: Path) -> set[str]:
    return {path.stem for path in project.glob(".venv/lib/python3*/site-packages/*.py")} & {"alpha", "beta", "delta"}


def texts(project: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in project.iterdir() if path.is_file()}


@pytest.mark.parametrize("lock", FILES)
def test_a_package_is_in_the_projects_own_file_and_can_be_imported_or_nothing_changes(
    lesson: Callable[[str], Path], machine: PreparedMachine, lock: str
) -> None:
    project = lesson(lock)
    before = texts(project)
    for package in ("nowhere", "no such thing", "delta"):
        with pytest.raises(ColabEnvError) as caught:
            adding.add(["beta", package], project)
        assert texts(project) == before
        assert modules(project) == {"alpha"}
        assert "--frozen" not in f"{caught.value} {caught.value.hint}"  # uv's word for a terminal
        assert package != "nowhere" or "how it is spelled" in str(caught.value.hint)
    adding.add(["beta<100"], project)
    assert re.search(r"beta \(?<100|beta<100", (project / FILES[lock]).read_text())
    assert modules(project) == {"alpha", "beta"}
    assert set(texts(project)) == set(before)  # above all, no lock file of another tool
    assert recorded_health(project, machine.python, Machine.detect()) is None


@pytest.mark.parametrize("lock", ["uv.lock", "poetry.lock"])
def test_no_environment_is_made_but_the_projects_own(
    lesson: Callable[[str], Path], machine: PreparedMachine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lock: str
) -> None:
    # Which Poetry's own Python may not suit.
    monkeypatch.setitem(globals(), "POETRY", POETRY.replace(">=3.8", f">={machine.python.short_version}"))
    monkeypatch.setenv("POETRY_VIRTUALENVS_PATH", str(tmp_path / "virtualenvs"))
    project = lesson(lock)
    shutil.rmtree(project / ".venv")
    for package in ("nowhere", "delta"):
        with pytest.raises(ColabEnvError):
            adding.add([package], project)
        assert not list(project.glob(".venv*"))
    adding.add(["beta"], project)
    assert modules(project) == {"alpha", "beta"}
    assert [path.name for path in project.glob(".venv*")] == [".venv"]
    assert not (tmp_path / "virtualenvs").exists()


def test_two_at_once_wait_for_each_other_and_neither_loses_what_the_other_wrote(
    lesson: Callable[[str], Path], machine: PreparedMachine
) -> None:
    project = lesson("requirements.txt")
    path, code = (
        project / "requirements.txt",
        "from colab_env import adding; from pathlib import Path; adding.add(['{}'], Path({!r}))",
    )
    with _file_locks.locked(project_lock(Machine.detect(), project)):
        children = [start_python(code.format(name, str(project))) for name in ("beta", "nowhere")]
        for child in children:
            assert child.stdout is not None
            assert any("Waiting for another run" in line for line in child.stdout)
        assert path.read_text() == "alpha"
        path.write_text("alpha\ngamma\n")
    outputs = [child.communicate(timeout=300)[0] for child in children]
    assert [child.returncode for child in children] == [0, 1], outputs
    assert path.read_text() == "alpha\ngamma\nbeta\n"
    assert modules(project) == {"alpha", "beta"}


@pytest.mark.parametrize("is_locked", [True, False])
def test_the_files_of_a_workspace_are_as_before_where_a_path_cannot_be_added(
    machine: PreparedMachine, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_locked: bool
) -> None:
    write_wheel(tmp_path / "wheels", "alpha", "99.0")
    (project / "pyproject.toml").write_text(f'{TABLE}\n[tool.uv.workspace]\nmembers = ["pkgs/*"]\n')
    member, other = project / "pkgs/member", project / "other"
    for directory, text in {member: TABLE.replace("alpha", "lesson"), other: TABLE.replace("alpha", "nowhere")}.items():
        directory.mkdir(parents=True)
        (directory / "pyproject.toml").write_text(
            text.replace('"lesson"', f'"{directory.name}"', 1).replace('["lesson"]', "[]")
        )
    with IndexServer(tmp_path / "wheels") as server:
        monkeypatch.setenv("UV_DEFAULT_INDEX", server.url)
        monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
        if is_locked:
            subprocess.run([uv_program(), "lock", "-q"], cwd=project, check=True)
        before = texts(project), texts(member)
        with pytest.raises(ColabEnvError, match="nowhere"):
            adding.add([str(other)], member)
    assert (texts(project), texts(member)) == before


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"", b"beta\n"),
        (b"alpha", b"alpha\nbeta\n"),
        (b"alpha\n\n\n", b"alpha\n\n\nbeta\n"),
        (b"alpha\r\n\r\n", b"alpha\r\n\r\nbeta\r\n"),
        (b"alpha \\\r\n  <100\r\ngamma", b"alpha \\\r\n  <100\r\ngamma\r\nbeta\r\n"),
        ("# \u00e9\nalpha\n".encode(), "# \u00e9\nalpha\nbeta\n".encode()),
        (b"\xef\xbb\xbfalpha\n", b"\xef\xbb\xbfalpha\nbeta\n"),
        ("\ufeffalpha\r\n".encode("utf-16-le"), "\ufeffalpha\r\nbeta\r\n".encode("utf-16-le")),
        ("\ufeffalpha".encode("utf-16-be"), "\ufeffalpha\nbeta\n".encode("utf-16-be")),
    ],
)
def test_every_byte_of_a_requirements_file_stays(project: Path, before: bytes, after: bytes) -> None:
    (project / "requirements.txt").write_bytes(before)
    assert adding._with_lines(registry.find(project), ["beta"]) == after


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("# \u00e9\nalpha\n".encode("latin-1"), r"requirements\.txt cannot be read"),
        (b"gamma\nalpha \\\n", "line 2: it ends in a backslash"),
        (b"alpha \\", "line 1: it ends in a backslash"),
    ],
)
def test_a_requirements_file_that_no_line_can_be_added_to_is_refused(project: Path, content: bytes, said: str) -> None:
    (project / "requirements.txt").write_bytes(content)
    with pytest.raises(ProjectFileError, match=said):
        adding.add(["beta"], project)
    assert texts(project) == {"requirements.txt": content}


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
        if name == "poetry.lock":
            (project / "uv.lock").unlink()
        advice[name] = kernel._advice(lack, project)[-1].partition(": ")[2]
    assert advice == {
        "requirements.txt": "lines in requirements.txt: pandas",
        "pyproject.toml": "uv add pandas",
        "uv.lock": "uv add pandas",
        "poetry.lock": "poetry add pandas",
    }
