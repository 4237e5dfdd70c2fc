"""Start a kernel: the environment's own packages first, then this layer's, then the system's.

Runs under the environment's Python (3.8 or newer) as a file beside the directory `site`, and is imported by nobody. The layer is
visible in the kernel only: pip, Poetry and uv see the environment as its lock file has it.
"""

import runpy
import sys
from pathlib import Path

SITE = Path(__file__).resolve().parent / "site"


def main() -> None:
    """Put the layer behind the last path of the environment and become its kernel."""
    del sys.path[0]  # the directory of this file
    own = [number for number, path in enumerate(sys.path) if path.startswith(sys.prefix + "/")]
    sys.path.insert(own[-1] + 1 if own else len(sys.path), str(SITE))
    launcher = "colab_kernel_launcher" if (SITE / "colab_kernel_launcher.py").exists() else "ipykernel_launcher"
    runpy.run_module(launcher, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
