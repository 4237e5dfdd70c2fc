"""Run one command in a forked child, count its side effects, and let one of them meet a fault."""

from __future__ import annotations

import ctypes
import errno
import importlib
import itertools
import json
import os
import pkgutil
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import colab_env

Argv = tuple[str, ...]
SIGNALS = {"kill": signal.SIGKILL, "term": signal.SIGTERM, "hup": signal.SIGHUP, "int": signal.SIGINT}
ERRORS = {"enospc": errno.ENOSPC, "eio": errno.EIO, "emfile": errno.EMFILE}
FULL = "full"  # from that effect on, nothing more can be written
TORN = "torn"  # killed in the middle: what was opened is empty, what was being flushed has half of what was written
KINDS = (*SIGNALS, TORN, *ERRORS, FULL)
_PATIENCE = 40.0  # seconds; the longest command takes six
_SET_PDEATHSIG = 1  # of prctl(2)
_CREATE = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# Where the path is among an event's arguments, and the descriptor that a relative one starts from.
_PATHS = {
    "open": (0, None), "os.rename": (1, 3), "os.remove": (0, 1), "os.link": (1, 3), "os.symlink": (1, 2),
    "os.mkdir": (0, 2), "os.rmdir": (0, 1), "os.chmod": (0, 2), "os.chown": (0, 3), "os.utime": (0, 3),
    "os.truncate": (0, None), "os.setxattr": (0, None), "fcntl.flock": (0, None),
    "os.write": (0, None), "os.fsync": (0, None),
}  # fmt: skip
_NEEDS_ROOM = ("open", "os.rename", "os.link", "os.symlink", "os.mkdir", "os.truncate", "os.write", "os.fsync")
_POPEN = "subprocess.Popen"
_NEEDS_DESCRIPTOR = ("open", _POPEN)
_WRITES = ("open", "os.fsync")


@dataclass(frozen=True)
class Effect:
    """One side effect: the audit event, what it changes, and the seconds until the next one."""

    event: str
    what: str
    seconds: float

    def __str__(self) -> str:
        return f"{self.event} {self.what}"

    def can_meet(self, kind: str) -> bool:
        """Say whether the system answers such a call with this error. Signals come at any time."""
        if kind in SIGNALS:
            return True
        meeting = {"emfile": _NEEDS_DESCRIPTOR, "eio": _PATHS, TORN: _WRITES}
        return self.event in meeting.get(kind, _NEEDS_ROOM)

    @property
    def is_child(self) -> bool:
        return self.event == _POPEN


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What happens at the effect number `at`: just before it, or `delay` seconds after it began."""

    kind: str
    at: int
    delay: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a command ended: its exit code, or minus the signal that ended it; what it printed and did."""

    code: int
    output: str
    effects: tuple[Effect, ...]
    struck: bool
    hung: bool


def preload() -> None:
    """Import all that a command may import, so that a forked child need not."""
    for module in pkgutil.walk_packages(colab_env.__path__, "colab_env."):
        if not module.name.startswith(("colab_env.standalone._", "colab_env.magics", "colab_env.__main__")):
            importlib.import_module(module.name)
    for name in ("nbformat", "requests", "tomlkit", "zstandard", "concurrent.futures.thread"):
        importlib.import_module(name)


def run(argv: Argv, *, root: Path, cwd: Path, environ: dict[str, str], fault: Fault | None = None) -> Ended:
    """Run a command of colab-env, or with "api" first a public function, in a child of its own session."""
    log = root.with_name("output")
    sys.stdout.flush()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _become(argv, cwd=cwd, environ=environ, log=log, hook=_Hook(root, writer, fault))
    os.close(writer)
    lines = _watched(child, reader, fault)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    records = [json.loads(line) for line in lines]
    effects = [record for record in records if len(record) > 1]
    times = [*(record[2] for record in effects), time.monotonic()]
    return Ended(
        code=status,
        output=log.read_text(errors="replace"),
        effects=tuple(Effect(each[0], each[1], end - each[2]) for each, end in zip(effects, times[1:], strict=True)),
        struck=["struck"] in records,
        hung=["hangs"] in records,
    )


def _watched(child: int, reader: int, fault: Fault | None) -> list[bytes]:
    """Read what the child reports until it has ended, and send the signal that comes while a program is at work."""
    content, deadline, due = b"", time.monotonic() + _PATIENCE, float("inf")
    process = os.pidfd_open(child)  # the pipe's end would not do: what the child has forked may hold it
    os.set_blocking(reader, False)
    with os.fdopen(reader, "rb", buffering=0) as pipe, os.fdopen(process):
        while process not in _readable(process, reader, until=min(deadline, due)):
            piece = pipe.read(65536) or b""
            content += piece
            if fault is not None and fault.delay and b'["struck"' in piece:
                due = time.monotonic() + fault.delay
            if fault is not None and time.monotonic() >= due:
                due = float("inf")
                os.kill(child, SIGNALS[fault.kind])
            if time.monotonic() >= deadline:
                content += b'["hangs"]\n'
                deadline += _PATIENCE
                os.kill(child, signal.SIGKILL)
        while piece := pipe.read(65536):
            content += piece
    return content.splitlines()


def _readable(*descriptors: int, until: float) -> list[int]:
    return select.select(descriptors, [], [], max(until - time.monotonic(), 0))[0]


def _become(argv: Argv, *, cwd: Path, environ: dict[str, str], log: Path, hook: _Hook) -> NoReturn:
    """Be the process that a shell starts for this command."""
    code = 1
    try:
        os.setsid()
        ctypes.CDLL(None).prctl(_SET_PDEATHSIG, signal.SIGKILL)  # whoever stops the tests stops this, too
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.environ.clear()
        os.environ.update(environ)
        os.chdir(cwd)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), 1)
        os.dup2(1, 2)
        hook.install()
        code = _called(argv)
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:  # noqa: BLE001  (as the interpreter does at its end)
        traceback.print_exc()
    hook.is_armed = False
    with suppress(BaseException):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _called(argv: Argv) -> int:
    from colab_env import cli
    from colab_env.errors import ColabEnvError

    if argv[0] != "api":
        return cli.main(argv)
    try:
        print(getattr(colab_env, argv[1])(*argv[2:]))
    except ColabEnvError as error:
        print(error)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


class _Hook:
    """Sees every side effect below `root` in any thread, reports it, and strikes at one of them."""

    def __init__(self, root: Path, report: int, fault: Fault | None) -> None:
        self._root = f"{root}/"
        self._report = report
        self._fault = fault
        self._numbers = itertools.count(1)  # counts without a lock, which a signal's handler could meet
        self._write = os.write
        self._sizes: dict[str, int] = {}  # of files when they were opened
        self.is_armed = True

    def install(self) -> None:
        """Look at every audited call from now on, and at two that Python does not audit."""
        sys.addaudithook(self)
        for name in ("write", "fsync"):
            setattr(os, name, self._audited(f"os.{name}", getattr(os, name)))

    def _audited(self, event: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def audited(*arguments: Any) -> Any:
            self(event, arguments)
            return call(*arguments)

        return audited

    def __call__(self, event: str, arguments: Sequence[Any]) -> None:
        if not self.is_armed:
            return
        what = self._what(event, arguments)
        if what is None:
            return
        number = next(self._numbers)
        self._tell([event, what, time.monotonic()])
        fault = self._fault
        if fault is None:
            return
        if event == "open":
            self._sizes[what] = _size(self._root + what, arguments[2])
        if number == fault.at:
            self._tell(["struck"])
            if fault.kind == TORN:
                self._tear(event, arguments, what)
            self._strike(fault, what)
        elif number > fault.at and fault.kind == FULL and event in _NEEDS_ROOM:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self._root + what)

    def _strike(self, fault: Fault, what: str) -> None:
        if fault.delay:
            return  # the parent sends the signal
        if fault.kind in SIGNALS or fault.kind == TORN:
            os.kill(os.getpid(), SIGNALS.get(fault.kind, signal.SIGKILL))
            return
        number = ERRORS.get(fault.kind, errno.ENOSPC)
        raise OSError(number, os.strerror(number), self._root + what)

    def _tear(self, event: str, arguments: Sequence[Any], what: str) -> None:
        """Do the half of a call after which a killed process or a power cut leaves a file."""
        self.is_armed = False
        if event == "open":
            os.open(self._root + what, arguments[2], 0o600)
        elif event in ("os.write", "os.fsync"):  # where threads race, the effect may be another one this time
            before = self._sizes.get(what, 0)
            os.truncate(arguments[0], before + (os.fstat(arguments[0]).st_size - before) // 2)

    def _tell(self, record: list[Any]) -> None:
        self._write(self._report, json.dumps(record).encode() + b"\n")

    def _what(self, event: str, arguments: Sequence[Any]) -> str | None:
        """Return what a call changes, or None if it changes nothing here."""
        if event == _POPEN:
            return " ".join(" ".join(map(str, arguments[1])).split()).replace(self._root, "")[:80]
        if event == "ctypes.dlsym":  # the exchange of two directories, which Python has no function for
            return "renameat2" if arguments[1] == "renameat2" else None
        if event in ("os.kill", "os.killpg"):
            is_own = arguments[0] == os.getpid()  # the fault itself
            return f"signal {arguments[1]}" if arguments[1] and not is_own else None
        if event not in _PATHS or (event == "open" and (isinstance(arguments[0], int) or not arguments[2] & _CREATE)):
            return None
        place, directory = _PATHS[event]
        path = _path(arguments[place], arguments[directory] if directory is not None else -1)
        return path.removeprefix(self._root) if path.startswith(self._root) else None


def _size(path: str, flags: int) -> int:
    """Return the size of a file that stays when it is opened."""
    with suppress(OSError):
        return Path(path).stat().st_size if flags & os.O_APPEND else 0
    return 0


def _path(given: Any, directory: int) -> str:
    if isinstance(given, int):
        given = str(Path(f"/proc/self/fd/{given}").readlink())
        return given if given.startswith("/") else ""  # else it is a pipe or a socket
    if not isinstance(given, (str, bytes, os.PathLike)):
        return ""
    path = os.fsdecode(given)
    if directory is not None and directory >= 0 and not path.startswith("/"):
        path = f"{Path(f'/proc/self/fd/{directory}').readlink()}/{path}"
    return os.path.normpath(os.path.join(os.getcwd(), path))  # noqa: PTH109, PTH118  (strings, for speed)
