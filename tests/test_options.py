"""The options that made an environment are its own until others are given, and what is removed is named."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from test_installers import fill, has_pip, installed

from colab_env import _files, diagnose, planning, steps, venv
from colab_env.errors import UsageError
from colab_env.interpreter import Interpreter
from colab_env.interpreter_sources import named
from colab_env.machine import Machine
from colab_env.request import InstallOptions, Request


@pytest.fixture
def made(project, pythons):
    """Write the receipt of an environment that was made with these options; nothing is installed."""

    def made(*, python: Interpreter | None = None, visible: bool = True, **options) -> Request:
        environment = project / ".venv"
        environment.mkdir(exist_ok=True)
        (environment / "pyvenv.cfg").write_text(f"home = /\ninclude-system-site-packages = {str(visible).lower()}\n")
        wanted = InstallOptions.from_arguments(**options).recorded()
        venv.write_receipt(project, python=python or pythons[0], inputs="", wanted=wanted)
        return Request.read(project, Machine.detect())

    return made


def read(project: Path, **options) -> Request:
    words = {name: options.pop(name) for name in ("system_site_packages", "defaults") if name in options}
    return Request.read(project, Machine.detect(), options=InstallOptions.from_arguments(**options), **words)


@pytest.fixture
def locks(project):
    (project / "pyproject.toml").write_text(
        '[project]\nname = "a"\nversion = "1"\n[project.optional-dependencies]\ne = []\nf = []\n'
        "[dependency-groups]\ng = []\nh = []\n"
    )
    (project / "uv.lock").write_text("version = 1\n")
    (project / "more.txt").write_text("six\n")
    (project / "pylock.toml").write_text('extras = ["e"]\n')


@pytest.mark.usefixtures("locks")
def test_what_is_not_said_is_as_it_was(project, made):
    same = {"lock": "pylock.toml", "extras": ["e"], "installer": "uv"}
    request = made(**same, visible=False)
    assert request.lock.path.name == "pylock.toml"
    assert (request.options.extras, request.options.installer) == (("e",), "uv")
    assert not request.system_site_packages
    (note,) = request.notes()
    assert note.startswith("as before: lock=pylock.toml, installer=uv, extras=e (--defaults")
    assert read(project, **same).notes() == []
    assert request.inputs == read(project, **same).inputs
    assert request.reread().inputs == request.inputs
    assert read(project, lock=project / "pylock.toml").options.extras == ("e",)


@pytest.mark.usefixtures("locks")
def test_one_option_changes_and_the_others_stay(project, made):
    made(extras=["e"], groups=["g"])
    changed = read(project, extras=["f"])
    assert (changed.options.extras, changed.options.groups) == (("f",), ("g",))
    assert changed.notes() == ["as before: groups=g (--defaults, or defaults=True, forgets it)"]
    none = read(project, extras=[], groups=[])
    assert (none.options.extras, none.options.groups, none.notes()) == ((), (), [])


@pytest.mark.usefixtures("locks")
def test_another_lock_file_and_defaults_start_anew(project, made):
    made(lock="pylock.toml", extras=["e"], visible=False)
    for request in (read(project, lock="more.txt"), read(project, defaults=True)):
        assert request.options.extras == ()
        assert request.system_site_packages
        assert request.notes() == []
    assert read(project, lock="more.txt").lock.path.name == "more.txt"
    assert read(project, defaults=True).lock.path.name == "uv.lock"


@pytest.mark.usefixtures("locks")
def test_a_lock_file_that_is_gone_is_named_with_the_way_back(project, made):
    made(lock="more.txt")
    (project / "more.txt").unlink()
    with pytest.raises(UsageError, match=r"there is no lock file .*more\.txt") as caught:
        read(project)
    assert "defaults=True" in caught.value.hint
    assert read(project, defaults=True).lock.path.name == "uv.lock"


def test_the_block_of_a_cell_is_no_option_of_a_person_s(project, made, home):
    block = Machine.detect().data / "scripts/a.py"
    block.parent.mkdir(parents=True)
    block.write_text("# /// script\n# ///\n")
    assert made(lock=block).lock.path != block


def test_the_source_of_the_python_stays(project, made, tmp_path):
    conda = Interpreter(path=tmp_path / "conda/bin/python", version="3.12.4", source="miniconda")
    uvs = Interpreter(path=tmp_path / "uv/bin/python", version="3.12.4", source="uv")
    machine = Machine.detect()
    usual = (machine.host.interpreter, "/usr/local")
    made(python=conda)
    assert named("auto", machine, project=project) == ("miniconda", tmp_path / "conda")
    assert named("auto", machine, project=project, prefix="/opt/x") == ("miniconda", "/opt/x")
    made(python=uvs)
    assert named("auto", machine, project=project) == ("uv", "/usr/local")
    assert named("system", machine, project=project)[0] == "system"
    assert named("auto", machine, project=project, defaults=True) == usual
    assert named("auto", machine, project=project, python="3.12") == usual


@pytest.mark.network
def test_a_plain_call_keeps_the_lock_file_and_plan_and_status_agree(machine, project):
    (project / "pyproject.toml").write_text('[project]\nname = "a"\nversion = "1"\ndependencies = ["toml==0.10.2"]\n')
    (project / "more.txt").write_text("six==1.16.0\nidna==3.6\n")
    steps.configure_venv(project, python=machine.python, lock="more.txt", system_site_packages=False)
    again = steps.configure_venv(project, python=machine.python)
    assert not again.changed
    assert installed(project) == {"six-1.16.0", "idna-3.6"}
    assert any("as before: lock=more.txt" in note for note in again.notes)
    plan = planning.plan(interpreter="system", project=project)
    assert {row.name for row in plan.rows} == {"six", "idna"}
    assert any("as before: lock=more.txt" in note for note in plan.notes)
    (part,) = (part for part in diagnose.status(project).parts if part.name == "Environment")
    assert part.problem is None
    (project / "more.txt").write_text("six==1.16.0\n")
    assert "will be removed: idna 3.6" in planning.plan(interpreter="system", project=project).notes
    assert "removed: idna 3.6" in steps.configure_venv(project, python=machine.python).notes
    back = steps.configure_venv(project, python=machine.python, defaults=True)
    assert installed(project) >= {"toml-0.10.2"}
    assert "removed: six 1.16.0" in back.notes


@pytest.mark.network
def test_what_was_installed_by_hand_is_named_and_exact_removes_it(machine, project):
    (project / "requirements.txt").write_text("six==1.16.0\n")
    fill(project, python=machine.python)
    subprocess.run([project / ".venv/bin/pip", "install", "-q", "idna==3.6"], check=True)
    again = fill(project, python=machine.python)
    assert not again.changed
    assert "installed by hand: idna 3.6 (--exact, or exact=True, removes it)" in again.notes
    assert "installed by hand: idna 3.6" in repr(diagnose.status(project))
    done = fill(project, python=machine.python, exact=True)
    assert done.reason == "installed by hand: idna 3.6"
    assert "removed: idna 3.6" in done.notes
    assert installed(project) == {"six-1.16.0"}
    assert has_pip(project)
    assert not fill(project, python=machine.python, exact=True).changed
    assert json.loads((project / ".venv" / _files.RECEIPT).read_text())
