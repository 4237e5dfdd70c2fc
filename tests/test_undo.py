# ruff: noqa: F811  the fixtures are imported
"""`undo` gives the machine back as it was, and touches nothing that somebody changed since."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from boot_faults import ENVIRONMENT, KEPT, MACHINE_S_OWN, OWN_KERNELS, ROOT, VERSIONS, ask_to_switch, next_cell
from boot_faults import machine as colab_machine
from colab_standin import ColabRoot, Options, Page, Share, real_google_colab, serving, unavailable
from conda_standin import Server as FileServer
from conda_standin.builder import Standin
from conda_standin.fixtures import standin, standin_site  # noqa: F401
from conftest import Machine

from colab_env import _journal, setup, steps, undoing
from colab_env.runtime import Runtime
from colab_env.undoing import undo

PLACES = "/usr/local /usr/bin /root /content /etc /home /env"
FIND = f"find {PLACES} -xdev \\( -name __pycache__ -o -path '*/jupyter/runtime' -o -name .jupyter \\) -prune -o"
LISTING = f"""
{FIND} -type f -exec sha256sum {{}} + | sort
{FIND} -printf '%p %y %m %l\\n' | sort
"""


@pytest.fixture
def made(machine: Machine, project: Path) -> Path:
    steps.install_python(machine.python.version, interpreter="system")
    steps.configure_venv(project)
    steps.register_kernel("lesson", project=project)
    return project


def listing(*places: Path) -> dict[str, str]:
    found = {}
    for place in places:
        for path in [place, *place.rglob("*")]:
            if "__pycache__" not in path.parts:
                content = path.read_bytes() if path.is_file() else b""
                found[str(path)] = f"{path.lstat().st_mode} {hashlib.sha256(content).hexdigest()}"
    return found


@pytest.mark.colab
@pytest.mark.network
@pytest.mark.skipif(unavailable() is not None, reason=unavailable() or "available")
@pytest.mark.skipif(not VERSIONS.is_dir(), reason=f"no {VERSIONS}")
def test_a_colab_machine_is_as_it_was_file_by_file() -> None:
    listings: list[set[str]] = []
    with colab_machine("3.13", first=lambda root: listings.append(colab_listing_in_use(root))) as prepared:
        with Page(prepared.server.url) as page:
            page.open()
            ask_to_switch(page, prepared.kernel)
            next_cell(page, on=ENVIRONMENT)
            assert (
                "colab_kernel_launcher.py: put back"
                in page.execute("import colab_env; colab_env.undo(dry_run=True)").text
            )
            ask_to_switch(page, None)
            next_cell(page, on=MACHINE_S_OWN)
            undone = page.execute(f"import sys; sys.path.append({str(ROOT)!r}); import colab_env; colab_env.undo()")
            assert "/content/.venv: removed" in undone.text
            assert ": left" not in undone.text
        prepared.root.run(["rm", "-r", *KEPT])
        after = colab_listing(prepared.root)
    (before,) = listings
    assert len(before) > 10_000
    assert after ^ before == set()


@pytest.mark.colab
@pytest.mark.network
@pytest.mark.skipif(unavailable() is not None, reason=unavailable() or "available")
def test_a_conda_in_usr_local_goes_and_leaves_only_what_somebody_changed_since(
    standin: Standin, standin_site: Path
) -> None:
    import rattler

    outside = (ROOT, standin_site, Path(rattler.__file__).parents[1])
    shares = tuple(Share(source=path, target=str(path)) for path in outside)
    with ColabRoot.build(options=Options(google_colab=real_google_colab(), shares=shares)) as root:
        before = colab_listing_in_use(root)
        with FileServer(standin_site / "www") as server:
            install = f"installer={server.url + '/' + standin.name!r}, sha256={standin.sha256!r}"
            colab_call(
                root,
                f"colab_env.install_miniconda(python='3.12', {install})",
                *("colab_env.install_colab_packages()", "colab_env.install_poetry()"),
                *("colab_env.configure_venv('/content')", "colab_env.register_kernel('py312')"),
            )
        with serving(root) as server, Page(server.url) as page:
            assert page.open("py312").execute("import sqlite3, sys; sys.base_prefix").text == "'/usr/local'"
        changed, added = "/usr/local/bin/conda", "/usr/local/lib/python3.12/site-packages/conda/mine.py"
        root.run(["sh", "-c", f"cp -p {changed} /root/kept; echo '# mine' >> {changed}; echo '# mine' > {added}"])
        # One step alone; then all, which says first what it will do.
        assert "kernels/py312: removed" in colab_call(root, "colab_env.undo('register_kernel')")
        assert root.path(changed).is_file()
        here = colab_listing(root)
        said = colab_call(root, "colab_env.undo(dry_run=True)")
        assert colab_listing(root) == here
        assert f"✗ {changed}: left, somebody changed it since" in said
        assert f"✗ {added}: left, somebody put it there since" in said
        assert "✓ /usr/local: put back" in said
        done = colab_call(root, "colab_env.undo()")
        assert [line for line in said.splitlines() if "/usr/local" in line] == [
            line for line in done.splitlines() if "/usr/local" in line
        ]
        assert "# mine" in root.path(changed).read_text()
        assert root.path(added).read_text() == "# mine\n"
        assert sorted(root.path("/usr/local/lib/python3.12").rglob("*.py")) == [root.path(added)]
        # What stands in the way goes; then a last call finishes.
        root.run(["rm", "/root/kept", changed, added])
        assert "left" not in colab_call(root, "colab_env.undo()")
        assert colab_listing(root) ^ before == set()


def colab_listing(root: ColabRoot) -> set[str]:
    return set(root.run(["sh", "-c", LISTING], timeout=300).stdout.splitlines())


def colab_listing_in_use(root: ColabRoot) -> set[str]:
    # What Jupyter and IPython write at their first start is not ours.
    with serving(root) as server, Page(server.url) as page:
        page.open().execute("1")
    assert root.run(["sh", "-ec", OWN_KERNELS]).returncode == 0
    return colab_listing(root)


def colab_call(root: ColabRoot, *calls: str) -> str:
    code = "import colab_env\n" + "\n".join(f"print({call})" for call in calls)
    done = root.run(["/usr/bin/python3", "-c", code], env={"PYTHONPATH": str(ROOT)}, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.network
def test_what_the_steps_made_goes_and_what_they_changed_comes_back(machine: Machine, project: Path, home: Path) -> None:
    (project / "pyproject.toml").write_text("[tool.poetry]\npackage-mode = false\n")
    (home / ".local").mkdir()
    before = listing(project)
    steps.install_python(machine.python.version, interpreter="system")
    steps.configure_venv(project)
    steps.register_kernel("lesson", project=project)
    assert listing(project) != before
    result = undo()
    assert result.complete, result
    assert listing(project) == before
    assert not (home / ".local/share/jupyter/kernels").exists()
    assert not machine.data.exists()
    assert "nothing to undo" in repr(undo())


@pytest.mark.network
def test_a_home_directory_is_as_empty_as_before(home: Path, project: Path) -> None:
    (project / "requirements.txt").write_text("six==1.16.0\n")
    before = sorted(home.rglob("*"))
    setup(project=project, interpreter="system")
    assert sorted(home.rglob("*")) != before
    assert undo().complete
    assert sorted(home.rglob("*")) == before
    assert "nothing to undo" in repr(undo())
    assert sorted(home.rglob("*")) == before


@pytest.mark.network
def test_a_dry_run_says_the_same_and_changes_nothing(made: Path, machine: Machine) -> None:
    before = listing(made)
    said = undo(dry_run=True)
    assert listing(made) == before
    assert {place.path for place in said.places} >= {made / ".venv", made / "pyproject.toml"}


@pytest.mark.network
def test_one_step_alone_is_undone(made: Path, machine: Machine, home: Path) -> None:
    undo("register_kernel")
    assert not (home / ".local/share/jupyter/kernels/lesson").exists()
    assert (made / ".venv").is_dir()
    steps.register_kernel("lesson", project=made)
    assert (home / ".local/share/jupyter/kernels/lesson").is_dir()


@pytest.mark.network
def test_what_somebody_changed_since_is_left_and_named(made: Path, machine: Machine, home: Path) -> None:
    (made / "poetry.toml").write_text("# mine now\n")
    kernel = home / ".local/share/jupyter/kernels/lesson/kernel.json"
    kernel.write_text('{"argv": ["mine"]}')
    result = undo()
    left = {place.path.name: place.reason for place in result.places if place.reason}
    assert left == {"poetry.toml": "somebody changed it since", "lesson": "it is not what colab-env made there"}
    assert ((made / "poetry.toml").read_text(), kernel.read_text()) == ("# mine now\n", '{"argv": ["mine"]}')
    assert not (made / ".venv").exists()
    (made / "poetry.toml").unlink()
    kernel.unlink()
    kernel.parent.rmdir()
    assert undo().complete
    assert not machine.data.exists()


@pytest.mark.network
def test_an_environment_that_was_set_aside_comes_back(machine: Machine, project: Path) -> None:
    (project / ".venv").mkdir()
    (project / ".venv" / "pyvenv.cfg").write_text("home = /nowhere\n")
    before = listing(project)
    steps.install_python(machine.python.version, interpreter="system")
    steps.configure_venv(project)
    assert (project / ".venv.old").is_dir()
    undo()
    assert listing(project) == before


def test_outside_of_steps_nothing_is_noted(home: Path, tmp_path: Path) -> None:
    from colab_env import _files

    _files.write_text(tmp_path / "x", "1")
    assert _journal.entries(Runtime.detect()) == []


def test_a_step_that_could_not_begin_is_over(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from colab_env import _files

    (tmp_path / "taken").write_text("")
    with monkeypatch.context() as taken:
        taken.setenv("COLAB_ENV_HOME", str(tmp_path / "taken" / "below"))
        with pytest.raises(OSError, match="taken"), _journal.during("test"):
            pass
    _files.write_text(tmp_path / "x", "1")
    assert _journal.entries(Runtime.detect()) == []


def test_a_file_comes_back_with_its_mode_and_time(home: Path, tmp_path: Path) -> None:
    from colab_env import _files

    place = tmp_path / "x"
    place.write_text("before")
    place.chmod(0o640)
    os.utime(place, ns=(1_000_000_000, 1_000_000_000))
    with _journal.during("test"):
        _files.write_text(place, "after")
    assert undoing.undo("test").places[0].action == "put back"
    assert (place.read_text(), place.stat().st_mode & 0o777, place.stat().st_mtime_ns) == ("before", 0o640, 10**9)
