"""Environments made from a project's lock file, and environments as kernels."""

# ruff: noqa: F811, PLW1510  the fixtures are imported; exit codes are what is looked at
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PROJECT
from env_fixtures import base, command, stable, wheels  # noqa: F401
from small_wheels import write_wheel

from colab_env import envs, poetry, steps, uv
from colab_env.errors import HashMismatchError, KernelTakenError, MissingStepError, ProjectFileError, UsageError
from colab_env.jupyter import kernelspec
from colab_env.machine import Machine
from colab_env.named_env import kernels, locking, scripts
from colab_env.named_env.recipe import Recipe
from colab_env.request import Request

LIBRARY = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "lesson"
version = "0.1.0"
requires-python = ">=3.8"
dependencies = ["idna>=3.6,<3.8"]

[project.scripts]
lesson = "lesson:main"
"""


def installed(place: Path) -> set[str]:
    return {path.name.removesuffix(".dist-info") for path in place.glob("lib/*/site-packages/*.dist-info")}


def library(place: Path) -> Path:
    (place / "lesson").mkdir(parents=True)
    (place / "pyproject.toml").write_text(LIBRARY)
    (place / "lesson/__init__.py").write_text("import idna\ndef main():\n    print(idna.__version__)\n")
    return place


def test_sources_have_a_checksum_whatever_their_files_are_called(tmp_path, machine):
    project = library(tmp_path / "lesson")
    Path(os.fsdecode(os.fsencode(project) + b"/caf\xe9.txt")).touch()
    recipe = Recipe(packages=(str(project),)).checked()
    before = recipe.digest(machine)
    (project / "lesson/__init__.py").write_text("")
    assert recipe.digest(machine) != before


def test_a_directory_that_nothing_is_built_from_is_not_read(tmp_path, machine):
    """A script that was moved may name any, `/` too, where some files never end."""
    (tmp_path / "scripts").mkdir()
    script = tmp_path / "scripts/report.py"
    script.write_text('# /// script\n# dependencies = ["x"]\n# [tool.uv.sources]\n# x = { path = ".." }\n# ///\n')
    recipe = scripts.recipe(script).checked()
    before = recipe.digest(machine)
    (tmp_path / "data").write_text("1")
    assert recipe.digest(machine) == before
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\nversion = '1'\n")
    assert recipe.digest(machine) != before


def test_a_directory_that_is_no_project_is_refused_with_what_in_it_says_what_is_needed(base, tmp_path, stable):
    scripts, notes = tmp_path / "scripts", tmp_path / "notes"
    (scripts / "requirements").mkdir(parents=True)
    (scripts / "report.py").write_text('# /// script\n# dependencies = ["six"]\n# ///\n')
    (scripts / "plain.py").write_text("import six\n")
    (scripts / "requirements/base.txt").write_text("six\n")
    notes.mkdir()
    with pytest.raises(UsageError, match="nothing that says what the project needs") as caught:
        envs.create("one", project=scripts)
    assert caught.value.hint == (
        f"choose what is there: `colab-env run --script {scripts}/report.py` or"
        f" `--requirements {scripts}/requirements/base.txt`; nothing was changed"
    )
    with pytest.raises(UsageError, match="nothing that says") as caught:
        envs.create("one", project=notes)
    assert "names of packages" in str(caught.value.hint)
    assert not (base / "one").exists()


@pytest.mark.network
def test_a_project_of_poetry_is_installed_as_its_lock_says(base, machine, project):
    (project / "pyproject.toml").write_text(PROJECT)
    steps.configure_venv(project, python=machine.python, system_site_packages=False)
    before = {path.name for path in project.iterdir()}
    place = envs.create("lesson", project=project, python=str(machine.python.path)).where
    assert installed(place) >= {"idna-3.6", "six-1.16.0"}
    assert {path.name for path in project.iterdir()} == before
    assert envs.create("lesson", project=project, python=str(machine.python.path)).action == "already there"


def test_a_project_of_poetry_needs_poetry(base, project):
    (project / "pyproject.toml").write_text(PROJECT)
    (project / "poetry.lock").write_text('package = []\n\n[metadata]\nlock-version = "2.1"\npython-versions = "*"\n')
    assert poetry.installed_version(Machine.detect()) is None
    with pytest.raises(MissingStepError, match="Poetry is not installed"):
        envs.create("lesson", project=project)
    assert envs.list_environments() == []


def test_a_project_of_conda_is_refused_and_leaves_nothing(base, project):
    (project / "environment.yml").write_text("dependencies:\n  - python\n")
    with pytest.raises(UsageError, match="conda makes no named environments"):
        envs.create("lesson", project=project)
    assert envs.list_environments() == []


@pytest.mark.parametrize(
    ("text", "pinned", "note"),
    [
        ("3.12\n", "==3.12.*,>=3.8", None),
        ("pypy3.10\n", ">=3.8", "no X.Y of CPython"),
        ("3.7\n", ">=3.8", "leaves it out"),
    ],
)
def test_create_asks_for_the_python_that_setup_asks_for(tmp_path, text, pinned, note):
    place, machine = library(tmp_path / "project"), Machine.detect()
    (place / "pyproject.toml").write_text(f"{LIBRARY}[tool.uv]\n")
    (place / ".python-version").write_text(text)
    request = Request.read(place, machine)
    assert request.requested_python == Recipe(project=place).specifier(machine) == pinned
    assert [note for line in request.notes() if note and ".python-version" in line and note in line] == [note] * bool(
        note
    )
    assert Recipe(project=place, python="3.11").specifier(machine) == "3.11"


def test_create_refuses_what_setup_refuses_before_it_builds_anything(base, tmp_path):
    place = library(tmp_path / "project")
    (place / "poetry.lock").write_text("[[package\n")
    with pytest.raises(ProjectFileError) as refused:
        Request.read(place, Machine.detect())
    with pytest.raises(ProjectFileError) as refused_too:
        envs.create("lesson", project=place)
    assert str(refused_too.value) == str(refused.value)
    assert not base.exists() or envs.list_environments() == []


@pytest.mark.network
def test_a_project_of_uv_is_installed_as_its_lock_says(base, tmp_path):
    program = uv.find(Machine.detect())
    if program is None:
        pytest.skip("no uv")
    place = library(tmp_path / "project")
    subprocess.run([program, "lock", "-q", "--upgrade-package", "idna==3.6"], cwd=place, check=True)
    made = envs.create("lesson", project=place).where
    assert installed(made) == {"idna-3.6", "lesson-0.1.0"}
    assert not (place / ".venv").exists()
    assert subprocess.run([made / "bin/lesson"], capture_output=True, text=True).stdout == "3.6\n"
    (place / "lesson/__init__.py").write_text("def main():\n    print('changed')\n")
    assert envs.create("lesson", project=place).changed
    assert subprocess.run([made / "bin/lesson"], capture_output=True, text=True).stdout == "changed\n"


@pytest.mark.network
def test_a_project_with_a_pylock_gets_what_it_says(base, tmp_path):
    place, program = library(tmp_path / "lesson"), uv.find(Machine.detect())
    if program is None:
        pytest.skip("needs uv")
    export = ["pip", "compile", "-q", "--no-header", "--format", "pylock.toml", "-o", "pylock.toml", "-"]
    export += ["--python", sys.executable]
    subprocess.run([program, *export], cwd=place, check=True, input=b"idna==3.6")
    assert "idna-3.6" in installed(envs.create("lesson", project=place).where)


@pytest.mark.network
def test_a_project_without_a_lock_is_installed_as_pip_would(base, tmp_path):
    place = library(tmp_path / "project")
    made = envs.create("lesson", project=place).where
    assert installed(made) == {"idna-3.7", "lesson-0.1.0"}


@pytest.mark.network
def test_a_changed_lock_upgrades_the_environment(base, tmp_path):
    place = library(tmp_path / "project")
    envs.create("lesson", project=place)
    (place / "pyproject.toml").write_text(LIBRARY.replace("<3.8", "<3.7"))
    made = envs.upgrade("lesson").where
    assert "idna-3.6" in installed(made)


@pytest.mark.network
def test_an_environment_is_a_kernel_until_it_is_purged(base, machine):
    result = envs.create("web", python=str(machine.python.path), kernel=True)
    runtime = Machine.detect()
    (kernel,) = [each for each in kernelspec.registered(runtime) if each.name == "web"]
    assert kernel.ours
    assert kernel.project == result.where
    assert str(result.where.resolve() / "bin/python") in kernel.argv
    assert envs.create("web", python=str(machine.python.path), kernel=True).action == "already there"

    envs.upgrade("web")  # the next start of the kernel takes the new build, and one that runs stays what it is
    (kernel,) = [each for each in kernelspec.registered(runtime) if each.name == "web"]
    assert f"{base}/.builds/web/2/bin/python" in kernel.argv
    envs.rollback("web")
    (kernel,) = [each for each in kernelspec.registered(runtime) if each.name == "web"]
    assert f"{base}/.builds/web/1/bin/python" in kernel.argv

    envs.rename("web", "site")
    assert [each.name for each in kernelspec.registered(runtime) if each.ours] == ["site"]

    envs.purge("site")
    assert not [each.name for each in kernelspec.registered(runtime) if each.ours]


def test_somebody_elses_kernel_is_left_alone(base, wheels):
    runtime = Machine.detect()
    theirs = kernelspec.directory(runtime, "web") / "kernel.json"
    theirs.parent.mkdir(parents=True)
    theirs.write_text('{"argv": ["python"], "display_name": "theirs", "language": "python"}')
    with pytest.raises(KernelTakenError):
        envs.create("web", kernel=True)
    assert envs.list_environments() == []
    place = envs.create("web", "demo", wheels=wheels)
    envs.purge("web")
    assert theirs.exists()
    assert not place.where.exists()


def test_an_environment_that_is_no_kernel_needs_none(base, wheels):
    envs.create("web", wheels=wheels)
    (place,) = envs.list_environments()
    runtime = Machine.detect()
    from colab_env.named_env.inventory import NamedEnvironment

    assert kernels.fault(NamedEnvironment(name="web", base=place.path.parent), machine=runtime) is None


def test_a_file_of_requirements_with_another_hash_is_said_to_be_that(base, wheels, tmp_path):
    requirements = tmp_path / "requirements.txt"
    requirements.write_text(f"demo==1.0 --hash=sha256:{'0' * 64}\nother==1.0 --hash=sha256:{'0' * 64}\n")
    with pytest.raises(HashMismatchError, match="is not what its hashes promise"):
        envs.create("web", requirements=requirements, wheels=wheels)
    assert not envs.list_environments()


def test_hashes_that_uv_would_not_compare_are_refused(base, wheels, tmp_path):
    requirements = tmp_path / "requirements.txt"
    requirements.write_text(f"other==1.0 --hash=sha256:{'0' * 64}\ndemo>=1 \\\n    --hash=sha256:{'0' * 64}\n")
    with pytest.raises(ProjectFileError, match="has hashes of demo, and no exact version"):
        envs.create("web", requirements=requirements, wheels=wheels)


def test_a_package_that_was_named_by_a_relative_path_is_the_same_one_from_everywhere(base, wheels, command, tmp_path):
    wheel = write_wheel(tmp_path / "here", "app", "1.0", needs=["demo"])
    write_wheel(tmp_path / "there", "app", "1.0", code="raise SystemExit('the other')")
    line = ("env", "create", "web", f"./{wheel.name}", "--wheels", str(wheels))
    assert command(*line, cwd=wheel.parent).returncode == 0
    upgraded = command("env", "upgrade", "web", cwd=tmp_path / "there")
    assert "no version has changed" in upgraded.stdout
    assert "is gone" not in upgraded.stdout
    assert command("run", "web", "python", "-c", "import app").returncode == 0
    assert "already there" in command(*line, cwd=wheel.parent).stdout
    added = write_wheel(tmp_path / "here", "more", "1.0")
    assert command("env", "add", "web", f"../here/{added.name}", cwd=tmp_path / "there").returncode == 0
    assert command("env", "upgrade", "web", cwd=tmp_path).returncode == 0
    assert {"app-1.0", "more-1.0"} <= installed(base / "web")


def test_paths_in_a_requirements_file_start_at_it(base, wheels, command, tmp_path):
    write_wheel(tmp_path / "app/packages", "app", "1.0", needs=["demo"])
    requirements = tmp_path / "app/requirements.txt"
    requirements.write_text("./packages/app-1.0-py3-none-any.whl\n")
    line = ("env", "create", "web", "-r", str(requirements), "--wheels", str(wheels))
    assert command(*line, cwd=wheels).returncode == 0
    upgraded = command("env", "upgrade", "web", cwd=tmp_path)
    assert "no version has changed" in upgraded.stdout
    assert "is gone" not in upgraded.stdout


def test_directories_of_wheels_that_a_requirements_file_names_start_at_it():
    text = "--find-links wheels\n-f https://example.org/wheels\n--index-url=https://example.org/simple\n--pre\n"
    options = locking.index_options(text, Path("/srv/app"))
    assert options == [
        *("--find-links", "/srv/app/wheels", "-f", "https://example.org/wheels"),
        *("--index-url", "https://example.org/simple", "--pre"),
    ]
