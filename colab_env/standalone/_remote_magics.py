"""`%colab_env` and `%%colab_env` inside an environment's own kernel: there a cell needs no other kernel."""

from __future__ import annotations

import shlex
from typing import Any

from IPython.core.magic import Magics, line_cell_magic, magics_class

from . import Named, status, switch  # type: ignore[attr-defined]  # where this is copied to, `_remote.py` is the package


class CellError(Exception):
    """The cell raised, and its traceback has been shown."""

    def _render_traceback_(self) -> list[str]:
        return []


@magics_class
class ColabEnvMagics(Magics):
    """The same magics as on the notebook's own side, so that one notebook runs in both."""

    @line_cell_magic
    def colab_env(self, line: str, cell: str | None = None) -> Any:
        """Run the cell here; or show the status, switch, add packages."""
        words = shlex.split(line)
        shell: Any = self.shell
        if cell is not None:
            if not shell.run_cell(cell).success:
                raise CellError
        elif words[:1] == ["switch"]:
            switch(words[1] if len(words) > 1 else None)
        elif words[:1] == ["add"] and len(words) > 1:
            Named("colab_env.adding.add")(words[1:])
        else:
            return status()
        return None


def load(shell: Any) -> None:
    """Add the magics, and nothing else."""
    shell.register_magics(ColabEnvMagics(shell))
