"""Every small change of a module's text that its tests should notice."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
_OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}
# What only tells a person something: its texts are claims of few tests, by intention.
_TELLING = ("_report", "warnings")


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One change: `text` is the whole module with it; `before` and `after` are its line, which name it in a table."""

    room: str
    function: str
    lines: range
    before: str
    after: str
    text: str

    @property
    def key(self) -> tuple[str, str, str, str]:
        return self.room, self.function, self.before, self.after


def mutants(package: Path, room: str) -> list[Mutant]:
    """Return all mutants of a module, such as `locks/pdm`, of the package in a directory."""
    source = (package / f"{room}.py").read_text(encoding="utf-8")
    return list(_Mutations(room, source).of(ast.parse(source), ""))


class _Mutations:
    def __init__(self, room: str, source: str) -> None:
        self.room, self.lines = room, source.encode().splitlines(keepends=True)

    def of(self, node: ast.AST, function: str) -> Iterator[Mutant]:
        """Yield the mutants of a node and of all that is in it, but for annotations, docstrings and messages."""
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            function = f"{function}.{node.name}".lstrip(".")
        if isinstance(node, (ast.stmt, ast.expr)):
            for target, changed in _changes(node):
                yield self._mutant(target, changed, function)
        for child in _children(node):
            yield from self.of(child, function)

    def _mutant(self, node: ast.stmt | ast.expr, changed: ast.AST, function: str) -> Mutant:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        first, last = node.lineno - 1, node.end_lineno - 1
        # A key in a `match` may not have parentheses, and a constant needs none.
        written = f"({ast.unparse(changed)})" if isinstance(node, ast.expr) else ast.unparse(changed)
        written = written[1:-1] if isinstance(changed, ast.Constant) else written
        head, tail = self.lines[first][: node.col_offset], self.lines[last][node.end_col_offset :]
        replaced = head + written.encode() + tail
        text = b"".join([*self.lines[:first], replaced, *self.lines[last + 1 :]]).decode()
        before = b" ".join(line.strip() for line in self.lines[first : last + 1]).decode()
        return Mutant(
            room=self.room,
            function=function,
            lines=range(node.lineno, node.end_lineno + 1),
            before=before,
            after=replaced.decode().strip(),
            text=text,
        )


def _children(node: ast.AST) -> Iterator[ast.AST]:
    # Positions inside an f-string are wrong before Python 3.12; decorators and annotations are mypy's.
    if isinstance(node, (ast.JoinedStr, ast.Raise)) or _only_tells(node):
        return
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "bases", "names"):
            continue
        for child in value if isinstance(value, list) else [value]:
            is_text = isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant)
            if isinstance(child, ast.AST) and not is_text:
                yield child


def _only_tells(node: ast.AST) -> bool:
    call = node.value if isinstance(node, ast.Expr) else node
    if not isinstance(call, ast.Call):
        return False
    owner = call.func.value if isinstance(call.func, ast.Attribute) else call.func
    return isinstance(owner, ast.Name) and owner.id in _TELLING


def _changes(node: ast.stmt | ast.expr) -> Iterator[tuple[ast.stmt | ast.expr, ast.AST]]:  # noqa: C901  (a table)
    """Yield a part of the module and what may stand in its place; what is inside `node` has changes of its own."""
    match node:
        case ast.Compare(ops=[operator]) if type(operator) in _COMPARISONS:
            yield node, _with(node, ops=[_COMPARISONS[type(operator)]()])
        case ast.BoolOp():
            yield node, _with(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())
        case ast.UnaryOp(op=ast.Not()):
            yield node, node.operand
        case ast.BinOp(op=operator) if type(operator) in _OPERATORS:
            yield node, _with(node, op=_OPERATORS[type(operator)]())
        case ast.Constant(value=bool()):
            yield node, _with(node, value=not node.value)
        case ast.Constant(value=int()):
            yield node, _with(node, value=node.value + 1)
        case ast.Constant(value=str()) if node.value and not any(sign in node.value for sign in " \n"):
            yield node, _with(node, value=f"{node.value}x")
        case ast.Return(value=ast.expr()) if not isinstance(node.value, ast.Constant):
            yield node, _with(node, value=ast.Constant(None))
        case ast.Expr(value=ast.Call()) if not _only_tells(node):
            yield node, ast.Pass()
        case ast.Raise() | ast.AugAssign():
            yield node, ast.Pass()
        case ast.Break():
            yield node, ast.Continue()
        case ast.Continue():
            yield node, ast.Break()
        case ast.If(test=test) | ast.IfExp(test=test) if isinstance(test, (ast.Name, ast.Call, ast.Attribute)):
            yield test, ast.UnaryOp(ast.Not(), test)


def _with(node: ast.AST, **fields: object) -> ast.AST:
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed
