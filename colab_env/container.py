"""Take a project home as a container image: write the files that build it, and check those that are there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from colab_env.image.findings import CheckResult
    from colab_env.image.writing import WriteResult


def write(
    project: str | Path = ".",
    *,
    kind: str = "auto",
    tool: str = "uv",
    python: str | None = None,
    base: str | None = None,
    lock: str | Path | None = None,
    extras: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
    output: str | Path | None = None,
) -> WriteResult:
    """Write the Dockerfile of a project, its .dockerignore and its exported lock file."""
    raise NotImplementedError


def check(*dockerfiles: str | Path, project: str | Path = ".", fix: bool = False, write: bool = False) -> CheckResult:
    """Say whether what `write` wrote is still what the project says, and what is wrong with other Dockerfiles."""
    raise NotImplementedError
