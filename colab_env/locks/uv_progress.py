"""How far an installation by uv is: packages that had to be fetched, bytes written, and the time that is left."""

from __future__ import annotations

import contextlib
import os
import re
import time
from pathlib import Path

from colab_env import _report

LOG = "uv_installer::plan=debug"  # one line for each package that is not in uv's cache
# uv names the larger ones with their size, and again when they are there.
_LARGE = re.compile(r"^\s*Downloading (\S+) \(([\d.]+)([KMG])iB\)")
_FETCHED = re.compile(r"^\s*Downloaded (\S+)")
_MEGABYTES = {"K": 1 / 1024, "M": 1.0, "G": 1024.0}
_SMALL = 0.3  # megabytes, of a package whose size uv does not name
_UNPACKED = 3.3  # how many times a wheel's size its files have, on average
_UNCACHED = re.compile(r"^DEBUG (?:Identified uncached|Must revalidate)")


class Follower:
    """Counts what arrives in uv's cache while uv works: each package fetched is a new directory there."""

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self._before = self._arrived()
        self._began = time.monotonic()
        self._received_before = _received()
        self.missing = 0
        self._large: dict[str, float] = {}
        self._fetched: set[str] = set()

    def on_line(self, line: str) -> bool:
        """Take note of a line that uv prints, and say whether it was for us only."""
        if _UNCACHED.match(line):
            if not self.missing:  # what it does before, resolving above all, says nothing of how fast wheels arrive
                self._began, self._received_before = time.monotonic(), _received()
            self.missing += 1
        if match := _LARGE.match(line):
            self._large[match[1]] = float(match[2]) * _MEGABYTES[match[3]]
        if match := _FETCHED.match(line):
            self._fetched.add(match[1])
        return line.startswith("DEBUG ")

    def on_tick(self, pid: int) -> None:
        """Show how far the program `pid` is."""
        if self.missing:
            done = min(self._arrived() - self._before, self.missing)
            seconds, written = time.monotonic() - self._began, _written(pid)
            share = self._share(done, written)
            _report.packages(done, self.missing, written=written, share=share, seconds=seconds)

    def _share(self, done: int, written: int) -> float:
        # By size: a hundred small packages are there while the one of two gigabytes still comes. What is on the way is
        # never taken for all: others use the network too.
        large, fetched = dict(self._large), set(self._fetched)
        arrived = sum(size for name, size in large.items() if name in fetched) + _SMALL * max(done - len(fetched), 0)
        expected = sum(large.values()) + _SMALL * max(self.missing - len(large), 0)
        if not expected:
            return 1.0
        on_the_way = self._on_the_way(written) / 2**20 / expected
        return min(max(arrived / expected, min(on_the_way, 0.95)), 1.0)

    def _on_the_way(self, written: int) -> float:
        """Return the bytes that have come so far, in wheels that are complete or not."""
        received = _received() - self._received_before
        # The counter is the machine's. Unpacked, wheels are larger than they came, so that what is more than was written
        # (a megabyte at a time) others have received.
        return min(received, written) if received > 0 else written / _UNPACKED

    def _arrived(self) -> int:
        with contextlib.suppress(OSError):
            return sum(len(os.listdir(directory)) for directory in self._cache.glob("archive-v*"))  # noqa: PTH208
        return 0


def _received() -> int:
    """Return the bytes that all of this machine's network interfaces have received, or 0 where nobody counts."""
    with contextlib.suppress(OSError):
        table = Path("/proc/net/dev").read_text(encoding="ascii", errors="replace")
        return sum(int(count) for count in re.findall(r"^\s*\S+:\s*(\d+)", table, re.MULTILINE))
    return 0


def _written(pid: int) -> int:
    # Linux counts what a program has written; what it downloads goes to the disk unpacked.
    with contextlib.suppress(OSError):
        match = re.search(r"wchar: (\d+)", Path(f"/proc/{pid}/io").read_text(encoding="ascii"))
        return int(match[1]) if match else 0
    return 0
