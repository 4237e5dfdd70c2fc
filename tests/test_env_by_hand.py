"""What somebody has put into a named environment with pip: the next build has it as it was, from where it came."""

# ruff: noqa: F811  the fixtures are imported
from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from env_fixtures import Command, base, command, stable, web, wheels  # noqa: F401
from small_wheels import write_wheel

from colab_env import env_files, envs
from colab_env.errors import ColabEnvError, UsageError
from colab_env.machine import Machine
from colab_env.named_env import additions, building, exporting, inventory, locking, repacking
from colab_env.named_env.inventory import NamedEnvironment
from colab_env.named_env.recipe import without_secrets

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

BACKEND = """
import zipfile

INFO = "app-1.0.dist-info"

def wheel(directory, files):
    with zipfile.ZipFile(directory + "/app-1.0-py3-none-any.whl", "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
        archive.writestr(INFO + "/METADATA", "Metadata-Version: 2.1\\nName: app\\nVersion: 1.0\\n")
        archive.writestr(INFO + "/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        archive.writestr(INFO + "/RECORD", "".join(name + ",,\\n" for name in archive.namelist()))
    return "app-1.0-py3-none-any.whl"

def build_wheel(directory, config_settings=None, metadata_directory=None):
    return wheel(directory, {"app.py": open("app.py").read()})

def build_editable(directory, config_settings=None, metadata_directory=None):
    import os
    return wheel(directory, {"app.pth": os.getcwd() + "\\n"})
"""


def install(path: Path, *words: str) -> None:
    """Do what somebody does with pip, without waiting for pip to come."""
    building._installer(Machine.detect(), path).install(["--no-index", *words], python=path / "bin/python")


def packages(name: str) -> set[str]:
    return {inventory.name_of(package) for package in envs.history(name)[0].packages}


def dist_info(path: Path, name: str) -> Path:
    return next(path.glob(f"lib/python3*/site-packages/{name}-*.dist-info"))


def test_a_package_that_spells_its_name_otherwise_is_the_same_one(web):
    info = dist_info(web, "other")
    info.rename(info.with_name("Other-1.1.dist-info"))
    (checked,) = envs.check("web")
    assert checked.problems == ()
    assert checked.added == ("Other 1.0 → 1.1",)
    assert (
        inventory.version_changes(["PyYAML-6.0.2", "zope.interface-7.1"], ["pyyaml-6.0.2", "zope_interface-7.1"]) == []
    )
    shutil.rmtree(info.with_name("Other-1.1.dist-info"))
    assert envs.check("web")[0].problems == ("packages are missing: other-1.0",)


def test_what_came_as_an_extra_comes_again(web, wheels):
    write_wheel(wheels, "lib", "1.0", needs=["Third_One; python_version > '3'", "more; extra == 'all'"])
    write_wheel(wheels, "third_one", "1.0")
    write_wheel(wheels, "more", "1.0", needs=["most"])
    write_wheel(wheels, "most", "1.0")
    install(web, "--find-links", str(wheels), "lib[all]")
    for name in ("third_one", "more", "most"):
        (dist_info(web, name) / "REQUESTED").unlink()  # pip marks what was asked for by name, uv everything
    envs.upgrade("web")
    assert packages("web") == {"demo", "other", "lib", "third-one", "more", "most"}
    receipt = NamedEnvironment(name="web", base=web.parent).receipt
    assert receipt is not None
    assert receipt.added == ("lib", "more")


@pytest.mark.parametrize(
    ("origin", "requirement"),
    [
        (
            {
                "url": "https://example.org/mono",
                "subdirectory": "sub",
                "vcs_info": {"vcs": "git", "requested_revision": "v1", "commit_id": "beb355f"},
            },
            "other @ git+https://example.org/mono@v1#subdirectory=sub",
        ),
        (
            {"url": "ssh://git@example.org/mono.git", "vcs_info": {"vcs": "git", "commit_id": "beb355f"}},
            "other @ git+ssh://git@example.org/mono.git",
        ),
        (
            {"url": "https://me:token@example.org/other.zip?key=1", "subdirectory": "sub", "archive_info": {}},
            "other @ https://example.org/other.zip#subdirectory=sub",
        ),
        ({"url": "file:///srv/other", "dir_info": {"editable": True}}, "other @ file:///srv/other"),
        ({"url": 3}, "other"),
        ([], "other"),
    ],
)
def test_what_came_from_an_address_is_asked_for_there_again(web, origin, requirement):
    environment = NamedEnvironment(name="web", base=web.parent)
    receipt = environment.receipt
    assert receipt is not None
    object.__setattr__(receipt, "packages", ("demo-1.0",))
    (dist_info(web, "other") / "direct_url.json").write_text(json.dumps(origin))
    (dist_info(web, "other") / "REQUESTED").write_text("")
    assert additions.added(web, receipt) == (requirement,)


@pytest.mark.parametrize("details", [{"vcs_info": {"vcs": "git", "commit_id": "beb355f"}}, {"archive_info": {}}])
def test_a_lock_says_in_which_directory_of_its_source_a_package_is(details):
    files = repacking.address_files({"subdirectory": "sub", **details}, "https://example.org/mono.zip")
    assert files is not None
    package = locking.LockedPackage(name="other", version="1.0", files=files)
    assert package.requirement.endswith("#subdirectory=sub")
    (again,) = locking.read(locking.text([package], python="3.12"), path=Path("pylock.toml"))
    assert again.requirement == package.requirement


@pytest.mark.parametrize(
    ("address", "recorded"),
    [
        ("a @ git+ssh://git@example.org/a.git@v1", "a @ git+ssh://git@example.org/a.git@v1"),
        ("a @ git+ssh://me:secret@example.org/a.git", "a @ git+ssh://me@example.org/a.git"),
        ("a @ git+https://me:secret@example.org/a.git@v1", "a @ git+https://example.org/a.git@v1"),
        ("a @ git+https://token@example.org/a.git", "a @ git+https://example.org/a.git"),
    ],
)
def test_the_account_of_ssh_stays_in_an_address_and_no_password(address, recorded):
    assert without_secrets(address) == recorded


def test_what_is_installed_in_place_stays_so(base, wheels, tmp_path):
    project = tmp_path / "app"
    project.mkdir()
    (project / "pyproject.toml").write_text(
        '[project]\nname = "app"\nversion = "1.0"\n'
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )
    (project / "backend.py").write_text(BACKEND)
    (project / "app.py").write_text("")
    web = envs.create("web", "demo", wheels=wheels).where
    install(web, "--editable", str(project))
    (web / "bin/demo").write_text("damaged")
    write_wheel(wheels, "third", "1.0")
    changes = [
        lambda: envs.upgrade("web"),
        lambda: envs.upgrade("web"),
        lambda: envs.add("web", "third"),
        lambda: envs.check("web", deep=True, repair=True),
    ]
    for change in changes:
        change()
        assert inventory.packages(web)[0] == "app-1.0"
        assert next(web.glob("lib/python3*/site-packages/app.pth")).read_text() == f"{project}\n"
        assert envs.check("web", deep=True)[0].problems == ()
        (web / "bin/demo").write_text("damaged")
    with pytest.raises(UsageError, match="'app' is installed in place, from"):
        env_files.export("web", tmp_path / "web.env.zip")


def test_pip_comes_after_a_run_that_was_killed_while_it_came(web, command):
    assert command("run", "web", "pip", "--version").returncode == 0
    for program in (web / "bin").glob("pip*"):
        program.unlink()
    (dist_info(web, "pip") / "RECORD").unlink()  # it is written last
    assert command("run", "web", "pip", "--version").stdout.startswith("pip ")


def test_what_came_from_a_file_that_is_gone_is_taken_from_what_is_installed(web, wheels, tmp_path, monkeypatch):
    wheel = write_wheel(tmp_path / "downloads", "app", "1.0", code="answer = 42\n")
    install(web, str(wheel))
    exported = env_files.export("web", tmp_path / "web.env.zip").file
    wheel.unlink()
    write_wheel(wheels, "third", "1.0")
    notes = envs.upgrade("web").notes
    assert any("app-1.0-py3-none-any.whl is gone: what is installed is taken" in note for note in notes)
    changes = [
        lambda: envs.add("web", "third"),
        lambda: envs.check("web", deep=True, repair=True),
        lambda: envs.upgrade("web"),
    ]
    for change in changes:
        (web / "bin/demo").write_text("damaged")
        change()
        assert "app" in packages("web")
        assert next(web.glob("lib/python3*/site-packages/app.py")).read_text().endswith("answer = 42\n")
    monkeypatch.setenv("COLAB_ENV_BASE", str(tmp_path / "elsewhere"))
    env_files.import_environment(exported)
    assert packages("web") == {"demo", "other", "app"}


def test_an_import_takes_what_was_exported_and_not_what_is_now_where_that_came_from(web, tmp_path):
    wheel = write_wheel(tmp_path, "app", "1.0", code="answer = 42\n")
    install(web, str(wheel))
    exported = env_files.export("web", tmp_path / "web.env.zip").file
    write_wheel(tmp_path, "app", "1.0", code="answer = 'another'\n")
    copy = env_files.import_environment(exported, name="copy").where
    assert next(copy.glob("lib/python3*/site-packages/app.py")).read_text().endswith("answer = 42\n")


def test_what_is_damaged_is_not_taken_for_what_came_from_a_file_that_is_gone(web, tmp_path):
    wheel = write_wheel(tmp_path, "app", "1.0", code="answer = 42\n")
    install(web, str(wheel))
    wheel.unlink()
    next(web.glob("lib/python3*/site-packages/app.py")).write_text("damaged")
    with pytest.raises(ColabEnvError):
        envs.upgrade("web")


def test_another_version_of_what_was_added_takes_its_place(base, wheels, tmp_path):
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("other\n")
    for version in ("1.0", "2.0"):
        write_wheel(wheels, "app", version)
    envs.create("web", requirements=requirements, wheels=wheels)
    for version in ("1.0", "2.0"):
        envs.add("web", f"app=={version}")
    envs.upgrade("web")
    assert "app-2.0" in envs.history("web")[0].packages
    receipt = NamedEnvironment(name="web", base=base).receipt
    assert receipt is not None
    assert receipt.added == ("app==2.0",)


def test_a_file_that_was_added_by_its_path_is_known_by_its_name_in_an_export(base, wheels, tmp_path):
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("other\n")
    wheel = write_wheel(tmp_path, "app", "1.0")
    envs.create("web", requirements=requirements, wheels=wheels)
    envs.add("web", str(wheel))
    exported = env_files.export("web", tmp_path / "web.env.zip").file
    wheel.unlink()
    env_files.import_environment(exported, name="copy")
    envs.upgrade("web")
    assert packages("copy") == packages("web") == {"other", "app"}


def test_an_export_with_no_number_of_builds_is_refused():
    with pytest.raises(ValueError, match="-1 is not a number of builds"):
        exporting.Exported(version=1, name="web", python="3.12.1", keep=-1)
