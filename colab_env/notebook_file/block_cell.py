"""The block `# /// script` in a notebook's cells and the lock in its metadata: read, written, and put back byte for byte.

Both stand where juv 0.5 reads and writes them: the block in a code cell, which is hidden where it is made, and what
`uv lock --script` says of it under `metadata["uv.lock"]`.
"""

from __future__ import annotations

import copy
import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colab_env import _files, ipynb, json_text
from colab_env.errors import NotebookError, ScriptError, UsageError
from colab_env.locks import script_block
from colab_env.results import short

if TYPE_CHECKING:
    from colab_env.ipynb import NotebookFile
    from colab_env.machine import Machine

LOCK_KEY = script_block.LOCK_KEY
_EDITS = 20  # of one notebook that can be taken back
# Kernels that are named for their language, with a version perhaps: `ir`, `julia-1.10`.
_LANGUAGES = {"ir": "R", "julia": "Julia", "bash": "Bash", "octave": "Octave", "scala": "Scala", "deno": "JavaScript"}
_OTHER_KERNELS = re.compile(rf"({'|'.join(_LANGUAGES)})(?:-?\d[\w.-]*)?")
_ID = "colab-env-block"  # of the cell: nbformat 4.5 wants one, unique in the notebook


@dataclass(frozen=True, kw_only=True)
class Dependencies:
    """What a notebook says that it needs: its `block` and the number of the cell from 0, and its `lock`, or None."""

    block: str | None
    cell: int | None
    lock: str | None


def read(file: NotebookFile) -> Dependencies:
    """Read the block and the lock of a notebook. Raises ScriptError for two blocks."""
    blocks = [(text, number) for number, source in code_cells(file) for text in script_block.blocks(f"{source}\n")]
    if len(blocks) > 1:
        cells = " and ".join(str(number + 1) for _, number in blocks)
        msg = f"{short(file.path)} has {len(blocks)} blocks `# /// script`, in cells {cells}"
        raise ScriptError(msg, hint="keep one of them (PEP 723); nothing was changed")
    lock = file.content.get("metadata", {}).get(LOCK_KEY)
    block, cell = blocks[0] if blocks else (None, None)
    return Dependencies(block=block, cell=cell, lock=lock if isinstance(lock, str) else None)


def code_cells(file: NotebookFile) -> list[tuple[int, str]]:
    """Return the text of each code cell with its number from 0."""
    numbered = enumerate(file.content["cells"])
    code = [(number, cell) for number, cell in numbered if isinstance(cell, dict) and cell.get("cell_type") == "code"]
    for number, cell in code:
        source = cell.get("source") or []
        if not isinstance(source, str) and not (isinstance(source, list) and all(isinstance(s, str) for s in source)):
            msg = f"{short(file.path)} says that it is a notebook, but the source of cell {number + 1} is no text"
            raise NotebookError(msg, hint="open it in Jupyter or Colab and save it again; nothing was changed")
    return [(number, "".join(cell.get("source") or [])) for number, cell in code]


def require_python(content: Mapping[str, Any], path: Path) -> None:
    """Raise UsageError for a notebook of another language, by its kernelspec, its language_info, or its kernel's name."""
    metadata = content.get("metadata", {})
    spec, info = (
        value if isinstance(value := metadata.get(key), dict) else {} for key in ("kernelspec", "language_info")
    )
    by_kernel = _OTHER_KERNELS.fullmatch(str(spec.get("name") or "").lower())
    language = spec.get("language") or info.get("name") or (_LANGUAGES.get(by_kernel[1]) if by_kernel else "python")
    if str(language).lower() not in ("python", "python2", "python3", "ipython"):
        msg = f"{short(path)} is a notebook for {language}, and this works on those for Python"
        raise UsageError(msg, hint="open it with the Jupyter that has its kernel; nothing was changed")


def edited(
    file: NotebookFile,
    *,
    block: str | None = None,
    lock: str | None = None,
    sources: Mapping[int, str] | None = None,
) -> str:
    """Return the file's text with another block, another lock and other texts of cells; all else as it is, white space too.

    A notebook without a block gets a cell for it in front. Raises NotebookError for a file whose text cannot be changed so.
    """
    earlier = read(file)
    texts = dict(sources or {})
    bom = ipynb.BOM if file.text.startswith(ipynb.BOM) else ""
    text, expected = file.text.removeprefix(bom), copy.deepcopy(file.content)
    if block is not None and earlier.cell is not None and earlier.block is not None:
        source = texts.get(earlier.cell, dict(code_cells(file))[earlier.cell])
        texts[earlier.cell] = source.replace(earlier.block, block, 1)
    for number, source in texts.items():
        value = _as_written(source, like=expected["cells"][number].get("source"))
        text = json_text.with_value(text, keys=("cells", number, "source"), value=value)
        expected["cells"][number]["source"] = value
    if block is not None and earlier.cell is None:
        cell = _new_cell(block, file.content)
        text = json_text.with_first_item(text, keys=("cells",), value=cell)
        expected["cells"].insert(0, cell)
    if lock is not None and lock != earlier.lock:
        text = json_text.with_value(text, keys=("metadata", LOCK_KEY), value=lock)
        expected.setdefault("metadata", {})[LOCK_KEY] = lock
    # The text was edited, not the parsed notebook: what came of it is compared, however the file is written.
    if ipynb.parse(text) != expected:
        msg = f"{short(file.path)} is written in a way that this cannot change without touching more"
        raise NotebookError(msg, hint="save it once in Jupyter, then run this again; nothing was changed")
    return bom + text


def write(file: NotebookFile, text: str, *, machine: Machine) -> None:
    """Replace the notebook's text, and keep it as it was, so that `put_back` finds it."""
    if text == file.text:
        return
    ipynb.require_writable(file)
    history = _history(file, machine)
    number = int(history[-1].name.partition("-")[0]) + 1 if history else 1
    after = hashlib.sha256(text.encode()).hexdigest()
    backup = _directory(file.path, machine) / f"{number:06}-{after}.ipynb"
    _files.write_text(backup, file.text, mode=0o600)  # its outputs may be nobody else's business
    try:
        ipynb.replace_text(file, text)
    except BaseException:
        if file.path.read_bytes() != text.encode():  # the stop button may come just after
            _files.unlink(backup)
        raise
    for old in history[: -(_EDITS - 1)]:
        _files.unlink(old)


def put_back(file: NotebookFile, *, machine: Machine) -> None:
    """Put the notebook back as it was before the last `write`, byte for byte. Raises NotebookError where that would lose more."""
    history = _history(file, machine)
    if not history:
        msg = f"there is no change of {short(file.path)} to take back"
        raise NotebookError(
            msg, hint="only what add, remove and lock have written into a notebook can be; nothing was changed"
        )
    if history[-1].stem.partition("-")[2] != hashlib.sha256(file.text.encode()).hexdigest():
        msg = f"{short(file.path)} has been edited since, and putting it back would lose that"
        raise NotebookError(msg, hint=f"as it was, it is in {history[-1]}; nothing was changed")
    ipynb.replace_text(file, (_files.content(history[-1]) or b"").decode())
    _files.unlink(history[-1])


def _history(file: NotebookFile, machine: Machine) -> list[Path]:
    """Return the earlier texts of a notebook, the oldest first; one that was moved or copied takes its history along."""
    history = _directory(file.path, machine)
    if not history.is_dir():
        digest = hashlib.sha256(file.text.encode()).hexdigest()
        last = max(history.parent.glob(f"*/*-{digest}.ipynb"), key=lambda path: path.stat().st_mtime_ns, default=None)
        # Copied, for a file of the same content may still be at the old path, with a history of its own.
        for earlier in sorted(last.parent.glob("*-*.ipynb")) if last else ():
            if last is not None and earlier.name <= last.name:
                _files.write_text(history / earlier.name, (_files.content(earlier) or b"").decode(), mode=0o600)
    return sorted(history.glob("*-*.ipynb"))


def _directory(path: Path, machine: Machine) -> Path:
    return machine.data / "notebooks" / hashlib.sha256(os.fsencode(path)).hexdigest()[:16]


def _new_cell(block: str, content: Mapping[str, Any]) -> dict[str, Any]:
    cell: dict[str, Any] = {"cell_type": "code", "execution_count": None}
    if content.get("nbformat_minor", 0) >= 5:  # cells have ids since nbformat 4.5
        taken = {cell.get("id") for cell in content["cells"] if isinstance(cell, dict)}
        cell["id"] = next(name for name in (_ID, *(f"{_ID}-{count}" for count in range(2, 1000))) if name not in taken)
    # The key by which JupyterLab, Notebook 7 and VS Code fold a cell's text away; juv writes it too.
    lines = block.splitlines(keepends=True)
    return {**cell, "metadata": {"jupyter": {"source_hidden": True}}, "outputs": [], "source": lines}


def _as_written(source: str, *, like: Any) -> Any:
    return source if isinstance(like, str) else source.splitlines(keepends=True)
