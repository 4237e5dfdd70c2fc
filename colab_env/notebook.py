"""Which kernel a notebook file asks for: say it, change it and nothing else, take it back."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from colab_env import _files, ipynb
from colab_env.errors import NotebookError
from colab_env.json_text import with_value
from colab_env.jupyter.kernelspec import check_kernel_name, registered
from colab_env.machine import Machine
from colab_env.results import short, suggest

_UNCHANGED = "nothing was changed"
_LINES = {
    "changed": "✓ {path} now asks for kernel {name} (was {before}; the old file is {backup})",
    "already there": "✓ {path} already asks for kernel {name}",
    "differs": "✗ {path} asks for kernel {before}, not for {name}",
    "restored": "✓ {path} is as it was, byte for byte (asks for kernel {name} again, was {before})",
}


@dataclass(frozen=True, kw_only=True)
class NotebookChange:
    """What a notebook asks for, and what was done about it.

    `name` is the kernel it was to ask for, `before` the one it asked for until now (None: no kernel at all), `action`
    one of "changed", "already there", "differs" (a check), "restored"; `backup` is the file that holds the notebook
    as it was; `notes` are sentences that a person should read.
    """

    path: Path
    name: str | None
    before: str | None
    action: Literal["changed", "already there", "differs", "restored"]
    backup: Path | None = None
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        line = _LINES[self.action].format(
            path=short(self.path),
            name=self.name or "none",
            before=self.before or "none",
            backup=self.backup and _beside(self.backup, self.path),
        )
        return "\n".join([line, *(f"  {note}" for note in self.notes)])

    @property
    def changed(self) -> bool:
        """Say whether the file was written."""
        return self.action in ("changed", "restored")

    @property
    def needed(self) -> bool:
        """Say whether a check found another kernel than the one asked about."""
        return self.action == "differs"

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        backup = str(self.backup) if self.backup else None
        return {
            **asdict(self), "path": str(self.path), "backup": backup, "changed": self.changed, "needed": self.needed
        }  # fmt: skip


def set_notebook_kernel(
    path: str | Path, name: str, *, display_name: str | None = None, language: str = "python"
) -> NotebookChange:
    """Make a notebook ask for the kernel `name`, and change nothing else in the file, not even its white space.

    Sets `name` (in lower case, as Jupyter lists kernels), `display_name` and `language` of the top-level
    `metadata.kernelspec`, which Colab and Jupyter read. `display_name` is by default that of the registered kernel,
    else the name. A notebook that asks for `name` already is left alone, unless another `display_name` is given. Of a
    symbolic link, the file it names is changed. A kernel that this machine does not have is a note of the result: the notebook
    may be meant for another one.

    The notebook as it was is kept beside it as `NAME.ipynb.bak`. A backup is never overwritten: the newest one is kept
    if it differs from the notebook in its kernel only (it is the original then), else another is made, with the next
    number: `NAME.ipynb.bak2`. A page that has the notebook open does not notice the change: reload it.

    Raises KernelNameError, NotebookError (no such file, not JSON, not a notebook), NotebookVersionError (not
    nbformat 4), NotWritableError, or NotebookBusyError (open for writing elsewhere, where the system can tell).
    """
    name = check_kernel_name(name).lower()
    notebook = ipynb.read(path)
    earlier = _name(notebook.kernelspec)
    if earlier == name and display_name in (None, notebook.kernelspec.get("display_name")):
        return NotebookChange(path=Path(path), name=name, before=earlier, action="already there")
    spec = {"display_name": display_name or _registered_display_name(name) or name, "language": language, "name": name}
    text = _with_kernelspec(notebook, spec)
    notes = (*_notes(ipynb.parse(text)), *_unregistered(name))
    backup = _replace(notebook, text)
    return NotebookChange(path=Path(path), name=name, before=earlier, action="changed", backup=backup, notes=notes)


def check_notebook_kernel(path: str | Path, name: str) -> NotebookChange:
    """Say which kernel a notebook asks for and, in `needed`, whether that is not `name`. Writes nothing."""
    name = check_kernel_name(name).lower()
    earlier = _name(ipynb.read(path).kernelspec)
    return NotebookChange(
        path=Path(path), name=name, before=earlier, action="already there" if earlier == name else "differs"
    )


def restore_notebook(path: str | Path) -> NotebookChange:
    """Put a notebook back as it was before `set_notebook_kernel`, byte for byte: its newest backup takes its place.

    Raises NotebookError when there is no backup, or when more than the kernel has changed since, which would be lost.
    """
    notebook = ipynb.read(path)
    backup = _newest_backup(notebook.path)
    if backup is None:
        msg = f"{short(path)} has no backup: there is no {notebook.path.name}.bak beside it"
        raise NotebookError(msg, hint="set_notebook_kernel() makes one whenever it changes a notebook")
    if not _is_original(backup, notebook):
        msg = f"{short(path)} has been edited since {backup.name} was made, and restoring it would lose that"
        raise NotebookError(msg, hint=f"set the old kernel's name instead, or copy {backup.name} over it yourself")
    ipynb.require_writable(notebook)
    original = _name(ipynb.read(backup).kernelspec)
    _files.move(backup, notebook.path)
    return NotebookChange(path=Path(path), name=original, before=_name(notebook.kernelspec), action="restored")


def _kernelspec(content: Mapping[str, Any]) -> dict[str, Any]:
    kernelspec = content.get("metadata", {}).get("kernelspec")
    return kernelspec if isinstance(kernelspec, dict) else {}


def _name(kernelspec: Mapping[str, Any]) -> str | None:
    name = kernelspec.get("name")
    return str(name) if name else None


def _registered_display_name(name: str) -> str | None:
    for file in (Machine.detect().jupyter / "kernels").glob("*/kernel.json"):
        spec = _files.read_json(file) if file.parent.name.lower() == name else None
        if isinstance(spec, dict) and isinstance(spec.get("display_name"), str):
            return str(spec["display_name"])
    return None


def _unregistered(name: str) -> tuple[str, ...]:
    """Return the note on a kernel that this machine does not have: it may be meant for another one, or misspelt."""
    names = [kernel.name for kernel in registered(Machine.detect())]
    return () if name in names else (f"no kernel {name!r} is registered on this machine; {suggest(name, names)}",)


def _notes(content: dict[str, Any]) -> tuple[str, ...]:
    from nbformat.validator import iter_validate

    # What an editor wrote is not ours to refuse: Colab and Jupyter open such notebooks too.
    try:
        error = next(iter_validate(content, relax_add_props=True), None)  # type: ignore[no-untyped-call]
    except (TypeError, KeyError, AttributeError):  # it joins words to what is none, such as a cell_type of 1.5
        return ("nbformat cannot read this notebook, as it was before: a field has another type",)
    summary = error.message.splitlines()[0] if error and error.message else ""
    return (f"nbformat calls this notebook invalid, as it was before: {summary}",) if error else ()


def _replace(notebook: ipynb.NotebookFile, text: str) -> Path:
    ipynb.require_writable(notebook)
    with _backed_up(notebook, text) as backup:
        ipynb.replace_text(notebook, text)  # which looks again: the copy took its time
    return backup


@contextlib.contextmanager
def _backed_up(notebook: ipynb.NotebookFile, text: str) -> Iterator[Path]:
    newest = _newest_backup(notebook.path)
    if newest is not None and _is_original(newest, notebook):
        yield newest
        return
    backup = _free_backup(notebook.path)
    copying = backup.with_name(f".{backup.name}.copying")
    try:
        _files.copy(notebook.path, copying)
        _files.move(copying, backup)
        yield backup
    except BaseException:
        _files.remove(copying)
        # The stop button may come just after the notebook has been replaced.
        if notebook.path.read_bytes() != text.encode():
            _files.remove(backup)
        raise


def _backup(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.bak{number if number > 1 else ''}")


def _free_backup(path: Path) -> Path:
    number = 1
    while os.path.lexists(_backup(path, number)):
        number += 1
    return _backup(path, number)


def _newest_backup(path: Path) -> Path | None:
    number = 0
    while _backup(path, number + 1).is_file():
        number += 1
    return _backup(path, number) if number else None


def _is_original(backup: Path, notebook: ipynb.NotebookFile) -> bool:
    try:
        return _but_for_kernelspec(ipynb.read(backup).content) == _but_for_kernelspec(notebook.content)
    except NotebookError:
        return False


def _but_for_kernelspec(content: Mapping[str, Any]) -> dict[str, Any]:
    metadata = {key: value for key, value in content.get("metadata", {}).items() if key != "kernelspec"}
    return {**content, "metadata": metadata}


def _beside(file: Path, other: Path) -> str:
    return file.name if file.parent == Path(os.path.realpath(other.parent)) else short(file)


def _with_kernelspec(notebook: ipynb.NotebookFile, spec: dict[str, str]) -> str:
    bom = ipynb.BOM if notebook.text.startswith(ipynb.BOM) else ""
    text = notebook.text.removeprefix(ipynb.BOM)
    if notebook.kernelspec:
        for key, value in reversed(spec.items()):  # what is missing goes in front
            if notebook.kernelspec.get(key) != value:
                text = with_value(text, keys=("metadata", "kernelspec", key), value=value)
    else:
        text = with_value(text, keys=("metadata", "kernelspec"), value=spec)
    # The text was edited, not the parsed notebook: what came of it is compared, however the file is written.
    _require_only_kernelspec_changed(notebook, ipynb.parse(text), spec)
    return bom + text


def _require_only_kernelspec_changed(
    notebook: ipynb.NotebookFile, after: dict[str, Any], spec: Mapping[str, str]
) -> None:
    expected = {**notebook.kernelspec, **spec}
    if _but_for_kernelspec(after) != _but_for_kernelspec(notebook.content) or _kernelspec(after) != expected:
        msg = (
            f"{short(notebook.path)} is written in a way that this cannot change without touching more than the kernel"
        )
        raise NotebookError(msg, hint=f"save it once in Jupyter, then run the same call again; {_UNCHANGED}")
