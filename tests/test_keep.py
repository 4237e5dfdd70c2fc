"""The machine's own builds in an environment: seen or linked, never copied, and never harmed."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
from conftest import offer_only
from small_wheels import write_archive, write_wheel
from test_steps import state

import colab_env
from colab_env import cli, steps, uv
from colab_env.errors import KeepError, UsageError
from colab_env.interpreter import Interpreter
from colab_env.machine import Machine

WHERE = "import torch, importlib.metadata as m; print(m.version('torch'), torch.__file__, torch.part())"


@pytest.fixture
def wheels(tmp_path, home, monkeypatch) -> Path:
    """All that the package index has: tiny wheels, and a tiny pip."""
    place = tmp_path / "wheels"
    _write_torch(place, "2.6.0")
    _write_torch(place, "2.5.0")
    for name, version, needs in (
        ("pip", "99.0", ()),
        ("numpy", "2.3.1", ()),
        ("vision", "1.0", ["torch==2.5.0"]),
        ("triton", "3.2.0", ()),
    ):
        write_wheel(place, name, version, needs=needs)
    offer_only(place, home, monkeypatch)
    return place


@pytest.fixture
def vm(home, tmp_path, pythons) -> Path:
    """A stand-in for the machine's packages: the user's own directory, which the machine's Pythons see."""
    place = home / f".local/lib/python{pythons[0].short_version}/site-packages"
    built = tmp_path / "vm"
    for wheel in (
        _write_torch(built, "2.6.0+cu124"),
        write_wheel(built, "numpy", "2.1.3"),
        write_wheel(built, "triton", "3.2.0"),
        write_wheel(built, "tensorflow", "2.18.0", needs=["numpy<2.2,>=1.26"]),
    ):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(place)
    return place


@pytest.fixture
def locked(project, wheels) -> Path:
    (project / "requirements.txt").write_text("torch==2.6.0\nnumpy==2.3.1\ntriton==3.2.0\n")
    return project


def _write_torch(directory: Path, version: str) -> Path:
    info = f"torch-{version}.dist-info"
    files = {
        "torch/__init__.py": "def part():\n    from torch.lib import where\n    return where\n",
        "torch/lib/__init__.py": "where = __file__\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: torch\nVersion: {version}\n"
        "Requires-Dist: numpy>=1.20\nRequires-Dist: triton==3.2.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: by-hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    return write_archive(directory / f"torch-{version}-py3-none-any.whl", files, info)


def ask(python: Path, code: str) -> str:
    """Return what a line of Python prints, with the home directory of the test."""
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def site_of(project: Path) -> Path:
    return next((project / ".venv").glob("lib/python3*/site-packages"))


def test_a_kept_package_that_is_seen_is_not_installed(locked, vm, pythons):
    result = colab_env.configure_venv(locked, python=pythons[0], keep=["torch"])
    assert "kept torch 2.6.0+cu124 of this machine instead of 2.6.0, with 1 other package that it needs" in result.notes
    version, place, part = ask(locked / ".venv/bin/python", WHERE).split()
    assert (version, Path(place), Path(part)) == ("2.6.0+cu124", vm / "torch/__init__.py", vm / "torch/lib/__init__.py")
    assert {path.name for path in site_of(locked).glob("*.dist-info")} == {
        "numpy-2.3.1.dist-info",
        "pip-99.0.dist-info",
    }
    assert ask(locked / ".venv/bin/python", "import numpy; print(numpy.version)") == "2.3.1"


def test_a_kept_package_that_is_not_seen_is_linked_and_found_again(locked, vm, pythons, request):
    before = state(vm)
    colab_env.configure_venv(locked, python=pythons[0], system_site_packages=False, keep=["torch"])
    version, place, part = ask(locked / ".venv/bin/python", WHERE).split()
    assert version == "2.6.0+cu124"
    assert (Path(place).resolve(), Path(part).resolve()) == (vm / "torch/__init__.py", vm / "torch/lib/__init__.py")
    assert {path.name for path in site_of(locked).iterdir() if path.is_symlink()} == {"torch", "triton.py"}
    request.getfixturevalue("no_children")
    again = colab_env.configure_venv(locked, python=pythons[0], system_site_packages=False, keep=["torch"])
    assert not again.changed
    assert state(vm) == before


def test_no_longer_keeping_brings_the_lock_s_and_leaves_the_machine_as_it_was(locked, vm, pythons):
    before = state(vm)
    options = {"python": pythons[0], "system_site_packages": False}
    colab_env.configure_venv(locked, **options, keep=["torch"])
    assert colab_env.configure_venv(locked, **options, keep=[]).changed
    assert ask(locked / ".venv/bin/python", WHERE).startswith(f"2.6.0 {site_of(locked)}")
    assert not [path for path in site_of(locked).iterdir() if path.is_symlink()]
    assert state(vm) == before


@pytest.mark.parametrize("tool", ["uv", "pip"])
def test_a_tool_that_uninstalls_a_kept_package_takes_the_links_only(locked, vm, pythons, tool):
    before = state(vm)
    colab_env.configure_venv(locked, python=pythons[0], system_site_packages=False, keep=["torch"])
    python = locked / ".venv/bin/python"
    program = [uv.find(Machine.detect())] if tool == "uv" else [*_pip(pythons), "--python", str(python)]
    argv = ["pip", "uninstall", "--python", python, "torch"] if tool == "uv" else ["uninstall", "--yes", "torch"]
    subprocess.run([*program, *argv], check=True, capture_output=True)
    assert state(vm) == before
    assert sorted(path.name for path in site_of(locked).glob("torch*")) == []


def _pip(pythons: list[Interpreter]) -> list[str]:
    for each in pythons:
        argv = [str(each.path), "-m", "pip"]
        if subprocess.run([*argv, "--version"], capture_output=True, check=False).returncode == 0:
            return argv
    pytest.skip("no Python here has a pip")


def test_what_is_kept_and_does_not_fit_is_an_error_that_leaves_the_old_environment(locked, vm, pythons):
    (locked / "requirements.txt").write_text("torch==2.5.0\nnumpy==2.3.1\nvision==1.0\ntriton==3.2.0\n")
    colab_env.configure_venv(locked, python=pythons[0])
    before = state(locked, vm)
    with pytest.raises(KeepError, match=r"vision 1.0 needs torch==2.5.0, and gets torch 2.6.0\+cu124") as caught:
        colab_env.configure_venv(locked, python=pythons[0], keep=["torch"])
    assert caught.value.exit_code == 26
    assert state(locked, vm) == before


def test_an_environment_of_another_python_gets_the_lock_s_and_a_note(locked, vm, pythons):
    own = Machine.detect().machine_python
    mine = json.loads(subprocess.check_output([own, "-c", "import sys; print(list(sys.version_info[:2]))"]))
    other = next((each for each in pythons if each.short_version != ".".join(map(str, mine))), None)
    foreign = Interpreter(path=other.path, version=other.version, source="uv")
    vm_of_mine = vm.parents[1] / f"python{mine[0]}.{mine[1]}/site-packages"
    if vm_of_mine != vm:
        shutil.copytree(vm, vm_of_mine)
    shutil.rmtree(vm_of_mine.parents[1] / f"python{other.short_version}", ignore_errors=True)
    result = colab_env.configure_venv(locked, python=foreign, keep=["torch"])
    said = f"the machine has it for Python {mine[0]}.{mine[1]}, the environment's is {other.short_version}"
    assert f"torch is not kept: {said}" in result.notes
    assert ask(locked / ".venv/bin/python", WHERE).startswith("2.6.0 ")


def test_a_machine_that_lost_what_was_kept_is_noticed_and_healed(locked, vm, pythons):
    options = {"python": pythons[0], "keep": ["torch"]}
    colab_env.configure_venv(locked, **options)
    for path in vm.glob("torch*"):
        shutil.rmtree(path)
    result = colab_env.configure_venv(locked, **options)
    assert result.reason == "the machine no longer has what was kept of it: torch-2.6.0+cu124.dist-info"
    assert "torch is not kept: the machine does not have it" in result.notes
    assert ask(locked / ".venv/bin/python", WHERE).startswith("2.6.0 ")


def test_the_stop_button_leaves_the_environment_that_was_there(locked, vm, pythons, interrupt):
    colab_env.configure_venv(locked, python=pythons[0])
    before = state(locked, vm)
    interrupt()
    with pytest.raises(KeyboardInterrupt):
        colab_env.configure_venv(locked, python=pythons[0], keep=["torch"])
    assert state(locked, vm) == before


def test_hashes_of_a_pylock_count_for_the_rest(project, wheels, vm, pythons):
    def entry(wheel: Path, sha256: str) -> str:
        name, version = wheel.name.split("-")[:2]
        place = f'path = "../wheels/{wheel.name}", hashes = {{ sha256 = "{sha256}" }}'
        return f'[[packages]]\nname = "{name}"\nversion = "{version}"\nwheels = [{{ {place} }}]\n'

    found = [wheels / f"{name}-py3-none-any.whl" for name in ("torch-2.6.0", "triton-3.2.0", "numpy-2.3.1")]
    sums = [hashlib.sha256(each.read_bytes()).hexdigest() for each in found]
    head = 'lock-version = "1.0"\ncreated-by = "by hand"\n'
    (project / "pylock.toml").write_text(head + "".join(map(entry, found, ["0" * 64, *sums[1:]])))
    colab_env.configure_venv(project, python=pythons[0], keep=["torch"])  # the wrong sum is of what is not installed
    assert ask(project / ".venv/bin/python", WHERE).startswith("2.6.0+cu124 ")
    (project / "pylock.toml").write_text(head + "".join(map(entry, found, [*sums[:2], "0" * 64])))
    with pytest.raises(colab_env.ColabEnvError) as caught:
        colab_env.configure_venv(project, python=pythons[0], keep=["torch"])
    assert caught.value.exit_code == 9
    assert ask(project / ".venv/bin/python", WHERE).startswith("2.6.0+cu124 ")


def test_a_package_of_a_uv_lock_is_kept_where_the_project_accepts_the_machine_s_version(project, wheels, vm, pythons):
    text = '[project]\nname = "lesson"\nversion = "1"\nrequires-python = ">=3.8"\ndependencies = ["torch==2.6.0"]\n'
    (project / "pyproject.toml").write_text(text)
    lock = [uv.find(Machine.detect()), "lock", "--python", pythons[0].path]
    subprocess.run(lock, cwd=project, check=True, capture_output=True)
    asked = [str(project), "--python", str(pythons[0].path), "--no-system-site-packages", "--keep", "Torch", "--quiet"]
    assert cli.main(["configure-venv", *asked]) == 0
    assert ask(project / ".venv/bin/python", WHERE).startswith("2.6.0+cu124 ")
    shutil.move(vm / "torch-2.6.0+cu124.dist-info", vm / "torch-2.7.0+cu124.dist-info")
    metadata = vm / "torch-2.7.0+cu124.dist-info/METADATA"
    metadata.write_text(metadata.read_text().replace("2.6.0", "2.7.0"))
    result = colab_env.configure_venv(project, python=pythons[0], keep=["torch"])
    said = "torch is not kept: the project asks for torch ==2.6.0, the machine has 2.7.0+cu124"
    assert said in result.notes
    assert ask(project / ".venv/bin/python", WHERE).startswith("2.6.0 ")


def test_poetry_as_installer_keeps_nothing(project):
    with pytest.raises(UsageError, match="keeps nothing"):
        colab_env.configure_venv(project, installer="poetry", keep=["torch"])


@pytest.mark.network
def test_a_package_of_a_poetry_lock_is_kept(filled, home, tmp_path, machine):
    place = home / f".local/lib/python{machine.python.short_version}/site-packages"
    with zipfile.ZipFile(write_wheel(tmp_path, "six", "1.16.0+vm")) as archive:
        archive.extractall(place)
    result = steps.configure_venv(filled, python=machine.python, system_site_packages=False, keep=["six"])
    assert "kept six 1.16.0+vm of this machine instead of 1.16.0" in result.notes
    assert ask(filled / ".venv/bin/python", "import six, idna; print(six.version)") == "1.16.0+vm"


# --- what a plan says


def test_a_plan_says_what_a_set_up_then_does_and_changes_nothing(locked, vm, pythons, capsys):
    asked = ["--project", str(locked), "--python", pythons[0].version, "--interpreter", "system"]
    before = state(locked, vm)
    assert cli.main(["plan", *asked, "--json", "--keep", "torch"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert cli.main(["plan", *asked]) == 0
    table = capsys.readouterr().out
    assert state(locked, vm) == before
    assert not (Machine.detect().data / "chosen.json").exists()
    happens = {each["name"]: each["happens"] for each in found["packages"]}
    assert happens == {"numpy": "replaced", "torch": "kept", "triton": "kept"}
    assert found["conflicts"][0]["package"] == "tensorflow"
    assert "numpy    2.3.1   2.1.3            replaced: the environment's own hides it" in table
    assert "✗ tensorflow 2.18.0 needs numpy<2.2,>=1.26, and gets numpy 2.3.1" in table
    colab_env.configure_venv(locked, python=pythons[0], keep=["torch"])
    assert {path.name.split("-")[0] for path in site_of(locked).glob("*.dist-info")} == {"numpy", "pip"}


def test_a_plan_is_a_table_in_a_notebook(locked, vm, pythons):
    shown = colab_env.plan(pythons[0].version, interpreter="system", project=locked)._repr_html_()
    assert "<td>numpy</td><td>2.3.1</td><td>2.1.3</td>" in shown
    assert "numpy&lt;2.2" in shown


@pytest.mark.parametrize("kind", ["requirements.txt", "poetry.lock", "uv.lock", "pylock.toml"])
def test_a_plan_for_a_python_that_is_not_there_yet_sees_nothing_of_the_machine(project, tmp_path, kind, wheels):
    texts = {
        "requirements.txt": "six==1.16.0\nold==1 ; python_version < '3.0'\n",
        "pylock.toml": 'lock-version = "1.0"\ncreated-by = "x"\n[[packages]]\nname = "six"\nversion = "1.16.0"\n',
        "poetry.lock": '[[package]]\nname = "six"\nversion = "1.16.0"\noptional = false\ngroups = ["main"]\n'
        '[[package]]\nname = "old"\nversion = "1"\ngroups = ["main"]\nmarkers = "python_version < \'3.0\'"\n'
        '[metadata]\nlock-version = "2.1"\n',
        "uv.lock": 'version = 1\nrequires-python = "==3.12.*"\n[[package]]\nname = "lesson"\nversion = "1"\n'
        'source = { virtual = "." }\ndependencies = [{ name = "six" }]\n[package.metadata]\n'
        'requires-dist = [{ name = "six", specifier = "==1.16.0" }]\n[[package]]\nname = "six"\nversion = "1.16.0"\n'
        'source = { registry = "https://example.com/simple" }\n'
        f'wheels = [{{ url = "https://example.com/six-1.16.0-py3-none-any.whl", hash = "sha256:{"0" * 64}" }}]\n',
    }
    (project / kind).write_text(texts[kind])
    if kind in ("poetry.lock", "uv.lock"):
        (project / "pyproject.toml").write_text(
            '[project]\nname = "lesson"\nversion = "1"\nrequires-python = "==3.12.*"\ndependencies = ["six==1.16.0"]\n'
        )
    found = colab_env.plan("3.12", interpreter="miniconda", project=project, prefix=tmp_path / "conda")
    assert (found.there, found.visible, found.only_on_machine) == (False, False, 0)
    assert [(row.name, row.wanted, row.happens) for row in found.rows] == [("six", "1.16.0", "new")]
    assert "not installed yet) sees none of this machine's packages; locked by" in repr(found)
    assert not (tmp_path / "conda").exists()


def test_a_project_that_the_machine_has_left_behind_is_told_so_before_the_table(project, tmp_path):
    (project / "pyproject.toml").write_text(
        '[project]\nname = "x"\nversion = "1"\nrequires-python = "==3.8.*"\ndependencies = ["six>=1"]\n'
    )
    found = colab_env.plan(interpreter="uv", project=project)
    first, _, *rest = repr(found).splitlines()
    assert first.endswith("; pyproject.toml needs 3.8; use python='3.8'")
    assert found.as_dict()["outgrown"] == first
    assert "six      >=1     " in "\n".join(rest)
    assert "nothing is locked" in repr(found)
