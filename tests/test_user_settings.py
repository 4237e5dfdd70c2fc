"""What the user said stays so: uv's settings for projects, how Python was started, odd names of directories."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import colab_env
from colab_env import index, uv
from colab_env.errors import UsageError
from colab_env.locks import installing
from colab_env.machine import Machine
from colab_env.pyproject import Pyproject

EXTRA = {"PIP_EXTRA_INDEX_URL": "https://host.example/simple"}


def strategy(home: Path, project: Path, *, takes_best: bool = False, **variables: str) -> str | None:
    """Return the strategy that uv is told for a project."""
    environ = {"HOME": str(home), "PATH": os.environ["PATH"], "PIP_CONFIG_FILE": os.devnull, **variables}
    machine, pyproject = Machine.detect(environ), Pyproject.read(project)
    made = installing.installer(machine, Path("uv"), pyproject=pyproject, takes_best=takes_best)
    return made.environ.get("UV_INDEX_STRATEGY")


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_pip_s_further_indexes_ask_for_the_best_file(home, project):
    assert strategy(home, project) is None
    assert strategy(home, project, **EXTRA) == "unsafe-best-match"
    assert strategy(home, project, takes_best=True) == "unsafe-best-match"


@pytest.mark.parametrize("takes_best", [False, True])
@pytest.mark.parametrize("text", ['index-strategy = "first-index"\n', '[pip]\nindex-strategy = "first-index"\n'])
def test_a_strategy_in_uv_toml_stays(home, project, text, takes_best):
    write(home / ".config/uv/uv.toml", text)
    assert strategy(home, project, takes_best=takes_best, **EXTRA) is None


@pytest.mark.parametrize("takes_best", [False, True])
def test_a_strategy_of_the_project_or_of_a_variable_stays(home, project, takes_best):
    (project / "pyproject.toml").write_text('[tool.uv]\nindex-strategy = "first-index"\n')
    assert strategy(home, project, takes_best=takes_best, **EXTRA) is None
    (project / "pyproject.toml").unlink()
    told = strategy(home, project, takes_best=takes_best, UV_INDEX_STRATEGY="unsafe-first-match", **EXTRA)
    assert told == "unsafe-first-match"


def test_a_cut_off_is_for_the_project_and_never_for_the_kernel_s_own_packages(home, project):
    text = 'exclude-newer = "2021-01-01"\nconstraint-dependencies = ["six<1"]\nnative-tls = true\n[pip]\nprerelease = "allow"\n'
    write(home / ".config/uv/uv.toml", text)
    cut_off = {"UV_EXCLUDE_NEWER": "2021-03-24", "UV_CONSTRAINT": "c.txt", "UV_OVERRIDE": "o.txt"}
    machine = Machine.detect({"HOME": str(home), **cut_off})
    tools = uv.tool_installer(machine, index.settings(machine)).environ
    assert not cut_off.keys() & tools.keys()
    settings = Path(tools["UV_CONFIG_FILE"])
    assert "native-tls = true" in settings.read_text()
    assert not any(word in settings.read_text() for word in ("exclude-newer", "constraint", "prerelease"))
    assert settings.stat().st_mode & 0o777 == 0o600
    made = installing.installer(machine, Path("uv"), pyproject=Pyproject.read(project)).environ
    assert made["UV_EXCLUDE_NEWER"] == "2021-03-24"
    assert "UV_CONFIG_FILE" not in made


@pytest.mark.network
def test_the_kernel_s_packages_come_whatever_the_cut_off(home, monkeypatch, tmp_path):
    write(home / ".config/uv/uv.toml", 'exclude-newer = "2012-01-01"\n')
    monkeypatch.setenv("UV_EXCLUDE_NEWER", "2012-01-01")
    machine = Machine.detect()
    uv.tool_installer(machine, index.settings(machine)).install(
        ["six==1.16.0"], python=Path(sys.executable), target=tmp_path / "site"
    )
    assert (tmp_path / "site/six.py").is_file()


def test_a_python_is_the_same_by_whatever_link_it_was_started(tmp_path):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    programs = tmp_path / "venv/bin"
    (programs / "another").symlink_to("python")
    code = "from colab_env.machine import Machine; print(Machine.detect().machine_python)"
    environ = {key: value for key, value in os.environ.items() if key != "COLAB_ENV_MACHINE_PYTHON"}
    environ["PYTHONPATH"] = str(Path(colab_env.__file__).parents[1])
    said = {
        subprocess.run([programs / name, "-c", code], env=environ, capture_output=True, text=True, check=True).stdout
        for name in ("python", "python3", "another")
    }
    assert said == {f"{programs / 'python3'}\n"}


@pytest.mark.parametrize(
    "name", ["a${HOME}b", "a$HOME", "a:b", "x{connection_file}y", "x{prefix}", "a\nb", "a\x1bb", "a$$b", "\udcff"]
)
def test_a_directory_that_no_kernel_can_work_in_is_refused_before_anything_is_changed(tmp_path, home, name):
    project = tmp_path / name
    project.mkdir()
    for call in (colab_env.plan, colab_env.setup):
        with pytest.raises(UsageError, match="a kernel cannot work in") as caught:
            call(project=project)
        assert "\n" not in caught.value.message
    assert list(project.iterdir()) == []
    assert not Machine.detect().data.exists()


@pytest.mark.parametrize("name", ["a b", "it's", 'say "x"', "Übung 😀", "a$", "{}", "a{b c}", "100%", "a&b;c", "-x"])
def test_other_names_of_directories_are_fine(tmp_path, name):
    project = tmp_path / name
    project.mkdir()
    (project / "requirements.txt").write_text("six==1.16.0\n")
    assert colab_env.plan("3.9", interpreter="uv", project=project).rows[0].name == "six"


SPECIFIERS = ["~=3.11", ">=3.9 <3.13", "^3.10", "3.12.*", "==3.12.*", "3.10 || 3.12", ">= 3.9, < 3.13", "~3.12"]


@pytest.mark.parametrize("asked", SPECIFIERS)
def test_every_reader_understands_a_version_alike(project, tmp_path, asked):
    from colab_env.interpreter import parse_specifier
    from colab_env.named_env.recipe import Recipe
    from colab_env.plans.distributions import poetry_ranges
    from colab_env.request import InstallOptions, Request

    (project / "pyproject.toml").write_text(f'[project]\nname = "x"\nversion = "1"\nrequires-python = "{asked}"\n')
    (project / "lesson.py").write_text(f'# /// script\n# requires-python = "{asked}"\n# ///\n')
    machine, empty = Machine.detect(), tmp_path / "empty"
    empty.mkdir()
    found = [
        Request.read(project, machine).specifier,
        Request.read(project, machine, options=InstallOptions(lock="lesson.py")).specifier,
        Request.read(empty, machine, python=asked).specifier,
        parse_specifier(Recipe(project=project).specifier(Machine.detect())),
    ]
    versions = [f"3.{minor}.4" for minor in range(8, 15)]
    said = {tuple(version for version in versions if each.contains(version)) for each in found}
    assert len(said) == 1
    assert "3.12.4" in next(iter(said))
    if asked not in ("3.10 || 3.12", "3.12.*"):
        (fits,) = said
        assert fits == tuple(each for each in versions if any(one.contains(each) for one in poetry_ranges(asked)))
