"""Character errors: jiwer's counts, spaces of scripts without spaces, agreement with --unit char, long texts."""

import random

import jiwer
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechxfer.errors import UserError
from speechxfer.scoring import ScoringOptions, character_errors, long_texts, score
from speechxfer.scoring.character_errors import count_character_errors

CHINESE = st.text("你好世界，。！ ", min_size=1, max_size=12).filter(lambda text: any(c > "\u4e00" for c in text))
PLAIN = "".join(map(chr, [*range(0x20, 0x7F), *range(0xC0, 0x180), *range(0x400, 0x450), *range(0xAC00, 0xAC20)]))


@given(st.lists(st.tuples(st.text(PLAIN, max_size=12), st.text(PLAIN, max_size=12)), min_size=1, max_size=5))
def test_counts_are_jiwers(pairs):
    pairs = [(" ".join(r.split()), " ".join(h.split())) for r, h in pairs if r.split()]
    for reference, hypothesis in pairs:
        found = jiwer.process_characters([reference], [hypothesis])
        errors = found.substitutions + found.deletions + found.insertions
        counted = count_character_errors([reference], [hypothesis], ["1"])
        assert counted.tolist() == [[errors, found.hits + found.substitutions + found.deletions]]


@pytest.mark.parametrize(
    ("reference", "hypothesis", "errors", "length"),
    [
        ("你好，世界。今天天气很好！", "你好世界今天天气很好", 0, 10),
        ("你好世界", "你 好 世 界", 0, 4),
        ("你好世界", "你好，世 间", 1, 4),
        ("我爱 python 和 c", "我爱python和 c", 0, 10),
        ("สวัสดี ครับ", "สวัสดีครับ", 0, 10),
        ("こんにちは。世界", "こんにちは世界", 0, 7),
        ("안녕 하세요", "안녕하세요", 1, 6),  # Korean is written with spaces
        ("hello, world", "helloworld", 1, 11),
        ("a b", "", 3, 3),
        ("", "a", 1, 0),
    ],
)
def test_spaces_that_do_not_separate_words_are_no_characters(reference, hypothesis, errors, length):
    for unit in ("word", "mixed"):
        counts = score([reference], [hypothesis], options=ScoringOptions(unit=unit)).counts
        assert (counts.character_errors, counts.reference_characters) == (errors, length)


@given(CHINESE, CHINESE, st.sampled_from(["none", "default", "basic"]))
def test_cer_of_text_without_spaces_is_the_rate_of_characters(reference, hypothesis, normaliser):
    by_word, by_character = (
        score([reference], [hypothesis], options=ScoringOptions(normaliser, unit=unit)) for unit in ("word", "char")
    )
    assert by_word.cer == by_character.cer == by_character.wer


@given(st.text("ab ", max_size=10), st.text("ab ", max_size=10), st.sampled_from(["min", "sclite"]))
def test_cer_is_the_headline_of_unit_char(reference, hypothesis, align):
    found = score([reference], [hypothesis], options=ScoringOptions(unit="char", align=align))
    assert found.cer == found.wer


def make_long_pair(count, seed=1):
    rng = random.Random(seed)
    vocabulary = ["".join(rng.choices("abcdefghijklm", k=rng.randint(1, 9))) for _ in range(5_000)]
    reference = rng.choices(vocabulary, k=count)
    hypothesis = [rng.choice(vocabulary) if rng.random() < 0.2 else word for word in reference]
    return " ".join(reference), " ".join(hypothesis)


def test_long_texts_have_the_counts_of_short_ones(monkeypatch):
    references, hypotheses = zip(*(make_long_pair(n, n) for n in (1, 50, 700, 3_000)), strict=True)
    expected = count_character_errors(references, hypotheses, "abcd").tolist()
    monkeypatch.setattr(character_errors, "_MIN_LONG_CELLS", 0)
    monkeypatch.setattr(long_texts, "_FIRST_LIMIT", 1)
    assert count_character_errors(references, hypotheses, "abcd").tolist() == expected


def test_ten_thousand_words():
    """In a band around the diagonal; scripts/bench/score_large.py measures the time."""
    reference, hypothesis = make_long_pair(10_000)
    assert 0.1 < score([reference], [hypothesis]).cer < 0.2


def test_texts_too_long_for_their_errors_are_refused(monkeypatch):
    monkeypatch.setattr(character_errors, "_MIN_LONG_CELLS", 1_000)
    monkeypatch.setattr(long_texts, "_FIRST_LIMIT", 2)
    monkeypatch.setattr(long_texts, "_MAX_CELLS", 1_000)
    text = "a" * 100
    assert count_character_errors([text], [text[:-3]], ["u"]).tolist() == [[3, 100]]
    with pytest.raises(UserError, match=r"utterance 'u': a text of 100 characters with more than 4 errors takes too"):
        count_character_errors([text], ["b" * 100], ["u"])
