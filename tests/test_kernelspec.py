"""Kernelspecs are what Jupyter reads, and nobody else's are touched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from colab_env.errors import KernelNameError, KernelTakenError, NotOursError
from colab_env.interpreter import Interpreter
from colab_env.jupyter import kernelspec
from colab_env.machine import Machine

PYTHON = Interpreter(path=Path("/usr/bin/python3.12"), version="3.12.4", source="system")
PROJECT = Path("/content")


@pytest.fixture
def runtime(home: Path) -> Machine:
    return Machine.detect()


def spec(
    tier: kernelspec.Tier = kernelspec.PLAIN,
    *,
    python: Interpreter = PYTHON,
    layer: str = "/layer",
    project: Path = PROJECT,
) -> dict:
    return kernelspec.spec_dict(
        tier=tier,
        python=python,
        project=project,
        launcher=Path(layer) / "launch.py",
        display_name=kernelspec.display_name(python, project),
        commands=[Path("/commands")],
        fingerprint={"layer": layer, "python": python.version},
    )


def somebodys(runtime: Machine, name: str = "taken") -> Path:
    place = runtime.jupyter / "kernels" / name
    place.mkdir(parents=True)
    (place / "kernel.json").write_text('{"argv": ["r"], "display_name": "R", "language": "R"}')
    return place


def test_a_spec_has_absolute_paths_and_what_jupyter_asks_for():
    made = spec()
    assert made["argv"][0] == "/content/.venv/bin/python"  # a bare name would become the server's own Python
    assert made["argv"].count("{connection_file}") == 1
    assert made["display_name"] == "Python 3.12 (content)"
    assert (made["language"], made["interrupt_mode"]) == ("python", "signal")
    assert json.loads(json.dumps(made)) == made


def test_a_plain_kernel_needs_nothing_of_google_colab():
    argv = spec(kernelspec.PLAIN)["argv"]
    assert "--IPKernelApp.kernel_class=ipykernel.ipkernel.IPythonKernel" in argv
    assert "--InteractiveShellApp.extensions=[]" in argv


@pytest.mark.parametrize(
    ("version", "frozen"), [("3.8.18", False), ("3.10.1", False), ("3.11.0", True), ("3.13.0", True)]
)
def test_an_option_is_given_only_to_a_python_that_knows_it(version, frozen):
    python = Interpreter(path=Path("/x"), version=version, source="uv")
    assert ("-Xfrozen_modules=off" in spec(python=python)["argv"]) is frozen


def test_a_kernel_of_the_root_directory_has_a_name():
    assert kernelspec.display_name(PYTHON, Path("/")) == "Python 3.12 (root)"


def test_a_started_kernel_finds_its_own_commands_first_and_nothing_of_the_servers_python():
    server = {"PATH": "/opt/bin:/usr/bin", "PYTHONPATH": "/env/python", "UV_SYSTEM_PYTHON": "true", "COLAB_GPU": "1"}
    environ = kernelspec.started_environ(spec(), server)
    assert environ["PATH"] == "/content/.venv/bin:/commands:/opt/bin:/usr/bin"
    assert environ["VIRTUAL_ENV"] == "/content/.venv"
    assert not environ["PYTHONPATH"]
    assert environ["UV_SYSTEM_PYTHON"] == "false"
    assert environ["COLAB_GPU"] == "1"


def test_jupyter_itself_finds_what_was_written(runtime):
    kernelspec.write(runtime, "Lesson", spec())
    code = (
        "from jupyter_client.kernelspec import KernelSpecManager as M; m = M();"
        "print(m.find_kernel_specs()['lesson']); s = m.get_kernel_spec('Lesson');"
        "print(s.display_name, s.env['VIRTUAL_ENV'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.splitlines() == [
        str(runtime.jupyter / "kernels" / "Lesson"),
        "Python 3.12 (content) /content/.venv",
    ]


def test_what_was_written_is_healthy_in_every_tier(runtime):
    for tier in (kernelspec.FULL, kernelspec.WITH_COLAB, kernelspec.PLAIN):
        kernelspec.write(runtime, "lesson", spec(tier))
        assert kernelspec.health_check(runtime, "lesson", spec(kernelspec.PLAIN)) is None


def test_a_kernel_with_other_parts_is_registered_again(runtime):
    assert kernelspec.health_check(runtime, "lesson", spec()) == "no kernel 'lesson' is registered"
    kernelspec.write(runtime, "lesson", spec())
    newer = Interpreter(path=Path("/x"), version="3.12.5", source="system")
    for other in (spec(layer="/other"), spec(python=newer)):
        assert "its parts have changed" in (kernelspec.health_check(runtime, "lesson", other) or "")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"argv": 3}', '{"metadata": null}', '{"metadata": {"colab_env": 3}}']
)
def test_a_damaged_spec_of_somebody_is_no_reason_to_die(runtime, text):
    place = somebodys(runtime)
    (place / "kernel.json").write_text(text)
    kernelspec.registered(runtime)
    kernelspec.check_free(runtime, "other", PROJECT)
    assert kernelspec.health_check(runtime, "taken", spec()) is not None


def test_a_kernel_of_somebody_else_is_left_alone(runtime):
    place = somebodys(runtime)
    before = (place / "kernel.json").read_text()
    with pytest.raises(KernelTakenError):
        kernelspec.check_free(runtime, "TAKEN", PROJECT)
    with pytest.raises(NotOursError):
        kernelspec.write(runtime, "taken", spec())
    with pytest.raises(KernelTakenError, match="belongs to somebody else"):
        kernelspec.remove(runtime, "taken")
    assert (place / "kernel.json").read_text() == before


def test_a_name_is_not_taken_from_a_project_whose_environment_is_there(runtime, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    kernelspec.write(runtime, "work", spec(project=first))
    kernelspec.check_free(runtime, "work", second)  # that project is gone: its kernel cannot start
    (first / ".venv").mkdir(parents=True)
    (first / ".venv" / "pyvenv.cfg").write_text("")
    kernelspec.check_free(runtime, "work", first)
    with pytest.raises(KernelTakenError, match=r"is that of .*first") as caught:
        kernelspec.check_free(runtime, "work", second)
    assert "colab-env kernel remove work" in str(caught.value.hint)
    kernelspec.remove(runtime, "work")
    kernelspec.check_free(runtime, "work", second)


def test_a_kernel_of_jupyters_own_python_is_not_hidden(runtime, monkeypatch, tmp_path):
    place = tmp_path / "share" / "jupyter" / "kernels" / "python3"
    place.mkdir(parents=True)
    (place / "kernel.json").write_text('{"argv": ["python"], "display_name": "Python 3", "language": "python"}')
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    with pytest.raises(KernelTakenError):
        kernelspec.check_free(runtime, "python3", PROJECT)


def test_a_kernel_on_jupyters_path_is_not_hidden(home, tmp_path):
    somebodys(Machine.detect({"HOME": str(home), "JUPYTER_DATA_DIR": str(tmp_path / "extra")}))
    with pytest.raises(KernelTakenError):
        kernelspec.check_free(Machine.detect({**os.environ, "JUPYTER_PATH": str(tmp_path / "extra")}), "taken", PROJECT)


def test_our_own_kernel_may_be_registered_again_and_removed(runtime):
    kernelspec.write(runtime, "lesson", spec())
    kernelspec.check_free(runtime, "lesson", PROJECT)
    kernelspec.write(runtime, "lesson", spec(layer="/other"))
    assert kernelspec.read(runtime, "lesson")["metadata"]["colab_env"]["layer"] == "/other"
    removed = kernelspec.remove(runtime, "lesson")
    assert not removed.exists()
    assert list(removed.parent.iterdir()) == []


def test_removing_what_is_not_there_names_what_is(runtime):
    kernelspec.write(runtime, "lesson", spec())
    with pytest.raises(KernelNameError, match="no kernel 'other'") as caught:
        kernelspec.remove(runtime, "other")
    assert "lesson" in caught.value.hint


@pytest.mark.parametrize("name", ["../lesson", "a/b", "..", ".", "", "a b"])
def test_no_name_leads_out_of_jupyters_directory(runtime, name):
    (runtime.jupyter / "kernels").mkdir(parents=True)
    with pytest.raises(KernelNameError):
        kernelspec.remove(runtime, name)
    assert (runtime.jupyter / "kernels").is_dir()


def test_kernels_are_listed_with_their_makers(runtime):
    somebodys(runtime, "r")
    kernelspec.write(runtime, "lesson", spec())
    listed = {kernel.name: kernel for kernel in kernelspec.registered(runtime)}
    assert listed["lesson"].ours
    assert listed["lesson"].project == Path("/content")
    assert listed["lesson"].tier == "plain"
    assert not listed["r"].ours
    json.dumps([kernel.as_dict() for kernel in listed.values()])


@pytest.mark.parametrize("name", ["py312", "a.b", "a-b_c", "PY", "1"])
def test_what_jupyter_takes_is_taken(name):
    assert kernelspec.check_kernel_name(name) == name


@pytest.mark.parametrize(
    ("name", "better"), [("Mein Kernel", "mein-kernel"), ("a/b", "a-b"), ("..", "py312"), ("ü", "py312")]
)
def test_a_bad_name_comes_with_a_better_one(name, better):
    with pytest.raises(KernelNameError) as caught:
        kernelspec.check_kernel_name(name)
    assert repr(better) in caught.value.hint


def test_the_environments_own_ipython_is_kept_from_colabs_configuration(tmp_path):
    kernelspec.write_ipython_config(tmp_path)
    text = (tmp_path / "etc/ipython/ipython_config.py").read_text()
    compile(text, "config", "exec")
    assert "ipykernel.ipkernel.IPythonKernel" in text
