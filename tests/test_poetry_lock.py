"""A poetry.lock that can mean one thing only is read here; Poetry is asked about every other one."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from packaging.markers import default_environment

from colab_env import pins, poetry, setting_up, steps, toml_text
from colab_env.errors import LockMismatchError, ProjectFileError
from colab_env.formats import poetry_lock
from colab_env.locks import installing, registry, requirements_text
from colab_env.locks.installing import Selection, Target
from colab_env.locks.lock_format import LockFile
from colab_env.machine import Machine
from colab_env.request import Request

LOCKS = sorted((ROOT / "benchmarks/locks").iterdir())

pytestmark = pytest.mark.skipif(sys.version_info < (3, 11), reason="read with tomllib")


def pinned(text: str) -> dict[str, set[str]]:
    """Return the hashes of each pinned package."""
    lines = text.replace("\\\n", " ").splitlines()
    named = (line for line in lines if re.match(r"[\w.-]+(\[.*?\])?==", line))
    return {re.sub(r"\[.*?\]", "", line.split()[0]): set(re.findall(r"--hash=(\S+)", line)) for line in named}


ENVIRONMENTS = [
    {"python_version": "3.12", "python_full_version": "3.12.4", "sys_platform": sys_platform, "platform_machine": arch}
    for sys_platform in ("linux", "win32", "darwin")
    for arch in ("x86_64", "arm64")
]


@pytest.mark.parametrize("place", LOCKS, ids=lambda path: path.name)
def test_what_is_read_alone_is_what_poetry_says(machine, place, tmp_path):
    shutil.copytree(place, tmp_path / "project")
    lock = registry.find(tmp_path / "project")
    said = lock.format.export(lock, Selection(), python=machine.python.path, machine=Machine.detect())
    alone = poetry_lock.read_alone(lock, Selection())
    assert len(pinned(said)) >= 10
    assert pinned(alone) == pinned(said)
    for few in ENVIRONMENTS:
        markers = {**default_environment(), **few}
        assert requirements_text.read(alone, markers) == requirements_text.read(said, markers)


@pytest.mark.parametrize("place", LOCKS, ids=lambda path: path.name)
def test_a_lock_file_that_its_project_has_moved_on_from_is_not_read_alone(place, tmp_path):
    for name in ("pyproject.toml", "poetry.lock"):
        shutil.copy(place / name, tmp_path)
    assert poetry_lock.read_alone(registry.find(tmp_path), Selection())
    path = tmp_path / "pyproject.toml"
    path.write_text(path.read_text().replace(">=3.12", ">=3.11"))
    assert poetry_lock.read_alone(registry.find(tmp_path), Selection()) is None


LOCK = """\
[[package]]
name = "one"
version = "1.0"
optional = false
groups = ["main", "dev"]
markers = {dev = "python_version < \\"3.9\\"", main = "sys_platform == \\"linux\\""}
files = [{file = "one.whl", hash = "sha256:aa"}]

[[package]]
name = "two"
version = "2.0"
optional = false
groups = ["dev"]
files = []
%s
[metadata]
lock-version = "%s"
content-hash = "%s"
"""
PROJECT = """\
[tool.poetry]
name = "x"
version = "1"
[tool.poetry.dependencies]
python = ">=3.8"
one = "*"
[tool.poetry.group.dev.dependencies]
two = "*"
"""


def locked(directory: Path, source: str = "", lock_version: str = "2.1", project: str = PROJECT) -> LockFile:
    (directory / "pyproject.toml").write_text(project)
    digest = poetry_lock.content_hash(toml_text.parsed(project))
    (directory / "poetry.lock").write_text(LOCK % (source, lock_version, digest))
    return registry.find(directory)


def test_groups_have_their_own_markers(tmp_path):
    lock = locked(tmp_path)
    main = 'one==1.0 ; (sys_platform == "linux") --hash=sha256:aa\n'
    assert poetry_lock.read_alone(lock, Selection(groups=())) == main
    both = 'one==1.0 ; (sys_platform == "linux") or (python_version < "3.9") --hash=sha256:aa\ntwo==2.0\n'
    assert poetry_lock.read_alone(lock, Selection()) == both


SPELLED = """\
[dependency-groups]
Dev_Tools = ["one"]
[tool.poetry]
package-mode = false
[tool.poetry.group."Opt.G"]
optional = true
[tool.poetry.group."Opt.G".dependencies]
two = "*"
"""
SPELLED_LOCK = """\
[[package]]
name = "one"
version = "1.0"
optional = false
groups = ["main", "dev-tools"]
markers = {dev-tools = "python_version > \\"3\\"", main = "sys_platform == \\"linux\\""}
files = []

[[package]]
name = "two"
version = "2.0"
optional = false
groups = ["opt-g"]
files = []

[metadata]
lock-version = "2.1"
content-hash = "%s"
"""


def spelled(directory: Path) -> LockFile:
    (directory / "pyproject.toml").write_text(SPELLED)
    text = SPELLED_LOCK % poetry_lock.content_hash(toml_text.parsed(SPELLED))
    (directory / "poetry.lock").write_text(text)
    return registry.find(directory)


@pytest.mark.parametrize("optional", [(), ("Opt.G",), ("opt-g",), ("OPT_G",)])
def test_a_group_counts_however_it_is_spelled(tmp_path, optional):
    lock = spelled(tmp_path)
    selection = Selection(groups=("dev_TOOLS", *optional) if optional else None)
    lock.format.check(lock, selection)
    one = 'one==1.0 ; (sys_platform == "linux") or (python_version > "3")\n'
    assert poetry_lock.read_alone(lock, selection) == one + ("two==2.0\n" if optional else "")


def test_poetry_is_told_groups_as_the_project_spells_them(tmp_path, monkeypatch):
    lock, told = spelled(tmp_path), []
    monkeypatch.setattr(poetry, "missing", lambda _machine: None)
    monkeypatch.setattr(poetry, "install_project", lambda *_, options, **_more: told.extend(options) or ())
    target = Target(machine=Machine.detect(), environment=tmp_path / ".venv", uv=None)
    lock.format.install(lock, Selection(groups=("opt-g", "dev-tools"), installer="poetry"), target=target)
    lock.format.install(lock, Selection(groups=("opt_g",), installer="poetry"), target=target)
    assert told == ["--with=Opt.G", "--with=Opt.G", "--without=Dev_Tools"]


@pytest.mark.parametrize(
    ("more", "selection"),
    [
        ({"lock_version": "2.0"}, Selection()),
        ({"source": '[package.source]\ntype = "git"'}, Selection()),
        ({"project": PROJECT + '[tool.poetry.requires-plugins]\nx = "*"\n'}, Selection()),
        ({}, Selection(extras=("plots",))),
    ],
)
def test_what_only_poetry_can_say_is_left_to_it(tmp_path, more, selection):
    assert poetry_lock.read_alone(locked(tmp_path, **more), selection) is None


@pytest.mark.parametrize("text", ["", "[", "package = 3", "[metadata]\npackage = 3"])
def test_a_damaged_file_is_left_to_poetry(tmp_path, text):
    lock = locked(tmp_path)
    lock.path.write_text(text)
    assert poetry_lock.read_alone(registry.find(tmp_path), Selection()) is None


BACKEND = '[build-system]\nrequires = ["poetry-core"]\nbuild-backend = "poetry.core.masonry.api"\n'


@pytest.mark.parametrize("backend", [BACKEND, "", '[build-system]\nrequires = ["setuptools"]\n'])
@pytest.mark.parametrize("editable", [True, False])
def test_poetry_builds_a_project_that_names_no_backend(tmp_path, monkeypatch, backend, editable):
    lock, asked, texts = locked(tmp_path, project=PROJECT + backend), [], []
    monkeypatch.setattr(poetry, "missing", lambda _machine: None)
    monkeypatch.setattr(poetry, "_run", lambda verb, **_more: asked.append(verb[:2]) or ("said",))
    monkeypatch.setattr(installing, "install_text", lambda _installer, text, *_, **__: texts.append(text) or {})
    machine = Machine.detect()
    target = Target(machine=machine, environment=tmp_path / ".venv", uv=Path("uv"), editable=editable)
    selection = Selection()
    lock.format.install(lock, selection, target=target)
    # By its path from there: uv finds no address of a directory with a "#".
    own = (["-e ."] if editable else ["."]) if backend == BACKEND else []
    assert texts[0].splitlines()[2:] == own
    by_poetry = ["install", "--only-root"] if editable else ["build", "--format=wheel"]
    assert (asked, selection.notes) == (([], []) if own else ([by_poetry], ["said"]))


@pytest.mark.parametrize(
    ("written", "damaged", "reason"),
    [
        ('groups = ["dev"]', 'groups = "dev"', "package 'two': its groups are no list of names"),
        ('groups = ["dev"]', "groups = [3]", "package 'two': its groups are no list of names"),
        ('groups = ["dev"]', "groups = []", "package 'two': it is in no group"),
        ("optional = false", 'optional = "no"', "package 'one': optional is neither true nor false"),
        ("files = []", "markers = 5", "package 'two': its name, version and markers are not all texts"),
        ("files = []", 'markers = "linux"', "package 'two': 'linux' is no marker"),
        ("files = []", 'files = ["a"]', "package 'two': its files are no list of tables with hashes"),
        ('version = "2.0"', "version = 2.0", "package 'two': its name, version and markers are not all texts"),
    ],
)
def test_a_package_that_poetry_has_not_written_so_is_refused_by_name(tmp_path, written, damaged, reason):
    lock = locked(tmp_path)
    lock.path.write_text(lock.path.read_text().replace(written, damaged))
    with pytest.raises(ProjectFileError) as error:
        poetry_lock.read_alone(registry.find(tmp_path), Selection(groups=()))
    assert error.value.message.endswith(f"poetry.lock cannot be read as poetry.lock: {reason}")


def test_before_groups_were_written_the_category_says_which_packages_are_of_one():
    text = LOCK.replace('groups = ["main", "dev"]', 'category = "main"').replace('groups = ["dev"]', 'category = "dev"')
    main, both = (poetry_lock.read(text % ("", "1.1", ""), groups) for groups in ([], ["docs"]))
    assert [line.split("==")[0] for line in main.splitlines()] == ["one"]
    assert [line.split("==")[0] for line in both.splitlines()] == ["one", "two"]


PROJECTS = [
    PROJECT,
    '[tool.poetry]\nname = "x"\n[tool.poetry.extras]\na = ["six"]\n[tool.poetry.dev-dependencies]\nsix = "*"\n',
    '[project]\nname = "x"\nrequires-python = ">=3.9"\ndependencies = ["six"]\n',
    '[project]\nname = "x"\nrequires-python = ">=3.9"\n[tool.poetry.dependencies]\nsix = { path = "../six" }\n',
    '[dependency-groups]\ndev = ["six", { include-group = "x" }]\nx = []\n[tool.poetry]\npackage-mode = false\n',
    '[project]\noptional-dependencies = { a = ["é"] }\n[[tool.poetry.source]]\nname = "a"\nurl = "https://x.example"\n',
]
ASK_POETRY = """\
import json, sys
from pathlib import Path
from poetry.packages.locker import Locker
from poetry.utils._compat import tomllib
print(json.dumps([Locker(Path("none"), tomllib.loads(text))._content_hash for text in json.load(sys.stdin)]))
"""


def test_the_checksum_of_a_project_is_poetrys(machine):
    python = machine.data / "poetry/venv/bin/python"
    asked = subprocess.run(
        [python, "-c", ASK_POETRY], input=json.dumps(PROJECTS), capture_output=True, text=True, check=True
    )
    assert [poetry_lock.content_hash(toml_text.parsed(text)) for text in PROJECTS] == json.loads(asked.stdout)


@pytest.mark.network
def test_a_lock_file_that_is_read_alone_waits_for_no_poetry(machine, project, built_project):
    for name in ("pyproject.toml", "poetry.lock"):
        shutil.copy(built_project / name, project)

    def never() -> None:
        raise AssertionError

    request = Request.read(project, Machine.detect())
    steps.virtual_environment(request, machine.python, ready=never)
    there = {path.name.removesuffix(".dist-info") for path in project.glob(".venv/lib/*/site-packages/*.dist-info")}
    assert {name for name in there if not name.startswith("pip-")} == {"idna-3.6", "six-1.16.0"}


@pytest.mark.machine
@pytest.mark.network
def test_poetry_is_installed_while_packages_are(home, machine, project, built_project, monkeypatch):
    """On a machine without Poetry, what Poetry refuses is taken back."""
    (machine.data / "poetry").unlink()
    for name in ("pyproject.toml", "poetry.lock"):
        shutil.copy(built_project / name, project)
    text = (project / "pyproject.toml").read_text()
    (project / "pyproject.toml").write_text(text.replace("six==1.16.0", "six==1.15.0"))
    with pytest.raises(LockMismatchError):
        setting_up.setup(str(machine.python.path), interpreter="system", project=project)
    assert poetry.installed_version(Machine.detect()) == pins.POETRY
    assert not (project / ".venv").exists()
    (project / "pyproject.toml").write_text(text)
    result = setting_up.setup(str(machine.python.path), interpreter="system", project=project)
    assert [step.step for step in result.steps] == [
        *("install_python", "install_colab_packages", "install_poetry", "configure_venv", "register_kernel")
    ]
