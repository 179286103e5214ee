"""Draw one-line mutants of what must not be wrong, and run the tests against each: python scripts/mutants.py draw|run

`draw` lists every one-line mutant of six areas (scoring, CTC, selection, cache keys, masks, events), draws forty with
seed 0, no two in one file closer than ten lines and no operator more than twice in an area, and writes
scripts/mutants.json. An entry whose `equivalent` gives a
reason why no test could ever tell stays in the file, and drawing again adds the next of its area in its place. The
draw belongs to the commit that the file names: draw again from a checkout of it, with `--tree`.

cosmic-ray and mutmut make every mutant of a module; neither samples by area and distance.
"""

from __future__ import annotations

import argparse
import ast
import json
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LISTED = Path(__file__).with_suffix(".json")
SEED, APART = 0, 10  # lines between two mutants of one file, at least
OF_A_KIND = 2  # mutants of one operator in an area, at most: constants are everywhere
PACKAGE = "speechxfer/"


@dataclass(frozen=True)
class Area:
    """Where mutants are drawn: how many, and of which files; `file: names` is of these functions alone."""

    quota: int
    files: dict[str, tuple[str, ...]]


def _whole(folder: str, *names: str) -> dict[str, tuple[str, ...]]:
    return {f"{folder}/{name}.py": () for name in names}


_OF_COPIES = [f"TrainingUtterances.{name}" for name in ("__init__", "copy_of", "waveform", "key", "_content")]
AREAS = {
    "scoring": Area(
        10, _whole("scoring", "align", "counts", "statistics", "compare", "result", "notation", "tokens", "matching")
    ),
    "CTC": Area(
        7,
        _whole("heads", "ctc")
        | _whole("decoding", "ctc", "alignment", "ctc_beam")
        | {"data/bad_rows.py": ("ctc_frames",)},
    ),
    "selection": Area(
        6, _whole("adaptation", "candidates", "judge", "rescoring", "tuning") | _whole("decoding", "hybrid")
    ),
    "cache keys": Area(
        4,
        {
            "encoders/cache.py": ("utterance_key", "padded", "fingerprint"),
            "adaptation/batches.py": ("Contents.of", "Contents._file", *_OF_COPIES),
            "adaptation/baseline.py": ("_key",),
        },
    ),
    "masks": Area(
        7,
        {"shapes.py": (), "data/augment.py": ("spec_augment", "_spans")}
        | _whole("encoders", "base", "_wav2vec2_like", "conformer", "_adapter")
        | _whole("heads", "whisper_decoder", "context"),
    ),
    "events": Area(6, _whole("wakeword", "events", "intervals", "evaluation")),
}
# beside the tests that mirror a module, those of what stands on it
ALSO = {
    "scoring/": ["tests/cli/test_score.py"],
    "decoding/hybrid.py": ["tests/models/test_joint.py", "tests/adaptation/test_tuning.py"],
    "heads/": ["tests/models", "tests/encoders/test_families.py"],
    "shapes.py": ["tests/encoders", "tests/heads", "tests/decoding", "tests/models"],
    "encoders/": ["tests/adaptation/test_caching.py", "tests/models"],
}

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


# -- the drawing -----------------------------------------------------------------------------------------------------
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


def in_order(tree: Path) -> Iterator[tuple[str, list[Site]]]:
    """Each area's mutants, all of them, in the order in which they are drawn."""
    rng = random.Random(SEED)
    for area, where in AREAS.items():
        pool = [site for file, names in where.files.items() for site in sites(tree, PACKAGE + file, names)]
        rng.shuffle(pool)
        yield area, pool


def tests_of(tree: Path, file: str) -> list[str]:
    """The tests likeliest to tell: the module's own, its folder's, those of what stands on it."""
    inside = file.removeprefix(PACKAGE)
    folder = Path("tests") / Path(inside).parent
    own = folder / f"test_{Path(inside).stem.strip('_')}.py"
    wanted = [own.as_posix()] if (tree / own).is_file() else []
    if folder != Path("tests"):
        wanted.append(folder.as_posix())
    return wanted + [path for part, paths in ALSO.items() if inside.startswith(part) for path in paths]


def _entry(tree: Path, area: str, site: Site) -> dict[str, Any]:
    return {
        "id": 0,
        "area": area,
        "file": site.file,
        "line": site.line,
        "operator": site.operator,
        "before": site.before,
        "after": site.after,
        "drawn": {"file": site.file, "line": site.line, "before": site.before, "after": site.after},
        "tests": tests_of(tree, site.file),
        "killed_by": None,
        "equivalent": None,
        "replaces": None,
    }


def draw(tree: Path, known: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The quota of every area, then one more for each that `known` calls equivalent; what `known` says of one stays."""
    said = {json.dumps(one["drawn"], sort_keys=True): one for one in known}
    found: list[dict[str, Any]] = []
    more: list[tuple[dict[str, Any], dict[str, Any]]] = []  # the equivalent one, and what replaces it
    for area, pool in in_order(tree):
        taken: list[dict[str, Any]] = []
        owed: list[dict[str, Any] | None] = [None] * AREAS[area].quota
        for site in pool:
            if not owed:
                break
            if any(
                one["drawn"]["file"] == site.file and abs(one["drawn"]["line"] - site.line) < APART for one in taken
            ):
                continue
            if sum(one["operator"] == site.operator and not one["equivalent"] for one in taken) >= OF_A_KIND:
                continue
            entry = _entry(tree, area, site)
            entry |= said.get(json.dumps(entry["drawn"], sort_keys=True), {})
            taken.append(entry)
            instead = owed.pop(0)
            if instead is None:
                found.append(entry)
            else:
                more.append((instead, entry))
            if entry["equivalent"]:
                owed.append(entry)
    for number, entry in enumerate([*found, *(entry for _, entry in more)], 1):
        entry["id"] = number
    for instead, entry in more:
        entry["replaces"] = instead["id"]
    return [*found, *(entry for _, entry in more)]


def draw_command(asked: argparse.Namespace) -> int:
    listed = json.loads(LISTED.read_text(encoding="utf-8")) if LISTED.is_file() else {"mutants": []}
    commit = subprocess.run(
        ["git", "-C", asked.tree, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    if listed.get("drawn_from_commit", commit) != commit:
        print(f"the mutants were drawn from {listed['drawn_from_commit']}: draw from a checkout of it, with --tree")
        return 2
    mutants = draw(asked.tree, listed["mutants"])
    whole = {"drawn_from_commit": commit, "seed": SEED, "lines_apart": APART, "mutants": mutants}
    LISTED.write_text(json.dumps(whole, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    for one in mutants:
        print(f"{one['id']:3} {one['area']:10} {one['file']}:{one['line']} {one['operator']}: {one['after'].strip()}")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    drawing = commands.add_parser("draw", help="write scripts/mutants.json")
    drawing.add_argument("--tree", type=Path, default=ROOT)
    drawing.set_defaults(command=draw_command)
    asked = parser.parse_args()
    return asked.command(asked)


if __name__ == "__main__":
    sys.exit(main())
