"""Which file locks a project, what it asks for, and how far an installation is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from small_wheels import write_wheel
from test_installers import LOCKS, library, uv_locked, uv_program

from colab_env import _report
from colab_env.errors import LockMismatchError, MissingStepError, ScriptError, UsageError
from colab_env.formats import poetry_lock
from colab_env.interpreter import Interpreter
from colab_env.locks import installing, registry, script_block, uv_install
from colab_env.locks.installing import Selection
from colab_env.locks.lock_format import LockFile
from colab_env.machine import Machine
from colab_env.pyproject import Pyproject
from colab_env.request import InstallOptions, find_lock

NAMES = ["poetry.lock", "uv.lock", "pylock.toml", "requirements.txt", "environment.yml"]
OWN = '[project]\nname = "x"\nversion = "1"\ndependencies = ["idna"]\n'
BLOCK = '# /// script\n# requires-python = ">=3.9"\n# dependencies = ["idna"]\n# ///\n'


@pytest.fixture
def here() -> Interpreter:
    return Interpreter(path=Path(sys.executable), version="{}.{}.{}".format(*sys.version_info), source="system")


def kind(lock: LockFile) -> str | None:
    return lock.format.name if lock.is_there else None


def test_the_first_lock_file_of_the_order_is_found(project):
    assert kind(registry.find(project)) is None
    for name in reversed(NAMES):
        (project / name).touch()
        found = registry.find(project)
        assert (found.path, kind(found)) == (project / name, name)
    assert [kind(each) for each in registry.candidates(project)] == NAMES


@pytest.mark.parametrize(
    ("text", "first"),
    [
        (OWN + '[build-system]\nbuild-backend = "pdm.backend"\n', "pdm.lock"),
        (OWN + "[tool.pdm]\n", "pdm.lock"),
        (OWN + "[tool.uv]\n", "uv.lock"),
        (OWN + '[build-system]\nbuild-backend = "uv_build"\n', "uv.lock"),
        (OWN + '[build-system]\nbuild-backend = "hatchling.build"\n', "uv.lock"),
        (OWN + '[build-system]\nbuild-backend = "poetry.core.masonry.api"\n', "poetry.lock"),
        (OWN + "[tool.uv]\n[tool.poetry]\n", "poetry.lock"),
        ('[tool.poetry.dependencies]\npython = "^3.9"\n', "poetry.lock"),
        ("[tool.ruff]\n", "poetry.lock"),
    ],
)
def test_the_lock_file_of_the_tool_that_the_project_names_is_found_before_one_it_has_left(project, text, first):
    for name in (*NAMES, "pdm.lock"):
        (project / name).touch()
    (project / "pyproject.toml").write_text(text)
    assert kind(registry.find(project)) == first


@pytest.mark.parametrize(
    "text",
    [
        OWN,
        '[tool.poetry.dependencies]\npython = "^3.9"\nidna = "*"\n',
        '[project]\nname = "x"\ndynamic = ["dependencies"]\n',
        '[dependency-groups]\ndev = ["idna"]\n',
        '[tool.poetry.group.dev.dependencies]\nidna = "*"\n',
    ],
)
def test_loose_files_give_way_to_a_projects_own_dependencies(project, text):
    (project / "requirements.txt").touch()
    (project / "environment.yml").touch()
    (project / "pyproject.toml").write_text(text)
    is_uvs = "[project]" in text or "[dependency-groups]" in text
    assert kind(registry.find(project)) == ("pyproject.toml" if is_uvs else None)
    (project / "pyproject.toml").write_text('[project]\nname = "x"\n[tool.poetry.dependencies]\npython = "^3.9"\n')
    assert kind(registry.find(project)) == "requirements.txt"
    (project / "pyproject.toml").write_text(text)
    assert kind(registry.find(project, "requirements.txt")) == "requirements.txt"


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("requirements-dev.txt", "requirements.txt"),
        ("requirements.in", "requirements.txt"),
        ("pylock.colab.toml", "pylock.toml"),
        ("env/conda.yaml", "environment.yml"),
        ("lesson.ipynb", "script"),
        ("inner/uv.lock", "uv.lock"),
    ],
)
def test_a_lock_file_that_is_named_is_known_by_its_name(project, name, known):
    (project / name).parent.mkdir(exist_ok=True)
    (project / name).touch()
    assert registry.find(project, name) == registry.find(Path("/"), project / name)
    assert kind(registry.find(project, name)) == known


def test_a_lock_file_that_is_not_there_or_unknown_is_refused(project):
    with pytest.raises(UsageError, match="there is no lock file"):
        registry.find(project, "uv.lock")
    (project / "packages.lock").touch()
    with pytest.raises(UsageError, match="known kind"):
        registry.find(project, "packages.lock")


@pytest.mark.parametrize(
    ("name", "text", "asked"),
    [
        ("pylock.toml", 'lock-version = "1.0"\nrequires-python = ">=3.12"\n[[packages]]\n', ">=3.12"),
        ("pylock.toml", 'lock-version = "1.0"\n[[packages]]\nname="x"\nrequires-python = ">=3.12"\n', None),
        ("script.py", BLOCK, ">=3.9"),
        ("requirements.txt", "idna\n", "==3.11.*"),
        ("uv.lock", "", "==3.11.*"),
    ],
)
def test_the_python_that_a_lock_file_asks_for(project, name, text, asked):
    (project / "pyproject.toml").write_text('[project]\nname = "x"\nrequires-python = "==3.11.*"\n')
    (project / name).write_text(text)
    assert registry.find(project, name).requires_python == asked


def test_the_checksum_covers_what_the_lock_file_includes_and_nothing_else(project):
    path = project / "requirements.txt"
    path.write_text("-r more.txt\n-c https://example.org/x.txt\n--requirement=again.txt\n")
    (project / "more.txt").write_text("-r requirements.txt\n")  # in a circle
    seen = [registry.find(project).digest]
    for name in ("more.txt", "again.txt"):
        (project / name).write_text("idna\n")
        seen.append(registry.find(project).digest)
    (project / "other.txt").write_text("idna\n")
    assert len({*seen}) == 3
    assert registry.find(project).digest == seen[-1]


def test_a_script_has_one_block(project):
    path = project / "script.py"
    for text in ("print()\n", BLOCK + "\n" + BLOCK):
        path.write_text(text)
        with pytest.raises(ScriptError, match="block"):
            script_block.block(path)
    (project / "lesson.ipynb").write_text("[1]")
    with pytest.raises(ScriptError, match="cannot read"):
        script_block.block(project / "lesson.ipynb")


def test_the_block_of_a_cell_that_has_run_counts_where_nothing_else_does(project, home, monkeypatch):
    runtime = Machine.detect()
    assert kind(find_lock(project, InstallOptions(), runtime)) is None
    shell = type("Shell", (), {"user_ns": {"In": ["", BLOCK.replace("idna", "old"), f"{BLOCK}import idna", "1"]}})
    monkeypatch.setattr("IPython.get_ipython", lambda: shell)  # the edge: no notebook runs these tests
    found = find_lock(project, InstallOptions(), runtime)
    assert (kind(found), found.path.read_text()) == ("script", BLOCK)
    assert runtime.data in found.path.parents
    (project / "pyproject.toml").write_text(OWN)
    assert kind(find_lock(project, InstallOptions(), runtime)) == "pyproject.toml"
    (project / "uv.lock").touch()
    assert kind(find_lock(project, InstallOptions(), runtime)) == "uv.lock"


def test_the_groups_that_poetry_takes_by_default(project):
    (project / "pyproject.toml").write_text(
        '[dependency-groups]\nlint = ["idna"]\nrare = ["six"]\n[tool.poetry.dev-dependencies]\nidna = "*"\n'
        "[tool.poetry.group.docs]\noptional = true\n[tool.poetry.group.rare]\noptional = true\n"
        '[tool.poetry.group.test.dependencies]\nidna = "*"\n[tool.poetry.group.main.dependencies]\nidna = "*"\n'
    )
    assert sorted(Pyproject.read(project).poetry_groups) == ["dev", "lint", "test"]


# --- what a lock file says


def said_by(lock: LockFile, python: Interpreter, **selected: tuple[str, ...]) -> str:
    return lock.format.export(lock, Selection(**selected), python=python.path, machine=Machine.detect())


@pytest.mark.network
def test_every_lock_file_can_be_asked_what_it_says(machine, project, here, tmp_path):
    runtime = Machine.detect()

    def ask(path, **more):
        return said_by(registry.find(path.parent, path), here, **more)

    text = ask(LOCKS / "web/poetry.lock", extras=("nice",), groups=("docs",))
    assert "httpx==0.27.2 ;" in text
    assert "rich==13.9.4" in text
    assert "mistune==3" in text
    assert "pytest" not in text
    assert text.count("--hash=sha256:") > 20
    uv_lock = uv_locked(project)
    assert "six==1.16.0" in ask(uv_lock)
    assert "toml" not in ask(uv_lock, groups=())
    library(project / "frompath")
    (project / "requirements.txt").write_text("idna<3.7\n./frompath\n")
    assert "idna==3.6 \\\n    --hash=sha256:" in ask(project / "requirements.txt")
    (project / "script.py").write_text(BLOCK.replace("idna", "idna<3.7"))
    assert "idna==3.6" in ask(project / "script.py")
    command = [uv_program(), "pip", "compile", "-q", "--format=pylock.toml", "-opylock.toml", "requirements.txt"]
    subprocess.run([*command, "--python", sys.executable], cwd=project, check=True)
    said = ask(project / "pylock.toml").splitlines()
    assert "idna==3.6" in said
    assert any(line.startswith("frompath @ file:") for line in said)
    assert sorted(runtime.data.glob(".passing-*")) == []


@pytest.mark.network
def test_what_a_stale_lock_file_says_is_not_told(machine, project, here):
    for name in ("pyproject.toml", "poetry.lock"):
        text = (LOCKS / "web" / name).read_text()
        (project / name).write_text(text.replace('"httpx (==0.27.2)"', '"httpx (==0.27.0)"'))
    with pytest.raises(LockMismatchError, match=r"poetry\.lock does not belong"):
        said_by(registry.find(project), here)


def test_a_poetry_lock_needs_poetry(project, here):
    (project / "poetry.lock").touch()
    with pytest.raises(MissingStepError, match="Poetry is not installed"):
        said_by(registry.find(project), here)
    with pytest.raises(MissingStepError, match="Poetry is not installed"):
        poetry_lock.require_poetry(Machine.detect())


def test_trusted_hosts_are_told_to_uv_without_a_password():
    text = "--trusted-host me:pw@inner.example:8080\nidna==3.6\n--trusted-host=other\n"
    assert installing.trusting(text) == ["--allow-insecure-host=inner.example:8080", "--allow-insecure-host=other"]


# --- how far it is


class Screen(_report.Silent):
    def __init__(self) -> None:
        self.shown: list[str] = []

    def show(self, work: _report.Work) -> None:
        self.shown.append(str(work))


def test_an_installation_shows_packages_bytes_speed_and_time():
    screen = Screen()
    with _report.screen(screen), _report.activity("Installing"):
        activity = _report._current.get()
        activity._drawn = 0.0
        _report.packages(30, 120, written=60_000_000, share=0.4, seconds=10.0)
    (line,) = (text for text in screen.shown if "·" in text)
    assert line == f"Installing · [{'█' * 3}{'·' * 5}]  30/120 packages  15 s left  60.0 MB written  6.0 MB/s"
    assert len(line) <= 80


def test_packages_are_counted_as_they_arrive_in_uvs_cache(tmp_path, monkeypatch):
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(_report, "packages", lambda done, total, **_: told.append((done, total)))
    (tmp_path / "archive-v0/old").mkdir(parents=True)
    follower = uv_install.Follower(tmp_path)
    follower.on_tick(1)
    assert told == []  # everything may be in the cache
    for name in ("one", "two"):
        assert follower.on_line(f"DEBUG Identified uncached distribution: {name}==1.0")
    assert not follower.on_line("Resolved 2 packages in 1ms")
    follower.on_tick(1)
    (tmp_path / "archive-v0/new").mkdir()
    follower.on_tick(1)
    assert told == [(0, 2), (1, 2)]


def test_the_time_left_goes_by_size_where_uv_names_it(tmp_path, monkeypatch):
    monkeypatch.setattr(uv_install, "_received", lambda: 0)  # as where no counter of the network is to be had
    follower = uv_install.Follower(tmp_path)
    follower.missing = 11
    for line in ("Downloading torch (2.0GiB)", "   Downloading numpy (16.0MiB)", " Downloaded numpy"):
        assert not follower.on_line(line)
    assert 0.005 < follower._share(10, 0) < 0.02  # ten of eleven packages, and nearly nothing of the bytes
    assert 0.4 < follower._share(10, 3 * 2**30) < 0.5
    assert follower._share(10, 2**40) == 0.95
    follower.on_line(" Downloaded torch")
    assert follower._share(11, 0) == 1.0


@pytest.mark.network
def test_a_real_installation_is_followed(machine, project, tmp_path, monkeypatch):
    """Whatever uv prints and wherever it keeps things, in the version that is here."""
    from colab_env import steps

    seen: list[uv_install.Follower] = []
    whole = uv_install.Follower

    def follower(cache):
        seen.append(whole(cache))
        return seen[-1]

    monkeypatch.setattr(uv_install, "Follower", follower)
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    (project / "requirements.txt").write_text("idna==3.6\nsix==1.16.0\n")
    steps.configure_venv(project, python=machine.python)
    assert seen[0].missing == 3  # with pip
    assert seen[0]._arrived() == 3


def test_wheels_of_the_same_content_have_the_same_hash(tmp_path):
    first, second = (write_wheel(tmp_path / name, "demo", "1.0").read_bytes() for name in "ab")
    assert first == second


def test_pipenvs_own_lock_counts_before_the_pylock_that_it_writes_beside_it(project):
    """The addresses in that one are made up: `https://INDEX/simple/NAME/FILE`."""
    (project / "pylock.toml").write_text(
        'lock-version = "1.0"\nenvironments = []\ncreated-by = "pipenv"\npackages = []\n'
    )
    assert registry.find(project).format.name == "pylock.toml"
    (project / "Pipfile.lock").write_text('{"_meta": {}, "default": {}, "develop": {}}')
    assert registry.find(project).format.name == "Pipfile.lock"
    (project / "pylock.toml").write_text('lock-version = "1.0"\ncreated-by = "uv"\npackages = []\n')
    assert registry.find(project).format.name == "pylock.toml"
