"""The block `# /// script` (PEP 723): find it in a script, in a notebook file, or in the cells that have run."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from colab_env.errors import ScriptError
from colab_env.results import short

# Copied from PEP 723's reference implementation.
_BLOCK = re.compile(r"(?m)^# /// (?P<type>[a-zA-Z0-9-]+)$\s(?P<content>(^#(| .*)$\s)+)^# ///$")


def blocks(text: str) -> list[re.Match[str]]:
    """Return the script blocks of a text; `[0]` is the whole block, `["content"]` its lines."""
    return [match for match in _BLOCK.finditer(text) if match["type"] == "script"]


def block(path: Path) -> str:
    """Return the one block of a script or of a notebook's code cells. Raises ScriptError where there is none."""
    found = blocks(_code(path))
    if len(found) != 1:
        msg = f"{short(path)} has {len(found) or 'no'} block{'s' if len(found) > 1 else ''} `# /// script`"
        raise ScriptError(msg, hint="write one, with `dependencies = [...]` in it (PEP 723)")
    return found[0][0] + "\n"


def of_notebook() -> str | None:
    """Return the block of the last cell that has one, in the notebook that runs this; None elsewhere."""
    ipython = sys.modules.get("IPython")
    shell = ipython and ipython.get_ipython()
    cells = shell.user_ns.get("In", ()) if shell else ()
    found = [match[0] for cell in cells for match in blocks(f"{cell}\n")]
    return found[-1] + "\n" if found else None


def requires_python(text: str) -> str | None:
    """Return the Python that a block asks for, or None."""
    found = re.search(r"""(?m)^#\s*requires-python\s*=\s*(["'])(.*?)\1""", text)
    return found[2] if found else None


def _code(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8")
        return "\n".join(_cells(json.loads(text))) + "\n" if path.suffix == ".ipynb" else text
    except (OSError, ValueError, AttributeError, TypeError) as error:
        msg = f"cannot read {short(path)}: {error}"
        raise ScriptError(msg, hint="give the path of a script or a notebook") from error


def _cells(notebook: Any) -> list[str]:
    code = [cell for cell in notebook.get("cells", []) if cell.get("cell_type") == "code"]
    return ["".join(cell.get("source", [])) for cell in code]
