"""Word times: with emissions made by hand, in transcripts of short and long files, and with Whisper's decoder."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile
import torch
from typer.testing import CliRunner

from speechxfer.cli import build_app
from speechxfer.config import load_recipe
from speechxfer.data.reader import read
from speechxfer.errors import UserError
from speechxfer.models import build_trainable, load
from speechxfer.models.decoding_options import DecodingOptions
from speechxfer.models.transcribe import iter_transcripts, transcribe
from speechxfer.models.transcript_check import score_transcripts
from speechxfer.models.word_times import predict_with_times, time_words
from speechxfer.shapes import Emissions

STRIDE = 0.02  # seconds per frame of Whisper's encoder


@pytest.fixture
def joint(tiny_whisper):
    stages = [{"train": "all", "epochs": 1, "lr": 1}]
    recipe = {"encoder": {"name": str(tiny_whisper)}, "head": {"kind": "joint"}, "stages": stages, "device": "cpu"}
    torch.manual_seed(1)
    return build_trainable(load_recipe(recipe), ["one", "two", "Six, one"])


@pytest.fixture
def ctc(make_encoder):
    return make_encoder("wav2vec2", words="one two six")


def make_emissions(model, text: str) -> Emissions:
    """Two frames per symbol and one of the blank after it, each with probability 0.9."""
    count = len(model.labels)
    rows = torch.full((3 * len(text), count), 0.1 / (count - 1))
    for place, symbol in enumerate(text):
        rows[3 * place : 3 * place + 2, model.labels.index(symbol)] = 0.9
        rows[3 * place + 2, model.blank] = 0.9
    return Emissions(rows.log()[None], torch.tensor([len(rows)]))


def test_words_are_spelled_as_in_the_text(joint):
    (found,) = time_words(joint, make_emissions(joint, "six one"), ["Six, 1 one."])
    assert [word.text for word in found] == ["Six,", "one."]  # the head cannot write figures
    assert [word.start for word in found] == pytest.approx([0.0, 12 * STRIDE])
    assert [word.end for word in found] == pytest.approx([8 * STRIDE, 20 * STRIDE])
    assert all(word.confidence == pytest.approx(0.9, abs=1e-5) for word in found)


def test_a_word_that_the_normaliser_splits_stays_one_word(joint):
    joint.encode_known = lambda text: [
        joint.vocabulary["|" if c == " " else c] for c in text.replace("sixty", "six one")
    ]
    (found,) = time_words(joint, make_emissions(joint, "two six one one"), ["two sixty one"])
    assert [word.text for word in found] == ["two", "sixty", "one"]
    assert (found[1].start, found[1].end) == pytest.approx((12 * STRIDE, 32 * STRIDE))


@pytest.mark.parametrize(
    ("text", "texts"),
    [("one 7—two six", "one two six"), ("3-one two (4) six", "one two six"), ("six-5 two", "six two")],
)
def test_words_outside_the_vocabulary_do_not_shift_other_words(joint, text, texts):
    """A normaliser that splits "7—two" leaves a space before the characters that the head can write."""
    joint.encode_known = lambda text: [
        joint.vocabulary["|" if c in " —-" else c] for c in text if c in " —-" or c in joint.vocabulary
    ]
    (found,) = time_words(joint, make_emissions(joint, texts), [text])
    starts = [3 * place * STRIDE for place, c in enumerate(texts) if place == 0 or texts[place - 1] == " "]
    assert [word.start for word in found] == pytest.approx(starts) and len(found) == len(texts.split())


@pytest.mark.parametrize("padded", [False, True])
def test_times_do_not_depend_on_padding(joint, padded):
    with joint.use_padding(padded):
        (found,) = time_words(joint, make_emissions(joint, "six one"), ["six one"])
    assert [word.start for word in found] == pytest.approx([0.0, 12 * STRIDE])


def test_a_text_that_does_not_fit_has_no_words(joint):
    assert time_words(joint, make_emissions(joint, "on"), ["two two two"]) == [[]]
    assert (
        time_words(joint, make_emissions(joint, "on"), [""])
        == time_words(joint, make_emissions(joint, "on"), ["7, 8!"])
        == [[]]
    )


def test_texts_are_the_model_s_own_in_any_batch(joint, ctc, make_speech):
    waveforms = [make_speech("two", 1, 1.3), make_speech("one", 2, 0.6), make_speech("six", 0, 0.9)]
    for model in (joint, load(ctc, device="cpu")):
        found = predict_with_times(model, waveforms)
        assert [text for text, _ in found] == model.predict(waveforms)
        for waveform, (text, words) in zip(waveforms, found, strict=True):
            ((again, alone),) = predict_with_times(model, [waveform])
            assert again == text and [(w.text, w.start, w.end) for w in alone] == [
                (w.text, w.start, w.end) for w in words
            ]
            times = [time for word in words for time in (word.start, word.end)]
            assert times == sorted(times) and all(0 <= time <= len(waveform) / 16_000 + STRIDE for time in times)
            assert all(0 < word.confidence <= 1 for word in words)
            if model.kind == "ctc":
                assert [word.text for word in words] == text.split() != []


def test_times_in_a_long_file_are_relative_to_the_file(ctc, make_speech, tmp_path):
    gap = np.zeros(8_000, np.float32)
    speech = [piece for k in range(12) for piece in (make_speech(("one", "two", "six")[k % 3], k % 5, 0.5), gap)]
    soundfile.write(tmp_path / "long.wav", np.concatenate(speech), 16_000)
    (one,) = transcribe(ctc, tmp_path / "long.wav", decoding=DecodingOptions(cut_seconds=3, words=True), device="cpu")
    assert len(one.segments) > 3 and not one.whole
    assert [word.text for segment in one.segments for word in segment.words or ()] == one.text.split()
    for segment in one.segments:
        assert all(segment.start <= word.start <= word.end <= segment.end + 1e-3 for word in segment.words or ())
    line = one.to_json()
    assert "words" not in line and {"text", "start", "end", "confidence"} == set(line["segments"][-1]["words"][0])
    (plain,) = transcribe(ctc, tmp_path / "long.wav", decoding=DecodingOptions(cut_seconds=3), device="cpu")
    assert plain.text == one.text and "words" not in plain.to_json()["segments"][0]


def test_the_command_writes_word_times(ctc, tiny_whisper, corpus_table, tmp_path):
    def run(*words: object, code: int = 0) -> str:
        done = CliRunner().invoke(build_app(), ["transcribe", *map(str, words), "--words", "--device", "cpu"])
        assert done.exit_code == code, done.output
        return done.stderr

    run(ctc, corpus_table, "--output", tmp_path / "said.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "said.jsonl").open()]
    assert len(lines) == 18
    for line in lines:
        assert [word["text"] for word in line["words"]] == line["hypothesis"].split()
    assert "word times need a CTC head" in run(tiny_whisper, corpus_table, "--output", tmp_path / "no.jsonl", code=2)
    assert "only JSON output has word times" in run(ctc, corpus_table, "--output", tmp_path / "no.csv", code=2)
    assert "only JSON output has word times" in run(ctc, corpus_table, code=2)
    with pytest.raises(UserError, match="word times need a CTC head"):
        next(iter_transcripts(load(tiny_whisper, device="cpu"), [read(corpus_table)], DecodingOptions(words=True)))


def test_a_joint_model_times_the_words_of_the_transcript(joint, corpus_table):
    found = score_transcripts(joint, read(corpus_table))
    assert all([word.text for word in one.words] == [read(corpus_table)["text"][one.index]] for one in found)
