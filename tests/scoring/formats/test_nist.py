"""trn, stm and ctm: fields, marks and mistakes."""

import pytest

from speechxfer.errors import UserError
from speechxfer.scoring.formats.nist import parse_trn_line, read_ctm, read_stm, read_trn


@pytest.fixture
def write(tmp_path):
    def written(name, text):
        path = tmp_path / name
        path.write_text(text, newline="")
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


@pytest.mark.parametrize("end", ["\r", "\r\n", "\n", "\r\r\n"])
def test_line_ends_of_a_trn(write, end):
    found = read_trn(write("r.trn", end.join(["a b (s-1)", " c (s-2)", ""])), "reference")
    assert [(u.id, u.text) for u in found.utterances] == [("s-1", "a b"), ("s-2", "c")]


@pytest.mark.parametrize("line", ["a b (s1-1) c d (s1-2)", "a (s1-1)(s1-2)", "(s1-1) (s1-2)", "a (S2_12)b (s1_2)"])
def test_two_utterances_on_a_line_of_a_trn(write, line):
    with pytest.raises(UserError, match=r"line 2: two utterances, '\w+.\d+' and 's1.2', on one line"):
        read_trn(write("r.trn", f"x (s3-1)\n{line}\n"), "reference")


@pytest.mark.parametrize("text", ["(uh) yes", "a (uh-huh) b", "a (b2) (c-d) (3)", "a (b) (s-)"])
def test_optional_words_of_a_trn_are_no_ids(write, text):
    assert read_trn(write("r.trn", f"{text} (s1-1)\n"), "reference").utterances[0].text == text


STM = """;; comment
rec A anna 0.0 2 <o,f0,> hello there
rec A ben 2 4.5 yes
rec A anna 4.5 5 IGNORE_TIME_SEGMENT_IN_SCORING
rec B carl 0 1
"""


def test_stm(write):
    found = read_stm(write("r.stm", STM), "reference")
    assert [(u.id, u.text, u.speaker) for u in found.utterances] == [
        ("rec-A-0-2", "hello there", "anna"),
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


@pytest.mark.parametrize(
    "text",
    [
        "IGNORE_TIME_SEGMENT_IN_SCORING",
        "ignore_time_segment_in_scoring ",
        "Ignore Time Segment In Scoring",
        "<o,f0> IGNORE_TIME_SEGMENT_IN_SCORING",
        "(IGNORE_TIME_SEGMENT_IN_SCORING) noise",
    ],
)
def test_segments_to_ignore(write, text):
    found = read_stm(write("r.stm", f"rec A s 0 1 a\nrec A s 1 2 {text}\n"), "reference")
    assert [u.id for u in found.utterances] == ["rec-A-0-1"] and [u.id for u in found.ignored] == ["rec-A-1-2"]


def test_ids_of_an_stm(write):
    """Equal times are written in the same way; segments of the same time are told apart by their speakers."""
    text = "rec A ann 0.00 1.50 a\nrec A ben .0 1.5 b\nrec A ann 2 3.0 c\nrec A x 2 3 ignore time segment in scoring\n"
    found = read_stm(write("r.stm", text), "reference")
    assert [u.id for u in found.utterances] == ["rec-A-0-1.5-ann", "rec-A-0-1.5-ben", "rec-A-2-3"]
    assert [u.id for u in found.ignored] == ["rec-A-2-3-x"]


def test_times_of_segments_are_in_single_precision(write):
    """As in sclite: a word with its midpoint at 47.9 s belongs to the segment that ends there."""
    (found,) = read_stm(write("r.stm", "rec A s 46.90 47.90 a\n"), "reference").utterances
    assert found.id == "rec-A-46.9-47.9" and found.columns["duration"] == "1.000"
    assert found.segment.end == 47.900001525878906


def test_ctm(write):
    found = read_ctm(write("h.ctm", ";; c\nRec A 1.0 0.5 a 0.9\n\nrec B .5 1 b\n"), "hypothesis")
    assert found.utterances == []
    assert [(w.recording, w.key, w.start, w.middle, w.end, w.word, w.line) for w in found.words] == [
        ("Rec", ("rec", "a"), 1.0, 1.25, 1.5, "a", 2),
        ("rec", ("rec", "b"), 0.5, 1.0, 1.5, "b", 4),
    ]
    assert read_ctm(write("h.ctm", ";; nothing\n"), "hypothesis").words == []


ALTERNATIVES = """rec A 0 1 i
rec A * * <ALT_BEGIN>
rec A 12.00 0.34 UM
rec A * * <ALT>
rec A 12.20 0.34 UH
rec A 12.60 0.20 HUH
rec A * * <alt>
rec A * *  <ALT_END>
rec A 13 1 know
"""


def test_alternatives_of_a_ctm(write):
    found = read_ctm(write("r.ctm", ALTERNATIVES), "reference")
    assert [(w.word, w.has_alternatives) for w in found.words] == [
        ("i", False), ("{ UM / UH HUH / @ }", True), ("know", False),
    ]  # fmt: skip
    word = found.words[1]
    assert (word.start, word.middle, word.end) == (12.0, pytest.approx(12.7), pytest.approx(12.8))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("rec A * * <ALT>", "line 1: <ALT> without <ALT_BEGIN>"),
        ("rec A 0 1 a\nrec A * * <ALT_END>", "line 2: <ALT_END> without <ALT_BEGIN>"),
        ("rec A * * <ALT_BEGIN>\nrec A * * <ALT_BEGIN>", "line 2: <ALT_BEGIN> within <ALT_BEGIN>"),
        ("rec A * * <ALT_BEGIN>\nrec A 0 1 a", "<ALT_BEGIN> without <ALT_END>"),
        ("rec A 0 1 a\nrec A 0 a", "line 2: 'rec A 0 a'"),
        ("rec A * * a", "line 1: 'rec A . . a'"),
    ],
)
def test_mistakes_in_a_ctm(write, lines, message):
    with pytest.raises(UserError, match=message):
        read_ctm(write("r.ctm", lines + "\n"), "hypothesis")
