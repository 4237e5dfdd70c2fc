"""All mistakes."""

from __future__ import annotations

from . import versions
from .mistake import Mistake

MISTAKES: tuple[Mistake, ...] = (*versions.MISTAKES,)
