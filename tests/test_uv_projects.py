"""A project of uv's is installed as uv installs it in a fresh clone: the same distributions, from the same places."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
from index_server import Behaviour, IndexServer
from small_wheels import write_wheel
from test_installers import fill, git_repository, has_pip, library, uv_program

from colab_env import planning, pyproject, undoing
from colab_env.errors import CommandError, LockMismatchError, NetworkError, UsageError
from colab_env.locks import installing, registry, uv_install
from colab_env.locks.installing import Selection
from colab_env.machine import Machine
from colab_env.pyproject import Pyproject
from colab_env.request import Request
from colab_env.standalone._poetry import UVS

HEAD = '[project]\nname = "lesson"\nversion = "0.1.0"\nrequires-python = ">=3.8"\n'


def uv(project: Path, *words: str | Path, **environ: str) -> None:
    subprocess.run([uv_program(), *words, "-q"], cwd=project, env={**os.environ, **environ}, check=True)


def contents(environment: Path) -> dict[str, str | None]:
    """Return where each distribution but pip is from (PEP 610), by name and version."""
    found: dict[str, str | None] = {}
    for info in environment.glob("lib/python3*/site-packages/*.dist-info"):
        name, direct = info.name.removesuffix(".dist-info").lower().replace("_", "-"), info / "direct_url.json"
        if not name.startswith("pip-"):
            found[name] = json.dumps(json.loads(direct.read_text()), sort_keys=True) if direct.is_file() else None
    return found


def synced(project: Path, python: Path, *options: str) -> dict[str, str | None]:
    """Return what `uv sync --frozen` gives in an environment of its own."""
    where = project / ".theirs"
    uv(project, "sync", "--frozen", "--python", python, *options, UV_PROJECT_ENVIRONMENT=str(where))
    return contents(where)


@pytest.fixture
def corp(tmp_path):
    """A company's index, which has a package by the name of a stranger's, and no hashes."""
    (tmp_path / "corp").mkdir()
    write_wheel(tmp_path / "corp", "six", "1.16.0", code="owner = 'corp'\n")
    with IndexServer(tmp_path / "corp", behaviour=Behaviour(hashes=False)) as server:
        yield server


# --- which lock file


@pytest.mark.parametrize(
    ("workspace", "member", "is_member"),
    [
        ('members = ["packages/*"]', "packages/one", True),
        ('members = ["packages/*"]', "packages/deep/one", False),
        ('members = ["packages/**"]', "packages/deep/one", True),
        ('members = ["packages/*"]\nexclude = ["packages/one"]', "packages/one", False),
        ('members = ["./one/"]', "one", True),
        ("members = 3", "one", False),
        ("", "one", False),
    ],
)
def test_a_member_of_a_workspace_has_the_lock_of_its_root(project, workspace, member, is_member):
    (project / "pyproject.toml").write_text(f"{HEAD}[tool.uv.workspace]\n{workspace}\n")
    (project / "uv.lock").write_text('version = 1\nrequires-python = ">=3.9"\n')
    inner = project / member
    inner.mkdir(parents=True)
    (inner / "pyproject.toml").write_text(HEAD.replace("lesson", "one"))
    found = registry.find(inner)
    assert (found.format.name == "uv.lock") == is_member
    assert pyproject.uv_workspace_root(inner, Pyproject.read(inner)) == (project if is_member else None)
    if is_member:
        assert (found.path, found.pyproject.path) == (project / "uv.lock", inner / "pyproject.toml")
        assert found.requires_python == ">=3.9"
        assert registry.find(inner, project / "uv.lock") == found
    assert pyproject.uv_workspace_root(project, Pyproject.read(project)) is None


def test_a_project_between_ends_the_search_and_one_of_its_own_is_no_member(project):
    (project / "pyproject.toml").write_text('[tool.uv.workspace]\nmembers = ["**"]\n')
    inner = project / "packages/one"
    inner.mkdir(parents=True)
    (inner / "pyproject.toml").write_text(HEAD)
    assert pyproject.uv_workspace_root(inner, Pyproject.read(inner)) == project
    (inner / "pyproject.toml").write_text(f"{HEAD}[tool.uv]\nmanaged = false\n")
    assert pyproject.uv_workspace_root(inner, Pyproject.read(inner)) is None
    (inner / "pyproject.toml").write_text(HEAD)
    (project / "packages/pyproject.toml").write_text(HEAD)
    assert pyproject.uv_workspace_root(inner, Pyproject.read(inner)) is None
    (project / "packages/pyproject.toml").write_text("[[[")
    assert pyproject.uv_workspace_root(inner, Pyproject.read(inner)) is None


def test_a_change_of_any_local_package_is_one_of_the_environment(project):
    (project / "pyproject.toml").write_text(HEAD)
    (project / "lib").mkdir()
    (project / "lib/pyproject.toml").write_text(HEAD)
    (project / "uv.lock").write_text('version = 1\n[[package]]\nname = "lib"\nsource = { editable = "lib" }\n')
    before = Request.read(project, Machine.detect()).inputs
    (project / "lib/pyproject.toml").write_text(f"{HEAD}dependencies = []\n")
    assert Request.read(project, Machine.detect()).inputs != before


# --- what is installed

INDEX = '[tool.uv.sources]\nsix = {{ index = "corp" }}\n[[tool.uv.index]]\nname = "corp"\nurl = "{}"\nexplicit = true\n'


def owner(project: Path) -> bool:
    (file,) = (project / ".venv").glob("lib/python3*/site-packages/six.py")
    return "owner = 'corp'" in file.read_text()


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ("../lib/pyproject.toml", HEAD.replace("lesson", "lib") + 'dependencies = ["idna"]\n'),
        ("../deep/setup.py", "# another\n"),
        ("packages/b/pyproject.toml", HEAD.replace("lesson", "b") + 'dependencies = ["idna"]\n'),
        ("uv.toml", 'exclude-newer = "2024-01-01"\n'),
        ("deps.txt", "idna\n"),
        ("requirements/base.in", "idna\n"),
    ],
)
def test_what_a_resolution_reads_besides_is_a_reason_for_another_one(project, changed, text):
    project = project / "app"
    project.mkdir()
    sources = (
        '[tool.uv.sources]\nlib = { path = "../lib", editable = true }\n[tool.uv.workspace]\nmembers = ["packages/*"]\n'
    )
    (project / "pyproject.toml").write_text(HEAD + 'dynamic = ["dependencies"]\n' + sources)
    for name, more in (
        ("../lib", '[tool.uv.sources]\ndeep = [{ path = "../deep" }]\n'),
        ("../deep", ""),
        ("packages/b", ""),
    ):
        (project / name).mkdir(parents=True)
        (project / name / "pyproject.toml").write_text(HEAD.replace("lesson", Path(name).name) + more)
    before = Request.read(project, Machine.detect()).inputs
    assert Request.read(project, Machine.detect()).inputs == before
    (project / changed).parent.mkdir(exist_ok=True)
    (project / changed).write_text(text)
    assert Request.read(project, Machine.detect()).inputs != before


@pytest.mark.network
@pytest.mark.parametrize("mirror", [False, True])
def test_a_package_of_an_explicit_index_is_never_its_namesake(machine, project, corp, tmp_path, monkeypatch, mirror):
    (project / "pyproject.toml").write_text(f'{HEAD}dependencies = ["six", "idna==3.6"]\n{INDEX.format(corp.url)}')
    uv(project, "lock")
    if mirror:
        (tmp_path / "mirror").mkdir()
        write_wheel(tmp_path / "mirror", "six", "1.16.0")
        write_wheel(tmp_path / "mirror", "pip", "99.0")
        (project / "uv.lock").write_text(
            re.sub(r"sha256:\w{64}", _hash_of(tmp_path), (project / "uv.lock").read_text())
        )
        server = IndexServer(tmp_path / "mirror")
        with server:
            monkeypatch.setenv("UV_DEFAULT_INDEX", server.url)
            fill(project, python=machine.python)
        assert any("idna" in path for path in server.asked)
        assert not any("/six" in path for path in server.asked)
    else:
        fill(project, python=machine.python)
    assert owner(project)
    assert set(contents(project / ".venv")) == {"six-1.16.0", "idna-3.6"}


@pytest.mark.network
@pytest.mark.parametrize("named", [False, True])
def test_a_mirror_that_is_not_reached_is_not_needed_for_files_of_known_hashes(machine, project, named):
    mirror = "http://127.0.0.1:9/simple"
    text = f'{HEAD}dependencies = ["six==1.16.0"]\n'
    (project / "pyproject.toml").write_text(text)
    uv(project, "lock")
    lock = project / "uv.lock"
    ours = lock.read_text().split('registry = "')[1].split('"')[0]
    moved = re.sub(r'url = "[^"]+/', f'url = "{mirror}/', lock.read_text()).replace(ours, mirror)
    lock.write_text(moved)
    if named:
        (project / "pyproject.toml").write_text(f'{text}[[tool.uv.index]]\nurl = "{mirror}"\ndefault = true\n')
        with pytest.raises(NetworkError, match=r"127\.0\.0\.1: it refuses"):
            fill(project, python=machine.python)
        return
    result = fill(project, python=machine.python)
    assert set(contents(project / ".venv")) == {"six-1.16.0"}
    assert any("files of the same hashes came from this machine's index" in note for note in result.notes)


def _hash_of(tmp_path: Path) -> str:
    import hashlib

    wheel = write_wheel(tmp_path / "mirror", "idna", "3.6")
    return f"sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}"


@pytest.mark.network
def test_sources_and_groups_are_what_uv_makes_of_them(machine, project, tmp_path):
    library(project / "libs/frompath")
    library(project / "libs/edited")
    origin = git_repository(tmp_path / "fromgit")
    subprocess.run(["git", "tag", "v1"], cwd=origin, check=True)
    library(tmp_path / "away/outside")
    (project / "pyproject.toml").write_text(
        f'{HEAD}dynamic = []\ndependencies = ["frompath", "edited", "fromgit", "outside"]\n'
        '[project.optional-dependencies]\none = ["idna==3.6"]\ntwo = ["idna==3.7"]\n'
        '[dependency-groups]\ndev = ["toml==0.10.2"]\ndocs = ["iniconfig==2.0.0"]\nmore = ["wrapt==1.16.0"]\n'
        '[tool.uv]\npackage = false\ndefault-groups = ["docs"]\nconflicts = [[{ extra = "one" }, { extra = "two" }]]\n'
        '[tool.uv.sources]\nfrompath = { path = "libs/frompath" }\nedited = { path = "libs/edited", editable = true }\n'
        f'fromgit = {{ git = "{origin.as_uri()}", tag = "v1" }}\noutside = {{ path = "{tmp_path}/away/outside" }}\n'
    )
    uv(project, "lock")
    python = machine.python.path
    fill(project, python=machine.python, extras=["two"])
    ours = contents(project / ".venv")
    assert ours == synced(project, python, "--extra=two")
    assert {"idna-3.7", "iniconfig-2.0.0", "fromgit-1.0"} <= set(ours)
    assert '"requested_revision": "v1"' in (ours["fromgit-1.0"] or "")
    assert has_pip(project)
    fill(project, python=machine.python, extras=["one"], groups=["more"])
    ours = contents(project / ".venv")
    assert ours == synced(project, python, "--extra=one", "--no-default-groups", "--group=more")
    assert not fill(project, python=machine.python, extras=["one"], groups=["more"]).changed


@pytest.mark.network
def test_a_member_gets_what_uv_sync_gives_it(machine, project):
    for name, needs in (("one", '"two", "six==1.16.0"'), ("two", '"idna==3.6"'), ("three", '"toml"')):
        member = library(project / f"packages/{name}")
        text = (member / "pyproject.toml").read_text()
        sources = "[tool.uv.sources]\ntwo = { workspace = true }\n" if name == "one" else ""
        (member / "pyproject.toml").write_text(f"{text}dependencies = [{needs}]\n{sources}")
    (project / "pyproject.toml").write_text(
        '[tool.uv.workspace]\nmembers = ["packages/*"]\n[dependency-groups]\ndev = ["iniconfig==2.0.0"]\n'
    )
    uv(project, "lock", "--python", machine.python.path)
    one = project / "packages/one"
    notes = fill(one, python=machine.python).notes
    assert contents(one / ".venv") == synced(one, machine.python.path)
    assert set(contents(one / ".venv")) == {"one-1.0", "two-1.0", "six-1.16.0", "idna-3.6"}
    assert any("uv.lock" in note for note in notes)
    assert not (one / "uv.lock").exists()
    assert not fill(one, python=machine.python).changed
    fill(project, python=machine.python)  # the root, which is no project
    assert contents(project / ".venv") == synced(project, machine.python.path)


@pytest.mark.network
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("exclude-newer", ""), "exclude newer"),
        (("--resolution", "lowest-direct"), "resolution mode"),
        (("version", 'version = "0.2.0"'), "mismatched version"),
    ],
)
def test_a_lock_that_uv_would_only_write_anew_is_installed_with_a_word_about_it(machine, project, change, said):
    text = f'{HEAD}dependencies = ["idna>=3.6", "six==1.16.0"]\n'
    (project / "pyproject.toml").write_text(text)
    uv(project, "lock", *(change if change[0].startswith("--") else ()))
    if change[0] == "exclude-newer":  # as `uv lock --exclude-newer` writes it; not every index says when a file came
        lock = project / "uv.lock"
        cut_off = '[options]\nexclude-newer = "2099-01-01T00:00:00Z"\n\n[[package]]'
        lock.write_text(lock.read_text().replace("[[package]]", cut_off, 1))
    if change[0] == "version":
        (project / "pyproject.toml").write_text(text.replace('version = "0.1.0"', change[1]))
    result = fill(project, python=machine.python)
    assert contents(project / ".venv") == synced(project, machine.python.path)
    assert any("`uv lock` would write uv.lock anew" in note and said in note for note in result.notes)


ITEM = 'ConflictItem {{ package: PackageName("a"), kind: Group(GroupName("{}")) }}'


def conflicts(*sets: tuple[str, ...]) -> str:
    """Write them as uv's log does."""
    listed = (f"ConflictSet {{ set: {{{', '.join(ITEM.format(group) for group in groups)}}} }}" for groups in sets)
    return f"Conflicts([{', '.join(listed)}])"


@pytest.mark.parametrize(
    ("requested", "is_other"),
    [([("b", "a"), ("c", "a")], False), ([("a", "b")], True), ([("a", "b", "c")], True), ([], True)],
)
def test_conflicts_in_another_order_are_the_same(tmp_path, requested, is_other):
    (tmp_path / "uv.lock").write_text("version = 1\n")
    said = f"existing lockfile due to change in conflicting groups: `{conflicts(*requested)}` vs. "
    said += f"`{conflicts(('a', 'c'), ('a', 'b'))}`"

    def run(argv, **_more):
        if "--locked" in argv:
            raise CommandError("uv failed", lines=(said, "The lockfile at `uv.lock` needs to be updated"))
        Path(argv[-1]).write_text("six==1.16.0\n")

    notes: list[str] = []
    installer = uv_install.UvInstaller(program=Path("uv"), environ={}, scratch=tmp_path)
    with mock.patch.object(uv_install._process, "run", run):  # the edge: no uv orders them as it likes
        if is_other:
            with pytest.raises(LockMismatchError, match=r"its pyproject.toml: change in conflicting groups\n"):
                installer.export(tmp_path / "uv.lock", python=Path("python"), notes=notes)
            return
        assert installer.export(tmp_path / "uv.lock", python=Path("python"), notes=notes) == "six==1.16.0\n"
    assert notes == ["`uv lock` would write uv.lock anew: another order of the conflicting groups"]


@pytest.mark.network
def test_a_stale_lock_of_a_workspace_is_named_with_uvs_reason(machine, project):
    (project / "pyproject.toml").write_text(
        f'{HEAD}dependencies = ["six==1.16.0"]\n[tool.uv.workspace]\nmembers = ["one"]\n'
    )
    (project / "one").mkdir()
    (project / "one/pyproject.toml").write_text(f'{HEAD.replace("lesson", "one")}dependencies = ["toml==0.10.1"]\n')
    uv(project, "lock")
    before = (project / "uv.lock").read_bytes()
    (project / "one/pyproject.toml").write_text(f'{HEAD.replace("lesson", "one")}dependencies = ["toml==0.10.2"]\n')
    result = fill(project / "one", python=machine.python)
    assert any(re.search(r"mismatched requirements for: `one.* \(toml\); resolved anew", note) for note in result.notes)
    assert "toml-0.10.2" in contents(project / "one/.venv")
    assert (project / "uv.lock").read_bytes() == before


@pytest.mark.network
def test_a_file_of_condas_that_does_not_count_is_named(machine, project):
    (project / "pyproject.toml").write_text(f'{HEAD}dependencies = ["six==1.16.0"]\n')
    (project / "environment.yml").write_text("dependencies: [gdal]\n")
    assert "not read: environment.yml" in fill(project, python=machine.python).notes
    assert planning.plan(str(machine.python.path), interpreter="system", project=project).rows[0].name == "six"


# --- without a lock file

BACKEND = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'


@pytest.mark.parametrize(
    ("text", "beside", "tool"),
    [
        (HEAD, (), "uv"),
        (f'{HEAD}[build-system]\nbuild-backend = "hatchling.build"\n', (), "uv"),
        (f'{HEAD}[build-system]\nbuild-backend = "setuptools.build_meta"\n', ("setup.py", "setup.cfg"), "uv"),
        (f"{HEAD}[tool.pdm]\ndistribution = false\n", (), "uv"),
        ('[project]\nname = "a"\ndynamic = ["version"]\n', (), "uv"),
        ('[tool.uv.workspace]\nmembers = ["a"]\n', (), "uv"),
        ('[dependency-groups]\ndev = ["six"]\n', (), "uv"),
        ("# of the owner\n[tool.ruff]\nline-length = 100\n", (), "uv"),
        ("[tool.ruff]\n", ("poetry.toml",), "Poetry"),
        (f'{HEAD}[build-system]\nbuild-backend = "poetry.core.masonry.api"\n', (), "Poetry"),
        (f"{HEAD}[tool.poetry]\npackage-mode = false\n", (), "Poetry"),
        ('[tool.poetry]\nname = "a"\n', (), "Poetry"),
        (HEAD, ("poetry.lock",), "Poetry"),
        (HEAD, ("poetry.toml",), "Poetry"),
        (None, (), "Poetry"),
    ],
)
def test_a_project_is_locked_by_the_tool_that_its_files_name(project, text, beside, tool):
    if text is not None:
        (project / "pyproject.toml").write_text(text)
    for name in beside:
        (project / name).write_text("[metadata]\n")
    found = registry.find(project).format
    assert (found.name, found.is_lock) == (("poetry.lock", True) if tool == "Poetry" else ("pyproject.toml", False))
    assert registry.find(project, by_poetry=True).format.name == "poetry.lock"


def test_indexes_that_only_pdm_reads_are_not_passed_over(project):
    (project / "pyproject.toml").write_text(
        f'{HEAD}[[tool.pdm.source]]\nname = "a"\nurl = "https://index.example/simple"\n'
    )
    with pytest.raises(UsageError, match="an index that PDM alone reads") as caught:
        Request.read(project, Machine.detect())
    assert caught.value.hint.startswith("run `pdm lock`")


def git(project: Path, *words: str) -> str:
    options = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "core.excludesFile=/dev/null")
    return subprocess.run(["git", *options, *words], cwd=project, check=True, capture_output=True, text=True).stdout


@pytest.mark.network
def test_an_unlocked_project_gets_what_uv_sync_gives_it_and_git_sees_nothing(machine, project, corp, tmp_path):
    origin = git_repository(tmp_path / "fromgit")
    subprocess.run(["git", "tag", "v1"], cwd=origin, check=True)
    project.rmdir()
    library(project)
    library(project / "libs/edited")
    (project / "pyproject.toml").write_text(
        f'{HEAD}dependencies = ["six", "edited", "fromgit", "idna<3.8"]\n'
        '[project.optional-dependencies]\none = ["idna==3.6"]\ntwo = ["idna==3.7"]\n'
        f'[dependency-groups]\ndev = ["toml==0.10.2"]\ndocs = ["iniconfig==2.0.0"]\n{BACKEND}'
        '[tool.uv]\nconflicts = [[{ extra = "one" }, { extra = "two" }]]\n'
        f"{INDEX.format(corp.url)}"
        '[tool.uv.sources.edited]\npath = "libs/edited"\neditable = true\n'
        f'[tool.uv.sources.fromgit]\ngit = "{origin.as_uri()}"\ntag = "v1"\n'
    )
    (project / ".gitignore").write_text("__pycache__/\n")  # of the build backend
    git(project, "init", "-q")
    git(project, "add", "-A")
    git(project, "commit", "-qm", "a")
    result = fill(project, python=machine.python, extras=["one"])
    assert "Packages from pyproject.toml, resolved by uv" in result.notes
    assert git(project, "status", "--porcelain") == ""
    ours = contents(project / ".venv")
    assert owner(project)
    assert not fill(project, python=machine.python, extras=["one"]).changed
    clone = tmp_path / "clone"
    git(project, "clone", "-q", str(project), str(clone))
    uv(clone, "sync", "--python", machine.python.path, "--extra=one")
    theirs = {
        name: place and place.replace(str(clone), str(project)) for name, place in contents(clone / ".venv").items()
    }
    assert ours == theirs
    assert {"lesson-1.0", "toml-0.10.2", "idna-3.6"} <= set(ours)
    fill(project, python=machine.python, extras=["two"], groups=["docs"])
    assert {"idna-3.7", "iniconfig-2.0.0"} <= set(contents(project / ".venv"))
    assert "toml-0.10.2" not in contents(project / ".venv")


@pytest.mark.network
def test_what_was_resolved_stays_until_the_project_asks_for_something_else(machine, project, tmp_path, monkeypatch):
    (tmp_path / "wheels").mkdir()
    for name in ("alpha", "beta"):
        write_wheel(tmp_path / "wheels", name, "1.0")
    write_wheel(tmp_path / "wheels", "pip", "99.0")
    with IndexServer(tmp_path / "wheels") as server:
        monkeypatch.setenv("UV_DEFAULT_INDEX", server.url)
        monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
        (project / "pyproject.toml").write_text(f'{HEAD}dependencies = ["alpha"]\n')
        fill(project, python=machine.python)
        plan = planning.plan(machine.python.version, interpreter="system", project=project)
        assert {row.name: row.wanted for row in plan.rows} == {"alpha": "1.0"}
        assert plan.lock is None
        write_wheel(tmp_path / "wheels", "alpha", "2.0")
        (project / ".venv/pyvenv.cfg").unlink()
        fill(project, python=machine.python)
        assert set(contents(project / ".venv")) == {"alpha-1.0"}
        (project / "pyproject.toml").write_text(f'{HEAD}dependencies = ["alpha", "beta"]\n')
        fill(project, python=machine.python)
        assert set(contents(project / ".venv")) == {"alpha-1.0", "beta-1.0"}
        assert undoing.undo("configure_venv").complete
        assert sorted(path.name for path in project.iterdir()) == ["pyproject.toml"]
        fill(project, python=machine.python)
        assert set(contents(project / ".venv")) == {"alpha-1.0", "beta-1.0"}
        uv(project, "lock")
        fill(project, python=machine.python)
        assert set(contents(project / ".venv")) == {"alpha-2.0", "beta-1.0"}
        assert undoing.undo().complete
        assert not (Machine.detect().data / "resolved").exists()


@pytest.mark.network
def test_poetry_add_goes_on_working_where_uv_has_resolved(machine, project):
    (project / "pyproject.toml").write_text(f'{HEAD}dependencies = ["idna==3.6"]\n')
    fill(project, python=machine.python)
    (project / "README.md").touch()
    subprocess.run([machine.data / "bin/poetry", "add", "--no-interaction", "six==1.16.0"], cwd=project, check=True)
    fill(project, python=machine.python)
    assert set(contents(project / ".venv")) >= {"idna-3.6", "six-1.16.0"}
    assert registry.find(project).format.name == "poetry.lock"


@pytest.mark.network
def test_poetry_add_says_what_to_type_where_poetry_cannot_read_the_project(machine, project):
    project.rmdir()
    library(project)
    text = f'[project]\nname = "lesson"\ndynamic = ["version"]\n{BACKEND}'
    (project / "pyproject.toml").write_text(text)
    fill(project, python=machine.python)
    add = [machine.data / "bin/poetry", "add", "--no-interaction", "six==1.16.0"]
    done = subprocess.run(add, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.endswith(f"{UVS}\n")
    assert (project / "pyproject.toml").read_text() == text


# --- what uv takes from files beside


@pytest.mark.parametrize("lock", ["uv.lock", None])
@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("3.11\n", "==3.11.*,>=3.8"),
        ("# of the team\ncpython-3.11.4\n", "==3.11.*,>=3.8"),
        ("3.7\n", ">=3.8"),  # requires-python says more
        ("pypy3.10\n", ">=3.8"),
        ("\xff\0", ">=3.8"),
        (None, ">=3.8"),
    ],
)
def test_the_python_that_is_pinned_for_uv_is_taken(project, home, text, asked, lock):
    (project / "pyproject.toml").write_text(HEAD)
    if lock:
        (project / lock).write_text("version = 1\n")
    if text is not None:
        (project / ".python-version").write_text(text)
    assert Request.read(project, Machine.detect()).requested_python == asked
    assert Request.read(project, Machine.detect(), python="3.12").requested_python == "3.12"


def test_a_member_has_the_pin_of_its_workspace_and_a_poetry_project_none(project, home):
    (project / "pyproject.toml").write_text(f"{HEAD}[tool.uv.workspace]\nmembers = ['one']\n")
    (project / ".python-version").write_text("3.11\n")
    (project / "one").mkdir()
    (project / "one/pyproject.toml").write_text(HEAD.replace("lesson", "one"))
    assert Request.read(project / "one", Machine.detect()).requested_python == "==3.11.*,>=3.8"
    (project / "poetry.lock").write_text("[metadata]\n")
    assert Request.read(project, Machine.detect()).requested_python == ">=3.8"


def test_constraints_count_beside_a_uv_toml_too(project, home, tmp_path):
    for version in ("1.15.0", "1.16.0"):
        write_wheel(tmp_path / "wheels", "six", version)
    text = f"{HEAD}dependencies = ['six']\n[tool.uv]\nconstraint-dependencies = ['six<1.16']\n"
    (project / "pyproject.toml").write_text(text)
    (project / "uv.toml").write_text(f"no-index = true\nfind-links = ['{tmp_path / 'wheels'}']\n")
    lock = registry.find(project)
    text = lock.format.export(lock, Selection(), python=Path(sys.executable), machine=Machine.detect())
    assert "six==1.15.0" in text


def test_the_versions_are_those_that_suit_every_system_as_uv_sync_takes_them(project, home, tmp_path):
    for version in ("1.15.0", "1.16.0", "1.17.0"):
        write_wheel(tmp_path / "wheels", "six", version)
    write_wheel(tmp_path / "wheels", "idna", "3.6")
    dependencies = '["six", "six<=1.16 ; sys_platform == \'win32\'"]'
    (project / "pyproject.toml").write_text(
        f"{HEAD}dependencies = {dependencies}\n[dependency-groups]\ndev = ['idna']\n"
    )
    (project / "uv.toml").write_text(f"no-index = true\nfind-links = ['{tmp_path / 'wheels'}']\n")
    lock = registry.find(project)

    def exported(**selection) -> set[str]:
        return set(
            lock.format.export(
                lock, Selection(**selection), python=Path(sys.executable), machine=Machine.detect()
            ).split()
        )

    assert exported() == {"six==1.16.0", "idna==3.6"}
    assert sorted(path.name for path in project.iterdir()) == ["pyproject.toml", "uv.toml"]
    # What was found once is preferred.
    assert exported(groups=()) == {"six==1.16.0"}
    # Where nothing suits all of them, what suits this machine counts.
    dependencies = '["six==1.17.0", "six==1.15.0 ; sys_platform == \'win32\'"]'
    (project / "pyproject.toml").write_text(f"{HEAD}dependencies = {dependencies}\n")
    lock = registry.find(project)
    assert exported() == {"six==1.17.0"}


def test_members_named_by_many_double_stars_are_told_in_no_time(tmp_path):
    (tmp_path / "a/b/c/d").mkdir(parents=True)
    for directory in (tmp_path, tmp_path / "a/b"):
        text = f"[tool.uv.workspace]\nmembers = ['{'**/' * 200}*']\n" if directory == tmp_path else ""
        (directory / "pyproject.toml").write_text(text)
    assert pyproject.local_projects(tmp_path, Pyproject.read(tmp_path)) == [tmp_path / "a/b"]
    # Trying every way to divide the path would take some 10 ** 12 attempts.
    assert not pyproject._matches_pattern(["a"] * 40, ["**"] * 20 + ["b"])
    assert pyproject._matches_pattern(["a"] * 40, ["**"] * 2000)
    assert not pyproject._matches_pattern(["a"], ["b", "**"])


def test_a_default_group_counts_however_it_is_spelled(project, monkeypatch):
    (project / "pyproject.toml").write_text(
        '[project]\nname = "x"\nversion = "1"\n[dependency-groups]\nDev_Tools = []\n'
        '[tool.uv]\ndefault-groups = ["dev-tools"]\n'
    )
    asked: list[str] = []

    class Uv:
        def synced(self, _project, **_more):
            return ""

        def resolve(self, argv, **_more):
            asked.extend(argv)
            return "packages = []\n"

    monkeypatch.setattr(installing, "installer", lambda *_, **__: Uv())
    lock = registry.find(project)
    lock.format.export(lock, Selection(), python=Path(sys.executable), machine=Machine.detect())
    assert asked == ["--group=dev-tools", "pyproject.toml"]
