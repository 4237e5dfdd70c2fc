"""The public functions about what packages need from the operating system."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from colab_env.native_need.missing import Explanation


def explain(text: str) -> Explanation:
    """Say what a failed build or import was missing, from what it printed."""
    from colab_env.native_need import extract

    return extract.extract(text)
