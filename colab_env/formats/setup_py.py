"""setup.py or setup.cfg without a lock file: the project itself, and what its build says that it needs; uv builds it.

So is a pyproject.toml that leaves name and dependencies to its build backend, such as flit's older kind.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from colab_env import _files
from colab_env.errors import CommandError, UsageError
from colab_env.locks import installing
from colab_env.locks.lock_format import LockFile, LockFormat
from colab_env.results import short

if TYPE_CHECKING:
    from colab_env.locks.installing import Selection
    from colab_env.machine import Machine

_NO_EXTRA = re.compile(r"Requested extras? not found: ([\w.-]+)")
_SETUP = re.compile(rb"(?m)setuptools|distutils|^(?:\w+\.|[ \t]*)setup[ \t]*\(")
_MODULE = re.compile(rb"(?m)^(?:async def|class|def|from|import)\s")
_FILES = ("setup.py", "setup.cfg", "pyproject.toml")
# In setup.py a whole text: what is put together, as nbdev does it, is known when it runs.
_PYTHON = {
    "setup.py": re.compile(r"""(?m)^[^#\n]*\bpython_requires\s*=\s*(["'])([<>=!~][^"'#\n]*)\1[ \t]*(?:[,)#]|$)"""),
    "setup.cfg": re.compile(r"(?m)^()[ \t]*python_requires\s*=\s*([<>=!~][^#\n]*)"),
}


class SetupPy(LockFormat):
    """A package that only its build describes. Its files are left alone: no pyproject.toml is written beside them."""

    name = "setup.py"
    rank = 75
    file_names = ("setup.py", "setup.cfg", "pyproject.toml")
    options = frozenset({"extras", "keep", "isolated"})
    is_loose = True
    names_python = True

    def matches(self, name: str) -> bool:
        return name in self.file_names

    def is_one(self, lock: LockFile) -> bool:
        if lock.path.name == "setup.cfg":  # many a one holds the settings of a linter alone
            return re.search(rb"(?m)^\[(metadata|options)\]", lock.content) is not None
        if lock.path.name == "setup.py":  # many a module of an application has the name, too
            return _SETUP.search(lock.content) is not None or _MODULE.search(lock.content) is None
        return lock.pyproject.is_named_by_backend

    def inputs(self, lock: LockFile) -> list[tuple[str, bytes]]:
        return [(name, _files.content(lock.directory / name) or b"") for name in _FILES]

    def requires_python(self, lock: LockFile) -> str | None:
        texts = {name: content.decode("utf-8", "replace") for name, content in self.inputs(lock)}
        matches = (pattern.search(texts[name]) for name, pattern in _PYTHON.items())
        specifier = next((match[2].strip() for match in matches if match), None)
        return specifier or lock.pyproject.requires_python

    def export(
        self, lock: LockFile, selection: Selection, *, python: Path, machine: Machine, editable: bool = True
    ) -> str:
        installer = installing.installer(machine, pyproject=lock.pyproject)
        try:
            text = installer.compile(lock.path, python=python, extras=selection.extras)
        except CommandError as error:
            if match := next((line_match for line in error.lines if (line_match := _NO_EXTRA.search(line))), None):
                msg = f"{short(lock.path)} has no extra {match[1]!r}"
                raise UsageError(msg, hint="its `extras_require` names those that there are") from error
            raise
        # uv's answer has what the project needs, and not the project itself.
        return f"{text}{'-e ' if editable else ''}{lock.directory.as_uri()}\n"
