"""Which kernel a notebook file asks for: say it, change it and nothing else, take it back."""

from __future__ import annotations

import contextlib
import difflib
import fcntl
import json
import os
import re
import shlex
import signal
import stat
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from colab_env import _files
from colab_env.errors import NotebookBusyError, NotebookError, NotebookVersionError, NotWritableError
from colab_env.json_text import with_value
from colab_env.jupyter.kernelspec import check_kernel_name, registered
from colab_env.machine import Machine
from colab_env.results import as_word, short, suggest

_UNCHANGED = "nothing was changed"
BOM = "\ufeff"  # some editors write it, and json refuses it
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


@dataclass(frozen=True, kw_only=True)
class NotebookFile:
    """A notebook as one call reads it."""

    path: Path  # where the bytes are, links followed
    text: str
    content: dict[str, Any]
    signature: tuple[int, ...]

    @property
    def kernelspec(self) -> dict[str, Any]:
        return _kernelspec(self.content)


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
    notebook = read(path)
    before = _name(notebook.kernelspec)
    if before == name and display_name in (None, notebook.kernelspec.get("display_name")):
        return NotebookChange(path=Path(path), name=name, before=before, action="already there")
    spec = {"display_name": display_name or _registered_display_name(name) or name, "language": language, "name": name}
    text = _with_kernelspec(notebook, spec)
    notes = (*_notes(parse(text)), *_unregistered(name))
    backup = _replace(notebook, text)
    return NotebookChange(path=Path(path), name=name, before=before, action="changed", backup=backup, notes=notes)


def check_notebook_kernel(path: str | Path, name: str) -> NotebookChange:
    """Say which kernel a notebook asks for and, in `needed`, whether that is not `name`. Writes nothing."""
    name = check_kernel_name(name).lower()
    before = _name(read(path).kernelspec)
    return NotebookChange(
        path=Path(path), name=name, before=before, action="already there" if before == name else "differs"
    )


def restore_notebook(path: str | Path) -> NotebookChange:
    """Put a notebook back as it was before `set_notebook_kernel`, byte for byte: its newest backup takes its place.

    Raises NotebookError when there is no backup, or when more than the kernel has changed since, which would be lost.
    """
    notebook = read(path)
    backup = _newest_backup(notebook.path)
    if backup is None:
        msg = f"{short(path)} has no backup: there is no {notebook.path.name}.bak beside it"
        raise NotebookError(msg, hint="set_notebook_kernel() makes one whenever it changes a notebook")
    if not _is_original(backup, notebook):
        msg = f"{short(path)} has been edited since {backup.name} was made, and restoring it would lose that"
        raise NotebookError(msg, hint=f"set the old kernel's name instead, or copy {backup.name} over it yourself")
    _require_writable(notebook.path)
    _require_undisturbed(notebook)
    original = _name(read(backup).kernelspec)
    _files.move(backup, notebook.path)
    return NotebookChange(path=Path(path), name=original, before=_name(notebook.kernelspec), action="restored")


def read(path: str | Path) -> NotebookFile:
    """Read a notebook file. Raises NotebookError, NotebookVersionError."""
    target = Path(os.path.realpath(path))  # a rename onto a symbolic link would replace the link
    raw, signature = _read_bytes(path)
    try:
        text = raw.decode()
        content = parse(text)
    except UnicodeDecodeError as error:
        msg = f"{short(path)} is not a notebook: its text is not UTF-8 (byte {error.start})"
        raise NotebookError(msg, hint=f"save it as UTF-8; {_UNCHANGED}") from error
    except RecursionError as error:
        msg = f"{short(path)} is not a notebook: its JSON is nested too deeply to be read"
        raise NotebookError(msg, hint=f"check the path, or fetch the file anew; {_UNCHANGED}") from error
    except ValueError as error:
        raise _not_json(path, text, error) from error
    _require_version_4(path, content)
    return NotebookFile(path=target, text=text, content=content, signature=signature)


def _read_bytes(path: str | Path) -> tuple[bytes, tuple[int, ...]]:
    try:
        mode = Path(path).stat().st_mode  # before it is opened, for that would wait for whoever writes into a FIFO
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            msg = f"{short(path)} is no regular file"
            raise NotebookError(msg, hint=f"a notebook is a file that ends in .ipynb; {_UNCHANGED}")
        with Path(path).open("rb") as handle:
            return handle.read(), _signature(os.fstat(handle.fileno()))
    except OSError as error:
        raise _unreadable(str(path), error) from error


def _not_json(path: str | Path, text: str, error: ValueError) -> NotebookError:
    """Return the error for a file that is no notebook, with what it may be instead."""
    if Path(path).suffix == ".py":
        hint = f"run it with the packages that its block names: `colab-env run --script {as_word(path)}`"
        return NotebookError(f"{short(path)} is a Python script, not a notebook", hint=hint)
    if not text.strip() or text.lstrip()[:5].lower() in ("<html", "<!doc"):
        what = "a web page" if text.strip() else "empty"
        hint = f"download the notebook itself (on GitHub: the button Raw, or Download); {_UNCHANGED}"
        return NotebookError(f"{short(path)} is {what}, not a notebook", hint=hint)
    hint = "open it in a text editor at that place (marks of a git conflict?), or fetch it anew"
    if text.endswith("}\\n"):  # `juv run` of a locked notebook, in juv 0.5.0
        hint = "it ends with a backslash and an n, as juv 0.5.0 leaves it: delete these two characters"
    return NotebookError(f"{short(path)} is not a notebook: it is not JSON ({error})", hint=f"{hint}; {_UNCHANGED}")


def _unreadable(path: str, error: OSError) -> NotebookError:
    """Return the error for a path at which no notebook can be read, with the names that may have been meant."""
    if "://" in path:
        raw = re.sub(r"//github\.com/([^/]+/[^/]+)/blob/", r"//raw.githubusercontent.com/\1/", path).replace(" ", "%20")
        hint = f"download it first: `curl -LO {shlex.quote(raw)}`; then name the file"
        return NotebookError(f"{path} is an address, not a file", hint=hint)
    where = Path(path) if isinstance(error, IsADirectoryError) else Path(path).parent
    names = sorted(file.name for file in where.glob("*.ipynb")) if where.is_dir() and os.access(where, os.R_OK) else []
    if isinstance(error, IsADirectoryError):
        listed = " or ".join(as_word(where / name) for name in names[:2])
        hint = (
            f"name a notebook in it: {listed}"
            if names
            else "there is no notebook in it; name a file that ends in .ipynb"
        )
        return NotebookError(f"{short(path)} is a directory, not a notebook", hint=f"{hint}; {_UNCHANGED}")
    if Path(path).is_symlink():
        return NotebookError(
            f"{short(path)} is a link to {Path(path).readlink()}, which is not there",
            hint=f"mend the link; {_UNCHANGED}",
        )
    if isinstance(error, FileNotFoundError):
        near = difflib.get_close_matches(Path(path).name, names, n=1)
        hint = (
            f"did you mean {as_word(where / near[0])}?"
            if near
            else f"check the path: a notebook is a file that ends in .ipynb; {_UNCHANGED}"
        )
        return NotebookError(f"there is no notebook {short(path)}", hint=hint)
    return NotebookError(f"cannot read {short(path)}: {error.strerror}", hint=f"check who may read it; {_UNCHANGED}")


def parse(text: str) -> Any:
    """Return what the text of a notebook says, as plain values."""
    # NaN is no JSON, but many an output has it. As text, for it is not equal to itself and could not be compared.
    return json.loads(text.removeprefix(BOM), parse_constant=str)


def _signature(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _require_version_4(path: str | Path, content: Any) -> None:
    if not isinstance(content, dict) or "nbformat" not in content:
        msg = f"{short(path)} is JSON, but not a notebook: it has no nbformat"
        raise NotebookError(msg, hint=f"check the path; {_UNCHANGED}")
    version = content["nbformat"]
    if version != 4:
        msg = f"{short(path)} is a notebook of format {version!r}, and this works on format 4"
        convert = f"jupyter nbconvert --to notebook --nbformat 4 --inplace {as_word(path)}"
        hint = f"convert it: {convert}" if version in (1, 2, 3) else "save it in format 4"
        raise NotebookVersionError(msg, hint=f"{hint}; {_UNCHANGED}")
    if type(content.get("nbformat_minor", 0)) is not int:
        msg = f"{short(path)} says that it is a notebook, but its nbformat_minor is no whole number"
        raise NotebookError(msg, hint=f"open it in Jupyter or Colab and save it again; {_UNCHANGED}")
    if not isinstance(content.get("cells"), list) or not isinstance(content.get("metadata", {}), dict):
        msg = f"{short(path)} says that it is a notebook, but its `cells` are not a list, or its `metadata` is not an object"
        raise NotebookError(msg, hint=f"open it in Jupyter or Colab and save it again; {_UNCHANGED}")


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


def replace_text(notebook: NotebookFile, text: str) -> None:
    """Write another text into a notebook that nobody has changed since it was read. Raises NotWritableError, NotebookBusyError."""
    require_writable(notebook)
    _files.write_text(notebook.path, text)


def require_writable(notebook: NotebookFile) -> None:
    """Raise NotWritableError or NotebookBusyError where another text cannot be written now."""
    _require_writable(notebook.path)
    _require_undisturbed(notebook)


def _replace(notebook: NotebookFile, text: str) -> Path:
    require_writable(notebook)
    with _backed_up(notebook, text) as backup:
        replace_text(notebook, text)  # which looks again: the copy took its time
    return backup


def _require_writable(path: Path) -> None:
    # The mode counts even for root, whom the system lets write anything: whoever took the right away meant it.
    for target in (path, path.parent):
        if not target.stat().st_mode & 0o222 or not os.access(target, os.W_OK):
            msg = f"{short(target)} is read-only"
            raise NotWritableError(msg, hint=f"chmod u+w {short(target)}, or work on a copy; {_UNCHANGED}")


def _require_undisturbed(notebook: NotebookFile) -> None:
    with notebook.path.open("rb") as handle:
        if _signature(os.fstat(handle.fileno())) != notebook.signature:
            msg = f"another program has changed {short(notebook.path)} just now"
            raise NotebookBusyError(msg, hint="wait until it has finished, then run the same call again")
        if _is_open_for_writing(handle.fileno()):
            msg = f"another program has {short(notebook.path)} open for writing"
            raise NotebookBusyError(msg, hint=f"close it there, then run the same call again; {_UNCHANGED}")


def _is_open_for_writing(descriptor: int) -> bool:
    # Linux grants a read lease only on a file that nobody has open for writing: fcntl(2), "Leases". SIGURG, which is
    # ignored by default, instead of SIGIO, which ends the process: somebody may open the file while we hold the lease.
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except BlockingIOError:
        return True
    except OSError:  # somebody else's file, or a file system without leases: it cannot be told
        return False
    return False


@contextlib.contextmanager
def _backed_up(notebook: NotebookFile, text: str) -> Iterator[Path]:
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


def _is_original(backup: Path, notebook: NotebookFile) -> bool:
    try:
        return _but_for_kernelspec(read(backup).content) == _but_for_kernelspec(notebook.content)
    except NotebookError:
        return False


def _but_for_kernelspec(content: Mapping[str, Any]) -> dict[str, Any]:
    metadata = {key: value for key, value in content.get("metadata", {}).items() if key != "kernelspec"}
    return {**content, "metadata": metadata}


def _beside(file: Path, other: Path) -> str:
    return file.name if file.parent == Path(os.path.realpath(other.parent)) else short(file)


def _with_kernelspec(notebook: NotebookFile, spec: dict[str, str]) -> str:
    bom = BOM if notebook.text.startswith(BOM) else ""
    text = notebook.text.removeprefix(BOM)
    if notebook.kernelspec:
        for key, value in reversed(spec.items()):  # what is missing goes in front
            if notebook.kernelspec.get(key) != value:
                text = with_value(text, keys=("metadata", "kernelspec", key), value=value)
    else:
        text = with_value(text, keys=("metadata", "kernelspec"), value=spec)
    # The text was edited, not the parsed notebook: what came of it is compared, however the file is written.
    _require_only_kernelspec_changed(notebook, parse(text), spec)
    return bom + text


def _require_only_kernelspec_changed(notebook: NotebookFile, after: dict[str, Any], spec: Mapping[str, str]) -> None:
    expected = {**notebook.kernelspec, **spec}
    if _but_for_kernelspec(after) != _but_for_kernelspec(notebook.content) or _kernelspec(after) != expected:
        msg = (
            f"{short(notebook.path)} is written in a way that this cannot change without touching more than the kernel"
        )
        raise NotebookError(msg, hint=f"save it once in Jupyter, then run the same call again; {_UNCHANGED}")
