"""Utterances matched by id: case, speakers, ignored segments, and files reduced to what both cover."""

import pytest

from speechxfer.errors import UserError
from speechxfer.scoring.formats import read_transcript
from speechxfer.scoring.matching import check_duplicates, format_names, match_transcripts

REFERENCE = "a b (s1-1)\nc (s1-2)\n(s2-1)\n"
SPAN = "".join(f"rec A s {i} {i + 1} w{i}\n" for i in range(4)) + "rec B s 0 1 x\n"


@pytest.fixture
def match(tmp_path):
    """Match the files of two texts, whose format is by default trn."""

    def matched(reference, hypothesis, formats="trn,trn", missing="error", sides=()):
        suffixes = formats.split(",")
        paths = [tmp_path / f"{name}.{suffix}" for name, suffix in zip("rh", suffixes, strict=True)]
        for path, text in zip(paths, (reference, hypothesis), strict=True):
            path.write_text(text)
        left, right = (read_transcript(p, side) for p, side in zip(paths, ("reference", "hypothesis"), strict=True))
        found = match_transcripts(left, right, "h", missing, sides)
        return dict(zip(found.ids, zip(found.references, found.hypotheses, strict=True), strict=True)), found.notes

    return matched


def test_ids_are_matched_whatever_their_case(match):
    pairs, notes = match(REFERENCE, "a (S1-1)\nc (s1-2)\nd (S2-1)\n")
    assert pairs == {"s1-1": ("a b", "a"), "s1-2": ("c", "c"), "s2-1": ("", "d")}
    assert notes == ["ids of h.trn differ in case from those of r.trn: S1-1, S2-1"]
    assert match("a (s-1)\nb (S-1)\n", "a (S-1)\nb (s-1)\n") == ({"s-1": ("a", "b"), "S-1": ("b", "a")}, [])
    with pytest.raises(UserError, match=r"not in .*r.trn: S-2"):  # either may be meant
        match("a (s-1)\nb (s-2)\nc (s-3)\n", "a (s-1)\nb (s-2)\nc (S-2)\n")


def test_segments_of_the_same_time_are_matched_by_speaker(match):
    reference = "rec A ann 0 1 a\nrec A ben 0 1 b\nrec A ann 1 2 c\n"
    pairs, _ = match(reference, "rec A ben 0.0 1.0 x\nrec A eve 1 2.00 z\n", "stm,stm", missing="skip")
    assert pairs == {"rec-A-0-1-ben": ("b", "x"), "rec-A-1-2": ("c", "z")}


def test_hypotheses_of_ignored_segments_are_left_out(match):
    reference = "rec A s 0 1 a\nrec A s 1 2 IGNORE_TIME_SEGMENT_IN_SCORING\n"
    assert match(reference, "rec A s 0 1 a\nREC A s 1 2 b\n", "stm,stm")[0] == {"rec-A-0-1": ("a", "a")}


@pytest.mark.parametrize(
    ("sides", "ids", "notes"),
    [
        (["reference"], ["s1-1"], ["2 references that are not in h.trn are left out"]),
        (["hypothesis"], None, None),
        (["reference", "hypothesis"], ["s1-1"], ["2 references that are not in h.trn are left out",
                                                 "1 hypotheses that are not in r.trn are left out"]),
    ],
)  # fmt: skip
def test_files_are_reduced_to_the_ids_of_the_other(match, sides, ids, notes):
    hypothesis = "a (s1-1)\n" + ("x (s9-9)\n" if "hypothesis" in sides else "")
    if ids is None:
        with pytest.raises(UserError, match="2 of 3 utterances have no hypothesis: s1-2, s2-1"):
            match(REFERENCE, hypothesis, sides=sides)
    else:
        found = match(REFERENCE, hypothesis, sides=sides)
        assert (list(found[0]), found[1]) == (ids, notes)


def test_a_ctm_and_an_stm_are_reduced_to_the_time_span_of_the_other(match):
    words = "rec A 1.2 0.3 w1\nrec A 2.1 0.3 w2\n"
    pairs, notes = match(SPAN, words, "stm,ctm", sides=["reference"])
    assert pairs == {"rec-A-1-2": ("w1", "w1"), "rec-A-2-3": ("w2", "w2")}
    assert notes == ["3 segments outside the time span of h.ctm are left out"]
    late = "rec A 9 1 late\nrec C 0 1 c\n"
    pairs, notes = match(SPAN, words + late + "rec B 0 1 x\n", "stm,ctm", missing="empty", sides=["hypothesis"])
    assert pairs["rec-A-3-4"] == ("w3", "") and pairs["rec-B-0-1"] == ("x", "x")
    assert notes == ["2 words of h.ctm outside the time span of the reference are left out"]
    with pytest.raises(UserError, match="nothing is left of"):
        match(SPAN, "rec A 8 1 a\n", "stm,ctm", sides=["reference"])


def test_a_hypothesis_without_words(match):
    assert match("rec A s 0 1 a\n", "", "stm,ctm", missing="empty")[0] == {"rec-A-0-1": ("a", "")}
    with pytest.raises(UserError, match="1 of 1 utterances have no hypothesis"):
        match("rec A s 0 1 a\n", "", "stm,ctm")


def test_duplicates(tmp_path):
    (tmp_path / "r.trn").write_text("a (s-1)\nb (s-2)\nc (s-1)\n")
    with pytest.raises(UserError, match="duplicate id 's-1' on lines 1 and 3"):
        check_duplicates(read_transcript(tmp_path / "r.trn", "reference"))


def test_long_lists_are_shortened():
    assert format_names("abc") == "a, b, c"
    assert format_names(map(str, range(12))) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more"
