"""Compile what the first imports of an environment's packages will need, exactly as these imports would.

Runs under the environment's Python: `_compile.py DIRECTORY MARK WORKERS [--behind]`. It follows the imports at the top of
each module, from the packages' own modules on; what nothing imports, such as tests, stays as it is. `--behind` returns at
once and goes on in processes of low priority, to the modules one level below too. All share MARK's lock and stop, after the
file at hand, when MARK is deleted, when something is installed or deleted in DIRECTORY, or when it is another one.
"""

import contextlib
import dis
import fcntl
import os
import sys
import warnings
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

_NICENESS = 10  # a cell keeps nine tenths of a processor that it shares with this, and a stop is not waited for long
# What most notebooks import first, as far as their imports do not lead there by themselves.
_FIRST = (
    *("numpy", "pandas", "matplotlib.pyplot", "scipy.stats", "sklearn.model_selection", "sklearn.ensemble", "seaborn"),
    *("sklearn.linear_model", "scipy.signal", "scipy.optimize", "sklearn.metrics", "sklearn.preprocessing", "torch"),
    *("plotly.express", "tensorflow", "transformers"),
)
_PASSED_OVER = {"pip", "setuptools", "_distutils_hack", "pkg_resources", "wheel", "test", "tests", "testing"}


class _Loader(SourceFileLoader):
    """Python's own, for a path below the current directory; it makes no directory, so that what is deleted stays deleted."""

    def __init__(self, directory: str, path: str) -> None:
        super().__init__("it", path)
        self._directory = directory

    def source_to_code(self, data: Any, path: Any, **more: Any) -> Any:  # type: ignore[override]
        return super().source_to_code(data, f"{self._directory}/{path}", **more)

    def set_data(self, path: Any, data: Any, *, _mode: int = 0o666) -> None:
        scratch = f"{path}.{os.getpid()}"
        descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _mode & 0o666)
        try:
            os.write(descriptor, data)
        finally:
            os.close(descriptor)
        os.replace(scratch, path)  # noqa: PTH105


class Compiler:
    """Compiles modules below one site-packages, which is the current directory, and those that they import."""

    def __init__(self, directory: str, mark: str) -> None:
        self._directory = directory
        self._mark = mark
        self._here = _identity(".")
        self._is_over = False
        self._seen = set()  # type: set[str]

    def follow(self, name: str) -> None:
        """Compile a module and all that its import brings."""
        waiting = [name]
        while waiting:
            current = waiting.pop()
            parents = current.split(".")
            for length in range(1, len(parents) + 1):
                waiting.extend(self._imports_of(".".join(parents[:length])))

    def _imports_of(self, name: str) -> "list[str]":
        self._is_over = self._is_over or not (Path(self._mark).exists() and self._here == _identity(self._directory))
        if name in self._seen or self._is_over:
            return []
        self._seen.add(name)
        path = source_of(name)
        try:
            code = path and _Loader(self._directory, path).get_code("it")
            package = name if path and path.endswith("__init__.py") else name.rpartition(".")[0]
            return list(imported(code, package)) if code else []
        except OSError:  # somebody deletes it, or the disk is full
            self._is_over = True
        except Exception:  # noqa: BLE001, S110  what cannot be compiled, its import will say
            pass
        return []


def _identity(directory: str) -> "tuple[int, int] | None":
    """Return what changes when a directory is another one, or when a package is installed into it or removed from it."""
    try:
        status = os.stat(directory)  # noqa: PTH116
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def prepare() -> None:
    """Make the directories for compiled files, all at once and first."""
    for directory, directories, names in os.walk("."):
        top = directory.split("/")[1:2]
        is_passed_over = bool(top) and top[0] in _PASSED_OVER
        # In place: os.walk goes down into what is left in this list.
        directories[:] = [] if is_passed_over else [name for name in directories if name != "__pycache__"]
        if any(name.endswith(".py") for name in names):
            with contextlib.suppress(OSError):
                os.mkdir(f"{directory}/__pycache__")  # noqa: PTH102


def source_of(name: str) -> "str | None":
    """Return the source of a module, or None."""
    base = name.replace(".", "/")
    return next((path for path in (f"{base}/__init__.py", f"{base}.py") if Path(path).is_file()), None)


def imported(code: Any, package: str) -> "Any":
    """Return the names that the top of a module in a package imports, those of attributes too."""
    pushed = [None, None]  # type: list[Any]
    for instruction in dis.get_instructions(code):
        if instruction.opname == "IMPORT_NAME":
            level, names = pushed
            parts = package.split(".")
            parents = parts[: len(parts) - level + 1] if isinstance(level, int) and level else []
            name = ".".join([*parents, *([instruction.argval] if instruction.argval else [])])
            yield name
            yield from (f"{name}.{attribute}" for attribute in names or () if attribute != "*")
        if instruction.opname != "EXTENDED_ARG":
            pushed = [pushed[1], instruction.argval]


def roots(*, is_deep: bool) -> "list[str]":
    """Return the modules to begin with: those of most notebooks, the packages' own, and if deep, those one level below."""
    top, below = [], []
    for entry in sorted(os.scandir("."), key=lambda entry: entry.name):
        name, _, suffix = entry.name.partition(".")
        if suffix in ("", "py") and name.isidentifier() and name not in _PASSED_OVER:
            top.append(name)
            inside = [item.name for item in os.scandir(name) if item.is_dir()] if is_deep and not suffix else []
            below += [f"{name}.{child}" for child in sorted(inside) if child not in _PASSED_OVER]
    return [name for name in (*_FIRST, *top, *below) if source_of(name)]


def main(directory: str, mark: str, workers: int, *, is_behind: bool) -> None:
    with contextlib.suppress(FileNotFoundError), open(mark, "a") as lock:  # noqa: PTH123
        fcntl.flock(lock, fcntl.LOCK_SH)
        os.chdir(directory)
        if is_behind:
            if os.fork():
                return
            _leave()
        warnings.simplefilter("ignore")
        sys.setrecursionlimit(10_000)  # as deep as compilers of long expressions go
        prepare()
        children = []
        for number in range(1, workers):
            child = os.fork()
            if not child:
                _compile_share(directory, mark, share=slice(number, None, workers), is_deep=is_behind)
                return
            children.append(child)
        _compile_share(directory, mark, share=slice(0, None, workers), is_deep=is_behind)
        for child in children:
            os.waitpid(child, 0)


def _compile_share(directory: str, mark: str, *, share: slice, is_deep: bool) -> None:
    compiler = Compiler(directory, mark)
    for name in roots(is_deep=is_deep)[share]:
        compiler.follow(name)


def _leave() -> None:
    """Belong to nobody: no terminal, no pipe that somebody reads to its end."""
    os.setsid()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(nowhere, descriptor)
    os.nice(_NICENESS)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), is_behind="--behind" in sys.argv[4:])
