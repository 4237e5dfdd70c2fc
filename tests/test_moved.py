"""A project that was moved or copied is made anew, and takes no other project's kernel."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import PreparedMachine

from colab_env import diagnose, step, steps
from colab_env.errors import KernelTakenError
from colab_env.interpreter import Interpreter
from colab_env.jupyter import colab_layer, kernelspec
from colab_env.kernel import ProjectKernel
from colab_env.machine import Machine

PYTHON = Interpreter(path=Path("/usr/bin/python3"), version="3.12.1", source="system")


@pytest.mark.parametrize(
    ("how", "is_of_first_release"),
    [
        ("move", False),
        ("copy", True),
        pytest.param("copy", False, marks=pytest.mark.machine),
        pytest.param("move", True, marks=pytest.mark.machine),
    ],
)
def test_a_moved_or_copied_project_is_made_anew(
    filled: Path, machine: PreparedMachine, tmp_path: Path, how: str, *, is_of_first_release: bool
) -> None:
    if is_of_first_release:
        receipt = filled / ".venv/colab-env.json"
        values = json.loads(receipt.read_text())
        receipt.write_text(json.dumps({key: each for key, each in values.items() if key not in ("path", "sum")}))
    assert not steps.configure_venv(filled, python=machine.python, system_site_packages=False).changed
    other = tmp_path / "other"
    if how == "move":
        filled.rename(other)
    else:
        shutil.copytree(filled, other, symlinks=True)
    assert "has been moved or copied" in repr(diagnose.status(other))
    result = steps.configure_venv(other, python=machine.python, system_site_packages=False)
    assert "was made in" in str(result.reason)
    argv = [other / ".venv/bin/pip", "--version"]
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    assert str(other) in said
    assert not steps.configure_venv(other, python=machine.python, system_site_packages=False).changed


def kernel(project: Path, name: str, *, lives: bool = True) -> None:
    environment = project / ".venv"
    environment.mkdir(parents=True)
    if lives:
        (environment / "pyvenv.cfg").write_text("home = /usr/bin\n")
    spec = kernelspec.spec_dict(
        tier=kernelspec.PLAIN,
        python=PYTHON,
        project=project,
        launcher=Path("/layer/launch.py"),
        display_name=name,
        commands=[],
        fingerprint={"layer": "/layer", "python": "3.12.1"},
    )
    kernelspec.write(Machine.detect(), name, spec)


def test_a_kernels_name_is_free_or_the_projects_own(tmp_path: Path, home: Path) -> None:
    def name(project: str) -> str:
        return kernelspec.default_name(Machine.detect(), tmp_path / project, PYTHON)

    assert name("one") == "py312"
    kernel(tmp_path / "one", "py312")
    assert (name("one"), name("Two (2)")) == ("py312", "py312-two-2")
    kernel(tmp_path / "Two (2)", "py312-two-2")
    assert name("Two (2)") == "py312-two-2"
    assert name("elsewhere/Two (2)") == "py312-two-2-2"
    shutil.rmtree(tmp_path / "one/.venv")
    assert name("three") == "py312"  # its project lives no more
    kernel(tmp_path / "four", "lesson")
    assert name("four") == "lesson"  # somebody gave it


@pytest.mark.parametrize("wanted", [None, "lesson"])
def test_a_name_that_another_project_takes_meanwhile_is_not_taken_from_it(
    wanted: str | None, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, tried = tmp_path / "other", []

    def lock(*_: object, **__: object) -> contextlib.AbstractContextManager[bool]:
        kernel(other, wanted or "py312")  # it had the lock until now
        return contextlib.nullcontext(True)

    monkeypatch.setattr(colab_layer, "health_check", lambda layer: None)
    monkeypatch.setattr(ProjectKernel, "check", lambda work: "it is to be tried")
    monkeypatch.setattr(ProjectKernel, "build", lambda work: tried.append(work.name))
    monkeypatch.setattr(step, "changing", lock)

    def register() -> None:
        steps.kernel_of(tmp_path / "one", PYTHON, Machine.detect(), name=wanted)

    if wanted:
        with pytest.raises(KernelTakenError, match=r"'lesson' is that of .*other"):
            register()
    else:
        register()
    assert tried == ([] if wanted else ["py312-one"])
    assert {each.name: each.project for each in kernelspec.registered(Machine.detect()) if each.ours} == {
        wanted or "py312": other
    }


def test_a_name_that_is_somebody_elses_is_no_default(tmp_path: Path, home: Path) -> None:
    theirs = home / ".local/share/jupyter/kernels/py312"
    theirs.mkdir(parents=True)
    (theirs / "kernel.json").write_text('{"argv": ["theirs"], "display_name": "Theirs", "language": "python"}')
    assert kernelspec.default_name(Machine.detect(), tmp_path / "one", PYTHON) == "py312-one"
