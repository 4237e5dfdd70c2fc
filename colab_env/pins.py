"""Versions this package was tested with. Data only."""

from __future__ import annotations

UV = "0.13.8"
POETRY = "2.5.1"
# Heals Poetry where only PyPI's simple API is served; does nothing without POETRY_PYPI_MIRROR_URL.
POETRY_MIRROR_PLUGIN = "poetry-plugin-pypi-mirror==0.6.5"

# What a kernel needs, by Python. On Colab: the versions under which google.colab's every feature works; IPython 7.34 is
# Colab's own, and from 3.12 on, where `x = !cmd` fails with it, a newer one with colab_env's adapter (_colab_kernel.py).
_COLAB_START = (
    "ipython_genutils",
    "anywidget",
    "numpy",
    "pillow",
    "httplib2",
    "packaging",
    "psutil",
    "pexpect",
    "tornado",
)


def kernel_requirements(short_version: str, *, colab: bool) -> list[str]:
    """Return the pip requirements of the kernel layer for Python X.Y."""
    python = tuple(int(part) for part in short_version.split("."))
    if not colab:
        return ["ipykernel==6.29.5" if python < (3, 10) else "ipykernel==7.1.0"]
    if python < (3, 12):
        return ["ipykernel==6.17.1", "ipython==7.34.0", "ipywidgets==7.7.1", *_COLAB_START]
    return ["ipykernel==6.29.5", "ipython==8.39.0", "ipywidgets==7.7.1", *_COLAB_START]
