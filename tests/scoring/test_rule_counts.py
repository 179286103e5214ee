"""Errors after each rule of the normaliser: by hand, and against scoring everything again."""

import pytest

from speechxfer.scoring import ScoringOptions, score
from speechxfer.scoring.rule_counts import count_by_rule


def test_errors_each_rule_removed():
    found = score(["Hello, it’s me.", "same"], ["hello it's me", "same"])
    assert [(rule, counts.errors) for rule, counts in count_by_rule(found)] == [
        ("as written", 3), ("special tokens", 3), ("unicode", 3), ("case", 3), ("apostrophes and hyphens", 2),
        ("punctuation", 0),
    ]  # fmt: skip
    plain = score(["a"], ["a"], options=ScoringOptions(normaliser="none"))
    assert [rule for rule, _ in count_by_rule(plain)] == ["as written"]
    lower = score(["A"], ["a"], options=ScoringOptions(normaliser=str.lower))
    assert [c.errors for _, c in count_by_rule(lower)] == [1, 0]


@pytest.mark.parametrize("notation", [False, True])
def test_recounting_what_a_rule_changed_is_recounting_all(notation):
    rows = [("Twenty-one, (uh) it’s", "21 its"), ("Grey", "gray"), ("one { Two / 2 }", "1 2"), ("can't", "can not")]
    references, hypotheses = zip(*rows, strict=True)
    found = score(references, hypotheses, options=ScoringOptions(normaliser="english", notation=notation))
    for k, (_, counts) in enumerate(count_by_rule(found)):
        options = ScoringOptions(normaliser=found.options.normaliser.take_first(k), notation=notation)
        whole = score(references, hypotheses, options=options)
        assert counts == whole.counts
