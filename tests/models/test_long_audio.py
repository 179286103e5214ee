"""Rows of any length: long ones are transcribed in segments, in bounded memory, and keep their place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechxfer.data.reader import read
from speechxfer.models import load, long_audio, predict_all
from speechxfer.models.base import SpeechModel
from speechxfer.models.long_audio import get_whole_seconds, predict_any_length
from speechxfer.models.transcribe import transcribe


@pytest.fixture(scope="module")
def rows(make_speech, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of 0.8, 12.6, 0.6 and 5.6 s: words with pauses between them."""
    folder = tmp_path_factory.mktemp("long")
    names = []
    for number, count in enumerate((1, 9, 1, 4)):
        pieces = []
        for word in range(count):
            pieces += [make_speech(("one", "two", "six")[word % 3], number, 0.8 if number != 2 else 0.6)]
            pieces += [np.zeros(9_600, np.float32)] * (count > 1)
        soundfile.write(folder / f"{number}.wav", np.concatenate(pieces), 16_000)
        names.append(f"{number}.wav,{'one ' * count}")
    (folder / "rows.csv").write_text("\n".join(["audio,text", *names]) + "\n")
    return folder / "rows.csv"


def test_short_rows_as_predict_all_and_long_ones_as_transcribe(
    tiny_whisper: Path, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(tiny_whisper, device="cpu")
    assert get_whole_seconds(model) == 2
    utterances = read(rows)
    short, long = [0, 2], [1, 3]
    expected = dict(zip(short, predict_all(model, utterances.select(short)), strict=True))
    expected |= dict(zip(long, [one.text for one in transcribe(model, utterances.select(long))], strict=True))
    batches, counts = [], []
    whole = SpeechModel.predict

    def predict(self: SpeechModel, waveforms: list[np.ndarray]) -> list[str]:
        batches.append(sum(map(len, waveforms)) / 16_000)
        return whole(self, waveforms)

    monkeypatch.setattr(SpeechModel, "predict", predict)
    found = predict_any_length(
        model, utterances, batch_seconds=4, progress=lambda done, total: counts.append((done, total))
    )
    assert found == [expected[number] for number in range(4)]
    assert batches and max(batches) <= 4
    assert counts[-1] == (4, 4) and [done for done, _ in counts] == sorted(done for done, _ in counts)


def test_a_model_without_a_limit_cuts_long_rows_only(make_encoder, rows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load(make_encoder("wav2vec2", words="one two"), device="cpu")
    utterances = read(rows)
    assert get_whole_seconds(model) == 60
    assert predict_any_length(model, utterances) == predict_all(model, utterances)
    monkeypatch.setattr(long_audio, "LONG_SECONDS", 6.0)
    found = predict_any_length(model, utterances)
    (cut,) = transcribe(model, utterances.select([1]))
    assert found == [cut.text if number == 1 else text for number, text in enumerate(predict_all(model, utterances))]


def test_a_classifier_gets_the_whole_audio(make_encoder, rows: Path) -> None:
    model = load(make_encoder("wav2vec2", labels=["one", "two"]), device="cpu")
    assert get_whole_seconds(model) is None
    assert predict_any_length(model, read(rows)) == predict_all(model, read(rows))
