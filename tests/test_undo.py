# ruff: noqa: F811  the fixtures are imported
"""`undo` gives the machine back as it was, and touches nothing that somebody changed since."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from boot_faults import ENVIRONMENT, KEPT, MACHINE_S_OWN, OWN_KERNELS, ROOT, VERSIONS, ask_to_switch, next_cell
from boot_faults import machine as colab_machine
from colab_standin import ColabRoot, Options, Page, Share, real_google_colab, serving, unavailable
from conda_standin import Server as FileServer
from conda_standin.builder import Standin
from conda_standin.fixtures import standin, standin_site  # noqa: F401
from conftest import PreparedMachine, start_python

from colab_env import _file_locks, _files, _ledger, _transactions, cli, setup, steps
from colab_env.content import Survey
from colab_env.content import write as write_content
from colab_env.errors import NotOursError, NotWritableError, UsageError
from colab_env.jupyter import kernelspec
from colab_env.machine import Machine
from colab_env.miniconda import _overlay
from colab_env.step import changing, machine_lock
from colab_env.undoing import undo

PLACES = "/usr/local /usr/bin /root /content /etc /home /env"
FIND = f"find {PLACES} -xdev \\( -name __pycache__ -o -path '*/jupyter/runtime' -o -name .jupyter -o -name .cache \\) -prune -o"
LISTING = f"""
{FIND} -type f -exec sha256sum {{}} + | sort
{FIND} -printf '%p %y %m %l\\n' | sort
"""


@pytest.fixture
def made(machine: PreparedMachine, project: Path) -> Path:
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


@pytest.mark.machine
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
            assert "usercustomize.py: removed" in page.execute("import colab_env; colab_env.undo(dry_run=True)").text
            ask_to_switch(page, None)
            next_cell(page, on=MACHINE_S_OWN)
            undone = page.execute(f"import sys; sys.path.append({str(ROOT)!r}); import colab_env; colab_env.undo()")
            card = undone.displays[-1]["text/plain"]
            assert "/content/.venv: removed" in card
            assert ": left" not in card
        prepared.root.run(["rm", "-r", *KEPT])
        after = colab_listing(prepared.root)
    (before,) = listings
    assert len(before) > 10_000
    assert after ^ before == set()


@pytest.mark.machine
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
def test_what_the_steps_made_goes_and_what_they_changed_comes_back(
    machine: PreparedMachine, project: Path, home: Path
) -> None:
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
def test_a_set_up_is_undone_not_at_all_by_one_step_and_but_for_what_somebody_changed(
    made: Path, machine: PreparedMachine, home: Path
) -> None:
    before = listing(made)
    said = undo(dry_run=True)
    assert listing(made) == before
    assert {place.path for place in said.places} >= {made / ".venv", made / "pyproject.toml"}
    # One step alone, which can be done again.
    undo("register_kernel")
    kernel = home / ".local/share/jupyter/kernels/lesson/kernel.json"
    assert not kernel.parent.exists()
    assert (made / ".venv").is_dir()
    steps.register_kernel("lesson", project=made)
    assert kernel.is_file()
    # What somebody changed since is left and named, until they clear it away.
    (made / "poetry.toml").write_text("# mine now\n")
    kernel.write_text('{"argv": ["mine"]}')
    result = undo()
    left = {place.path.name: place.reason for place in result.places if place.reason}
    assert left == {"poetry.toml": "somebody changed it since", "lesson": "it is not what colab-env made there"}
    assert ((made / "poetry.toml").read_text(), kernel.read_text()) == ("# mine now\n", '{"argv": ["mine"]}')
    assert not (made / ".venv").exists()
    (made / "poetry.toml").unlink()
    kernel.unlink()
    assert undo().complete
    assert not machine.data.exists()


@pytest.mark.network
def test_what_has_lost_its_receipt_goes_all_the_same(made: Path, machine: PreparedMachine) -> None:
    (made / ".venv" / _files.RECEIPT).unlink()
    assert undo(project=made).complete
    assert not (made / ".venv").exists()


@pytest.mark.parametrize("name", ["poetry", "uv", "anywhere"])
def test_a_directory_that_has_lost_its_receipt_goes_all_the_same(home: Path, tmp_path: Path, name: str) -> None:
    machine = Machine.detect()
    place = tmp_path / name if name == "anywhere" else machine.data / name
    for _ in range(2):  # and is no stranger's to the step that makes it anew
        with changing("install_poetry", machine), _transactions.replacing(place):
            (place / "program").write_text("any")
            write_content(place, Survey(place).content({}))
            _files.write_receipt(place, {"any": 1})
        (place / _files.RECEIPT).unlink()
    assert undo().complete
    assert not place.exists()
    assert not machine.data.exists()


@pytest.mark.network
def test_an_environment_that_has_lost_its_receipt_is_made_anew_and_not_set_aside(
    made: Path, machine: PreparedMachine
) -> None:
    (made / ".venv" / _files.RECEIPT).unlink()
    assert steps.configure_venv(made).changed
    assert not (made / ".venv.old").exists()
    assert undo().complete
    assert not list(made.glob(".venv*"))


@pytest.mark.network
def test_an_environment_that_was_set_aside_comes_back(machine: PreparedMachine, project: Path) -> None:
    (project / ".venv").mkdir()
    (project / ".venv" / "pyvenv.cfg").write_text("home = /nowhere\n")
    before = listing(project)
    steps.install_python(machine.python.version, interpreter="system")
    steps.configure_venv(project)
    assert (project / ".venv.old").is_dir()
    undo()
    assert listing(project) == before


def test_outside_of_steps_nothing_is_noted(home: Path, tmp_path: Path) -> None:
    _files.write_text(tmp_path / "x", "1")
    assert _ledger.Ledger(Machine.detect().data).read().entries == ()


def test_a_step_that_could_not_begin_is_over(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "taken").write_text("")
    with monkeypatch.context() as taken:
        taken.setenv("COLAB_ENV_HOME", str(tmp_path / "taken" / "below"))
        with pytest.raises(OSError, match="taken"), _ledger.recording("test", Machine.detect()):
            pass
    _files.write_text(tmp_path / "x", "1")
    assert _ledger.Ledger(Machine.detect().data).read().entries == ()


def test_a_file_comes_back_with_its_mode_and_time(home: Path, tmp_path: Path) -> None:
    place = tmp_path / "x"
    place.write_text("before")
    place.chmod(0o640)
    os.utime(place, ns=(1_000_000_000, 1_000_000_000))
    with _ledger.recording("test", Machine.detect()):
        _files.write_text(place, "after")
    assert undo().places[0].action == "put back"
    assert (place.read_text(), place.stat().st_mode & 0o777, place.stat().st_mtime_ns) == ("before", 0o640, 10**9)


# --- killed, and called again

CHANGES = """
import os, shutil, sys
from pathlib import Path
from colab_env import _file_locks, _files, _ledger, _transactions
from colab_env.machine import Machine
from colab_env.step import changing

def change(place):
    "Every kind of change that the ledger knows, in and below `place`."
    with changing("add", Machine.detect()):
        _files.write_text(place / "changed", "after")
        _files.write_text(place / "new" / "inside" / "made", "after")
        _files.remove(place / "removed")
        _files.link(place / "link", "nowhere")
        with _transactions.replacing(place / "tree"):
            for name in range(5):
                (place / "tree" / str(name)).write_text("after")
            _files.write_receipt(place / "tree", {"any": 1})
        _files.move(place / "foreign", place / "foreign.old")
        with _transactions.replacing(place / "foreign"):
            _files.write_receipt(place / "foreign", {"any": 1})
        with _transactions.restoring(place / "by tool"):
            (place / "by tool").write_text("after")
"""
# For each operation on the file system: a process that kills itself just before it.
MORTAL_UNDO = (
    CHANGES
    + """
import signal
from colab_env import undoing
import colab_env.jupyter.kernelspec, ctypes

place, moment, count = Path(sys.argv[1]), 0, 0

def hook(event, arguments):
    global count
    changes = ("os.rename", "os.remove", "os.link", "os.mkdir", "os.rmdir", "os.chmod", "os.symlink", "os.utime")
    writing = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
    if event in changes or writing:
        count += 1
        if count == moment:
            os.kill(os.getpid(), signal.SIGKILL)

undoing.undo(dry_run=True)
status = 1
while status:
    moment += 1
    change(place)
    mortal = os.fork()
    if mortal == 0:
        sys.addaudithook(hook)
        undoing.undo()
        os._exit(0)
    status = os.waitpid(mortal, 0)[1]
    assert status in (0, signal.SIGKILL), status
    result = undoing.undo()
    assert result.complete, (moment, result)
    os.system(f"{sys.argv[2]} >> {sys.argv[3]}/{moment}")
print(moment)
"""
)


def before_changes(place: Path) -> None:
    place.mkdir()
    for name in ("changed", "removed", "by tool"):
        (place / name).write_text("before" * 100)
        (place / name).chmod(0o640)
        os.utime(place / name, ns=(10**9, 10**9))
    (place / "foreign").mkdir()
    (place / "foreign" / "file").write_text("mine")


def test_an_undo_that_is_killed_anywhere_is_ended_by_the_next_one(home: Path, tmp_path: Path) -> None:
    place, seen = tmp_path / "place", tmp_path / "seen"
    before_changes(place)
    seen.mkdir()
    # What is there, with modes and times of files and the content's sum, of the home directory too.
    look = f"cd / && find {home} {place} -printf '%p %y %m %l\\n' -type f -printf '%T@ ' -exec sha256sum {{}} +"
    before = subprocess.run(["sh", "-c", look], capture_output=True, text=True, check=True).stdout
    done = subprocess.run(
        [sys.executable, "-c", MORTAL_UNDO, place, look, seen],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    moments = int(done.stdout)
    assert moments > 30
    different = {
        path.name: path.read_text()
        for path in seen.iterdir()
        if set(path.read_text().splitlines()) != set(before.splitlines())
    }
    assert different == {}
    assert len(list(seen.iterdir())) == moments


def test_undo_waits_for_a_step_that_runs(home: Path, tmp_path: Path) -> None:
    step = start_python(
        "import sys, time\nfrom pathlib import Path\nfrom colab_env.step import changing\n"
        "from colab_env.machine import Machine\nfrom colab_env import _files\n"
        f"with changing('add', Machine.detect()):\n    Path({str(tmp_path / 'began')!r}).touch()\n"
        f"    while not Path({str(tmp_path / 'go')!r}).exists(): time.sleep(0.01)\n"
        f"    _files.write_text(Path({str(tmp_path / 'file')!r}), 'text')\n"
    )
    until((tmp_path / "began").exists)
    undone = start_python("import colab_env\nprint(colab_env.undo(), flush=True)")
    assert undone.stdout is not None
    assert "Waiting for another run" in undone.stdout.readline()
    (tmp_path / "go").touch()
    assert "file: removed" in undone.communicate(timeout=60)[0]
    step.communicate(timeout=60)
    assert step.returncode == 0
    assert not (tmp_path / "file").exists()
    assert sorted(home.rglob("*")) == []


def test_a_step_waits_for_undo(home: Path, tmp_path: Path) -> None:
    with _file_locks.locked(machine_lock(Machine.detect())):
        step = start_python(
            "from pathlib import Path\nfrom colab_env.step import changing\nfrom colab_env.machine import Machine\n"
            f"with changing('add', Machine.detect()):\n    Path({str(tmp_path / 'began')!r}).touch()\n"
        )
        assert step.stdout is not None
        assert "Waiting for another run" in step.stdout.readline()
        assert not (tmp_path / "began").exists()
        machine_lock(Machine.detect()).unlink()  # as undo does at its end: nobody may hold a lock that is no more
    step.communicate(timeout=60)
    assert (tmp_path / "began").exists()
    assert machine_lock(Machine.detect()).exists()


def until(there: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not there() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert there()


@pytest.mark.parametrize("name", ["frob", "register_kernels", "create"])
def test_a_step_that_does_not_exist_is_named(home: Path, name: str) -> None:
    with pytest.raises(UsageError, match=f"no step is called '{name}'"):
        undo(name)
    assert sorted(home.rglob("*")) == []


def test_a_step_may_be_written_as_its_command_is(home: Path, tmp_path: Path) -> None:
    with changing("register_kernel", Machine.detect()):
        _files.write_text(tmp_path / "x", "1")
    assert [place.path for place in undo("register-kernel").places] == [tmp_path / "x"]


def test_only_one_project_is_undone(home: Path, tmp_path: Path) -> None:
    runtime = Machine.detect()
    for name in ("one", "two"):
        with changing("configure_venv", runtime):
            _files.write_text(tmp_path / name / "poetry.toml", "")
        own = {"project": str(tmp_path / name), "tier": "plain", "layer": "/layer"}
        spec = {"argv": ["x"], "display_name": name, "env": {}, "metadata": {"colab_env": own}}
        with changing("register_kernel", runtime):
            kernelspec.write(runtime, name, spec)
    result = undo(project=tmp_path / "one")
    assert [place.path for place in result.places] == [
        runtime.jupyter / "kernels" / "one",
        tmp_path / "one" / "poetry.toml",
    ]
    assert not (tmp_path / "one").exists()
    assert (tmp_path / "two" / "poetry.toml").exists()
    assert undo().complete
    assert not (tmp_path / "two").exists()


def test_the_command_says_by_its_code_that_something_is_left(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with changing("add", Machine.detect()):
        _files.write_text(tmp_path / "x", "1")
    (tmp_path / "x").write_text("mine")
    assert cli.main(["undo", "--dry-run"]) == 0
    assert cli.main(["undo"]) == 27
    assert "somebody changed it since" in capsys.readouterr().out
    (tmp_path / "x").unlink()
    assert cli.main(["undo"]) == 0


def test_caches_of_other_tools_and_named_environments_stay(home: Path, tmp_path: Path) -> None:
    runtime = Machine.detect()
    base = runtime.data / "envs" / "web"
    with changing("configure_venv", runtime):
        (home / ".cache" / "uv").mkdir(parents=True)
        _files.write_text(tmp_path / "x", "1")
    # The first version recorded both.
    ledger = _ledger.Ledger(runtime.data)
    for path, step in ((home / ".cache" / "uv", "configure_venv"), (tmp_path / "adopted", "adopt")):
        path.mkdir(parents=True, exist_ok=True)
        ledger.append(_ledger.Entry(step=step, path=path, before=None, after=_ledger.BY_TOOL))
    base.mkdir(parents=True)
    result = undo()
    assert result.complete
    assert "envs: kept, its environments go by `colab-env env purge`" in repr(result)
    assert base.is_dir()
    assert (home / ".cache" / "uv").is_dir()
    assert (tmp_path / "adopted").is_dir()
    # The ledger stays too: it says which parents were made.
    assert sorted(path.name for path in runtime.data.iterdir()) == ["envs", "journal"]


@pytest.mark.parametrize("name", ["kept", "kept too"])
def test_a_kept_content_that_is_damaged_is_not_put_back(home: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("before")
    with changing("add", Machine.detect()):
        _files.write_text(tmp_path / name, "after")
    ledger = _ledger.Ledger(Machine.detect().data)
    ledger.content(hashlib.sha256(b"before").hexdigest()).write_text("befor")
    assert "the copy that was kept of it is damaged" in repr(undo())
    assert (tmp_path / name).read_text() == "after"


def test_a_link_comes_back_as_a_link(home: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("target")
    with changing("add", Machine.detect()):
        _files.remove(tmp_path / "link")
    undo()
    assert (tmp_path / "link").readlink() == Path("target")


def test_behind_a_linked_home_directory_everything_goes_too(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = tmp_path / "link"
    link.symlink_to(home)
    for name in ("HOME", "XDG_DATA_HOME", "JUPYTER_DATA_DIR", "COLAB_ENV_HOME"):
        monkeypatch.setenv(name, os.environ[name].replace(str(home), str(link)))
    runtime = Machine.detect()
    with changing("register_kernel", runtime):
        _files.write_text(runtime.data / "bin" / "poetry", "text")
        with _transactions.replacing(runtime.jupyter / "kernels" / "py"):
            _files.write_text(runtime.jupyter / "kernels" / "py" / "file", "text")
            _files.write_receipt(runtime.jupyter / "kernels" / "py", {"any": 1})
    assert [entry.path for entry in _ledger.Ledger(runtime.data).read().entries] == [
        runtime.data,
        runtime.jupyter / "kernels" / "py",
    ]
    assert undo().complete
    assert sorted(home.rglob("*")) == []


# --- what is not ours


def test_a_directory_that_has_what_would_be_ours_is_not_taken_for_our_data(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shared" / "bin").mkdir(parents=True)
    monkeypatch.setenv("COLAB_ENV_HOME", str(tmp_path / "shared"))
    with pytest.raises(NotOursError, match="has 'bin', which colab-env did not make"):
        steps.install_python(interpreter="system")
    assert undo().complete
    assert [path.name for path in (tmp_path / "shared").iterdir()] == ["bin"]


def test_what_lies_in_a_directory_that_is_named_for_our_data_stays(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shared" / "lost+found").mkdir(parents=True)
    monkeypatch.setenv("COLAB_ENV_HOME", str(tmp_path / "shared"))
    with changing("add", Machine.detect()):
        _files.write_text(tmp_path / "x", "1")
    assert undo().complete
    assert not (tmp_path / "x").exists()
    assert (tmp_path / "shared" / "lost+found").is_dir()


def test_what_somebody_put_into_our_data_directory_stays(home: Path, tmp_path: Path) -> None:
    runtime = Machine.detect()
    with changing("add", runtime):
        _files.write_text(tmp_path / "x", "1")
    (runtime.data / "thesis.txt").write_text("precious")
    result = undo()
    assert result.complete
    assert "thesis.txt: kept, colab-env did not make it" in repr(result)
    assert (runtime.data / "thesis.txt").read_text() == "precious"
    assert not (tmp_path / "x").exists()
    (runtime.data / "thesis.txt").unlink()
    undo()
    assert sorted(home.rglob("*")) == []


def test_another_spelling_of_the_home_directory_changes_nothing(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("XDG_DATA_HOME", "COLAB_ENV_HOME", "JUPYTER_DATA_DIR"):
        monkeypatch.delenv(name)
    link = tmp_path / "link"
    link.symlink_to(home)
    monkeypatch.setenv("HOME", str(link))
    with changing("install_python", Machine.detect()):
        pass
    monkeypatch.setenv("HOME", str(home))
    (Machine.detect().data / "envs" / "mine").mkdir(parents=True)
    undo("install_python")
    assert (Machine.detect().data / "envs" / "mine").is_dir()
    undo()
    assert (Machine.detect().data / "envs" / "mine").is_dir()


@pytest.mark.parametrize("name", [".conda/envs/mine", ".config/pypoetry/auth.toml"])
def test_what_somebody_put_beside_what_a_tool_makes_stays(home: Path, name: str) -> None:
    with changing("install_miniconda", Machine.detect()):
        (home / ".conda").mkdir()
        (home / ".conda" / "environments.txt").touch()
        (home / ".config" / "pypoetry").mkdir(parents=True)
    (home / name).parent.mkdir(parents=True, exist_ok=True)
    (home / name).write_text("precious")
    result = undo()
    assert result.complete
    assert f"kept, it holds {Path(name).parts[1] if 'conda' in name else 'auth.toml'}" in repr(result)
    kept = {str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()}
    assert kept == {name, *([".conda/environments.txt"] if "conda" in name else [])}


def test_a_project_below_the_caches_is_undone_too(home: Path) -> None:
    project = home / ".cache" / "lesson"
    project.mkdir(parents=True)
    with changing("configure_venv", Machine.detect()):
        _files.write_text(project / "poetry.toml", "")
    assert undo().complete
    assert list(project.iterdir()) == []


def test_a_ledger_that_is_gone_is_said(home: Path, tmp_path: Path) -> None:
    runtime = Machine.detect()
    with changing("configure_venv", runtime):
        _files.write_text(tmp_path / "x", "1")
        _files.write_json(runtime.data / "chosen.json", {})
    (runtime.data / "journal" / "journal.jsonl").unlink()
    result = undo()
    assert not result.complete
    assert "it is gone, and what it said is unknown" in repr(result)
    assert (tmp_path / "x").exists()


@pytest.mark.parametrize("lost", ["", "[]", "first"])
def test_a_ledger_that_has_lost_its_beginning_is_said(home: Path, tmp_path: Path, lost: str) -> None:
    """A last line without its end is that of a run that was killed, but there is a line before it."""
    runtime = Machine.detect()
    with changing("configure_venv", runtime):
        _files.write_text(tmp_path / "x", "1")
        _files.write_json(runtime.data / "chosen.json", {})
    file = runtime.data / "journal" / "journal.jsonl"
    file.write_text(file.read_text().partition("\n")[2] if lost == "first" else lost)
    result = undo()
    assert not result.complete
    assert "its beginning is lost, and what it said is unknown" in repr(result)
    assert (runtime.data / "chosen.json").exists()
    assert not undo().complete


def test_the_first_releases_ledger_has_no_beginning_and_is_undone(home: Path, tmp_path: Path) -> None:
    data, place = Machine.detect().data, tmp_path / "x"
    place.write_text("1")
    after = hashlib.sha256(b"1").hexdigest()
    entry = {"step": "configure_venv", "path": str(place), "before": None, "after": after, "made": []}
    _files.write_json(data / "chosen.json", {})
    _files.write_text(data / "journal" / "journal.jsonl", json.dumps(entry) + "\n")
    assert undo().complete
    assert not place.exists()
    assert not data.exists()


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to(path)])
def test_something_else_in_the_ledgers_place_is_said_and_nothing_waits(
    home: Path, tmp_path: Path, make: Callable[[Path], object]
) -> None:
    runtime = Machine.detect()
    (runtime.data / "journal").mkdir(parents=True)
    make(runtime.data / "journal" / "journal.jsonl")
    assert not undo(dry_run=True).complete
    with pytest.raises(NotWritableError, match=r"journal\.jsonl"), changing("add", runtime):
        _files.write_text(tmp_path / "x", "1")


def test_a_lock_that_is_a_link_is_a_lock(home: Path, tmp_path: Path) -> None:
    lock = machine_lock(Machine.detect())
    lock.parent.mkdir(parents=True)
    lock.symlink_to(tmp_path / "elsewhere")
    with changing("add", Machine.detect()):
        pass
    assert undo().complete


# --- one path that cannot be put back


def test_what_cannot_be_put_back_keeps_nothing_else_from_it(home: Path, tmp_path: Path) -> None:
    (tmp_path / "two").write_text("before")
    with changing("add", Machine.detect()):
        for name in ("one", "two", "three"):
            _files.write_text(tmp_path / name, "after")
    put_back = _files.put_back

    def fail(path: Path, *_: object, **__: object) -> None:
        msg = f"cannot write {path}"
        raise NotWritableError(msg)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_files, "put_back", fail)
        result = undo()
    assert [(place.path.name, place.action) for place in result.places] == [
        ("three", "removed"),
        ("two", "left"),
        ("one", "removed"),
    ]
    assert put_back is _files.put_back
    assert undo().complete
    assert (tmp_path / "two").read_text() == "before"


def test_a_leftover_that_cannot_be_cleared_away_stops_no_other_project(home: Path, read_only: Path) -> None:
    runtime = Machine.detect()
    with changing("configure_venv", runtime) as _:
        _ledger.note(read_only / ".venv", _ledger.TREE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_transactions, "leftovers", lambda path: [path] if path.parent == read_only else [])
        with changing("configure_venv", runtime):
            pass
        assert undo().complete


def test_what_was_set_aside_and_deleted_since_needs_not_come_back(home: Path, tmp_path: Path) -> None:
    (tmp_path / ".venv").mkdir()
    with changing("configure_venv", Machine.detect()):
        _files.move(tmp_path / ".venv", tmp_path / ".venv.old")
        with _transactions.replacing(tmp_path / ".venv"):
            _files.write_receipt(tmp_path / ".venv", {"any": 1})
    (tmp_path / ".venv.old").rmdir()
    assert undo().complete
    assert list(tmp_path.glob(".venv*")) == []


def test_what_a_step_was_changing_when_it_was_killed_is_said(home: Path, tmp_path: Path) -> None:
    with changing("configure_venv", Machine.detect()):
        _ledger.note(tmp_path / "poetry.lock", _ledger.UNKNOWN)
        (tmp_path / "poetry.lock").write_text("half, or somebody's by now")
    result = undo()
    assert "run that step again, and then undo" in repr(result)
    assert (tmp_path / "poetry.lock").exists()


def test_parents_go_with_the_last_of_what_they_hold(home: Path) -> None:
    runtime = Machine.detect()
    for name in ("one", "two"):
        with changing("register_kernel", runtime):
            own = {"project": f"/{name}", "tier": "plain", "layer": "/layer"}
            spec = {"argv": ["x"], "display_name": name, "env": {}, "metadata": {"colab_env": own}}
            kernelspec.write(runtime, name, spec)
    undo(project="/one")
    assert [path.name for path in (runtime.jupyter / "kernels").iterdir()] == ["two"]
    undo()
    assert sorted(home.rglob("*")) == []


def test_a_project_inside_of_another_one_is_not_undone_with_it(home: Path, tmp_path: Path) -> None:
    with changing("configure_venv", Machine.detect()):
        for project in (tmp_path / "outer", tmp_path / "outer" / "inner"):
            _files.write_text(project / "poetry.toml", "")
    undo(project=tmp_path / "outer")
    assert [path.name for path in (tmp_path / "outer").iterdir()] == ["inner"]
    assert (tmp_path / "outer" / "inner" / "poetry.toml").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
@pytest.mark.parametrize("what", ["mount point", "overlay"])
def test_a_data_directory_that_cannot_be_renamed_is_emptied(home: Path, tmp_path: Path, what: str) -> None:
    runtime = Machine.detect()
    lower, upper, work = (tmp_path / name for name in ("lower", "upper", "work"))
    for place in (runtime.data, lower / "colab-env", upper, work):
        place.mkdir(parents=True)
    if what == "overlay":
        target = runtime.data.parent
        argv = ["-t", "overlay", "none", "-o", f"lowerdir={lower},upperdir={upper},workdir={work}", str(target)]
    else:
        argv = ["-t", "tmpfs", "none", str(target := runtime.data)]
    if subprocess.run(["mount", *argv], capture_output=True, check=False).returncode:
        pytest.skip(f"no {what} here")
    try:
        with changing("add", runtime):
            _files.write_text(tmp_path / "x", "1")
        assert undo().complete
        assert not (tmp_path / "x").exists()
        assert not runtime.data.is_dir() or list(runtime.data.iterdir()) == []
    finally:
        subprocess.run(["umount", "--lazy", target], check=True)


def test_a_directory_that_only_a_wrong_call_names_is_not_made(home: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        steps.configure_venv(tmp_path / "new" / "deep", lock="nothere.txt")
    assert not (tmp_path / "new").exists()
    assert sorted(home.rglob("*")) == []


def test_what_somebody_changed_between_two_steps_is_theirs(home: Path, tmp_path: Path) -> None:
    ours, theirs = tmp_path / "pyproject.toml", tmp_path / "poetry.toml"
    theirs.write_text("first")
    for content in ("edited", "edited again"):
        with changing("configure_venv", Machine.detect()), _transactions.restoring(ours, theirs):
            if not ours.exists():
                _files.write_text(ours, "made")
                _files.write_text(theirs, "completed")
        ours.write_text(content)
        theirs.write_text(content)
    assert undo().complete
    assert (ours.read_text(), theirs.read_text()) == ("edited again", "edited again")


def test_what_a_step_changed_after_somebody_comes_back_as_they_left_it(home: Path, tmp_path: Path) -> None:
    place = tmp_path / "pyproject.toml"
    for content in ("first", "edited"):
        place.write_text(content)
        with changing("configure_venv", Machine.detect()):
            _files.write_text(place, f"{content}, completed")
    undo()
    assert place.read_text() == "edited"


@pytest.mark.parametrize("before", [None, "first"])
def test_a_step_that_failed_has_changed_nothing(home: Path, tmp_path: Path, before: str | None) -> None:
    lock = tmp_path / "poetry.lock"
    if before is not None:
        lock.write_text(before)
    with (  # noqa: PT012
        pytest.raises(ValueError, match="no"),
        changing("configure_venv", Machine.detect()),
        _transactions.restoring(lock),
    ):
        lock.write_text("half")
        raise ValueError("no")
    lock.write_text("made by hand")
    assert undo().complete
    assert lock.read_text() == "made by hand"


def test_the_last_environment_that_was_set_aside_comes_back(home: Path, tmp_path: Path) -> None:
    for name in (".venv.old", ".venv.old2"):
        (tmp_path / ".venv").mkdir()
        (tmp_path / ".venv" / "whose").write_text(name)
        with changing("configure_venv", Machine.detect()):
            _files.move(tmp_path / ".venv", tmp_path / name)
            with _transactions.replacing(tmp_path / ".venv"):
                _files.write_receipt(tmp_path / ".venv", {"any": 1})
        if name == ".venv.old":
            shutil.rmtree(tmp_path / ".venv")
    assert undo().complete
    assert (tmp_path / ".venv" / "whose").read_text() == ".venv.old2"
    assert (tmp_path / ".venv.old" / "whose").read_text() == ".venv.old"


def test_a_directory_that_somebody_shares_with_others_is_not_half_built(home: Path, tmp_path: Path) -> None:
    runtime = Machine.detect()
    with changing("add", runtime):
        _ledger.note(tmp_path / ".venv", _ledger.TREE)
    for place in (tmp_path / ".venv", runtime.data):
        place.mkdir(exist_ok=True)
        (place / "user.txt").write_text("precious")
        place.chmod(0o1777)
        _transactions.recover(place)
    with changing("add", runtime):
        pass
    with pytest.raises(NotOursError), _transactions.replacing(tmp_path / ".venv"):
        pass
    for place in (tmp_path / ".venv", runtime.data):
        assert (place / "user.txt").read_text() == "precious"
        assert place.stat().st_mode & 0o7777 == 0o1777


def test_a_lock_inside_of_the_data_directory_goes_with_it(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = Machine.detect()
    runtime.data.mkdir(parents=True)
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda path, _mode: path != runtime.data.parent)
        assert machine_lock(runtime).parent == runtime.data
        with changing("add", runtime):
            _files.write_text(tmp_path / "x", "1")
        result = undo()
    assert result.complete
    assert "kept" not in repr(result)
    assert not runtime.data.exists()


def test_a_conda_that_was_killed_is_taken_back_by_undo(home: Path, tmp_path: Path) -> None:
    runtime, prefix = Machine.detect(), tmp_path / "prefix"
    saved = runtime.data / "saved" / "x"
    (prefix / "bin").mkdir(parents=True)
    (prefix / "bin" / "pip").write_text("the machine's")
    before = listing(prefix)
    with changing("install_miniconda", runtime):
        _ledger.note(prefix, _ledger.Overlaid(saved=saved))
        _overlay.Overlay(prefix, saved=saved).begin()
        (prefix / "bin" / "pip").write_text("conda's")
        (prefix / "bin" / "conda").write_text("conda's")
    assert undo().complete
    assert listing(prefix) == before
