"""Whisper's decoder against transformers' own `generate`, and its independence of the batch."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from transformers import WhisperProcessor

from speechxfer.decoding.whisper import (
    MAX_LOOP_TOKENS,
    MAX_NGRAM_OCCURRENCES,
    MAX_REPEATS,
    MAX_SINGLE_TOKEN_REPEATS,
    MIN_NO_REPEAT_NGRAM,
    GenerationOptions,
    _LoopBlocker,
    compute_max_token_rate,
    compute_no_repeat_ngram_size,
    decode_n_best,
    decode_whisper,
)
from speechxfer.errors import UserError
from speechxfer.heads.whisper_decoder import compute_decoder_log_probs
from speechxfer.models import load
from speechxfer.models.seq2seq import WhisperRecogniser
from speechxfer.shapes import Frames, pad_targets

SAID = ("one", "two six", "six one two", "two two one six six", "one one two one two six one")
BEAMS = (1, 4)


@pytest.fixture(scope="module")
def tiny_whisper(make_whisper):
    """A Whisper that takes more tokens than any limit by the audio's length."""
    return make_whisper(seconds=2)


@pytest.fixture(scope="module")
def waveforms(make_speech) -> list[np.ndarray]:
    """From 0.5 to 1.7 s."""
    return [make_speech(("one", "two", "six")[k % 3], k, 0.5 + 0.3 * k) for k in range(len(SAID))]


@pytest.fixture(scope="module")
def taught(tiny_whisper, waveforms) -> WhisperRecogniser:
    """A model that has learnt what the waveforms say, padded and not."""
    model = load(tiny_whisper, device="cpu")
    targets = [model.encode_target(text) for text in SAID]
    labels = torch.full((len(targets), max(map(len, targets))), -100)
    for row, target in zip(labels, targets, strict=True):
        row[: len(target)] = torch.tensor(target)
    prepared = []
    for pad_to_30s in (True, False):
        with model.use_padding(pad_to_30s):
            prepared.append(model.encoder.prepare(waveforms))
    optimiser = torch.optim.AdamW(model.network.parameters(), lr=4e-3)
    torch.manual_seed(0)
    for step in range(48):
        optimiser.zero_grad()
        model.compute_loss(model.encoder(prepared[step % 2]), labels).backward()
        optimiser.step()
    return model


def say(
    model: WhisperRecogniser, waveforms: list[np.ndarray], *, padded: bool, beams: int = 1, length_penalty: float = 1.0
) -> list[list[int]]:
    """Token ids of each, up to its end token."""
    with torch.no_grad(), model.use_padding(padded):
        frames = model.encoder(model.encoder.prepare(waveforms))
        options = GenerationOptions(beam_size=beams, length_penalty=length_penalty)
        rows = decode_whisper(model.network, frames, model.prompt, options)
    return [ended(model, row) for row in rows]


def ended(model: WhisperRecogniser, row: list[int]) -> list[int]:
    end = model.network.generation_config.eos_token_id
    return row[: row.index(end)] if end in row else row


def test_what_is_said_ends_and_differs(taught, waveforms):
    """Else the tests below would see little."""
    printed = say(taught, waveforms, padded=True)
    texts = [text.strip() for text in taught.processor.tokenizer.batch_decode(printed)]
    assert len({*texts}) >= 4 and {*texts} & {*SAID}
    assert max(map(len, printed)) < 12  # all end by themselves


def test_a_beam_looks_further_than_greedy(tiny_whisper, waveforms):
    untaught = load(tiny_whisper, device="cpu")
    assert say(untaught, waveforms[:3], padded=True, beams=4) != say(untaught, waveforms[:3], padded=True)


@pytest.mark.parametrize(
    ("beams", "length_penalty"), [(1, 1.0), *((beams, p) for beams in BEAMS[1:] for p in (1.0, 0.0))]
)
def test_padded_it_is_what_transformers_generates(taught, tiny_whisper, waveforms, beams, length_penalty):
    extractor = WhisperProcessor.from_pretrained(tiny_whisper).feature_extractor
    printed = say(taught, waveforms, padded=True, beams=beams, length_penalty=length_penalty)
    asked = {"num_beams": beams, "length_penalty": length_penalty if beams > 1 else None}
    for waveform, found in zip(waveforms, printed, strict=True):
        features = extractor(waveform, sampling_rate=16_000, return_tensors="pt").input_features
        truth = taught.network.generate(features, max_new_tokens=40, **asked)[0].tolist()
        assert found == ended(taught, truth)


def test_hypotheses_are_ordered_by_log_probability_over_length_to_the_penalty(taught, waveforms):
    """Their log-probabilities come from a pass of their own. 0 orders them otherwise than 1 does."""
    with torch.no_grad():
        frames = taught.encoder(taught.encoder.prepare(waveforms))
    found = {
        power: decode_n_best(taught.network, frames, taught.prompt, GenerationOptions(4, length_penalty=power))
        for power in (0.0, 1.0)
    }
    for power, utterances in found.items():
        for place, rows in enumerate(utterances):
            alone = Frames(frames.states[place : place + 1].expand(4, -1, -1), frames.lengths[place].expand(4))
            log_probs = compute_decoder_log_probs(taught.network, alone, pad_targets(rows), taught.prompt).tolist()
            scores = [score / len(row) ** power for score, row in zip(log_probs, rows, strict=True)]
            assert scores == pytest.approx(sorted(scores, reverse=True), abs=1e-3)
    assert found[0.0] != found[1.0]


@pytest.mark.parametrize("beams", BEAMS)
@pytest.mark.parametrize("padded", [False, True])
def test_the_batch_does_not_matter(taught, waveforms, padded, beams):
    together = say(taught, waveforms, padded=padded, beams=beams)
    alone = [say(taught, [waveform], padded=padded, beams=beams)[0] for waveform in waveforms]
    reversed_ = say(taught, waveforms[::-1], padded=padded, beams=beams)[::-1]
    assert together == alone == reversed_


def test_suppressed_tokens_are_obeyed(taught, waveforms):
    free = say(taught, waveforms, padded=True)
    word, first = free[1][-1], free[0][0]
    model = copy.deepcopy(taught)
    stated = model.network.generation_config
    stated.suppress_tokens = [*stated.suppress_tokens, word]
    stated.begin_suppress_tokens = [*stated.begin_suppress_tokens, first]
    for beams in BEAMS:
        printed = say(model, waveforms, padded=True, beams=beams)
        assert not any(word in row for row in printed)
        assert not any(row and row[0] == first for row in printed)
    del stated.suppress_tokens[-1]
    assert any(first in row[1:] for row in say(model, waveforms, padded=True))  # later it may come


@pytest.mark.parametrize("beams", BEAMS)
def test_a_decoder_that_never_ends_is_stopped_by_each_utterances_own_length(tiny_whisper, waveforms, beams):
    """The untaught model says one token for ever."""
    model, waveforms = load(tiny_whisper, device="cpu"), waveforms[::2]
    together = say(model, waveforms, padded=False, beams=beams)
    assert together == [say(model, [waveform], padded=False, beams=beams)[0] for waveform in waveforms]
    lengths = [len(row) for row in together]
    assert lengths == sorted(lengths) and lengths[0] < lengths[-1] <= 24 + 12 * 1.7


@pytest.mark.parametrize("language", ["en", "de"])
def test_language_and_task_tokens_of_a_multilingual_checkpoint(make_whisper, waveforms, language):
    folder = make_whisper(seconds=2, multilingual=True)
    model = load(folder, device="cpu", language=language)
    name = WhisperProcessor.from_pretrained(folder).tokenizer.convert_ids_to_tokens
    assert name(model.prompt) == ["<|startoftranscript|>", f"<|{language}|>", "<|transcribe|>", "<|notimestamps|>"]
    found = say(model, waveforms[:2], padded=True)
    for waveform, row in zip(waveforms, found, strict=False):
        features = model.processor.feature_extractor(waveform, sampling_rate=16_000, return_tensors="pt").input_features
        truth = model.network.generate(features, language=language, task="transcribe", max_new_tokens=len(row))
        assert truth[0].tolist() == row


def test_another_language_is_another_answer(make_whisper, waveforms):
    folder = make_whisper(seconds=2, multilingual=True)
    printed = [say(load(folder, device="cpu", language=code), waveforms[:2], padded=True) for code in ("en", "de")]
    assert printed[0] != printed[1]


@pytest.mark.parametrize(
    ("multilingual", "language", "words"),
    [
        (True, None, "needs a language"),
        (True, "xx", "does not know the language 'xx'"),
        (False, "de", "knows English only"),
    ],
)
def test_a_language_that_cannot_be(make_whisper, multilingual, language, words):
    with pytest.raises(UserError, match=words):
        load(make_whisper(seconds=2, multilingual=multilingual), device="cpu", language=language)


def test_an_english_checkpoint_may_be_told_english(make_whisper):
    model = load(make_whisper(seconds=2), device="cpu", language="en")
    names = model.processor.tokenizer.convert_ids_to_tokens(model.prompt)
    assert names == ["<|startoftranscript|>", "<|notimestamps|>"]


def longest_run(row: list[int]) -> dict[int, int]:
    """Stretch in tokens to the most times that one of that length comes running."""
    found = {}
    for stretch in range(1, MAX_LOOP_TOKENS + 1):
        runs = [1]
        for start in range(0, len(row) - stretch):
            times = 1
            while row[start : start + stretch] == row[start + times * stretch : start + (times + 1) * stretch]:
                times += 1
            runs.append(times)
        found[stretch] = max(runs)
    return found


@pytest.mark.parametrize("beams", BEAMS)
def test_no_loop_is_said(tiny_whisper, waveforms, beams):
    """An untrained model babbles; with `block_loops` nothing is said three times running, a single token five times."""
    untaught = load(tiny_whisper, device="cpu")
    with torch.no_grad():
        frames = untaught.encoder(untaught.encoder.prepare(waveforms))
    free = decode_whisper(untaught.network, frames, untaught.prompt, GenerationOptions(beams))
    held = decode_whisper(untaught.network, frames, untaught.prompt, GenerationOptions(beams, block_loops=True))
    assert max(max(longest_run(ended(untaught, row)).values()) for row in free) > 5
    for row in held:
        runs = longest_run(ended(untaught, row))
        assert runs.pop(1) < MAX_SINGLE_TOKEN_REPEATS and max(runs.values()) < MAX_REPEATS
        printed = ended(untaught, row)
        together = [
            tuple(printed[place : place + MIN_NO_REPEAT_NGRAM])
            for place in range(len(printed) - MIN_NO_REPEAT_NGRAM + 1)
        ]
        assert max(map(together.count, together), default=0) < MAX_NGRAM_OCCURRENCES


@pytest.mark.parametrize(
    ("printed", "forbidden"),
    [
        ([1, 2, 3, 4, 9, 1, 2, 3, 4, 8, 5, 5, 1, 2, 3], set()),  # four tokens together, for the third time
        ([1, 2, 3, 4, 9, 1, 2, 3, 4, 8, 1, 2, 3, 4, 7, 1, 2, 3], {4}),  # for the fourth
        ([1, 2, 3, 4, 9, 1, 2, 3, 5, 8, 1, 2, 3, 4, 7, 1, 2, 3], set()),
        ([1, 2, 1, 2, 1], {2}),  # running
        ([5, 5, 5, 5, 5], {5}),
    ],
)
def test_what_may_not_be_said_next(printed, forbidden):
    prompt = [6, 6, 6]
    scores = _LoopBlocker(len(prompt))(
        torch.tensor([prompt + printed, [*prompt, *range(20, 20 + len(printed))]]), torch.zeros(2, 50)
    )
    assert set(scores[0].isinf().nonzero().flatten().tolist()) == forbidden
    assert not scores[1].isinf().any()


def test_n_best_begins_with_what_decode_says(taught, waveforms):
    with torch.no_grad():
        frames = taught.encoder(taught.encoder.prepare(waveforms))
    options = GenerationOptions(beam_size=4)
    best = decode_whisper(taught.network, frames, taught.prompt, options)
    for row, hypotheses in zip(best, decode_n_best(taught.network, frames, taught.prompt, options), strict=True):
        assert len(hypotheses) == 4 and len({*map(tuple, hypotheses)}) == 4
        assert hypotheses[0][:-1] == ended(taught, row)


GEORGIAN = 17.0  # tokens a word


@pytest.mark.parametrize(
    ("tokens_per_word", "a_second", "refrain"), [(1.0, 12, 4), (1.5, 12, 4), (3.0, 15, 8), (GEORGIAN, 85, 43)]
)
def test_scripts_of_many_tokens_have_room_for_their_words(tokens_per_word, a_second, refrain):
    assert (compute_max_token_rate(tokens_per_word), compute_no_repeat_ngram_size(tokens_per_word)) == (
        a_second,
        refrain,
    )


@pytest.mark.parametrize("beams", BEAMS)
def test_an_utterance_s_limit_follows_its_script(tiny_whisper, waveforms, beams):
    """The untaught model says one token for ever."""
    model = load(tiny_whisper, device="cpu")
    with torch.no_grad():
        frames = model.encoder(model.encoder.prepare(waveforms[-1:]))
        options = [GenerationOptions(beams, tokens_per_word=each) for each in (1.5, 4.0)]
        sizes = [len(ended(model, decode_whisper(model.network, frames, model.prompt, one)[0])) for one in options]
    assert sizes[0] < sizes[1] <= 24 + 20 * 1.9


def test_the_same_bytes_in_many_words_are_no_refrain():
    printed = [1, 2, 3, 4, 9, 1, 2, 3, 4, 8, 1, 2, 3, 4, 7, 1, 2, 3]
    scores = _LoopBlocker(0, compute_no_repeat_ngram_size(GEORGIAN))(torch.tensor([printed]), torch.zeros(1, 50))
    assert not scores.isinf().any()
    assert _LoopBlocker(0)(torch.tensor([printed]), torch.zeros(1, 50)).isinf().any()
