"""All mistakes."""

from __future__ import annotations

from . import calls, commands, environments, files, versions
from .mistake import Mistake

MISTAKES: tuple[Mistake, ...] = (
    *versions.MISTAKES,
    *files.MISTAKES,
    *commands.MISTAKES,
    *environments.MISTAKES,
    *calls.MISTAKES,
)
