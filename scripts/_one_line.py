"""Every one-line mutant of a Python file, from its syntax tree: what scripts/mutants.py draws from."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COMPARED = {
    ast.Lt: ("<", "<="), ast.LtE: ("<=", "<"), ast.Gt: (">", ">="), ast.GtE: (">=", ">"), ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="), ast.Is: ("is", "is not"), ast.IsNot: ("is not", "is"), ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
}  # fmt: skip
COMPUTED = {
    ast.Add: ("+", "-"), ast.Sub: ("-", "+"), ast.Mult: ("*", "/"), ast.Div: ("/", "*"), ast.FloorDiv: ("//", "*"),
    ast.Mod: ("%", "//"), ast.Pow: ("**", "*"), ast.BitAnd: ("&", "|"), ast.BitOr: ("|", "&"), ast.LShift: ("<<", ">>"),
    ast.RShift: (">>", "<<"),
}  # fmt: skip
SWAPPED = {"min": "max", "max": "min", "minimum": "maximum", "maximum": "minimum", "any": "all", "all": "any"}
SWAPPED |= {"argmin": "argmax", "argmax": "argmin", "floor": "ceil", "ceil": "floor"}
UNSEEN = {"strict", "repr"}  # keywords that only guard against the program's own mistakes, or print
# an axis too high stops the program wherever the line runs at all: such mutants would say nothing of the tests
AXES = {"axis", "dim"}
BY_AXES = {"transpose", "sum", "any", "all", "permute", "unsqueeze", "squeeze"}


@dataclass(frozen=True, order=True)
class Site:
    """One mutant: the line as it stands, and as it would be."""

    file: str
    line: int
    operator: str
    after: str
    before: str


class Finder(ast.NodeVisitor):
    """Every one-line mutant of a syntax tree, in `found`; annotations, docstrings and messages are left as they are."""

    def __init__(self, file: str, text: str) -> None:
        self.file, self.lines = file, text.splitlines()
        self.found: list[Site] = []

    def offer(self, operator: str, line: int, start: int, end: int, new: str) -> None:
        """One line with the bytes `start` to `end` replaced; not where the file would not be Python any more."""
        before = self.lines[line - 1]
        raw = before.encode()
        after = (raw[:start] + new.encode() + raw[end:]).decode()
        try:
            ast.parse("\n".join([*self.lines[: line - 1], after, *self.lines[line:]]))
        except SyntaxError:
            return
        self.found.append(Site(self.file, line, operator, after, before))

    def replace(self, operator: str, node: ast.expr | ast.stmt, new: str) -> None:
        if node.lineno == node.end_lineno and node.end_col_offset is not None:
            self.offer(operator, node.lineno, node.col_offset, node.end_col_offset, new)

    def between(self, left: ast.expr | ast.stmt, right: ast.expr, old: str, new: str) -> None:
        """Replace the operator that stands between two expressions, on the line of the right one."""
        start = left.end_col_offset if left.end_lineno == right.lineno else 0
        gap = self.lines[right.lineno - 1].encode()[start : right.col_offset].decode()
        at = gap.find(old)
        if at >= 0 and start is not None:
            self.offer(f"{old} to {new}", right.lineno, start + at, start + at + len(old), new)

    def negate(self, test: ast.expr) -> None:
        """A condition without an operator of its own."""
        if isinstance(test, ast.Name | ast.Attribute | ast.Call | ast.Subscript):
            self.offer("condition negated", test.lineno, test.col_offset, test.col_offset, "not ")

    # -- what is left as it is -----------------------------------------------------------------------------------
    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        if node.name not in ("__repr__", "__str__"):
            for child in (*node.args.defaults, *filter(None, node.args.kw_defaults), *node.body):
                self.visit(child)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for child in node.body:
            self.visit(child)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def _leave(self, node: ast.AST) -> None:
        """Not looked into."""

    visit_Raise = visit_Assert = visit_JoinedStr = visit_Import = visit_ImportFrom = _leave  # noqa: N815

    # -- what is changed -----------------------------------------------------------------------------------------
    def visit_Compare(self, node: ast.Compare) -> None:
        for left, operator, right in zip([node.left, *node.comparators], node.ops, node.comparators, strict=False):
            self.between(left, right, *COMPARED[type(operator)])
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        texts = [part for part in (node.left, node.right) if isinstance(part, ast.JoinedStr | ast.Constant)]
        of_text = any(isinstance(part, ast.JoinedStr) or isinstance(part.value, str) for part in texts)
        if type(node.op) in COMPUTED and not of_text:
            self.between(node.left, node.right, *COMPUTED[type(node.op)])
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        old, new = COMPUTED.get(type(node.op), ("", ""))
        if old:
            self.between(node.target, node.value, f"{old}=", f"{new}=")
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        old, new = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        for left, right in zip(node.values, node.values[1:], strict=False):
            self.between(left, right, old, new)
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if node.operand.lineno == node.lineno and not isinstance(node.op, ast.UAdd):
            names = {ast.Not: "not dropped", ast.Invert: "~ dropped", ast.USub: "minus dropped"}
            self.offer(names[type(node.op)], node.lineno, node.col_offset, node.operand.col_offset, "")
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, bool):
            self.replace(f"{node.value} to {not node.value}", node, str(not node.value))
        elif isinstance(node.value, int):
            self.replace("integer + 1", node, str(node.value + 1))
        elif isinstance(node.value, float):
            self.replace("float doubled", node, str(node.value * 2 or 1.0))

    def visit_Subscript(self, node: ast.Subscript) -> None:
        if (
            isinstance(node.value, ast.Attribute)
            and node.value.attr == "shape"
            and not isinstance(node.slice, ast.Slice)
        ):
            self.visit(node.value)
        elif isinstance(node.slice, ast.UnaryOp) and isinstance(node.slice.operand, ast.Constant):
            self.replace("subscript -1 to 0", node.slice, "0")
            self.visit(node.value)
        else:
            self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        if name in SWAPPED and node.func.end_col_offset is not None and node.func.end_lineno is not None:
            end = node.func.end_col_offset
            self.offer(f"{name} to {SWAPPED[name]}", node.func.end_lineno, end - len(name), end, SWAPPED[name])
        of_axes = isinstance(node.func, ast.Attribute) and name in BY_AXES
        positional = [word for word in node.args if not (of_axes and isinstance(word, ast.Constant))]
        named = [word.value for word in node.keywords if word.arg not in UNSEEN | AXES]
        for child in (node.func, *positional, *named):
            self.visit(child)

    def visit_Dict(self, node: ast.Dict) -> None:
        for key, value in zip(node.keys, node.values, strict=True):
            if key is not None and not isinstance(value, ast.Constant):
                self.replace("entry to None", value, "None")
        self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Call):
            self.replace("call dropped", node, "pass")
        self.generic_visit(node)

    def _conditioned(self, node: Any) -> None:
        for test in node.ifs if isinstance(node, ast.comprehension) else [node.test]:
            self.negate(test)
        self.generic_visit(node)

    visit_If = visit_IfExp = visit_While = visit_comprehension = _conditioned  # noqa: N815


def sites(tree: Path, file: str, functions: Sequence[str]) -> list[Site]:
    """Every mutant of a file, or of some of its functions (`name`, `Class.name`), in the order of its lines."""
    text = (tree / file).read_text(encoding="utf-8")
    finder, parsed = Finder(file, text), ast.parse(text)
    named = {
        f"{outer.name}.{inner.name}" if isinstance(outer, ast.ClassDef) else inner.name: inner
        for outer in (parsed, *parsed.body)
        for inner in getattr(outer, "body", [])
        if isinstance(inner, ast.FunctionDef)
    }
    for part in [named[name] for name in functions] if functions else [parsed]:
        finder.visit(part)
    return sorted(set(finder.found))
