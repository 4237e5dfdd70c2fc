"""Every step does its work, skips what is fine, heals what is not, and takes back what it could not finish."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import PROJECT, start_python

import colab_env
from colab_env import choice, step, steps, system, venv
from colab_env.errors import (
    BuildError,
    ColabEnvError,
    CommandError,
    DiskFullError,
    KernelNameError,
    KernelTakenError,
    LockMismatchError,
    MissingStepError,
    NetworkError,
    NoSuchPythonError,
    NotOursError,
    NotWritableError,
    PreflightError,
    ProjectFileError,
    UsageError,
)
from colab_env.interpreter import parse_specifier
from colab_env.jupyter import colab_layer
from colab_env.machine import Machine

pytestmark = pytest.mark.network


def state(*places: Path) -> dict[str, str]:
    """Return everything below some places that a person could see, but for bytecode and the log of what happened."""
    found: dict[str, str] = {}
    for path in (path for place in places for path in [place, *place.rglob("*")]):
        if "__pycache__" in path.parts or "logs" in path.parts:
            continue
        if path.is_symlink():
            found[str(path)] = f"-> {path.readlink()}"
        elif path.is_file():
            found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
        elif path.is_dir():
            found[str(path)] = "directory"
    return found


def answer(python: Path, code: str) -> str:
    """Return what a line of Python prints."""
    done = subprocess.run(
        [python, "-c", code], capture_output=True, text=True, check=True, env={"PATH": os.environ["PATH"]}
    )
    return done.stdout.strip()


def processes(text: str) -> list[str]:
    """Return the command lines of running programs that contain `text`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if text in line and int(path.parent.name) != os.getpid():
            found.append(line)
    return found


def installed(project: Path) -> set[str]:
    found = (project / ".venv").glob("lib/python3*/site-packages/*.dist-info")
    return {path.name.removesuffix(".dist-info").lower() for path in found}


# --- install_python


def test_a_python_of_the_machine_is_chosen_and_remembered(pythons):
    result = steps.install_python(pythons[1].short_version, interpreter="system")
    assert result.changed
    assert result.python.short_version == pythons[1].short_version
    assert choice.python(Machine.detect()) == result.python


def test_choosing_the_same_python_again_does_nothing(pythons, request):
    first = steps.install_python(pythons[1].version, interpreter="system")
    request.getfixturevalue("no_children")
    again = steps.install_python(pythons[1].version, interpreter="system")
    assert not again.changed
    assert again.python == first.python


@pytest.mark.parametrize("kind", ["path", "link", "home", "environment"])
def test_a_python_named_by_its_path_is_chosen_once(pythons, home, request, kind):
    link = home / "bin" / "python"
    link.parent.mkdir()
    link.symlink_to(pythons[1].path)
    if kind == "environment":
        subprocess.run([pythons[1].path, "-m", "venv", "--without-pip", home / "env"], check=True)
    named = {"path": pythons[1].path, "link": link, "home": "~/bin/python", "environment": home / "env/bin/python"}[
        kind
    ]
    first = steps.install_python(str(named), interpreter="system")
    assert first.python.version == pythons[1].version
    request.getfixturevalue("no_children")
    assert not steps.install_python(str(named), interpreter="system").changed


def test_a_chosen_python_that_is_gone_is_chosen_anew(pythons):
    result = steps.install_python(pythons[1].short_version, interpreter="system")
    memory = Machine.detect().data / "chosen.json"
    memory.write_text(memory.read_text().replace(str(result.python.path), "/nowhere/python3"))
    healed = steps.install_python(pythons[1].short_version, interpreter="system")
    assert healed.changed
    assert healed.python == result.python


def test_a_python_that_is_not_there_is_an_error_that_names_those_that_are(pythons):
    before = steps.install_python(pythons[1].short_version, interpreter="system").python
    with pytest.raises(NoSuchPythonError) as caught:
        steps.install_python("3.99", interpreter="system")
    assert caught.value.exit_code == 3
    assert all(each.version in caught.value.message for each in pythons)
    assert choice.python(Machine.detect()) == before


def test_the_stop_button_leaves_the_choice(pythons, interrupt):
    before = steps.install_python(pythons[1].short_version, interpreter="system").python
    interrupt()
    with pytest.raises(KeyboardInterrupt):
        steps.install_python(pythons[0].short_version, interpreter="system")
    assert choice.python(Machine.detect()) == before


def test_a_project_with_an_environment_keeps_its_python(filled, pythons):
    steps.install_python(pythons[1].short_version, interpreter="system")
    kept = steps.install_python(project=filled, interpreter="system").python
    assert kept == venv.recorded_python(filled)


def test_a_new_project_does_not_take_the_python_that_another_one_was_set_up_with(filled, pythons, tmp_path):
    usual = system.find(parse_specifier("*"), machine=Machine.detect())
    other = next(python for python in pythons if python.short_version != usual.short_version)
    steps.configure_venv(filled, python=other, system_site_packages=False)
    new = tmp_path / "second"
    assert colab_env.plan(project=new, interpreter="system").python == usual
    assert steps.install_python(project=new, interpreter="system").python == usual
    # One that was asked for by itself is for the next steps, whichever project they are of.
    steps.install_python(other.version, interpreter="system")
    assert steps.install_python(project=new, interpreter="system").python == other


@pytest.mark.parametrize("python", ["banana", "3.9.x.y", ">=", ""])
def test_what_is_no_version_is_refused(python):
    if not python:
        assert steps.install_python(python, interpreter="system").python
        return
    with pytest.raises(UsageError, match="is not a Python version"):
        steps.install_python(python, interpreter="system")


def test_what_is_no_source_is_refused():
    with pytest.raises(UsageError, match="no interpreter source 'brew'") as caught:
        steps.install_python(interpreter="brew")
    assert "system" in caught.value.hint


@pytest.mark.parametrize("path", ["/nowhere/python3", "/bin/sh", "/etc"])
def test_a_path_that_is_no_python_is_refused(path):
    with pytest.raises(NoSuchPythonError, match=path):
        steps.install_python(path, interpreter="system")


# --- install_poetry


def test_poetry_is_installed_and_is_a_command_of_the_notebook(machine, request):
    assert machine.poetry.changed
    request.getfixturevalue("no_children")
    result = steps.install_poetry()
    assert not result.changed
    request.getfixturevalue("monkeypatch").undo()
    shown = subprocess.run(
        [machine.data / "bin/poetry", "--version"], capture_output=True, text=True, check=True
    ).stdout
    assert result.what.lower() in shown.lower().replace("(version ", "").replace(")", "")


def test_poetry_is_put_on_the_path_once(machine):
    steps.install_poetry()
    steps.install_poetry()
    assert os.environ["PATH"].split(":").count(str(machine.data / "bin")) == 1
    assert shutil.which("poetry") == str(machine.data / "bin/poetry")


def test_a_damaged_poetry_is_made_anew(machine):
    receipt = (machine.data / "poetry" / "colab-env.json").read_text()
    (machine.data / "poetry").unlink()
    (machine.data / "poetry").mkdir()
    (machine.data / "poetry" / "colab-env.json").write_text(receipt)
    result = steps.install_poetry()
    assert result.reason == "Poetry's environment is damaged"
    assert answer(machine.data / "poetry/venv/bin/python", "import poetry.console; print(1)") == "1"


def test_a_poetry_that_does_not_exist_leaves_the_one_that_was_there(machine):
    before = state(machine.data)
    with pytest.raises(CommandError, match=r"2\.5\.99"):
        steps.install_poetry(version="2.5.99")
    for name in ("locks", "journal"):
        shutil.rmtree(machine.data / name)
    (machine.data / "uv.toml").unlink()  # the settings of colab-env's own tools
    assert state(machine.data) == before


def test_the_stop_button_leaves_the_poetry_that_was_there(machine, interrupt):
    before = state(machine.data)
    interrupt("poetry")
    with pytest.raises(KeyboardInterrupt):
        steps.install_poetry(version="2.5.0")
    for name in ("locks", "journal"):
        shutil.rmtree(machine.data / name)
    (machine.data / "uv.toml").unlink()  # the settings of colab-env's own tools
    assert state(machine.data) == before


def test_poetry_without_a_network_is_a_network_error(machine, offline):
    (machine.data / "poetry").unlink()
    with pytest.raises(NetworkError) as caught:
        steps.install_poetry()
    assert caught.value.exit_code == 8
    assert not (machine.data / "poetry").exists()


# --- install_colab_packages


def layer_of(machine) -> Path:
    return colab_layer.directory(Machine.detect(), machine.python)


def test_the_kernel_layer_is_complete_and_is_built_once(machine, no_children):
    result = steps.install_colab_packages()
    assert not result.changed
    assert result.where == layer_of(machine)
    assert "ipykernel" in result.what


@pytest.mark.parametrize("gone", ["site/ipykernel", pytest.param("launch.py", marks=pytest.mark.machine)])
def test_a_damaged_layer_is_made_anew(machine, gone):
    place = layer_of(machine) / gone
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    result = steps.install_colab_packages()
    assert result.changed
    assert place.exists()


def test_a_layer_that_cannot_be_built_stays_as_it_was(machine, offline):
    shutil.rmtree(layer_of(machine) / "site/ipykernel")
    before = state(machine.data / "layers")
    with pytest.raises(NetworkError):
        steps.install_colab_packages()
    assert state(machine.data / "layers") == before


def test_the_stop_button_leaves_the_layer_that_was_there(machine, interrupt):
    shutil.rmtree(layer_of(machine) / "site/ipykernel")
    before = state(machine.data / "layers")
    interrupt()
    with pytest.raises(KeyboardInterrupt):
        steps.install_colab_packages()
    assert state(machine.data / "layers") == before


def test_packages_before_a_python_is_chosen_name_the_step_that_is_missing():
    with pytest.raises(MissingStepError) as caught:
        steps.install_colab_packages()
    assert "install_python()" in caught.value.hint


# --- configure_venv


def test_an_empty_directory_becomes_a_project_with_an_environment(machine, project):
    result = steps.configure_venv(project)
    assert result.changed
    assert [note for note in result.notes if note.endswith("was written")] == [
        "pyproject.toml was written",
        "poetry.toml was written",
    ]
    assert (project / "poetry.lock").is_file()
    python = project / ".venv/bin/python"
    assert answer(python, "import sys; print(sys.prefix)") == str(project / ".venv")
    assert answer(python, "import sys; print('%d.%d.%d' % sys.version_info[:3])") == machine.python.version
    assert choice.path(Machine.detect(), "project") == project


def test_exactly_what_the_lock_file_says_is_installed(filled):
    assert {name for name in installed(filled) if not name.startswith("pip-")} == {"idna-3.6", "six-1.16.0"}
    assert answer(filled / ".venv/bin/python", "import idna; print(idna.__version__)") == "3.6"
    assert (filled / "pyproject.toml").read_text() == PROJECT


def test_an_environment_that_is_fine_is_left_alone(filled, no_children):
    before = state(filled)
    assert not steps.configure_venv(filled, system_site_packages=False).changed
    assert state(filled) == before


def test_a_deleted_package_comes_back(filled):
    site = next((filled / ".venv/lib").glob("python3*/site-packages"))
    shutil.rmtree(next(site.glob("six-*.dist-info")))
    (site / "six.py").unlink()
    result = steps.configure_venv(filled, system_site_packages=False)
    assert result.reason == "packages are missing: six-1.16.0"
    assert answer(filled / ".venv/bin/python", "import six; print(six.__version__)") == "1.16.0"


def test_an_environment_whose_python_is_gone_is_made_anew(filled):
    (filled / ".venv/bin/python").unlink()
    result = steps.configure_venv(filled, system_site_packages=False)
    assert result.reason == "the Python of the virtual environment is gone"
    assert answer(filled / ".venv/bin/python", "import six; print(six.__version__)") == "1.16.0"


def test_another_python_makes_the_environment_anew(filled, pythons):
    result = steps.configure_venv(filled, python=pythons[1], system_site_packages=False)
    assert "was made by Python" in result.reason
    assert (
        answer(filled / ".venv/bin/python", "import six, sys; print('%d.%d.%d' % sys.version_info[:3])")
        == pythons[1].version
    )
    assert sorted(path.name for path in filled.iterdir()) == [".venv", "poetry.lock", "pyproject.toml"]


def test_the_command_poetry_takes_the_projects_environment_whatever_its_settings_say(filled, machine):
    settings = "[virtualenvs]\nin-project = false\n"
    (filled / "poetry.toml").write_text(settings)
    steps.configure_venv(filled, system_site_packages=False)
    assert (filled / "poetry.toml").read_text() == settings
    argv = [machine.data / "bin/poetry", "env", "info", "--path"]
    done = subprocess.run(argv, cwd=filled, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(filled / ".venv")


def test_another_view_of_the_systems_packages_makes_the_environment_anew(filled):
    result = steps.configure_venv(filled, system_site_packages=True)
    assert result.reason == "the virtual environment does not see the system's packages"
    assert venv.sees_system(filled)
    assert not (filled / "poetry.toml").exists()  # it would be the owner's


@pytest.mark.parametrize("same", [True, False])
def test_an_environment_of_somebody_else_is_kept_beside_the_new_one(machine, project, pythons, same):
    python = pythons[0] if same else pythons[1]
    subprocess.run(
        [python.path, "-m", "venv", "--without-pip", "--system-site-packages", project / ".venv"], check=True
    )
    (project / ".venv/mine").write_text("mine")
    (project / "requirements.txt").write_text("six==1.16.0\n")
    result = steps.configure_venv(project)
    assert (project / ".venv.old/mine").read_text() == "mine"
    assert not (project / ".venv/mine").exists()
    assert "the virtual environment that was there is now .venv.old" in result.notes


def test_an_environment_of_somebody_else_is_back_when_the_step_fails(machine, project, offline, pythons):
    subprocess.run([pythons[1].path, "-m", "venv", "--without-pip", project / ".venv"], check=True)
    before = state(project)
    with pytest.raises(ColabEnvError):
        steps.configure_venv(project)
    assert state(project) == before


def test_a_directory_that_is_no_environment_is_refused(machine, project):
    (project / ".venv").mkdir()
    (project / ".venv/mine").write_text("mine")
    before = state(project)
    with pytest.raises(NotOursError, match="is not a virtual environment"):
        steps.configure_venv(project)
    assert state(project) == before


def test_what_python_leaves_of_a_deleted_environment_is_nobodys(project):
    left = project / ".venv/lib/python3.12/site-packages/six/__pycache__"
    left.mkdir(parents=True)
    (left / "six.cpython-312.pyc").write_bytes(b"")
    assert venv.set_aside_foreign(project) is None
    assert not (project / ".venv").exists()


@pytest.fixture
def unbuildable(tmp_path: Path) -> Path:
    """A package whose build fails as a missing compiler's does."""
    place = tmp_path / "broken"
    place.mkdir()
    (place / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        '[project]\nname = "broken"\nversion = "1.0"\n'
    )
    (place / "backend.py").write_text(
        "def build_wheel(*_, **__):\n    raise SystemExit('error: command gcc failed: No such file or directory')\n"
        "build_editable = build_wheel\n"
    )
    return place


def depend_on(project: Path, requirement: str) -> None:
    path = project / "pyproject.toml"
    path.write_text(path.read_text().replace('"six==1.16.0"', f'"six==1.16.0", "{requirement}"'))
    (project / "poetry.lock").unlink()


def test_a_package_that_does_not_build_is_named_and_changes_nothing(filled, unbuildable):
    depend_on(filled, f"broken @ {unbuildable.as_uri()}")
    before = state(filled)
    with pytest.raises(BuildError, match="could not build broken") as caught:
        steps.configure_venv(filled, system_site_packages=False)
    assert "command gcc failed" in caught.value.message
    assert caught.value.exit_code == 17
    assert state(filled) == before


def test_a_lock_file_that_does_not_match_is_named_and_changes_nothing(filled):
    path = filled / "pyproject.toml"
    path.write_text(path.read_text().replace("idna==3.6", "idna==3.7"))
    before = state(filled)
    with pytest.raises(
        LockMismatchError, match=r"its pyproject\.toml: it has idna 3\.6, asked for is ==3\.7"
    ) as caught:
        steps.configure_venv(filled, system_site_packages=False)
    assert "poetry lock" in caught.value.hint
    assert state(filled) == before


def test_a_lock_file_is_made_where_there_is_none(filled):
    (filled / "poetry.lock").unlink()
    assert steps.configure_venv(filled, system_site_packages=False).changed
    assert 'name = "idna"' in (filled / "poetry.lock").read_text()


def test_a_package_that_nobody_published_changes_nothing(filled):
    depend_on(filled, "no-such-package-as-this-one==1.0")
    before = state(filled)
    with pytest.raises(ColabEnvError, match="no-such-package-as-this-one"):
        steps.configure_venv(filled, system_site_packages=False)
    assert state(filled) == before


def test_an_error_in_pyproject_names_its_place_and_changes_nothing(machine, project):
    (project / "pyproject.toml").write_text('[project]\nname = "lesson"\nversion = \n')
    before = state(project)
    with pytest.raises(ProjectFileError, match=r"pyproject\.toml, line 3, column") as caught:
        steps.configure_venv(project)
    assert caught.value.exit_code == 18
    assert state(project) == before


def test_a_project_for_another_python_is_refused(filled, pythons):
    path = filled / "pyproject.toml"
    path.write_text(path.read_text().replace(">=3.8", "<3.8"))
    with pytest.raises(NoSuchPythonError, match=r"asks for Python '<3\.8'"):
        steps.configure_venv(filled, system_site_packages=False)


def test_the_stop_button_leaves_the_environment_that_was_there(filled, interrupt):
    site = next((filled / ".venv/lib").glob("python3*/site-packages"))
    shutil.rmtree(next(site.glob("six-*.dist-info")))
    before = state(filled)
    interrupt("+ six")
    with pytest.raises(KeyboardInterrupt):
        steps.configure_venv(filled, system_site_packages=False)
    assert state(filled) == before


CONFIGURE = "from pathlib import Path; from colab_env import steps; steps.configure_venv(Path({project!r}))"


def test_stopped_while_making_its_first_environment_a_project_is_as_before(machine, project, stop):
    (project / "notes.txt").write_text("mine")
    before = state(project)
    done = project / ".venv/bin/python"
    ended = stop(CONFIGURE.format(project=str(project)), when=done.exists)
    assert ended.returncode != 0
    assert "KeyboardInterrupt" in ended.output
    assert state(project) == before
    assert processes(str(project)) == []


def test_killed_while_making_its_first_environment_a_project_is_healed_by_the_next_run(machine, project, stop):
    stop(CONFIGURE.format(project=str(project)), when=(project / ".venv/pyvenv.cfg").exists, how=signal.SIGKILL)
    assert steps.configure_venv(project).changed
    assert sorted(path.name for path in project.iterdir()) == [".venv", "poetry.lock", "poetry.toml", "pyproject.toml"]


def test_killed_while_rebuilding_a_project_is_healed_by_the_next_run(filled, stop):
    (filled / ".venv/mark").touch()
    gone = lambda: not (filled / ".venv/mark").exists() and (filled / ".venv/pyvenv.cfg").exists()  # noqa: E731
    visible = CONFIGURE.format(project=str(filled)).replace("))", "), system_site_packages=True)")
    stop(visible, when=gone, how=signal.SIGKILL)
    assert steps.configure_venv(filled, system_site_packages=True).changed
    assert {"idna-3.6", "six-1.16.0"} <= installed(filled)
    assert sorted(path.name for path in filled.iterdir()) == [".venv", "poetry.lock", "pyproject.toml"]


def test_without_a_network_nothing_is_changed(filled, offline):
    depend_on(filled, "iniconfig==2.0.0")
    before = state(filled)
    with pytest.raises(NetworkError, match=r"cannot reach|cannot be reached"):
        steps.configure_venv(filled, system_site_packages=False)
    assert state(filled) == before


def test_a_first_environment_without_a_network_leaves_nothing(machine, project, offline):
    with pytest.raises(NetworkError):
        steps.configure_venv(project)
    assert list(project.iterdir()) == []


def test_a_full_disk_is_said_and_leaves_nothing(machine, small_disk):
    project = small_disk / "lesson"
    with pytest.raises(DiskFullError) as caught:
        steps.configure_venv(project)
    assert caught.value.exit_code == 7
    assert list(project.iterdir()) == []


def test_a_project_that_may_not_be_written_is_said(machine, read_only):
    with pytest.raises(NotWritableError, match="cannot write"):
        steps.configure_venv(read_only)
    with pytest.raises(NotWritableError, match="cannot write"):
        steps.configure_venv(read_only / "inner")


def test_a_project_that_is_a_file_is_refused(machine, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="is a file"):
        steps.configure_venv(tmp_path / "file")
    with pytest.raises(NotWritableError):
        steps.configure_venv(tmp_path / "file" / "inner")


def test_an_environment_before_poetry_names_the_step_that_is_missing(project):
    with pytest.raises(MissingStepError, match="Poetry is not installed") as caught:
        steps.configure_venv(project)
    assert "install_poetry()" in caught.value.hint


# --- register_kernel


def test_a_kernel_is_tried_and_registered(filled):
    result = steps.register_kernel("lesson", project=filled)
    assert result.changed
    spec = json.loads((result.where / "kernel.json").read_text())
    assert str(filled / ".venv/bin/python") in spec["argv"]
    assert Path(spec["argv"][0]).is_absolute()
    assert spec["display_name"].endswith("(lesson)")
    health = colab_env.check_kernel("lesson")
    assert health.ok, health
    assert processes(str(filled)) == []


@pytest.fixture
def registered(filled: Path, built_project: Path, machine) -> Path:
    """A registered kernel's directory."""
    return steps.register_kernel("lesson", project=filled).where


def test_a_registered_kernel_is_left_alone(registered, filled, no_children):
    assert not steps.register_kernel("lesson", project=filled).changed


def test_a_damaged_kernelspec_is_written_anew(registered, filled):
    path = registered / "kernel.json"
    before = path.read_text()
    for damage in (
        lambda: shutil.rmtree(registered),
        lambda: path.write_text(before.replace("launch.py", "lunch.py")),
        lambda: path.write_text(before.replace('"signal"', '"message"')),
    ):
        damage()
        assert steps.register_kernel("lesson", project=filled).changed
        assert path.read_text() == before


def test_a_kernel_that_does_not_start_is_not_registered(filled, home):
    site = next((filled / ".venv/lib").glob("python3*/site-packages"))
    (site / "zmq.py").write_text("raise ImportError('a broken package of the project')\n")
    with pytest.raises(PreflightError, match="a broken package of the project") as caught:
        steps.register_kernel("lesson", project=filled)
    assert caught.value.exit_code == 21
    assert not (home / ".local/share/jupyter/kernels/lesson").exists()


def test_a_kernel_that_does_not_start_leaves_the_one_of_before(registered, filled):
    path = registered / "kernel.json"
    path.write_text(path.read_text().replace('"signal"', '"message"'))
    before = state(registered.parent)
    site = next((filled / ".venv/lib").glob("python3*/site-packages"))
    (site / "zmq.py").write_text("raise ImportError\n")
    with pytest.raises(PreflightError):
        steps.register_kernel("lesson", project=filled)
    assert state(registered.parent) == before


def test_the_stop_button_ends_the_kernel_and_registers_nothing(filled, home, stop):
    code = f"from colab_env import steps; steps.register_kernel('lesson', project={str(filled)!r})"
    ended = stop(code, when=lambda: bool(processes(f"{filled}/.venv/bin/python")))
    assert ended.returncode != 0
    assert "KeyboardInterrupt" in ended.output
    deadline = time.monotonic() + 5
    while processes(str(filled)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert processes(str(filled)) == []
    assert not (home / ".local/share/jupyter/kernels/lesson").exists()


def test_a_name_that_jupyter_does_not_take_is_refused(filled, home):
    for name in ("a b", "a/b", "../up", "..", "ünder", "a\n"):
        with pytest.raises(KernelNameError) as caught:
            steps.register_kernel(name, project=filled)
        assert caught.value.exit_code == 19
    assert not (home / ".local/share/jupyter").exists()


def test_a_kernel_of_somebody_else_is_not_replaced(filled, home):
    taken = home / ".local/share/jupyter/kernels/lesson"
    taken.mkdir(parents=True)
    (taken / "kernel.json").write_text('{"argv": ["mine"], "display_name": "Mine", "language": "python"}')
    before = state(taken)
    for name in ("lesson", "Lesson"):
        with pytest.raises(KernelTakenError, match="belongs to somebody else"):
            steps.register_kernel(name, project=filled)
    assert state(taken) == before


def test_a_jupyter_directory_that_cannot_be_written_is_said(filled, tmp_path, monkeypatch, read_only):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", read_only / "jupyter"):
        monkeypatch.setenv("JUPYTER_DATA_DIR", str(place))
        with pytest.raises(NotWritableError, match=str(place.parent)):
            steps.register_kernel("lesson", project=filled)


def test_a_kernel_before_its_environment_names_the_step_that_is_missing(machine, project):
    with pytest.raises(MissingStepError) as caught:
        steps.register_kernel(project=project)
    assert "configure_venv()" in caught.value.hint


def test_a_kernel_before_its_layer_names_the_step_that_is_missing(machine, filled):
    shutil.rmtree(machine.data / "layers")
    with pytest.raises(MissingStepError) as caught:
        steps.register_kernel(project=filled)
    assert "install_colab_packages()" in caught.value.hint


def test_a_removed_kernel_is_gone_and_its_environment_stays(registered, filled):
    steps.remove_kernel("lesson")
    assert not registered.exists()
    assert (filled / ".venv/bin/python").is_file()
    with pytest.raises(KernelNameError, match="no kernel 'lesson'"):
        steps.remove_kernel("lesson")


# --- setup


def test_setup_twice_does_everything_and_then_nothing(machine, project, request):
    first = colab_env.setup(project=project, interpreter="system")
    assert first.steps[0].python == machine.python
    assert [step.step for step in first.steps if step.changed] == ["configure_venv", "register_kernel"]
    before = state(project)
    request.getfixturevalue("no_children")
    second = colab_env.setup(project=project, interpreter="system")
    assert [step.step for step in second.steps if step.changed] == []
    assert second.kernel == first.kernel == f"py{machine.python.short_version.replace('.', '')}"
    assert state(project) == before


def test_a_directory_with_spaces_and_umlauts_works(machine, tmp_path):
    project = tmp_path / "Meine Übung (1)"
    project.mkdir()
    (project / "requirements.txt").write_text("six==1.16.0\n")
    result = colab_env.setup(project=project, interpreter="system")
    assert result.display_name.endswith("(Meine Übung (1))")


def test_a_very_long_path_is_no_obstacle(machine, tmp_path):
    deep = tmp_path.joinpath(*["d" * 60] * 5)
    deep.mkdir(parents=True)
    (deep / "requirements.txt").write_text("six==1.16.0\n")
    steps.configure_venv(deep)
    assert (deep / ".venv/bin/python").is_file()


SETUP = """
import sys, colab_env
result = colab_env.setup(project={project!r}, interpreter="system")
print(result)
"""


def test_of_two_setups_at_the_same_time_one_waits_and_finds_it_done(machine, project):
    (project / "requirements.txt").write_text("six==1.16.0\n")
    children = [start_python(SETUP.format(project=str(project))) for _ in range(2)]
    outputs = [child.communicate(timeout=300)[0] for child in children]
    assert [child.returncode for child in children] == [0, 0], outputs
    assert sorted("(done" in output.split("Virtual environment")[-1].splitlines()[0] for output in outputs) == [
        False,
        True,
    ]
    assert sum("Waiting for another run" in output for output in outputs) >= 1


def test_the_stop_button_during_setup_leaves_the_project_as_before(machine, project, stop):
    ended = stop(SETUP.format(project=str(project)), when=(project / ".venv/bin/python").exists)
    assert ended.returncode != 0
    assert "KeyboardInterrupt" in ended.output
    assert list(project.iterdir()) == []
    assert processes(str(project)) == []


def test_the_stop_button_ends_a_setup_that_waits_for_another_run(machine, project, stop, tmp_path):
    mark = tmp_path / "held"
    lock = step.project_lock(Machine.detect(), project)
    hold = "import time; from pathlib import Path; from colab_env import _file_locks\n"
    hold += f"with _file_locks.locked(Path({str(lock)!r})): Path({str(mark)!r}).touch(); time.sleep(60)"
    holder = start_python(hold)
    while not mark.exists():
        time.sleep(0.01)
    began = time.monotonic()
    ended = stop(SETUP.format(project=str(project)), when=lambda: time.monotonic() - began > 1.5)
    assert ended.returncode != 0
    assert holder.poll() is None
    holder.kill()
    holder.communicate()


def test_data_that_cannot_be_kept_is_said(home, monkeypatch, read_only, project):
    (home / "file").write_text("")
    for place in (home / "file", read_only / "colab-env"):
        monkeypatch.setenv("COLAB_ENV_HOME", str(place))
        with pytest.raises(NotWritableError):
            colab_env.setup(project=project, interpreter="system")


@pytest.mark.machine  # by default with uv alone: test_undo, of a home directory
def test_setup_on_a_fresh_machine_does_all_steps(home, project, pythons):
    result = colab_env.setup(pythons[1].short_version, project=project, interpreter="system", kernel="fresh")
    assert [step.step for step in result.steps if not step.changed] == []
    assert result.kernel == "fresh"
    assert sys.executable
    assert colab_env.status(project).ok
