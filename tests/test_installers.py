"""Whatever locks a project, its environment ends with exactly that; Poetry and uv agree; no password is shown."""

# ruff: noqa: PLW1510
from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT
from index_server import IndexServer
from small_wheels import write_wheel

from colab_env import _report, diagnose, planning, poetry, setting_up, steps, uv, venv
from colab_env.errors import (
    BuildError,
    ColabEnvError,
    CommandError,
    HashMismatchError,
    LockMismatchError,
    MissingStepError,
    NetworkError,
    NoSuchPythonError,
    UsageError,
)
from colab_env.locks import registry
from colab_env.locks.installing import Selection
from colab_env.machine import Machine
from colab_env.request import InstallOptions

pytestmark = pytest.mark.network

LOCKS = ROOT / "tests/locks"


def installed(project: Path) -> set[str]:
    """Return the distributions in the project's environment itself, but for pip."""
    found = (project / ".venv").glob("lib/python3*/site-packages/*.dist-info")
    names = {path.name.removesuffix(".dist-info").lower().replace("_", "-") for path in found}
    return {name for name in names if not name.startswith("pip-")}


def has_pip(project: Path) -> bool:
    return any((project / ".venv").glob("lib/python3*/site-packages/pip-*.dist-info"))


def fill(project: Path, **options):
    return steps.configure_venv(project, **{"system_site_packages": False, **options})


@pytest.fixture
def chosen(machine, pythons):
    """The machine's Python 3.11 or 3.12, in which the recorded locks are tried."""
    return next(each for each in pythons if each.short_version in ("3.11", "3.12"))


@pytest.fixture
def copied(project: Path):
    def copied(name: str) -> Path:
        return Path(shutil.copytree(LOCKS / name, project, dirs_exist_ok=True))

    return copied


# --- poetry.lock


@pytest.mark.parametrize(
    ("name", "options", "some"),
    [
        pytest.param("web", {}, {"httpx-0.27.2", "pytest-8.3.3"}, marks=pytest.mark.machine),
        ("web", {"extras": ["fast", "nice"], "groups": ["dev", "docs"]}, {"rich-13.9.4", "h2-4", "mistune-3"}),
        pytest.param("web", {"groups": []}, {"jinja2-3.1.4"}, marks=pytest.mark.machine),
        ("tools", {"extras": "yaml"}, {"requests-2.32.3", "pyyaml-6", "pathspec-0.12.1", "tools-0.1.0"}),
    ],
)
def test_poetry_and_uv_give_the_same_distributions(chosen, copied, name, options, some):
    project = copied(name)
    found = {}
    for installer in ("uv", "poetry"):
        shutil.rmtree(project / ".venv", ignore_errors=True)
        result = fill(project, python=chosen, installer=installer, **options)
        assert result.changed
        assert not fill(project, python=chosen, installer=installer, **options).changed
        assert has_pip(project)
        found[installer] = installed(project)
    assert found["uv"] == found["poetry"]
    assert all(any(each.startswith(start) for each in found["uv"]) for start in some)
    assert not any(each.startswith(("winloop", "tzdata")) for each in found["uv"])
    assert any(each.startswith("pytest-") for each in found["uv"]) == (name == "web" and options.get("groups") != [])


def test_a_package_of_poetry_is_installed_as_its_own_source(chosen, copied):
    project = copied("tools")
    fill(project, python=chosen)
    assert subprocess.run([project / ".venv/bin/tools"], capture_output=True, text=True).stdout == "tools\n"
    (project / "src/tools/__init__.py").write_text("def main():\n    print('changed')\n")
    assert subprocess.run([project / ".venv/bin/tools"], capture_output=True, text=True).stdout == "changed\n"


@pytest.mark.parametrize("installer", ["uv", "poetry"])
def test_what_leaves_the_lock_file_leaves_the_environment(chosen, copied, installer):
    project = copied("web")
    fill(project, python=chosen, installer=installer, extras=["nice"])
    assert "rich-13.9.4" in installed(project)
    result = fill(project, python=chosen, installer=installer, extras=[])
    assert "have changed" in result.reason
    assert any(note.startswith("removed: ") and "rich 13.9.4" in note for note in result.notes)
    assert "rich-13.9.4" not in installed(project)
    assert "httpx-0.27.2" in installed(project)
    assert has_pip(project)


def test_poetry_makes_the_lock_and_uv_installs_it(machine, project, tmp_path):
    origin = git_repository(tmp_path / "fromgit")
    local = library(tmp_path / "frompath")
    wheel = write_wheel(tmp_path, "fromurl", "2.0")
    wanted = [f"frompath @ {local.as_uri()}", f"fromgit @ git+{origin.as_uri()}", f"fromurl @ {wheel.as_uri()}"]
    wanted += ["six==1.16.0 ; python_version >= '3'", "colorama ; sys_platform == 'win32'"]
    (project / "pyproject.toml").write_text(
        f'[project]\nname = "lesson"\nversion = "0.1.0"\nrequires-python = ">=3.8"\ndependencies = {wanted!r}\n'
        "[tool.poetry]\npackage-mode = false\n"
    )
    fill(project, python=machine.python)
    assert (project / "poetry.lock").is_file()
    expected = {"six-1.16.0", "frompath-1.0", "fromgit-1.0", "fromurl-2.0"}
    assert installed(project) == expected
    shutil.rmtree(project / ".venv")
    fill(project, python=machine.python, installer="poetry")
    assert installed(project) == expected


@pytest.mark.parametrize("installer", ["uv", "poetry"])
def test_a_project_without_its_package_is_installed_but_for_itself_and_that_is_said(machine, project, installer):
    (project / "pyproject.toml").write_text(
        '[tool.poetry]\nname = "lesson"\nversion = "1"\ndescription = ""\nauthors = []\n'
        '[tool.poetry.dependencies]\npython = ">=3.9"\nsix = "1.16.0"\n'
        '[build-system]\nrequires = ["poetry-core"]\nbuild-backend = "poetry.core.masonry.api"\n'
    )
    result = fill(project, python=machine.python, installer=installer)
    assert installed(project) == {"six-1.16.0"}
    assert any("the project itself has no package to install" in note for note in result.notes)
    assert not fill(project, python=machine.python, installer=installer).changed


@pytest.mark.parametrize(
    "backend", ["", '[build-system]\nrequires = ["poetry-core"]\nbuild-backend = "poetry.core.masonry.api"\n']
)
def test_a_package_of_poetry_may_name_no_backend_and_have_any_path(machine, project, backend):
    place = project / "C#"
    (place / "lesson").mkdir(parents=True)
    (place / "docs").mkdir()  # setuptools would refuse two directories, or take both
    (place / "lesson/__init__.py").write_text("def main():\n    print('taught')\n")
    (place / "pyproject.toml").write_text(
        '[tool.poetry]\nname = "lesson"\nversion = "1.5"\ndescription = ""\nauthors = []\n'
        '[tool.poetry.dependencies]\npython = ">=3.9"\nsix = "1.16.0"\n[tool.poetry.scripts]\nteach = "lesson:main"\n'
        + backend
    )
    result = fill(place, python=machine.python)
    assert installed(place) == {"six-1.16.0", "lesson-1.5"}
    assert not any("RECORD" in note for note in result.notes)
    assert subprocess.run([place / ".venv/bin/teach"], capture_output=True, text=True).stdout == "taught\n"
    assert not fill(place, python=machine.python).changed


@pytest.mark.machine
def test_without_uv_poetry_installs_and_it_is_said(machine, copied, chosen, monkeypatch):
    monkeypatch.setattr(uv, "find", lambda _runtime: None)
    monkeypatch.setattr(uv, "_install", lambda *_: (_ for _ in ()).throw(CommandError("no pip here")))
    project = copied("tools")
    result = fill(project, python=chosen)
    assert "uv cannot be had here: Poetry installs, more slowly" in result.notes
    assert "requests-2.32.3" in installed(project)
    shutil.rmtree(project / ".venv")
    with pytest.raises(CommandError, match="no pip here"):
        fill(project, python=chosen, installer="uv")


def test_an_older_poetry_home_gets_its_export_plugin(machine, home, built_machine):
    (machine.data / "poetry").unlink()
    (machine.data / "poetry").mkdir()
    shutil.copy2(built_machine.data / "poetry/colab-env.json", machine.data / "poetry")
    for name in ("venv/bin/poetry", "venv/bin/python"):
        path = machine.data / "poetry" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    with pytest.raises(MissingStepError, match="export plugin is missing"):
        fill(home / "lesson", python=machine.python)
    assert poetry.health_check(Machine.detect(), version=None) == "Poetry's export plugin is missing"


# --- uv.lock


UV_PROJECT = """\
[project]
name = "lesson"
version = "0.1.0"
requires-python = ">=3.8"
dependencies = ["idna>=3.6,<3.8", "six==1.16.0 ; python_version >= '3'", "colorama ; sys_platform == 'win32'"]

[project.optional-dependencies]
extra = ["iniconfig==2.0.0"]

[dependency-groups]
dev = ["toml==0.10.2"]
more = ["wrapt==1.16.0"]

[tool.uv]
package = false
"""


def uv_program() -> Path:
    found = uv.find(Machine.detect())
    if found is None:
        pytest.skip("needs uv")
    return found


def uv_locked(project: Path, text: str = UV_PROJECT) -> Path:
    (project / "pyproject.toml").write_text(text)
    subprocess.run([uv_program(), "lock", "-q", "--upgrade-package", "idna==3.6"], cwd=project, check=True)
    return project / "uv.lock"


def test_a_uv_lock_gives_what_uv_sync_gives(machine, project):
    lock = uv_locked(project)
    before = lock.read_bytes()
    for options, words in (
        ({}, []),
        ({"extras": ["extra"], "groups": ["more"]}, ["--extra=extra", "--group=more", "--no-default-groups"]),
    ):
        result = fill(project, python=machine.python, **options)
        ours = installed(project)
        other = {**os.environ, "UV_PROJECT_ENVIRONMENT": str(project / ".other")}
        sync = [uv_program(), "sync", "-q", "--frozen", "--python", machine.python.path, *words]
        subprocess.run(sync, cwd=project, env=other, check=True)
        theirs = {
            path.name.removesuffix(".dist-info")
            for path in (project / ".other").glob("lib/*/site-packages/*.dist-info")
        }
        assert ours == theirs
        assert "Packages from uv.lock" in result.notes
    assert "wrapt-1.16.0" in ours
    assert has_pip(project)
    assert lock.read_bytes() == before
    assert sorted(path.name for path in project.iterdir()) == [".other", ".venv", "pyproject.toml", "uv.lock"]
    assert not fill(project, python=machine.python, **options).changed


def test_a_uv_lock_of_another_index_still_fits(machine, project):
    lock = uv_locked(project)
    text = lock.read_text()
    ours = text.split('registry = "')[1].split('"')[0]
    lock.write_text(text.replace(f'registry = "{ours}"', 'registry = "https://index.example/simple"'))
    fill(project, python=machine.python)
    assert installed(project) == {"idna-3.6", "six-1.16.0", "toml-0.10.2"}


def test_a_stale_uv_lock_gives_what_uv_sync_gives_and_stays_as_it_is(machine, project, tmp_path):
    lock = uv_locked(project)
    fill(project, python=machine.python)
    moved_on = UV_PROJECT.replace("six==1.16.0", "six==1.15.0").replace('"toml==', '"iniconfig==2.0.0", "toml==')
    (project / "pyproject.toml").write_text(moved_on)
    before, other = lock.read_bytes(), tmp_path / "theirs"
    other.mkdir()
    for name in ("pyproject.toml", "uv.lock"):
        shutil.copy(project / name, other)
    subprocess.run([uv_program(), "sync", "-q", "--python", machine.python.path], cwd=other, check=True)
    assert (other / "uv.lock").read_bytes() != before
    planned = planning.plan(str(machine.python.path), interpreter="system", project=project)
    result = fill(project, python=machine.python)
    # idna could be newer: what is locked is preferred, as by uv.
    assert installed(project) == installed(other) == {"idna-3.6", "six-1.15.0", "iniconfig-2.0.0", "toml-0.10.2"}
    assert {row.name: row.wanted for row in planned.rows}["six"] == "1.15.0"
    for notes in (planned.notes, result.notes):
        assert sum("uv.lock does not belong to its pyproject.toml: " in note for note in notes) == 1
        assert any("(iniconfig)" in note or "(six)" in note or "iniconfig" in note for note in notes)
    assert lock.read_bytes() == before
    assert sorted(path.name for path in project.iterdir()) == [".venv", "pyproject.toml", "uv.lock"]
    assert not fill(project, python=machine.python).changed


def test_a_stale_uv_lock_that_cannot_be_resolved_anew_changes_nothing(machine, project):
    uv_locked(project)
    fill(project, python=machine.python)
    (project / "pyproject.toml").write_text(UV_PROJECT.replace("six==1.16.0", "six==0.0.0"))
    before = installed(project)
    with pytest.raises(CommandError, match=r"uv\.lock does not belong to its pyproject\.toml: .*\n.*six==0\.0\.0"):
        fill(project, python=machine.python)
    assert installed(project) == before


def test_what_is_made_from_the_lock_alone_refuses_a_stale_one(machine, project):
    uv_locked(project)
    (project / "pyproject.toml").write_text(UV_PROJECT.replace("six==1.16.0", "six==1.15.0"))
    lock = registry.find(project)
    with pytest.raises(LockMismatchError, match=r"uv\.lock does not belong to its pyproject\.toml"):
        lock.format.export_universal(lock, Selection(), python=machine.python.path, machine=Machine.detect())


def test_a_file_whose_limits_are_exact_is_a_lock_and_a_limit_itself_need_not_be(machine, project):
    (project / "requirements.txt").write_text("six\nidna==3.10\n-c limits.txt\n")
    (project / "limits.txt").write_text("six==1.16.0\nurllib3<2\n")

    def exported() -> str:
        lock = registry.find(project)
        return lock.format.export_universal(lock, Selection(), python=machine.python.path, machine=Machine.detect())

    assert {line.split()[0] for line in exported().splitlines() if "==" in line} == {"idna==3.10", "six==1.16.0"}
    (project / "limits.txt").write_text("six<2\n")
    with pytest.raises(UsageError, match="names no exact version of six"):
        exported()


def test_a_uv_project_needs_no_poetry(machine, project, monkeypatch):
    uv_locked(project)
    (machine.data / "poetry").unlink()
    result = setting_up.setup(machine.python.version, interpreter="system", project=project, kernel="lesson")
    assert "install_poetry" not in [step.step for step in result.steps]
    assert not (machine.data / "poetry").exists()
    assert "idna-3.6" in installed(project)
    found = diagnose.status(project)
    assert found.ok
    assert "none is needed here" in repr(found)
    (project / "uv.lock").unlink()
    assert "none is needed here" in repr(diagnose.status(project))
    (project / "poetry.lock").touch()
    assert "Poetry is not installed" in repr(diagnose.status(project))


def test_a_lock_file_that_is_gone_needs_no_poetry(project, pythons, home):
    (project / ".venv").mkdir()
    for lock, is_needed in (("more.txt", False), ("poetry.lock", True)):
        venv.write_receipt(project, python=pythons[0], inputs="", wanted=InstallOptions(lock=lock).recorded())
        assert ("none is needed here" not in repr(diagnose.status(project))) == is_needed


# --- pylock.toml, requirements.txt, scripts


def test_a_pylock_gives_what_it_says_and_its_python_counts(machine, project, pythons):
    compiled = ["pip", "compile", "-q", "--format", "pylock.toml", "-o", "pylock.toml", "-", "--python-version=3.8"]
    subprocess.run([uv_program(), *compiled], cwd=project, check=True, input=b"idna==3.6\nsix==1.16.0")
    fill(project, python=machine.python)
    assert installed(project) == {"idna-3.6", "six-1.16.0"}
    assert has_pip(project)
    assert [path.name for path in sorted(project.iterdir())] == [".venv", "pylock.toml"]
    other = next(each.short_version for each in pythons if each.short_version != machine.python.short_version)
    lock = project / "pylock.toml"
    text = "\n".join(line for line in lock.read_text().splitlines() if not line.startswith("requires-python"))
    lock.write_text(text.replace('lock-version = "1.0"', f'lock-version = "1.0"\nrequires-python = "=={other}.*"'))
    with pytest.raises(NoSuchPythonError, match=r"pylock\.toml asks for Python"):
        fill(project, python=machine.python)
    assert steps.install_python(interpreter="system", project=_without_venv(project)).python.short_version == other


def _without_venv(project: Path) -> Path:
    shutil.rmtree(project / ".venv")
    return project


def test_requirements_may_include_others_and_hold_paths_and_loose_versions(machine, project):
    library(project / "libs/frompath")
    (project / "more").mkdir()
    (project / "more/base.txt").write_text("six==1.16.0\n")
    (project / "limits.txt").write_text("idna==3.6\n")
    (project / "requirements.txt").write_text("-r more/base.txt\n-c limits.txt\n-e libs/frompath\nidna\ntoml<0.10.2\n")
    result = fill(project, python=machine.python)
    assert installed(project) == {"six-1.16.0", "idna-3.6", "frompath-1.0", "toml-0.10.1"}
    assert "Packages from requirements.txt" in result.notes
    assert not (project / "pyproject.toml").exists()
    assert not fill(project, python=machine.python).changed
    (project / "more/base.txt").write_text("six==1.15.0\n")
    assert fill(project, python=machine.python).changed
    assert "six-1.15.0" in installed(project)


def test_a_wrong_hash_is_named_and_leaves_the_old_environment(machine, project):
    lock = project / "requirements.txt"
    lock.write_text("idna==3.6\n")
    fill(project, python=machine.python)
    lock.write_text(f"idna==3.6\nsix==1.16.0 --hash=sha256:{'0' * 64}\n")
    with pytest.raises(HashMismatchError, match=r"six==1\.16\.0 is not what the lock file promises") as caught:
        fill(project, python=machine.python)
    assert caught.value.exit_code == 9
    assert installed(project) == {"idna-3.6"}
    lock.write_text("idna==3.6\n")
    assert not fill(project, python=machine.python).changed


SCRIPT = """\
# /// script
# requires-python = "{python}"
# dependencies = ["idna<3.7", "frompath"]
# [tool.uv.sources]
# frompath = {{ path = "{path}" }}
# ///
"""


@pytest.mark.parametrize("kind", ["script", "locked script", "notebook"])
def test_the_block_of_a_script_or_a_notebook_is_a_lock_file(machine, project, tmp_path, kind):
    import nbformat

    block = SCRIPT.format(python=">=3.8", path=library(tmp_path / "frompath"))
    name = "lesson.ipynb" if kind == "notebook" else "lesson.py"
    if kind == "notebook":
        cells = [nbformat.v4.new_markdown_cell("# Lesson"), nbformat.v4.new_code_cell(f"{block}import idna")]
        nbformat.write(nbformat.v4.new_notebook(cells=cells), project / name)
    else:
        (project / name).write_text(f"{block}import idna\n")
    if kind == "locked script":
        subprocess.run([uv_program(), "lock", "-q", "--script", name], cwd=project, check=True)
    fill(project, python=machine.python, lock=name)
    assert installed(project) == {"idna-3.6", "frompath-1.0"}
    assert not (project / "pyproject.toml").exists()
    path = project / name
    path.write_text(path.read_text().replace("import idna", "import idna, sys"))
    assert not fill(project, python=machine.python, lock=name).changed
    (part,) = [part for part in diagnose.status(project).parts if part.name == "Environment"]
    assert part.problem is None
    path.write_text(path.read_text().replace(">=3.8", "<3.8"))
    with pytest.raises(NoSuchPythonError, match=f"{name} asks for Python '<3.8'"):
        fill(project, python=machine.python, lock=name)


# --- what all have in common


def test_a_package_of_the_system_does_not_stand_in_for_one_of_the_lock(machine, project):
    """The interpreter has pip of its own, and the environment sees it."""
    asked = [machine.python.path, "-m", "pip", "--version"]
    version = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()[1]
    (project / "requirements.txt").write_text(f"pip=={version}\nsix==1.16.0\n")
    fill(project, python=machine.python, system_site_packages=True)
    assert list((project / ".venv").glob(f"lib/python3*/site-packages/pip-{version}.dist-info"))
    assert installed(project) == {"six-1.16.0"}


def test_the_lock_file_that_counts_is_said_when_there_is_a_choice(machine, project):
    uv_locked(project)
    (project / "pylock.toml").write_text("")
    assert (
        "Packages from uv.lock; not from pylock.toml, which lock=... chooses"
        in fill(project, python=machine.python).notes
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lock": "nothing.txt"}, "there is no lock file"),
        ({"lock": "Pipfile"}, "Pipfile is not read by colab-env"),
        ({"installer": "pip"}, "no installer 'pip'"),
        ({"installer": "poetry"}, "Poetry does not install"),
        ({"extras": ["x"]}, "has no extras"),
        ({"groups": ["x"]}, "has no groups"),
        ({"lock": "environment.yml"}, "system_site_packages=False does not go with"),
        ({"lock": "environment.yml", "system_site_packages": True}, "needs conda"),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_is_done(machine, project, options, message):
    (project / "requirements.txt").write_text("six\n")
    (project / "environment.yml").write_text("name: x\n")
    with pytest.raises(UsageError, match=message):
        fill(project, python=machine.python, **options)
    assert not (project / ".venv").exists()


def test_a_package_that_does_not_build_is_named(machine, project):
    broken = library(project / "broken")
    (broken / "backend.py").write_text("def build_editable(*_, **__):\n    raise SystemExit('error: no gcc')\n")
    (project / "requirements.txt").write_text("-e broken\n")
    with pytest.raises(BuildError, match="could not build broken") as caught:
        fill(project, python=machine.python)
    assert "no gcc" in caught.value.message
    assert not (project / ".venv").exists()


PASSWORD = "s3cret-and-long"


@pytest.fixture
def private(tmp_path):
    """A package index that asks for a password."""
    (tmp_path / "wheels").mkdir()
    write_wheel(tmp_path / "wheels", "hidden", "1.0")
    with IndexServer(tmp_path / "wheels", user="me", password=PASSWORD) as server:
        yield server


def nowhere(text: str, *places: Path) -> bool:
    """Say that no file holds a text, but for `undo`'s copies of the user's own files, which only their owner reads."""
    files = (path for place in places for path in place.rglob("*") if path.is_file() and not path.is_symlink())
    found = [path for path in files if text.encode() in path.read_bytes()]
    return all(path.parent.name == "journal" and path.stat().st_mode & 0o077 == 0 for path in found)


@pytest.mark.parametrize(
    ("way", "works"),
    [
        *(("PIP_EXTRA_INDEX_URL", True), ("poetry source url", True)),
        *((way, False) for way in ("UV_EXTRA_INDEX_URL", "netrc", "poetry", "poetry source url")),
        pytest.param("PIP_EXTRA_INDEX_URL", False, marks=pytest.mark.machine),
        *(pytest.param(way, True, marks=pytest.mark.machine) for way in ("UV_EXTRA_INDEX_URL", "netrc", "poetry")),
    ],
)
def test_a_private_index_is_used_and_its_password_is_never_shown(
    machine, project, home, private, monkeypatch, capfd, way, works
):
    password = PASSWORD if works else f"{PASSWORD}-wrong"
    with_password = private.url.replace("://", f"://me:{password}@")
    if way.startswith("poetry"):
        address = with_password if way.endswith("url") else private.url
        (project / "pyproject.toml").write_text(
            '[project]\nname = "lesson"\nversion = "0.1.0"\nrequires-python = ">=3.8"\ndependencies = ["hidden", "six"]\n'
            f'[tool.poetry]\npackage-mode = false\n[tool.poetry.dependencies]\nhidden = {{ source = "private" }}\n'
            f'[[tool.poetry.source]]\nname = "private"\nurl = "{address}"\npriority = "explicit"\n'
        )
        if not way.endswith("url"):
            monkeypatch.setenv("POETRY_HTTP_BASIC_PRIVATE_USERNAME", "me")
            monkeypatch.setenv("POETRY_HTTP_BASIC_PRIVATE_PASSWORD", password)
    else:
        (project / "requirements.txt").write_text("hidden\nsix\n")
        monkeypatch.setenv("UV_INDEX_STRATEGY", "unsafe-best-match")
        if way == "netrc":
            (home / ".netrc").write_text(f"machine 127.0.0.1 login me password {password}\n")
            (home / ".netrc").chmod(0o600)
        monkeypatch.setenv(
            "PIP_EXTRA_INDEX_URL" if way == "netrc" else way, private.url if way == "netrc" else with_password
        )
    shown = ""
    with _report.screen(_report.Plain()):
        if works:
            shown += repr(fill(project, python=machine.python))
        else:
            with pytest.raises(ColabEnvError) as caught:
                fill(project, python=machine.python)
            shown += str(caught.value) + repr(getattr(caught.value, "lines", ""))
    out, err = capfd.readouterr()
    assert PASSWORD not in shown + out + err
    assert nowhere(PASSWORD, machine.data)
    assert ("hidden-1.0" in installed(project)) == works
    assert not works or PASSWORD not in (project / ".venv/colab-env.json").read_text()


@pytest.mark.parametrize("way", ["--index-url", "--extra-index-url", "--find-links", "[tool.uv]"])
def test_an_index_of_the_project_s_own_needs_to_have_no_pip(machine, project, private, way):
    address = private.url.replace("://", f"://me:{PASSWORD}@")
    line = f"--no-index --find-links {private.wheels}" if way == "--find-links" else f"{way} {address}"
    if way == "[tool.uv]":
        (project / "pyproject.toml").write_text(f'[tool.uv]\nindex-url = "{address}"\n')
        line = ""
    (project / "requirements.txt").write_text(f"{line}\nhidden\n-c limits.txt\n")
    (project / "limits.txt").write_text("hidden<2\npip>1\n")
    fill(project, python=machine.python)
    assert installed(project) == {"hidden-1.0"}
    assert has_pip(project)
    if way == "--index-url":
        assert not any(path.startswith("/simple/pip") for path in private.asked)
    assert nowhere(PASSWORD, machine.data, project / ".venv")


def test_a_setup_py_that_names_an_address_with_a_password_is_set_up_again(machine, project, private):
    address = f"{private.address}/files/hidden-1.0-py3-none-any.whl".replace("://", f"://me:{PASSWORD}@")
    (project / "setup.py").write_text(
        "from setuptools import setup\n"
        f'setup(name="lesson", version="1", py_modules=[], install_requires=["hidden @ {address}"])\n'
    )
    for _ in range(2):  # the second time, uv has what it needs in its cache, without the password
        fill(project, python=machine.python)
        assert installed(project) == {"hidden-1.0", "lesson-1"}
        shutil.rmtree(project / ".venv")


@pytest.mark.parametrize("way", ["explicit", "further", "variables", "locked"])
def test_a_script_has_its_packages_from_the_index_that_its_block_names(machine, project, private, monkeypatch, way):
    address = private.url.replace("://", f"://me:{PASSWORD}@")
    if way == "variables":
        address = private.url
        monkeypatch.setenv("UV_INDEX_OUR_OWN_USERNAME", "me")
        monkeypatch.setenv("UV_INDEX_OUR_OWN_PASSWORD", PASSWORD)
    block = (
        f'requires-python = ">=3.9"\ndependencies = ["hidden", "six==1.16.0"]\n[[tool.uv.index]]\nurl = "{address}"\n'
    )
    if way != "further":
        block += 'name = "our-own"\nexplicit = true\n[tool.uv.sources]\nhidden = { index = "our-own" }\n'
    lines = "".join(f"# {line}\n" for line in block.splitlines())
    (project / "lesson.py").write_text(f"# /// script\n{lines}# ///\n")
    if way == "locked":
        subprocess.run([uv_program(), "lock", "-q", "--script", "lesson.py"], cwd=project, check=True)
    fill(project, python=machine.python, lock="lesson.py")
    assert installed(project) == {"hidden-1.0", "six-1.16.0"}
    assert nowhere(PASSWORD, machine.data, project / ".venv")


@pytest.mark.parametrize("further", [False, True])
def test_an_index_that_refuses_a_password_is_told_from_one_without_the_package(
    machine, project, private, monkeypatch, further
):
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)  # this machine may have further indexes, of which uv says less
    if further:
        monkeypatch.setenv("UV_INDEX_STRATEGY", "unsafe-best-match")
    (project / "requirements.txt").write_text(
        f"--extra-index-url {private.url.replace('://', f'://me:{PASSWORD}-old@')}\nhidden\n"
    )
    words = r"127\.0\.0\.1.* does not accept the user name and password.*401"
    with pytest.raises(NetworkError, match=words) as caught:
        fill(project, python=machine.python)
    assert "password" in str(caught.value.hint).lower()
    assert PASSWORD not in repr(caught.value)


def library(place: Path) -> Path:
    """A package of one module with a build backend of its own, which needs nothing."""
    place.mkdir(parents=True)
    name = place.name
    (place / "pyproject.toml").write_text(
        f'[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        f'[project]\nname = "{name}"\nversion = "1.0"\n'
    )
    shutil.copy(Path(__file__).with_name("small_wheels.py"), place / "small_wheels.py")
    (place / "backend.py").write_text(
        "from pathlib import Path\nfrom small_wheels import write_wheel\n\n"
        "def build_wheel(directory, *_, **__):\n"
        f"    return write_wheel(Path(directory), {name!r}, '1.0').name\n\n"
        "build_editable = build_wheel\n"
    )
    return place


def git_repository(place: Path) -> Path:
    library(place)
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "First"]):
        identity = ["-c", "user.name=me", "-c", "user.email=me@example.org"]
        subprocess.run(["git", *identity, *words], cwd=place, check=True)
    return place
