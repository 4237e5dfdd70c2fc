"""Python 3.6 and 3.7: kernels wherever an interpreter can be had, and hints that name only who has one."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from boot_faults import VERSIONS
from conftest import ROOT, PreparedMachine

import colab_env
from colab_env import kernel, uv
from colab_env.errors import NoSuchPythonError
from colab_env.index import Index
from colab_env.interpreter import Interpreter, installing_hint, parse_specifier
from colab_env.jupyter import colab_layer, kernelspec
from colab_env.machine import Machine

OLD = ("3.6", "3.7")
COPIED = ("_launch.py", "_plain.py", "_leave.py", "_remote.py", "_remote_magics.py")


def interpreter(version: str) -> Interpreter:
    found = sorted(VERSIONS.glob(f"{version}.*/bin/python"))
    if not found:
        pytest.skip(f"no Python {version} in {VERSIONS}")
    return Interpreter(path=found[0], version=found[0].parts[-3], source="system")


@pytest.mark.parametrize(
    ("asked", "hint"),
    [
        ("3.12", "interpreter='uv' or interpreter='miniconda'"),
        (">=3.6", "interpreter='uv' or interpreter='miniconda'"),
        ("3.7", "interpreter='miniconda'"),
        ("3.6", "`pyenv install 3.6`"),
        ("<3", ""),
        ("3.99", "interpreter='uv' or interpreter='miniconda'"),
        (">=3.6,<3.8", "interpreter='miniconda'"),
    ],
)
def test_a_hint_names_who_has_such_a_python(asked: str, hint: str) -> None:
    assert installing_hint(parse_specifier(asked)) == hint


@pytest.mark.usefixtures("no_children")
def test_uv_is_not_asked_for_what_it_does_not_have() -> None:
    machine = Machine.detect()
    with pytest.raises(NoSuchPythonError, match=r"uv has no Python that fits '3\.7'") as error:
        uv.install_python(Path("uv"), parse_specifier("3.7"), machine=machine, index=Index())
    assert error.value.hint == "its oldest is 3.8; an older one: interpreter='miniconda'"


@pytest.mark.parametrize("version", OLD)
def test_what_runs_in_kernels_is_read_by_an_old_python(version: str, tmp_path: Path) -> None:
    python = interpreter(version)
    for name in COPIED:
        colab_layer._copy_for(name, tmp_path / name, python)
    code = "import sys\nfor name in sys.argv[1:]:\n    compile(open(name, encoding='utf-8').read(), name, 'exec')"
    done = subprocess.run(
        [python.path, "-c", code, *(tmp_path / name for name in COPIED)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    bytecode = [python.path, ROOT / "colab_env/standalone/_bytecode.py"]
    assert subprocess.run(bytecode, input="[]", capture_output=True, text=True, check=False).returncode == 0


def test_a_copy_for_a_newer_python_is_the_file_itself(tmp_path: Path) -> None:
    colab_layer._copy_for(
        "_plain.py", tmp_path / "x", Interpreter(path=Path("python"), version="3.7.0", source="system")
    )
    assert (tmp_path / "x").read_bytes() == (ROOT / "colab_env/standalone/_plain.py").read_bytes()


@pytest.mark.network
@pytest.mark.machine
@pytest.mark.parametrize("version", OLD)
def test_an_old_python_gets_a_kernel_that_calls_colab_env(
    version: str, machine: PreparedMachine, project: Path
) -> None:
    python = interpreter(version)
    (project / "requirements.txt").write_text("six==1.16.0\n")
    colab_env.setup(version, interpreter="system", project=project, kernel="old")
    assert kernel.try_registered(Machine.detect(), "old").failure is None
    layer = colab_layer.of_environment(project / ".venv", machine=Machine.detect(), python=python)
    code = "import sys; sys.path.append(sys.argv[1]); import colab_env, colab_env._plain as p\n"
    code += "print(p.unpacked(p.packed([1]))); print('✓' in str(colab_env.plan(project=sys.argv[2])))"
    argv = [project / ".venv/bin/python", "-c", code, colab_layer.site(layer), project]
    done = subprocess.run(argv, cwd=project, capture_output=True, text=True, encoding="utf-8", check=False)
    assert done.stdout.splitlines()[:1] == ["[1]"], done.stderr
    assert done.returncode == 0, done.stderr


def test_on_colab_an_old_python_has_a_plain_kernel_without_google_colab(tmp_path: Path) -> None:
    old, new = (Interpreter(path=Path("python"), version=each, source="system") for each in ("3.7.16", "3.8.18"))

    class Colab:
        is_colab = True

    assert not colab_layer.has_colab(Colab(), old)  # type: ignore[arg-type]
    assert colab_layer.has_colab(Colab(), new)  # type: ignore[arg-type]
    (requirements,) = colab_layer.kernel_requirements("3.7", colab=False)
    assert requirements.names == ("ipykernel==6.16.2",)
    assert json.dumps(kernelspec.PLAIN.checks)
