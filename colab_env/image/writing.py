"""Write the files of a container image, or say how they differ from what is there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class WriteResult:
    """What was written."""

    paths: tuple[Path, ...]
