"""A snapshot brings a set-up back to another machine, whole or not at all, and a bad cache never stops a set-up."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import zstandard
from conda_standin.server import Server
from conftest import ROOT, PreparedMachine, Stop
from test_archive import listing

import colab_env
from colab_env import _files, _ledger, _transactions, caches, choice, cli, environment, snapshots, venv
from colab_env.errors import (
    CacheError,
    ColabEnvError,
    DiskFullError,
    MissingStepError,
    NotOursError,
    NotWritableError,
    SnapshotError,
    UsageError,
)
from colab_env.interpreter import Interpreter
from colab_env.jupyter import colab_layer
from colab_env.machine import Machine
from colab_env.request import InstallOptions, Request
from colab_env.snapshot import _archive, _cache, contents, manifest, restoring, signing
from colab_env.snapshots import SetupCache
from colab_env.undoing import undo


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    place = tmp_path / "drive"
    place.mkdir()
    return place


@pytest.fixture(autouse=True)
def kept_key(home: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The key of whoever runs these tests, on all machines of theirs."""
    key = "5e" * 32
    monkeypatch.setenv(signing.VARIABLE, key)
    return key


@pytest.fixture
def made(project: Path, pythons: list[Interpreter], home: Path) -> Path:
    """A project as colab-env leaves it, but with files of a few lines instead of real packages; no network is used."""
    return hand_made(project, pythons[0])


def hand_made(project: Path, python: Interpreter, options: InstallOptions = InstallOptions()) -> Path:  # noqa: B008  (frozen)
    runtime = Machine.detect()
    (project / "pyproject.toml").write_text(
        '[project]\nname = "lesson"\nversion = "1"\n[project.optional-dependencies]\nplots = []\n'
        "[dependency-groups]\ndev = []\n[tool.poetry]\npackage-mode = false\n"
    )
    (project / "poetry.lock").write_text("[metadata]\n# locked\n")
    environment = project / ".venv"
    site = environment / "lib" / f"python{python.short_version}" / "site-packages"
    (site / "six-1.16.0.dist-info").mkdir(parents=True)
    (site / "six.py").write_text("version = 1\n")
    (environment / "bin").mkdir()
    (environment / "bin" / "python").symlink_to(python.path)
    (environment / "lib64").symlink_to("lib")
    settings = f"home = {python.path.parent}\nversion_info = {python.version}\ninclude-system-site-packages = true\n"
    (environment / "pyvenv.cfg").write_text(settings)
    filled_now(project, python, options)
    layer = colab_layer.directory(runtime, python)
    (layer / "site" / "ipykernel").mkdir(parents=True)
    colab_layer.launcher(layer).write_text("# starts a kernel\n")
    (layer / "site" / "colab_env").mkdir()
    known = {"python": str(runtime.machine_python), "path": str(ROOT)}
    (layer / "site" / "colab_env" / "machine.json").write_text(json.dumps(known))
    _files.write_receipt(layer, {"inputs": {}, "entries": ["ipykernel"]})
    choice.remember(runtime, python, project=project)
    return project


def filled_now(project: Path, python: Interpreter, options: InstallOptions) -> None:
    """Write the receipt of an environment that was filled from the files as they are."""
    request = Request.read(project, Machine.detect(), options=options)
    venv.write_receipt(project, python=python, inputs=request.inputs, wanted=options.recorded())


def problem_of(project: Path) -> str | None:
    """Return why the environment is not what was wanted of it, or None."""
    python = venv.recorded_python(project)
    assert python is not None
    return environment.recorded_health(project, python, Machine.detect())


def lose(project: Path) -> None:
    """Leave what a new machine has: the project's files."""
    shutil.rmtree(project / ".venv")
    shutil.rmtree(Machine.detect().data)


def archive_in(cache: Path) -> Path:
    (found,) = cache.glob("*.tar.zst")
    return found


def flip(path: Path, place: float = 0.5) -> None:
    with path.open("r+b") as file:
        file.seek(int(path.stat().st_size * place))
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 0x40]))


# --- the whole way, with real packages and kernels


@pytest.mark.network
def test_a_new_machine_starts_from_the_cache_without_a_network(
    machine: PreparedMachine, filled: Path, home: Path, cache: Path, request: pytest.FixtureRequest
) -> None:
    shared = (machine.data / "poetry").resolve()
    (machine.data / "poetry").unlink()
    shutil.copytree(shared, machine.data / "poetry", symlinks=True, copy_function=os.link)
    asked = {"interpreter": "system", "project": filled, "kernel": "lesson", "system_site_packages": False}
    first = colab_env.setup(machine.python.version, cache=cache, **asked)
    assert first.notes == ()
    before = _listings(machine, filled)
    written = archive_in(cache).stat().st_mtime_ns
    for place in (machine.data, filled / ".venv", home / ".local"):
        shutil.rmtree(place)
    os.environ["PATH"] = os.environ["PATH"].replace(f"{machine.data}/bin:", "")
    request.getfixturevalue("offline")
    second = colab_env.setup(machine.python.version, cache=cache, **asked)
    changed = {step.step for step in second.steps if step.changed}
    assert changed == {"restore", "register_kernel"}, second
    assert second.steps[0].action == "restored"
    assert second.steps[-1].reason == "the environment comes from a snapshot and has not been tried"
    assert _listings(machine, filled) == before
    assert subprocess.run([machine.data / "bin/poetry", "--version"], capture_output=True, check=False).returncode == 0
    third = colab_env.setup(machine.python.version, cache=cache, **asked)
    assert not any(step.changed for step in third.steps)
    assert archive_in(cache).stat().st_mtime_ns == written
    assert undo().complete
    assert not machine.data.exists()
    assert not (filled / ".venv").exists()
    assert not (home / ".local").exists()


def _listings(machine: PreparedMachine, project: Path) -> dict[str, dict[str, tuple]]:
    """Return what a snapshot holds, but for what trying a kernel writes, and for what everybody may write."""
    (layer,) = (machine.data / "layers").iterdir()
    written = {".", "etc/ipython", "etc/ipython/ipython_config.py"}
    return {
        place.name: {
            name: (found[0] & ~0o002, *found[1:])
            for name, found in listing(place).items()
            if name not in written and "__pycache__" not in name
        }
        for place in (project / ".venv", layer, machine.data / "poetry")
    }


@pytest.mark.network
def test_a_snapshot_whose_kernel_does_not_start_is_replaced(
    machine: PreparedMachine, filled: Path, cache: Path
) -> None:
    asked = {"interpreter": "system", "project": filled, "kernel": "lesson", "system_site_packages": False}
    colab_env.setup(machine.python.version, **asked)
    site = next((filled / ".venv").glob("lib/python3*/site-packages"))
    (site / "ipykernel.py").write_text("raise SystemExit('broken')\n")
    colab_env.save(cache)
    shutil.rmtree(filled / ".venv")
    result = colab_env.setup(machine.python.version, cache=cache, **asked)
    assert result.notes == ("the kernel from the snapshot did not work: everything was built anew",)
    assert not (site / "ipykernel.py").exists()
    shutil.rmtree(filled / ".venv")
    assert colab_env.setup(machine.python.version, cache=cache, **asked).notes == ()


@pytest.mark.machine
@pytest.mark.network
@pytest.mark.parametrize("fault", ["flipped", "cut off", "foreign", "gone", "zstandard"])
def test_a_bad_cache_is_a_note_and_the_set_up_is_built(
    machine: PreparedMachine, filled: Path, cache: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"interpreter": "system", "project": filled, "kernel": "lesson", "system_site_packages": False}
    colab_env.setup(machine.python.version, cache=cache, **asked)
    shutil.rmtree(filled / ".venv")
    if fault == "flipped":
        flip(archive_in(cache))
    elif fault == "cut off":
        os.truncate(archive_in(cache), 100_000)
    elif fault == "foreign":
        subprocess.run([machine.python.path, "-m", "venv", "--without-pip", filled / ".venv"], check=True)
    elif fault == "zstandard":
        monkeypatch.setitem(__import__("sys").modules, "zstandard", None)
    elif fault == "gone":
        monkeypatch.setattr(_cache._Directory, "entries", raising(errno.ENOTCONN))
    result = colab_env.setup(machine.python.version, cache=cache, **asked)
    assert next(step for step in result.steps if step.step == "configure_venv").changed
    assert result.notes[0].startswith("the cache was not used: ")
    if fault in ("flipped", "cut off"):
        assert "damaged" in result.notes[0]
        assert colab_env.cache_verify(cache).ok, "the next save replaces it"
    if fault == "gone":
        assert "Transport endpoint is not connected" in result.notes[0]
    assert (filled / ".venv.old").exists() == (fault == "foreign")


def raising(code: int) -> Callable[..., None]:
    """Return what a broken mount does."""

    def fail(*_arguments: object, **_options: object) -> None:
        raise OSError(code, os.strerror(code))

    return fail


# --- save, restore


def test_what_was_saved_comes_back_and_is_not_saved_twice(made: Path, cache: Path) -> None:
    saved = colab_env.save(cache)
    assert (saved.action, colab_env.save(cache).action) == ("saved", "already there")
    assert repr(saved).count("\n") == len(saved.notes)
    before = listing(made)
    lose(made)
    result = colab_env.restore(cache, project=made)
    assert result.changed
    (made / ".venv" / "colab-env-untried").unlink()
    after = listing(made)
    for found in (before, after):  # a directory's time is of its last entry, and the project's own is no part of it
        found["."] = found[".venv"] = ()
    assert after == before
    assert choice.python(Machine.detect()) == venv.recorded_python(made)


def test_a_password_in_a_project_file_is_in_no_snapshot(
    made: Path, cache: Path, pythons: list[Interpreter], tmp_path: Path
) -> None:
    with (made / "pyproject.toml").open("a") as file:
        file.write('[[tool.poetry.source]]\nname = "private"\nurl = "https://me:s3cret-and-long@host/simple"\n')
    filled_now(made, pythons[0], InstallOptions())
    colab_env.save(cache)
    with archive_in(cache).open("rb") as packed, (tmp_path / "unpacked").open("wb") as unpacked:
        zstandard.ZstdDecompressor().copy_stream(packed, unpacked)
    assert b"s3cret" not in (tmp_path / "unpacked").read_bytes()
    lose(made)
    assert colab_env.restore(cache, project=made).changed


def test_nothing_is_written_when_nothing_is_set_up(home: Path, project: Path, cache: Path) -> None:
    with pytest.raises(MissingStepError):
        colab_env.save(cache)
    with pytest.raises(MissingStepError):
        colab_env.save(cache, project=project)
    assert list(cache.iterdir()) == []


def test_an_environment_that_was_not_tried_or_is_damaged_is_not_saved(made: Path, cache: Path) -> None:
    (made / ".venv" / "colab-env-untried").touch()
    with pytest.raises(MissingStepError, match="not been tried"):
        colab_env.save(cache)
    (made / ".venv" / "colab-env-untried").unlink()
    (made / "poetry.lock").write_text("[metadata]\n# changed\n")
    with pytest.raises(MissingStepError, match="have changed"):
        colab_env.save(cache)


def test_a_link_that_leads_out_is_not_saved(made: Path, cache: Path) -> None:
    (made / ".venv" / "data").symlink_to("/etc")
    with pytest.raises(SnapshotError, match=r"data leads to /etc"):
        colab_env.save(cache)
    assert list(cache.iterdir()) == []


def test_a_project_file_that_colab_env_wrote_need_not_be_there(made: Path, cache: Path) -> None:
    (made / "poetry.lock").unlink()
    with _ledger.recording("configure_venv", Machine.detect()), _transactions.restoring(made / "poetry.lock"):
        (made / "poetry.lock").write_text("[metadata]\n# locked\n")
    with _ledger.recording("configure_venv", Machine.detect()):
        _files.write_text(made / "poetry.toml", "# settings\n")
    filled_now(made, venv.recorded_python(made), InstallOptions())
    colab_env.save(cache)
    lose(made)
    (made / "poetry.lock").unlink()
    (made / "poetry.toml").unlink()
    colab_env.restore(cache, project=made)
    assert ((made / "poetry.lock").read_text(), (made / "poetry.toml").read_text()) == (
        "[metadata]\n# locked\n",
        "# settings\n",
    )
    assert problem_of(made) is None
    undo()
    assert sorted(path.name for path in made.iterdir()) == ["pyproject.toml"]


def test_a_project_file_that_somebody_changed_counts_as_it_is(made: Path, cache: Path, home: Path) -> None:
    path = made / "poetry.lock"
    path.unlink()
    for text in ("# first\n", "# second\n"):
        with _ledger.recording("configure_venv", Machine.detect()), _transactions.restoring(path):
            path.write_text(text)
    runtime = Machine.detect()
    assert contents.original_files(runtime, made)["poetry.lock"] is None
    path.write_text("# mine\n")
    mine = hashlib.sha256(b"# mine\n").hexdigest()
    assert contents.original_files(runtime, made)["poetry.lock"] == mine
    with _ledger.recording("configure_venv", Machine.detect()), _transactions.restoring(path):
        path.write_text("# third\n")
    assert contents.original_files(runtime, made)["poetry.lock"] == mine


def asked_for(project: Path, **options: Sequence[str]) -> Request:
    return Request.read(project, Machine.detect(), options=InstallOptions.from_arguments(**options))


def test_a_snapshot_belongs_to_its_lock_file_and_its_options(
    project: Path, pythons: list[Interpreter], home: Path, cache: Path
) -> None:
    (project / "uv.lock").write_text("version = 1\n")
    wish = InstallOptions(extras=("plots",))
    hand_made(project, pythons[0], wish)
    (project / "poetry.lock").unlink()
    filled_now(project, pythons[0], wish)
    colab_env.save(cache)
    assert all(each.problem is None for each in colab_env.cache_list(cache).snapshots)
    lose(project)

    def found(**options: Sequence[str]) -> bool:
        tried = SetupCache(cache, asked_for(project, **options))
        return tried.restore() is not None

    assert not found()
    assert not found(extras=["plots"], groups=["dev"])
    (project / "uv.lock").write_text("version = 2\n")
    assert not found(extras=["plots"])
    (project / "uv.lock").write_text("version = 1\n")
    assert found(extras=["plots"])
    assert problem_of(project) is None


def test_an_environment_that_keeps_the_machine_s_packages_is_not_saved(made: Path, cache: Path) -> None:
    receipt = _files.read_receipt(made / ".venv")
    receipt["wanted"]["kept"] = ["/usr/lib/python3/dist-packages/six-1.16.0.dist-info"]
    del receipt["sum"]
    _files.write_receipt(made / ".venv", receipt)
    with pytest.raises(MissingStepError, match="keeps packages of this machine"):
        colab_env.save(cache)
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize(
    "change", ["pyproject.toml", "poetry.lock", "poetry.toml", "libc", "machine", "python", "layer"]
)
def test_another_lock_or_machine_finds_nothing(
    made: Path, cache: Path, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    colab_env.save(cache)
    lose(made)
    if change in manifest.PROJECT_FILES:
        (made / change).write_text("[metadata]\n# other\n")
    elif change == "libc":
        monkeypatch.setattr(contents, "_libc", lambda: "glibc 2.99")
    elif change == "machine":
        monkeypatch.setattr(contents.platform, "machine", lambda: "riscv64")
    elif change == "python":
        monkeypatch.setattr(contents, "build_of", lambda *_: "3.99")
    elif change == "layer":
        monkeypatch.setattr(colab_layer, "_inputs", lambda *_: {"of": "another version"})
    with pytest.raises(SnapshotError):
        colab_env.restore(cache, project=made)
    assert not (made / ".venv").exists()


FORGED = {
    "libc": lambda found: found["inputs"].update(libc="glibc 9"),
    "files": lambda found: found["given"].update({"poetry.lock": "0"}) or found["left"].update({"poetry.lock": "0"}),
    "place": lambda found: found["trees"].update(venv="/etc"),
    "python tree": lambda found: found["trees"].update(python="/usr"),
    "unknown tree": lambda found: found["trees"].update(more="/opt"),
    "link": lambda found: found["links"].update({"/etc/link": "passwd"}),
    "processor": lambda found: found.update(cpu=9),
    "interpreter": lambda found: found["python"].update(path="/nowhere/bin/python3"),
    "no python": lambda found: found.update(python=None),
    "no trees": lambda found: found.pop("trees"),
}


def rewrite(path: Path, *, change: Callable[[dict], object] = bool, sign: _archive.Sign | None) -> None:
    """Write a snapshot's description anew: changed, and signed by this, or not, as the first release's were."""
    with path.open("rb") as file:
        footer = manifest.read_footer(file)
    described = json.loads(footer.text)
    change(described["manifest"])
    if sign is None:
        del described["members"], described["unpacked"]
    text = json.dumps(described).encode()
    end = manifest.footer_bytes(text, sign(text) if sign else None)
    path.write_bytes(path.read_bytes()[: footer.size] + end)


@pytest.mark.parametrize("case", FORGED)
def test_a_forged_description_is_refused(made: Path, cache: Path, case: str) -> None:
    colab_env.save(cache)
    path = archive_in(cache)
    sign = signing.Keyring(Machine.detect()).signing()[0].sign
    rewrite(path, change=FORGED[case], sign=sign)
    lose(made)
    with pytest.raises(SnapshotError):
        colab_env.restore(cache, project=made)
    assert not (made / ".venv").exists()
    assert not colab_env.cache_verify(cache).ok


def test_a_snapshot_never_takes_the_place_of_what_is_not_ours(made: Path, cache: Path) -> None:
    colab_env.save(cache)
    lose(made)
    (made / ".venv").mkdir()
    (made / ".venv" / "mine").touch()
    with pytest.raises(NotOursError):
        colab_env.restore(cache, project=made)
    assert [path.name for path in (made / ".venv").iterdir()] == ["mine"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(errno.EIO, "bad disk"), DiskFullError("full")])
def test_a_restore_that_is_stopped_leaves_the_old_state(
    made: Path, cache: Path, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    colab_env.save(cache)
    (made / ".venv" / "mark").write_text("the old one")
    before = listing(made)
    before["."] = ()

    def fail(*_arguments: object, **_options: object) -> None:
        raise error

    monkeypatch.setattr(restoring.choice, "remember", fail)
    expected = NotWritableError if isinstance(error, OSError) else error if isinstance(error, type) else type(error)
    with pytest.raises(expected):
        colab_env.restore(cache, project=made)
    after = listing(made)
    after["."] = ()
    assert after == before


def test_a_restore_that_was_killed_is_recognised(made: Path, cache: Path, stop: Stop) -> None:
    for number in range(300):
        (made / ".venv" / f"file-{number}").write_bytes(os.urandom(200_000))
    colab_env.save(cache)
    lose(made)
    staging = made / "..venv.colab-env-restoring"
    code = f"import colab_env; colab_env.restore({str(cache)!r}, project={str(made)!r})"
    ended = stop(code, when=staging.exists, how=signal.SIGKILL)
    assert ended.returncode == -signal.SIGKILL
    colab_env.restore(cache, project=made)
    assert not staging.exists()
    assert problem_of(made) is None


def test_a_full_disk_while_unpacking_leaves_nothing(made: Path, cache: Path) -> None:
    (made / ".venv" / "large").write_bytes(os.urandom(5_000_000))
    files = {name: (made / name).read_text() for name in ("pyproject.toml", "poetry.lock")}
    colab_env.save(cache)
    lose(made)
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "none", made], capture_output=True, check=False
    ).returncode:
        pytest.skip("only root mounts a small disk")
    try:
        for name, text in files.items():
            (made / name).write_text(text)
        with pytest.raises(DiskFullError):
            colab_env.restore(cache, project=made)
        assert {path.name for path in made.iterdir()} == set(files)
    finally:
        subprocess.run(["umount", "--lazy", made], check=True)


def test_a_python_of_uvs_comes_with_its_name_and_is_taken_back(
    project: Path, cache: Path, pythons: list[Interpreter], home: Path
) -> None:
    # A directory as uv makes it; the program in it starts a real Python.
    base = home / ".local/share/uv/python"
    real, named = (base / f"cpython-{word}-linux-x86_64-gnu" for word in (pythons[0].version, pythons[0].short_version))
    (real / "bin").mkdir(parents=True)
    (real / "bin/python3").write_text(f'#!/bin/sh\nexec {pythons[0].path} "$@"\n')
    (real / "bin/python3").chmod(0o755)
    (real / "lib").mkdir()
    named.symlink_to(real.name)
    python = Interpreter(path=named / "bin/python3", version=pythons[0].version, source="uv")
    made = hand_made(project, python)
    assert colab_env.save(cache).notes == ()
    lose(made)
    shutil.rmtree(home / ".local")
    colab_env.restore(cache, project=made)
    assert named.readlink() == Path(real.name)
    assert os.access(real / "bin/python3", os.X_OK)
    assert (made / ".venv/bin/python").is_file()
    undone = undo()
    assert undone.complete
    assert not list((home / ".local").rglob("*uv*")), undone


def test_condas_own_directory_is_inside_and_usr_local_is_not(home: Path, project: Path) -> None:
    prefix = home / "conda"
    (prefix / "bin").mkdir(parents=True)
    (prefix / "pkgs").mkdir()
    python = Interpreter(path=prefix / "bin/python3.12", version="3.12.1", source="miniconda")
    for overlay, wanted in ((False, ["python"]), (True, [])):
        named = {"distribution": "miniconda", "installer": "Miniconda3.sh", "sha256": ""}
        of_python = {"python": "3.12.1", "interpreter": "bin/python3.12", "print": [1, 2]}
        _files.write_receipt(prefix, {"kind": "conda", **named, "overlay": overlay, **of_python})
        found = contents.trees(Machine.detect(), project, python)
        assert [tree.name for tree in found] == wanted
        assert all("pkgs" in tree.without for tree in found)


# --- the cache


@pytest.mark.parametrize("code", [errno.ENOTCONN, errno.EDQUOT, errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("call", ["entries", "create", "publish", "write"])
def test_a_cache_that_fails_is_an_error_of_its_own_and_holds_no_half(
    made: Path, cache: Path, code: int, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if call == "write":
        # The mount fails in the middle of the file.
        create = _cache._Directory.create

        def broken(self: object, name: str) -> Breaking:
            return Breaking(create(self, name), code)

        monkeypatch.setattr(_cache._Directory, "create", broken)
    else:
        monkeypatch.setattr(_cache._Directory, call, raising(code))
    with pytest.raises(DiskFullError if code in (errno.EDQUOT, errno.ENOSPC) else CacheError) as caught:
        colab_env.save(cache)
    assert str(cache) in caught.value.message
    assert list(cache.iterdir()) == []


class Breaking:
    """A file on a mount that goes away after 300 bytes."""

    def __init__(self, file, code: int) -> None:
        self.file, self.code, self.size = file, code, 0

    def write(self, content: bytes) -> int:
        self.size += len(content)
        if self.size > 300:
            raise OSError(self.code, os.strerror(self.code))
        return self.file.write(content)

    def __getattr__(self, name: str) -> object:
        return getattr(self.file, name)


class BreakingInTheMiddle:
    """A file on a mount that gives its end, as for a listing, and then no more."""

    def __init__(self, file) -> None:
        self.file = file

    def read(self, size: int = -1) -> bytes:
        if size > 1000:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return self.file.read(size)

    def __enter__(self):
        return self

    def __exit__(self, *_error: object) -> None:
        self.file.close()

    def __getattr__(self, name: str) -> object:
        return getattr(self.file, name)


def test_a_cache_that_fails_while_it_is_read_leaves_the_old_state(
    made: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    colab_env.save(cache)
    lose(made)
    opened = _cache._Directory.open
    monkeypatch.setattr(_cache._Directory, "open", lambda *words: BreakingInTheMiddle(opened(*words)))
    with pytest.raises(CacheError, match="Input/output error"):
        colab_env.restore(cache, project=made)
    assert not any(".venv" in path.name for path in made.iterdir())


def test_a_directory_that_disappears_while_it_is_written(made: Path, cache: Path, monkeypatch) -> None:
    footer_bytes = _archive.footer_bytes

    def vanish(*end: bytes) -> bytes:
        shutil.rmtree(cache)
        return footer_bytes(*end)

    monkeypatch.setattr(_archive, "footer_bytes", vanish)
    with pytest.raises(CacheError):
        colab_env.save(cache)


def test_a_drive_that_is_not_mounted_gets_no_directory_in_its_place(made: Path, tmp_path: Path) -> None:
    with pytest.raises(CacheError, match="mounted"):
        colab_env.save(tmp_path / "drive" / "MyDrive" / "envs")
    assert not (tmp_path / "drive").exists()


def test_two_sessions_that_save_the_same_at_once_leave_one_good_file(made: Path, cache: Path) -> None:
    ended: list[object] = []

    def save() -> None:  # without the lock, which two machines do not share
        opened = snapshots._OpenCache.at(cache, Machine.detect())
        ended.append(snapshots._save(opened, made, anew=True).action)

    threads = [threading.Thread(target=save) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ended == ["saved"] * 4
    assert set(cache.iterdir()) == {archive_in(cache), cache / "index.json"}
    assert colab_env.cache_verify(cache).ok


def test_a_damaged_file_of_that_name_is_written_anew(made: Path, cache: Path) -> None:
    colab_env.save(cache)
    os.truncate(archive_in(cache), 1000)
    assert colab_env.save(cache).action == "saved"
    assert colab_env.cache_verify(cache).ok


@pytest.mark.parametrize("where", ["memory://envs", "file://{}", "local://{}"])
def test_an_address_works_as_a_directory_does(made: Path, cache: Path, where: str) -> None:
    pytest.importorskip("fsspec")
    where = where.format(cache)
    colab_env.cache_prune(where, keep=0)
    assert colab_env.save(where).action == "saved"
    assert colab_env.save(where).action == "already there"
    (found,) = colab_env.cache_list(where).snapshots
    assert found.problem is None
    assert colab_env.cache_verify(where).ok
    lose(made)
    colab_env.restore(where, project=made)
    assert (made / ".venv/pyvenv.cfg").is_file()
    assert colab_env.cache_prune(where, keep=0).snapshots[0].file == found.file
    assert colab_env.cache_list(where).snapshots == ()


@pytest.mark.parametrize("kind", ["ranges", "no ranges", "a page that lists", "cut off"])
def test_any_web_server_serves_a_cache(made: Path, cache: Path, kind: str) -> None:
    (made / ".venv/lib/data").write_bytes(os.urandom(1_000_000))
    colab_env.save(cache)
    name = archive_in(cache).name
    if kind == "a page that lists":
        (cache / "index.json").unlink()
    with Server(cache) as server:
        server.ranges = kind != "no ranges"
        server.listing = kind == "a page that lists"
        (found,) = colab_env.cache_list(server.url).snapshots
        assert found.file == name
        assert found.problem is None
        lose(made)
        server.faults = [None, None, None, None, "cut"] if kind == "cut off" else []
        colab_env.restore(f"{server.url}/", project=made)
        assert problem_of(made) is None
        assert server.faults == []
        with pytest.raises(CacheError, match="can be read, not written"):
            colab_env.save(server.url)
        assert colab_env.cache_verify(server.url).ok
    assert list((Machine.detect().data / "downloads").iterdir()) == []


def test_a_web_server_that_only_serves_is_no_complaint_of_a_set_up(made: Path, cache: Path) -> None:
    colab_env.save(cache)
    (cache / "index.json").write_text('[{"name": "../../x.tar.zst"}, {"name": "what.txt", "size": 7}]')
    with Server(cache) as server:
        opened = SetupCache(server.url, asked_for(made))
        opened.save()
        assert opened.notes == []
        assert colab_env.cache_list(server.url).snapshots == ()
        for text in ('{"a": 1}', "[[]]", '[{"name": 1}]', "[" * 100_000, "\0"):
            (cache / "index.json").write_text(text)
            with pytest.raises(ColabEnvError):  # no index that can be read, and the server lists nothing
                colab_env.cache_list(server.url)


def test_a_cache_holds_no_more_than_is_said(made: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    colab_env.save(cache)
    first = archive_in(cache)
    older = cache / first.name.replace(first.name[-16:-8], "0" * 8)
    shutil.copy(first, older)
    foreign = cache / first.name.replace("lesson-", "foreign-")
    foreign.write_bytes(b"somebody else's")
    for path in (older, foreign):
        os.utime(path, (1e9, 1e9))
    monkeypatch.setenv(caches.LIMIT, "1 MB")
    (made / ".venv/lib/data").write_bytes(os.urandom(1_100_000))
    filled_now(made, venv.recorded_python(made), InstallOptions())
    first.unlink()
    saved = colab_env.save(cache)
    assert saved.notes[-1] == (f"a cache holds 1.0 MB ({caches.LIMIT}), so the oldest went: {older.name}")
    assert set(cache.iterdir()) == {first, foreign, cache / "index.json"}
    monkeypatch.setenv(caches.LIMIT, "1.5 GB")
    assert caches.limit(Machine.detect()) == 1_500_000_000
    monkeypatch.setenv(caches.LIMIT, "much")
    first.unlink()
    with pytest.raises(UsageError, match="is not a size"):
        colab_env.save(cache)
    assert not first.exists()


@pytest.mark.parametrize("text", ['{"mine": 1}', '[{"name": "mine.html"}]', "[", ""])
def test_an_index_of_somebody_else_stays(made: Path, cache: Path, text: str) -> None:
    (cache / "index.json").write_text(text)
    (cache / "mine.tar.zst").touch()
    colab_env.save(cache)
    colab_env.cache_prune(cache, keep=0)
    assert (cache / "index.json").read_text() == text


def test_a_plain_path_never_loads_fsspec(made: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "fsspec", None)
    colab_env.save(cache)
    with pytest.raises(UsageError, match="needs fsspec"):
        colab_env.save("memory://envs")


def test_prune_takes_old_ones_and_leftovers_and_nothing_else(made: Path, cache: Path) -> None:
    colab_env.save(cache)
    first, now = archive_in(cache), time.time()
    names = [first.name.replace("lesson-", f"lesson{number}-") for number in range(3)]
    left, at_work = (cache / f".{first.name}.0123456{number}.partial" for number in range(2))
    for path, days in zip(
        [first, *(cache / name for name in names), left, at_work], (0, 10, 40, -400, 1, 0), strict=True
    ):
        path.touch()
        os.utime(path, (now - days * 86400,) * 2)
    (cache / "mine.txt").touch()
    (cache / "index.json").unlink()
    everything = set(cache.iterdir())
    assert [each.file for each in colab_env.cache_prune(cache, dry_run=True).snapshots] == [left.name]
    assert set(cache.iterdir()) == everything
    colab_env.cache_prune(cache, older_than=30)
    assert everything - set(cache.iterdir()) == {left, cache / names[1]}
    listed = json.loads((cache / "index.json").read_text())
    assert {each["name"] for each in listed} == {first.name, names[0], names[2]}
    colab_env.cache_prune(cache, keep=1)
    (cache / "index.json").unlink()
    assert set(cache.iterdir()) == {cache / names[2], at_work, cache / "mine.txt"}, "a time in the future is the newest"
    with pytest.raises(UsageError):
        colab_env.cache_prune(cache, keep=-1)


def test_the_list_says_what_fits_and_what_does_not(made: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    colab_env.save(cache)
    (cache / archive_in(cache).name.replace("lesson-", "cut-")).write_bytes(b"short")
    monkeypatch.setattr(contents, "_libc", lambda: "glibc 2.99")
    problems = {each.file.partition("-")[0]: each.problem for each in colab_env.cache_list(cache).snapshots}
    assert "was made for the C library" in problems["lesson"]
    assert "damaged" in problems["cut"]


def test_the_commands_answer_in_json_and_by_their_exit_code(made: Path, cache: Path, capsys) -> None:
    def run(*words: str) -> tuple[int, object]:
        code = cli.main([*words, "--json"])
        return code, json.loads(capsys.readouterr().out)

    assert run("save", str(cache))[1]["action"] == "saved"
    code, listed = run("cache", "list", str(cache))
    assert (code, listed["snapshots"][0]["packages"]) == (0, 1)
    assert run("cache", "verify", str(cache))[0] == 0
    flip(archive_in(cache))
    assert run("cache", "verify", str(cache))[0] == SnapshotError.exit_code
    assert run("cache", "prune", str(cache), "--keep", "0", "--dry-run")[1]["action"] == "would be removed"
    assert cli.main(["cache", "prune", str(cache), "--keep", "0", "--quiet"]) == 0
    assert list(cache.iterdir()) == []
