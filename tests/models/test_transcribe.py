"""transcribe: the model's own answers whatever the batch, long files joined from their cuts, bad files, interrupts."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

from speechxfer.config import load_recipe
from speechxfer.data import audio
from speechxfer.data.audio_files import collect_audio
from speechxfer.data.reader import read
from speechxfer.data.segmentation import segment_audio
from speechxfer.errors import UserError
from speechxfer.models import SpeechModel, build_trainable, load, predict_all
from speechxfer.models.decoding_options import DecodingOptions, override_decoding
from speechxfer.models.transcribe import UnreadableAudio, iter_transcripts, transcribe
from speechxfer.models.transcript import TranscriptSegment, find_majority_label, join_texts

RATE = 16_000


@pytest.fixture(scope="module")
def model(make_whisper: Callable[..., Path]) -> SpeechModel:
    """It holds two seconds, and runs padded to them, as an untouched Whisper does to thirty.

    With this seed it says something else of every word, padded too.
    """
    return load(make_whisper(seconds=2, seed=6), device="cpu")


@pytest.fixture
def long_file(tmp_path: Path, spoken: Callable[..., np.ndarray]) -> Path:
    """Twelve words with pauses between them and six seconds of nothing in the midst: 15 s."""
    gap = np.zeros(round(0.35 * RATE), np.float32)
    words = [spoken(("one", "two", "six")[n % 3], n % 5, 0.4) for n in range(12)]
    pieces = [piece for word in words for piece in (word, gap)]
    pieces.insert(12, np.zeros(6 * RATE, np.float32))
    soundfile.write(tmp_path / "long.wav", np.concatenate(pieces), RATE)
    return tmp_path / "long.wav"


@pytest.fixture(scope="module")
def table(corpus_table: Path) -> Path:
    """Six rows of the corpus."""
    few = corpus_table.parent / "few.csv"
    few.write_text("\n".join(corpus_table.read_text().splitlines()[:7]) + "\n")
    return few


def counting(
    model: SpeechModel, monkeypatch: pytest.MonkeyPatch, answer: Callable[..., list[str]] | None = None
) -> Any:
    """Have `model.predict` note the lengths of its batches; the list of them is returned."""
    batches: list[list[int]] = []
    real = answer or model.predict

    def noting(waveforms: Sequence[np.ndarray]) -> list[str]:
        batches.append([len(waveform) for waveform in waveforms])
        return real(waveforms)

    monkeypatch.setattr(model, "predict", noting)
    return batches


@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("batch_seconds", [0.5, 120.0])
def test_answers_are_those_of_evaluate(model: SpeechModel, table: Path, padded: bool, batch_seconds: float) -> None:
    rows = read(table)
    with model.use_padding(padded):
        expected = predict_all(model, rows)
    found = transcribe(model, table, decoding=DecodingOptions(pad_to_30s=padded, batch_seconds=batch_seconds))
    assert [one.text for one in found] == expected
    assert len(set(expected)) > 3, "the random model says the same of everything, so this test would see nothing"
    assert [one.id for one in found] == rows["id"]
    assert [one.seconds for one in found] == [round(audio.measure_duration(row), 3) for row in rows]
    assert all(one.whole and one.complete and len(one.segments) == 1 for one in found)


def test_a_model_saved_unpadded_runs_unpadded(model: SpeechModel, table: Path, tmp_path: Path) -> None:
    saved = model.settings.model_copy(update={"pad_to_30s": False})
    model.save(tmp_path / "adapted")
    (tmp_path / "adapted/speechxfer.json").write_text(saved.model_dump_json())
    said = {
        name: [one.text for one in transcribe(which, table, decoding=DecodingOptions(pad_to_30s=padded))]
        for name, which, padded in [
            ("adapted", tmp_path / "adapted", None),
            ("untouched, unpadded", model, False),
            ("untouched", model, None),
        ]
    }
    assert said["adapted"] == said["untouched, unpadded"] != said["untouched"]


def test_a_row_carries_its_reference_and_its_columns(model: SpeechModel, corpus_table: Path, tmp_path: Path) -> None:
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
    table = tmp_path / "again.csv"  # what was written before, heard again; an empty text is no reference
    table.write_text(f"audio,text,hypothesis,segments\n{corpus_table.parent}/0-one.wav,,old words,[]\n")
    (again,) = transcribe(model, table)
    assert set(again.to_json()) == {"id", "audio", "hypothesis"} and again.text == first.text


@pytest.mark.parametrize("padded", [True, False])
def test_a_long_file_is_its_cuts(model: SpeechModel, long_file: Path, padded: bool) -> None:
    (found,) = transcribe(model, str(long_file), decoding=DecodingOptions(pad_to_30s=padded))
    expected = list(segment_audio({"audio": "x", "path": str(long_file)}, longest=2 * 28 / 30, whole=2.0))
    with model.use_padding(padded):
        texts = [model.predict([cut.waveform])[0] for cut in expected]  # each alone, so whatever the batch
    assert found.segments == [
        TranscriptSegment(round(cut.start, 3), round(cut.end, 3), text)
        for cut, text in zip(expected, texts, strict=True)
    ]
    assert len(set(texts)) > 3 and found.text == " ".join(filter(None, texts))
    assert not found.whole and found.complete
    assert found.seconds == pytest.approx(soundfile.info(long_file).duration, abs=0.001)
    assert 8 < sum(segment.end - segment.start for segment in found.segments) < 10.5  # six seconds were nothing
    assert found.to_json()["segments"][0] == {"start": 0.0, "end": found.segments[0].end, "text": texts[0]}


def test_long_and_short_together_in_batches_that_are_bounded(
    model: SpeechModel, long_file: Path, corpus_table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = {name: transcribe(model, name)[0].text for name in (str(long_file), str(corpus_table.parent / "0-six.wav"))}
    batches = counting(model, monkeypatch)
    named = [str(corpus_table.parent / "0-six.wav"), str(long_file)]
    with override_decoding(model, DecodingOptions(pad_to_30s=False)):
        transcribe(model, named, decoding=DecodingOptions(batch_seconds=4.0))
    assert all(max(batch) * len(batch) <= 4.0 * RATE for batch in batches)
    assert any(len(batch) > 1 for batch in batches)
    batches.clear()
    found = transcribe(
        model, named, decoding=DecodingOptions(batch_seconds=4.0)
    )  # padded: what counts is two seconds each
    assert max(len(batch) for batch in batches) == 2
    assert [(one.audio, one.text) for one in found] == [(name, alone[name]) for name in named]


def test_memory_does_not_grow_with_the_file(
    model: SpeechModel, long_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting(model, monkeypatch, lambda waveforms: ["word" for _ in waveforms])
    piece, _ = soundfile.read(long_file, dtype="float32")
    peaks = {}
    for times_as_long in (3, 60):
        soundfile.write(long_file, np.tile(piece, times_as_long), RATE)
        tracemalloc.start()
        (found,) = transcribe(model, long_file, decoding=DecodingOptions(batch_seconds=4.0))
        peaks[times_as_long] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert found.text.split() == ["word"] * len(found.segments)
        assert len(found.segments) >= 5 * times_as_long
    assert peaks[60] < 1.5 * peaks[3] < 60 * len(piece)  # the long one's samples alone are four times this


def test_a_bad_file_is_named_and_the_others_are_heard(
    model: SpeechModel, corpus_table: Path, long_file: Path, tmp_path: Path
) -> None:
    whole = [str(corpus_table.parent / f"0-{word}.wav") for word in ("one", "two")]
    (tmp_path / "text.wav").write_text("I am a transcript")
    soundfile.write(tmp_path / "cut.flac", np.tile(soundfile.read(long_file)[0], 8), RATE)
    data = (tmp_path / "cut.flac").read_bytes()
    (tmp_path / "cut.flac").write_bytes(data[: len(data) // 2])  # what is before the damage is answered first
    named = ["gone.wav", whole[0], str(tmp_path / "cut.flac"), str(tmp_path / "text.wav"), whole[1]]
    bad: list[UnreadableAudio] = []
    found = transcribe(model, named, decoding=DecodingOptions(batch_seconds=4.0), on_bad=bad.append)
    assert [one.id for one in found] == whole
    assert [one.text for one in found] == [transcribe(model, name)[0].text for name in whole]
    assert [one.audio for one in bad] == ["gone.wav", *named[2:4]]
    assert str(bad[0]) == "gone.wav: no such file or folder"
    assert "cut.flac: is truncated or damaged" in str(bad[1]) and "text.wav: is text, not audio" in str(bad[2])
    with pytest.raises(UserError, match=r"text.wav: is text"):  # its own, not the next one's
        transcribe(model, [named[1], named[3], named[2]])


def test_an_interrupt_keeps_what_was_answered(
    model: SpeechModel, corpus_table: Path, long_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = transcribe(model, long_file)[0]
    real, calls = model.predict, iter(range(100))

    def answer(waveforms: Sequence[np.ndarray]) -> list[str]:
        if next(calls) == 6:
            raise KeyboardInterrupt
        return real(waveforms)

    monkeypatch.setattr(model, "predict", answer)
    rows, _ = collect_audio([corpus_table.parent / "0-one.wav", long_file, corpus_table.parent / "0-two.wav"])
    kept = []
    with pytest.raises(KeyboardInterrupt):
        for one in iter_transcripts(model, rows, DecodingOptions(batch_seconds=2.0)):
            kept.append(one)
    assert [Path(one.audio).name for one in kept] == ["0-one.wav", "long.wav"]
    assert [one.complete for one in kept] == [True, False]
    assert 0 < len(kept[1].segments) < len(whole.segments)
    assert kept[1].segments == whole.segments[: len(kept[1].segments)]
    assert kept[1].to_json()["complete"] is False and "complete" not in kept[0].to_json()


def test_progress_ends_at_all_the_seconds_there_are(
    model: SpeechModel, table: Path, long_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting(model, monkeypatch, lambda waveforms: ["word" for _ in waveforms])
    told: list[tuple[int, int]] = []
    (tmp_path / "text.wav").write_text("no audio")
    named = [table, long_file, tmp_path / "text.wav"]
    transcribe(
        model,
        named,
        decoding=DecodingOptions(batch_seconds=2.0),
        progress=lambda done, of: told.append((done, of)),
        on_bad=print,
    )
    seconds = sum(map(audio.measure_duration, read(table))) + soundfile.info(long_file).duration
    assert {of for _, of in told} == {round(seconds)}
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1][0] == round(seconds) and told[0][0] < 5


def test_a_batch_too_large_for_the_gpu_is_halved(
    model: SpeechModel, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = [one.text for one in transcribe(model, table)]
    real = model.predict

    def cramped(waveforms: Sequence[np.ndarray]) -> list[str]:
        if len(waveforms) > 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return real(waveforms)

    batches = counting(model, monkeypatch, cramped)
    assert [one.text for one in transcribe(model, table)] == expected
    assert max(map(len, batches)) == 6 and sum(len(batch) for batch in batches if len(batch) <= 2) == 6


def test_cut_seconds(model: SpeechModel, long_file: Path, table: Path) -> None:
    (found,) = transcribe(model, long_file, decoding=DecodingOptions(cut_seconds=1.0))
    assert max(s.end - s.start for s in found.segments) <= 1.0
    assert len(found.segments) > len(transcribe(model, long_file)[0].segments)
    for wrong, message in ((0.5, "holds no words"), (3.0, "Whisper's encoder holds 2 s")):
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


def test_silence_has_no_words_but_may_have_a_label(model: SpeechModel, tiny_whisper: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "muted.wav", np.zeros(2 * RATE), RATE)
    (heard,) = transcribe(model, tmp_path / "muted.wav")
    assert heard.text == "" and heard.segments == [] and heard.complete and heard.seconds == 2.0
    (heard,) = transcribe(build_trainable(recipe(tiny_whisper, "classify"), ["one", "two"]), tmp_path / "muted.wav")
    assert heard.text


def test_faint_speech_in_a_long_file_is_heard(model: SpeechModel, long_file: Path, tmp_path: Path) -> None:
    samples, rate = soundfile.read(long_file)
    soundfile.write(tmp_path / "faint.wav", 0.0009 * samples / np.abs(samples).max(), rate, subtype="FLOAT")
    (heard,) = transcribe(model, tmp_path / "faint.wav")
    assert heard.segments


def test_a_classifier_answers_labels(tiny_whisper: Path, table: Path, long_file: Path) -> None:
    torch.manual_seed(0)
    classifier = build_trainable(recipe(tiny_whisper, "classify"), ["one", "two", "six"])
    found = transcribe(classifier, [str(table), str(long_file)])
    assert [one.text for one in found[:-1]] == predict_all(classifier, read(table))
    assert found[0].to_json()["reference"] == "one" and found[0].to_json()["text"] == "one"
    assert found[-1].text == find_majority_label(found[-1].segments) and found[-1].text in classifier.labels
    with pytest.raises(UserError, match="a classifier has no beam search"):
        transcribe(classifier, table, decoding=DecodingOptions(beam_size=2))


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
    with pytest.raises(UserError, match="only Whisper is padded"):
        transcribe(model, long_file, decoding=DecodingOptions(pad_to_30s=True))


def test_beams_act_and_the_model_is_left_as_it_was(model: SpeechModel, table: Path) -> None:
    greedy, wide = (
        transcribe(model, table),
        transcribe(model, table, decoding=DecodingOptions(beam_size=4, pad_to_30s=False)),
    )
    assert [one.text for one in greedy] != [one.text for one in wide]
    assert model.settings.beam_size == 1 and model.encoder.pad_to_30s is True


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
