"""Give a notebook its own Python and its own locked packages, as a real kernel, in one call."""

from __future__ import annotations

import sys
from importlib import import_module
from os.path import dirname, exists

TYPE_CHECKING = False  # as in typing, whose import would double that of this package
if TYPE_CHECKING:
    from typing import Any

    from colab_env.caches import cache_key, cache_list, cache_prune, cache_verify
    from colab_env.diagnose import check_kernel, kernels, status
    from colab_env.errors import ColabEnvError
    from colab_env.machine_report import doctor
    from colab_env.notebook import check_notebook_kernel, restore_notebook, set_notebook_kernel
    from colab_env.open_in_colab import badge
    from colab_env.planning import Plan, plan
    from colab_env.results import SetupResult, StepResult
    from colab_env.setting_up import setup
    from colab_env.snapshots import restore, save
    from colab_env.steps import (
        configure_venv,
        install_colab_packages,
        install_miniconda,
        install_poetry,
        install_python,
        register_kernel,
        remove_kernel,
    )
    from colab_env.switching import switch
    from colab_env.undoing import undo
    from colab_env.verifying import verify

_EXPORTS = {
    "caches": ("cache_key", "cache_list", "cache_prune", "cache_verify"),
    "container": (),  # used by its own name: colab_env.container.write(...)
    "diagnose": ("check_kernel", "kernels", "status"),
    "live_proof": (),  # so is this: colab_env.live_proof.page()
    "machine_report": ("doctor",),
    "envs": (),  # used by its own name: colab_env.envs.create(...)
    "errors": ("ColabEnvError",),
    "magics": ("load_ipython_extension",),
    "native": (),  # and this: colab_env.native.explain(...)
    "notebook": ("check_notebook_kernel", "restore_notebook", "set_notebook_kernel"),
    "notebooks": (),  # and this: colab_env.notebooks.add("lesson.ipynb", "pandas")
    "open_in_colab": ("badge",),
    "planning": ("Plan", "plan"),
    "results": ("SetupResult", "StepResult"),
    "setting_up": ("setup",),
    "snapshots": ("restore", "save"),
    "switching": ("switch",),
    "undoing": ("undo",),
    "verifying": ("verify",),
    "steps": (
        "configure_venv",
        "install_colab_packages",
        "install_miniconda",
        "install_poetry",
        "install_python",
        "register_kernel",
        "remove_kernel",
    ),
}

_VALUES = ("errors", "results")  # modules of classes, which are used by these names too

__all__ = [
    "ColabEnvError",
    "Plan",
    "SetupResult",
    "StepResult",
    "badge",
    "cache_key",
    "cache_list",
    "cache_prune",
    "cache_verify",
    "check_kernel",
    "check_notebook_kernel",
    "configure_venv",
    "doctor",
    "install_colab_packages",
    "install_miniconda",
    "install_poetry",
    "install_python",
    "kernels",
    "plan",
    "register_kernel",
    "remove_kernel",
    "restore",
    "restore_notebook",
    "save",
    "set_notebook_kernel",
    "setup",
    "status",
    "switch",
    "undo",
    "verify",
]


if sys.platform != "linux":
    msg = f"colab_env runs on Linux, as Colab does (WSL, a server, a container), and this is {sys.platform}"
    raise ImportError(msg)

# Of PyPI's `colab-env`, which brings a package of this name: each overwrites the other's first file (docs/name.md).
if exists(f"{dirname(__file__)}/handler.py"):  # noqa: PTH110, PTH120  (pathlib would be half of the import)
    import warnings

    warnings.warn(
        "PyPI's colab-env is another project that overwrites this one. "
        "To mend it: pip uninstall -y colab-env colab-bootstrap && pip install colab-bootstrap",
        stacklevel=2,
    )


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("colab-bootstrap")
    # PEP 562: a module is imported when something in it is first used, so that `import colab_env` costs next to nothing.
    for module, names in _EXPORTS.items():
        if name in names:
            return getattr(import_module(f"colab_env.{module}"), name)
        if name == module and (not names or name in _VALUES):
            return import_module(f"colab_env.{module}")
    msg = f"module 'colab_env' has no attribute {name!r}"
    # `from colab_env import cli` asks here first, before it imports the module: that name is no mistake, and needs no search.
    if name[:1] != "_" and not exists(f"{dirname(__file__)}/{name}.py") and not exists(f"{dirname(__file__)}/{name}"):  # noqa: PTH110, PTH120
        from colab_env.results import suggest

        msg = f"{msg}: {suggest(name, __dir__(), otherwise='help(colab_env) lists what it has')}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return sorted([*__all__, *(module for module, names in _EXPORTS.items() if not names), *_VALUES])
