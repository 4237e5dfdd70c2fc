"""Start a kernel: the environment's own packages first, then this layer's, then the system's.

What is installed to be edited is the environment's own too, wherever it lies: whoever works on a package that kernels need
has that one in the kernel. Few layers have packages that come before the environment's own.

Runs under the environment's Python (3.6 or newer) as a file beside the directory `site`, and is imported by nobody. The
layer is visible in the kernel only: pip, Poetry and uv see the environment as its lock file has it.
"""

from __future__ import annotations

import faulthandler
import json
import os
import re
import runpy
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

SITE = Path(__file__).resolve().parent / "site"
AHEAD = SITE.with_name("ahead")  # what no kernel works with in the project's version
SETTLED = 15.0  # seconds after which a kernel that nobody has asked anything counts as started, too
FORCED = ("FORCE_COLOR", "CLICOLOR_FORCE")  # ipykernel 7 sets them: programs then colour what goes into a pipe, too
ITSELF = re.compile(r"(?i)colab[-_](?:bootstrap|env)\b")
SITES = ("site-packages", "dist-packages")
PAIR = 2  # "install" and one name
PATIENCE = 20.0  # seconds until a start writes down where it hangs; the guard's alarm ends it ten seconds later


def main() -> None:
    """Put the layer behind the last path of the environment and become its kernel."""
    del sys.path[0]  # the directory of this file
    positions = [number for number, path in enumerate(sys.path) if path.startswith(sys.prefix + "/")]
    end = positions[-1] + 1 if positions else len(sys.path)
    # What *.pth files add comes behind their own directory; the next such directory is the user's or the system's.
    while end < len(sys.path) and os.path.basename(sys.path[end]) not in SITES:
        end += 1
    sys.path.insert(end, str(SITE))
    put_edited_first()
    if AHEAD.is_dir():
        sys.path.insert(positions[0] if positions else len(sys.path), str(AHEAD))
    start, cell, notice = (os.environ.pop(f"COLAB_ENV_{name}", "") for name in ("BOOT", "CELL", "NOTICE"))
    stderr, _, record = start.partition(":")
    if start:
        watch(int(stderr), record, notice)
    if cell:
        end_cell(json.loads(cell))
    leave_colours()
    leave_packages()
    launcher = "colab_kernel_launcher" if (SITE / "colab_kernel_launcher.py").exists() else "ipykernel_launcher"
    runpy.run_module(launcher, run_name="__main__", alter_sys=True)
    if start and os.path.exists(record):
        sys.exit(
            f"{launcher} ended and was no kernel"
        )  # such as an empty file: a start without a word would be tried twice


def put_edited_first() -> None:
    """Let packages that setuptools maps to their sources be found before this layer's of the same name.

    Python asks such a map last, after all of its path, on which the layer is.
    """
    maps = [finder for finder in sys.meta_path if str(getattr(finder, "__module__", "")).startswith("__editable__")]

    class Edited:
        @staticmethod
        def find_spec(name: str, path: Any = None, target: Any = None) -> Any:
            is_ours = path is None and any(place.exists() for place in (SITE / name, SITE / (name + ".py")))
            if not is_ours or any(place.exists() for place in (AHEAD / name, AHEAD / (name + ".py"))):
                return None
            found: Any = (finder.find_spec(name, path, target) for finder in maps)
            return next(filter(None, found), None)

    if maps:
        sys.meta_path.insert(0, Edited)


def leave_colours() -> None:
    """Let a kernel's programs have the variables for colours that the kernel itself was started with."""
    from ipykernel.zmqshell import ZMQInteractiveShell

    prepare: Any = ZMQInteractiveShell.init_environment

    def init_environment(shell: Any) -> None:
        colours = {name: os.environ[name] for name in FORCED if name in os.environ}
        prepare(shell)
        for name in FORCED:
            os.environ.pop(name, None)
        os.environ.update(colours)

    setattr(ZMQInteractiveShell, "init_environment", init_environment)


def leave_packages() -> None:
    """Let `%pip install colab-bootstrap`, a notebook's first line, install nothing: it would change the project's packages.

    In this kernel the package is at hand without it.
    """
    from ipykernel.zmqshell import ZMQInteractiveShell

    prepare: Any = ZMQInteractiveShell.init_magics

    def init_magics(shell: Any) -> None:
        prepare(shell)
        pip = shell.find_line_magic("pip")

        def without_itself(line: str) -> Any:
            words = [word for word in line.split() if not word.startswith("-")]
            if words[:1] == ["install"] and len(words) == PAIR and ITSELF.search(words[1]):
                print("colab_env is at hand in this kernel; nothing was installed")
                return None
            return pip(line)

        if pip is not None:
            without_itself.__doc__ = pip.__doc__
            shell.register_magic_function(without_itself, magic_name="pip")

    setattr(ZMQInteractiveShell, "init_magics", init_magics)


def watch(stderr: int, record: str, notice: str) -> None:
    """Take back the guard's note (see `_guard.py`) when the kernel has sent its first reply, or has run for a while.

    With it goes the `notice` for the kernel that would have come after a failed start in place (see `guard.announce`).
    """
    noted = os.fstat(2)  # the note's name may be taken back by another start of this kernel, see `_guard.goes_on`
    faulthandler.dump_traceback_later(PATIENCE)
    # A restart in the middle of a start is no failure.
    signal.signal(signal.SIGTERM, lambda *_: leave(record, notice))
    from ipykernel.kernelapp import IPKernelApp
    from jupyter_client.session import Session

    begin: Any = IPKernelApp.start
    send = Session.send
    pending = [record]

    def start(app: Any) -> None:
        signal.alarm(0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        timer = threading.Timer(SETTLED, succeeded)
        timer.daemon = True
        timer.start()
        begin(app)

    def send_and_look(session: Any, stream: Any, kind: Any, *arguments: Any, **options: Any) -> Any:
        sent = send(session, stream, kind, *arguments, **options)
        if str(sent and sent.get("msg_type", "")).endswith("_reply"):
            succeeded()
        return sent

    def succeeded() -> None:
        try:
            pending.pop()  # once: a number that is closed may be another file's the next time
        except IndexError:
            return
        setattr(Session, "send", send)
        with suppress(OSError):
            give_back(stderr, record, noted)
        with suppress(OSError):
            os.unlink(notice)

    setattr(IPKernelApp, "start", start)
    setattr(Session, "send", send_and_look)


def give_back(stderr: int, record: str, noted: os.stat_result) -> None:
    """Let everything that prints into the note print where the notebook server wants it, and remove the note."""
    with suppress(OSError):
        output = Path(record).read_bytes()
        os.unlink(record)  # first: what cannot be written below must not look like a start that failed
        os.write(stderr, output)
    with suppress(OSError):
        os.rmdir(os.path.dirname(record))
    for number in map(int, os.listdir("/proc/self/fd")):
        with suppress(OSError):
            if os.path.samestat(os.fstat(number), noted):
                os.dup2(stderr, number, os.get_inheritable(number))
    os.close(stderr)


def leave(*notes: str) -> None:
    """End a start that somebody else ended, without a trace."""
    for note in notes:
        with suppress(OSError):
            os.unlink(note)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)


def end_cell(cell: dict[str, Any]) -> None:
    """Answer, as the new kernel, the cell in which the old one became this one (see `_leave.py`)."""
    import time

    import zmq
    from ipykernel.kernelapp import IPKernelApp

    begin: Any = IPKernelApp.start
    identity = [bytes.fromhex(part) for part in cell["identity"]]
    reply = {"status": "ok", "execution_count": 0, "user_expressions": {}, "payload": []}

    def start(app: Any) -> None:
        # Without this option a router drops what is for a client that has not connected again yet.
        app.shell_socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                app.session.send(app.shell_socket, "execute_reply", reply, parent=cell["parent"], ident=identity)
                break
            except zmq.ZMQError:
                time.sleep(0.05)
        app.shell_socket.setsockopt(zmq.ROUTER_MANDATORY, 0)
        time.sleep(0.3)  # the same for those who only listen; they connect again every 100 ms
        app.session.send(app.iopub_socket, "status", {"execution_state": "idle"}, parent=cell["parent"])
        begin(app)

    setattr(IPKernelApp, "start", start)


if __name__ == "__main__":
    main()
