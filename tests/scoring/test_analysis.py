"""A score with what is reported about it."""

from speechxfer.scoring import score
from speechxfer.scoring.analysis import analyse_score
from speechxfer.scoring.error_analysis import analyse_errors
from speechxfer.scoring.rule_counts import count_by_rule


def test_details_are_counted_if_asked_for():
    found = score(["Hello, Ann."], ["hello ann"])
    plain = analyse_score(found)
    assert plain.errors == analyse_errors(found) and plain.rules == count_by_rule(found)
    assert plain.terms is plain.punctuation is plain.case is None
    full = analyse_score(found, terms={"Ann": ("ann",)}, punctuation=True, case=True)
    assert full.terms.total.recall == 1 and full.punctuation.errors == 2 and full.case.errors == 2
    assert analyse_score(found, case=True).punctuation is None
