"""A kernel on trial: what must not be taken for a fault of the kernel."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from colab_env.standalone import _preflight

# Python drops an exception that a signal raises inside a destructor; here the first one is always dropped.
DEAF_ONCE = """
import signal
heard = []
handle = signal.default_int_handler

def handler(number, frame):
    heard.append(number)
    if len(heard) > 1:
        handle(number, frame)

signal.default_int_handler = handler
from ipykernel.kernelapp import launch_new_instance
launch_new_instance()
"""


# As if a second signal came while the kernel answers the first: it writes a line, and sends no reply.
LOSES_A_REPLY = """
from ipykernel.ipkernel import IPythonKernel
execute, lost = IPythonKernel.do_execute, []

async def do_execute(self, code, *arguments, **options):
    reply = await execute(self, code, *arguments, **options)
    if "asleep" in code and not lost:
        lost.append(reply)
        raise KeyboardInterrupt
    return reply

IPythonKernel.do_execute = do_execute
from ipykernel.kernelapp import launch_new_instance
launch_new_instance()
"""


def test_a_reply_that_a_second_press_took_away_is_no_fault_of_the_kernel(home: Path, monkeypatch) -> None:
    monkeypatch.setattr(_preflight, "_LATE_REPLY", 0.2)
    request = _preflight.Request(
        argv=[sys.executable, "-c", LOSES_A_REPLY, "-f", "{connection_file}"],
        env=dict(os.environ),
        cwd=str(home),
        checks=["kernel_info", "interrupt"],
        timeout=300,
    )
    report = _preflight.preflight(request)
    assert report["ok"], report
    assert any("KeyboardInterrupt caught in kernel" in line for line in report["log"])


def test_the_stop_button_is_pressed_again_when_the_kernel_did_not_hear_it(home: Path) -> None:
    request = _preflight.Request(
        argv=[sys.executable, "-c", DEAF_ONCE, "-f", "{connection_file}"],
        env=dict(os.environ),
        cwd=str(home),
        checks=["kernel_info", "interrupt"],
        timeout=300,
    )
    report = _preflight.preflight(request)
    assert report["ok"], report
    assert report["checks"][-1]["seconds"] > _preflight._PRESS_AGAIN


# As beside many other programs: it comes up after more seconds than a check has.
COMES_LATE = "import time; time.sleep(2); from ipykernel.kernelapp import launch_new_instance; launch_new_instance()"
NEVER_COMES = "import time; time.sleep(600)"


def tried(code: str, home: Path) -> str:
    """Return what the first check of a kernel says that has a second for it."""
    argv = [sys.executable, "-c", code, "-f", "{connection_file}"]
    request = _preflight.Request(argv=argv, env=dict(os.environ), cwd=str(home), checks=["kernel_info"], timeout=1)
    (check,) = _preflight.preflight(request)["checks"]
    return "it answered" if check["ok"] else str(check["detail"])


def test_a_kernel_that_waits_for_a_processor_is_not_taken_for_a_broken_one(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = time.monotonic()
    monkeypatch.setattr(_preflight, "_run_delay", lambda _: time.monotonic() - begun)
    assert tried(COMES_LATE, home) == "it answered"
    monkeypatch.setattr(_preflight, "_MOST_DELAY", 0.1)
    assert tried(NEVER_COMES, home) == "no answer within 1 s"


def test_a_kernel_that_sleeps_is_not_waited_for(home: Path) -> None:
    assert tried(NEVER_COMES, home) == "no answer within 1 s"


def test_a_process_that_shares_a_processor_has_waited_and_one_that_has_ended_has_not() -> None:
    if not Path("/proc/self/schedstat").exists():
        pytest.skip("this kernel does not count it")
    processor = min(os.sched_getaffinity(0))
    code = f"import os; os.sched_setaffinity(0, [{processor}])\nwhile True: pass"
    busy = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    try:
        while _preflight._run_delay(busy[0].pid) < 0.1:
            time.sleep(0.01)
    finally:
        for process in busy:
            process.kill()
            process.wait()
    assert _preflight._run_delay(busy[0].pid) == 0.0
