"""A notebook file on the disk: read, called what it is where it is no notebook, and replaced."""

from __future__ import annotations

import difflib
import fcntl
import json
import os
import re
import shlex
import signal
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from colab_env import _files
from colab_env.errors import NotebookBusyError, NotebookError, NotebookVersionError, NotWritableError
from colab_env.results import as_word, short

_UNCHANGED = "nothing was changed"
BOM = "\ufeff"  # some editors write it, and json refuses it


@dataclass(frozen=True, kw_only=True)
class NotebookFile:
    """A notebook as one call reads it."""

    path: Path  # where the bytes are, links followed
    text: str
    content: dict[str, Any]
    signature: tuple[int, ...]

    @property
    def kernelspec(self) -> dict[str, Any]:
        kernelspec = self.content.get("metadata", {}).get("kernelspec")
        return kernelspec if isinstance(kernelspec, dict) else {}


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
        by_stem = {Path(name).stem: name for name in names}  # the ending alone would make all names alike
        near = [by_stem[stem] for stem in difflib.get_close_matches(Path(path).stem, by_stem, n=1)]
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


def replace_text(notebook: NotebookFile, text: str) -> None:
    """Write another text into a notebook that nobody has changed since it was read. Raises NotWritableError, NotebookBusyError."""
    require_writable(notebook)
    _files.write_text(notebook.path, text)


def require_writable(notebook: NotebookFile) -> None:
    """Raise NotWritableError or NotebookBusyError where another text cannot be written now."""
    _require_writable(notebook.path)
    _require_undisturbed(notebook)


def _require_writable(path: Path) -> None:
    # The mode counts even for root, whom the system lets write anything: whoever took the right away meant it.
    for target in (path, path.parent):
        if not target.stat().st_mode & 0o222 or not os.access(target, os.W_OK):
            msg = f"{short(target)} is read-only"
            raise NotWritableError(msg, hint=f"chmod u+w {as_word(target)}, or work on a copy; {_UNCHANGED}")


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
