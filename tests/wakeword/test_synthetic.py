"""Synthetic speech of a word and of what resembles it."""

from __future__ import annotations

import numpy as np
import pytest

from speechxfer.errors import UserError
from speechxfer.wakeword.synthetic import _spoken, near_texts, speak_all, speakers, split_syllables

pytest.importorskip("espeakng_loader")


@pytest.mark.parametrize(
    ("word", "syllables"),
    [("hey juniper", ["hey", " ju", "ni", "per"]), ("strength", ["strength"]), ("computer", ["co", "mpu", "ter"])],
)
def test_syllables(word: str, syllables: list[str]) -> None:
    assert split_syllables(word) == syllables


def test_what_resembles_the_word_is_not_the_word() -> None:
    found = near_texts("hey juniper", np.random.default_rng(0))
    assert {"hey", "juniper", "niper"} <= set(found)  # its parts
    assert "perni juhey" in found  # its syllables in another order
    assert any("tomorrow" in text for text in found)  # run on
    assert sum(len(text) == len("hey juniper") and text[:2] == "he" for text in found) > 3  # neighbours
    assert "hey juniper" not in found and len(found) == len(set(found)) <= 60


def test_what_sounds_the_same_is_left_out() -> None:
    """A k in place of a hard c is the same sound, so it is no near miss."""
    own = _spoken("cat", "en-us", "max", 160, 50)
    assert np.array_equal(own, _spoken("kat", "en-us", "max", 160, 50))
    assert all(
        not np.array_equal(own, _spoken(t, "en-us", "max", 160, 50))
        for t in near_texts("cat", np.random.default_rng(0))
    )


def test_many_voices_and_the_same_seed_the_same_speech() -> None:
    assert len(speakers()) > 500
    one, two = (speak_all(["jarvis"], 6, np.random.default_rng(4)) for _ in range(2))
    assert len({s.speaker for s in one}) > 3
    assert all(np.array_equal(a.waveform, b.waveform) for a, b in zip(one, two, strict=True))
    assert all(0.3 < len(s.waveform) / 16_000 < 2.5 for s in one)
    assert len({len(s.waveform) for s in one}) > 3  # speeds


def test_a_word_of_which_nothing_can_be_spoken() -> None:
    with pytest.raises(UserError, match="speaks nothing"):
        speak_all(["--"], 1, np.random.default_rng(0))
