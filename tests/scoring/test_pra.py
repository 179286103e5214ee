"""Aligned texts in columns."""

from speechxfer.scoring import ScoringOptions, score
from speechxfer.scoring.pra import format_pra


def test_optional_words_of_either_side():
    options = ScoringOptions("none", notation=True)
    found = score(["(uh) a b"], ["a (um) c"], options=options)
    assert list(format_pra(found, found.get_alignments()))[2:5] == [
        "REF:  (uh) a      B", "HYP:       a (um) C", "Eval:             S",
    ]  # fmt: skip
