"""The kind "jupyter": JupyterLab in an environment of its own, and the project's as its kernel."""

from __future__ import annotations

from colab_env.image.tools import Recipe


def install(recipe: Recipe) -> list[str]:
    """Return the instructions that install the server and register the kernel."""
    return [] if recipe else []


def copies() -> list[str]:
    """Return the instructions that bring them into the last stage."""
    return []


def start() -> list[str]:
    """Return how it starts, and how its health is asked for."""
    return []
