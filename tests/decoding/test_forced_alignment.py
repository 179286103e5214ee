"""Word times and confidences against emissions made by hand, and against the best of every labelling written out."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchaudio.functional import forced_align

from speechxfer import torchaudio_import
from speechxfer.decoding.forced_alignment import align_words, compute_best_path_log_probs, find_best_path
from speechxfer.shapes import Emissions

SYMBOLS = ("", " ", "a", "b", None)
PLACE = {symbol: place for place, symbol in enumerate(SYMBOLS)}


def places(text: str) -> list[int]:
    return [PLACE[character] for character in text]


def by_hand(frames: str, sure: float) -> Emissions:
    """A frame a character, `_` the blank, each with probability `sure` and the others alike."""
    rows = torch.full((len(frames), len(SYMBOLS)), (1 - sure) / (len(SYMBOLS) - 1))
    for row, character in zip(rows, frames, strict=True):
        row[PLACE["" if character == "_" else character]] = sure
    return Emissions(rows.log()[None], torch.tensor([len(frames)]))


def collapse(path: tuple[int, ...]) -> list[int]:
    merged = [place for k, place in enumerate(path) if k == 0 or path[k - 1] != place]
    return [place for place in merged if place != 0]


def test_times_and_confidence_of_emissions_made_by_hand():
    (found,) = align_words(by_hand("__aa_b_ _bb_", 0.8), [places("ab b")], SYMBOLS, blank=0, frame_seconds=0.02)
    assert found is not None
    assert [(one.text, round(one.start, 6), round(one.end, 6)) for one in found.words] == [
        ("ab", 0.04, 0.12),
        ("b", 0.18, 0.22),
    ]
    assert [one.confidence for one in found.words] == pytest.approx([0.8, 0.8])
    assert found.log_prob == pytest.approx(12 * math.log(0.8), rel=1e-5)


def test_a_word_that_is_not_spoken_gets_little_confidence():
    (found,) = align_words(by_hand("_aa__ __aa_", 0.9), [places("a b")], SYMBOLS, blank=0, frame_seconds=0.02)
    assert found is not None
    spoken, other = found.words
    assert spoken.confidence == pytest.approx(0.9) and other.confidence == pytest.approx(0.025, rel=1e-4)


def test_silence_before_the_audio_is_taken_off():
    options = {"blank": 0, "frame_seconds": 0.5}
    (found,) = align_words(by_hand("a_b_", 0.9), [places("ab")], SYMBOLS, **options, offset=-1.0)
    assert found is not None and (found.words[0].start, found.words[0].end) == (0.0, 0.5)


@pytest.mark.parametrize("has_torchaudio", [True, False])
@pytest.mark.parametrize("text", ["ab", "a b", "aa", "b", "a a"])
def test_no_labelling_that_says_the_text_is_likelier(text, has_torchaudio, monkeypatch):
    if not has_torchaudio:
        monkeypatch.setattr(torchaudio_import, "FUNCTIONAL", None)
    torch.manual_seed(len(text))
    lengths = torch.tensor([6, 4, 5])
    emissions = Emissions(torch.randn(3, 6, len(SYMBOLS)).log_softmax(-1), lengths)
    found = align_words(emissions, [places(text)] * 3, SYMBOLS, blank=0, frame_seconds=0.02)
    for rows, length, one, best in zip(
        emissions.log_probs, lengths.tolist(), found, compute_best_path_log_probs(emissions), strict=True
    ):
        paths = [p for p in product(range(len(SYMBOLS)), repeat=length) if collapse(p) == places(text)]
        truth = max(sum(float(rows[k, place]) for k, place in enumerate(path)) for path in paths)
        assert one is not None and one.log_prob == pytest.approx(truth, abs=1e-5)
        assert [word.text for word in one.words] == text.split()
        assert one.log_prob <= best + 1e-6
        assert best == pytest.approx(float(rows[:length].max(-1).values.sum()), abs=1e-5)


def test_a_text_that_does_not_fit_has_no_alignment_and_no_text_has_no_words():
    emissions = by_hand("ab", 0.9)
    for text, fits in (("ab", True), ("aa", False), ("aba", False), ("", True)):
        (found,) = align_words(emissions, [places(text)], SYMBOLS, blank=0, frame_seconds=0.02)
        assert (found is not None) == fits, text
    (found,) = align_words(by_hand("__", 0.9), [[]], SYMBOLS, blank=0, frame_seconds=0.02)
    assert found is not None and found.words == [] and found.log_prob == pytest.approx(2 * math.log(0.9))


@given(seed=st.integers(0, 2**31), length=st.integers(1, 12), extra=st.integers(0, 30))
def test_the_path_is_torchaudio_s(seed: int, length: int, extra: int) -> None:
    random = torch.Generator().manual_seed(seed)
    tokens = torch.randint(1, 5, (1, length), generator=random, dtype=torch.int32)
    frames = length + int((tokens[0, 1:] == tokens[0, :-1]).sum()) + extra
    log_probs = torch.randn(1, frames, 5, generator=random).log_softmax(-1)
    theirs, _ = forced_align(log_probs, tokens, blank=0)
    assert find_best_path(log_probs[0].numpy(), tokens[0].tolist(), 0).tolist() == theirs[0].tolist()


def test_a_thousand_frames_and_a_repeated_word_have_the_same_words_without_torchaudio(monkeypatch):
    emissions = by_hand("_a__b_ _bb_b__" * 70, 0.7)
    words = "ab bb" + "ab bb" * 69
    with_it = align_words(emissions, [places(words)], SYMBOLS, blank=0, frame_seconds=0.02)
    monkeypatch.setattr(torchaudio_import, "FUNCTIONAL", None)
    assert align_words(emissions, [places(words)], SYMBOLS, blank=0, frame_seconds=0.02) == with_it
