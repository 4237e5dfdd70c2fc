"""A directory that says nothing of a project: the one around it in its repository counts, and none is made beside others."""

from __future__ import annotations

from pathlib import Path

import pytest

from colab_env import diagnose, planning, setting_up, steps
from colab_env.errors import UsageError
from colab_env.interpreter_sources import named
from colab_env.machine import Machine
from colab_env.request import InstallOptions, Request, project_directory

NAMED = '[project]\nname = "course"\nversion = "1"\n'
POETRY = '[tool.poetry]\nname = "course"\nversion = "1"\n'


def write(directory: Path, **files: str) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (directory / name.replace("__", ".")).write_text(text)
    return directory


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    write(tmp_path, pyproject__toml='[project]\nname = "somebodys"\n')
    return write(tmp_path / "repo", __git="gitdir: elsewhere\n")


@pytest.fixture
def notebooks(repository: Path) -> Path:
    return write(repository / "course/week1", lesson__ipynb="{}")


def read(directory: Path, **options) -> Request:
    return Request.read(directory, Machine.detect(), options=InstallOptions.from_arguments(**options))


@pytest.mark.parametrize(
    "files",
    [
        {"pyproject__toml": NAMED},
        {"pyproject__toml": POETRY},
        {"requirements__txt": "six\n"},
        {"setup__py": "from setuptools import setup\nsetup()\n"},
        {"pyproject__toml": NAMED, "uv__lock": "version = 1\n"},
    ],
)
def test_a_directory_of_notebooks_belongs_to_the_project_around_it(home, repository, notebooks, files):
    write(repository, **files)
    request = read(notebooks)
    assert request.project == repository
    assert request.lock.path.parent == repository
    (note,) = request.notes()
    assert note == f"{notebooks} says nothing of its own: the project is {repository}"
    assert request.reread().notes() == [note]
    assert named("auto", Machine.detect(), project=notebooks, prefix="/p")[0] == "system"
    assert diagnose.status(notebooks).project == repository


def test_a_plan_made_in_a_directory_of_notebooks_says_what_the_project_around_it_needs(home, repository, notebooks):
    write(repository, pylock__toml='lock-version = "1.0"\ncreated-by = "uv"\npackages = []\n')
    plan = planning.plan(project=notebooks, interpreter="system")
    assert plan.lock == repository / "pylock.toml"
    assert plan.notes[0] == f"{notebooks} says nothing of its own: the project is {repository}"


def test_the_project_around_is_sought_in_the_same_repository_only(home, tmp_path, repository, notebooks):
    assert project_directory(notebooks) == notebooks
    (repository / ".git").unlink()
    assert project_directory(notebooks) == notebooks
    write(repository, pyproject__toml="[tool.ruff]\nline-length = 100\n")
    assert project_directory(notebooks) == notebooks


@pytest.mark.parametrize("file", ["pyproject__toml", "poetry__toml", "requirements__txt", "__venv"])
def test_a_directory_with_anything_of_its_own_is_a_project(home, repository, notebooks, file):
    write(repository, pyproject__toml=NAMED)
    write(notebooks, **{file: ""})
    assert project_directory(notebooks) == notebooks


def test_an_empty_directory_and_one_that_is_not_there_are_new_projects(home, repository):
    write(repository, pyproject__toml=NAMED)
    assert project_directory(repository / "new") == repository / "new"
    assert project_directory(write(repository / "new")) == repository / "new"


def test_an_empty_directory_is_a_new_project_beside_others_too(home, repository):
    write(repository / "backend", pyproject__toml=NAMED)
    for new in (repository / "new", write(repository / "empty")):
        assert read(new).project == new
    write(repository / "empty", lesson__ipynb="{}")
    with pytest.raises(UsageError, match="nothing that says what the project needs"):
        read(repository / "empty")


def test_a_home_directory_that_is_a_repository_is_no_project_of_its_own(home):
    write(home, __git="gitdir: elsewhere\n")
    write(home / "other", pyproject__toml=NAMED)
    lesson = write(home / "lesson", lesson__ipynb="{}")
    assert read(lesson).project == lesson


def test_a_lock_file_that_is_named_is_relative_to_the_directory_that_is(home, repository, notebooks):
    write(repository, pyproject__toml=NAMED)
    write(notebooks, more__txt="six\n")
    request = read(notebooks, lock="more.txt")
    assert (request.project, request.lock.path) == (notebooks, notebooks / "more.txt")


def test_steps_one_by_one_take_the_project_around_too(home, repository, notebooks):
    write(repository, pyproject__toml=NAMED)
    with pytest.raises(Exception, match=f"{repository} has no virtual environment"):
        steps.register_kernel(project=notebooks)


@pytest.mark.parametrize(
    ("below", "choice"),
    [
        ({"backend": {"pyproject__toml": NAMED}}, "--project backend"),
        ({"libs/core": {"pyproject__toml": POETRY}}, "--project libs/core"),
        ({"binder": {}, ".binder": {"requirements__txt": "six\n"}}, "--project .binder"),
        ({"requirements": {"base__txt": "six\n", "base__in": "six\n"}}, "--lock requirements/base.txt"),
        ({"requirements": {"base__in": "six\n"}}, "--lock requirements/base.in"),
        ({".": {"requirements_dev__txt": "six\n"}}, "--lock requirements_dev.txt"),
        ({".": {"env__yml": "dependencies: []\n"}}, "--lock env.yml"),
        (
            {name: {"requirements__txt": "six\n"} for name in "abcde"},
            "--project a or --project b or --project c, and 2 more",
        ),
    ],
)
@pytest.mark.parametrize("settings", [None, "[tool.ruff]\nline-length = 100\n"])
def test_no_empty_environment_is_made_beside_what_names_packages(home, repository, below, choice, settings):
    for directory, files in below.items():
        write(repository / directory, **files)
    if settings:
        write(repository, pyproject__toml=settings)
    before = sorted(repository.rglob("*"))
    with pytest.raises(UsageError) as caught:
        setting_up.setup(project=repository, interpreter="system")
    assert caught.value.message == f"{repository} has nothing that says what the project needs"
    assert f"choose: {choice}; a [project]" in caught.value.hint
    assert sorted(repository.rglob("*")) == before


@pytest.mark.parametrize(
    ("directory", "choice"), [("notebooks", "../backend"), ("backend/app", ""), ("requirements", "base.txt")]
)
def test_what_is_elsewhere_in_the_repository_is_named_in_a_directory_of_notebooks_too(
    home, repository, directory, choice
):
    write(repository / "backend", pyproject__toml=NAMED)
    write(repository / "requirements", base__txt="six\n")
    write(repository / directory, lesson__ipynb="{}")
    if not choice:
        assert read(repository / directory).project == repository / "backend"
        return
    with pytest.raises(UsageError) as caught:
        read(repository / directory)
    assert f"--{'lock' if directory == 'requirements' else 'project'} {choice}" in caught.value.hint


@pytest.mark.parametrize("directory", ["node_modules/a", ".hidden", "a/b/c", "__pycache__"])
def test_what_is_no_project_of_the_repository_does_not_count(home, repository, directory):
    write(repository / directory, requirements__txt="six\n")
    assert read(repository).lock.format.is_made_by_tool


def test_a_new_project_is_made_where_somebody_says_so_or_there_is_no_repository(home, tmp_path, repository):
    write(repository / "backend", pyproject__toml=NAMED)
    assert read(repository, installer="poetry").lock.format.is_made_by_tool
    write(repository, pyproject__toml='[project]\nname = "new"\n')
    assert not read(repository).lock.format.is_lock
    write(tmp_path / "content/backend", pyproject__toml=NAMED)
    assert read(tmp_path / "content").lock.format.is_made_by_tool
