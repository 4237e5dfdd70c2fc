"""Programs that outlive the run that started them: how they are known again, and ended.

Every program that a run starts has the run's name in its environment, and so has all that this program starts.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from colab_env import _file_locks, _files

_GRACE = 5.0  # seconds in which all of them have ended, or others go on without that
_LONGEST_PID = 20  # digits
# Whose child a process is: the owner's pid, when that was started, and the namespace in which the pid means something.
# In the environment every descendant has it, one that left the process group too.
_OWNER = "COLAB_ENV_OWNER"


@contextlib.contextmanager
def announced(directory: Path) -> Iterator[None]:
    """Keep a file in `directory` that says that this run may have started programs: a run that is killed leaves it."""
    with _file_locks.mark(directory, owner()):
        yield


def end_orphans(directory: Path) -> None:
    """End every process that outlived a run that was killed inside of `announced`, so that nothing writes behind our back.

    What a run left on purpose that came to its end, such as the daemon of a compiler's cache, is not touched.
    """
    dead = {path: holder for path, holder in _file_locks.marks(directory).items() if not _is_alive(holder)}
    deadline = time.monotonic() + _GRACE
    # Until there is none: between the look and the signal, one may have started another.
    while orphans := [pid for pid in (_own_processes() if dead else ()) if _owner_of(pid) in dead.values()]:
        for pid in orphans:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            return
        time.sleep(0.01)
    for path in dead:
        _files.discard(path)


def owned(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment for a program that shall not outlive this run, whoever starts it."""
    return {**environ, _OWNER: owner()}


def owner() -> str:
    """Return what the programs that this process starts have in their environment as their owner."""
    return _identity(os.getpid())


def _is_alive(owner: str) -> bool:
    """Say whether a run goes on, as far as can be known: in another namespace its number means something else."""
    pid, _, rest = owner.partition(":")
    is_pid = pid.isdecimal() and pid.isascii() and len(pid) < _LONGEST_PID
    is_here = is_pid and _namespace() != "" and rest.endswith(f":{_namespace()}")
    return not is_here or _identity(int(pid)) == owner


def _own_processes() -> Iterator[int]:
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if entry.stat().st_uid == os.geteuid():
                yield int(entry.name)


def _owner_of(pid: int) -> str:
    try:
        environ = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:  # it has ended, or is nobody's business
        return ""
    marks = [line for line in environ.split(b"\0") if line.startswith(f"{_OWNER}=".encode())]
    return marks[0].decode(errors="replace").partition("=")[2] if marks else ""


def _identity(pid: int) -> str:
    """Return what no other process will ever be called on this machine, until it is started anew."""
    try:
        # Behind the name in brackets, which may hold anything. Field 22 is the time of its start, in ticks since the boot.
        state, *fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        started = fields[18]
    except (OSError, ValueError, IndexError):
        return ""
    return "" if state == "Z" else f"{pid}:{started}:{_namespace()}"


def _namespace() -> str:
    try:
        is_ours = str(Path("/proc/self").readlink()) == str(os.getpid())  # else it is the one of another namespace
        return str(Path("/proc/self/ns/pid").readlink()) if is_ours else ""
    except OSError:
        return ""
