"""The lock that each build keeps, and what is made of it: exports, imports, and upgrades whose sources are gone."""

# ruff: noqa: F811  the fixtures are imported
from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import warnings
import zipfile
from pathlib import Path

import pytest
from env_fixtures import DEMO, base, command, stable, web, wheels  # noqa: F401
from index_server import IndexServer
from small_wheels import write_archive, write_wheel

from colab_env import content, env_files, envs, toml_text, uv
from colab_env.errors import (
    CommandError,
    EnvironmentInUseError,
    HashMismatchError,
    NetworkError,
    NotWritableError,
    ProjectFileError,
    UsageError,
)
from colab_env.machine import Machine
from colab_env.named_env import exporting, locking, repacking

BACKEND = """
import zipfile
def build_wheel(directory, settings=None, metadata=None):
    name = "app-1-py3-none-any.whl"
    with zipfile.ZipFile(f"{directory}/{name}", "w") as archive:
        archive.writestr("app/__init__.py", "")
        archive.writestr("app-1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: app\\nVersion: 1\\nRequires-Dist: demo\\n")
        archive.writestr("app-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        archive.writestr("app-1.dist-info/RECORD", "app/__init__.py,sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,0\\n")
    return name
"""
UV = uv.find(Machine.detect()) or "uv"


def lock_of(directory: Path) -> dict[str, dict]:
    return {each["name"]: each for each in toml_text.parsed((directory / "pylock.toml").read_text())["packages"]}


def output(program: Path, *words: str) -> str:
    return subprocess.run([program, *words], check=True, capture_output=True, text=True).stdout.strip()


def test_a_build_keeps_a_lock_and_the_wheels_that_no_index_has(web, wheels):
    lock = lock_of(web)
    assert sorted(lock) == ["demo", "other"]
    (wheel,) = lock["demo"]["wheels"]
    assert wheel["path"] == "colab-env-sources/demo-1.0-py3-none-any.whl"
    assert (web / wheel["path"]).read_bytes() == (wheels / "demo-1.0-py3-none-any.whl").read_bytes()
    assert envs.check("web", deep=True)[0].problems == ()


def test_an_upgrade_does_without_sources_that_are_gone(web, wheels):
    before = (web / "pylock.toml").read_text()
    shutil.rmtree(wheels)
    result = envs.upgrade("web")
    assert result.notes[0].endswith("is gone: the lock of the current build is taken")
    assert output(web / "bin/demo") == "1.0"
    assert (web / "pylock.toml").read_text() == before
    assert envs.history("web")[0].number == 2


def test_a_repair_does_without_sources_that_are_gone(web, wheels):
    shutil.rmtree(wheels)
    next(web.glob("lib/*/site-packages/demo.py")).write_text("damaged")
    (checked,) = envs.check("web", deep=True, repair=True)
    assert checked.problems == ()
    assert output(web / "bin/demo") == "1.0"


def test_a_repacked_wheel_is_what_was_installed(base, tmp_path):
    info = "odd-1.0.dist-info"
    files = {
        "odd/__init__.py": "def main(): print('odd')\n",
        "odd-1.0.data/scripts/plain": "#!python\nprint('plain')\n",
        "odd-1.0.data/data/share/odd.txt": "data\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: odd\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py2-none-any\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": "[console_scripts]\nodd = odd:main\n",
    }
    write_archive(tmp_path / "w/odd-1.0-py2.py3-none-any.whl", files, info)
    directory = envs.create("one", "odd", wheels=tmp_path / "w").where
    survey = content.Survey(directory)
    (info_path,) = survey.records
    name, wheel = repacking.wheel(directory, info_path, survey.records[info_path])
    assert name == "odd-1.0-py2.py3-none-any.whl"
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / name).write_bytes(wheel)
    other = envs.create("two", "odd", wheels=tmp_path / "again").where
    assert output(other / "bin/odd") == "odd"
    assert output(other / "bin/plain") == "plain"
    assert (other / "share/odd.txt").read_text() == "data\n"
    hashes = [lock_of(each)["odd"]["tool"]["colab-env"]["content"] for each in (directory, other)]
    assert hashes[0] == hashes[1]


@pytest.fixture
def server(wheels, tmp_path, monkeypatch):
    """An index with the packages `demo`, `other` and `more`."""
    write_wheel(wheels, "more", "3.0", code="from demo import main\n", needs=["demo"])
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))
    for variable in ("UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"):
        monkeypatch.delenv(variable, raising=False)
    with IndexServer(wheels) as server:
        monkeypatch.setenv("UV_DEFAULT_INDEX", server.url)
        monkeypatch.setenv("PIP_INDEX_URL", server.url)
        yield server


def test_what_an_index_has_is_locked_by_its_address_and_hash(base, server, wheels):
    lock = lock_of(envs.create("web", "demo").where)
    assert sorted(lock) == ["demo", "other"]
    (wheel,) = lock["demo"]["wheels"]
    assert wheel["url"].endswith("demo-1.0-py3-none-any.whl")
    assert wheel["hashes"]["sha256"] == hashlib.sha256((wheels / "demo-1.0-py3-none-any.whl").read_bytes()).hexdigest()
    assert not (envs.path("web") / "colab-env-sources").exists()


def test_an_import_takes_from_an_index_what_was_locked_and_nothing_newer(base, server, wheels, tmp_path):
    project = tmp_path / "app"
    (project / "app").mkdir(parents=True)
    (project / "app/__init__.py").write_text("")
    (project / "pyproject.toml").write_text(
        '[project]\nname = "app"\nversion = "1"\ndependencies = ["demo"]\n'
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )
    (project / "backend.py").write_text(BACKEND)
    envs.create("web", project=project)
    file = env_files.export("web", tmp_path / "web.env.zip").file
    shutil.rmtree(project)
    write_wheel(wheels, "demo", "2.0", code=DEMO, programs=["demo"], needs=["other"])
    place = env_files.import_environment(file, name="copy").where
    assert output(place / "bin/demo") == "1.0"
    assert output(place / "bin/python", "-c", "import app; print(app.__name__)") == "app"
    write_wheel(wheels, "demo", "1.0", code="print('another')", programs=["demo"], needs=["other"])
    shutil.rmtree(tmp_path / "uv-cache")
    with pytest.raises(HashMismatchError, match="demo"):
        env_files.import_environment(file, name="third")


def test_an_export_holds_what_came_from_an_address_of_its_own(base, server, wheels, tmp_path):
    url = lock_of(envs.create("web", "demo").where)["demo"]["wheels"][0]["url"]
    locked = lock_of(envs.create("direct", f"demo @ {url}").where)["demo"]
    assert locked["archive"]["url"] == url
    result = env_files.export("direct", tmp_path / "direct.env.zip")
    assert result.kept == 1
    (wheels / "demo-1.0-py3-none-any.whl").unlink()
    shutil.rmtree(tmp_path / "uv-cache")
    place = env_files.import_environment(result.file, name="copy").where
    assert output(place / "bin/demo") == "1.0"
    assert lock_of(place)["demo"]["tool"]["colab-env"]["content"] == locked["tool"]["colab-env"]["content"]


def test_an_address_that_is_gone_is_not_the_index(base, server):
    with pytest.raises(NetworkError, match="demo cannot be fetched from its address"):
        envs.create("direct", "demo @ http://127.0.0.1:9/demo-1.0-py3-none-any.whl")


def test_what_was_added_stays_asked_for_after_an_import(base, server, tmp_path):
    envs.create("web", "other")
    subprocess.run([UV, "pip", "install", "-q", "--python", envs.path("web") / "bin/python", "more"], check=True)
    file = env_files.export("web", tmp_path / "web.env.zip").file
    place = env_files.import_environment(file, name="copy").where
    assert sorted(lock_of(place)) == ["demo", "more", "other"]
    envs.upgrade("copy")
    assert sorted(lock_of(place)) == ["demo", "more", "other"]


def test_what_somebody_has_added_stays_at_its_version_when_more_is_added(base, server, wheels):
    place = envs.create("web", "other").where
    subprocess.run([UV, "pip", "install", "-q", "--python", place / "bin/python", "more"], check=True)
    write_wheel(wheels, "more", "4.0")
    write_wheel(wheels, "third", "1.0")
    shutil.rmtree(os.environ["UV_CACHE_DIR"])
    assert envs.add("web", "third").notes == ("+ third 1.0",)
    envs.upgrade("web")
    assert lock_of(place)["more"]["version"] == "4.0", "an upgrade takes what is newer"


def test_an_environment_of_a_directory_of_wheels_is_mended_with_what_came_from_an_index(base, server, tmp_path):
    write_wheel(tmp_path / "house", "shop", "1.0", code="def main(): print(version)", programs=["shop"])
    place = envs.create("shop", "shop", wheels=tmp_path / "house").where
    subprocess.run([UV, "pip", "install", "-q", "--python", place / "bin/python", "more"], check=True)
    next(place.glob("lib/*/site-packages/shop.py")).write_text("damaged")
    assert envs.check("shop", deep=True, repair=True)[0].problems == ()
    envs.upgrade("shop")
    assert sorted(lock_of(place)) == ["demo", "more", "other", "shop"]


def test_a_build_that_has_lost_its_number_is_found_and_mended(web):
    (web / "colab-env-build").unlink()
    assert envs.check("web", deep=True)[0].problems == ("colab-env-build has changed",)
    assert envs.check("web", deep=True, repair=True)[0].problems == ()


# exports


@pytest.fixture
def exported(web, tmp_path) -> Path:
    return env_files.export("web", tmp_path / "web.env.zip").file


def test_an_export_is_made_again_on_another_root_without_the_sources(web, wheels, exported, tmp_path, monkeypatch):
    wanted = (web / "pylock.toml").read_bytes()
    shutil.rmtree(wheels)
    monkeypatch.setenv("COLAB_ENV_BASE", str(tmp_path / "other"))
    result = env_files.import_environment(exported)
    assert (result.step, result.action) == ("import", "done")
    assert output(result.where / "bin/demo") == "1.0"
    assert (result.where / "pylock.toml").read_bytes() == wanted
    assert envs.check("web", deep=True)[0].problems == ()
    assert env_files.import_environment(exported).action == "already there"
    again = env_files.export("web", tmp_path / "again.env.zip").file
    assert again.read_bytes() == exported.read_bytes()


def test_an_imported_environment_is_upgraded_to_what_its_lock_says(web, wheels, exported):
    shutil.rmtree(wheels)
    env_files.import_environment(exported, name="web2")
    result = envs.upgrade("web2")
    assert "it was imported, and its lock stays" in result.notes[0]
    assert output(envs.which("web2", "demo")) == "1.0"


def test_an_export_holds_what_somebody_has_added(web, wheels, tmp_path):
    added = write_wheel(tmp_path / "more", "more", "3.0")
    subprocess.run([UV, "pip", "install", "-q", "--python", web / "bin/python", added], check=True)
    result = env_files.export("web", tmp_path / "x.env.zip")
    assert (result.packages, result.kept) == (3, 3)
    place = env_files.import_environment(result.file, name="copy").where
    assert output(place / "bin/python", "-c", "import more; print(more.version)") == "3.0"
    assert "more" not in lock_of(web)  # what was made is not rewritten


def test_an_import_with_another_wheel_inside_is_refused_and_leaves_nothing(exported, tmp_path, wheels):
    false = write_wheel(tmp_path / "false", "demo", "1.0", code="def main(): print('false')", programs=["demo"])
    forged = tmp_path / "forged.env.zip"
    with zipfile.ZipFile(exported) as archive, zipfile.ZipFile(forged, "w") as other:
        for name in archive.namelist():
            other.writestr(name, false.read_bytes() if "demo-1.0" in name else archive.read(name))
    with pytest.raises(HashMismatchError, match="demo"):
        env_files.import_environment(forged, name="forged")
    assert [each.name for each in envs.list_environments()] == ["web"]


@pytest.mark.parametrize(
    ("name", "content"),
    [("../evil.whl", b"x"), ("colab-env-sources/../../evil.whl", b"x"), ("more.txt", b"x"), ("pylock.toml", b"x")],
)
def test_an_archive_with_anything_else_in_it_is_refused(exported, tmp_path, name, content):
    with zipfile.ZipFile(exported, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a name that is there twice
        archive.writestr(name, content)
    with pytest.raises(ProjectFileError, match="is not an exported environment"):
        env_files.import_environment(exported, name="other")
    assert not list(tmp_path.rglob("evil.whl"))


def test_what_is_no_export_is_refused(tmp_path):
    with pytest.raises(UsageError, match="there is no file"):
        env_files.import_environment(tmp_path / "none.env.zip")
    (tmp_path / "text").write_text("no archive")
    with pytest.raises(ProjectFileError, match="is not an exported environment"):
        env_files.import_environment(tmp_path / "text")


# manifests


def test_an_export_goes_where_a_link_leads_and_replaces_no_pipe(web, tmp_path):
    (tmp_path / "link").symlink_to("target")
    for _ in range(2):
        env_files.export("web", tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert zipfile.is_zipfile(tmp_path / "target")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "to_pipe").symlink_to("pipe")
    (tmp_path / "folder").mkdir()
    for name, kind in {"pipe": "a pipe", "to_pipe": "a pipe", "folder": "a directory"}.items():
        with pytest.raises(NotWritableError, match=f"it is {kind}, not a file"):
            env_files.export("web", tmp_path / name)
    assert (tmp_path / "pipe").is_fifo()


def test_a_manifest_makes_a_machines_environments(base, wheels):
    manifest = wheels.parent / "envs.toml"
    manifest.write_text('[environments.web]\npackages = ["demo"]\nwheels = "wheels"\n[environments.plain]\nkeep = 2\n')
    envs.create("old")
    planned = env_files.sync(manifest, prune=True, dry_run=True)
    assert [(each.name, each.action) for each in planned] == [("web", "create"), ("plain", "create"), ("old", "purge")]
    assert [each.name for each in envs.list_environments()] == ["old"]
    assert [each.error for each in env_files.sync(manifest, prune=True)] == [None, None, None]
    assert [each.name for each in envs.list_environments()] == ["plain", "web"]
    assert {each.action for each in env_files.sync(manifest, prune=True)} == {"leave"}
    manifest.write_text('[environments.web]\npackages = ["nonsense"]\nwheels = "wheels"\n[environments.plain]\n')
    failed, left = env_files.sync(manifest)
    assert (failed.action, type(failed.error), left.action) == ("change", CommandError, "leave")
    assert output(envs.which("web", "demo")) == "1.0"


def test_paths_of_a_manifest_start_at_it_or_at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    text = 'packages = ["./pk/lib[x]", "six"]\npython = "bin/python"\nproject = "~/x"\n'
    (tmp_path / "envs.toml").write_text(f"[environments.web]\n{text}")
    (entry,) = exporting.read_manifest(tmp_path / "envs.toml")
    assert entry.options["packages"] == [f"{tmp_path}/pk/lib[x]", "six"]
    assert (entry.options["python"], entry.options["project"]) == (f"{tmp_path}/bin/python", tmp_path / "home/x")


def test_a_plan_names_what_goes_and_what_is_in_use(web, wheels):
    manifest = wheels.parent / "envs.toml"
    envs.add("web", "other")
    manifest.write_text('[environments.web]\npackages = ["demo"]\nwheels = "wheels"\n')
    assert "what had been added goes: other" in env_files.sync(manifest, dry_run=True)[0].reason
    assert any("not in it: other" in note for note in envs.create("web", "demo", wheels=wheels).notes)
    manifest.write_text("[environments]\n")
    code = "print('runs', flush=True); input()"
    with subprocess.Popen([web / "bin/python", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"runs\n"  # before, /proc may not name its words yet
        try:
            (planned,) = env_files.sync(manifest, prune=True, dry_run=True)
        finally:
            running.communicate(b"\n")
    assert isinstance(planned.error, EnvironmentInUseError)


def test_a_manifest_may_name_an_export(web, exported, tmp_path):
    manifest = tmp_path / "envs.toml"
    manifest.write_text('[environments.copy]\nexport = "web.env.zip"\n')
    (synced,) = env_files.sync(manifest)
    assert synced.action == "create"
    assert output(envs.which("copy", "demo")) == "1.0"
    assert env_files.sync(manifest, dry_run=True)[0].action == "leave"


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("", "it has no table"),
        ("[environments.web", "line 1"),
        ("[environments.web]\nnonsense = 1", "nonsense is not one of python"),
        ("[environments.web]\nkernel = 1", "kernel takes true or false"),
        ("[environments.web]\npackages = [1]", "packages takes a list of texts"),
        ("[environments]\nweb = 1", "web is no table"),
        ('[environments."../x"]', "is not a name for an environment"),
        ("[environments.web]\nkeep = -1", "keep is -1"),
        ('[environments.web]\npython = "nonsense"', "[environments.web]"),
        ("more = 1\n[environments.web]", "it has 'more'"),
        ('[environments.web]\nexport = "x"\nkernel = true', "has an export and kernel"),
    ],
)
def test_a_manifest_that_is_wrong_is_named_with_its_line(tmp_path, text, wrong):
    (tmp_path / "envs.toml").write_text(text)
    with pytest.raises(ProjectFileError, match="is not a manifest of environments") as raised:
        env_files.sync(tmp_path / "envs.toml")
    assert wrong in raised.value.message


def test_the_commands_say_what_they_did(web, wheels, command, tmp_path):
    file = tmp_path / "web.env.zip"
    assert command("env", "export", "web", "-o", str(file)).stdout.startswith("✓ Environment 'web' exported to")
    assert "Environment 'copy'" in command("env", "import", str(file), "--name", "copy").stdout
    (tmp_path / "envs.toml").write_text("[environments.web]\nproject = 'nothing'\n")
    answer = command("env", "sync", str(tmp_path / "envs.toml"), "--json")
    assert (answer.returncode, "there is no directory" in answer.stdout) == (2, True)


@pytest.mark.parametrize(
    "line",
    [
        'wheels = [{ path = "../../etc/passwd.whl", hashes = { sha256 = "00" } }]',
        'wheels = [{ path = "colab-env-sources/../x.whl", hashes = { sha256 = "00" } }]',
        'archive = { url = "https://example.org/x.whl --index-url=https://example.org", hashes = {} }',
        'wheels = [{ url = "https://example.org/x.whl", hashes = { sha256 = "00 --pre" } }]',
        "wheels = 3",
    ],
)
def test_a_lock_that_no_build_has_is_refused(line, tmp_path):
    text = f'[[packages]]\nname = "x"\nversion = "1"\n{line}\n'
    with pytest.raises(ProjectFileError, match="is not a lock of an environment"):
        locking.read(text, path=tmp_path / "pylock.toml")
