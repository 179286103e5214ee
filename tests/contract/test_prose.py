"""Texts of the package and the documents are plain technical English: no phrase of the list below occurs in them.

This covers string literals, docstrings and comments of the package, comments of the recipes, and the documents without
their code and without the tables that scripts/tables.py generates from results.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE_FILES = sorted((ROOT / "speechxfer").rglob("*.py"))
RECIPES = sorted((ROOT / "recipes").rglob("*.yaml"))
DOCUMENTS = [ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")]
DOCUMENTS += sorted((ROOT / "docs").rglob("*.md"))
# pattern (matched without regard to case): what to write instead
BANNED = {
    r"\bmend(s|ed|ing)?\b": "fix",
    r"\bsay (--|[\w.]+=)": "set X=..., pass --x",
    r"[,(] say \w": "e.g.",
    r"\bfor election\b": "model selection",
    r"\bso many\b": "the number, N",
    r"\bso-manieth\b": "every N-th",
    r"\b(is|are|was) told\b": "is printed, is passed",
    r"\bto be told\b": "to print",
    r"\bby heart\b": "overfits, memorises",
    r"\bof before\b": "older, predates",
    r"\b(of|than|as) ours\b": "speechxfer's",
    r"\buntouched\b": "pretrained, zero-shot",
    r"\bTrainee\b": "StagedModule",
    r"\bJudge\b": "Evaluator",
    r"\bgather\(": "prepare_splits(",
    r"\bheard\b": "evaluated, transcribed",
    r"\bhears\b": "processes, transcribes",
    r"\bwhoever\b": "if someone, callers that",
    r"\bbegun\b": "started",
    r"\bbeside\b": "next to, in addition to",
    r"\bstands? (twice|there|in|for|alone|above|below|beside)\b": "is, occurs",
    r"\blies? (there|in|beside|under|within)\b": "is",
    r"\bis there already\b": "already exists",
    r"\bwhere not (said|given|stated)\b": "default: ...",
    r"\belse as saved\b": "default: saved with the model",
    r"\bare to go\b": "to remove",
    r"\bgoes before\b": "overrides",
    r"\bshall be\b": "is to be",
    r"\bgo(es|ing)? on\b": "continue",
    r"\blet go of\b": "release",
    r"\bby which\b": "with which, that",
    r"\blikelier\b": "more probable",
    r"\bin the mean\b": "on average",
    r"\bin the place of\b": "instead of",
    r"\bkept apart\b": "separated",
    r"\b(is|are) no (table|JSON|CSV|folder|file|recipe|number|model|name|text|part)\b": "is not a ...",
    r"\bnought\b": "zero",
    r"\banew\b": "again",
    r"\bnobody said\b": "insertions",
    r"\bof its own accord\b": "by itself",
    r"\bnone of it\b": "not",
    r"\bnarrator\b": "reporter",
    r"\b(thereby|thus|upon)\b": "so, on",
}
PATTERN = re.compile("|".join(f"(?:{pattern})" for pattern in BANNED), re.IGNORECASE)


def package_texts(source: str) -> Iterator[tuple[int, str]]:
    """Yield (line, text) of every comment and of every line of every string literal, without keys such as `a.b`."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and not re.fullmatch(r"[\w.]+", node.value):
            for number, line in enumerate(node.value.splitlines()):
                yield node.lineno + number, line


def document_texts(source: str) -> Iterator[tuple[int, str]]:
    """Yield (line, text) of a document, without its code and its generated tables."""
    in_code = in_table = False
    for number, line in enumerate(source.splitlines(), 1):
        if line.lstrip().startswith("```"):
            in_code = not in_code
        elif line.startswith(("<!-- table: ", "<!-- end -->")):
            in_table = line != "<!-- end -->"
        elif not in_code and not in_table and not line.startswith("    "):
            yield number, re.sub(r"`[^`]*`", "", line)


def recipe_texts(source: str) -> Iterator[tuple[int, str]]:
    """Yield (line, text) of every comment of a recipe."""
    for number, line in enumerate(source.splitlines(), 1):
        if "#" in line:
            yield number, line.partition("#")[2]


def find_banned(path: Path) -> list[str]:
    """Return `file:line: 'phrase'` of every banned phrase in a file."""
    texts = {".py": package_texts, ".md": document_texts, ".yaml": recipe_texts}[path.suffix]
    source = path.read_text(encoding="utf-8")
    found = {(line, match[0]) for line, text in texts(source) for match in PATTERN.finditer(text)}
    return [f"{path.relative_to(ROOT)}:{line}: '{phrase}'" for line, phrase in sorted(found)]


def test_phrases_are_found_in_texts_and_not_in_code() -> None:
    source = 'untouched = 1\n"""A docstring.\n\nSay X=1 to mend it."""\nf"{untouched} heard"  # nobody said\n'
    assert {line for line, text in package_texts(source) if PATTERN.search(text)} == {4, 5}
    assert [line for line, text in document_texts("heard\n\n    heard\n`heard`\n") if PATTERN.search(text)] == [1]
    recipe = "# untouched\nheard: 1  # of before\n"
    assert [line for line, text in recipe_texts(recipe) if PATTERN.search(text)] == [1, 2]


@pytest.mark.parametrize("path", PACKAGE_FILES + RECIPES + DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_banned_phrase(path: Path) -> None:
    found = find_banned(path)
    assert not found, "\n".join(["write plain technical English:", *found])
