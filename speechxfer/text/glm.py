"""NIST's global mapping files (GLM), applied as SCTK's `csrfilt.sh` and `rfilter1` apply them.

A line is a rule `A => B` or `A => B / C __ D`: A becomes B (after C and before D). Each of the strings may be in square
brackets or double quotes, which keep its outer spaces. SCTK's `doc/GLMRules.txt` and the two programs are followed:

* The text gets a space at both ends, and one space between words. It is read from left to right; at each character the
  first rule of the file that matches is applied, and reading continues after A. C and D are compared with the text
  before any replacement. A rule without context applies within words too; whole words are `/ [ ] __ [ ]`.
* Everything is lower-cased, as csrfilt.sh unifies case. With `* case_sensitive = 'T'` case counts, as with
  `csrfilt.sh -s`. `* copy_no_hit = 'F'` drops what no rule matches. `* name`, `* desc`, `* max_nrules` and `* format`
  (NIST1 or NIST2) have no effect.
* `;;` starts a comment, and so does the first token of the file if it is made of punctuation.
* After `;; INPUT_DEPENDENT_APPLICATION = "PATTERN"` rules apply to references only if PATTERN matches stm or ref, to
  hypotheses only if it matches ctm or hyp, and to both if it matches trn or txt.
* B may be in sclite's notation: `{CAN NOT / CANNOT}`.

Unlike in rfilter1, the first line may be a rule, a slash without `__` after it is part of B, and A may contain a slash.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from speechxfer.errors import Problems, UserError
from speechxfer.text.characters import to_lower, to_nfc
from speechxfer.text.normalise import Side
from speechxfer.text.prefix_pattern import make_prefix_pattern

_INPUTS: dict[Side, tuple[str, ...]] = {
    "reference": ("stm", "ref", "trn", "txt"),
    "hypothesis": ("ctm", "hyp", "trn", "txt"),
}
_STRING = r"""\[[^\[\]]*\]|"[^"]*"|[^\[\]"]*?"""
_CONTEXT = re.compile(rf"\s*({_STRING})\s*(?<!\w)_+(?!\w)\s*({_STRING})\s*")
_SECTION = re.compile(r'\s*INPUT_DEPENDENT_APPLICATION\s*=\s*"([^"]*)"')
_SETTING = re.compile(r"""\*\s*(\w+)\s*[=:]?\s*(?:"([^"]*)"|'([^']*)'|(\S+))?""")
_FORMATS = ("NIST1", "NIST2")
_ALTERNATIVES = re.compile(r"\{([^{}]*)\}")
_NOTATION = re.compile(r"[{}]|(?<!\S)@(?!\S)")


@dataclass(frozen=True)
class GlmRule:
    """`source => target / left __ right`, with the spaces that brackets or quotes keep.

    Attributes:
        inputs: the sides whose texts the rule applies to.
    """

    source: str
    target: str
    left: str = ""
    right: str = ""
    inputs: tuple[Side, ...] = ("reference", "hypothesis")


class GlmMapping:
    """Applies rules to a text, as a callable str -> str."""

    def __init__(self, rules: Sequence[GlmRule], *, case_sensitive: bool = False, copy_unmatched: bool = True) -> None:
        self._unify = str if case_sensitive else to_lower
        self._copy_unmatched = copy_unmatched
        self._rules: dict[str, list[tuple[str, str, str]]] = {}  # left context, right context, target by source
        patterns = []
        for rule in rules:
            source, left, right, target = map(self._unify, (rule.source, rule.left, rule.right, rule.target))
            self._rules.setdefault(source, []).append((left, right, target))
            behind = f"(?<={re.escape(left + source)})" if left else ""
            patterns.append((source, behind + (f"(?={re.escape(right)})" if right else "")))
        self._pattern = re.compile(make_prefix_pattern(patterns))

    def __call__(self, text: str) -> str:
        # csrfilt.sh separates the parentheses of optional words, so that rules with a context apply to these words
        spaced = text.replace("(", "( ").replace(")", " )")
        spaced = f" {' '.join(self._unify(spaced).split())} "
        if self._copy_unmatched:
            result = self._pattern.sub(self._replace, spaced)
        else:
            result = "".join(map(self._replace, self._pattern.finditer(spaced)))
        return " ".join(result.split()).replace("( ", "(").replace(" )", ")")

    def _replace(self, found: re.Match[str]) -> str:
        """Return the target of the first rule whose contexts are around the match."""
        start, end, text = found.start(), found.end(), found.string
        for left, right, target in self._rules[found[0]]:
            if text.endswith(left, 0, start) and text.startswith(right, end):
                return target
        raise AssertionError(f"no rule for {found[0]!r}")  # the pattern has the same contexts


@dataclass(frozen=True)
class GlmFile:
    """The rules of a file, in its order."""

    rules: tuple[GlmRule, ...]
    case_sensitive: bool
    copy_unmatched: bool

    def make_mapping(self, side: Side) -> GlmMapping:
        """Return the mapping of one side's texts; its results may be in sclite's notation."""
        rules = [rule for rule in self.rules if side in rule.inputs]
        return GlmMapping(rules, case_sensitive=self.case_sensitive, copy_unmatched=self.copy_unmatched)

    @property
    def writes_notation(self) -> bool:
        """Whether a rule writes alternatives or the empty word `@`."""
        return any(_NOTATION.search(rule.target) for rule in self.rules)


def take_first_alternatives(text: str) -> str:
    """Replace `{ a / b }` by `a`, at any depth, and `@` by nothing."""
    while _ALTERNATIVES.search(text):
        text = _ALTERNATIVES.sub(lambda found: f" {found[1].strip().split('/')[0]} ", text)
    return " ".join(word for word in text.split() if word != "@")


def read_glm(path: Path) -> GlmFile:
    """Read the rules of a file.

    Raises:
        UserError: naming every line that is neither a rule, a setting nor a comment.
    """
    if not path.is_file():
        raise UserError("no such file", where=str(path))
    try:
        lines = to_nfc(path.read_text(encoding="utf-8-sig")).splitlines()
    except UnicodeDecodeError as error:
        fix = "save the file as UTF-8 (from Latin-1: iconv -f LATIN1 -t UTF-8)"
        raise UserError("is not UTF-8", where=str(path), fix=fix) from error
    reader = _Reader(path, _find_comment_marks(lines[0] if lines else ""))
    for number, line in enumerate(lines, start=1):
        reader.read(number, line)
    return reader.finish()


def _find_comment_marks(first_line: str) -> tuple[str, ...]:
    """Return `;;`, and the first token of a file if it is made of punctuation and the line has no rule or setting."""
    token = (first_line.split() or [""])[0]
    if not token or "=>" in first_line or token.startswith((";;", "*")) or re.search(r"[\w\[\]\"']", token):
        return (";;",)
    return (";;", token)


class _Reader:
    """Reads a file line by line."""

    def __init__(self, path: Path, comment_marks: tuple[str, ...]) -> None:
        self.path, self.comment_marks = path, comment_marks
        self.rules: list[GlmRule] = []
        self.inputs: tuple[Side, ...] = ("reference", "hypothesis")
        self.settings = {"case_sensitive": False, "copy_no_hit": True}
        fix = "write each line as: [from] => [to] / [before] __ [after]"
        self.problems = Problems(f"{path} is not a valid GLM file", fix=fix)

    def read(self, number: int, line: str) -> None:
        data = line
        for mark in self.comment_marks:
            data = data.partition(mark)[0]
        if line.startswith(";;") and (section := _SECTION.match(line[2:])):
            self._start_section(number, section[1])
        elif line.startswith("*"):
            self._read_setting(number, line)
        elif data.strip():
            self._read_rule(number, data)

    def finish(self) -> GlmFile:
        self.problems.raise_if_any()
        if not self.rules:
            raise UserError("has no rules", where=str(self.path))
        return GlmFile(tuple(self.rules), self.settings["case_sensitive"], self.settings["copy_no_hit"])

    def _start_section(self, number: int, expression: str) -> None:
        try:
            pattern = re.compile(expression.lower())
        except re.error as error:
            self.problems.add(f"line {number}: '{expression}' is not a regular expression: {error}")
            return
        self.inputs = tuple(side for side, names in _INPUTS.items() if any(map(pattern.search, names)))

    def _read_setting(self, number: int, line: str) -> None:
        found = _SETTING.match(line)
        if found is None:
            return  # a line of stars
        name, value = found[1].lower(), next((text for text in found.groups()[1:] if text is not None), "")
        if name in self.settings:
            self.settings[name] = value.lower() in ("t", "yes", "true")
        elif name == "format" and value.upper() not in _FORMATS:
            self.problems.add(f"line {number}: the format '{value}' is not known, only {' and '.join(_FORMATS)}")

    def _read_rule(self, number: int, line: str) -> None:
        source, arrow, rest = line.partition("=>")
        if not arrow:
            self.problems.add(f"line {number}: {line.strip()}")
            return
        target, left, right = rest, "", ""
        before, slash, after = rest.rpartition("/")
        if slash and (context := _CONTEXT.fullmatch(after)):
            target, left, right = before, _strip_bounds(context[1]), _strip_bounds(context[2])
        source = _strip_bounds(source)
        if not source:
            self.problems.add(f"line {number}: nothing to replace")
            return
        self.rules.append(GlmRule(source, _strip_bounds(target), left, right, self.inputs))


def _strip_bounds(text: str) -> str:
    """Return a string of a rule without its brackets or quotes, which keep the spaces within."""
    text = text.strip()
    if len(text) > 1 and text[0] + text[-1] in ("[]", '""'):
        return text[1:-1]
    return text
