"""Children get an environment of their own, are heard, and never outlive the call that started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from conftest import ROOT, start_python

from colab_env import _orphans, _process, _report
from colab_env.errors import CommandError

PYTHON = sys.executable
PATH = {"PATH": os.environ["PATH"]}


def sh(script: str, **options):
    return _process.run(["/bin/sh", "-c", script], environ=options.pop("environ", PATH), **options)


def alive(pid: int) -> bool:
    """Say whether a process runs (one that has ended and was not waited for does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gone(pid: int, *, seconds: float = 30) -> bool:
    deadline = time.monotonic() + seconds
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not alive(pid)


def read_pid(path: Path, *, seconds: float = 30) -> int:
    deadline = time.monotonic() + seconds
    while not (path.exists() and path.read_text().strip()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return int(path.read_text())


# --- the environment


COLAB = {
    "PATH": "/opt/bin:/usr/bin",
    "PYTHONPATH": "/env/python",
    "PYTHONHOME": "/usr",
    "UV_SYSTEM_PYTHON": "true",
    "UV_CONSTRAINT": "",
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "VIRTUAL_ENV": "/x",
    "LD_LIBRARY_PATH": "/usr/local/nvidia/lib",
    "COLAB_GPU": "1",
    "HTTPS_PROXY": "http://proxy",
}


def test_a_child_gets_nothing_that_belongs_to_the_servers_python():
    environ = _process.child_environ(COLAB)
    assert {"PYTHONPATH", "PYTHONHOME", "UV_SYSTEM_PYTHON", "UV_CONSTRAINT", "MPLBACKEND", "VIRTUAL_ENV"}.isdisjoint(
        environ
    )
    assert {
        name: environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "COLAB_GPU", "HTTPS_PROXY")
    }.items() <= COLAB.items()


def test_a_child_waits_for_no_keyring_unless_the_user_has_chosen_one():
    assert _process.child_environ({})["PYTHON_KEYRING_BACKEND"] == "keyring.backends.null.Keyring"
    assert _process.child_environ({"PYTHON_KEYRING_BACKEND": "mine"})["PYTHON_KEYRING_BACKEND"] == "mine"


def test_a_change_wins_over_what_the_machine_says():
    assert _process.child_environ({"A": "1", "PYTHONPATH": "/x"}, A="2", PYTHONPATH="/y")["A"] == "2"
    assert _process.child_environ({"PYTHONPATH": "/x"}, PYTHONPATH="/y")["PYTHONPATH"] == "/y"


def test_a_child_sees_the_environment_it_is_given_and_no_other(monkeypatch):
    monkeypatch.setenv("SECRET_OF_THE_TEST", "1")
    finished = _process.run([PYTHON, "-c", "import os; print(sorted(os.environ))"], environ={"ONLY": "this"})
    assert "SECRET_OF_THE_TEST" not in finished.output
    assert "ONLY" in finished.output


def test_a_child_that_asks_gets_no_answer_and_does_not_wait():
    assert sh("read answer || echo nobody is there").output == "nobody is there"


def test_a_child_works_where_it_is_told_and_this_process_stays(tmp_path):
    here = Path.cwd()
    assert sh("pwd", cwd=tmp_path).output == str(tmp_path)
    assert Path.cwd() == here


# --- what it says


def test_both_streams_are_heard_in_order():
    assert sh("echo one; echo two >&2; echo three").lines == ("one", "two", "three")


def test_a_moving_line_counts_as_its_last_state():
    assert sh(r"printf '10%%\r50%%\r100%%\ndone\n'").lines == ("100%", "done")


def test_colours_and_odd_bytes_are_harmless():
    assert sh(r"printf '\033[31mred\033[0m \377\n'").lines == ("red \ufffd",)


def test_the_last_lines_of_a_long_output_are_kept():
    lines = sh("seq 1 100000").lines
    assert lines[-1] == "100000"
    assert len(lines) < 1000


def test_every_line_is_shown_while_the_child_works(monkeypatch):
    shown = []
    monkeypatch.setattr(_report, "line", shown.append)
    sh("echo one; echo two")
    assert shown == ["one", "two"]


def test_a_child_reads_what_it_is_sent():
    assert _process.run(["cat"], environ=PATH, stdin="größer\n" * 3).lines == ("größer",) * 3


def test_a_child_that_reads_nothing_of_what_it_is_sent_says_itself_why_it_ended():
    with pytest.raises(CommandError, match="no such module") as caught:
        sh("echo no such module; exit 3", stdin="x" * 1_000_000)
    assert caught.value.returncode == 3


def test_a_failed_command_is_shown_with_its_last_twelve_lines():
    with pytest.raises(CommandError) as caught:
        sh("seq 1 30; echo; exit 7")
    error = caught.value
    assert error.message.startswith("`sh …` ended with exit code 7\n")
    assert error.returncode == 7
    assert [line.strip() for line in error.message.splitlines()[1:]] == [str(number) for number in range(19, 31)]
    assert len(error.lines) == 31


def test_a_failed_command_may_be_looked_at_instead():
    assert sh("exit 7", check=False).returncode == 7


@pytest.mark.parametrize("program", ["/nowhere/tool", "/etc/passwd", "/etc"])
def test_a_program_that_cannot_be_started_is_named(program):
    with pytest.raises(CommandError, match=f"cannot start {program}") as caught:
        _process.run([program], environ=PATH)
    assert caught.value.returncode == 126


def test_a_directory_that_is_gone_is_named(tmp_path):
    with pytest.raises(CommandError, match="gone"):
        sh("true", cwd=tmp_path / "gone")


def test_passwords_in_addresses_are_shown_to_nobody(monkeypatch):
    shown = []
    monkeypatch.setattr(_report, "line", shown.append)
    with pytest.raises(CommandError) as caught:
        _process.run(["sh", "-c", 'echo "looking at $1"; exit 1', "sh", "https://ada:s3cret@host/simple"], environ=PATH)
    for text in (str(caught.value), *caught.value.lines, *shown):
        assert "s3cret" not in text
    assert "https://***@host/simple" in caught.value.message


# --- how it ends

FAMILY = """
trap '' INT
sleep 100 & echo $! > {place}/child
(trap '' TERM; echo $$ > /dev/null; exec sleep 101) & echo $! > {place}/stubborn
echo ready
wait
"""


@pytest.fixture
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_process, "_GRACE", 0.5)


def test_the_stop_button_ends_the_whole_family(tmp_path, interrupt, short_grace):
    interrupt("ready")
    with pytest.raises(KeyboardInterrupt):
        sh(FAMILY.format(place=tmp_path))
    assert gone(read_pid(tmp_path / "child"))
    assert gone(read_pid(tmp_path / "stubborn"))


def test_when_the_call_returns_nobody_writes_any_more(tmp_path, interrupt):
    # The shell dies of SIGTERM at once; its helper takes a moment, as an installer's does.
    helper = f"""
import signal, sys, time
def end(*_):
    time.sleep(0.4)
    open({str(tmp_path / "late")!r}, "w").close()
    sys.exit()
signal.signal(signal.SIGTERM, end)
print("ready", flush=True)
time.sleep(100)
"""
    interrupt("ready")
    with pytest.raises(KeyboardInterrupt):
        _process.run(["sh", "-c", '"$0" -c "$1" & wait', PYTHON, helper], environ=PATH)
    assert (tmp_path / "late").exists()


def test_children_of_a_parent_that_has_ended_are_ended_too(tmp_path, interrupt, short_grace):
    interrupt("still here")
    with pytest.raises(KeyboardInterrupt):
        sh(f"(sleep 0.3; echo still here; sleep 100) & echo $! > {tmp_path}/child; exit 0")
    assert gone(read_pid(tmp_path / "child"))


def test_a_real_stop_button_ends_the_family(tmp_path, stop):
    family = FAMILY.format(place=tmp_path)
    code = f"from colab_env import _process\n_process.run(['sh', '-c', {family!r}], environ={PATH!r})"
    ended = stop("import colab_env._process as p; p._GRACE = 0.5\n" + code, when=(tmp_path / "stubborn").exists)
    assert "KeyboardInterrupt" in ended.output
    assert gone(read_pid(tmp_path / "child"))
    assert gone(read_pid(tmp_path / "stubborn"))


def test_a_child_gets_no_signal_from_the_terminal(tmp_path):
    assert int(sh("ps -o sid= -p $$ 2>/dev/null || cut -d' ' -f6 /proc/$$/stat").output) != os.getsid(0)


# --- side by side


def test_tasks_run_side_by_side_and_answer_in_order():
    barrier = threading.Barrier(2, timeout=300)
    assert _process.run_parallel(lambda: (barrier.wait(), "a")[1], lambda: (barrier.wait(), "b")[1]) == ("a", "b")


def test_one_error_is_raised_after_the_others_have_ended():
    ended = []

    def slow() -> None:
        sh("sleep 0.3")
        ended.append("slow")

    def bad() -> None:
        msg = "bad"
        raise CommandError(msg)

    with pytest.raises(CommandError, match="bad"):
        _process.run_parallel(bad, slow)
    assert ended == ["slow"]


def test_a_stop_in_one_task_stops_the_others_and_lets_them_clean_up(tmp_path, interrupt):
    cleaned = []

    def waiting() -> None:
        try:
            sh(f"echo $$ > {tmp_path}/pid; sleep 100")
        except KeyboardInterrupt:
            cleaned.append("waiting")
            raise

    def stopped() -> None:
        read_pid(tmp_path / "pid")
        sh("echo now")

    interrupt("now")
    with pytest.raises(KeyboardInterrupt):
        _process.run_parallel(stopped, waiting)
    assert cleaned == ["waiting"]
    assert gone(read_pid(tmp_path / "pid"))


def test_a_stop_that_another_thread_receives_is_heard():
    code = f"""
import signal, threading, time
from colab_env import _process

def received_here():
    time.sleep(0.5)  # until the main thread waits
    signal.pthread_kill(threading.get_ident(), signal.SIGINT)
    _process.run(["sleep", "100"], environ={PATH!r})

_process.run_parallel(received_here, lambda: _process.run(["sleep", "100"], environ={PATH!r}))
"""
    done = subprocess.run([PYTHON, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert "KeyboardInterrupt" in done.stderr


TOGETHER = """
from colab_env import _process

PATH = {{"PATH": "/usr/bin:/bin"}}

def task(name):
    try:
        _process.run(["sh", "-c", f"echo $$ > {place}/{{name}}; sleep 100; exit 1"], environ=PATH)
    except KeyboardInterrupt:
        print(f"cleaned {{name}}\\n", end="")  # in one write: both tasks print
        raise
    _process.run(["touch", f"{place}/next"], environ=PATH)

_process.run_parallel(lambda: task("one"), lambda: task("two"))
"""


def test_a_real_stop_button_reaches_every_task(tmp_path, stop):
    ready = lambda: (tmp_path / "one").exists() and (tmp_path / "two").exists()  # noqa: E731
    ended = stop(TOGETHER.format(place=tmp_path), when=ready)
    assert ended.returncode in (1, -signal.SIGINT)
    assert {"cleaned one", "cleaned two"} <= set(ended.output.splitlines())
    assert gone(read_pid(tmp_path / "one"))
    assert gone(read_pid(tmp_path / "two"))
    assert not (tmp_path / "next").exists()


def test_a_task_that_was_stopped_starts_nothing_more(tmp_path, interrupt):
    def persistent() -> None:
        for _ in range(2):
            try:
                sh(f"touch {tmp_path}/started; sleep 100")
            except KeyboardInterrupt:  # noqa: PERF203
                (tmp_path / "started").unlink()

    def stopped() -> None:
        while not (tmp_path / "started").exists():
            time.sleep(0.01)
        sh("echo now")

    interrupt("now")
    with pytest.raises(KeyboardInterrupt):
        _process.run_parallel(stopped, persistent)
    assert not (tmp_path / "started").exists()


# --- what outlives its parent

ORPHANS = """
from pathlib import Path
from colab_env import _orphans, _process
# One that stays in the group, and one that leaves it and its session.
script = "sleep 100 & echo $! > {place}/member; setsid sleep 100 & echo $! > {place}/away; echo $$ > {place}/leader; wait"
with _orphans.announced(Path({place!r}, "running")):
    _process.run(["/bin/sh", "-c", script], environ={environ!r})
"""


def orphans(place: Path, *, how: signal.Signals = signal.SIGKILL) -> dict[str, int]:
    """Kill a run while its child and its grandchildren work; return their pids."""
    parent = start_python(ORPHANS.format(place=str(place), environ=PATH))
    pids = {name: read_pid(place / name) for name in ("member", "away", "leader")}
    parent.send_signal(how)
    parent.communicate(timeout=60)
    return pids


def test_a_program_dies_with_its_parent_and_what_it_started_with_the_next_run(tmp_path):
    pids = orphans(tmp_path)
    assert gone(pids["leader"])
    _orphans.end_orphans(tmp_path / "running")
    assert not any(alive(pid) for pid in pids.values())


def test_without_a_parent_death_signal_the_next_run_ends_all_of_them(tmp_path):
    code = "from colab_env import _process\n_process._dying_with_this_process = lambda words, environ: ()\n"
    parent = start_python(code + ORPHANS.format(place=str(tmp_path), environ=PATH))
    pids = [read_pid(tmp_path / name) for name in ("member", "away", "leader")]
    parent.kill()
    parent.communicate(timeout=60)
    assert all(alive(pid) for pid in pids)
    _orphans.end_orphans(tmp_path / "running")
    assert not any(alive(pid) for pid in pids)


def test_the_children_of_a_run_that_goes_on_are_left_alone(tmp_path):
    parent = start_python(ORPHANS.format(place=str(tmp_path), environ=PATH))
    pids = [read_pid(tmp_path / name) for name in ("member", "away", "leader")]
    _orphans.end_orphans(tmp_path / "running")
    assert all(alive(pid) for pid in pids)
    parent.kill()
    parent.communicate(timeout=60)
    _orphans.end_orphans(tmp_path / "running")


@pytest.mark.parametrize("said", ["", ":", "1:2:pid:[1]", "x:1:{here}", "{mine}", "9999999:1:{here}"])
def test_what_is_not_known_to_be_an_orphan_is_left_alone(tmp_path, said):
    # What nobody can read says nothing, another namespace has other numbers, and others have no owner.
    said = said.format(here=_orphans._namespace(), mine=_orphans.owner())
    (tmp_path / "running").mkdir()
    (tmp_path / "running" / "running-mark").write_text(said)
    others = [subprocess.Popen(["sleep", "100"], env={**PATH, **extra}) for extra in ({}, {"COLAB_ENV_OWNER": ""})]
    with _orphans.announced(tmp_path / "running"):
        _orphans.end_orphans(tmp_path / "running")
    for other in others:
        assert other.poll() is None
        other.kill()
        other.wait()


def test_what_a_run_left_on_purpose_that_came_to_its_end_goes_on(tmp_path):
    # As the daemons of compilers' caches and of ssh do.
    script = f"setsid sleep 100 > /dev/null 2>&1 & echo $! > {tmp_path}/daemon"
    code = f"""
from pathlib import Path
from colab_env import _orphans, _process
with _orphans.announced(Path({str(tmp_path / "running")!r})):
    _process.run(["/bin/sh", "-c", {script!r}], environ={PATH!r})
"""
    assert start_python(code).communicate(timeout=60)[0] == ""
    pid = read_pid(tmp_path / "daemon")
    _orphans.end_orphans(tmp_path / "running")
    assert alive(pid)
    os.kill(pid, signal.SIGKILL)
    assert list((tmp_path / "running").iterdir()) == []


STOPPABLE = """
import sys, time
from pathlib import Path
from colab_env import _process
try:
    with _process.stoppable():
        try:
            Path({mark!r}).touch()
            time.sleep(100)
        except BaseException as error:
            print("cleaned up after", type(error).__name__, flush=True)
            raise
except BaseException:
    print("not reached", flush=True)
"""


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_end_is_the_stop_button_and_ends_the_process_as_it_asked(tmp_path, stop, how):
    mark = tmp_path / "mark"
    ended = stop(STOPPABLE.format(mark=str(mark)), when=mark.exists, how=how)
    assert ended.returncode == -how
    assert ended.output == "cleaned up after KeyboardInterrupt\n"


def test_what_nohup_ignores_stays_ignored(tmp_path, stop):
    mark = tmp_path / "mark"
    ignore = "import signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    code = ignore + STOPPABLE.format(mark=str(mark)).replace("time.sleep(100)", "time.sleep(1)")
    ended = stop(code, when=mark.exists, how=signal.SIGHUP)
    assert (ended.returncode, ended.output) == (0, "")


def test_handlers_are_as_before_and_those_of_others_stay():
    def mine(*_: object) -> None:
        pass

    before = signal.signal(signal.SIGTERM, mine)
    try:
        with _process.stoppable():
            assert signal.getsignal(signal.SIGTERM) is mine
            assert signal.getsignal(signal.SIGHUP) is not signal.SIG_DFL
        assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        signal.signal(signal.SIGTERM, before)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_end_reaches_the_family_too(tmp_path, stop, how):
    family = FAMILY.format(place=tmp_path)
    run = f"with _process.stoppable(): _process.run(['sh', '-c', {family!r}], environ={PATH!r})"
    code = f"from colab_env import _process\n_process._GRACE = 0.5\n{run}"
    ended = stop(code, when=(tmp_path / "stubborn").exists, how=how)
    assert ended.returncode == -how
    assert not alive(read_pid(tmp_path / "child"))
    assert not alive(read_pid(tmp_path / "stubborn"))
