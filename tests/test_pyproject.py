"""pyproject.toml and poetry.toml keep every word that a person wrote."""

from __future__ import annotations

from pathlib import Path

import pytest
import tomlkit

from colab_env import pyproject
from colab_env.errors import ProjectFileError
from colab_env.interpreter import Interpreter
from colab_env.machine import Machine
from colab_env.request import Request

PYTHON = Interpreter(path=Path("/usr/bin/python3.12"), version="3.12.4", source="system")


def complete(project: Path, *, visible: bool = True) -> list[str]:
    return pyproject.complete(project, python=PYTHON, system_site_packages=visible)


def test_an_empty_directory_gets_both_files(project):
    assert complete(project) == ["pyproject.toml", "poetry.toml"]
    assert (project / "pyproject.toml").read_text() == (
        '[project]\nname = "lesson"\nversion = "0.1.0"\nrequires-python = ">=3.12,<3.13"\ndependencies = []\n\n'
        "[tool.poetry]\npackage-mode = false  # only an environment; there is nothing to build\n"
    )
    settings = tomlkit.parse((project / "poetry.toml").read_text()).unwrap()
    assert settings == {"virtualenvs": {"in-project": True, "options": {"system-site-packages": True}}}


@pytest.mark.parametrize("visible", [True, False])
def test_the_second_time_nothing_is_written(project, visible):
    complete(project, visible=visible)
    before = [(path.name, path.stat().st_mtime_ns) for path in project.iterdir()]
    assert complete(project, visible=visible) == []
    assert [(path.name, path.stat().st_mtime_ns) for path in project.iterdir()] == before


@pytest.mark.parametrize(
    ("directory", "name"),
    [("Meine Übung (1)", "meine-bung-1"), ("content", "content"), ("__", "notebook"), ("日本", "notebook")],
)
def test_a_project_is_named_for_its_directory(tmp_path, directory, name):
    (tmp_path / directory).mkdir()
    complete(tmp_path / directory)
    assert tomlkit.parse((tmp_path / directory / "pyproject.toml").read_text())["project"]["name"] == name


@pytest.mark.parametrize(
    "text",
    [
        '[project]\nname = "mine"\nversion = "1"\n',
        '# mine\n[tool.poetry]\nname = "mine"\nversion = "1"\n[tool.poetry.dependencies]\npython = "^3.11"\n',
        "[tool.poetry]\npackage-mode = false\n",
        '[project]\nname = "mine"\ndynamic = ["version"]\n[build-system]\nrequires = ["setuptools"]\n',
    ],
)
def test_a_project_that_is_complete_is_not_written(project, text):
    (project / "pyproject.toml").write_text(text)
    assert complete(project) == []  # no poetry.toml either: it would be the owner's
    assert (project / "pyproject.toml").read_text() == text


TOOLS = """\
# Settings of this course.

[tool.ruff]  # formatter
line-length = 100
lint.select = ["ALL"]   # everything

[tool.pytest.ini_options]
addopts = '-q'
"""


def test_a_project_table_is_added_and_every_line_stays(project):
    (project / "pyproject.toml").write_text(TOOLS)
    assert "pyproject.toml" in complete(project)
    text = (project / "pyproject.toml").read_text()
    lines = iter(text.splitlines())
    assert all(line in lines for line in TOOLS.splitlines()), text  # in their order
    parsed = tomlkit.parse(text).unwrap()
    assert parsed["project"] == {
        "name": "lesson",
        "version": "0.1.0",
        "requires-python": ">=3.12,<3.13",
        "dependencies": [],
    }
    assert parsed["tool"]["poetry"] == {"package-mode": False}
    assert parsed["tool"]["ruff"] == {"line-length": 100, "lint": {"select": ["ALL"]}}


@pytest.mark.parametrize(
    "text", ["# only a remark\n", "\n\n# a remark\n\n# another\n", "[tool]\n", "tool.ruff.line-length = 3  # dotted\n"]
)
def test_remarks_stay_where_there_is_nothing_else(project, text):
    (project / "pyproject.toml").write_text(text)
    complete(project)
    after = (project / "pyproject.toml").read_text()
    assert text.strip() in after
    parsed = tomlkit.parse(after).unwrap()
    assert parsed["project"]["name"] == "lesson"
    assert parsed["tool"]["poetry"]["package-mode"] is False


def test_what_the_project_table_says_already_wins(project):
    text = '[project]\nrequires-python = ">=3.9"  # the school has 3.9\ndependencies = ["six"]\ndynamic = ["version"]\n'
    (project / "pyproject.toml").write_text(text)
    complete(project)
    after = (project / "pyproject.toml").read_text()
    assert 'requires-python = ">=3.9"  # the school has 3.9' in after
    assert tomlkit.parse(after)["project"].unwrap() == {
        "requires-python": ">=3.9",
        "dependencies": ["six"],
        "dynamic": ["version"],
        "name": "lesson",
    }


def test_line_ends_stay_as_they_are(project):
    path = project / "pyproject.toml"
    path.write_bytes(TOOLS.replace("\n", "\r\n").encode())
    assert complete(project) == ["pyproject.toml"]
    assert path.read_bytes().count(b"\n") == path.read_bytes().count(b"\r\n") > 2
    assert tomlkit.parse(path.read_text())


@pytest.mark.parametrize("text", ["[virtualenvs]\nin-project = false\n", "virtualenvs.prompt = 'x'\n", "# x\n", ""])
def test_the_owners_poetry_toml_is_left_alone(project, text):
    (project / "poetry.toml").write_text(text)
    assert complete(project, visible=False) == ["pyproject.toml"]
    assert (project / "poetry.toml").read_text() == text


def test_our_own_poetry_toml_follows_the_wanted_view(project):
    complete(project)
    assert complete(project, visible=False) == ["poetry.toml"]
    assert "system-site-packages = false" in (project / "poetry.toml").read_text()


@pytest.mark.parametrize("more", ["", "[tool.ruff]\n"])
def test_a_file_that_says_how_something_is_built_is_left_alone(project, more):
    text = f'[build-system]\nrequires = ["setuptools"]\n{more}'
    (project / "pyproject.toml").write_text(text)
    with pytest.raises(ProjectFileError, match=r"has no \[project\]"):
        complete(project)
    assert {path.name: path.read_text() for path in project.iterdir()} == {"pyproject.toml": text}


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('[project]\nname = "x"\nversion =\n', "line 3, column"),
        ("[project\n", "line 1, column"),
        ('[project]\nname = "x"\n[project]\nname = "y"\n', "project"),
        ('name = "x"\nname = "y"\n', "name"),
    ],
)
@pytest.mark.parametrize("name", ["pyproject.toml", "poetry.toml"])
def test_what_is_no_toml_names_its_place_and_nothing_is_written(project, text, place, name):
    (project / name).write_text(text)
    with pytest.raises(ProjectFileError, match=place) as caught:
        complete(project)
    assert name in caught.value.message
    assert [path.name for path in project.iterdir()] == [name]
    assert (project / name).read_text() == text


def test_what_is_no_text_is_refused(project):
    (project / "pyproject.toml").write_bytes(b'[project]\nname = "\xff"\n')
    with pytest.raises(ProjectFileError, match=r"pyproject\.toml, line 2: it is not UTF-8 text"):
        complete(project)


def test_a_byte_order_mark_is_read_over_where_uv_alone_reads_the_file(project):
    """Editors on Windows write it, and `uv sync` installs such a project."""
    path = project / "pyproject.toml"
    path.write_bytes(b'\xef\xbb\xbf[project]\nname = "x"\nversion = "1"\ndependencies = ["six"]\n')
    assert pyproject.Pyproject.read(project).has_dependencies


@pytest.mark.parametrize("table", ['[tool.poetry]\nname = "x"\n', '[build-system]\nrequires = ["setuptools"]\n'])
def test_a_byte_order_mark_is_named_where_other_tools_read_the_file(project, table):
    (project / "pyproject.toml").write_bytes(b"\xef\xbb\xbf" + table.encode())
    with pytest.raises(ProjectFileError, match="byte-order mark") as caught:
        _ = pyproject.Pyproject.read(project).values
    assert "save it as UTF-8 without one" in str(caught.value.hint)


def test_a_directory_of_that_name_is_refused(project):
    (project / "pyproject.toml").mkdir()
    with pytest.raises(ProjectFileError, match=r"pyproject\.toml"):
        complete(project)


@pytest.mark.parametrize("table", ["project", "tool.poetry"])
def test_a_name_that_is_no_text_is_refused(project, table):
    (project / "pyproject.toml").write_text(f"[{table}]\nname = 3\n")
    with pytest.raises(ProjectFileError, match=rf"{table}\.name"):
        complete(project)


@pytest.mark.parametrize("text", ["project = 3\n", "tool = 3\n", "[tool]\npoetry = 3\n", "[[project]]\nname = 'x'\n"])
def test_a_table_that_is_no_table_is_refused(project, text):
    (project / "pyproject.toml").write_text(text)
    with pytest.raises(ProjectFileError, match=r"pyproject\.toml"):
        complete(project)
    assert (project / "pyproject.toml").read_text() == text


def test_a_poetry_setting_that_is_no_table_is_refused(project):
    (project / "poetry.toml").write_text("virtualenvs = true\n")
    with pytest.raises(ProjectFileError, match=r"poetry\.toml"):
        complete(project)


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ('[project]\nrequires-python = ">=3.11"\n', ">=3.11"),
        ('[tool.poetry.dependencies]\npython = "^3.10"\n', "^3.10"),
        ('[project]\nname = "x"\n', None),
        ('[tool.poetry.dependencies]\nsix = "*"\n', None),
        ("", None),
    ],
)
def test_the_python_that_a_project_asks_for_is_found(project, text, asked):
    (project / "pyproject.toml").write_text(text)
    assert pyproject.Pyproject.read(project).requires_python == asked


def test_one_group_may_stand_in_both_tables_in_two_spellings(project):
    (project / "pyproject.toml").write_text(
        "[tool.poetry.group.dev-tools]\noptional = true\n[tool.poetry.group.my_docs.dependencies]\n"
        "[dependency-groups]\nDev_Tools = []\nMy-Docs = []\nMAIN = []\n"
    )
    read = pyproject.Pyproject.read(project)
    assert read.groups == ["dev-tools", "my_docs", "MAIN"]
    assert read.poetry_groups == ["my_docs"]


def test_a_request_reads_a_project_file_once(tmp_path: Path):
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\nversion = "1"\nrequires-python = "nonsense"\n')
    request = Request.read(tmp_path, Machine.detect())
    (tmp_path / "pyproject.toml").unlink()  # what is asked of it later comes from what was read
    with pytest.raises(ProjectFileError, match="line 4"):
        _ = request.specifier
