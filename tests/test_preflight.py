"""A kernel on trial: what must not be taken for a fault of the kernel."""

from __future__ import annotations

import os
import sys
from pathlib import Path

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
