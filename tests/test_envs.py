"""Named environments: made, listed, moved, upgraded and removed, and what happens when it goes wrong in between."""

# ruff: noqa: F811  the fixtures are imported; exit codes are what is looked at
from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from env_fixtures import DEMO, Command, base, command, stable, web, wheels  # noqa: F401
from small_wheels import write_wheel

from colab_env import _files, _state, content, envs, uv
from colab_env.errors import (
    BrokenEnvironmentError,
    ColabEnvError,
    CommandError,
    DiskFullError,
    EnvironmentExistsError,
    EnvironmentInUseError,
    EnvironmentNameError,
    NetworkError,
    NoSuchEnvironmentError,
    NoSuchProgramError,
    NoSuchPythonError,
    NotAnEnvironmentError,
    NotOursError,
    UsageError,
)
from colab_env.machine import Machine
from colab_env.named_env import base_dirs, building, builds, bytecode, moving, programs
from colab_env.named_env.inventory import MadeFrom, NamedEnvironment, Receipt
from colab_env.named_env.recipe import Recipe
from colab_env.named_env.reports import Process, account

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def listed(name: str):
    return {each.name: each for each in envs.list_environments()}[name]


def tree(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def output(program: Path, *words: str) -> str:
    return subprocess.run([program, *words], check=True, capture_output=True, text=True).stdout.strip()


# create


def test_create_makes_an_environment_from_a_directory_of_wheels(web):
    assert output(web / "bin/demo", "-h") == "1.0 -h"
    assert listed("web").health is None
    assert listed("web").packages == 2


def test_a_second_create_finds_it_already_there(web, wheels):
    assert envs.create("web", "demo", wheels=wheels).action == "already there"


def test_create_heals_one_without_its_configuration(web, wheels):
    (web / "pyvenv.cfg").unlink()
    with pytest.raises(BrokenEnvironmentError, match="create it again"):
        envs.path("web")
    assert envs.create("web", "demo", wheels=wheels).action == "done"
    assert output(web / "bin/demo") == "1.0"


def test_create_heals_what_is_damaged(web, wheels):
    (web / "bin/python").unlink()
    assert "its Python is gone" in listed("web").health
    assert "its Python is gone" in envs.create("web", "demo", wheels=wheels).reason
    assert output(web / "bin/demo") == "1.0"


def test_new_wheels_in_the_directory_make_it_anew(web, wheels):
    write_wheel(wheels, "demo", "2.0", code=DEMO, programs=["demo"], needs=["other"])
    result = envs.create("web", "demo", wheels=wheels)
    assert result.reason == "it was made of something else"
    assert output(web / "bin/demo") == "2.0"


def test_requirements_come_from_a_file(base, wheels, tmp_path):
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("demo==1.0\n")
    place = envs.create("web", requirements=requirements, wheels=wheels).where
    assert output(place / "bin/demo") == "1.0"


@pytest.mark.parametrize("is_reached", [True, False])
def test_uv_is_fetched_where_packages_come_from_an_index(base, wheels, monkeypatch, is_reached):
    asked = []

    def obtain(machine):
        asked.append(machine)
        if not is_reached:
            msg = "the package index cannot be reached"
            raise NetworkError(msg)

    monkeypatch.setattr(uv, "obtain", obtain)
    envs.create("bare")
    envs.create("web", "demo", wheels=wheels)
    assert not asked
    place = envs.create("local", str(next(wheels.glob("other-*.whl")))).where
    assert asked
    assert list(place.glob("lib/*/site-packages/other*"))


def test_a_failed_create_leaves_nothing(base, wheels):
    with pytest.raises(CommandError, match="nonsense"):
        envs.create("web", "nonsense", wheels=wheels)
    assert envs.list_environments() == []
    assert [path.name for path in base.iterdir()] == [".locks"]


def test_a_failed_create_over_an_environment_leaves_the_old_one(web, wheels):
    with pytest.raises(CommandError, match="nonsense"):
        envs.create("web", "nonsense", wheels=wheels)
    assert output(web / "bin/demo") == "1.0"
    assert tree(web.parent) == [".builds", ".locks", "web"]
    assert tree(web.parent / ".builds/web") == ["1"]


def test_the_stop_button_leaves_the_old_one(web, wheels, monkeypatch):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(building, "verify", stopped)
    with pytest.raises(KeyboardInterrupt):
        envs.upgrade("web")
    assert output(web / "bin/demo") == "1.0"
    assert tree(web.parent) == [".builds", ".locks", "web"]
    assert tree(web.parent / ".builds/web") == ["1"]


def test_create_touches_nothing_that_it_did_not_make(base, wheels):
    (base / "web").mkdir(parents=True)
    (base / "web/precious").write_text("mine")
    with pytest.raises(NotOursError):
        envs.create("web", "demo", wheels=wheels)
    assert (base / "web/precious").read_text() == "mine"


def test_packages_and_a_requirements_file_do_not_go_together(base, tmp_path):
    with pytest.raises(UsageError, match="do not go together"):
        envs.create("web", "demo", requirements=tmp_path / "requirements.txt")


def test_an_option_is_no_package(base):
    with pytest.raises(UsageError, match="is not a package"):
        envs.create("web", "--index-url=https://example.org")


def test_another_python_is_taken_when_it_is_asked_for(base, pythons):
    other = pythons[-1]
    place = envs.create("old", python=other.short_version).where
    assert listed("old").python == other.version
    assert output(place / "bin/python", "-c", "import sys; print(sys.version.split()[0])") == other.version


def test_the_systems_packages_are_seen_only_on_request(base):
    plain, seeing = (
        envs.create(name, system_site_packages=name == "seeing").where / "pyvenv.cfg" for name in ("plain", "seeing")
    )
    assert "include-system-site-packages = false" in plain.read_text()
    assert "include-system-site-packages = true" in seeing.read_text()


def test_a_broken_set_of_packages_is_not_taken(base, wheels, tmp_path, pythons):
    target = envs.create("web", "other", wheels=wheels).where
    site = next(target.glob("lib/*/site-packages/other-1.0.dist-info"))
    (site / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\nRequires-Dist: missing\n")
    with pytest.raises(BrokenEnvironmentError, match="missing"):
        building.verify(target, machine=Machine.detect())


def test_concurrent_creates_make_one(base, wheels, command):
    runs = [command.start("env", "create", "web", "demo", "--wheels", str(wheels), "--json") for _ in range(4)]
    answers = [json.loads(run.communicate(timeout=300)[0]) for run in runs]
    assert sorted(answer["action"] for answer in answers) == ["already there"] * 3 + ["done"]
    assert listed("web").health is None


@pytest.mark.machine
def test_a_create_killed_at_any_moment_leaves_nothing_that_is_called_healthy(base, wheels, command):
    words = ("env", "create", "web", "demo", "--wheels", str(wheels), "-q")
    began = time.monotonic()
    assert command(*words).returncode == 0
    usual = time.monotonic() - began
    for part in range(1, 13):
        command("env", "purge", "web", "--force", "--if-exists", "-q")
        run = command.start(*words, start_new_session=True)
        time.sleep(usual * part / 13)
        os.killpg(run.pid, signal.SIGKILL)
        run.communicate()
        for each in envs.list_environments():
            assert each.health is not None or output(each.path / "bin/demo") == "1.0"
        answer = command("run", "web", "demo")
        assert answer.stdout.strip() == "1.0" or answer.returncode in (31, 35)
    assert command(*words).returncode == 0
    assert output(base / "web/bin/demo") == "1.0"


def test_an_unfinished_one_is_named_and_can_be_cleared_away(base):
    (base / "web/bin").mkdir(parents=True)
    (base / ".web.colab-env-building").touch()
    (base / "web/pyvenv.cfg").touch()
    (base / "web").chmod(0o1755)
    assert "unfinished" in listed("web").health
    with pytest.raises(BrokenEnvironmentError, match="unfinished"):
        envs.path("web")
    envs.purge("web")
    assert [path.name for path in base.iterdir()] == [".locks"]


def test_what_somebody_put_where_a_run_was_killed_is_not_purged(base):
    (base / "web").mkdir(parents=True)
    (base / "web" / "notes.txt").write_text("precious")
    (base / ".web.colab-env-building").touch()
    with pytest.raises(NotAnEnvironmentError):
        envs.purge("web")
    assert (base / "web" / "notes.txt").read_text() == "precious"


def test_a_moved_one_stays_when_its_old_place_has_an_environment_again(base, wheels):
    envs.create("web", "demo==1.0", wheels=wheels)
    envs.rename("web", "site")
    envs.create("web", "demo==1.0", wheels=wheels)
    envs.create("third", "demo==1.0", wheels=wheels)
    assert sorted(each.name for each in envs.list_environments()) == ["site", "third", "web"]
    assert output(base / "site/bin/demo") == output(base / "web/bin/demo") == "1.0"


def copied(web: NamedEnvironment, site: NamedEnvironment) -> NamedEnvironment:
    builds.copy_in(web.build(1), site, 1, prompt=("web", "site"))
    return site


def test_of_a_move_that_was_killed_the_copy_stays_once_somebody_works_in_it(base, wheels):
    envs.create("web", "demo==1.0", wheels=wheels)
    web, site = (NamedEnvironment(name=name, base=base) for name in ("web", "site"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_files, "remove", lambda path: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            moving._arrive(web.path, copied(web, site), 1)
    (site.path / "results.txt").write_text("precious")
    moving.clear_leftovers(base, machine=Machine.detect())
    assert (site.path / "results.txt").read_text() == "precious"
    assert web.is_complete()


def test_of_a_move_that_was_killed_the_copy_goes_and_no_other(base, wheels):
    envs.create("web", "demo==1.0", wheels=wheels)
    web, site = (NamedEnvironment(name=name, base=base) for name in ("web", "site"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_files, "remove", lambda path: 1 / 0)  # as a kill between the copy and the end
        with pytest.raises(ZeroDivisionError):
            moving._arrive(web.path, copied(web, site), 1)
    assert site.receipt is not None
    assert site.receipt.moved_from == web.path
    moving.clear_leftovers(base, machine=Machine.detect())
    assert (site.path.exists(), web.is_complete()) == (False, True)
    assert envs.rename("web", "site").changed
    assert (site.is_complete(), web.path.exists()) == (True, False)
    assert site.receipt is not None
    assert site.receipt.moved_from is None
    assert content.Survey(site.directory).differences(content.read(site.directory)) == []


# names


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("../x", "SOLIDUS"),
        ("/etc", "SOLIDUS"),
        ("", "empty"),
        ("a\nb", "control character"),
        ("a\0b", "control character"),
        ("x" * 200, "200 characters"),
        ("w\N{CYRILLIC SMALL LETTER IE}b", "CYRILLIC SMALL LETTER IE"),
        ("\N{FULLWIDTH LATIN SMALL LETTER W}eb", "FULLWIDTH LATIN SMALL LETTER W"),
        ("-h", "begins with"),
        (".locks", "begins with"),
        ("a b", "SPACE"),
    ],
)
def test_a_name_that_is_none_is_refused_with_the_reason(base, command, name, fault):
    for verb in (envs.create, envs.path, envs.purge):
        with pytest.raises(EnvironmentNameError, match=fault):
            verb(name)
    if "\0" not in name and not name.startswith("-"):
        assert command("run", name, "python").returncode == 30
    assert not base.exists()


@pytest.mark.parametrize("name", ["run", "list", "env", "create", "web-1", "A.b_c", "3"])
def test_every_other_name_is_taken_even_that_of_a_command(base, wheels, command, name):
    place = envs.create(name, "demo", wheels=wheels).where
    assert command("run", name, "demo", name).stdout == f"1.0 {name}\n"
    assert place.name == name


# list


def test_files_and_other_directories_are_not_listed(web):
    (web.parent / "notes.txt").write_text("a file")
    (web.parent / "directory").mkdir()
    (web.parent / "link").symlink_to(web)
    assert [each.name for each in envs.list_environments()] == ["web"]


def test_somebody_elses_environment_is_listed_as_such(base):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", base / "theirs"], check=True)
    assert listed("theirs").health == "colab-env did not make it"


def test_the_list_names_the_processes_that_use_an_environment(web, command):
    sleeper = command.start("run", "web", "python", "-c", "import time; print(1, flush=True); time.sleep(60)")
    try:
        sleeper.stdout.readline()
        shown = json.loads(command("env", "list", "--json").stdout)
        assert [each["pid"] for each in shown[0]["processes"]] == [sleeper.pid]
        assert f"in use by {sleeper.pid}" in command("env", "list").stdout
    finally:
        sleeper.kill()
        sleeper.communicate()


def test_the_list_is_json_on_request(web, command):
    (shown,) = json.loads(command("env", "list", "--json").stdout)
    assert shown["name"] == "web"
    assert shown["packages"] == 2
    assert shown["health"] is None
    assert shown["size"] > 1000
    assert 0 <= shown["age"] < 86_400


def test_a_missing_package_is_seen(web):
    info = next(web.glob("lib/*/site-packages/other-1.0.dist-info"))
    _files.remove(info)
    assert listed("web").health == "packages are missing: other-1.0"


def test_a_python_that_was_replaced_is_seen(web, pythons):
    others = [each for each in pythons if each.version != listed("web").python]
    (web / "bin/python").unlink()
    (web / "bin/python").symlink_to(others[0].path)
    assert "its Python is another one now" in listed("web").health


def test_two_hundred_environments_are_listed_and_nothing_is_started(web, command, monkeypatch):
    receipt = json.loads((web / "colab-env.json").read_text())
    for number in range(199):
        copy = web.parent / f"web{number}"
        _files.copy(web, copy, ignore=("__pycache__",))
        (copy / "colab-env.json").write_text(json.dumps(receipt))
    assert len(json.loads(command("env", "list", "--json").stdout)) == 200
    monkeypatch.setattr(subprocess, "Popen", None)
    assert len(envs.list_environments()) == 200


# which, path


def test_which_and_path_say_where(web):
    assert envs.which("web", "demo") == web / "bin/demo"
    assert envs.path("web") == web


def test_a_wrong_environment_gets_near_matches(web):
    with pytest.raises(NoSuchEnvironmentError, match="did you mean web"):
        envs.path("wed")


def test_a_wrong_program_gets_near_matches(web):
    with pytest.raises(NoSuchProgramError, match="did you mean demo"):
        envs.which("web", "dmeo")
    assert NoSuchProgramError.exit_code == 127


# purge


def test_purge_removes_the_environment(web):
    envs.purge("web")
    assert [path.name for path in web.parent.iterdir()] == [".locks"]


def test_purge_of_what_is_gone_is_an_error_unless_that_is_fine(base):
    with pytest.raises(NoSuchEnvironmentError):
        envs.purge("web")
    assert envs.purge("web", if_exists=True) == []


@pytest.mark.parametrize("name", ["../precious", "", ".", "..", "/tmp"])
def test_purge_never_leaves_its_base(web, command, name):
    precious = web.parent.parent / "precious"
    precious.mkdir()
    (precious / "file").touch()
    assert command("env", "purge", "--force", name).returncode == 30
    assert (precious / "file").exists()
    assert listed("web").health is None


def test_purge_never_follows_a_link_out_of_its_base(web, wheels, tmp_path):
    outside = tmp_path / "outside"
    _files.copy(web, outside)
    (web.parent / "link").symlink_to(outside)
    (web / "inside").symlink_to(wheels)
    with pytest.raises(NotAnEnvironmentError, match="is a link"):
        envs.purge("link", force=True)
    envs.purge("web")
    assert (outside / "bin/demo").exists()
    assert (wheels / "demo-1.0-py3-none-any.whl").exists()


@pytest.mark.parametrize("gone", ["colab-env.json", "pyvenv.cfg"])
def test_purge_never_removes_what_is_not_an_environment(web, gone):
    (web / gone).unlink()
    with pytest.raises(NotAnEnvironmentError):
        envs.purge("web", force=True)
    assert (web / "bin/demo").exists()


def test_purge_of_several_checks_all_before_it_removes_any(web):
    with pytest.raises(NoSuchEnvironmentError):
        envs.purge("web", "nothing")
    assert listed("web").health is None


def start_python_in(place: Path, how: str) -> subprocess.Popen[str]:
    code = "import time; print(1, flush=True); time.sleep(60)"
    words, options = [str(place / "bin/python"), "-c", code], {}
    if how == "its directory":
        words, options = [sys.executable, "-c", code], {"cwd": place}
    if how == "a mapped file":
        code = (
            f"import mmap; file = open({str(place / 'pyvenv.cfg')!r}); m = mmap.mmap(file.fileno(), 0, prot=1); {code}"
        )
        words = [sys.executable, "-c", code]
    if how == "VIRTUAL_ENV":
        words, options = [sys.executable, "-c", code], {"env": {**os.environ, "VIRTUAL_ENV": str(place)}}
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, **options)
    process.stdout.readline()
    return process


@pytest.mark.parametrize("how", ["its Python", "its directory", "a mapped file", "VIRTUAL_ENV"])
def test_purge_refuses_while_a_process_runs_from_it_unless_forced(web, how):
    process = start_python_in(web, how)
    try:
        with pytest.raises(EnvironmentInUseError, match=str(process.pid)):
            envs.purge("web")
        assert listed("web").health is None
        envs.purge("web", force=True)
        assert not web.exists()
    finally:
        process.kill()
        process.communicate()


def test_a_neighbour_with_a_longer_name_is_not_meant(web, wheels):
    longer = envs.create("web-2", "demo", wheels=wheels).where
    process = start_python_in(longer, "its Python")
    try:
        envs.purge("web")
        with pytest.raises(EnvironmentInUseError):
            envs.purge("web-2")
    finally:
        process.kill()
        process.communicate()


# adopt, rename, upgrade


@pytest.mark.machine
def test_adopt_takes_over_somebody_elses_environment(base, wheels, tmp_path):
    made = tmp_path / "made"
    subprocess.run([sys.executable, "-m", "venv", made], check=True)
    subprocess.run([made / "bin/pip", "install", "-q", "--no-index", "-f", wheels, "demo"], check=True)
    result = envs.adopt("web", made)
    assert not made.exists()
    assert output(base / "web/bin/demo") == "1.0"
    assert output(base / "web/bin/pip", "--version").startswith("pip ")
    assert listed("web").health is None
    assert result.where == base / "web"


def test_adopt_of_one_that_lies_in_the_base_leaves_it_there(base):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", base / "web"], check=True)
    envs.adopt("web", base / "web")
    assert listed("web").health is None


def test_adopt_takes_nothing_that_is_no_environment(base, tmp_path):
    (tmp_path / "directory").mkdir()
    with pytest.raises(NotAnEnvironmentError):
        envs.adopt("web", tmp_path / "directory")
    assert (tmp_path / "directory").is_dir()


def test_a_failed_adopt_leaves_it_where_it_was(base, tmp_path, monkeypatch):
    made = tmp_path / "made"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", made], check=True)
    before = (made / "bin/activate").read_text()

    def fail(*_, **__):
        raise RuntimeError("stopped here")

    monkeypatch.setattr(building, "write_receipt", fail)
    with pytest.raises(RuntimeError, match="stopped here"):
        envs.adopt("web", made)
    assert (made / "bin/activate").read_text() == before
    assert not (base / "web").exists()


def test_rename_moves_the_programs_too(web, command):
    result = envs.rename("web", "site")
    assert not web.exists()
    assert output(result.where / "bin/demo") == "1.0"
    assert "web" not in (result.where / "bin/activate").read_text()
    assert command("run", "site", "demo").stdout == "1.0\n"


def test_rename_takes_no_name_that_is_taken(web, wheels):
    envs.create("site", wheels=wheels)
    with pytest.raises(EnvironmentExistsError):
        envs.rename("web", "site")
    with pytest.raises(EnvironmentNameError):
        envs.rename("web", "../site")


def test_upgrade_takes_what_is_newest_now(web, wheels):
    write_wheel(wheels, "demo", "2.0", code=DEMO, programs=["demo"])
    envs.upgrade("web")
    assert output(web / "bin/demo") == "2.0"
    assert str(web.resolve() / "bin/python") in (web / "bin/demo").read_text()
    assert 'VIRTUAL_ENV_PROMPT="web"' in (web / "bin/activate").read_text()


def test_upgrade_moves_to_another_python(web, pythons):
    other = next(each for each in pythons if each.version != listed("web").python)
    envs.upgrade("web", python=other.version)
    assert output(web / "bin/python", "-V") == f"Python {other.version}"
    assert output(web / "bin/demo") == "1.0"


def test_a_failed_upgrade_leaves_the_old_one(web, wheels):
    write_wheel(wheels, "demo", "2.0", needs=["missing"])
    (wheels / "demo-1.0-py3-none-any.whl").unlink()
    with pytest.raises(CommandError, match="missing"):
        envs.upgrade("web")
    assert output(web / "bin/demo") == "1.0"
    assert listed("web").health is None


def test_while_an_upgrade_runs_every_call_finds_a_whole_environment(web, wheels, command):
    upgrade = command.start("env", "upgrade", "web", "--force", "-q")
    answers = []
    while upgrade.poll() is None:
        answers.append(command("run", "web", "demo").stdout)
    upgrade.communicate()
    assert upgrade.returncode == 0
    assert len(answers) > 3
    assert set(answers) == {"1.0\n"}


# builds


def versions(place: Path) -> list[str]:
    return [output(place / "bin/demo")]


@contextlib.contextmanager
def running(command: Command, name: str, code: str = "pass") -> Iterator[subprocess.Popen[str]]:
    """A service in an environment, which imports what it needs only when it is told to."""
    code = f"import sys; print(1, flush=True); input(); {code}"
    process = command.start("run", name, "python", "-c", code, stdin=subprocess.PIPE)
    process.stdout.readline()
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_what_runs_goes_on_in_its_build_and_the_next_start_takes_the_new_one(web, wheels, command):
    code = "import demo, os, subprocess; print(demo.version, subprocess.check_output(['demo'], text=True), sys.prefix)"
    with running(command, "web", code) as service:
        write_wheel(wheels, "demo", "2.0", code=DEMO, programs=["demo"])
        assert envs.create("web", "demo", wheels=wheels).changed
        write_wheel(wheels, "demo", "3.0", code=DEMO, programs=["demo"])
        envs.upgrade("web")
        assert command("run", "web", "demo").stdout == "3.0\n"
        answer = service.communicate("\n")[0].split()
        assert answer == ["1.0", "1.0", str(web.parent / ".builds/web/1")]


def test_a_build_goes_when_nothing_runs_from_it_any_more(web, wheels, command):
    built = web.parent / ".builds/web"
    with running(command, "web"):
        for _ in range(3):
            envs.upgrade("web", keep=1)
        assert tree(built) == ["1", "3", "4"]
        assert [each.number for each in envs.history("web") if each.processes] == [1]
    envs.create("other", wheels=wheels)
    assert tree(built) == ["3", "4"]


def test_keep_says_how_many_earlier_builds_stay(web, wheels, home):
    built = web.parent / ".builds/web"
    (home / ".config").mkdir(exist_ok=True)
    (home / ".config/colab-env.toml").write_text("keep = 2\n")
    for _ in range(3):
        envs.upgrade("web")
    assert tree(built) == ["2", "3", "4"]
    assert envs.create("web", "demo", wheels=wheels, keep=0).reason == "0 earlier builds are to stay"
    assert envs.create("web", "demo", wheels=wheels, keep=0).action == "already there"
    envs.upgrade("web")
    assert tree(built) == ["4", "5"]  # somebody may have read the name a moment ago
    envs.purge("nothing", if_exists=True)
    assert tree(built) == ["5"]
    with pytest.raises(UsageError, match="number of builds"):
        envs.upgrade("web", keep=-1)
    (home / ".config/colab-env.toml").write_text("keep = true\n")
    envs.create("web", "demo", wheels=wheels)
    with pytest.raises(UsageError, match="`keep` in"):
        envs.create("other", wheels=wheels)


def test_rollback_and_history_and_diff(web, wheels, command):
    write_wheel(wheels, "demo", "2.0", code=DEMO, programs=["demo"], needs=["third"])
    write_wheel(wheels, "third", "1.0")
    envs.upgrade("web")
    shown = [json.loads(command("env", "diff", "web", *words, "--json").stdout) for words in ((), ("2", "1"))]
    assert shown[0] == [
        {"package": "demo", "before": "1.0", "after": "2.0"},
        {"package": "other", "before": "1.0", "after": None},
        {"package": "third", "before": None, "after": "1.0"},
    ]
    assert [(each["before"], each["after"]) for each in shown[1]] == [("2.0", "1.0"), (None, "1.0"), ("1.0", None)]
    assert command("env", "diff", "web", "1", "1").stdout == "no versions differ\n"
    assert "demo 1.0 → 2.0" in command("env", "diff", "web").stdout

    result = envs.rollback("web")
    assert result.reason == "from build 2 to build 1"
    assert result.seconds < 0.5
    assert versions(web) == ["1.0"]
    assert listed("web").health is None
    assert envs.rollback("web", 1).action == "already there"
    assert command("env", "rollback", "web", "2", "-q").returncode == 0
    assert command("run", "web", "demo").stdout == "2.0\n"
    lines = command("env", "history", "web").stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [["→", "2"], ["1", sys.version.split()[0]]]
    for words in (("rollback", "web", "7"), ("diff", "web", "7")):
        answer = command("env", *words)
        assert answer.returncode == 31
        assert "no build 7" in answer.stderr
        assert "there is: 1, 2" in answer.stderr


def test_the_way_back_is_the_way_that_was_gone(web, wheels):
    for _ in range(2):
        envs.upgrade("web", keep=5)
    envs.rollback("web", 1)
    assert [each.number for each in envs.history("web")] == [3, 2, 1]
    envs.upgrade("web")  # 3 and 2 were given up
    assert [each.number for each in envs.history("web")] == [4, 1]
    envs.rollback("web")
    assert [each.number for each in envs.history("web") if each.is_current] == [1]
    with pytest.raises(NoSuchEnvironmentError, match="no earlier build"):
        envs.rollback("web")


def test_a_damaged_build_can_be_left_by_a_rollback(web):
    envs.upgrade("web")
    _files.remove(web.parent / ".builds/web/2")
    assert "build 2 is gone" in listed("web").health
    envs.rollback("web", 1)
    assert versions(web) == ["1.0"]


def test_a_rename_keeps_the_history_and_stops_nothing(web, wheels, command):
    write_wheel(wheels, "demo", "2.0", code=DEMO, programs=["demo"], needs=["other"])
    envs.upgrade("web")
    with running(command, "web", "import demo; print(demo.version)") as service:
        site = envs.rename("web", "site").where
        assert service.communicate("\n")[0] == "2.0\n"
        assert not web.exists()
        envs.create("web", "demo==1.0", wheels=wheels)
    assert versions(site) == ["2.0"]
    assert [each.number for each in envs.history("site")] == [2, 1]
    assert list((site.parent / ".builds").glob("*/*/colab-env-purged")) == []
    envs.rollback("site")
    assert versions(site) == ["1.0"]
    assert command("run", "site", "python", "-c", "import demo, sys; print(sys.prefix)").stdout.endswith("/site/1\n")


def test_a_rename_that_a_full_disk_ends_leaves_no_second_environment(web, command, monkeypatch):
    def full(*_):
        raise DiskFullError("no space left on the disk")

    with monkeypatch.context() as disk:
        disk.setattr(builds, "doom", full)
        disk.setattr(builds, "drop", full)
        with pytest.raises(DiskFullError):
            envs.rename("web", "site")
    envs.rename("web", "site")
    assert [each.name for each in envs.list_environments()] == ["site"]
    assert output(web.with_name("site") / "bin/demo") == "1.0"


def test_a_rename_beside_what_runs_of_a_former_one(web, wheels, command):
    envs.create("site", "demo", wheels=wheels)
    with running(command, "web"):
        envs.rename("web", "old")
        site = envs.rename("site", "web").where
        assert tree(web.parent / ".builds/web") == ["1", "2"]
        assert versions(site) == ["1.0"]
    envs.upgrade("web")
    assert [each.number for each in envs.history("web")] == [3, 2]


def test_an_environment_of_the_first_version_is_its_first_build(web, wheels, command):
    flat = as_first_version(web)
    assert envs.create("web", "demo", wheels=wheels).action == "already there"
    assert (flat.is_symlink(), listed("web").health) == (False, None)
    assert [(each.number, each.is_current) for each in envs.history("web")] == [(1, True)]
    assert command("run", "web", "python", "-c", "import sys; print(sys.prefix)").stdout == f"{flat}\n"
    write_wheel(wheels, "demo", "2.0", code=DEMO, programs=["demo"])
    envs.upgrade("web")
    assert versions(web) == ["2.0"]
    envs.rollback("web")
    assert versions(web) == ["1.0"]
    assert (web / "bin/demo").read_text().startswith(f"#!{web.parent}/.builds/web/1/bin/python")
    build = web.resolve()
    assert content.Survey(build).differences(content.read(build)) == []
    assert tree(web.parent) == [".builds", ".locks", "web"]


def as_first_version(web: Path) -> Path:
    """Turn an environment into what the first version made: a directory by itself."""
    build = web.parent / ".builds/web/1"
    web.unlink()
    for path in [build / "pyvenv.cfg", *(path for path in (build / "bin").iterdir() if not path.is_symlink())]:
        path.write_text(path.read_text().replace("/.builds/web/1", "/web"))
    content.write(build, content.Survey(build).content({}))
    (build / "colab-env-build").unlink()
    receipt = json.loads((build / "colab-env.json").read_text())
    later = ("sum", "path", "follows", "keep", "added")
    (build / "colab-env.json").write_text(json.dumps({key: receipt[key] for key in receipt if key not in later}))
    build.rename(web)
    (web.parent / ".builds/web").rmdir()
    (web.parent / ".builds").rmdir()
    return web


def test_a_stranger_keeps_nobody_from_anything(web, wheels):
    if os.geteuid():
        pytest.skip("starts a process of another account")
    nobody = {"executable": "/bin/sleep", "user": 65534, "group": 65534, "extra_groups": []}
    sitting = subprocess.Popen(["sleep", "60"], cwd=web, **nobody)
    serving = subprocess.Popen([web.resolve() / "bin/python", "60"], **nobody)
    try:
        envs.upgrade("web")
        assert [each.pid for each in listed("web").processes] == [serving.pid]
        (result,) = envs.purge("web")
        assert not web.is_symlink()
        assert "when the programs that run from it have ended" in result.notes[0]
        assert tree(web.parent / ".builds/web") == ["1"]
        serving.kill()
        serving.wait()
        envs.create("web", "demo", wheels=wheels)
        assert tree(web.parent / ".builds/web") == ["2"]
    finally:
        for process in (sitting, serving):
            process.kill()
            process.communicate()


def test_no_stranger_may_lock_what_the_owner_locks(systems, wheels, monkeypatch):
    """A lock on a file takes no more than the right to read it."""
    monkeypatch.setattr(_files, "closed_to_others", lambda path: None)
    (systems / ".locks").mkdir(parents=True)
    (systems / ".locks/web").touch(0o644)
    envs.create("web", "demo", wheels=wheels)
    envs.create("other", "demo", wheels=wheels)
    assert [path.stat().st_mode & 0o777 for path in sorted((systems / ".locks").iterdir())] == [0o600, 0o600]


def test_a_create_that_was_killed_before_the_name_stands_for_it_leaves_nothing_for_long(web, wheels, monkeypatch):
    def killed(*_):
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(builds, "_point", killed)
        patch.setattr(_files, "remove", lambda path: None)
        with pytest.raises(SystemExit):
            envs.upgrade("web")
    assert tree(web.parent / ".builds/web") == ["1", "2"]
    assert versions(web) == ["1.0"]
    envs.upgrade("web")
    assert tree(web.parent / ".builds/web") == ["1", "3"]


# a name that was lost, builds that were deleted or moved


@pytest.fixture
def built(base):
    """Return a function that writes a build by hand: what is read of one, and a program that says its path."""

    def write(name: str, number: int, **fields: object) -> Path:
        path = base / ".builds" / name / str(number)
        (path / "bin").mkdir(parents=True)
        (path / "pyvenv.cfg").touch()
        (path / "bin/python").symlink_to(sys.executable)
        (path / "bin/demo").write_text(f"#!{path}/bin/python\nprint({number})\n")
        (path / "bin/demo").chmod(0o755)
        python = MadeFrom(
            path=Path(sys.executable), version="3.12.1", real=Path(os.path.realpath(sys.executable)), source="system"
        )
        said = {"packages": (), "size": 0, "created": 0.0, "path": path, "follows": number - 1 or None, **fields}
        receipt = Receipt(python=python, recipe=Recipe(), inputs=Recipe().digest(Machine.detect()), **said)
        (path / "colab-env-build").write_text(f"{number}\n{path}\n")
        _state.write(path / "colab-env.json", receipt)
        return path

    return write


def lost(base, built) -> NamedEnvironment:
    for number in (1, 2):
        built("web", number, keep=3)
    return NamedEnvironment(name="web", base=base)


def test_builds_whose_name_is_gone_stay_and_are_named(base, built, command):
    web = lost(base, built)
    moving.clear_leftovers(base, machine=Machine.detect())
    envs.purge("other", if_exists=True)
    assert builds.numbers(web) == [1, 2]
    assert "colab-env env rollback web 2" in listed("web").health
    assert "colab-env env rollback web 2" in envs.check("web")[0].problems[0]
    answer = command("run", "web", "demo")
    assert (answer.returncode, "colab-env env rollback web" in answer.stderr) == (35, True)
    assert envs.rollback("web").changed
    assert (web.current, listed("web").health) == (2, None)
    assert command("run", "web", "demo").stdout == "2\n"


def test_a_link_that_spells_its_build_from_the_root_is_understood(base, built, command):
    web = lost(base, built)
    web.path.symlink_to(web.build(2))
    moving.clear_leftovers(base, machine=Machine.detect())
    assert (web.current, builds.numbers(web), listed("web").health) == (2, [1, 2], None)
    assert command("run", "web", "demo").stdout == "2\n"
    envs.rollback("web")
    assert os.readlink(web.path) == ".builds/web/1"  # noqa: PTH115


def test_a_link_to_something_else_is_named_and_nothing_behind_it_is_touched(base, built, tmp_path):
    web = lost(base, built)
    (tmp_path / "outside").mkdir()
    web.path.symlink_to(tmp_path / "outside")
    moving.clear_leftovers(base, machine=Machine.detect())
    assert "rollback web 2" in listed("web").health
    with pytest.raises(BrokenEnvironmentError) as caught:
        envs.path("web")
    assert "rollback web" in caught.value.hint
    with pytest.raises(NotAnEnvironmentError, match="is a link"):
        envs.purge("web")
    assert builds.numbers(web) == [1, 2]
    with pytest.raises(ZeroDivisionError), builds.pointed(web, 1):
        assert 1 / 0
    assert web.path.resolve() == tmp_path / "outside"


def test_a_first_create_that_was_killed_at_its_end_leaves_nothing_for_long(base, wheels, monkeypatch):
    def killed(*_):
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(builds, "_point", killed)
        patch.setattr(_files, "remove", lambda path: None)
        with pytest.raises(SystemExit):
            envs.create("web", "demo", wheels=wheels)
    assert (tree(base / ".builds/web"), envs.list_environments()) == (["1"], [])
    moving.clear_leftovers(base, machine=Machine.detect())
    assert tree(base) == [".locks"]


def test_the_name_of_lost_builds_is_not_free(base, built):
    with pytest.raises(EnvironmentExistsError):
        moving.require_free(lost(base, built))


def test_check_gives_an_environment_the_name_that_is_gone(base, built):
    web = lost(base, built)
    (checked,) = envs.check(repair=True)
    assert (checked.problems, web.current) == ((), 2)


def test_an_environment_whose_name_is_gone_can_be_purged(base, built):
    lost(base, built)
    envs.purge("web")
    assert tree(base) == [".locks"]


def test_of_a_purge_that_was_killed_the_rest_goes_and_a_new_one_of_that_name_stays(base, built):
    web = lost(base, built)
    builds.doom(web, [1, 2])
    assert envs.list_environments() == []
    moving.clear_leftovers(base, machine=Machine.detect())
    assert not web.builds.exists()

    lost(base, built)
    builds.doom(web, [1, 2])  # and killed before the name went
    web.path.symlink_to(".builds/web/2")
    moving.clear_leftovers(base, machine=Machine.detect())
    web.path.unlink()
    moving.clear_leftovers(base, machine=Machine.detect())
    assert builds.numbers(web) == [1, 2]


def test_a_new_one_in_the_place_of_a_lost_name_keeps_the_way_back(web, wheels):
    web.rename(web.with_name("web.off"))
    envs.create("web", "demo", wheels=wheels)
    envs.rollback("web")
    assert web.resolve().name == "1"


def test_the_way_back_from_a_build_that_was_deleted_is_the_newest_that_is_whole(base, built, command):
    web = lost(base, built)
    built("web", 3)
    builds._point(web, 3)
    _files.remove(web.build(3))
    answer = command("run", "web", "demo")
    assert "colab-env env rollback web" in answer.stderr
    envs.rollback("web")
    assert web.current == 2
    _files.remove(web.build(1))
    with pytest.raises(NoSuchEnvironmentError, match="no earlier build"):
        envs.rollback("web")


def test_a_rollback_after_a_move_lands_on_a_build_that_says_where_it_is(base, built, command, monkeypatch):
    web = lost(base, built)
    builds._point(web, 2)
    there = NamedEnvironment(name="web", base=base.with_name("elsewhere"))
    subprocess.run(["cp", "-a", base, there.base], check=True)
    monkeypatch.setenv("COLAB_ENV_BASE", str(there.base))
    envs.rollback("web")
    assert (there.current, builds.numbers(there), listed("web").health) == (1, [1, 2], None)
    assert (there.path / "bin/demo").read_text().startswith(f"#!{there.build(1)}/bin/python\n")
    assert (web.path / "bin/demo").read_text().startswith(f"#!{web.build(2)}/bin/python\n")
    assert command("run", "web", "demo").stdout == "1\n"


def test_what_was_started_by_a_printed_path_keeps_the_earlier_builds(base, built, monkeypatch):
    web = lost(base, built)
    builds._point(web, 2)
    used = {web.path: [Process(pid=1, command="demo", uid=0)]}
    monkeypatch.setattr(programs, "users", lambda _: used)
    builds.collect(web, keep=0)
    assert builds.numbers(web) == [1, 2]
    used.clear()
    builds.collect(web, keep=0)
    assert builds.numbers(web) == [2]


# bases


def test_several_bases_are_searched_and_the_first_is_built_in(tmp_path, wheels, command, monkeypatch):
    first, second = tmp_path / "first", tmp_path / "second"
    envs.create("there", "demo", wheels=wheels, base=second)
    monkeypatch.setenv("COLAB_ENV_BASE", f"{first}:{second}")
    assert envs.path("there") == second / "there"
    assert command("run", "there", "demo").stdout == "1.0\n"
    assert envs.create("here", wheels=wheels).where == first / "here"
    assert [each.name for each in envs.list_environments()] == ["here", "there"]


@pytest.mark.parametrize(
    "text",
    [
        'base = "{base}"\n',
        '# where\n\nbase = ["/nowhere", "{base}"]\n',
        'base = [\n  "/nowhere",\n  "{base}",\n]\n',
        "base='{base}' # a comment",
        'other = 1\n[table]\nbase = "/nowhere"\n[x]\n',
    ],
)
def test_a_users_configuration_file_names_the_bases(tmp_path, home, wheels, command, monkeypatch, text):
    place = tmp_path / "configured"
    (home / ".config").mkdir(exist_ok=True)
    (home / ".config/colab-env.toml").write_text(text.replace("{base}", str(place)))
    if "{base}" not in text:
        place = base_dirs.default(Machine.detect())[0]
        assert base_dirs.bases(Machine.detect())[0] == place
        return
    envs.create("web", "demo", wheels=wheels, base=place)
    assert envs.path("web") == place / "web"
    assert command("run", "web", "demo").stdout == "1.0\n"
    assert command("which", "web", "demo").stdout == f"{place}/web/bin/demo\n"


def test_the_variable_counts_more_than_the_file(home, base):
    (home / ".config").mkdir(exist_ok=True)
    (home / ".config/colab-env.toml").write_text('base = "/nowhere"\n')
    assert base_dirs.bases(Machine.detect()) == (base,)
    assert base_dirs.bases(Machine.detect(), "/elsewhere") == (Path("/elsewhere"),)


@pytest.mark.parametrize("text", ["base = 3\n", 'base = "relative"\n', "base = \n", 'base = "/"\n'])
def test_a_configuration_file_that_cannot_be_right_is_named(home, text, monkeypatch):
    monkeypatch.delenv("COLAB_ENV_BASE", raising=False)
    (home / ".config").mkdir(exist_ok=True)
    (home / ".config/colab-env.toml").write_text(text)
    with pytest.raises(UsageError, match=r"colab-env\.toml"):
        envs.list_environments()


def test_root_and_others_have_places_of_their_own(home, monkeypatch):
    machine = Machine.detect()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert base_dirs.default(machine) == (Path("/var/lib/python3/envs"),)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert base_dirs.default(machine) == (home / ".local/share/colab-env/envs", Path("/var/lib/python3/envs"))


def test_root_reads_no_configuration_of_anybody_else(home, command, monkeypatch):
    if os.geteuid():
        pytest.skip("is about root")
    path = home / ".config/colab-env.toml"
    path.parent.mkdir(exist_ok=True)
    path.write_text('base = "/srv/mine"\nkeep = 7\n')
    monkeypatch.delenv("COLAB_ENV_BASE", raising=False)
    assert base_dirs.bases(Machine.detect()) == (Path("/srv/mine"),)
    assert "/srv/mine" in command("run", "web", "demo").stderr
    os.chown(path, 65534, 65534)
    assert base_dirs.bases(Machine.detect()) == base_dirs.default(Machine.detect())
    assert base_dirs.keep(Machine.detect()) == 1
    assert "/srv/mine" not in command("run", "web", "demo").stderr


# what it was made of, and what came later


def wheel_of(wheels: Path, digit: str) -> Path:
    path = write_wheel(wheels, "demo", "1.0", code=DEMO.replace("version", digit), programs=["demo"], needs=["other"])
    return path or next(wheels.glob("demo-1.0-*"))


def test_other_wheels_of_the_same_size_and_changed_sources_are_seen(base, wheels, tmp_path, monkeypatch):
    monkeypatch.setenv("UV_OFFLINE", "1")
    envs.create("web", "demo", wheels=wheels)
    before = wheel_of(wheels, "'one'").stat().st_size
    assert envs.create("web", "demo", wheels=wheels).changed
    assert wheel_of(wheels, "'two'").stat().st_size == before
    assert envs.create("web", "demo", wheels=wheels).changed
    assert output(base / "web/bin/demo") == "two"

    project = tmp_path / "project"
    (project / "src").mkdir(parents=True)
    (project / "pyproject.toml").write_text("[project]\nname = 'x'\nversion = '1'\n")
    (project / "src/x.py").write_text("one\n")
    first = Recipe(project=project).digest(Machine.detect())
    for ignored in (".venv/lib/y.py", "build/x.py", "src/__pycache__/x.pyc", "x.egg-info/PKG-INFO", "env/pyvenv.cfg"):
        (project / ignored).parent.mkdir(parents=True, exist_ok=True)
        (project / ignored).touch()
    os.mkfifo(project / "pipe")
    assert Recipe(project=project).digest(Machine.detect()) == first
    (project / "src/x.py").write_text("two\n")
    assert Recipe(project=project).digest(Machine.detect()) != first
    one = Recipe(packages=(str(project),)).digest(Machine.detect())
    (project / "src/x.py").write_text("six\n")
    assert Recipe(packages=(str(project),)).digest(Machine.detect()) != one


@pytest.mark.parametrize("how", ["moved", "copied"])
def test_a_base_that_was_moved_or_copied_is_put_right_without_being_made_again(web, wheels, command, how, monkeypatch):
    there = web.parent.with_name("elsewhere")
    if how == "moved":
        web.parent.rename(there)
    else:
        subprocess.run(["cp", "-a", web.parent, there], check=True)
    monkeypatch.setenv("COLAB_ENV_BASE", str(there))
    assert f"it was moved here from {web.parent}/.builds/web/1" in listed("web").health
    monkeypatch.setattr(building, "build", lambda *_, **__: 1 / 0)
    assert "it was moved here" in envs.create("web", "demo", wheels=wheels).reason
    assert listed("web").health is None
    assert command("run", "web", "demo").stdout == "1.0\n"
    assert (there / "web/bin/demo").read_text().startswith(f"#!{there}/.builds/web/2/bin/python\n")
    assert envs.create("web", "demo", wheels=wheels).action == "already there"
    assert content.Survey(there / "web").differences(content.read(there / "web")) == []


def test_a_base_behind_a_link_was_not_moved(web, tmp_path):
    (tmp_path / "linked").symlink_to(web.parent)
    assert [each.health for each in envs.list_environments(base=tmp_path / "linked")] == [None]


def test_pip_comes_when_it_is_run_and_what_it_adds_is_kept_or_named(base, wheels, command, tmp_path):
    envs.create("miku", wheels=wheels)
    assert envs.history("miku")[0].packages == ()
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("demo\n")
    offline = ("--no-index", "--find-links", str(wheels), "--disable-pip-version-check", "--root-user-action=ignore")
    installed = command("run", "miku", "pip", "install", *offline, "-r", str(requirements))
    assert installed.returncode == 0, installed.stderr
    assert command("run", "miku", "demo").stdout == "1.0\n"
    assert command("run", "miku", "pip", "--version").stdout.startswith("pip ")
    assert command("run", "miku", "pipx").returncode == 127

    envs.create("miku", wheels=wheels, keep=2)
    assert command("run", "miku", "demo").stdout == "1.0\n"
    (result, receipt) = envs.create("miku", "other", wheels=wheels), NamedEnvironment(name="miku", base=base).receipt
    assert "what somebody had added is not in it: demo (" in result.notes[0]
    assert receipt.added == ()
    assert command("run", "miku", "demo").returncode == 127
    envs.rollback("miku")
    assert command("run", "miku", "demo").stdout == "1.0\n"


def test_what_repair_cannot_mend_is_said_with_the_way_out(web):
    (web / "colab-env.json").write_text("")
    (checked,) = envs.check("web", repair=True)
    assert "it stays so: " in checked.problems[-1]
    assert "→ create it again" in checked.problems[-1]


def test_pip_that_came_by_being_run_is_in_nobodys_way(web, command):
    """Its environment is made of a directory of wheels, which has no pip."""
    assert command("run", "web", "pip", "list").returncode == 0
    (web / "bin/demo").write_text("damaged")
    assert envs.check("web", deep=True, repair=True)[0].problems == ()
    envs.upgrade("web")
    assert command("run", "web", "pip", "list").returncode == 0, "it comes again"


def test_an_upgrade_installs_what_somebody_has_added(web, wheels, command):
    write_wheel(wheels, "extra", "1.0", programs=["extra"], code=DEMO, needs=["third"])
    write_wheel(wheels, "third", "1.0")
    site = next(web.glob("lib/*/site-packages"))
    for name in ("extra", "third"):
        (site / f"{name}-1.0.dist-info").mkdir()
    (site / "extra-1.0.dist-info/REQUESTED").touch()
    assert command("run", "web", "extra").returncode == 127
    for number in (2, 3):
        envs.upgrade("web")
        assert command("run", "web", "extra").stdout == "1.0\n"
        assert NamedEnvironment(name="web", base=web.parent).receipt.added == ("extra",)
        assert web.resolve().name == str(number)


def test_an_upgrade_says_what_changes_and_a_dry_run_changes_nothing(web, wheels):
    write_wheel(wheels, "demo", "2.0", code=DEMO, programs=["demo"])
    result = envs.upgrade("web", dry_run=True)
    assert result.notes == ("demo 1.0 → 2.0", "- other 1.0", "it stays as it is")
    assert (versions(web), tree(web.parent / ".builds/web")) == (["1.0"], ["1"])
    assert envs.upgrade("web").notes == ("demo 1.0 → 2.0", "- other 1.0")
    assert versions(web) == ["2.0"]


def test_all_are_upgraded_and_one_that_cannot_be_stops_no_other(web, wheels, command, tmp_path):
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("demo\n")
    (tmp_path / "included.txt").write_text("-r requirements.txt\n")
    envs.create("gone", requirements=tmp_path / "included.txt", wheels=wheels)
    envs.create("xeb", requirements=requirements, wheels=wheels)
    for name in ("requirements", "included"):
        (tmp_path / f"{name}.txt").unlink()
    (web.parent / "gone/pylock.toml").unlink()  # as a version wrote it that kept none
    envs.create("zeb", "other", wheels=wheels)
    write_wheel(wheels, "demo", "2.0", code=DEMO, programs=["demo"])
    _files.remove(next((web.parent / "xeb").glob("lib/*/site-packages/other-1.0.dist-info")))
    done = command("env", "upgrade", "--all", "--dry-run")
    assert done.returncode == 2
    assert "'gone' stays as it is: there is no file" in done.stdout
    assert versions(web) == ["1.0"]
    shown = {each["name"]: each for each in json.loads(command("env", "upgrade", "--all", "--json").stdout)}
    assert {name: (each["error"] or {}).get("error") for name, each in shown.items()} == {
        "gone": "UsageError",
        "web": None,
        "xeb": None,
        "zeb": None,
    }
    assert versions(web) == ["2.0"]
    assert versions(web.parent / "xeb") == ["2.0"]
    assert "is gone: what it said is taken" in shown["xeb"]["result"]["notes"][0]
    assert envs.upgrade("xeb").changed
    assert shown["zeb"]["result"]["notes"] == ["no version has changed", "it stays as it is"]
    assert [each.number for each in envs.history("zeb")] == [1]
    for words in ((), ("web", "--all"), ("--all", "--python", "3.12")):
        assert command("env", "upgrade", *words).returncode == 2


def test_check_finds_what_is_damaged_and_repairs_it(web, wheels, command):
    envs.create("other", "other", wheels=wheels)
    assert [each.problems for each in envs.check(deep=True)] == [(), ()]
    module = next(web.glob("lib/*/site-packages/demo.py"))
    text = module.read_text()
    module.write_text(text.replace("print", "write"))
    assert envs.check("web")[0].problems == ()
    (found,) = envs.check("web", deep=True)
    assert ["demo.py has changed" in problem for problem in found.problems] == [True]
    answer = command("env", "check", "--deep")
    assert answer.returncode == 28
    assert "✓ other" in answer.stdout
    assert "1 problem\n" in answer.stdout
    assert command("env", "check", "web", "--json").returncode == 0
    (repaired,) = envs.check("web", deep=True, repair=True)
    assert repaired.problems == ()
    assert versions(web) == ["1.0"]


def test_a_repair_keeps_the_versions_and_an_upgrade_comes_only_where_they_cannot_be_had(web, wheels):
    write_wheel(wheels, "demo", "2.0", code=DEMO, programs=["demo"])
    next(web.glob("lib/*/site-packages/demo.py")).unlink()
    (repaired,) = envs.check("web", deep=True, repair=True)
    assert (repaired.problems, versions(web)) == ((), ["1.0"])
    (web / "pylock.toml").write_text((web / "pylock.toml").read_text().replace("1.0", "3.0"))
    (repaired,) = envs.check("web", deep=True, repair=True)
    assert (repaired.problems, versions(web)) == ((), ["2.0"])


def test_a_repair_on_another_python_keeps_the_versions_and_locks_for_that(base, wheels, pythons, monkeypatch):
    own = Machine.detect().machine_python
    other = next((each for each in pythons if not own.resolve().name.endswith(each.short_version)), None)
    if other is None:
        pytest.skip("one Python here")
    web = envs.create("web", "demo", wheels=wheels).where
    write_wheel(wheels, "demo", "2.0", code=DEMO, programs=["demo"])
    (web / "bin/python").unlink()
    monkeypatch.setattr(building, "choose_python", lambda *_, **__: other)
    (repaired,) = envs.check("web", deep=True, repair=True)
    assert (repaired.problems, versions(web)) == ((), ["1.0"])
    assert f'requires-python = "=={other.short_version}.*"' in (web / "pylock.toml").read_text()


def test_a_repair_of_a_base_that_was_moved_installs_nothing(web, monkeypatch):
    there = web.parent.rename(web.parent.with_name("elsewhere"))
    monkeypatch.setattr(building, "build", lambda *_, **__: 1 / 0)
    (repaired,) = envs.check("web", repair=True, base=there)
    assert repaired.problems == ()
    assert output(there / "web/bin/demo") == "1.0"


@pytest.mark.parametrize("seed", range(3))
def test_whatever_is_changed_in_a_package_is_found(web, seed):
    chance = random.Random(seed)
    site = next(web.resolve().glob("lib/*/site-packages"))
    path = chance.choice([path for path in sorted(site.rglob("*")) if path.is_file() and path.suffix != ".pyc"])
    path.write_bytes(path.read_bytes() + b" ") if chance.random() < 0.5 else path.unlink()
    (found,) = envs.check("web", deep=True)
    assert path.name in "".join(found.problems) or path.parent.name.removesuffix(".dist-info") in "".join(
        found.problems
    )


def test_what_was_added_is_said_by_check(web):
    site = next(web.glob("lib/*/site-packages"))
    (site / "extra-1.0.dist-info").mkdir()
    (site / "other-1.0.dist-info").rename(site / "other-1.1.dist-info")
    assert envs.check("web")[0].added == ("extra 1.0", "other 1.0 → 1.1")


# environments for everybody


@pytest.fixture
def systems(base, monkeypatch):
    """The base as the one in which root makes environments for everybody."""
    monkeypatch.setattr(base_dirs, "is_systems", lambda each: each == base)
    return base


def test_everybody_may_read_what_root_makes_for_everybody_whatever_the_umask(systems, wheels, monkeypatch):
    monkeypatch.setattr(_files, "closed_to_others", lambda path: None)
    before = os.umask(0o077)
    try:
        envs.create("web", "demo", wheels=wheels)
        envs.upgrade("web")
        assert os.umask(0o077) == 0o077
    finally:
        os.umask(before)
    found = [systems, *(path for path in systems.rglob("*") if not path.is_symlink() and path.parent.name != ".locks")]
    closed = [path for path in found if path.stat().st_mode & 0o005 != (0o005 if path.is_dir() else 0o004)]
    assert [path for path in closed if not path.stat().st_mode & 0o100 or path.is_dir()] == []
    assert [path for path in found if path.stat().st_mode & 0o002] == []
    assert (systems / "web/bin/demo").stat().st_mode & 0o777 == 0o755
    assert len(found) > 20


def test_what_keeps_others_from_a_program_is_named(tmp_path):
    program = tmp_path / "a/b/python"
    program.parent.mkdir(parents=True)
    program.touch(0o755)
    (tmp_path / "link").symlink_to(program)
    for closed in (tmp_path / "a/b", tmp_path / "a"):
        closed.chmod(0o700)
    above = _files.closed_to_others(tmp_path)
    assert _files.closed_to_others(tmp_path / "link") == (above or tmp_path / "a")


def test_a_python_that_others_cannot_reach_makes_nothing_for_everybody(systems, wheels, monkeypatch, pythons):
    machine = Machine.detect()
    monkeypatch.setattr(_files, "closed_to_others", lambda path: Path("/root"))
    for asked in ({"python": str(pythons[0].path)}, {"wheels": wheels}):
        with pytest.raises(NoSuchPythonError, match=r"nobody but root .* others may not enter /root"):
            envs.create("web", **asked)
    assert not systems.exists() or tree(systems) == [".locks"]

    taken = []
    monkeypatch.setattr(uv, "find", lambda machine: Path("uv"))
    monkeypatch.setattr(uv, "install_python", lambda *_, machine, **__: taken.append(machine) or pythons[0])
    building.choose_python(Recipe(), machine=machine, everybodys=True)
    assert [each.uv_pythons for each in taken] == [base_dirs.PYTHONS]

    monkeypatch.setattr(_files, "closed_to_others", lambda path: None if path == pythons[0].path else Path("/root"))
    asked = Recipe(python=f"=={pythons[0].version}")
    assert building.choose_python(asked, machine=machine, everybodys=True).version == pythons[0].version


def test_what_an_account_may_not_read_is_said(web, monkeypatch, command):
    monkeypatch.setattr(os, "access", lambda path, mode: path != web.parent / ".builds")
    assert listed("web").health == f"this account may not read {web.parent}/.builds"


def test_the_list_says_whose_an_environment_is(web):
    own = listed("web")
    assert own.owner == account(os.geteuid())
    assert ", of" not in repr(own)
    assert "healthy, of somebody" in repr(replace(own, owner="somebody"))


# wheels on the disk, errors


def test_environments_share_no_file_that_somebody_may_change(base, tmp_path, wheels):
    write_wheel(wheels, "large", "1.0", code=f"data = '{'x' * 1_000_000}'\n")
    one, other = (envs.create(name, "large", wheels=wheels).where for name in ("one", "other"))
    inodes = {next(place.glob("lib/*/site-packages/large.py")).stat().st_ino for place in (one, other)}
    assert len(inodes) == 2


def compiled(environment: Path) -> dict[str, bytes]:
    site = next(environment.glob("lib/*/site-packages"))
    return {path.name: path.read_bytes() for path in site.rglob("*.pyc")}


def test_what_one_build_has_compiled_the_next_ones_copy(base, wheels, monkeypatch):
    before = compiled(envs.create("first", "demo", wheels=wheels).where)
    assert {name.partition(".")[0] for name in before} == {"demo", "other"}
    monkeypatch.setattr(bytecode, "_compile", lambda *_, **__: 1 / 0)
    second = envs.create("second", "demo", wheels=wheels).where
    assert compiled(second) == before
    assert [each.problems for each in envs.check(deep=True)] == [(), ()]
    assert output(second / "bin/python", "-c", "import demo; print(demo.__cached__)").startswith(f"{second}/")
    assert compiled(second) == before, "Python has taken them"


def test_compiled_files_that_are_damaged_in_the_store_are_made_again(base, wheels):
    first = envs.create("first", "demo", wheels=wheels).where
    headers = {name: content[:16] for name, content in compiled(first).items()}
    store = Machine.detect().data / "compiled"
    for path in store.glob("*/*/0"):
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    for number, damage in enumerate((lambda _: None, lambda path: path.unlink(), lambda path: path.write_text("{"))):
        for path in store.glob("*/*/*.json") if number else ():
            damage(path)
        made = envs.create(f"e{number}", "demo", wheels=wheels).where
        assert output(made / "bin/demo") == "1.0"
        assert {name: content[:16] for name, content in compiled(made).items()} == headers
    assert [each.problems for each in envs.check(deep=True)] == [()] * 4


def test_compiled_files_that_nothing_has_taken_for_long_go(base, wheels):
    envs.create("first", "demo", wheels=wheels)
    entries = list((Machine.detect().data / "compiled").glob("*/*"))
    assert len(entries) == 2
    os.utime(entries[0], (0, 0))
    envs.prune()
    assert list((Machine.detect().data / "compiled").glob("*/*")) == entries[1:]


def test_every_error_has_an_exit_code_of_its_own():
    def classes(root):
        for each in root.__subclasses__():
            yield each
            yield from classes(each)

    codes = [each.exit_code for each in classes(ColabEnvError) if each.__module__ == "colab_env.errors"]
    assert len(codes) == len(set(codes))


def test_the_processes_of_a_base_that_is_a_link_are_found(web, tmp_path):
    (tmp_path / "linked").symlink_to(web.parent)
    process = start_python_in(web, "its Python")
    try:
        found = envs.list_environments(base=tmp_path / "linked")
        assert [each.pid for each in found[0].processes] == [process.pid]
    finally:
        process.kill()
        process.communicate()


def test_users_of_nothing_are_none(tmp_path):
    assert programs.users([tmp_path]) == {}
