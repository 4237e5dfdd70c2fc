"""Find in the text of a failed build or import what it was missing."""

from __future__ import annotations

from colab_env.native_need.missing import Explanation


def extract(_text: str) -> Explanation:
    """Return what a text says; empty for now."""
    return Explanation()
