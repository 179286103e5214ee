"""Utterances of words with times: cut by the segments of an stm, or joined by channel."""

import pytest

from speechxfer.errors import UserError
from speechxfer.scoring.formats.nist import read_ctm, read_stm
from speechxfer.scoring.formats.segments import join_by_channel, reduce_to_span, split_by_segments

STM = """;; comment
rec A anna 0.0 2 <o,f0,> hello there
rec A ben 2 4.5 yes
rec A anna 4.5 5 IGNORE_TIME_SEGMENT_IN_SCORING
rec B carl 0 1
"""


@pytest.fixture
def read(tmp_path):
    def reading(name, text):
        (tmp_path / name).write_text(text)
        reader = read_stm if name.endswith("stm") else read_ctm
        return reader(tmp_path / name, "reference" if name.startswith("r") else "hypothesis")

    return reading


def list_texts(transcript):
    return {u.id: u.text for u in transcript.utterances}


def test_words_belong_to_the_segment_that_ends_after_their_midpoint(read):
    words = "rec A 0.5 0.2 hi\nREC a 1.85 0.2 early\nrec A 1.95 0.2 late\nrec A 4.6 0.1 ignored\nrec A 9 1 last\n"
    found = split_by_segments(read("h.ctm", words), read("r.stm", STM))
    assert list_texts(found) == {"rec-A-0-2": "hi early", "rec-A-2-4.5": "late"}
    assert list_texts(split_by_segments(read("h.ctm", ""), read("r.stm", STM))) == {}
    words = read("h.ctm", ";; c\nother A 0 1 a 0.9\n")
    with pytest.raises(UserError, match=r"ctm:2: recording 'other', channel 'A' is not in"):
        split_by_segments(words, read("r.stm", STM))


def test_alternatives_are_in_one_segment(read):
    """The latest of their midpoints decides."""
    lines = ["* * <ALT_BEGIN>", "1.5 0.2 a", "* * <ALT>", "1.9 0.4 b", "* * <ALT_END>"]
    found = split_by_segments(read("h.ctm", "".join(f"rec A {line}\n" for line in lines)), read("r.stm", STM))
    assert list_texts(found) == {"rec-A-0-2": "", "rec-A-2-4.5": "{ a / b }"}


def test_channels(read):
    """Words in the order of time; ids as first written."""
    words = "rec B 0 1 x\nrec a 2 1 c\nrec A 1 1 b\nRec A 0 1 a\n"
    found = join_by_channel(read("r.ctm", words))
    assert list_texts(found) == {"Rec-A": "a b c", "rec-B": "x"}
    assert [u.speaker for u in found.utterances] == ["Rec-A", "rec-B"]
    assert list_texts(join_by_channel(read("h.stm", STM))) == {"rec-A": "hello there yes", "rec-B": ""}
    assert join_by_channel(read("r.ctm", ";; nothing\n")).utterances == []


SPAN = "".join(f"rec A s {i} {i + 1} w{i}\n" for i in range(6)) + "rec B s 0 1 x\n"
WORDS = "rec A 0.2 0.3 early\nrec A 2.2 0.3 a\nrec A 3.4 0.6 b\nrec A 7 1 late\n"


def test_the_reference_is_reduced_to_the_span_of_the_words(read):
    """A segment that only touches the span is outside, as in sclite."""
    words, segments, notes = reduce_to_span(
        read("h.ctm", "rec A 2.0 0.3 a\nrec A 3.4 0.6 b\n"), read("r.stm", SPAN), ["reference"]
    )
    assert [u.id for u in segments.utterances] == ["rec-A-2-3", "rec-A-3-4"]
    assert len(words.words) == 2 and notes == ["5 segments outside the time span of h.ctm are left out"]
    assert list_texts(split_by_segments(words, segments)) == {"rec-A-2-3": "a", "rec-A-3-4": "b"}


def test_the_hypothesis_is_reduced_to_the_span_of_the_segments(read):
    reference = "rec A s 1 3 x\nrec A s 3 3.4 IGNORE_TIME_SEGMENT_IN_SCORING\n"
    found, segments, notes = reduce_to_span(
        read("h.ctm", WORDS + "rec C 0 1 c\n"), read("r.stm", reference), ["hypothesis"]
    )
    assert [w.word for w in found.words] == ["a", "b"]
    assert [u.id for u in segments.utterances] == ["rec-A-1-3"]
    assert notes == ["3 words of h.ctm outside the time span of the reference are left out"]


def test_nothing_is_reduced_without_being_asked(read):
    words, segments = read("h.ctm", WORDS), read("r.stm", SPAN)
    assert reduce_to_span(words, segments, ()) == (words, segments, [])
    both = reduce_to_span(words, segments, ["reference", "hypothesis"])
    assert both[2] == ["1 segments outside the time span of h.ctm are left out",
                       "1 words of h.ctm outside the time span of the reference are left out"]  # fmt: skip
