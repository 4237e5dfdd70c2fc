from __future__ import annotations

import errno
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conda_standin.server import Server

from colab_env import _download, _report
from colab_env.errors import DiskFullError, HashMismatchError, NetworkError, NotWritableError

CONTENT = os.urandom(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    directory = tmp_path / "www"
    directory.mkdir()
    (directory / "file").write_bytes(CONTENT)
    with Server(directory) as server:
        yield server


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "to" / "file"


class Waits(list[float]):
    __call__ = list.append


def part_of(target: Path, content: bytes) -> Path:
    target.parent.mkdir()
    part = target.with_name("file.part")
    part.write_bytes(content)
    return part


def test_a_file_arrives_whole_and_leaves_no_part(server, target):
    _download.fetch(f"{server.url}/file", target, sha256=SHA256)
    assert target.read_bytes() == CONTENT
    assert [path.name for path in target.parent.iterdir()] == ["file"]


def test_the_sum_may_be_written_in_capitals(server, target):
    _download.fetch(f"{server.url}/file", target, sha256=SHA256.upper())
    assert target.exists()


def test_a_part_is_gone_on_with(server, target):
    part_of(target, CONTENT[:1_000_000])
    _download.fetch(f"{server.url}/file", target, sha256=SHA256)
    assert target.read_bytes() == CONTENT
    assert server.requests == [("/file", "bytes=1000000-")]


def test_a_part_that_is_complete_is_not_fetched_again(server, target):
    part_of(target, CONTENT)
    _download.fetch(f"{server.url}/file", target, sha256=SHA256)
    assert target.read_bytes() == CONTENT


def test_a_part_longer_than_the_file_is_thrown_away(server, target):
    part_of(target, CONTENT + b"more")
    _download.fetch(f"{server.url}/file", target, sha256=SHA256, sleep=Waits())
    assert target.read_bytes() == CONTENT


def test_a_part_of_another_file_is_replaced_by_one_fresh_download(server, target):
    part_of(target, bytes(1_000_000))
    _download.fetch(f"{server.url}/file", target, sha256=SHA256)
    assert target.read_bytes() == CONTENT
    assert [asked for _, asked in server.requests] == ["bytes=1000000-", None]


def test_a_server_without_ranges_sends_everything_again(server, target):
    server.ranges = False
    part_of(target, CONTENT[:1_000_000])
    _download.fetch(f"{server.url}/file", target, sha256=SHA256)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("fault", [408, 425, 429, 500, 502, 503, 504, "cut"])
def test_a_transient_fault_is_tried_again_after_a_pause(server, target, fault):
    server.faults = [fault, fault]
    waits = Waits()
    _download.fetch(f"{server.url}/file", target, sha256=SHA256, sleep=waits)
    assert target.read_bytes() == CONTENT
    assert waits == [1, 2]


def test_after_a_cut_only_the_rest_is_fetched(server, target):
    server.faults = ["cut"]
    _download.fetch(f"{server.url}/file", target, sha256=SHA256, sleep=Waits())
    assert server.requests[1] == ("/file", f"bytes={len(CONTENT) // 2}-")


def test_a_fault_that_stays_ends_after_five_attempts_and_names_the_address(server, target):
    server.faults = [503] * 9
    waits = Waits()
    with pytest.raises(NetworkError, match=f"{server.url}/file.*503") as caught:
        _download.fetch(f"{server.url}/file", target, sha256=SHA256, sleep=waits)
    assert waits == [1, 2, 4, 8]
    assert "127.0.0.1" in caught.value.hint
    assert not target.exists()


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_a_final_answer_is_not_tried_again(server, target, status):
    server.faults = [status]
    with pytest.raises(NetworkError, match=f"answered {status}"):
        _download.fetch(f"{server.url}/file", target, sha256=SHA256, sleep=pytest.fail)
    assert len(server.requests) == 1


def test_without_a_network_the_error_names_the_address(target):
    waits = Waits()
    with pytest.raises(NetworkError, match=r"http://127\.0\.0\.1:9/file: no connection"):
        _download.fetch("http://127.0.0.1:9/file", target, sha256=SHA256, sleep=waits)
    assert len(waits) == 4


def test_an_address_that_is_none_is_said_so(target):
    with pytest.raises(NetworkError, match="not an address"):
        _download.fetch("file:///etc/passwd", target, sha256=SHA256, sleep=pytest.fail)


def test_a_password_in_the_address_is_not_shown(target):
    with pytest.raises(NetworkError) as caught:
        _download.fetch("http://me:secret@127.0.0.1:9/file", target, sha256=SHA256, sleep=Waits())
    assert "secret" not in str(caught.value)


def test_a_wrong_sum_leaves_nothing_and_names_both_sums(server, target):
    server.faults = ["wrong"]
    with pytest.raises(HashMismatchError, match=f"{server.url}/file has SHA-256 .* but {SHA256} was expected"):
        _download.fetch(f"{server.url}/file", target, sha256=SHA256)
    assert list(target.parent.iterdir()) == []


def test_a_wrong_sum_leaves_an_older_file_in_place(server, target):
    target.parent.mkdir()
    target.write_text("older")
    server.faults = ["wrong"]
    with pytest.raises(HashMismatchError):
        _download.fetch(f"{server.url}/file", target, sha256=SHA256)
    assert target.read_text() == "older"


def test_a_full_disk_is_said_so(server, target, monkeypatch):
    target.parent.mkdir()
    target.with_name("file.part").symlink_to("/dev/full")
    monkeypatch.setattr(_download, "_hash_existing", lambda *_: 0)  # /dev/full can be read forever
    with pytest.raises(DiskFullError, match="no space left on the disk"):
        _download.fetch(f"{server.url}/file", target, sha256=SHA256)


def test_a_directory_that_may_not_be_written_is_said_so(server, target, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise PermissionError(errno.EACCES, "Permission denied", str(target.parent))

    monkeypatch.setattr(Path, "mkdir", refuse)  # the tests may run as root, whom no mode stops
    with pytest.raises(NotWritableError, match=str(target.parent)):
        _download.fetch(f"{server.url}/file", target, sha256=SHA256)


def test_progress_counts_all_bytes_but_only_this_sessions_speed(server, target, monkeypatch):
    seen = []
    monkeypatch.setattr(_report, "progress", lambda done, total, seconds: seen.append((done, total, done / seconds)))
    part_of(target, CONTENT[:2_900_000])
    monkeypatch.setattr(_download.time, "monotonic", iter([0.0, 0.5, 1.0, 1.5]).__next__)
    _download.fetch(f"{server.url}/file", target, sha256=SHA256)
    assert seen == [(3_000_000, 3_000_000, 200_000)]


def test_the_stop_button_leaves_a_part_that_the_next_call_goes_on_with(server, target):
    server.faults = ["slow"]
    code = "from colab_env._download import fetch; from pathlib import Path; "
    code += f"fetch({server.url + '/file'!r}, Path({str(target)!r}), sha256={SHA256!r})"
    child = subprocess.Popen(
        [sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]
    )
    part = target.with_name("file.part")
    while not (part.exists() and part.stat().st_size):
        assert child.poll() is None
        time.sleep(0.02)
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=300)
    assert "KeyboardInterrupt" in errors
    assert not target.exists()
    _download.fetch(f"{server.url}/file", target, sha256=SHA256)
    assert target.read_bytes() == CONTENT
    assert server.requests[-1][1] is not None


def test_without_requests_advice_is_left_out_and_downloads_say_what_is_missing(target, monkeypatch):
    monkeypatch.setitem(sys.modules, "requests", None)
    assert _download.read_once("http://127.0.0.1:9/x") is None
    assert _download.sign_in_page("http://127.0.0.1:9/x") is None
    with pytest.raises(NetworkError, match="has no package requests") as caught:
        _download.fetch("http://127.0.0.1:9/x", target, sha256=SHA256)
    assert "apt install python3-requests" in str(caught.value.hint)
