"""Replacing, updating, restoring, locking: whole or not at all, whatever happens in between."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import ROOT, start_python

from colab_env import _file_locks, _files, _ledger, _transactions
from colab_env.errors import DiskFullError, NotOursError, NotWritableError

ENDS = [ValueError, KeyboardInterrupt, SystemExit]


def content(place: Path) -> dict[str, str]:
    """Return every file below `place`, hidden ones included."""
    return {str(path.relative_to(place)): path.read_text() for path in sorted(place.rglob("*")) if path.is_file()}


def build(place: Path, version: str) -> None:
    place.mkdir(exist_ok=True)
    for name in ("one", "two"):
        (place / name).unlink(missing_ok=True)  # as installers do: replace, never write into
        (place / name).write_text(version)
    _files.write_receipt(place, {"version": version})


def whole(version: str) -> dict[str, str]:
    return {"thing/one": version, "thing/two": version, "thing/colab-env.json": f'{{\n "version": "{version}"\n}}\n'}


@pytest.fixture
def thing(tmp_path: Path) -> Path:
    """A directory of ours in a parent of its own."""
    place = tmp_path / "parent" / "thing"
    place.parent.mkdir()
    build(place, "old")
    return place


def replace(thing: Path, version: str = "new") -> None:
    with _transactions.replacing(thing):
        build(thing, version)


def update(thing: Path, version: str = "new") -> None:
    with _transactions.updating(thing):
        build(thing, version)


CHANGES = [replace, update]


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_that_succeeds_leaves_the_new_one_alone(thing, change):
    change(thing)
    assert content(thing.parent) == whole("new")


def test_the_old_one_stays_beside_what_somebody_put_in_its_place(thing):
    """A run was killed between its two renames, and then somebody made a directory of that name."""
    old = _files.scratch_name(thing, "old")
    thing.rename(old)
    thing.mkdir()
    (thing / "mine").write_text("mine")
    _transactions.recover(thing)
    assert content(thing) == {"mine": "mine"}
    assert {f"thing/{name}": text for name, text in content(old).items()} == whole("old")


@pytest.mark.parametrize("word", ["copying", "doomed", "purged", "old"])
def test_what_a_killed_run_left_beside_the_whole_one_goes(thing, word):
    build(_files.scratch_name(thing, word), "half")
    _transactions.recover(thing)
    assert content(thing.parent) == whole("old")


def test_a_file_that_a_killed_run_was_writing_goes_and_that_of_one_at_work_stays(thing):
    new = _files.scratch_name(thing, "new")
    with _file_locks.take(new, fcntl.LOCK_EX):
        _transactions.recover(thing, wait=False)
        assert new.exists()
    _transactions.recover(thing, wait=False)
    assert content(thing.parent) == whole("old")


def test_something_new_may_be_built_where_nothing_was(tmp_path):
    replace(tmp_path / "parent" / "thing")
    assert content(tmp_path / "parent") == whole("new")


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("opened", [_transactions.replacing, _transactions.updating])
def test_the_old_one_comes_back_when_the_block_raises(thing, opened, end):
    with pytest.raises(end), opened(thing):  # noqa: PT012
        thing.mkdir(exist_ok=True)
        (thing / "one").unlink(missing_ok=True)
        (thing / "one").write_text("half")
        raise end
    assert content(thing.parent) == whole("old")


@pytest.mark.parametrize("opened", [_transactions.replacing, _transactions.updating])
def test_the_old_one_comes_back_even_after_the_receipt_was_written(thing, opened):
    with pytest.raises(KeyboardInterrupt), opened(thing):  # noqa: PT012
        build(thing, "new")
        raise KeyboardInterrupt
    assert content(thing.parent) == whole("old")


@pytest.mark.parametrize("end", ENDS)
def test_a_first_build_that_raises_leaves_nothing(tmp_path, end):
    with pytest.raises(end), _transactions.replacing(tmp_path / "thing"):  # noqa: PT012
        build(tmp_path / "thing", "half")
        raise end
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "make", [lambda path: path.mkdir(), lambda path: path.write_text("mine"), lambda path: path.symlink_to("x")]
)
def test_what_is_not_ours_is_not_replaced(tmp_path, make):
    make(tmp_path / "thing")
    before = _ledger.look_at(tmp_path / "thing")
    with pytest.raises(NotOursError, match="did not make it"):
        replace(tmp_path / "thing")
    assert _ledger.look_at(tmp_path / "thing") == before
    assert [path.name for path in tmp_path.iterdir()] == ["thing"]


def test_a_link_to_one_of_ours_is_replaced_without_touching_what_it_names(thing, tmp_path):
    link = tmp_path / "thing"
    link.symlink_to(thing)
    replace(link)
    assert not link.is_symlink()
    assert content(thing.parent) == whole("old")


def test_a_linked_one_comes_back_as_a_link(thing, tmp_path):
    link = tmp_path / "thing"
    link.symlink_to(thing)
    with pytest.raises(ValueError, match="no"), _transactions.replacing(link):  # noqa: PT012
        build(link, "half")
        raise ValueError("no")
    assert link.readlink() == thing
    assert content(thing.parent) == whole("old")


def test_while_a_directory_is_updated_it_does_not_count_as_complete(thing):
    with _transactions.updating(thing):
        assert _files.read_receipt(thing) is None
        build(thing, "new")
    assert _files.read_receipt(thing) == {"version": "new"}


# For each operation on the file system under `root`: a process that kills itself just before it.
MORTALS = """
import os, signal, sys
from pathlib import Path

root, moment, count = sys.argv[1], 0, 0
sys.path.insert(0, sys.argv[2])
from test_files import begin, remove, replace, swap, update, write_new

def hook(event, arguments):
    global count
    changes = ("os.rename", "os.remove", "os.link", "os.mkdir", "os.rmdir", "os.chmod", "os.symlink")
    writing = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
    if event in changes or writing:
        if root in str(arguments[0]) or not str(arguments[0]).startswith("/"):
            count += 1
            if count == moment:
                os.kill(os.getpid(), signal.SIGKILL)

status = 1
while status:
    moment += 1
    place = Path(root) / str(moment)
    begin(place, sys.argv[3])
    mortal = os.fork()
    if mortal == 0:
        sys.addaudithook(hook)
        globals()[sys.argv[3]](place / "thing")
        os._exit(0)
    status = os.waitpid(mortal, 0)[1]
    assert status in (0, signal.SIGKILL), status
"""


def begin(place: Path, change: str) -> None:
    place.mkdir()
    if change == "write_new":
        (place / "thing").write_text("old")
    elif not (place.parent / "nothing-before").exists():
        build(place / "thing", "old")


def write_new(path: Path) -> None:
    _files.write_text(path, "new")


def remove(path: Path) -> None:
    _files.remove(path)


def swap(path: Path) -> None:
    with _transactions.staging(path) as (scratch,):
        build(scratch, "new")
        _files.exchange(path, scratch)


def killed_everywhere(change: str, root: Path) -> list[Path]:
    """Run `change` once for each of its operations, killed just before it; return where, the last one not killed."""
    subprocess.run(
        [sys.executable, "-c", MORTALS, root, ROOT / "tests", change],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
    )
    return sorted((path for path in root.iterdir() if path.is_dir()), key=lambda path: int(path.name))


@pytest.mark.parametrize("change", ["replace", "update", "swap"])
def test_killed_at_any_moment_the_next_run_finds_the_old_one_or_the_new_one_whole(tmp_path, change):
    places = killed_everywhere(change, tmp_path)
    assert len(places) > 12
    for place in places:
        if receipt := _files.read_receipt(place / "thing"):
            found = {name: text for name, text in content(place).items() if name.startswith("thing/")}
            assert found == whole(receipt["version"]), f"killed at operation {place.name}"
        _transactions.recover(place / "thing")
        assert content(place) in (whole("old"), whole("new")), f"killed at operation {place.name}"


def test_killed_at_any_moment_a_first_build_does_not_stand_in_the_way_of_the_next(tmp_path):
    (tmp_path / "nothing-before").touch()
    for place in killed_everywhere("replace", tmp_path):
        replace(place / "thing", "next")
        assert content(place) == whole("next"), f"killed at operation {place.name}"


def test_what_somebody_makes_where_a_run_was_killed_is_not_deleted(tmp_path):
    (tmp_path / "nothing-before").touch()
    for place in killed_everywhere("replace", tmp_path):
        if _files.read_receipt(place / "thing") is None:
            shutil.rmtree(place / "thing", ignore_errors=True)
            (place / "thing").mkdir()
            (place / "thing" / "mine").write_text("mine")
            _transactions.recover(place / "thing")
            assert content(place) == {"thing/mine": "mine"}, f"killed at operation {place.name}"


def test_killed_at_any_moment_a_deletion_is_done_or_not_begun(tmp_path):
    for place in killed_everywhere("remove", tmp_path):
        _transactions.recover(place / "thing")
        assert content(place) in (whole("old"), {}), f"killed at operation {place.name}"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
@pytest.mark.parametrize("change", [replace, update, remove, swap])
def test_what_comes_from_below_on_an_overlay_is_changed_too(tmp_path, change):
    lower, upper, work, merged = (tmp_path / name for name in ("lower", "upper", "work", "merged"))
    for place in (lower, upper, work, merged):
        place.mkdir()
    build(lower / "thing", "old")
    options = f"lowerdir={lower},upperdir={upper},workdir={work}"
    mount = ["mount", "-t", "overlay", "overlay", "-o", options, merged]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no overlay here")
    try:
        change(merged / "thing")
        assert content(merged) == ({} if change is remove else whole("new"))
        assert content(lower) == whole("old")
    finally:
        subprocess.run(["umount", "--lazy", merged], check=True)


def test_killed_at_any_moment_a_file_has_its_old_text_or_its_new_one(tmp_path):
    texts = [(place / "thing").read_text() for place in killed_everywhere("write_new", tmp_path)]
    assert len(texts) > 3
    assert set(texts) <= {"old", "new"}
    assert texts[-1] == "new"


def test_recovering_touches_nothing_that_no_killed_run_left(tmp_path, thing):
    (tmp_path / "somebody").mkdir()
    for path in (tmp_path / "somebody", tmp_path / "nothing", thing):
        _transactions.recover(path)
    assert content(thing.parent) == whole("old")
    assert (tmp_path / "somebody").is_dir()


@pytest.mark.parametrize("end", ENDS)
def test_files_come_back_when_the_block_raises(tmp_path, end):
    changed, same, new, gone = (tmp_path / name for name in ("changed", "same", "new", "gone"))
    for path in (changed, same, gone):
        path.write_bytes(b"before\r\n")
    time_of_same = same.stat().st_mtime_ns
    with pytest.raises(end), _transactions.restoring(gone, changed, same, new):  # noqa: PT012
        changed.write_text("after")
        new.write_text("after")
        gone.unlink()
        raise end
    assert [path.read_bytes() for path in (changed, same, gone)] == [b"before\r\n"] * 3
    assert not new.exists()
    assert same.stat().st_mtime_ns == time_of_same


def test_files_stay_changed_when_all_is_well(tmp_path):
    path = tmp_path / "file"
    with _transactions.restoring(path):
        path.write_text("after")
    assert path.read_text() == "after"


@pytest.mark.parametrize("length", [1, 240, 255])
def test_a_name_may_be_as_long_as_the_file_system_takes(tmp_path, length):
    path = tmp_path / ("n" * length)
    _files.write_text(path, "text")
    assert path.read_text() == "text"
    _files.remove(path)
    replace(path)
    _files.remove(path)
    assert list(tmp_path.iterdir()) == []


def test_a_text_keeps_its_mode_and_is_never_open_wider(tmp_path):
    path = tmp_path / "secret"
    path.write_text("old")
    path.chmod(0o600)
    _files.write_text(path, "new")
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_new_text_obeys_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        _files.write_text(tmp_path / "file", "new")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


def test_writing_through_a_link_changes_the_file_it_names(tmp_path):
    (tmp_path / "file").write_text("old")
    (tmp_path / "link").symlink_to("file")
    _files.write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_text() == "new"


def test_a_text_that_cannot_be_written_leaves_the_old_one_and_no_other_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        _files.write_text(path, "\udcff")
    assert content(tmp_path) == {"file": "old"}


def test_a_program_may_be_run_by_its_owner_only(tmp_path):
    _files.write_text(tmp_path / "bin" / "tool", "#!/bin/sh\necho hello\n", mode=0o700)
    assert (tmp_path / "bin" / "tool").stat().st_mode & 0o777 == 0o700
    assert subprocess.run([tmp_path / "bin" / "tool"], capture_output=True, check=True).stdout == b"hello\n"


@pytest.mark.parametrize("text", ["", "{", "[]", "\ufffe"])
def test_a_damaged_receipt_is_no_receipt(tmp_path, text):
    (tmp_path / _files.RECEIPT).write_text(text)
    assert _files.read_receipt(tmp_path) is None


def test_removing_a_link_leaves_what_it_names(tmp_path, thing):
    (tmp_path / "link").symlink_to(thing)
    _files.remove(tmp_path / "link")
    assert not (tmp_path / "link").is_symlink()
    assert content(thing.parent) == whole("old")


HOLD = """
import sys, time
from pathlib import Path
from colab_env import _file_locks, _files, _transactions
with _file_locks.locked(Path({lock!r})):
    Path({mark!r}).touch()
    time.sleep({seconds})
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock file for a minute."""
    child = start_python(HOLD.format(lock=str(tmp_path / "locks" / "lock"), mark=str(tmp_path / "mark"), seconds=60))
    while not (tmp_path / "mark").exists():
        time.sleep(0.01)
    yield child
    child.kill()
    child.communicate()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_lock_is_free_once_its_holder_has_died(tmp_path, holder, how):
    holder.send_signal(how)
    with _file_locks.locked(tmp_path / "locks" / "lock"):
        assert holder.wait() != 0


def test_another_task_of_the_same_run_waits_and_says_nothing(tmp_path, capsys):
    path, order = tmp_path / "locks" / "lock", []

    def other() -> None:
        with _file_locks.locked(path):
            order.append("other")

    task = threading.Thread(target=other)
    with _file_locks.locked(path):
        task.start()
        time.sleep(0.3)
        order.append("first")
    task.join()
    assert order == ["first", "other"]
    assert capsys.readouterr() == ("", "")


def test_a_second_run_waits_and_says_so(tmp_path, holder, capsys):
    began = time.monotonic()
    threading.Timer(0.3, holder.kill).start()
    with _file_locks.locked(tmp_path / "locks" / "lock"):
        assert time.monotonic() - began > 0.25
    assert "Waiting for another run of colab-env" in capsys.readouterr().err


def test_the_stop_button_ends_the_waiting(tmp_path, holder, stop):
    mark = tmp_path / "waiting"
    code = HOLD.format(lock=str(tmp_path / "locks" / "lock"), mark=str(mark), seconds=0)
    began = time.monotonic()
    ended = stop(code, when=lambda: time.monotonic() - began > 0.5)
    assert ended.returncode != 0
    assert "KeyboardInterrupt" in ended.output
    assert not mark.exists()
    assert holder.poll() is None


@pytest.mark.parametrize(
    ("write", "read"), [(_files.write_text, Path.read_text), (_files.put_back_link, os.readlink)], ids=["file", "link"]
)
def test_tasks_that_write_at_one_path_do_not_disturb_each_other(tmp_path, write, read):
    path = tmp_path / "file"
    texts = [str(number) * 200 for number in range(6)]

    def write_often(text: str) -> None:
        for _ in range(100):
            write(path, text)

    with ThreadPoolExecutor(len(texts)) as tasks:
        list(tasks.map(write_often, texts))
    assert read(path) in texts
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_named_and_leaves_the_old_file(small_disk):
    path = small_disk / "file"
    path.write_text("old")
    with pytest.raises(DiskFullError, match=r"no space left.*file"):
        _files.write_text(path, "x" * 5_000_000)
    assert content(small_disk) == {"file": "old"}


@pytest.mark.parametrize("write", [lambda path: _files.write_text(path, "x"), _files.check_writable, replace])
def test_a_directory_that_may_not_be_written_is_named(read_only, write):
    with pytest.raises(NotWritableError, match="cannot write") as caught:
        write(read_only / "there")
    assert str(read_only) in str(caught.value)


@pytest.mark.parametrize("write", [lambda path: _files.write_text(path, "x"), _files.check_writable, replace])
def test_a_file_where_a_directory_has_to_be_is_named(tmp_path, write):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(NotWritableError) as caught:
        write(tmp_path / "file" / "inner" / "place")
    assert str(tmp_path / "file") in str(caught.value)
    assert (tmp_path / "file").read_text() == "mine"


def test_writing_json_keeps_letters_readable(tmp_path):
    _files.write_json(tmp_path / "file", {"name": "Größe"})
    assert "Größe" in (tmp_path / "file").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "file").read_text(encoding="utf-8")) == _files.read_json(tmp_path / "file")


def test_an_output_replaces_no_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(NotWritableError, match="it is a pipe"):
        _files.output_path(tmp_path / "pipe")
    assert [each.name for each in tmp_path.iterdir()] == ["pipe"]


def test_a_file_that_comes_while_it_is_looked_for_was_not_there_yet(tmp_path, monkeypatch):
    path, real = tmp_path / "uv.toml", os.open

    def late(*arguments):
        try:
            return real(*arguments)
        except FileNotFoundError:
            path.write_bytes(b"by another step")
            raise

    monkeypatch.setattr(os, "open", late)
    assert _files.content(path) is None
    assert _files.content(path) == b"by another step"


def test_a_sweep_leaves_the_private_directory_of_a_run_that_goes_on(tmp_path):
    code = "import sys, pathlib, colab_env._transactions as t\nwhile True: t.sweep(pathlib.Path(sys.argv[1]), [])"
    sweepers = [subprocess.Popen([sys.executable, "-c", code, tmp_path]) for _ in range(2)]
    try:
        for _ in range(1500):
            with _file_locks.private_directory(tmp_path) as scratch:
                (scratch / "file").write_text("1")
        assert [sweeper.poll() for sweeper in sweepers] == [None, None]
    finally:
        for sweeper in sweepers:
            sweeper.kill()
            sweeper.wait()
    assert list(tmp_path.iterdir()) == []
