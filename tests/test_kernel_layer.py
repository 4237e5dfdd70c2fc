"""The kernel's packages beside a project's own: which versions fit the tested ones, and what is resolved around the others."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from email.parser import HeaderParser
from pathlib import Path

import pytest
from conftest import PreparedMachine
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

import colab_env
from colab_env import diagnose, pins, steps, venv
from colab_env.errors import CommandError
from colab_env.interpreter import Interpreter
from colab_env.jupyter import colab_layer
from colab_env.kernel import try_registered
from colab_env.locks import registry
from colab_env.machine import Machine
from colab_env.standalone import _remote

PYTHON = Interpreter(path=Path("/usr/bin/python3"), version="3.12.1", source="system")


def unfit(**versions: str) -> dict[str, str]:
    named = {name.replace("_", "-"): version for name, version in versions.items()}
    return colab_layer.unfit(named, python=PYTHON, machine=Machine.detect())


@pytest.mark.parametrize(
    "versions",
    [
        {},
        {"numpy": "1.0", "six": "1.17.0"},
        {"typing_extensions": "4.12.2", "psutil": "5.9.8", "packaging": "23.0", "jupyter_client": "8.9.0"},
        {"ipykernel": "6.29.5", "ipython": "7.34.0"},
        {"traitlets": "no version"},
    ],
)
def test_projects_whose_versions_fit_share_one_layer(versions: dict[str, str]) -> None:
    assert unfit(**versions) == {}


@pytest.mark.parametrize(
    "versions",
    [
        {"typing_extensions": "3.7.4.3"},
        {"traitlets": "5.1.1"},
        {"traitlets": "6.0.0"},
        {"jupyter_core": "4.6.3"},
        {"jupyter_core": "5.0.0"},
        {"jupyter_client": "7.4.9"},
        {"tornado": "6.1", "six": "1.12.0", "decorator": "5.1.1"},
    ],
)
def test_a_layer_is_resolved_around_everything_that_it_could_meet(versions: dict[str, str], home: Path) -> None:
    around = unfit(numpy="1.21.6", **versions)
    assert around == {name.replace("_", "-"): version for name, version in versions.items()}
    limits = colab_layer.kernel_constraints("3.12", colab=False, around=around).splitlines()
    assert {f"{name}=={version}" for name, version in around.items()} <= {*limits}
    machine = Machine.detect()
    own, shared = (colab_layer.directory(machine, PYTHON, each) for each in (around, {}))
    assert own != shared == colab_layer.directory(machine, PYTHON)
    assert own == colab_layer.directory(machine, PYTHON, dict(reversed(around.items())))
    assert colab_layer.is_name_of(own.name, machine, PYTHON)
    assert colab_layer.is_name_of(shared.name, machine, PYTHON)
    assert not colab_layer.is_name_of(f"{shared.name}-../../x", machine, PYTHON)


@pytest.mark.parametrize("colab", [False, True])
@pytest.mark.parametrize("short_version", ["3.8", "3.9", "3.10", "3.11", "3.12", "3.13", "3.14"])
def test_a_projects_own_ipython_and_ipykernel_come_before_the_pinned(short_version: str, *, colab: bool) -> None:
    around = {"ipykernel": "5.5.6", "ipython": "7.16.3", "traitlets": "4.3.3"}
    first, *_ = colab_layer.kernel_requirements(short_version, colab=colab, around=around)
    assert "ipykernel" in first.names
    limits = colab_layer.kernel_constraints(short_version, colab=colab, around=around, limits=pins.MODEST).splitlines()
    assert [each for each in limits if each.startswith("ipy") and "=" in each][:2] == [
        "ipykernel==5.5.6",
        "ipython==7.16.3",
    ]
    usual, *_ = colab_layer.kernel_requirements(short_version, colab=colab)
    assert all("==" in each for each in usual.names if each.startswith("ipy") and "genutils" not in each)


def test_what_google_colab_imports_is_left_out_one_by_one_where_it_fits_nothing() -> None:
    tried: list[list[str]] = []

    class Installer:
        def install(self, names: list[str], **_: object) -> None:
            tried.append([*names])
            if "openai" in names:
                raise CommandError("no solution")

    packages = pins.Requirements(names=("requests", "openai", "gspread"), optional=True)
    colab_layer._install(packages, Installer())  # type: ignore[arg-type]
    assert tried == [["requests", "openai", "gspread"], ["requests"], ["openai"], ["gspread"]]
    with pytest.raises(CommandError):
        colab_layer._install(replace(packages, optional=False), Installer())  # type: ignore[arg-type]


@pytest.mark.parametrize("table", [pins.KERNEL, pins.KERNEL_COLAB_NEWER])
def test_the_newest_of_the_table_are_among_the_accepted(table: dict[str, tuple[str, str]]) -> None:
    assert list(table) == [canonicalize_name(name) for name in sorted(table)]
    for name, (newest, accepted) in table.items():
        assert SpecifierSet(accepted).contains(newest), name


def test_the_table_says_what_the_metadata_of_the_tested_packages_say(machine: PreparedMachine) -> None:
    site = colab_layer.site(colab_layer.directory(Machine.detect(), machine.python))
    environment = {"python_version": machine.python.short_version, "python_full_version": machine.python.version}
    versions = venv.versions_in(site.glob("*.dist-info"))
    assert versions.keys() <= pins.KERNEL.keys()
    for path in site.glob("*.dist-info/METADATA"):
        for line in HeaderParser().parsestr(path.read_text()).get_all("Requires-Dist") or []:
            need = Requirement(line)
            if need.marker is not None and not need.marker.evaluate({**environment, "extra": ""}):
                continue
            name = canonicalize_name(need.name)
            newest, accepted = pins.KERNEL[name]
            assert Version(versions[name]) <= Version(newest)
            # The oldest that the table accepts, and the newest, are fine for the package that needs it.
            oldest = next((each.version for each in SpecifierSet(accepted) if each.operator == ">="), None)
            assert need.specifier.contains(newest), (path.parent.name, line)
            assert oldest is None or need.specifier.contains(oldest), (path.parent.name, line)


LOCKS = {
    "poetry.lock": '[[package]]\nname = "Typing_Extensions"\nversion = "4.5.0"\n\n[metadata]\nlock-version = "2.1"\n',
    "uv.lock": 'version = 1\n\n[[package]]\nname = "typing-extensions"\nversion = "4.5.0"\nsource = {}\n',
    "pylock.toml": '[[packages]]\nname = "typing-extensions"\nversion = "4.5.0"\n',
    "pdm.lock": '[[package]]\nname = "typing-extensions"\nversion = "4.5.0"\n',
    "Pipfile.lock": '{"default": {"typing-extensions": {"hashes": ["sha256:0"], "version": "==4.5.0"}}}',
    "requirements.txt": "-r more.txt\ntyping_extensions==4.5.0 \\\n    --hash=sha256:0\n",
}


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_file_tells_its_versions_before_any_tool_reads_it(project: Path, name: str) -> None:
    (project / name).write_text(LOCKS[name])
    assert registry.find(project, name).versions == {"typing-extensions": "4.5.0"}
    (project / name).write_text(LOCKS[name] + LOCKS[name].replace("4.5.0", "4.6.0"))
    assert registry.find(project, name).versions == {}  # which one it is depends on markers


def test_what_no_kernel_works_with_comes_from_the_layer(tmp_path: Path) -> None:
    shutil.copy(Path(colab_layer.__file__).parents[1] / "standalone/_launch.py", tmp_path / "launch.py")
    (tmp_path / "site").mkdir()
    (tmp_path / "site/colab_kernel_launcher.py").write_text("import json, sys\nprint(json.dumps(sys.path))\n")

    def path() -> list[str]:
        argv = [sys.executable, str(tmp_path / "launch.py")]
        found: list[str] = json.loads(
            subprocess.run(argv, capture_output=True, check=True, text=True, timeout=60).stdout
        )
        return found

    own = next(each for each in path() if each.endswith("site-packages"))
    assert path().index(own) < path().index(str(tmp_path / "site"))
    assert str(tmp_path / "ahead") not in path()
    (tmp_path / "ahead").mkdir()
    assert path().index(str(tmp_path / "ahead")) < path().index(own) < path().index(str(tmp_path / "site"))


_MAP = """\
import importlib.util, sys

class _EditableFinder:
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return importlib.util.spec_from_file_location(name, {path!r}) if name in ("mapped", "too_new") else None

sys.meta_path.append(_EditableFinder)
"""


@pytest.mark.parametrize("options", [[], ["--system-site-packages"]])
def test_a_kernel_s_package_that_somebody_edits_is_the_edited_one(tmp_path: Path, options: list[str]) -> None:
    own, layer, sources = (tmp_path / name for name in ("own", "layer", "lesson/src"))
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", *options, own], check=True, timeout=120)
    for place, names in ((layer / "site", ("added", "mapped", "other")), (sources, ("added", "mapped", "too_new"))):
        place.mkdir(parents=True)
        for name in names:
            (place / f"{name}.py").write_text("")
    (layer / "ahead").mkdir()
    for place in (layer / "site", layer / "ahead"):
        (place / "too_new.py").write_text("")
    shutil.copy(Path(colab_layer.__file__).parents[1] / "standalone/_launch.py", layer / "launch.py")
    (layer / "site/colab_kernel_launcher.py").write_text(
        "import json, added, mapped, other, too_new\n"
        "print(json.dumps([module.__file__ for module in (added, mapped, other, too_new)]))\n"
    )
    (site,) = own.glob("lib/python3*/site-packages")
    # As setuptools writes them for `pip install -e`: a path, and a map of names.
    (site / "__editable__.lesson-1.0.pth").write_text(f"{sources}\n")
    (site / "__editable__.mapped-1.0.pth").write_text("import __editable___mapped_1_0_finder\n")
    (site / "__editable___mapped_1_0_finder.py").write_text(_MAP.format(path=str(sources / "mapped.py")))
    (ipykernel,) = importlib.util.find_spec("ipykernel").submodule_search_locations  # the layer of this test has none
    environ = {**os.environ, "PYTHONPATH": str(Path(ipykernel).parent)}
    argv = [own / "bin/python", layer / "launch.py"]
    said = subprocess.run(argv, capture_output=True, check=True, text=True, timeout=60, env=environ).stdout
    assert json.loads(said) == [
        *(str(sources / f"{name}.py") for name in ("added", "mapped")),
        str(layer / "site/other.py"),
        str(layer / "ahead/too_new.py"),
    ]


@pytest.mark.network
def test_a_project_with_old_packages_gets_a_kernel_that_uses_them(machine: PreparedMachine, project: Path) -> None:
    (project / "requirements.txt").write_text("traitlets==5.1.1\n")
    colab_env.setup(machine.python.version, interpreter="system", project=project, kernel="lesson")
    (own,) = (
        path
        for path in (machine.data / "layers").iterdir()
        if venv.versions_in((path / "site").glob("*.dist-info"))["traitlets"] == "5.1.1"
    )
    assert try_registered(Machine.detect(), "lesson").failure is None
    status = diagnose.status(project)
    assert own.name in repr(status)
    again = colab_env.setup(machine.python.version, interpreter="system", project=project, kernel="lesson")
    assert not any(step.changed for step in again.steps)


@pytest.mark.network
def test_what_no_ipykernel_works_with_is_named_and_the_kernel_lives(machine: PreparedMachine, project: Path) -> None:
    (project / "requirements.txt").write_text("prompt-toolkit==1.0.18\n")
    steps.configure_venv(project, python=machine.python)
    registered = steps.register_kernel("lesson", project=project)
    assert re.search(r"in its kernel is prompt-toolkit 3\.\S+ and not 1\.0\.18", repr(registered))
    assert venv.versions(project / ".venv")["prompt-toolkit"] == "1.0.18"
    assert try_registered(Machine.detect(), "lesson").failure is None


def test_all_of_the_package_can_be_named_inside_a_kernel(monkeypatch) -> None:
    asked = []
    monkeypatch.setattr(_remote, "_call", lambda *told, **options: asked.append((told, options)))
    _remote.setup(python="3.12")
    _remote.envs.create("web", "flask")
    assert asked == [
        (("colab_env.setup",), {"python": "3.12"}),
        (("colab_env.envs.create", "web", "flask"), {}),
    ]
    assert not hasattr(_remote, "_private")
    assert not hasattr(_remote.envs, "__len__")
