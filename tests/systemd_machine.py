"""A machine whose process 1 is a real systemd: an overlay over this one, with namespaces of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from colab_standin.namespace import scratch_directory, unavailable

_ENTER = Path(__file__).with_name("systemd_machine.sh")
_NAMESPACES = ("--mount", "--pid", "--uts", "--ipc", "--cgroup")
_PATH = "/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class SystemdMachine:
    """Runs commands there as root: `pid` is systemd's on the real machine."""

    pid: int
    environ: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, *words: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        enter = ["nsenter", f"--target={self.pid}", *_NAMESPACES, "--root", "env", "--chdir=/"]
        environ = {"PATH": _PATH, "HOME": "/root", "LANG": "C.UTF-8", **self.environ}
        answer = subprocess.run(
            [*enter, *map(str, words)], env=environ, capture_output=True, text=True, timeout=600, check=False
        )
        assert not check or answer.returncode == 0, f"{words}\n{answer.stdout}{answer.stderr}"
        return answer


@contextmanager
def started(environ: Mapping[str, str]) -> Iterator[SystemdMachine]:
    """Start the machine, and end it with everything that runs there. Raises RuntimeError where systemd does not come up."""
    with scratch_directory() as scratch:
        for name in ("upper", "work", "merged", "floor"):
            (scratch / name).mkdir()
        unshare = ["unshare", *_NAMESPACES, "--fork", "--kill-child", "sh", str(_ENTER), str(scratch)]
        with subprocess.Popen(unshare, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            try:
                yield SystemdMachine(_systemd(process), environ)
            finally:
                process.kill()


def _systemd(process: subprocess.Popen[str]) -> int:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    for _ in range(100):
        child = next(iter(children.read_text().split()), None) if process.poll() is None else None
        if process.poll() is not None:
            break
        if child is not None:
            state = SystemdMachine(int(child))("systemctl", "is-active", "stand-in.target", check=False)
            if state.stdout.strip() == "active":
                return int(child)
        time.sleep(0.1)
    process.kill()
    msg = f"systemd does not come up in a namespace here: {process.communicate()[0].strip()[-300:]}"
    raise RuntimeError(msg)


def reason_to_skip() -> str | None:
    """Return in one line why there can be no such machine here, or None."""
    if reason := unavailable():
        return reason
    if not os.access("/lib/systemd/systemd", os.X_OK) or shutil.which("systemctl") is None:
        return "systemd is not installed"
    try:
        with started({}):
            return None
    except RuntimeError as error:
        return str(error)
