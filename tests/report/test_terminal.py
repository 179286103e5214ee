"""Tables and marked texts."""

import io

from rich.console import Console

from speechxfer.report.terminal import before_after_table, marked_examples, score_table
from speechxfer.scoring import score

REFERENCES = ["a b c", "x y", "[red]not markup[/red]"]


def shown(renderable):
    console = Console(file=io.StringIO(), width=120, color_system=None)
    console.print(renderable)
    return console.file.getvalue()


def systems():
    columns = {"accent": ["uk", "us", "us"]}
    before = score(REFERENCES, ["a q d d", "x", "[red]not"], columns=columns, by="auto", normaliser="none")
    after = score(REFERENCES, ["a b c", "x y", "[red]not markup[/red]"], columns=columns, by="auto", normaliser="none")
    return before, after


def test_score_table_has_a_row_for_each_group():
    text = shown(score_table(systems()[0]))
    assert [line.split()[0] for line in text.splitlines()[1:]] == ["all", "accent:", "accent:"]
    assert "71.4" in text


def test_before_and_after():
    text = shown(before_after_table(*systems(), by="accent"))
    assert "accent: us" in text and "-71.4" in text and "0.0" in text
    assert "accent" not in shown(before_after_table(*systems(), by="speaker"))


def test_examples_are_marked_and_markup_is_text():
    text = shown(marked_examples(*systems(), 3))
    assert "a (+" in text or "[q]" in text
    assert "(-y)" in text
    assert "[red]not markup[/red]" in text
