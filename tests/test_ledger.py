"""The ledger says what was there before, whatever happens to its own file."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from colab_env import _files, _ledger
from colab_env._ledger import Entry, File, Ledger, Link, MovedTo, Overlaid
from colab_env.machine import Machine
from colab_env.undoing import undo

SHA256 = "0" * 64


def entry(path: Path, **changes: object) -> Entry:
    return Entry(**{"step": "add", "path": path, "before": None, "after": _ledger.TREE, **changes})


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "data")


@pytest.fixture
def file(ledger: Ledger) -> Path:
    return ledger.directory / "journal.jsonl"


ENTRIES = [
    entry(Path("/p/.venv"), made=(Path("/p"),)),
    entry(Path("/p/a"), before=File(sha256=SHA256, mode=0o640, mtime_ns=1), after=SHA256),
    entry(Path("/p/b"), before=Link(target="../x"), after=_ledger.ABSENT),
    entry(Path("/p/c"), before=_ledger.Directory(), after=MovedTo(path=Path("/p/c.old"))),
    entry(Path("/usr/local"), before=_ledger.Directory(), after=Overlaid(saved=Path("/s"))),
    entry(Path("/p/\udcff odd\n name")),
]


def test_what_is_written_is_read(ledger):
    for each in ENTRIES:
        ledger.append(each)
    assert ledger.read() == _ledger.Record(entries=tuple(ENTRIES), damaged=0)


def test_what_is_undone_is_no_entry_and_what_comes_after_it_is(ledger):
    for each in ENTRIES[:2]:
        ledger.append(each)
    ledger.undone(ENTRIES[0].path)
    assert ledger.read().entries == (ENTRIES[1],)
    ledger.append(ENTRIES[0])
    assert ledger.read().entries == (ENTRIES[1], ENTRIES[0])


@pytest.mark.parametrize("length", [1, 20, -1])
def test_a_torn_last_line_takes_no_other_one_with_it(ledger, file, length):
    ledger.append(ENTRIES[0])
    whole = file.read_bytes()
    file.write_bytes(whole + whole[:length])
    assert set(ledger.read().entries) == {ENTRIES[0]}
    ledger.append(ENTRIES[1])
    assert ledger.read() == _ledger.Record(entries=(ENTRIES[0], ENTRIES[1]), damaged=0)


@pytest.mark.parametrize("line", [b"\xff", b"5", b"[1, 2]", b"{}", b'{"step": "add"}', b"[" * 100_000, b"\0" * 64])
def test_a_damaged_line_is_counted_and_no_traceback(ledger, file, line):
    ledger.append(ENTRIES[0])
    file.write_bytes(line + b"\n" + file.read_bytes())
    assert ledger.read() == _ledger.Record(entries=(ENTRIES[0],), damaged=1)


@pytest.mark.parametrize("position", range(0, 200, 7))
def test_a_line_with_another_letter_in_it_is_not_believed(ledger, file, position):
    ledger.append(ENTRIES[1])
    content = bytearray(file.read_bytes())
    content[position] ^= 1
    file.write_bytes(bytes(content))
    assert ENTRIES[1] not in ledger.read().entries or content[position] ^ 1 in b" "


@pytest.mark.parametrize("key", ["step", "path", "before", "after", "made"])
@pytest.mark.parametrize("value", [1, 1.5, [1], {"kind": "file", "sha256": "../../x"}, None, True])
def test_a_key_of_another_type_is_no_entry(ledger, file, key, value):
    ledger.append(ENTRIES[1])
    values = {name: each for name, each in json.loads(file.read_text()).items() if name not in ("sum", "version")}
    file.write_text(json.dumps({**values, key: value}) + "\n")
    record = ledger.read()
    assert record.damaged == 1 or (key, value) == ("before", None)


def test_the_journal_of_the_first_version_is_read(ledger, file):
    file.parent.mkdir(parents=True)
    before = {"kind": "file", "sha256": SHA256, "mode": 420, "mtime_ns": 1}
    lines = [
        {"step": "configure_venv", "path": "/p/x", "before": before, "after": "unknown", "made": []},
        {"step": "configure_venv", "path": "/p/.venv", "before": None, "after": "tree", "made": ["/p"]},
        {"step": "install_miniconda", "path": "/usr/local", "before": {"kind": "directory"}, "after": {"saved": "/s"},
         "made": []},
    ]  # fmt: skip
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    record = ledger.read()
    assert [(each.path.name, each.after) for each in record.entries] == [
        ("x", "unknown"), (".venv", "tree"), ("local", Overlaid(saved=Path("/s"))),
    ]  # fmt: skip
    assert record.damaged == 0


def test_a_line_of_a_newer_version_is_not_guessed_at(ledger, file):
    ledger.append(ENTRIES[0])
    values = json.loads(file.read_text())
    file.write_text(json.dumps({**values, "version": 3}) + "\n")
    assert ledger.read() == _ledger.Record(entries=(), damaged=1)


def test_a_damaged_ledger_is_left_and_said(home: Path, tmp_path: Path):
    with _ledger.recording("add", Machine.detect()):
        _files.write_text(tmp_path / "one", "1")
        _files.write_text(tmp_path / "two", "2")
    file = Ledger(Machine.detect().data).directory / "journal.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join([*lines[:-1], lines[-1].replace(b"two", b"owt")]))
    result = undo()
    assert not result.complete
    assert "1 of its lines are damaged" in repr(result)
    assert not (tmp_path / "one").exists()
    assert (tmp_path / "two").exists()


def test_a_thousand_entries_cost_a_thousand_times_one(home: Path, tmp_path: Path):
    runtime = Machine.detect()

    def seconds(count: int) -> float:
        began = time.process_time()
        with _ledger.recording("add", runtime):
            for number in range(count):
                _ledger.note(tmp_path / str(number), _ledger.TREE)
        return time.process_time() - began

    seconds(100)
    few = min(seconds(100) for _ in range(3))
    many = seconds(2000)
    assert many < 20 * few * 4


def test_nothing_is_written_down_outside_of_a_step_or_inside_of_what_is_ours(home: Path, tmp_path: Path):
    runtime = Machine.detect()
    _ledger.note(tmp_path / "x", _ledger.TREE)
    with _ledger.recording("add", runtime):
        _ledger.note(tmp_path / "tree", _ledger.TREE)
        _ledger.note(tmp_path / "tree" / "inside", _ledger.TREE)
        _ledger.note(runtime.data / "layers", _ledger.TREE)
        with _ledger.paused():
            _ledger.note(tmp_path / "y", _ledger.TREE)
    _ledger.note(tmp_path / "z", _ledger.TREE)
    assert [each.path for each in Ledger(runtime.data).read().entries] == [runtime.data, tmp_path / "tree"]


def test_packages_of_the_system_are_written_down_inside_of_a_step(home: Path):
    runtime = Machine.detect()
    _ledger.note_packages(["outside"])
    with _ledger.recording("add", runtime):
        _ledger.note_packages(["one", "two"])
        _ledger.note_packages([])
    noted = [each.after for each in Ledger(runtime.data).read().entries if isinstance(each.after, _ledger.Installed)]
    assert noted == [_ledger.Installed(packages=("one", "two"))]


def test_what_a_file_held_is_on_the_disk_before_it_is_changed(ledger, tmp_path, monkeypatch):
    written, sync = [], os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda descriptor: written.append(os.fstat(descriptor).st_size) or sync(descriptor)
    )
    (tmp_path / "x").write_text("before")
    ledger.keep(tmp_path / "x")
    assert written == [len("before")]


def test_a_first_line_that_has_no_end_is_written_anew(home: Path) -> None:
    """A run that is killed while it writes its first line leaves half of it, and undo takes the data directory away too."""
    machine = Machine.detect()
    ledger = Ledger(machine.data)
    ledger.directory.mkdir(parents=True)
    (ledger.directory / "journal.jsonl").write_bytes(b'{"step": "install_py')
    with _ledger.recording("install_python", machine):
        pass
    record = ledger.read()
    assert record.begins
    assert [entry.path for entry in record.entries] == [machine.data]
