"""Transcription: predictions independent of the batch, long files, silence, table columns, classifiers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

from speechxfer.config import load_recipe
from speechxfer.data import audio
from speechxfer.data.reader import read
from speechxfer.data.segmentation import segment_audio
from speechxfer.errors import UserError
from speechxfer.models import SpeechModel, build_trainable, load, predict_all
from speechxfer.models.base import TrainingLengths
from speechxfer.models.decoding_options import DecodingOptions
from speechxfer.models.transcribe import find_long_warning, transcribe
from speechxfer.models.transcript import TranscriptSegment, find_majority_label

RATE = 16_000


@pytest.fixture(scope="module")
def model(two_second_whisper: Path) -> SpeechModel:
    return load(two_second_whisper, device="cpu")


@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("batch_seconds", [0.5, 120.0])
def test_texts_are_those_of_predict_all(model: SpeechModel, few_rows: Path, padded: bool, batch_seconds: float) -> None:
    rows = read(few_rows)
    with model.use_padding(padded):
        expected = predict_all(model, rows)
    found = transcribe(model, few_rows, decoding=DecodingOptions(pad_to_30s=padded, batch_seconds=batch_seconds))
    assert [one.text for one in found] == expected
    assert len(set(expected)) > 3, "the random model predicts one text only, so this test would prove nothing"
    assert [one.id for one in found] == rows["id"]
    assert [one.seconds for one in found] == [round(audio.measure_duration(row), 3) for row in rows]
    assert all(one.whole and one.complete and len(one.segments) == 1 for one in found)


def test_a_model_saved_unpadded_runs_unpadded(model: SpeechModel, few_rows: Path, tmp_path: Path) -> None:
    saved = model.settings.model_copy(update={"pad_to_30s": False})
    model.save(tmp_path / "adapted")
    (tmp_path / "adapted/speechxfer.json").write_text(saved.model_dump_json())
    printed = {
        name: [one.text for one in transcribe(which, few_rows, decoding=DecodingOptions(pad_to_30s=padded))]
        for name, which, padded in [
            ("adapted", tmp_path / "adapted", None),
            ("untouched, unpadded", model, False),
            ("untouched", model, None),
        ]
    }
    assert printed["adapted"] == printed["untouched, unpadded"] != printed["untouched"]


def test_a_transcript_has_the_row_s_reference_and_columns(
    model: SpeechModel, corpus_table: Path, tmp_path: Path
) -> None:
    first = transcribe(model, corpus_table)[0]
    assert first.to_json() == {
        "id": "0-one",
        "audio": "0-one.wav",
        "hypothesis": first.text,
        "reference": "one",
        "speaker": "s0",
        "accent": "south",
        "label": "one",
        "split": "train",
    }
    table = tmp_path / "again.csv"  # an earlier output as input; an empty text is not a reference
    table.write_text(f"audio,text,hypothesis,segments\n{corpus_table.parent}/0-one.wav,,old words,[]\n")
    (again,) = transcribe(model, table)
    assert set(again.to_json()) == {"id", "audio", "hypothesis"} and again.text == first.text


@pytest.mark.parametrize("padded", [True, False])
def test_a_long_file_is_cut_into_segments(model: SpeechModel, long_file: Path, padded: bool) -> None:
    (found,) = transcribe(model, str(long_file), decoding=DecodingOptions(pad_to_30s=padded))
    row = {"audio": "x", "path": str(long_file)}
    expected = list(segment_audio(row, max_seconds=2 * 28 / 30, max_single_seconds=2.0))
    with model.use_padding(padded):
        texts = [model.predict([cut.waveform])[0] for cut in expected]  # each alone
    assert found.segments == [
        TranscriptSegment(round(cut.start, 3), round(cut.end, 3), text)
        for cut, text in zip(expected, texts, strict=True)
    ]
    assert len(set(texts)) > 3 and found.text == " ".join(filter(None, texts))
    assert not found.whole and found.complete
    assert found.seconds == pytest.approx(soundfile.info(long_file).duration, abs=0.001)
    assert 8 < sum(segment.end - segment.start for segment in found.segments) < 10.5  # six seconds are silence
    assert found.to_json()["segments"][0] == {"start": 0.0, "end": found.segments[0].end, "text": texts[0]}


def test_cut_seconds(model: SpeechModel, long_file: Path, few_rows: Path) -> None:
    (found,) = transcribe(model, long_file, decoding=DecodingOptions(cut_seconds=1.0))
    assert max(s.end - s.start for s in found.segments) <= 1.0
    assert len(found.segments) > len(transcribe(model, long_file)[0].segments)
    for wrong, message in ((0.5, "too short for words"), (3.0, r"more than Whisper.s encoder takes \(2 s\)")):
        with pytest.raises(UserError, match=message):
            transcribe(model, long_file, decoding=DecodingOptions(cut_seconds=wrong))


def recipe(name: Path, kind: str) -> Any:
    return load_recipe(
        {
            "data": {"train": "x"},
            "encoder": {"name": str(name)},
            "head": {"kind": kind},
            "stages": [{"train": "head", "epochs": 1, "lr": 1e-3}],
            "device": "cpu",
        },
        [],
    )


def test_silence_has_no_text_but_may_have_a_label(model: SpeechModel, tiny_whisper: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "muted.wav", np.zeros(2 * RATE), RATE)
    (transcript,) = transcribe(model, tmp_path / "muted.wav")
    assert transcript.text == "" and transcript.segments == [] and transcript.complete and transcript.seconds == 2.0
    (transcript,) = transcribe(
        build_trainable(recipe(tiny_whisper, "classify"), ["one", "two"]), tmp_path / "muted.wav"
    )
    assert transcript.text


def test_faint_speech_in_a_long_file_is_transcribed(model: SpeechModel, long_file: Path, tmp_path: Path) -> None:
    samples, rate = soundfile.read(long_file)
    soundfile.write(tmp_path / "faint.wav", 0.0009 * samples / np.abs(samples).max(), rate, subtype="FLOAT")
    (transcript,) = transcribe(model, tmp_path / "faint.wav")
    assert transcript.segments


def test_a_classifier_predicts_labels(tiny_whisper: Path, few_rows: Path, long_file: Path) -> None:
    torch.manual_seed(0)
    classifier = build_trainable(recipe(tiny_whisper, "classify"), ["one", "two", "six"])
    found = transcribe(classifier, [str(few_rows), str(long_file)])
    assert [one.text for one in found[:-1]] == predict_all(classifier, read(few_rows))
    assert found[0].to_json()["reference"] == "one" and found[0].to_json()["text"] == "one"
    assert found[-1].text == find_majority_label(found[-1].segments) and found[-1].text in classifier.labels
    with pytest.raises(UserError, match="a classifier has no beam search"):
        transcribe(classifier, few_rows, decoding=DecodingOptions(beam_size=2))


def test_a_classifier_s_probabilities_are_in_the_json(tiny_whisper: Path, few_rows: Path, long_file: Path) -> None:
    torch.manual_seed(0)
    classifier = build_trainable(recipe(tiny_whisper, "classify"), ["one", "two", "six", "ten"])
    first, *_, last = [one.to_json() for one in transcribe(classifier, [str(few_rows), str(long_file)])]
    (expected,) = classifier.predict_labels([audio.load_waveform(read(few_rows)[0])])
    assert first["score"] == pytest.approx(expected.score, abs=1e-3)
    assert [one["label"] for one in first["top"]] == list(expected.probabilities)[:3]
    assert first["measure"] == "accuracy" and first["hypothesis"] == first["top"][0]["label"]
    assert "measure" not in last  # it has no reference
    weights = [segment["end"] - segment["start"] for segment in last["segments"]]
    tops = [{one["label"]: one["score"] for one in segment["top"]} for segment in last["segments"]]
    best = last["top"][0]["label"]
    if all(best in top for top in tops):
        mean = sum(w * top[best] for w, top in zip(weights, tops, strict=True)) / sum(weights)
        assert last["top"][0]["score"] == pytest.approx(mean, abs=1e-3)


def test_audio_far_longer_than_the_training_clips_is_told(model: SpeechModel, tiny_whisper: Path) -> None:
    classifier = build_trainable(recipe(tiny_whisper, "classify"), ["one", "two"])
    lengths = {"a.wav": 1.0, "b.wav": 7.0, "c.wav": 2.0}
    assert find_long_warning(classifier, lengths) == []  # nothing is known about its training
    classifier.settings.training = TrainingLengths(usual_seconds=0.8, max_seconds=1.0, characters_per_second=0)
    (warning,) = find_long_warning(classifier, lengths)
    assert warning.startswith("1 recording is far longer than the longest training clip (1.0 s)")
    assert "b.wav (7.0 s)" in warning
    model.settings.training = classifier.settings.training
    assert find_long_warning(model, lengths) == []  # of a recogniser, which cuts long audio


def test_another_family_takes_thirty_seconds_and_no_padding(long_file: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = Wav2Vec2Config(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=(16, 16),
        conv_kernel=(10, 32),
        conv_stride=(5, 64),
        feat_extract_norm="layer",
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
    )
    Wav2Vec2Model(config).save_pretrained(tmp_path / "w2v")
    Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(tmp_path / "w2v")
    model = build_trainable(recipe(tmp_path / "w2v", "ctc"), ["one two six"])
    (found,) = transcribe(model, long_file)
    assert found.whole and found.text == model.predict([audio.decode_audio(long_file)])[0]
    piece, _ = soundfile.read(long_file)
    soundfile.write(long_file, np.tile(piece, 3), RATE)
    (found,) = transcribe(model, long_file)
    assert not found.whole and all(segment.end - segment.start <= 28 for segment in found.segments)
    with pytest.raises(UserError, match="only Whisper pads its input"):
        transcribe(model, long_file, decoding=DecodingOptions(pad_to_30s=True))


def test_a_model_gets_segments_as_long_as_its_training_utterances(make_whisper, tmp_path, monkeypatch):
    model = load(make_whisper(seconds=30), device="cpu")
    samples = 0.3 * np.sin(np.arange(25 * RATE) / 9) * (np.sin(np.arange(25 * RATE) / 4_000) ** 2)
    soundfile.write(tmp_path / "long.wav", samples, RATE)
    lengths: list[float] = []

    def predict_as(text: str) -> None:
        def predict(_: SpeechModel, waveforms: list[np.ndarray]) -> list[str]:
            lengths.extend(len(waveform) / RATE for waveform in waveforms)
            return [text] * len(waveforms)

        lengths.clear()
        monkeypatch.setattr(type(model), "predict", predict)

    predict_as("x" * 200)
    transcribe(model, tmp_path / "long.wav")
    assert lengths == [25.0]
    model.settings.training = TrainingLengths(usual_seconds=8, max_seconds=12, characters_per_second=10)
    predict_as("x" * 200)
    (found,) = transcribe(model, tmp_path / "long.wav")
    assert max(lengths) <= 8 and sum(lengths) == pytest.approx(25, abs=0.5)
    assert len(found.segments) == len(lengths) > 3 and not any(segment.is_retried for segment in found.segments)
    predict_as("x")
    (found,) = transcribe(model, tmp_path / "long.wav")
    assert any(segment.is_retried for segment in found.segments) and len(lengths) > len(found.segments)
