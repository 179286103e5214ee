"""NIST's global mapping files (GLM): `[can't] => [can not] / [ ] __ [ ]`, one rule per line, for whole words."""

from __future__ import annotations

import re
from pathlib import Path

from speechxfer.errors import Problems, UserError

_RULE = re.compile(r"(?:\[(?P<a>[^\]]*)\]|(?P<b>[^=>\[\]]+?))\s*=>\s*(?P<rest>.*)")
_TARGET = re.compile(r"(?:\[(?P<a>[^\]]*)\]|(?P<b>[^/\[\]{}]*?))\s*(?:/\s*(?P<context>.*))?$")


class GlmMapping:
    """Replaces whole words by rules, from left to right; the first rule of the file that matches is applied."""

    def __init__(self, rules: dict[str, str]) -> None:
        self.rules = rules
        patterns = "|".join(re.escape(pattern) for pattern in rules)
        self._pattern = re.compile(rf"(?<!\S)(?:{patterns})(?!\S)")

    def __call__(self, text: str) -> str:
        return self._pattern.sub(lambda found: self.rules[found[0]], " ".join(text.split()).lower())


def read_glm(path: Path) -> GlmMapping:
    """Read a mapping from a file. `;;` starts a comment, `*` a setting (ignored).

    Raises:
        UserError: naming every line that is not a rule, or that has a context or alternatives.
    """
    if not path.is_file():
        raise UserError("no such file", where=str(path))
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UserError("is not UTF-8", where=str(path), fix="save the file as UTF-8") from error
    rules: dict[str, str] = {}
    problems = Problems(
        f"{path} is not a supported GLM file",
        fix="write each line as: [from] => [to] / [ ] __ [ ] (or run sctk's csrfilt.sh, then score its output)",
    )
    for number, line in enumerate(lines, start=1):
        text = line.split(";;")[0].strip()
        if not text or text.startswith("*"):
            continue
        found = _RULE.fullmatch(text)
        target = _TARGET.fullmatch(found["rest"].strip()) if found else None
        if not found or not target:
            alternatives = bool(found) and "{" in text
            problems.add(f"line {number}: {'alternatives are not supported' if alternatives else text}")
            continue
        context = target["context"]
        if context and re.sub(r"\s", "", context) != "[]__[]":
            problems.add(f"line {number}: the context '{context}' is not supported, only whole words are")
            continue
        pattern = " ".join((found["a"] or found["b"] or "").lower().split())
        if not pattern:
            problems.add(f"line {number}: nothing to replace")
            continue
        rules.setdefault(pattern, " ".join((target["a"] or target["b"] or "").lower().split()))
    problems.raise_if_any()
    if not rules:
        raise UserError("has no rules", where=str(path))
    return GlmMapping(rules)
