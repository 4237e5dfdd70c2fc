"""The log: everything that runs did and their tools printed, in one file of bounded size that only its owner can read."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

_LARGEST = 1_000_000  # bytes; then it becomes NAME.1, and the NAME.1 before it goes
_PENDING = 200  # lines that wait until something happens that is worth a file


class Log:
    """A file that runs add lines to. What fails here stops no run: then there is no log."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._pending: list[str] = []
        self._descriptor: int | None = None
        self._has_failed = False
        self._lock = threading.Lock()

    @property
    def is_open(self) -> bool:
        """Say whether there is a file with this run in it."""
        return self._descriptor is not None

    def write(self, text: str, *, waits: bool = False) -> None:
        """Add a line, with the time; one that `waits` makes no file by itself, so that a run without work leaves none.

        Secrets have to be gone from it.
        """
        moment = time.strftime("%Y-%m-%d %H:%M:%S")
        lines = "".join(f"{moment} {os.getpid()} {line}\n" for line in text.splitlines())
        with self._lock:
            if waits and not self.is_open:
                self._pending = [*self._pending[-_PENDING:], lines]
                return
            self._append("".join([*self._pending, lines]))
            self._pending = []

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor, self._has_failed = None, True

    def _append(self, lines: str) -> None:
        if self._has_failed:
            return
        try:
            if self._descriptor is None or os.fstat(self._descriptor).st_size > _LARGEST:
                self._open()
            # Other runs write to it too: one write for whole lines, at the end of the file.
            os.write(self._descriptor or -1, lines.encode("utf-8", "backslashreplace"))
        except OSError:  # a full or closed disk
            self._has_failed = True

    def _open(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        self.path.parent.mkdir(mode=0o700, exist_ok=True)
        if self.path.is_file() and self.path.stat().st_size > _LARGEST:
            self.path.chmod(0o600)
            self.path.replace(self.path.with_name(f"{self.path.name}.1"))
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        self._descriptor = os.open(self.path, flags, 0o600)
