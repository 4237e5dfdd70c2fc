"""All mistakes."""

from __future__ import annotations

from . import commands, files, versions
from .mistake import Mistake

MISTAKES: tuple[Mistake, ...] = (*versions.MISTAKES, *files.MISTAKES, *commands.MISTAKES)
