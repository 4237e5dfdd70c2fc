"""Versions this package was tested with. Data only."""

from __future__ import annotations

from dataclasses import dataclass

UV = "0.13.8"
POETRY = "2.5.1"
# Heals Poetry where only PyPI's simple API is served; does nothing without POETRY_PYPI_MIRROR_URL.
POETRY_MIRROR_PLUGIN = "poetry-plugin-pypi-mirror==0.6.5"
# Writes poetry.lock in pip's format, for other installers; a part of Poetry until 2.0.
POETRY_EXPORT_PLUGIN = "poetry-plugin-export==1.10.1"


@dataclass(frozen=True, kw_only=True)
class Requirements:
    """Packages that are installed in one go: pip's `names`; `alone` means without what they depend on."""

    names: tuple[str, ...]
    alone: bool = False


# By Python X.Y: the IPython and ipykernel under which google.colab has every feature. 7.34.0 and 6.17.1 are Colab's own;
# from 3.12 on, `x = !cmd` works with 7.34.0 in the full tier only, and a newer one through _colab_kernel.py.
COLAB = {
    "3.8": ("7.34.0", "6.17.1"),
    "3.9": ("7.34.0", "6.31.0"),
    "3.10": ("8.39.0", "6.17.1"),
    "3.11": ("7.34.0", "6.17.1"),
}
COLAB_NEWER = ("8.39.0", "7.4.0")
# What google.colab imports at its start, and what anywidget and ipywidgets need, without JupyterLab.
COLAB_START = (
    "ipython_genutils",
    "numpy",
    "pillow",
    "httplib2",
    "packaging",
    "psutil",
    "pexpect",
    "tornado",
    "psygnal",
    "typing_extensions",
)
COLAB_WIDGETS = Requirements(names=("ipywidgets==7.7.1", "anywidget"), alone=True)
PLAIN = {"3.8": "6.29.5", "3.9": "6.31.0"}
PLAIN_NEWER = "7.1.0"
