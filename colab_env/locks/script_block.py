"""The block `# /// script` (PEP 723): find it in a script, in a notebook file, or in the cells that have run; and read it."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from colab_env import _files, _report, toml_text
from colab_env.errors import ScriptError
from colab_env.results import short, suggest

_OPENING = re.compile(r"# /// ([a-zA-Z0-9-]+)")
_FIRST_LINE, _CLOSING = "# /// script", "# ///"
LOCK_KEY = "uv.lock"  # in a notebook's metadata: what `uv lock --script` says of its block, as juv 0.5 keeps it
_PATIENCE = 2  # seconds for Colab's page, which is there or is not
_KEYS = frozenset({"dependencies", "requires-python", "tool"})
_HINT = "`dependencies` is a list of strings, `requires-python` a string (PEP 723)"


@dataclass(frozen=True, kw_only=True)
class Values:
    """What a block asks for."""

    requires_python: str | None
    dependencies: tuple[str, ...]


def blocks(text: str) -> list[str]:
    """Return the script blocks of a text, each with its first and its last line."""
    # What PEP 723's regular expression finds; that one takes time with the square of the lines.
    lines, texts, at = text.split("\n"), [], 0
    while at < len(lines):
        opening = _OPENING.fullmatch(lines[at])
        end = at + 1
        while opening and end < len(lines) and (lines[end] == "#" or lines[end].startswith("# ")):
            end += 1
        closing = next((number for number in range(end - 1, at + 1, -1) if lines[number] == _CLOSING), None)
        if opening and closing and opening[1] == "script":
            texts.append("\n".join(lines[at : closing + 1]))
        at = closing + 1 if closing else end
    return texts


def is_opened(text: str) -> bool:
    """Say whether a text has the first line of a script block, which is not to say that it has the last one."""
    return _FIRST_LINE in text.split("\n")


def block(path: Path) -> str:
    """Return the one block of a script or of a notebook's code cells. Raises ScriptError where there is none."""
    code = _code(path)
    texts = blocks(code)
    if not texts and is_opened(code):
        number = code.split("\n").index(_FIRST_LINE) + 1
        where = short(path) if path.suffix == ".ipynb" else f"{short(path)}, line {number}"
        msg = f"{where}: the block `# /// script` is not closed"
        raise ScriptError(msg, hint="end it with a line `# ///`, every line before that beginning with `#` (PEP 723)")
    if len(texts) != 1:
        msg = f"{short(path)} has {len(texts) or 'no'} block{'s' if len(texts) > 1 else ''} `# /// script`"
        hint = "keep one of them (PEP 723)" if texts else "write one, with `dependencies = [...]` in it (PEP 723)"
        raise ScriptError(msg, hint=hint)
    return texts[0] + "\n"


def lock(path: Path) -> str | None:
    """Return the lock of a notebook's block: the one in its metadata, else the one beside it; of a script, the one beside it."""
    lock_text = _files.content(path.with_name(f"{path.name}.lock"))
    inside = _notebook(path).get("metadata", {}).get(LOCK_KEY) if path.suffix == ".ipynb" else None
    return inside if isinstance(inside, str) else None if lock_text is None else lock_text.decode("utf-8", "replace")


def of_notebook() -> tuple[str, str | None] | None:
    """Return the block of the notebook that runs this, with its lock, if it has one; None elsewhere.

    It is that of the last cell that has run and has one. Colab's page is asked for the notebook as it stands there: for its
    lock, and for a block in a cell that has not run.
    """
    ipython = sys.modules.get("IPython")
    shell = ipython and ipython.get_ipython()
    if not shell:
        return None
    page = _colab_page()
    in_page = _blocks_of(page)
    texts = [cell_block for cell in shell.user_ns.get("In", ()) for cell_block in blocks(f"{cell}\n")] or in_page
    if not texts:
        return None
    lock = page.get("metadata", {}).get(LOCK_KEY)
    return texts[-1] + "\n", lock if isinstance(lock, str) and texts[-1] in in_page else None


def _colab_page() -> dict[str, Any]:
    """Return the notebook that Colab's page shows, or nothing where no page answers, as in a run by papermill."""
    if "google.colab" not in sys.modules or not _report.in_notebook():
        return {}
    try:
        from google.colab import _message  # type: ignore[import-not-found]

        answer = _message.blocking_request("get_ipynb", request="", timeout_sec=_PATIENCE)
        notebook = answer["ipynb"]
        _blocks_of(notebook)
        notebook.get("metadata", {}).get(LOCK_KEY)
    except Exception:  # noqa: BLE001  (whatever is wrong with the page: the cells that have run count)
        return {}
    page: dict[str, Any] = notebook
    return page


def _blocks_of(notebook: dict[str, Any]) -> list[str]:
    code = [cell for cell in notebook.get("cells", []) if cell.get("cell_type") == "code"]
    return [text for cell in code for text in blocks("".join(cell.get("source", [])) + "\n")]


def read(block: str, path: Path) -> Values:
    """Return what a block of the file at `path` asks for. Raises ScriptError for what PEP 723 does not have."""
    try:
        values = _parsed(block)
    except ValueError as error:
        msg = f"the block `# /// script` in {short(path)} is not TOML: {error}"
        raise ScriptError(msg, hint="mend that line; nothing was changed") from error
    if unknown := sorted(values.keys() - _KEYS):
        msg = f"the block `# /// script` in {short(path)} has `{unknown[0]}`, which PEP 723 does not know"
        raise ScriptError(msg, hint=suggest(unknown[0], _KEYS))
    dependencies, python = values.get("dependencies", []), values.get("requires-python")
    is_list = isinstance(dependencies, list) and all(isinstance(dependency, str) for dependency in dependencies)
    if not is_list or not isinstance(python, (str, type(None))):
        msg = f"the block `# /// script` in {short(path)} has a `dependencies` or `requires-python` of another type"
        raise ScriptError(msg, hint=_HINT)
    return Values(requires_python=python, dependencies=tuple(dependencies))


def settings(block: str) -> dict[str, Any]:
    """Return what a block that can be read says under `tool`, such as uv's sources."""
    tool = _parsed(block).get("tool")
    return tool if isinstance(tool, dict) else {}


def _parsed(block: str) -> dict[str, Any]:
    lines = block.rstrip("\n").split("\n")[1:-1]
    return toml_text.parsed("".join(f"{line.removeprefix('#').removeprefix(' ')}\n" for line in lines))


def text(path: Path) -> str:
    """Return the text of a file. Raises ScriptError for one that is not there, or no text."""
    content = _files.content(path)
    if content is None:
        msg = f"cannot read {short(path)}: there is no such file"
        raise ScriptError(msg, hint="give the path of a script or a notebook")
    try:
        return content.decode("utf-8-sig")  # editors of Windows begin a file with a mark
    except UnicodeDecodeError as error:
        msg = f"cannot read {short(path)}: it is not UTF-8 text (byte {error.start})"
        raise ScriptError(msg, hint="save it as UTF-8; nothing was changed") from error


def _code(path: Path) -> str:
    if path.suffix != ".ipynb":
        return text(path).replace("\r\n", "\n")  # as Python reads its sources
    cells = [cell for cell in _notebook(path).get("cells", []) if cell.get("cell_type") == "code"]
    return "\n".join("".join(cell.get("source", [])) for cell in cells) + "\n"


def _notebook(path: Path) -> dict[str, Any]:
    """Return a notebook with cells that can be read. Raises ScriptError."""
    try:
        notebook: dict[str, Any] = json.loads(text(path))
        notebook.get("metadata", {}).get(LOCK_KEY)
        for cell in notebook.get("cells", []):
            "".join(cell.get("source", []))
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        reason = f"it is not JSON ({error})" if isinstance(error, ValueError) else "it is no notebook"
        msg = f"cannot read {short(path)}: {reason}"
        raise ScriptError(msg, hint="give the path of a script or a notebook") from error
    return notebook
