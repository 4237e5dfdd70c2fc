"""Which packages the cells of a notebook import and it does not ask for. Pure: cells are read, never run."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from colab_env import package_names

_OTHER_CELL = re.compile(r"\s*%%(?!(?:capture|time|timeit)\b)")
# What IPython understands and Python does not: commands, magics, what they are assigned to, and questions such as `obj?`.
_NOT_PYTHON = re.compile(r"^([ \t]*)(?:(?:[\w., ]+=\s*)?[!%]|\?|[\w.]+\?{1,2}\s*$).*", re.MULTILINE)


def packages(cells: Sequence[tuple[int, str]], *, asked: Collection[str], directory: Path) -> tuple[str, ...]:
    """Return the packages that are imported and not among those `asked` for, by normalized names, in the order of the cells.

    Only imports whose packages are known: of another name, the author may have a module, and the index a stranger's package.
    What may be missing, since a `try` says so, and what is a file in `directory`, the notebook's, is not among them.
    """
    modules = dict.fromkeys(module for _, source in cells for module in _imports(source))
    names = [
        name
        for module in modules
        if (name := package_names.of_import(module))
        and not (directory / f"{module}.py").exists()
        and not (directory / module).is_dir()
    ]
    return tuple(name for name in dict.fromkeys(names) if name not in asked)


def _imports(source: str) -> Iterator[str]:
    """Give the first part of each module's name that a cell imports."""
    if _OTHER_CELL.match(source):
        return
    text = _NOT_PYTHON.sub(r"\1pass", source)
    try:
        trees = [ast.parse(text)]
    except (SyntaxError, ValueError, RecursionError):
        trees = [tree for line in text.splitlines() if (tree := _import_line(line)) is not None]
    for tree in trees:
        optional = {id(inner) for node in ast.walk(tree) if _expects_missing(node) for inner in ast.walk(node)}
        for node in ast.walk(tree):
            if id(node) in optional:
                continue
            if isinstance(node, ast.Import):
                yield from (alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield node.module.partition(".")[0]


def _import_line(line: str) -> ast.Module | None:
    """Return a line of a cell that as a whole is not Python, if it imports something by itself."""
    try:
        return ast.parse(line.strip()) if re.match(r"\s*(?:import|from)\s", line) else None
    except (SyntaxError, ValueError):
        return None


def _expects_missing(node: ast.AST) -> bool:
    if not isinstance(node, ast.Try):
        return False
    caught = [ast.unparse(handler.type) if handler.type else "Exception" for handler in node.handlers]
    return any(re.search(r"\b(?:ImportError|ModuleNotFoundError|Exception)\b", text) for text in caught)
