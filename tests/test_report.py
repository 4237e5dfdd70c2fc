"""Progress is a moving line for people, plain lines for a pipe, and one output for a notebook cell."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

from colab_env import _report


class Recorder:
    """A screen that remembers."""

    def __init__(self) -> None:
        self.shown: list[str] = []
        self.kept: list[str] = []
        self.closed = 0

    def show(self, work: _report.Work) -> None:
        self.shown.append(str(work))

    def keep(self, text: str) -> None:
        self.kept.append(text)

    def close(self, failure: str | None = None, result: Any = None) -> None:
        self.closed += 1


WORK = """
import time
from colab_env import _report
with _report.screen():
    with _report.activity("Installing a thing"):
        for number in range(5):
            _report.line(f"working on part {number}")
            time.sleep(0.06)
        time.sleep(0.12)
        _report.progress(5_000_000, 10_000_000, 1.0)
    _report.keep("✓ A thing (done)")
"""


def child(code: str, **options):
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "80", "NO_COLOR": "1"}
    return subprocess.Popen([sys.executable, "-c", code], env=environ, **options)


def test_a_pipe_gets_plain_lines_without_moving_parts():
    with child(WORK, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        out, err = process.communicate(timeout=300)
    assert out == b""
    assert err.decode().splitlines() == ["Installing a thing ...", "✓ A thing (done)"]


def test_a_terminal_gets_one_moving_line_and_the_lines_that_stay():
    master, slave = pty.openpty()
    with child(WORK, stdout=slave, stderr=slave) as process:
        os.close(slave)
        text = b""
        while True:
            try:
                chunk = os.read(master, 4096)
            except OSError:
                break
            text += chunk
            if not chunk:
                break
        process.wait(timeout=300)
    os.close(master)
    drawn = text.decode()
    assert "Installing a thing  working on part" in drawn
    assert "5.0/10.0 MB" in drawn
    assert "\n" not in drawn.split("✓")[0]  # it moves, it does not scroll
    visible = [line.rsplit("\x1b[2K", 1)[-1] for line in drawn.replace("\r\n", "\n").split("\n")]
    assert [line for line in visible if line] == ["✓ A thing (done)"]


def test_a_moving_line_is_never_wider_than_the_terminal(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "40")
    _report.Terminal().show(_report.Work(title="x" * 200))
    assert capsys.readouterr().err.count("x") == 38


KERNEL = """
import os
from colab_env import _report
with _report.screen():
    with _report.activity("Installing <a> thing"):
        _report.line("part")
    _report.keep("✓ A thing (done)")
    kept = True
"""


def test_a_notebook_cell_has_one_output_that_ends_empty(tmp_path):
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{KERNEL}")]
    )
    client = nbclient.NotebookClient(notebook, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}})
    seen = []
    process_message = client.process_message

    def listen(message, *arguments):
        if message["msg_type"] in ("display_data", "update_display_data"):
            seen.append((message["msg_type"], message["content"]["data"]))
        return process_message(message, *arguments)

    client.process_message = listen
    try:
        client.execute()
    except nbclient.exceptions.CellExecutionError as error:
        pytest.fail(str(error))
    kinds = [kind for kind, _ in seen]
    assert kinds[0] == "display_data"
    assert set(kinds[1:]) == {"update_display_data"}
    assert "… Installing <a> thing" in seen[0][1]["text/plain"]
    assert "&lt;a&gt;" in seen[0][1]["text/html"]
    assert any("✓ A thing (done)" in data["text/plain"] for _, data in seen)
    (output,) = notebook.cells[0].outputs
    assert output["data"]["text/plain"] == ""


def test_the_right_screen_is_chosen():
    assert isinstance(_report.choose_screen(), _report.Plain)
    assert not _report.in_notebook()


def test_work_inside_work_is_shown_on_the_outer_screen():
    screen = Recorder()
    with _report.screen(screen), _report.screen(), _report.activity("Inner"):
        _report.keep("kept")
    assert screen.shown == ["Inner"]
    assert screen.kept == ["kept"]
    assert screen.closed == 1


def test_a_screen_is_closed_and_forgotten_when_its_block_raises():
    screen = Recorder()
    with pytest.raises(KeyboardInterrupt), _report.screen(screen):
        raise KeyboardInterrupt
    assert screen.closed == 1
    _report.keep("to nobody")
    assert screen.kept == []


def test_a_fast_tool_is_drawn_ten_times_a_second_at_most():
    screen, began = Recorder(), time.monotonic()
    with _report.screen(screen), _report.activity("Work"):
        while len(screen.shown) < 4 and time.monotonic() < began + 60:
            _report.line("line")
    # The first at once; the others, however slow the machine is, a tenth of a second apart.
    assert 4 <= len(screen.shown) <= 1 + (time.monotonic() - began) / 0.1


def test_lines_from_many_threads_are_drawn_whole():
    import contextvars

    screen = Recorder()
    with _report.screen(screen), _report.activity("Work"):
        threads = [
            threading.Thread(
                target=contextvars.copy_context().run, args=(lambda: [_report.line("x" * 50) for _ in range(200)],)
            )
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert set(screen.shown) <= {"Work", "Work · " + "x" * 50}


def test_empty_lines_are_not_drawn():
    screen = Recorder()
    with _report.screen(screen), _report.activity("Work"):
        time.sleep(0.11)
        _report.line("   ")
    assert screen.shown == ["Work"]


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("https://ada:s3cret@host/simple", "https://***@host/simple"),
        ("a https://token@host b http://x:y@z", "a https://***@host b http://***@z"),
        ("git+ssh://git@github.com/a/b", "git+ssh://***@github.com/a/b"),
        ("https://ada:p@ss@host/simple", "https://***@host/simple"),
        ("mail ada@example.org", "mail ada@example.org"),
        ("https://host/path@version", "https://host/path@version"),
        ("\x1b[1;31mred\x1b[0m \x1b[?25lhidden", "red hidden"),
        ("\x1b]8;;https://host\x1b\\link\x1b]8;;\x1b\\", "link"),
    ],
)
def test_what_is_shown_has_no_passwords_and_no_escapes(text, clean):
    assert _report.clean(text) == clean


def test_titles_and_kept_lines_are_cleaned():
    screen = Recorder()
    with _report.screen(screen), _report.activity("Fetching https://a:b@host"):
        _report.keep("Fetched https://a:b@host")
    assert screen.shown == ["Fetching https://***@host"]
    assert screen.kept == ["Fetched https://***@host"]


@pytest.mark.parametrize(
    ("done", "total", "seconds", "words"),
    [
        (0, 10_000_000, 0.0, ["0.0/10.0 MB"]),
        (5_000_000, 10_000_000, 1.0, ["5.0/10.0 MB", "5.0 MB/s", "1 s left"]),
        (10_000_000, 10_000_000, 2.0, ["10.0/10.0 MB", "5.0 MB/s"]),
        (12_000_000, 10_000_000, 2.0, ["12.0/10.0 MB"]),
        (5_000_000, None, 2.0, ["5.0 MB", "2.5 MB/s"]),
        (0, 0, 0.0, ["0.0 MB"]),
    ],
)
def test_a_transfer_is_shown_in_megabytes(done, total, seconds, words):
    screen = Recorder()
    with _report.screen(screen), _report.activity("Fetching"):
        time.sleep(0.11)
        _report.progress(done, total, seconds)
    assert all(word in screen.shown[-1] for word in words), screen.shown


def test_without_a_screen_nothing_happens(capsys):
    _report.line("x")
    _report.progress(1, 2, 3)
    _report.keep("x")
    assert capsys.readouterr() == ("", "")


def test_a_screen_of_a_shell_without_a_terminal_survives_a_closed_pipe(tmp_path: Path):
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m colab_env kernel list | true"],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
