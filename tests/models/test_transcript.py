"""Transcripts as JSON lines, joined texts, and the label of most seconds."""

from __future__ import annotations

import pytest

from speechxfer.decoding.forced_alignment import WordTiming
from speechxfer.errors import UserError
from speechxfer.models.transcript import (
    Transcript,
    TranscriptSegment,
    UnreadableAudio,
    find_majority_label,
    join_texts,
    report_unreadable,
)


@pytest.mark.parametrize(
    ("texts", "whole"),
    [
        (["one", "", "two."], "one two."),
        (["你好。", "再见"], "你好。再见"),
        (["カタカナ", "ひらがな"], "カタカナひらがな"),
        (["안녕", "하세요"], "안녕 하세요"),
        (["你好", "hello"], "你好 hello"),
        ([], ""),
    ],
)
def test_texts_are_joined_as_their_script_does(texts: list[str], whole: str) -> None:
    assert join_texts(texts) == whole


def test_the_commonest_label_is_that_of_most_seconds() -> None:
    assert (
        find_majority_label(
            [TranscriptSegment(0, 5, "yes"), TranscriptSegment(5, 7, "no"), TranscriptSegment(7, 9, "no")]
        )
        == "yes"
    )
    assert find_majority_label([]) == ""


WORDS = [WordTiming("one", 0.12345, 0.5, 0.98765)]
WORDS_AS_JSON = [{"text": "one", "start": 0.123, "end": 0.5, "confidence": 0.9877}]


def test_word_times_of_audio_that_was_not_cut_are_in_the_line() -> None:
    whole = Transcript("a", "a.wav", "one", [TranscriptSegment(0.0, 1.0, "one", WORDS)], True, 1.0, {"accent": "south"})
    line = {"id": "a", "audio": "a.wav", "hypothesis": "one", "accent": "south", "words": WORDS_AS_JSON}
    assert whole.to_json() == line


def test_cut_audio_has_segments_and_may_be_incomplete() -> None:
    segments = [TranscriptSegment(0.0, 1.0, "one", WORDS), TranscriptSegment(1.0, 2.0, "two")]
    cut = Transcript("a", "a.wav", "one two", segments, False, 9.0, complete=False)
    assert cut.to_json() == {
        "id": "a",
        "audio": "a.wav",
        "hypothesis": "one two",
        "segments": [
            {"start": 0.0, "end": 1.0, "text": "one", "words": WORDS_AS_JSON},
            {"start": 1.0, "end": 2.0, "text": "two"},
        ],
        "complete": False,
    }


def test_unreadable_audio_is_raised_without_a_callback() -> None:
    error = UserError("is text, not audio", where="a.wav")
    bad, seen = UnreadableAudio("a", "a.wav", error), []
    report_unreadable(bad, seen.append)
    assert seen == [bad] and str(bad) == "a.wav: is text, not audio"
    with pytest.raises(UserError) as caught:
        report_unreadable(bad, None)
    assert caught.value is error
