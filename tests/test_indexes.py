# ruff: noqa: F811  the fixtures are imported
"""A project without a lock file becomes a kernel on every index that pip can read, whatever else that index answers."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import index_server
import pytest
from env_fixtures import base, stable  # noqa: F401
from index_server import BEHAVIOURS, DEFAULT, Behaviour, IndexServer
from small_wheels import write_wheel

import colab_env
from colab_env import envs, planning, poetry, steps
from colab_env.errors import CommandError, NetworkError, PoetryError
from colab_env.machine import Machine
from colab_env.standalone import _poetry
from colab_env.standalone._poetry import NOTE, VERSION

pytestmark = pytest.mark.network  # Poetry and the kernel's packages are real

SETTINGS = (
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_FIND_LINKS",
    "UV_INDEX_URL",
    "UV_DEFAULT_INDEX",
    "SSL_CERT_DIR",
)
PROJECT = """\
[project]
name = "lesson"
version = "0.1.0"
requires-python = ">=3.8"
dependencies = ["atlas"]

[tool.poetry]
package-mode = false
"""


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    """What the index has: atlas, which needs globe, in two versions, something to add later, and a pip to install."""
    place = tmp_path / "wheels"
    for version in ("1.0", "1.1"):
        write_wheel(place, "atlas", version, needs=["globe>=2"])
    for name in ("globe", "compass"):
        write_wheel(place, name, "2.0")
    for name in ("pip", "poetry"):
        write_wheel(place, name, "99.0")
    return place


@pytest.fixture
def index(wheels: Path, machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[IndexServer]:
    """The only index that this machine reaches, in the place of the default one; nothing is cached or set up here."""
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    with IndexServer(wheels) as server, server.environ() as variables:
        caches = {name: str(tmp_path / name.lower()) for name in ("UV_CACHE_DIR", "POETRY_CACHE_DIR")}
        for name, value in {**variables, **caches, "PIP_CONFIG_FILE": os.devnull}.items():
            monkeypatch.setenv(name, value)
        (machine.data / "index.json").unlink(missing_ok=True)
        poetry.write_command(Machine.detect())
        yield server
        assert server.strangers == []


@pytest.fixture
def lesson(project: Path) -> Path:
    (project / "pyproject.toml").write_text(PROJECT)
    return project


def installed(place: Path) -> set[str]:
    return {path.name.removesuffix(".dist-info") for path in place.glob("lib/python3*/site-packages/*.dist-info")}


def answers(machine) -> dict[str, bool]:
    document = json.loads((machine.data / "index.json").read_text())
    return {address: entry["complete"] for address, entry in document["indexes"].items()}


def say(machine, **entry: object) -> None:
    """Write what is remembered of the default index."""
    document = {"version": VERSION, "indexes": {DEFAULT: {"complete": True, "again": time.time() + 3600, **entry}}}
    (machine.data / "index.json").write_text(json.dumps(document))


def command(machine, directory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    argv = [str(machine.data / "bin/poetry"), *words]
    return subprocess.run(argv, cwd=directory, capture_output=True, text=True, check=False)


def add(machine, project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run `poetry add`, as the next cell does."""
    return command(machine, project, "add", "--no-interaction", *words)


BY_DEFAULT = ("no /pypi/NAME/VERSION/json",)
OF_A_COMPANY = ("HTML only", "403 for 404", "no metadata files", "no hashes")


@pytest.mark.parametrize(
    ("way", "name"),
    [
        pytest.param("in place of the default", name, marks=() if name in BY_DEFAULT else pytest.mark.machine)
        for name in BEHAVIOURS
    ]
    + [pytest.param("set up for pip", name, marks=pytest.mark.machine) for name in OF_A_COMPANY],
)
def test_a_project_without_a_lock_file_becomes_a_kernel(index, machine, lesson, base, monkeypatch, name, way):
    index.behaviour = BEHAVIOURS[name]
    if way == "set up for pip":
        monkeypatch.setenv("PIP_INDEX_URL", index.url)
    python = machine.python.version
    result = colab_env.setup(python=python, interpreter="system", project=lesson, system_site_packages=False)
    assert colab_env.check_kernel(result.kernel).ok
    assert installed(lesson / ".venv") == {"atlas-1.1", "globe-2.0", "pip-99.0"}

    # What is written is what it would be elsewhere: hashes, and no word of this index.
    lock = (lesson / "poetry.lock").read_text()
    assert lock.count("sha256:") == 2
    assert "127.0.0.1" not in lock
    assert "[package.source]" not in lock

    added = add(machine, lesson, "compass")
    assert added.returncode == 0, added.stdout + added.stderr
    assert '"compass (>=2.0' in (lesson / "pyproject.toml").read_text()
    assert "compass-2.0" in installed(lesson / ".venv")

    again = steps.configure_venv(lesson, python=python, system_site_packages=False, groups=())
    assert again.changed
    plan = planning.plan(python, interpreter="system", project=lesson, system_site_packages=False)
    assert {row.name: row.wanted for row in plan.rows} == {"atlas": "1.1", "globe": "2.0", "compass": "2.0"}
    assert installed(envs.create("from-lock", project=lesson).where) == {"atlas-1.1", "globe-2.0", "compass-2.0"}
    assert installed(envs.create("by-name", "atlas<1.1").where) == {"atlas-1.0", "globe-2.0"}

    if way == "in place of the default":
        complete = name == "everything"
        assert answers(machine) == {DEFAULT: complete}
        notes = [note for step in result.steps for note in step.notes]
        assert notes.count(NOTE) == (not complete)
    # A company's index is the only one that is asked.
    assert way != "set up for pip" or not (machine.data / "index.json").exists()


def fill(machine, lesson: Path):
    return steps.configure_venv(lesson, python=machine.python, system_site_packages=False)


def locked(machine, lesson: Path) -> str:
    """Run `poetry lock`, which is all of a set-up that asks this index; return what it says beside its output."""
    done = command(machine, lesson, "lock")
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'name = "globe"' in (lesson / "poetry.lock").read_text()
    return done.stderr


def test_poetry_reads_its_own_source_where_that_has_everything(index, machine, lesson):
    index.behaviour = BEHAVIOURS["everything"]
    assert NOTE not in locked(machine, lesson)
    assert "/pypi/atlas/1.1/json" in index.asked


def test_an_index_is_asked_once_and_remembered_by_its_address(index, machine, lesson):
    index.behaviour = BEHAVIOURS["HTML only"]
    assert NOTE in locked(machine, lesson)
    before = len(index.asked)
    assert add(machine, lesson, "compass").returncode == 0
    assert not {path for path in index.asked[before:] if path.startswith(("/pypi/", "/simple/pip/"))}
    say(machine, complete=False, again=time.time() - 1)
    index.behaviour = BEHAVIOURS["everything"]
    assert add(machine, lesson, "globe").returncode == 0
    assert answers(machine) == {DEFAULT: True}


def test_an_index_that_changes_overnight_is_noticed_by_the_next_command(index, machine, lesson):
    index.behaviour = BEHAVIOURS["no /pypi/NAME/VERSION/json"]
    say(machine, again=time.time() - 1)
    added = add(machine, lesson, "compass")
    assert added.returncode == 0, added.stdout + added.stderr
    assert added.stderr.count(NOTE) == 1
    assert answers(machine) == {DEFAULT: False}


@pytest.mark.machine
@pytest.mark.parametrize("name", ["HTML only", "no /pypi/NAME/VERSION/json", "a page to sign in for 404", "slow"])
def test_an_index_that_changes_within_the_hour_costs_one_more_run(index, machine, lesson, name):
    index.behaviour = BEHAVIOURS[name]
    say(machine)
    assert NOTE in fill(machine, lesson).notes
    assert "atlas-1.1" in installed(lesson / ".venv")
    assert answers(machine) == {DEFAULT: False}


def test_one_package_that_has_no_json_is_found_on_its_simple_page(index, machine, lesson):
    index.behaviour = Behaviour(without="globe")
    assert NOTE in locked(machine, lesson)


def test_a_package_that_no_page_has_is_an_error_at_once(index, machine, lesson):
    index.behaviour = BEHAVIOURS["everything"]
    (lesson / "pyproject.toml").write_text(PROJECT.replace("atlas", "atlass"))
    with pytest.raises(PoetryError, match="atlass"):
        fill(machine, lesson)
    assert answers(machine) == {DEFAULT: True}
    assert not (lesson / "poetry.lock").exists()


def test_a_sign_in_page_in_the_place_of_the_whole_index_is_told(index, machine, lesson, base):
    index.behaviour = BEHAVIOURS["a page to sign in for 404"]
    for wheel in index.wheels.iterdir():
        wheel.unlink()
    with pytest.raises(NetworkError, match="shows a web page, “Sign in”"):
        fill(machine, lesson)
    assert answers(machine) == {DEFAULT: None}
    with pytest.raises(NetworkError, match="shows a web page, “Sign in”"):
        envs.create("by-name", "atlas")


def test_a_page_of_an_index_with_a_form_on_it_is_no_page_to_sign_in(index, machine, lesson, base, monkeypatch):
    """devpi has a button on each page of a mirror."""
    monkeypatch.setattr(index_server, "TOP", "<form method=post><input type=submit value=Refresh></form>")
    index.behaviour = BEHAVIOURS["HTML only"]
    with pytest.raises(CommandError, match="atlass"):
        envs.create("by-name", "atlass")
    assert "/simple/atlass/" in index.asked


def test_a_company_s_index_is_asked_why_and_nobody_else_is(index, machine, lesson, wheels, monkeypatch):
    index.behaviour = BEHAVIOURS["HTML only"]
    with IndexServer(wheels) as company:
        monkeypatch.setenv("PIP_INDEX_URL", company.url)
        (lesson / "pyproject.toml").write_text(PROJECT.replace("atlas", "atlass"))
        with pytest.raises(PoetryError, match="atlass"):
            fill(machine, lesson)
        assert "/simple/pip/" in company.asked
    assert index.asked == []


def test_relative_addresses_in_json_are_a_missing_answer(index, machine, lesson):
    index.behaviour = replace(BEHAVIOURS["everything"], relative=True)
    assert NOTE in locked(machine, lesson)


@pytest.mark.machine
def test_an_index_that_cannot_be_reached_is_remembered_as_it_was(index, machine, lesson, monkeypatch):
    say(machine, complete=False, again=time.time() - 1)
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert add(machine, lesson, "compass").returncode != 0
    assert answers(machine) == {DEFAULT: False}


@pytest.mark.parametrize(
    "text",
    ["", "{", "[1]", '{"version": 2, "indexes": {}}', '{"url": "https://old.example/simple"}', "[" * 100_000]
    + [
        f'{{"version": {VERSION}, "indexes": {value}}}'
        for value in ("5", "[]", f'{{"{DEFAULT}": {{"complete": "yes"}}}}')
    ],
    ids=range(9),
)
def test_a_damaged_memory_is_no_memory(tmp_path, text):
    (tmp_path / "index.json").write_text(text)
    assert _poetry._read(tmp_path / "index.json") == {}


def test_what_a_damaged_memory_held_is_asked_again(index, machine, lesson):
    index.behaviour = BEHAVIOURS["HTML only"]
    (machine.data / "index.json").write_text("[1]")
    assert NOTE in locked(machine, lesson)
    assert answers(machine) == {DEFAULT: False}


def test_a_mirror_of_poetrys_own_settings_stays_poetrys(index, machine, lesson, wheels, tmp_path):
    index.behaviour = BEHAVIOURS["HTML only"]
    with IndexServer(wheels) as mirror:
        (lesson / "poetry.toml").write_text(f'[plugins.pypi_mirror]\nurl = "{mirror.url}"\n')
        (lesson / "poetry.lock").unlink(missing_ok=True)
        done = command(machine, lesson.parent, "--directory=lesson", "lock")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "/simple/atlas/" in mirror.asked
    assert not [path for path in index.asked if "atlas" in path]


EXPLICIT = '[[tool.poetry.source]]\nname = "ours"\nurl = "{url}"\npriority = "{priority}"\n'


@pytest.mark.parametrize("name", ["no /pypi/NAME/VERSION/json", pytest.param("everything", marks=pytest.mark.machine)])
def test_a_source_of_the_project_is_asked_for_its_packages_and_nobody_else_is(index, machine, lesson, tmp_path, name):
    index.behaviour = BEHAVIOURS[name]
    write_wheel(tmp_path / "secret", "treasure", "1.0", needs=["globe"])
    with IndexServer(tmp_path / "secret", user="me", password="pass") as private:
        address = private.url.replace("://", "://me:pass@")
        chosen = '[tool.poetry.dependencies]\ntreasure = { source = "ours" }\n'
        text = PROJECT.replace('"atlas"', '"atlas", "treasure"')
        (lesson / "pyproject.toml").write_text(f"{text}{chosen}{EXPLICIT.format(url=address, priority='explicit')}")
        fill(machine, lesson)
        assert {"treasure-1.0", "atlas-1.1"} <= installed(lesson / ".venv")
        assert "/simple/treasure/" in private.asked
        assert not [path for path in private.asked if "atlas" in path]
    assert not [path for path in index.asked if "treasure" in path]


def test_a_primary_source_of_the_project_is_asked_for_everything(index, machine, lesson, wheels, tmp_path):
    index.behaviour = BEHAVIOURS["HTML only"]
    with IndexServer(wheels) as private:
        (lesson / "pyproject.toml").write_text(f"{PROJECT}{EXPLICIT.format(url=private.url, priority='primary')}")
        fill(machine, lesson)
    assert {"globe-2.0", "atlas-1.1"} <= installed(lesson / ".venv")
    assert {path for path in index.asked if path.startswith("/simple/")} <= {"/simple/pip/"}


@pytest.mark.parametrize("usual", ["1.1", pytest.param("1.0", marks=pytest.mark.machine)])
def test_one_package_may_come_from_two_places_by_its_marker(index, machine, lesson, tmp_path, usual):
    """As torch does: a build of its own for one system, the usual one for the others, be it of the same version."""
    index.behaviour = BEHAVIOURS["HTML only"]
    write_wheel(tmp_path / "builds", "atlas", "1.1", code="of = 'ours'", needs=["globe"])
    for ours, system in (("==", "linux"), ("!=", "linux")):
        other = "!=" if ours == "==" else "=="
        with IndexServer(tmp_path / "builds") as builds:
            text = (
                '[tool.poetry]\npackage-mode = false\n[tool.poetry.dependencies]\npython = ">=3.8"\natlas = ['
                f'{{ version = "1.1", source = "ours", markers = "sys_platform {ours} \'{system}\'" }},'
                f'{{ version = "{usual}", source = "pypi", markers = "sys_platform {other} \'{system}\'" }}]\n'
            )
            (lesson / "pyproject.toml").write_text(f"{text}{EXPLICIT.format(url=builds.url, priority='explicit')}")
            (lesson / "poetry.lock").unlink(missing_ok=True)
            shutil.rmtree(lesson / ".venv", ignore_errors=True)
            fill(machine, lesson)
        (module,) = (lesson / ".venv").glob("lib/python3*/site-packages/atlas.py")
        assert ("ours" in module.read_text()) == (ours == "==")


def test_a_source_may_be_one_page_of_links(index, machine, lesson, tmp_path):
    index.behaviour = BEHAVIOURS["HTML only"]
    write_wheel(tmp_path / "builds", "treasure", "1.0")
    with IndexServer(tmp_path / "builds") as builds:
        chosen = '[tool.poetry.dependencies]\ntreasure = { source = "ours" }\n'
        source = EXPLICIT.format(url=f"{builds.address}/stable.html", priority="explicit")
        text = PROJECT.replace('"atlas"', '"atlas", "treasure"')
        (lesson / "pyproject.toml").write_text(f"{text}{chosen}{source}")
        fill(machine, lesson)
    assert {"treasure-1.0", "atlas-1.1"} <= installed(lesson / ".venv")


def test_where_only_a_primary_source_is_reached_it_serves_for_everything(index, machine, lesson, wheels, tmp_path):
    with IndexServer(wheels) as private:
        index.wheels = tmp_path / "nothing"
        index.wheels.mkdir()
        (lesson / "pyproject.toml").write_text(f"{PROJECT}{EXPLICIT.format(url=private.url, priority='primary')}")
        fill(machine, lesson)
    assert {"globe-2.0", "atlas-1.1", "pip-99.0"} <= installed(lesson / ".venv")


def test_a_setting_of_uvs_sends_no_package_of_a_source_elsewhere(index, machine, lesson, tmp_path, monkeypatch):
    monkeypatch.setenv("UV_NO_SOURCES", "1")
    test_a_source_of_the_project_is_asked_for_its_packages_and_nobody_else_is(
        index, machine, lesson, tmp_path, "everything"
    )


def test_the_stop_button_stops_and_teaches_nothing(index, machine, lesson):
    index.behaviour = replace(BEHAVIOURS["everything"], delay=10)
    say(machine)
    before = (lesson / "pyproject.toml").read_text()
    argv = [str(machine.data / "bin/poetry"), "add", "--no-interaction", "compass"]
    child = subprocess.Popen(argv, cwd=lesson, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    while "/simple/compass/" not in index.asked:
        assert child.poll() is None
        time.sleep(0.01)
    child.send_signal(signal.SIGINT)
    output, _ = child.communicate(timeout=300)
    assert child.returncode != 0
    assert NOTE not in output
    assert (lesson / "pyproject.toml").read_text() == before
    assert answers(machine) == {DEFAULT: True}


def test_a_stop_while_the_index_is_asked_is_no_traceback(index, machine, lesson):
    index.behaviour = replace(BEHAVIOURS["everything"], delay=10)
    argv = [str(machine.data / "bin/poetry"), "lock"]
    child = subprocess.Popen(argv, cwd=lesson, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    while not index.asked:
        assert child.poll() is None
        time.sleep(0.01)
    child.send_signal(signal.SIGINT)
    output, _ = child.communicate(timeout=300)
    assert child.returncode == 130
    assert "Traceback" not in output


@pytest.mark.machine
def test_what_is_remembered_counts_for_every_command_that_asks(index, machine, lesson):
    index.behaviour = BEHAVIOURS["HTML only"]
    fill(machine, lesson)
    for words in (["show", "--latest"], ["show", "--outdated"], ["debug", "resolve", "atlas"]):
        done = command(machine, lesson, *words)
        assert done.returncode == 0, done.stdout + done.stderr
    # `self` has packages of its own, which the plugin does not reach: nothing is promised.
    assert NOTE not in command(machine, lesson, "self", "add", "--dry-run", "compass").stderr


def test_a_passing_fault_is_not_remembered_for_long(index, machine, lesson):
    index.behaviour = replace(BEHAVIOURS["simple pages as JSON"], refusal=503)
    assert command(machine, lesson, "lock").returncode == 0
    entry = json.loads((machine.data / "index.json").read_text())["indexes"][DEFAULT]
    assert entry["complete"] is False
    assert entry["again"] < time.time() + 3600


def test_a_locked_project_asks_no_index_what_it_answers(index, machine, lesson):
    index.behaviour = BEHAVIOURS["everything"]
    locked(machine, lesson)
    (machine.data / "index.json").unlink()
    index.asked.clear()
    steps.configure_venv(lesson, python=machine.python, system_site_packages=False, groups=())
    assert not (machine.data / "index.json").exists()


def test_other_settings_of_the_machine_stop_no_step(index, machine, lesson, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", index.url)
    fill(machine, lesson)
    assert steps.install_poetry().reason == "the command poetry knows other index settings than this machine has"
    assert index.url in (machine.data / "bin/poetry").read_text()


def test_the_command_of_an_older_colab_env_is_written_anew_and_nothing_else(machine):
    launcher = machine.data / "bin/_poetry.py"
    (machine.data / "bin/poetry").unlink()
    before = (machine.data / "poetry/colab-env.json").stat().st_mtime_ns
    result = steps.install_poetry()
    assert result.reason == "the command poetry is missing"
    assert (machine.data / "poetry/colab-env.json").stat().st_mtime_ns == before
    assert str(launcher) in (machine.data / "bin/poetry").read_text()
    version = subprocess.run([machine.data / "bin/poetry", "--version"], capture_output=True, text=True, check=True)
    assert version.stdout.startswith("Poetry (version")
