"""How far an installation by uv is: packages that had to be fetched, bytes written, and the time that is left."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path

from colab_env import _report

LOG = "uv_installer::plan=debug"  # one line for each package that is not in uv's cache
_UNCACHED = re.compile(r"^DEBUG (?:Identified uncached|Must revalidate)")


def cache(environ: Mapping[str, str]) -> Path:
    """Return uv's cache directory."""
    home = environ.get("HOME") or str(Path.home())
    base = environ.get("XDG_CACHE_HOME") or f"{home}/.cache"
    return Path(environ.get("UV_CACHE_DIR") or f"{base}/uv")


class Follower:
    """Counts what arrives in uv's cache while uv works: each package fetched is a new directory there."""

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self._before = self._arrived()
        self._began = time.monotonic()
        self.missing = 0

    def sees(self, line: str) -> bool:
        """Take note of a line that uv prints, and say whether it was for us only."""
        if _UNCACHED.match(line):
            self.missing += 1
        return line.startswith("DEBUG ")

    def looks(self, pid: int) -> None:
        """Show how far the program `pid` is."""
        if self.missing:
            done = min(self._arrived() - self._before, self.missing)
            _report.packages(done, self.missing, _written(pid), time.monotonic() - self._began)

    def _arrived(self) -> int:
        with contextlib.suppress(OSError):
            return sum(len(os.listdir(place)) for place in self._cache.glob("archive-v*"))  # noqa: PTH208
        return 0


def _written(pid: int) -> int:
    # Linux counts what a program has written; what it downloads goes to the disk unpacked.
    with contextlib.suppress(OSError):
        found = re.search(r"wchar: (\d+)", Path(f"/proc/{pid}/io").read_text(encoding="ascii"))
        return int(found[1]) if found else 0
    return 0
