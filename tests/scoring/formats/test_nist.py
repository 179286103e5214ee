"""trn, stm and ctm: fields, mistakes, and words assigned to segments."""

import pytest

from speechxfer.errors import UserError
from speechxfer.scoring.formats.nist import parse_trn_line, read_ctm, read_stm, read_trn, split_by_segments


@pytest.fixture
def write(tmp_path):
    def written(name, text):
        path = tmp_path / name
        path.write_text(text)
        return path

    return written


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a b (s1-u1)", ("a b", "s1-u1", "s1")),
        ("(s_1-2)\n", ("", "s_1-2", "s")),
        ("a (b) (u1)", ("a (b)", "u1", None)),
        ("a (-u)", ("a", "-u", None)),
        ("a", None),
        ("a ()", None),
        ("a (u 1)", None),
        ("a (u1) b", None),
    ],
)
def test_line_of_a_trn(line, expected):
    assert parse_trn_line(line) == expected


def test_trn(write):
    found = read_trn(write("r.trn", ";; comment (x)\na b (s-1)\n\n(s-2)\n"), "reference")
    assert [(u.id, u.text, u.line, u.speaker) for u in found.utterances] == [
        ("s-1", "a b", 2, "s"),
        ("s-2", "", 4, "s"),
    ]
    with pytest.raises(UserError, match=r"line 1: no \(id\) at the end"):
        read_trn(write("bad.trn", "a b\n"), "reference")


STM = """;; comment
rec A anna 0.0 2 <o,f0,> hello there
rec A ben 2 4.5 yes
rec A anna 4.5 5 IGNORE_TIME_SEGMENT_IN_SCORING
rec B carl 0 1
"""


def test_stm(write):
    found = read_stm(write("r.stm", STM), "reference")
    assert [(u.id, u.text, u.speaker) for u in found.utterances] == [
        ("rec-A-0.0-2", "hello there", "anna"),
        ("rec-A-2-4.5", "yes", "ben"),
        ("rec-B-0-1", "", "carl"),
    ]
    columns = found.utterances[0].columns
    assert columns == {"label 1": "o", "label 2": "f0", "recording": "rec", "duration": "2.000"}
    assert [u.segment.start for u in found.ignored] == [4.5]


def test_mistakes_in_an_stm_name_their_lines(write):
    with pytest.raises(UserError, match="line 1: 'rec A s x 1'") as caught:
        read_stm(write("r.stm", "rec A s x 1\nrec A s 2 1 a\nrec A\n"), "reference")
    assert "line 2: end 1.0 s is before start 2.0 s" in str(caught.value) and "line 3: 'rec A'" in str(caught.value)


def test_words_belong_to_the_segment_that_ends_after_their_midpoint(write):
    segments = read_stm(write("r.stm", STM), "reference")
    words = "rec A 0.5 0.2 hi\nREC a 1.85 0.2 early\nrec A 1.95 0.2 late\nrec A 4.6 0.1 ignored\nrec A 9 1 last\n"
    found = split_by_segments(read_ctm(write("h.ctm", words), "hypothesis"), segments)
    assert {u.id: u.text for u in found.utterances} == {"rec-A-0.0-2": "hi early", "rec-A-2-4.5": "late"}


def test_mistakes_in_a_ctm(write):
    with pytest.raises(UserError, match="cannot be the reference"):
        read_ctm(write("r.ctm", "rec A 0 1 a\n"), "reference")
    with pytest.raises(UserError, match="line 2: 'rec A 0 a'"):
        read_ctm(write("r.ctm", "rec A 0 1 a\nrec A 0 a\n"), "hypothesis")
    words = read_ctm(write("r.ctm", ";; c\nother A 0 1 a 0.9\n"), "hypothesis")
    with pytest.raises(UserError, match=r"ctm:2: recording 'other', channel 'a' is not in"):
        split_by_segments(words, read_stm(write("r.stm", STM), "reference"))
