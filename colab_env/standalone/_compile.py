"""Compile what the first imports of an environment's packages will need, exactly as these imports would.

Runs under the environment's Python: `_compile.py DIRECTORY MARK WORKERS [--behind]`. It follows the imports at the top of
each module, from the packages' own modules on; what nothing imports, such as tests, stays as it is. `--behind` returns at
once and goes on in processes of low priority, to the modules one level below too. All share MARK's lock and stop, after the
file at hand, when MARK is deleted, when something is installed or deleted in DIRECTORY, or when it is another one.
"""

import contextlib
import dis
import fcntl
import mmap
import os
import sys
import warnings
from importlib.machinery import SourceFileLoader
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
    """Compiles modules below one site-packages, which is the current directory, and those that they import.

    Its copies in forked processes share the work: `_taken` has a byte for each module, which whoever compiles it sets.
    """

    def __init__(self, directory: str, mark: str, sources: "dict[str, str]") -> None:
        self._directory = directory
        self._mark = mark
        self._here = _identity(".")
        self._is_over = False
        self._sources = {name: (number, path) for number, (name, path) in enumerate(sources.items())}
        self._taken = mmap.mmap(-1, len(sources) or 1)
        self._seen = set()  # type: set[str]

    def follow(self, *names: str) -> None:
        """Compile modules, one after the other, each with all that its import brings."""
        waiting = [*reversed(names)]
        while waiting:
            current = waiting.pop()
            if current not in self._seen:
                self._seen.add(current)
                # Backwards from the name: what is above it is compiled first, as an import does.
                waiting += [*self._imports_of(current), *filter(None, [current.rpartition(".")[0]])]

    def _imports_of(self, name: str) -> "list[str]":
        number, path = self._sources.get(name, (0, ""))
        if not path or self._taken[number]:
            return []
        # Two that take it at the same moment compile the same.
        self._taken[number] = 1
        self._is_over = self._is_over or not (os.path.exists(self._mark) and self._here == _identity(self._directory))  # noqa: PTH110
        if self._is_over:
            return []
        try:
            code = _Loader(self._directory, path).get_code("it")
            package = name if path.endswith("__init__.py") else name.rpartition(".")[0]
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


def prepare() -> "dict[str, str]":
    """Make the directories for compiled files, all at once and first; return each module's source by its name."""
    sources = {}
    for directory, directories, names in os.walk("."):
        parts = directory.split("/")[1:]
        is_passed_over = parts[:1] and parts[0] in _PASSED_OVER
        # In place: os.walk goes down into what is left in this list.
        directories[:] = [] if is_passed_over else [name for name in directories if name != "__pycache__"]
        modules = [] if is_passed_over else [name[:-3] for name in names if name.endswith(".py")]
        for name in modules:
            path = "/".join([*parts, name + ".py"])
            if name == "__init__":
                sources[".".join(parts)] = path
            else:
                sources.setdefault(".".join([*parts, name]), path)  # a package comes before a module
        if modules:
            with contextlib.suppress(OSError):
                os.mkdir(f"{directory}/__pycache__")  # noqa: PTH102
    return sources


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


def roots(sources: "dict[str, str]", *, is_deep: bool) -> "list[str]":
    """Return the modules to begin with: those of most notebooks, the packages' own, and if deep, those one level below."""
    top, below = [], []
    for entry in sorted(os.scandir("."), key=lambda entry: entry.name):
        name, _, suffix = entry.name.partition(".")
        if suffix in ("", "py") and name.isidentifier() and name not in _PASSED_OVER:
            top.append(name)
            inside = [item.name for item in os.scandir(name) if item.is_dir()] if is_deep and not suffix else []
            below += [f"{name}.{child}" for child in sorted(inside) if child not in _PASSED_OVER]
    return [name for name in (*_FIRST, *top, *below) if name in sources]


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
        sources = prepare()
        compiler = Compiler(directory, mark, sources)
        names = roots(sources, is_deep=is_behind)
        children = []
        for number in range(1, workers):
            child = os.fork()
            if not child:
                # Each begins with another one, and passes over what the others have taken.
                compiler.follow(*names[number:], *names[:number])
                return
            children.append(child)
        compiler.follow(*names)
        for child in children:
            os.waitpid(child, 0)


def _leave() -> None:
    """Belong to nobody: no terminal, no pipe that somebody reads to its end."""
    os.setsid()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(nowhere, descriptor)
    os.nice(_NICENESS)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), is_behind="--behind" in sys.argv[4:])
