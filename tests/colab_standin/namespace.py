"""A mount and process namespace over the real machine: the only module that mounts."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_ENTER = Path(__file__).with_name("enter.sh")


class NamespaceError(Exception):
    """The namespace could not be set up."""


@dataclass(frozen=True, kw_only=True)
class Share:
    """A file or directory of the real machine, seen in the stand-in too."""

    source: Path
    target: str
    mode: Literal["ro", "rw"] = "ro"


class Namespace:
    """Layers over the real machine, with every write kept in `scratch`/upper."""

    def __init__(self, layers: Sequence[Path], *, scratch: Path, shares: Sequence[Share] = ()) -> None:
        """Mount the layers, the first on top, over the real machine's root; `scratch` must not be on an overlay."""
        for name in ("floor", "upper", "work", "merged"):
            (scratch / name).mkdir(parents=True)
        self.scratch = scratch
        self._init = subprocess.Popen(
            _enter_argv(layers, scratch, shares), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.pid = self._outside_pid()

    def _outside_pid(self) -> int:
        assert self._init.stdout is not None
        answer = self._init.stdout.readline()
        if not answer:
            self.close()
            msg = f"no namespace with an overlay in {self.scratch}"
            raise NamespaceError(msg)
        return int(answer)

    @property
    def upper(self) -> Path:
        """The directory that receives every write."""
        return self.scratch / "upper"

    @property
    def merged(self) -> Path:
        """What the processes inside see as /; valid until close()."""
        return Path(f"/proc/{self.pid}/root")

    def argv(self, command: Sequence[str], *, cwd: str) -> list[str]:
        """Return the arguments that run a command inside, by absolute program names."""
        enter = [_tool("nsenter"), f"--target={self.pid}", "--mount", "--pid", "--root"]
        # A session of its own: stop() signals that, while nsenter stays to report how the command ended.
        return [*enter, _tool("setsid"), _tool("env"), f"--chdir={cwd}", *command]

    def close(self) -> None:
        """End every process inside; the mounts go with the last one."""
        self._init.kill()
        self._init.communicate()
        shutil.rmtree(self.scratch / "merged", ignore_errors=True)


def stop(process: subprocess.Popen[str], number: signal.Signals = signal.SIGTERM) -> None:
    """Signal a program inside and its children, and wait for its end; after five seconds kill it."""
    _signal(process, number)
    try:
        process.communicate(timeout=5)
    except subprocess.TimeoutExpired:
        _signal(process, signal.SIGKILL)
        process.communicate()


def _signal(process: subprocess.Popen[str], number: signal.Signals) -> None:
    if process.poll() is not None:
        return
    # Not Popen's own terminate(): that ends nsenter and leaves the program.
    for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
        with suppress(ProcessLookupError):
            os.killpg(int(child), number)


def unavailable() -> str | None:
    """Return why this machine can hold no stand-in, or None."""
    if sys.platform != "linux":
        return "mount namespaces need Linux"
    if os.geteuid() != 0:
        return "mount namespaces with an overlay need root"
    if not Path("/usr/bin/python3").exists():
        return "/usr/bin/python3, which plays Colab's Python, is missing"
    if missing := [name for name in ("unshare", "nsenter", "chroot", "setsid", "env") if not shutil.which(name)]:
        return f"programs are missing: {', '.join(missing)}"
    return _refusal()


def _refusal() -> str | None:
    try:
        with scratch_directory() as scratch:
            Namespace([], scratch=scratch / "trial").close()
    except NamespaceError as error:
        return str(error)
    return None


@contextmanager
def scratch_directory() -> Iterator[Path]:
    """Give a directory fit to receive an overlay's writes, deleted afterwards."""
    path = new_scratch_directory()
    try:
        yield path
    finally:
        shutil.rmtree(path)


def new_scratch_directory() -> Path:
    """Make a directory on a file system that can receive an overlay's writes: in a container only tmpfs can."""
    on_overlay = _file_system(Path(tempfile.gettempdir())) == "overlayfs"
    return Path(tempfile.mkdtemp(prefix="colab_standin.", dir="/dev/shm" if on_overlay else None))


def _file_system(path: Path) -> str:
    stat = ["stat", "--file-system", "--format=%T", str(path)]
    return subprocess.run(stat, check=True, capture_output=True, text=True).stdout.strip()


def _enter_argv(layers: Sequence[Path], scratch: Path, shares: Sequence[Share]) -> list[str]:
    shared = [word for share in shares for word in (str(share.source), share.target, share.mode)]
    unshare = [_tool("unshare"), "--mount", "--pid", "--fork", "--kill-child", "--propagation=private"]
    return [*unshare, "sh", str(_ENTER), ":".join(map(str, layers)), str(scratch), *shared]


def _tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        msg = f"{name} is missing"
        raise NamespaceError(msg)
    return path
