"""Give a notebook its own Python and its own locked packages, as a real kernel, in one call."""

from __future__ import annotations

from colab_env.badge import badge
from colab_env.diagnose import check_kernel, kernels, status
from colab_env.errors import ColabEnvError
from colab_env.notebook import check_notebook_kernel, restore_notebook, set_notebook_kernel
from colab_env.results import SetupResult, StepResult
from colab_env.steps import (
    configure_venv,
    install_colab_packages,
    install_miniconda,
    install_poetry,
    install_python,
    register_kernel,
    remove_kernel,
    setup,
)

__all__ = [
    "ColabEnvError",
    "SetupResult",
    "StepResult",
    "badge",
    "check_kernel",
    "check_notebook_kernel",
    "configure_venv",
    "install_colab_packages",
    "install_miniconda",
    "install_poetry",
    "install_python",
    "kernels",
    "register_kernel",
    "remove_kernel",
    "restore_notebook",
    "set_notebook_kernel",
    "setup",
    "status",
]
