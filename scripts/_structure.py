"""Counts over the source of a checkout, without running it: for scripts/count_structure.py."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from coverage import Coverage
from radon.complexity import add_inner_blocks, cc_rank, cc_visit_ast

PACKAGE = "speechxfer"
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
MAX_COMMAND_LINES = 40
MAX_PARAMETERS = 8
MAX_UNTESTED_STATEMENTS = 30
RANKS_TEST = Path("tests") / "contract" / "test_ranks.py"  # its RANKS, SIDEWAYS and FREE are the rule
COMMENTS = {"type_ignores": re.compile(r"#\s*type:\s*ignore"), "fmt_skips": re.compile(r"#\s*fmt:\s*skip")}
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass
class Count:
    """One line of the table.

    Args:
        title (`str`): What is counted.
        value (`float | None`): The count; `None` where the checkout does not say.
        items (`list[str]`): What was found, one line each.
    """

    title: str
    value: float | None
    items: list[str] = field(default_factory=list)


@dataclass
class SourceFile:
    """A Python file of the package.

    Args:
        path (`Path`): Where it is.
        name (`str`): Path within the package, with slashes.
        text (`str`): Its source.
    """

    path: Path
    name: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def in_cli(self) -> bool:
        return self.name.startswith("cli/")

    @property
    def module(self) -> str:
        """Dotted name, as it is imported."""
        return ".".join([PACKAGE, *self.name.removesuffix(".py").split("/")]).removesuffix(".__init__")

    @property
    def test(self) -> str:
        """Path within tests/ of the test file that bears this module's name."""
        folder, _, stem = self.name.removesuffix(".py").rpartition("/")
        return f"{folder}/test_{stem.strip('_')}.py".lstrip("/")

    @cached_property
    def statements(self) -> int:
        """Number of statements as coverage.py counts them by default, so without docstrings."""
        return len(Coverage(data_file=None, config_file=False).analysis2(str(self.path))[1])

    @cached_property
    def functions(self) -> list[tuple[str, Function, bool]]:
        """(qualified name, node, whether a class holds it directly) of every function at any depth."""
        return list(_functions_of(self.tree, "", in_class=False))

    @cached_property
    def imports(self) -> list[tuple[int, str, bool]]:
        """(line, dotted name, whether within a function) of every import of the package."""
        return list(_imports_of(self.tree, in_function=False))

    def place(self, name: str, node: Function) -> str:
        return f"{self.name}:{node.lineno} {name}"


def read_package(tree: Path) -> list[SourceFile]:
    """Read every Python file of a checkout's package."""
    return _read(tree / PACKAGE, "")


def count_source(tree: Path, files: list[SourceFile], allowed: dict[str, str]) -> dict[str, Count]:
    """Count everything that the source alone shows.

    Args:
        tree (`Path`): The checkout.
        files (`list[SourceFile]`): Files of its package.
        allowed (`dict[str, str]`): Names that may be defined in more than one file, with their reason.

    Returns:
        `dict[str, Count]`: The counts by key, in the order of the table.
    """
    return {
        **_count_names(files, allowed),
        "long_functions": _count_long_functions(files, with_signature=False),
        "long_definitions": _count_long_functions(files, with_signature=True),
        "complex_functions": _count_complex_functions(files),
        "many_parameters": _count_parameters(files),
        "kwargs_functions": _count_kwargs_functions(files),
        "untested_modules": _count_untested(tree, files, large=True),
        "untested_small_modules": _count_untested(tree, files, large=False),
        "long_files": _count_long_files(files, f"files over {MAX_FILE_LINES} lines"),
        "long_other_files": _count_long_files(
            _read(tree, "scripts", "tests"), f"files over {MAX_FILE_LINES} lines in scripts/ and tests/"
        ),
        "long_commands": _count_long_commands(files),
        "rank_violations": _count_rank_violations(tree, files),
        "import_cycles": _count_cycles(files, in_functions=False),
        "import_cycles_in_functions": _count_cycles(files, in_functions=True),
        **_count_comments(files),
    }


def modules_of_size(files: list[SourceFile], *, large: bool) -> list[SourceFile]:
    """Return the modules, packages' `__init__` left out, over `MAX_UNTESTED_STATEMENTS` statements, or the others."""
    modules = [file for file in files if not file.name.endswith("__init__.py")]
    return [file for file in modules if (file.statements > MAX_UNTESTED_STATEMENTS) is large]


def _read(root: Path, *folders: str) -> list[SourceFile]:
    paths = sorted(path for folder in folders for path in (root / folder).rglob("*.py"))
    return [SourceFile(path, path.relative_to(root).as_posix(), path.read_text(encoding="utf-8")) for path in paths]


# -- names and functions
def _count_names(files: list[SourceFile], allowed: dict[str, str]) -> dict[str, Count]:
    places = defaultdict(set)
    for file in files:
        for name in () if file.in_cli else _names_defined(file.tree.body):
            places[name].add(file.name)
    shared = {name: sorted(found) for name, found in sorted(places.items()) if len(found) > 1}
    lines = [f"{name}: {', '.join(found)}" for name, found in shared.items()]
    reasons = [f" ({allowed[name]})" if name in allowed else "" for name in shared]
    unreasoned = [name for name in shared if name not in allowed]
    unused = sorted(set(allowed) - set(shared))
    return {
        "public_names": Count("public names outside cli/", len(places)),
        "duplicate_names": Count(
            "names defined in more than one file",
            len(shared),
            [line + reason for line, reason in zip(lines, reasons, strict=True)],
        ),
        "unreasoned_names": Count("names in several files without a reason", len(unreasoned)),
        "unused_reasons": Count("reasons for names that are not in several files", len(unused), unused),
    }


def _names_defined(body: list[ast.stmt]) -> Iterator[str]:
    """Yield the public names that a module's statements define, imports left out."""
    for node in body:
        names: list[str] = []
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names = [node.name]
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [leaf.id for target in targets for leaf in _leaves(target) if isinstance(leaf, ast.Name)]
        elif isinstance(node, ast.If | ast.Try | ast.With):
            blocks = [getattr(node, part, []) for part in ("body", "orelse", "finalbody")]
            blocks += [handler.body for handler in getattr(node, "handlers", [])]
            names = [name for block in blocks for name in _names_defined(block)]
        yield from (name for name in names if not name.startswith("_"))


def _leaves(target: ast.expr) -> Iterator[ast.expr]:
    if isinstance(target, ast.Tuple | ast.List):
        for element in target.elts:
            yield from _leaves(element)
    else:
        yield target.value if isinstance(target, ast.Starred) else target


def _functions_of(node: ast.AST, prefix: str, in_class: bool) -> Iterator[tuple[str, Function, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield prefix + child.name, child, in_class
            yield from _functions_of(child, f"{prefix}{child.name}.", in_class=False)
        elif isinstance(child, ast.ClassDef):
            yield from _functions_of(child, f"{prefix}{child.name}.", in_class=True)
        else:
            yield from _functions_of(child, prefix, in_class)


def _lines_of(node: Function, with_signature: bool = False) -> int:
    """Return the lines from the first statement, the docstring where there is one, to the end."""
    return (node.end_lineno or 0) - (node.lineno if with_signature else node.body[0].lineno) + 1


def _count_long_functions(files: list[SourceFile], with_signature: bool) -> Count:
    found = []
    for file in files:
        lengths = [(_lines_of(node, with_signature), file.place(name, node)) for name, node, _ in file.functions]
        found += [(lines, place) for lines, place in lengths if lines > MAX_FUNCTION_LINES]
    title = (
        f"functions over {MAX_FUNCTION_LINES} lines, signature included"
        if with_signature
        else f"functions over {MAX_FUNCTION_LINES} lines"
    )
    return Count(title, len(found), _largest_first(found, "lines"))


def _count_complex_functions(files: list[SourceFile]) -> Count:
    found = set()
    for file in files:
        for block in add_inner_blocks(cc_visit_ast(file.tree)):
            if hasattr(block, "is_method") and cc_rank(block.complexity) >= "D":
                name = f"{file.name}:{block.lineno} {block.fullname} {cc_rank(block.complexity)}"
                found.add((block.complexity, name))
    return Count("functions of complexity D or worse", len(found), _largest_first(list(found), "complexity"))


def _count_parameters(files: list[SourceFile]) -> Count:
    found = []
    for file in files:
        for name, node, in_class in () if file.in_cli else file.functions:
            given = node.args
            parameters = [*given.posonlyargs, *given.args]
            own = in_class and parameters and parameters[0].arg in ("self", "cls")
            caught = sum(catcher is not None for catcher in (given.vararg, given.kwarg))
            number = len(parameters) - bool(own) + len(given.kwonlyargs) + caught
            if number > MAX_PARAMETERS:
                found.append((number, file.place(name, node)))
    title = f"functions of over {MAX_PARAMETERS} parameters outside cli/"
    return Count(title, len(found), _largest_first(found, "parameters"))


def _count_kwargs_functions(files: list[SourceFile]) -> Count:
    found = [
        file.place(name, node) + f" **{node.args.kwarg.arg}"
        for file in files
        if not file.in_cli
        for name, node, _ in file.functions
        if node.args.kwarg is not None
    ]
    return Count("functions that take **kwargs outside cli/", len(found), found)


def _count_long_commands(files: list[SourceFile]) -> Count:
    found = []
    for file in files:
        commands = _command_names(file.tree) if file.in_cli else set()
        lengths = [(_lines_of(node), file.place(name, node)) for name, node, _ in file.functions if name in commands]
        found += [(lines, place) for lines, place in lengths if lines > MAX_COMMAND_LINES]
    return Count(f"typer commands over {MAX_COMMAND_LINES} lines", len(found), _largest_first(found, "lines"))


def _command_names(tree: ast.Module) -> set[str]:
    """Return the functions registered by `@app.command(...)`, `app.command(...)(function)`, and callbacks likewise."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _registers(node.func):
            names |= {argument.id for argument in node.args if isinstance(argument, ast.Name)}
        elif isinstance(node, ast.FunctionDef) and any(map(_registers, node.decorator_list)):
            names.add(node.name)
    return names


def _registers(node: ast.expr) -> bool:
    function = node.func if isinstance(node, ast.Call) else node
    return isinstance(function, ast.Attribute) and function.attr in ("command", "callback")


def _largest_first(found: list[tuple[int, str]], unit: str) -> list[str]:
    return [f"{number} {unit}  {place}" for number, place in sorted(found, key=lambda item: (-item[0], item[1]))]


# -- files and tests
def _count_long_files(files: list[SourceFile], title: str) -> Count:
    lengths = [(len(file.text.splitlines()), file.name) for file in files]
    found = [(lines, name) for lines, name in lengths if lines > MAX_FILE_LINES]
    return Count(title, len(found), _largest_first(found, "lines"))


def _count_untested(tree: Path, files: list[SourceFile], large: bool) -> Count:
    modules = modules_of_size(files, large=large)
    lacking = [(file.statements, file.name) for file in modules if not (tree / "tests" / file.test).is_file()]
    size = f"modules over {MAX_UNTESTED_STATEMENTS} statements" if large else "smaller modules"
    return Count(f"{size} without a test file (of {len(modules)})", len(lacking), _largest_first(lacking, "statements"))


def _count_comments(files: list[SourceFile]) -> dict[str, Count]:
    places: dict[str, list[str]] = defaultdict(list)
    for file in files:
        for token in tokenize.generate_tokens(io.StringIO(file.text).readline):
            for key in COMMENTS if token.type == tokenize.COMMENT else ():
                places[key] += [f"{file.name}:{token.start[0]}"] * bool(COMMENTS[key].search(token.string))
    titles = {"type_ignores": "type: ignore", "fmt_skips": "fmt: skip"}
    return {key: Count(f"`{title}` comments", len(places[key]), places[key]) for key, title in titles.items()}


# -- imports
def _imports_of(node: ast.AST, in_function: bool) -> Iterator[tuple[int, str, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in child.names]
            if isinstance(child, ast.ImportFrom):
                names = [f"{'.' * child.level}{child.module or ''}.{name}" for name in names]
            yield from ((child.lineno, name, in_function) for name in names if name.split(".")[0] in ("", PACKAGE))
        within = in_function or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from _imports_of(child, within)


def _count_rank_violations(tree: Path, files: list[SourceFile]) -> Count:
    title = "imports against the ranks"
    rule = _rank_rule(tree / RANKS_TEST)
    if rule is None:
        return Count(title, None, [f"{RANKS_TEST.as_posix()} gives no RANKS"])
    ranks, sideways, free = rule
    found = []
    for file in files:
        part = file.name.split("/")[0].removesuffix(".py")
        if part in free:
            continue
        if part not in ranks:
            found.append(f"{file.name} {part} has no rank")
            continue
        for line, name, _ in file.imports:
            other = name.split(".")[1] if name.startswith(f"{PACKAGE}.") else name
            lower = other in ranks and ranks[other] < ranks[part]
            if not (other == part or (part, other) in sideways or lower):
                found.append(f"{file.name}:{line} imports {name}")
    return Count(title, len(found), found)


def _rank_rule(path: Path) -> tuple[dict[str, int], set[tuple[str, str]], set[str]] | None:
    """Read RANKS, SIDEWAYS and FREE from the test that asserts them."""
    if not path.is_file():
        return None
    stated = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if name in ("RANKS", "SIDEWAYS", "FREE"):
                stated[name] = ast.literal_eval(node.value)
    return (stated["RANKS"], stated.get("SIDEWAYS", set()), stated.get("FREE", set())) if "RANKS" in stated else None


def _count_cycles(files: list[SourceFile], in_functions: bool) -> Count:
    known = {file.module: file.name for file in files}
    reached = defaultdict(set)
    for file in files:
        for _, name, within in file.imports:
            module = name if name in known else name.rpartition(".")[0]
            if module in known and module != file.module and (in_functions or not within):
                reached[file.module].add(module)
    cycles = _cycles(reached)
    title = "import cycles" + (", imports within functions too" if in_functions else "")
    return Count(title, len(cycles), [", ".join(known[module] for module in cycle) for cycle in cycles])


def _cycles(reached: dict[str, set[str]]) -> list[list[str]]:
    """Return the largest sets of modules that all import each other, directly or through others."""
    beyond = {}
    for start in reached:
        seen: set[str] = set()
        ahead = list(reached[start])
        while ahead:
            module = ahead.pop()
            if module not in seen:
                seen.add(module)
                ahead += reached.get(module, ())
        beyond[start] = seen
    cycles = {
        tuple(sorted(other for other in seen if start in beyond.get(other, ())))
        for start, seen in beyond.items()
        if start in seen
    }
    return [list(cycle) for cycle in sorted(cycles)]
