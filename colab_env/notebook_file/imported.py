"""Which packages the cells of a notebook import and it does not ask for. Pure: cells are read, never run."""

from __future__ import annotations

import ast
import re
import warnings
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
    whole = _parsed(text)
    lines = [line.strip() for line in text.splitlines() if re.match(r"\s*(?:import|from)\s", line)]
    for tree in filter(None, [whole] if whole else map(_parsed, lines)):
        optional = {id(inner) for node in ast.walk(tree) if _expects_missing(node) for inner in ast.walk(node)}
        for node in ast.walk(tree):
            if id(node) in optional:
                continue
            if isinstance(node, ast.Import):
                yield from (alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield node.module.partition(".")[0]


def _parsed(text: str) -> ast.Module | None:
    """Return the tree of a text, or None for what is not Python or nests too deep for its parser."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # such as those about "\d", which are for the notebook's author
        try:
            return ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None


def _expects_missing(node: ast.AST) -> bool:
    if not isinstance(node, ast.Try):
        return False
    caught = {
        name.id for each in node.handlers if each.type for name in ast.walk(each.type) if isinstance(name, ast.Name)
    }
    return not all(each.type for each in node.handlers) or not caught.isdisjoint(
        {"ImportError", "ModuleNotFoundError", "Exception"}
    )
