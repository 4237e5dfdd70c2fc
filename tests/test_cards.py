"""What people see: cards in a notebook, lines of any width in a terminal, marks in any encoding, and a log of everything."""

from __future__ import annotations

import base64
import hashlib
import html.parser
import http.server
import inspect
import os
import pty
import re
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import ClassVar

import pytest
from conftest import ROOT
from small_wheels import write_wheel

import colab_env
from colab_env import _download, _log, _process, _report, _screens, cards, cli, results, uv
from colab_env.diagnose import KernelHealth, Status
from colab_env.errors import ColabEnvError, NetworkError
from colab_env.interpreter import Interpreter
from colab_env.kernel import Outcome
from colab_env.locks import uv_install
from colab_env.machine import Machine
from colab_env.machine_report import Report
from colab_env.part import Part
from colab_env.planning import Plan
from colab_env.plans.distributions import Conflict, Row
from colab_env.results import SetupResult, StepResult
from colab_env.snapshots import Saved
from colab_env.step import changing
from colab_env.undoing import Undone, UndoResult
from colab_env.verifying import Verified, VerifiedPart

EVIL = "<script>alert('x')</script>"
PYTHON = Interpreter(path=Path("/usr/bin/python3.12"), version="3.12.4", source="system")


def step(name: str, what: str, **more) -> StepResult:
    return StepResult(**{"step": name, "what": what, "where": Path("/p"), "action": "done", "seconds": 1.25, **more})


SETUP = SetupResult(
    steps=(step("install_python", "Python 3.12.4", reason=EVIL), step("configure_venv", EVIL, notes=(EVIL,))),
    kernel="py312",
    display_name=EVIL,
    seconds=2.5,
)
STATUS = Status(
    project=Path("/p"),
    parts=(
        Part(name="Environment", what=EVIL, where=Path("/p/.venv"), size=120_000_000),
        Part(name="Kernel", what="py312", where=Path("/k"), problem=EVIL, size=30_000_000),
    ),
)
PLAN = Plan(
    python=PYTHON,
    there=True,
    machine=PYTHON,
    visible=True,
    lock=Path("/p/uv.lock"),
    rows=(
        Row(name="numpy", wanted="2.3.1", machine="2.1.3", happens="replaced", download=20_000_000, on_disk=60_000_000),
        Row(name="torch", wanted="2.6.0", machine="2.6.0", happens="kept", on_disk=2_400_000_000),
        Row(name=EVIL, wanted="1", machine=None, happens="new", download=1_000_000),
    ),
    only_on_machine=3,
    conflicts=(Conflict(package="tensorflow", version="2.18", needs="numpy<2.2", brings=EVIL),),
    saved=2_400_000_000,
)
UNDO = UndoResult(
    places=(
        Undone(path=Path("/p/.venv"), step="configure_venv", action="removed"),
        Undone(path=Path(f"/p/{EVIL}"), step="switch", action="left", reason=EVIL),
    ),
    dry_run=False,
)
HEALTH = KernelHealth(
    name="py312", outcome=Outcome(failure=f"execute: {EVIL}", seconds={"kernel_info": 0.5, "execute": 1.0}, log=(EVIL,))
)
REPORT = Report(
    parts=(*STATUS.parts, Part(name="Disk", what="1.0 GB free", where=Path("/"))), changed=(EVIL,), untried=(EVIL,)
)
VERIFIED = Verified(
    project=Path("/p"),
    parts=(
        VerifiedPart(
            name="Environment", where=Path("/p/.venv"), files=2, damaged=(EVIL,), added=(EVIL,), seconds=0.5, note=EVIL
        ),
        VerifiedPart(name="Kernel", where=Path("/k"), files=1, damaged=(), added=(), seconds=0.1),
    ),
)
SAVED = Saved(
    name="lesson-1.tar.zst", where=EVIL, size=2_000_000, seconds=1.0, action="saved", sha256="0" * 64, notes=(EVIL,)
)
RESULTS = [SETUP, SETUP.steps[0], STATUS, PLAN, UNDO, HEALTH, REPORT, VERIFIED, SAVED]


class Tags(html.parser.HTMLParser):
    """Holds that every tag is closed in its order, and reads the text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.names: set[str] = set()
        self.text = ""
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.names.add(tag)
        if tag not in {"meta", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += f"{data} "


@pytest.mark.parametrize("result", RESULTS, ids=lambda result: type(result).__name__)
def test_a_card_is_whole_html_and_nothing_of_a_file_is_a_tag_in_it(result):
    page = Tags(result._repr_html_())
    assert "script" not in page.names
    assert repr(result)  # the text that stands beside it, for papermill and a terminal


def test_a_set_up_is_one_card_with_a_mark_a_name_and_a_time_for_each_step():
    page = Tags(SETUP._repr_html_())
    assert "✓  Ready in 2.5 s" in page.text
    for words in ("Python", "Environment", "1.2 s", "py312", "because"):
        assert words in page.text
    assert SETUP._repr_html_().count("<div class=cenv>") == 1
    assert {"details", "summary"} <= page.names


def test_what_needs_a_look_comes_first_in_a_doctors_card():
    page = Tags(REPORT._repr_html_())
    assert "✗  1 of 3 need a look" in page.text
    assert page.text.index("Kernel") < page.text.index("Environment")


@pytest.fixture
def notebook(monkeypatch):
    """Run a cell as a notebook does, and return what its output area shows: HTML, or else text."""
    from IPython.core.displayhook import CapturingDisplayHook
    from IPython.core.displaypub import CapturingDisplayPublisher
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    shell = InteractiveShell(config=Config({"HistoryManager": {"enabled": False}}))
    shell.kernel = object()
    for kind in type(shell)._walk_mro():
        monkeypatch.setattr(kind, "_instance", shell)
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])  # a shell puts its own there

    def run(cell: str) -> list[str]:
        outputs: list[dict] = []
        shell.display_pub = CapturingDisplayPublisher()
        shell.display_pub.outputs = outputs
        shell.display_trap.hook = CapturingDisplayHook(shell=shell, outputs=outputs)
        assert shell.run_cell(cell, store_history=True).success
        shown: dict[str, str] = {}
        for number, output in enumerate(outputs):
            name = output.get("transient", {}).get("display_id", f"result {number}")
            data = output["data"]
            shown[name] = data.get("text/html") or data.get("text/plain", "")
        return [text for text in shown.values() if text]

    shell.user_ns["call"] = _report.ends_in_card(_work)
    return run


def _work():
    with _report.activity("Installing"):
        _report.keep("the project asks for graphviz")
    return SETUP


def test_a_call_leaves_its_card_wherever_in_a_cell_it_stands_and_only_once(notebook):
    for cell in ("call()", "call()\nNone", "ready = call()", "for _ in range(1):\n    call()"):
        (card,) = notebook(cell)
        assert "Ready in 2.5 s" in card, cell
        assert "graphviz" in card, "what no result repeats stays"
    (again,) = notebook("ready")
    assert "Ready in 2.5 s" in again, "in another cell a value is shown as any other"
    assert len(notebook("call()\ncall()")) == 2


def test_a_plan_shows_what_it_brings_hides_and_shares_as_bars():
    full = [line for line in repr(PLAN).splitlines() if re.match(r"(brings|hides|shares) ", line)]
    assert full == [
        "brings  ···················· 2 packages, 21.0 MB to download",
        "hides   ···················· 1 package, 60.0 MB on the machine's disk",
        "shares  ████████████████████ 1 package, 2400.0 MB on the machine's disk",
    ]
    assert "width:100.0%" in PLAN._repr_html_()


def test_a_project_without_anything_gets_one_line_and_one_with_a_part_all_of_them(project, capsys, monkeypatch):
    monkeypatch.chdir(project)
    monkeypatch.setenv("COLAB_ENV_BASE", str(project / "envs"))  # not the machine's
    assert cli.main(["status", "--exit-code"]) == 1
    assert capsys.readouterr().out.splitlines()[1:] == ["nothing is set up here yet: run `colab-env setup`"]
    assert repr(colab_env.status()).splitlines()[1:] == ["nothing is set up here yet: run setup()"]
    assert "✗" not in colab_env.status()._repr_html_()
    assert not colab_env.status().ok
    (project / ".venv").symlink_to("gone")
    assert "no Python is chosen yet: run `colab-env setup`" in (cli.main(["status"]), capsys.readouterr().out)[1]
    assert [part.name for part in colab_env.status().parts] == ["Python", "Poetry", "Environment", "Kernel"]


def test_a_status_draws_sizes_and_is_a_page_of_its_own(tmp_path, capsys, monkeypatch):
    assert "width:25.0%" in STATUS._repr_html_()
    file = tmp_path / "status.html"
    assert cli.main(["status", "--project", str(tmp_path), "--html", str(file)]) == 0
    text = file.read_text()
    assert text.startswith("<!DOCTYPE html>")
    assert "prefers-color-scheme:dark" in text
    Tags(text)
    assert "nothing is set up here yet" in capsys.readouterr().out
    assert cli.main(["status", "--html", str(tmp_path)]) == 6
    assert "not a file" in capsys.readouterr().err


def test_a_card_of_work_that_failed_stays_and_says_where():
    pytest.importorskip("IPython")
    screen = _screens.Notebook()
    drawn: list[dict[str, str]] = []
    screen._handle = type("Handle", (), {"update": lambda _self, bundle, raw: drawn.append(bundle)})()  # the edge

    def fail() -> None:
        with _report.screen(screen), _report.activity("Installing"):
            _report.keep("✓ Python 3.12")
            with _report.activity("Fetching <it>"):
                raise NetworkError("no connection")

    with pytest.raises(NetworkError):
        fail()
    assert drawn[-1]["text/plain"] == "✓ Python 3.12\n✗ Fetching <it>"
    assert "Fetching &lt;it&gt;" in drawn[-1]["text/html"]
    Tags(drawn[-1]["text/html"])


# --- a terminal


@pytest.mark.parametrize("columns", [80, 40])
@pytest.mark.parametrize(
    "work",
    [
        _screens.Work(title="Installing", facts=("30/120 packages", "15 s left", "60.0 MB written"), fraction=0.4),
        _screens.Work(title="Setting up the virtual environment: there is none yet", seconds=125.0),
        _screens.Work(title="Installing uv", facts=("Collecting " + "x" * 300,), seconds=8.2),
        _screens.Work(
            title="講義のための環境を用意しています" * 3, facts=("1.0/2.0 MB", "3 s left"), fraction=0.5, seconds=2
        ),
    ],
    ids=["a bar", "a long title", "a tool's line", "wide characters"],
)
def test_the_moving_line_fits_and_keeps_what_matters(columns, work):
    line = work.fitted(columns)
    assert _screens._cells(line) <= columns
    assert line.startswith(work.title[:4])
    if work.fraction is not None:
        assert f"[{_screens.bar(work.fraction, 8)}]" in line or columns == 80
        assert work.facts[0] in line
    if work.seconds >= 1:
        assert line.endswith(_screens.duration(work.seconds))


COMMAND = """
import sys
from colab_env import _report, _screens
_screens.with_marks(sys.stdout); _screens.with_marks(sys.stderr)
with _report.screen(_report.choose_screen(keep_to=sys.stdout)):
    with _report.activity("Setting up the virtual environment: there is none"):
        _report.line("Resolved 120 packages in 1.2 s, and now they are prepared, one after the other")
    _report.keep("✓ Python 3.12.4, system in ~/courses/analysis/2024/lesson-one/.venv/bin/python3.12 (already there, 0.0 s)")
_report.tell("✗ Kernel “py312”: it is gone\\n→ run colab-env setup")
"""


def test_where_there_is_little_room_a_title_loses_its_reason_first():
    work = _screens.Work(title="Trying the kernel: no kernel 'py311' is registered", seconds=4.0)
    assert work.fitted(79) == "Trying the kernel: no kernel 'py311' is registered  4 s"
    assert work.fitted(39) == "Trying the kernel  4 s"


def run_in_terminal(columns: int, **environ: str) -> str:
    master, slave = pty.openpty()
    own = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "FORCE_COLOR"}}
    environ = {**own, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": str(columns), **environ}
    with subprocess.Popen([sys.executable, "-c", COMMAND], env=environ, stdout=slave, stderr=slave) as process:
        os.close(slave)
        text = b""
        try:
            while chunk := os.read(master, 4096):
                text += chunk
        except OSError:  # so Linux says that nobody writes any more
            pass
        assert process.wait(timeout=300) == 0
    os.close(master)
    return text.decode()


@pytest.mark.parametrize("columns", [80, 40])
def test_lines_are_folded_at_words_to_the_width_of_a_terminal(columns):
    shown = run_in_terminal(columns)
    lines = [re.sub(r"\x1b\[[0-9;]*[mK]", "", line).rpartition("\r")[2] for line in re.split(r"\r?\n", shown)]
    assert "\x1b[32m✓" in shown
    assert "\x1b[31m✗" in shown
    path = "~/courses/analysis/2024/lesson-one/.venv/bin/python3.12"
    assert max(map(_screens._cells, lines)) <= max(columns, len(path) + 4)
    assert any(path in line for line in lines)  # a path that is broken cannot be copied


def test_an_error_is_folded_and_a_command_to_copy_stays_in_one_piece():
    command = "colab-env add lesson.ipynb --from-cells"
    lines = _screens.folded(f"→ write its packages into it: {command}; then open it again", 34)
    assert any(command in line for line in lines)
    assert len(lines) > 2
    whole = "`pip uninstall -y colab-env colab-bootstrap && pip install colab-bootstrap`"
    assert whole in "\n".join(_screens.folded(f"→ {whole} mends it", 40))


def test_colours_and_moves_are_for_those_who_want_and_understand_them():
    assert "\x1b[3" not in run_in_terminal(80, NO_COLOR="1")
    assert "\x1b" not in run_in_terminal(80, TERM="dumb")
    stream = open(os.devnull)  # noqa: SIM115, PTH123 - no terminal
    with stream:
        assert _screens.has_colour(stream, {"FORCE_COLOR": "1"})
        assert not _screens.has_colour(stream, {"FORCE_COLOR": "0"})
        assert not _screens.has_colour(stream, {})
        assert not _screens.has_colour(stream, {"FORCE_COLOR": "1", "NO_COLOR": "1"})


def test_marks_that_differ_stay_different_where_the_encoding_has_none():
    shown = run_in_terminal(80, PYTHONIOENCODING="ascii", NO_COLOR="1")
    assert "[ok] Python 3.12.4" in shown
    assert '[!!] Kernel "py312": it is gone' in shown
    assert "-> run colab-env setup" in shown
    assert "?" not in shown


NOTICE = "0.00s - Debugger warning: It seems that frozen modules are being used, which may"


def test_what_a_tool_prints_for_programs_or_about_itself_is_on_no_screen():
    shown: list[str] = []

    class Recorder(_report.Silent):
        def show(self, work: _report.Work) -> None:
            shown.append(str(work))

    with _report.screen(Recorder()), _report.activity("Trying the kernel"):
        for line in (
            '{"ok": true, "checks": [{"name": "kernel_info"}]}',
            "[notice] A new release of pip is available",
            NOTICE,
        ):
            _report._current.get()._drawn = 0.0
            _report.line(line)
    assert shown == ["Trying the kernel"]


def test_the_last_line_of_a_tool_goes_when_the_tool_has_ended():
    shown: list[str] = []

    class Recorder(_report.Silent):
        def show(self, work: _report.Work) -> None:
            shown.append(str(work))

    with _report.screen(Recorder()), _report.activity("Installing"):
        _report._current.get()._drawn = 0.0
        _process.run([sys.executable, "-c", "print('its last line')"], environ=os.environ)
        _report._current.get()._drawn = 0.0
        _report._current.get().draw()
    assert shown == ["Installing", "Installing · its last line", "Installing"]


def test_two_works_side_by_side_are_one_calm_line():
    shown: list[str] = []

    class Recorder(_report.Silent):
        def show(self, work: _report.Work) -> None:
            shown.append(str(work))

    def draw(text: str) -> None:
        _report._current.get()._drawn = 0.0
        _report.line(text)

    def other() -> None:
        with _report.activity("Second"):
            draw("of the second")
            barrier.wait()
            barrier.wait()

    with _report.screen(Recorder()), _report.activity("First"):
        import contextvars

        barrier = threading.Barrier(2)
        thread = threading.Thread(target=contextvars.copy_context().run, args=(other,))
        thread.start()
        barrier.wait()
        draw("of the first")  # it has its own line, and does not take the other's title
        barrier.wait()
        thread.join()
        draw("again")
    assert shown == ["First", "Second", "Second · of the second", "Second · of the second", "First · again"]


# --- how long it takes


class Throttled(http.server.BaseHTTPRequestHandler):
    """Sends one file at a steady pace."""

    content = os.urandom(3_000_000)
    seconds = 2.0

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        began, size = time.monotonic(), len(self.content) // 100
        for number in range(100):
            # By the clock, so that a busy machine does not change the pace.
            time.sleep(max(began + self.seconds * number / 100 - time.monotonic(), 0))
            self.wfile.write(self.content[number * size : (number + 1) * size])

    def log_message(self, *_):
        pass


@pytest.mark.machine  # it takes the time that it is about; test_report has the arithmetic
def test_the_time_left_is_true_within_a_quarter_at_half_way(tmp_path):
    seen: list[tuple[float, float, float]] = []

    class Recorder(_report.Silent):
        def show(self, work: _report.Work) -> None:
            if work.fraction and work.left:
                seen.append((abs(work.fraction - 0.5), work.left, time.monotonic()))

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Throttled)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    digest = hashlib.sha256(Throttled.content).hexdigest()
    with _report.screen(Recorder()), _report.activity("Fetching"):
        _download.fetch(f"http://127.0.0.1:{server.server_port}/file", tmp_path / "file", sha256=digest)
    ended = time.monotonic()
    server.shutdown()
    server.server_close()
    _, left, moment = min(seen)
    assert abs(left - (ended - moment)) <= 0.25 * (ended - moment)


class ThrottledIndex(http.server.BaseHTTPRequestHandler):
    """A simple index with two wheels, whose bytes come at a steady pace."""

    wheels: ClassVar[dict[str, bytes]] = {}
    speed = 4_000_000  # bytes in a second, of each

    def do_GET(self):
        content = self.wheels.get(Path(self.path).name)
        page = f"<a href='/{Path(self.path).name}-1.0-py3-none-any.whl'>{Path(self.path).name}-1.0-py3-none-any.whl</a>"
        body = content or page.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        began = time.monotonic()
        for start in range(0, len(body), 20_000):
            if content:
                time.sleep(max(began + start / self.speed - time.monotonic(), 0))
            self.wfile.write(body[start : start + 20_000])

    def do_HEAD(self):
        self.send_response(405)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.mark.machine
def test_an_installation_by_uv_is_half_done_when_half_of_its_bytes_have_come(tmp_path):
    program = uv.find(Machine.detect())
    if program is None:
        pytest.skip("needs uv")
    for name, size in (("large", 12_000_000), ("small", 1_200_000)):
        # Random bytes, as those of a wheel are that is compressed already.
        code = f"blob = {base64.b64encode(os.urandom(size)).decode()!r}"
        wheel = write_wheel(tmp_path / "wheels", name, "1.0", code=code)
        ThrottledIndex.wheels[wheel.name] = wheel.read_bytes()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), ThrottledIndex)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    seen: list[tuple[float, float, float]] = []

    class Recorder(_report.Silent):
        def show(self, work: _report.Work) -> None:
            if work.fraction and work.left:
                seen.append((abs(work.fraction - 0.5), work.left, time.monotonic()))

    cache = tmp_path / "cache"
    environ = {**os.environ, "RUST_LOG": uv_install.LOG, "UV_NO_PROGRESS": "1", "UV_CACHE_DIR": str(cache)}
    words = ["pip", "install", "--no-config", "--python", sys.executable, "--target", tmp_path / "site"]
    index = ["--default-index", f"http://127.0.0.1:{server.server_port}/simple"]
    with _report.screen(Recorder()), _report.activity("Installing"):
        follower = uv_install.Follower(cache)
        _process.run(
            [program, *words, *index, "large", "small"], environ={**environ, "NO_PROXY": "127.0.0.1"}, follow=follower
        )
    ended = time.monotonic()
    server.shutdown()
    server.server_close()
    _, left, moment = min(seen)
    assert abs(left - (ended - moment)) <= 0.25 * (ended - moment)


# --- the log


@pytest.fixture
def machine(tmp_path, monkeypatch) -> Machine:
    monkeypatch.setenv("COLAB_ENV_HOME", str(tmp_path / "data"))
    return Machine.detect()


def test_an_error_names_the_log_that_has_everything_and_no_secret(machine):
    environ = {**os.environ, "MY_TOKEN": "s3cret-value"}
    script = 'import sys; print("hello from", "s3cret-value"); sys.exit(3)'
    with pytest.raises(ColabEnvError) as caught, changing("setup", machine), _report.activity("Trying"):
        _process.run([sys.executable, "-c", script], environ=environ)
    log = machine.data / "logs" / "colab-env.log"
    assert caught.value.log == log
    assert str(caught.value).splitlines()[-1].endswith("logs/colab-env.log")
    assert any("colab-env.log" in line for line in caught.value._render_traceback_())
    text = log.read_text()
    for words in ("Trying ...", "$ ", "hello from ***", "exit code 3", "CommandError: `python"):
        assert words in text
    assert "s3cret" not in text
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert script not in caught.value.message  # no raw command lines


def test_a_run_that_does_nothing_leaves_no_log(machine):
    with changing("setup", machine):
        _report.keep("✓ already there")
    assert not (machine.data / "logs").exists()


def test_a_log_is_bounded_and_what_cannot_be_written_stops_nobody(tmp_path, monkeypatch):
    monkeypatch.setattr(_log, "_LARGEST", 2000)
    path = tmp_path / "logs" / "colab-env.log"
    log = _log.Log(path)
    for _ in range(100):
        log.write("x" * 100)
    log.close()
    assert {file.name for file in path.parent.iterdir()} == {"colab-env.log", "colab-env.log.1"}
    assert sum(file.stat().st_size for file in path.parent.iterdir()) < 5000
    (tmp_path / "file").write_text("")
    closed = _log.Log(tmp_path / "file" / "colab-env.log")
    closed.write("nobody hears it")
    assert not closed.is_open


def test_the_log_follows_no_link(tmp_path):
    target = tmp_path / "target"
    target.write_text("mine")
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "colab-env.log").symlink_to(target)
    _log.Log(tmp_path / "logs" / "colab-env.log").write("x")
    assert target.read_text() == "mine"


def test_verbose_shows_what_the_tools_print(machine, capsys):
    with _report.screen(_report.Plain(keep_to=sys.stdout), is_verbose=True), _report.activity("Trying"):
        _process.run([sys.executable, "-c", "print('one'); print('two')"], environ=os.environ)
    assert capsys.readouterr().out == "    one\n    two\n"


def test_a_page_holds_paths_that_are_no_text():
    assert cards.page("\udc80", "\udc80").encode()


def test_pictures_are_small_and_a_page_shows_them():
    pictures = sorted((ROOT / "docs" / "images").glob("*.png"))
    assert [picture.name for picture in pictures if picture.stat().st_size > 60_000] == []
    text = (ROOT / "docs" / "output.md").read_text()
    linked = set(re.findall(r"images/([\w-]+\.png)", text))
    assert linked == linked & {picture.name for picture in pictures}


def test_every_public_call_whose_result_is_a_card_leaves_it_in_the_cell():
    verbs = {
        name: getattr(colab_env, name) for name in colab_env.__all__ if inspect.isfunction(getattr(colab_env, name))
    }
    kinds = {name: inspect.signature(verb).return_annotation for name, verb in verbs.items()}
    cards = {name for name, kind in kinds.items() if is_card(sys.modules[verbs[name].__module__], kind)}
    assert {"setup", "plan", "status", "save", "undo", "configure_venv", "doctor"} <= cards
    assert {name for name in cards if not hasattr(verbs[name], "__wrapped__")} == set()


def is_card(module, annotation):
    kind = getattr(module, str(annotation), None)
    return isinstance(kind, type) and issubclass(kind, results.CardResult)


def test_a_set_up_in_a_pipe_says_each_step_when_it_has_ended(tmp_path):
    code = "import colab_env; colab_env.setup(project='lesson', interpreter='system', system_site_packages=False)"
    (tmp_path / "lesson").mkdir()
    (tmp_path / "lesson/requirements.txt").touch()
    environ = {**os.environ, "HOME": str(tmp_path), "COLAB_ENV_HOME": str(tmp_path / "data")}
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environ, capture_output=True, text=True, check=True
    )
    steps = [line.split()[1] for line in answer.stderr.splitlines() if line.startswith("✓")]
    assert list(dict.fromkeys(steps)) == ["Python", "Virtual", "Kernel"]


def test_a_sentence_that_begins_with_a_tools_name_is_folded_and_a_command_is_not():
    sentence = "✗ uv cannot download its Python because the address that it asks does not answer"
    assert max(map(len, _screens.folded(sentence, 40))) <= 40
    command = "→ python3 -m venv build/venv --system-site-packages"
    assert _screens.folded(command, 40) == [command]
