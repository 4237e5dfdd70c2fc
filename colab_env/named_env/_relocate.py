"""Move an environment: rewrite the paths inside it, and exchange two directories in one instant."""

from __future__ import annotations

import ctypes
import errno
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from colab_env import _files

_AT_FDCWD = -100
_NAME_ENDS = rb"(?![A-Za-z0-9._-])"
_EXCHANGE = 2  # RENAME_EXCHANGE, renameat2(2)


def rewrite(directory: Path, *, paths: Mapping[Path, Path], prompt: tuple[str, str]) -> list[str]:
    """Make the programs, activation scripts and kernel files in `directory` say its new paths and its new prompt.

    Return which files were changed, by their path in the directory.
    """
    rewritten = []
    after = {os.fsencode(old): os.fsencode(new) for old, new in paths.items()}
    found = re.compile(b"(" + b"|".join(map(re.escape, after)) + b")" + _NAME_ENDS)
    old, new = map(os.fsencode, prompt)
    prompts = re.compile(rb"(?i)(prompt['\"]?[ =:(]*['\"(]?|\[ \"x)" + re.escape(old) + _NAME_ENDS)
    for path in _files_with_paths(directory):
        content = path.read_bytes()
        if b"\0" not in content[:1024]:
            changed = found.sub(lambda match: after[match[1]], content)
            changed = prompts.sub(lambda match: match[1] + new, changed)
            if changed != content:
                _replace(path, changed)
                rewritten.append(str(path.relative_to(directory)))
    return rewritten


def exchange(one: Path, other: Path) -> None:
    """Let two directories, or links, change names; where the file system can, neither name is missing at any moment.

    Where it cannot, `recover` knows what a run that is killed in between leaves.
    """
    with _files.translate_os_errors(one):
        if not _exchanged(one, other):
            _files.exchange(one, other)


def _exchanged(one: Path, other: Path) -> bool:
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:
        return False
    if renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EXDEV):
        return False
    raise OSError(code, os.strerror(code), str(one))


def _files_with_paths(directory: Path) -> Iterator[Path]:
    for pattern in ("pyvenv.cfg", "bin/*", "share/jupyter/kernels/*/*.json"):
        yield from (path for path in directory.glob(pattern) if path.is_file() and not path.is_symlink())


def _replace(path: Path, content: bytes) -> None:
    # A new file instead of new text in the old one: that may be a hard link into the cache of uv.
    beside = path.with_name(f".{path.name}.new")
    beside.write_bytes(content)
    beside.chmod(path.stat().st_mode & 0o7777)
    beside.replace(path)
