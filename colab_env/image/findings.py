"""What a check of Dockerfiles says."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """What is wrong."""

    lines: tuple[str, ...]
