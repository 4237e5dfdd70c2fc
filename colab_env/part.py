"""One thing that `status` shows, healthy or with what is wrong with it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from colab_env._files import RECEIPT
from colab_env._report import megabytes
from colab_env.results import short

if TYPE_CHECKING:
    from colab_env.cards import Row


@dataclass(frozen=True, kw_only=True)
class Part:
    """One thing that colab-env made or uses: `problem` is None when it is healthy.

    `size` is in bytes of disk; `made` is when it was completed and `proven` when its content was last compared with what
    was installed, both in seconds since 1970. All are None where they mean nothing.
    """

    name: str
    what: str
    where: Path | None
    problem: str | None = None
    size: int | None = None
    made: float | None = None
    proven: float | None = None

    def __repr__(self) -> str:
        mark = "✗" if self.problem else "✓"
        facts = [short(self.where)] if self.where else []
        facts += [megabytes(self.size)] if self.size is not None else []
        facts += [_minute(self.made)] if self.made else []
        facts += [f"proven {_minute(self.proven)}"] if self.proven else []
        line = f"{mark} {self.name:<12} {self.what}" + (f"  ({', '.join(facts)})" if facts else "")
        return f"{line}\n  {self.problem}" if self.problem else line

    def row(self, largest: int) -> Row:
        """Return its line on a card, with its size as a bar beside the `largest` part's."""
        from colab_env.cards import Row

        times = [f"completed {_minute(self.made)}"] if self.made else []
        times += [f"proven {_minute(self.proven)}"] if self.proven else []
        return Row(
            mark="✗" if self.problem else "✓",
            name=self.name,
            text=self.what,
            aside=megabytes(self.size) if self.size is not None else "",
            share=self.size / largest if self.size is not None and largest else None,
            notes=(self.problem,) if self.problem else (),
            details=(*([str(self.where)] if self.where else []), *times),
        )

    @classmethod
    def of_directory(
        cls,
        name: str,
        what: str,
        where: Path,
        problem: str | None,
        *,
        is_measured: bool = True,
        proven: float | None = None,
    ) -> Part:
        """Describe a directory that colab-env made, or conda, with its size if it is to be measured."""
        receipt = where / RECEIPT
        return cls(
            name=name,
            what=what,
            where=where,
            problem=problem,
            size=_disk_usage(where) if is_measured and where.is_dir() else None,
            made=receipt.stat().st_mtime if receipt.is_file() else None,
            proven=proven,
        )


def _minute(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(moment))


def _disk_usage(directory: Path) -> int:
    def usage(path: str) -> Iterator[int]:
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    yield from usage(entry.path)
                else:
                    yield entry.stat(follow_symlinks=False).st_blocks * 512

    return sum(usage(str(directory)))
