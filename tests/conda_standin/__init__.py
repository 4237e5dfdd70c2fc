"""A STAND-IN for Miniconda: its installer, its conda and a channel, none of them the real programs.

The installer is a shell script with a payload, as the real one is; it takes the same options, prints its messages in
the same order and ends with the same exit codes, but its text and its payload are this project's own. The payload's
Python is a real CPython of this machine. The `conda` in it takes the few command lines that colab_env uses; py-rattler
solves, checks and links for it. The variables INSTALLER_STANDIN_* and CONDA_STANDIN_FAULTS make
either of them fail as facts collected from the real ones say.
"""

from .builder import Standin, add_python, build_channel, build_installer, find_python
from .server import Server

__all__ = ["Server", "Standin", "add_python", "build_channel", "build_installer", "find_python"]
