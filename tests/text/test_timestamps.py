"""Timestamps and special tokens in transcripts: what is read as Whisper's, and what is left of a text without them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechxfer.text.timestamps import has_special_tokens, has_timestamps, parse_timestamps, strip_special_tokens


@pytest.mark.parametrize(
    ("text", "stripped"),
    [
        ("one two", "one two"),
        ("<|0.00|> one two<|1.40|>", "one two"),
        ("<|0.00|>one<|0.50|><|0.50|>two<|1.40|>", "one two"),
        ("<|startoftranscript|><|en|><|transcribe|><|notimestamps|> one two.<|endoftext|>", "one two."),
        ("<|0.00|>你好<|1.00|><|1.00|>世界<|2.00|>", "你好世界"),
        ("<|0.00|>สวัสดี<|1.00|><|1.00|>two<|2.00|>", "สวัสดี two"),
        ("<|0.00|><|0.40|>", ""),
        ("a < b | c > d", "a < b | c > d"),
    ],
)
def test_what_is_left_of_a_text(text, stripped):
    assert strip_special_tokens(text) == stripped
    assert has_special_tokens(text) == (text != stripped)


def test_a_language_token_is_no_timestamp():
    assert has_timestamps("<|en|> one <|2.00|>") and not has_timestamps("<|en|> one")


@pytest.mark.parametrize(
    ("text", "segments"),
    [
        ("<|0.00|> one two<|1.40|>", [(0.0, "one two", 1.4)]),
        ("<|0.00|> one<|1.40|><|1.60|> two<|2.00|>", [(0.0, "one", 1.4), (1.6, "two", 2.0)]),
        ("<|0.00|> one<|1.40|> two<|2.00|>", [(0.0, "one", 1.4), (1.4, "two", 2.0)]),  # one boundary for both
        ("<|0.50|> one<|1.40|><|1.40|> two", [(0.5, "one", 1.4), (1.4, "two", None)]),  # cut at 30 s
        ("<|en|><|0.00|> one <|en|> two<|1.40|><|endoftext|>", [(0.0, "one two", 1.4)]),
        ("one two", None),
        ("one<|1.00|>", None),  # words before the first
        ("<|1.00|> one<|0.40|>", None),  # backwards
        ("<|0.00|> one<|1.00|><|0.90|> two<|2.00|>", None),
        ("<|0.00|><|0.40|> one<|1.00|>", None),  # a segment without words
        ("<|0.00|> one<|1.00|><|1.20|>", None),
        ("", None),
    ],
)
def test_segments(text, segments):
    assert parse_timestamps(text) == segments


@given(st.lists(st.tuples(st.integers(0, 99), st.sampled_from(["one", "two six"])), min_size=1, max_size=5))
def test_what_is_written_is_read(parts):
    time, text, expected = 0.0, "", []
    for gap, words in parts:
        start, time = round(time + gap / 50, 2), round(time + gap / 50 + 0.5, 2)
        text += f"<|{start:.2f}|> {words}<|{time:.2f}|>"
        expected.append((start, words, time))
    assert parse_timestamps(text) == expected
    assert strip_special_tokens(text) == " ".join(words for _, words in parts)
