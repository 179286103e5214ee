"""Texts that sound similar to a word, and everyday sentences, in several languages and scripts."""

from __future__ import annotations

import numpy as np
import pytest

from speechxfer.wakeword.data.near_misses import (
    MIN_NEAR_MISSES,
    find_language_gaps,
    list_filler_words,
    make_filler_sentences,
    make_near_miss_texts,
    split_syllables,
)
from speechxfer.wakeword.data.synthetic import list_speakers, synthesize_clips, synthesize_trimmed

pytest.importorskip("espeakng_loader")

WORDS = {  # of the twenty, those of five languages and two scripts
    "de": ["Hund", "Volk", "Rad", "Tag", "Hey Käthe", "Schlüssel"],
    "es": ["vivo", "bebe", "vaca", "señora"],
    "nl": ["hond", "wiel"],
    "fr": ["lumière", "bonjour maison", "chien"],
    "ru": ["Привет", "Алиса", "дом", "хлеб", "компьютер"],
}
TWENTY = [(language, word) for language, words in WORDS.items() for word in words]


def pronounce(text: str, language: str) -> np.ndarray:
    return synthesize_trimmed(text, language, "max", 160, 50)


@pytest.mark.parametrize(
    ("word", "syllables"),
    [("hey juniper", ["hey", " ju", "ni", "per"]), ("strength", ["strength"]), ("computer", ["co", "mpu", "ter"])],
)
def test_syllables(word: str, syllables: list[str]) -> None:
    assert split_syllables(word) == syllables


def test_what_resembles_the_word_is_not_the_word() -> None:
    found = make_near_miss_texts("hey juniper", np.random.default_rng(0))
    assert {"hey", "juniper", "niper"} <= set(found)  # its parts
    assert "perni juhey" in found  # its syllables in another order
    assert any("tomorrow" in text for text in found)  # run on
    assert sum(len(text) == len("hey juniper") and text[:2] == "he" for text in found) > 3  # neighbours
    assert "hey juniper" not in found and len(found) == len(set(found)) <= 60


def test_what_sounds_the_same_is_left_out() -> None:
    """A k in place of a hard c is the same sound, so it is not a near miss."""
    own = synthesize_trimmed("cat", "en-us", "max", 160, 50)
    assert np.array_equal(own, synthesize_trimmed("kat", "en-us", "max", 160, 50))
    assert all(
        not np.array_equal(own, synthesize_trimmed(t, "en-us", "max", 160, 50))
        for t in make_near_miss_texts("cat", np.random.default_rng(0))
    )


@pytest.mark.parametrize(
    ("word", "syllables"),
    [
        ("Käthe", ["kä", "the"]),
        ("привет", ["при", "вет"]),
        ("小爱同学", list("小爱同学")),
        ("señora", ["se", "ño", "ra"]),
    ],
)
def test_syllables_of_other_languages(word: str, syllables: list[str]) -> None:
    assert split_syllables(word) == syllables


def test_twenty_words() -> None:
    """No near miss sounds like its word in the language's own voice, and at least 15 words have ten of them."""
    assert len(TWENTY) == 20
    counts = []
    for language, word in TWENTY:
        texts = make_near_miss_texts(word, np.random.default_rng(0), count=24, language=language)
        own = pronounce(word, language)
        assert all(not np.array_equal(pronounce(text, language), own) for text in texts)
        assert bool(find_language_gaps(word, language, texts)) == (len(texts) < MIN_NEAR_MISSES)
        assert word.casefold() not in texts and len({text.casefold() for text in texts}) == len(texts)
        counts.append(len(texts))
    assert sum(count >= MIN_NEAR_MISSES for count in counts) >= 15


@pytest.mark.parametrize(
    ("language", "word", "same"), [("de", "Hund", "hunt"), ("es", "vaca", "baca"), ("nl", "hond", "hont")]
)
def test_homophones_are_those_of_the_language(language: str, word: str, same: str) -> None:
    assert np.array_equal(pronounce(word, language), pronounce(same, language))
    assert same not in make_near_miss_texts(word, np.random.default_rng(0), language=language)


def test_letters_with_marks_are_exchanged() -> None:
    found = make_near_miss_texts("käthe", np.random.default_rng(0), language="de")
    assert {"kathe", "kothe"} & set(found) or any("ä" not in text and len(text) == 5 for text in found)


def test_other_scripts_have_neighbouring_letters() -> None:
    found = make_near_miss_texts("नमस्ते", np.random.default_rng(0), language="hi")
    assert len(found) >= MIN_NEAR_MISSES


@pytest.mark.parametrize("language", ["de", "es", "fr", "it", "nl", "pt", "ru", "fr-be"])
def test_sentences_of_a_language(language: str) -> None:
    sentences = make_filler_sentences(language)
    assert len(sentences) == len(set(sentences)) == 512 and not find_language_gaps("x", language)
    assert len(list_filler_words(language)) == 4 and not set(sentences) & set(make_filler_sentences())
    spoken = synthesize_clips(sentences[:1], 1, np.random.default_rng(0), list_speakers(language, "none"))
    assert 1 < len(spoken[0].waveform) / 16_000 < 12


def test_a_language_without_sentences_is_a_warning() -> None:
    assert make_filler_sentences("sv") == make_filler_sentences() == make_filler_sentences("en-us")
    (gap,) = find_language_gaps("hej", "sv")
    assert "no sentences in 'sv'" in gap and "--negatives" in gap
    assert list_filler_words("sv") == []
