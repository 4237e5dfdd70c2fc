"""`%colab_env` and `%%colab_env` inside an environment's own kernel: there a cell needs no other kernel."""

from __future__ import annotations

import os
import shlex
import sys
from typing import Any

from IPython.core.magic import Magics, line_cell_magic, magics_class

# Where this is copied to, `_remote.py` is the package.
from . import ColabEnvError, Named, status, switch  # type: ignore[attr-defined]


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
        try:
            words = shlex.split(line)
        except ValueError as error:
            raise ColabEnvError(f"%colab_env {line}: {str(error).lower()}") from None
        shell: Any = self.shell
        if cell is not None:
            if not shell.run_cell(cell).success:
                raise CellError
        elif words[:1] == ["switch"] and len(words) <= 2:
            switch(words[1] if len(words) > 1 else None)
        elif words[:1] == ["add"] and len(words) > 1:
            Named("colab_env.adding.add")(words[1:], _project())
        elif words in ([], ["status"]):
            return status(_project() or ".")
        else:
            hint = "→ write `%colab_env status`, `%colab_env switch NAME` or `%colab_env add PACKAGE ...`"
            raise ColabEnvError(f"%colab_env does not know {line!r}\n{hint}")
        return None


def _project() -> "str | None":
    """Return the directory of the project that this kernel belongs to, or None where its environment is no project's."""
    directory, name = os.path.split(sys.prefix)
    return directory if name == ".venv" else None


def load(shell: Any) -> None:
    """Add the magics, and nothing else."""
    shell.register_magics(ColabEnvMagics(shell))
