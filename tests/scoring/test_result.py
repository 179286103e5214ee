"""Scores: JSON keys, breakdown, intervals, warnings, sums, alignments, pandas."""

import pytest

from speechxfer.errors import UserError
from speechxfer.scoring import ScoringOptions, score

KEYS = {
    "wer", "cer", "mer", "wil", "substitutions", "deletions", "insertions", "hits", "reference_words", "utterances",
    "by", "interval", "interval_over", "interval_units", "interval_method",
}  # fmt: skip
REFERENCES = ["Hello, world", "three four five", "nothing at all", "it’s fine"]
HYPOTHESES = ["hello world", "three for five six", "nothing", "it's mine"]


def small(**more):
    return score(REFERENCES, HYPOTHESES, ids=["a", "b", "c", "d"], **more)


def test_breakdown_adds_up():
    found = small(columns={"accent": ["uk", "us", "uk", None], "one": ["x"] * 4}, by=["accent"])
    assert list(found.by) == ["accent"]
    assert set(found.by["accent"]) == {"uk", "us", ""}
    assert sum((p.counts for p in found.by["accent"].values()), start=type(found.counts)()) == found.counts
    part = found.to_json()["by"]["accent"]["uk"]
    assert set(part) == KEYS - {"by"}
    assert part["wer"] == pytest.approx(2 / 5)


def grouped(sizes, speakers_of, **more):
    """Groups a, b, ... with `sizes` utterances each, every third one wrong, and a speaker per utterance."""
    accents = [name for name, size in zip("abcdef", sizes, strict=False) for _ in range(size)]
    hypotheses = ["x y" if i % 3 else "x" for i in range(len(accents))]
    speakers = None if speakers_of is None else [speakers_of(i) for i in range(len(accents))]
    return score(
        ["x y"] * len(accents),
        hypotheses,
        speakers=speakers,
        columns={"accent": accents},
        by=["speaker", "accent"],
        **more,
    )


def test_groups_of_fewer_than_five_speakers_have_no_interval_which_is_said_once():
    found = grouped([12, 12, 40], lambda i: f"s{i % 4}" if i < 12 else f"t{i % 5}" if i < 24 else f"u{i % 20}")
    few, some, many = (found.by["accent"][name] for name in "abc")
    assert few.interval is None and found.to_json()["by"]["accent"]["a"]["interval"] is None
    assert (some.interval.over, some.interval.units, some.interval.method) == ("speakers", 5, "t")
    assert (many.interval.over, many.interval.units, many.interval.method) == ("speakers", 20, "bootstrap")
    messages = [w for w in found.warnings if "no interval" in w]
    assert messages == [
        "no interval from fewer than 5 speakers: accent a",
        "no interval from fewer than 5 utterances: speaker s0, s1, s2 and 26 more",
    ]
    assert found.interval.units == 29  # the whole keeps its own rule


def test_a_speaker_is_resampled_by_utterances_and_so_is_a_column_within_speakers():
    found = score(
        ["x y"] * 40, ["x y", "x"] * 20, speakers=["s", "t"] * 20, columns={"day": list("abab" * 10)}, by="auto"
    )
    assert {p.interval.over for p in found.by["speaker"].values()} == {"utterances"}
    assert found.by["speaker"]["t"].interval.units == 20
    assert found.by["day"]["a"].interval.over == "utterances"


def test_without_speakers_groups_are_resampled_by_utterances():
    found = grouped([4, 5], None)
    assert found.by["accent"]["a"].interval is None and found.by["accent"]["b"].interval.units == 5
    assert "no interval from fewer than 5 utterances: accent a" in found.warnings


def test_the_interval_says_what_it_was_drawn_over():
    part = grouped([10, 10], lambda i: f"s{i % 7}").to_json()
    assert (part["interval_over"], part["interval_units"], part["interval_method"]) == ("speakers", 7, "t")
    assert score(["a"], ["a"]).to_json()["interval_over"] is None


def test_summary_prints_the_rate_with_its_counts():
    text = small(speakers=["s", "t", "s", "t"]).summary()
    assert text.startswith("50.0 % [5 / 10: 2 sub, 2 del, 1 ins], 95 % ")
    assert text.endswith("over 2 speakers")


def test_the_representation_is_the_summary():
    assert repr(small()).startswith("<Score: 50.0 % [5 / 10: 2 sub, 2 del, 1 ins], 95 % ")


def test_without_speakers_the_interval_is_said_to_be_narrow():
    assert any("fewer than two speakers" in w for w in small().warnings)
    assert small().interval.over == "utterances"


def test_few_speakers_give_a_t_interval_and_a_warning():
    found = small(speakers=["s", "t", "s", "t"])
    assert (found.interval.method, found.interval.units) == ("t", 2)
    assert any("only 2 speakers" in w for w in found.warnings)


def test_sums_and_overlaps():
    a = score(["a b"], ["a c"], ids=["1"], columns={"x": ["u"], "y": ["v"]}, by=["x"])
    b = score(["d"], [""], ids=["2"], columns={"x": ["w"]}, by=["x"])
    both = a + b
    assert both.counts == a.counts + b.counts and both.ids == ("1", "2") and set(both.by["x"]) == {"u", "w"}
    with pytest.raises(UserError, match="both scores contain utterance '1'"):
        a + a
    with pytest.raises(UserError, match="different options"):
        a + score(["d"], [""], ids=["2"], options=ScoringOptions(normaliser="none"))


def test_speakers_of_both_scores_are_kept():
    a = score(["a b"] * 6, ["a b", "a"] * 3, ids=list("123456"), speakers=list("stuvst"))
    b = score(["c d"] * 4, ["c", "c d"] * 2, ids=list("7890"), speakers=list("wswu"))
    whole = score(
        ["a b"] * 6 + ["c d"] * 4, ["a b", "a"] * 3 + ["c", "c d"] * 2, ids=list("1234567890"),
        speakers=list("stuvstwswu"),
    )  # fmt: skip
    assert (a + b).speakers == a.speakers + b.speakers == tuple("stuvstwswu")
    assert (a + b).interval == whole.interval and whole.interval.over == "speakers"


def test_alignment_of_an_utterance():
    assert small().get_alignment(1) == [
        ("=", "three", "three"),
        ("S", "four", "for"),
        ("=", "five", "five"),
        ("I", "", "six"),
    ]


def test_same_seed_same_interval():
    options = ScoringOptions(seed=3)
    assert small(options=options).to_json() == small(options=options).to_json()


def test_pandas():
    frame = small(columns={"accent": ["a", "b", "a", "b"]}).to_pandas()
    assert frame["substitutions"].sum() == 2 and list(frame["accent"]) == ["a", "b", "a", "b"]
    assert list(frame.columns[:3]) == ["id", "reference", "hypothesis"]
    assert list(score(["a"], ["a"], columns={"id": ["x"]}).to_pandas().columns).count("id") == 1
