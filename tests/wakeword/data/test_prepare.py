"""Training data and held-out data, and recordings that cannot be used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from speechxfer.errors import UserError
from speechxfer.report.progress import Reporter
from speechxfer.wakeword.data import prepare
from speechxfer.wakeword.data.clips import read_rows
from speechxfer.wakeword.data.prepare import prepare_training_data

QUIET = Reporter(quiet=True)
Small = Callable[..., Any]


@pytest.mark.parametrize("check", [0.0, 0.3])
def test_nobody_is_in_two_parts_of_the_negatives(small: Small, tunes: Path, tmp_path: Path, check: float) -> None:
    rows = read_rows(tunes / "speech")
    lines = [f"{row['path']},{i % 20}" for i, row in enumerate(rows)]
    (tmp_path / "n.csv").write_text("\n".join(["audio,speaker", *lines]) + "\n")
    found = prepare_training_data(
        small(tmp_path / "d", negatives=str(tmp_path / "n.csv"), validation_share=check), QUIET
    )
    parts = [found.rows, [s.row for s in found.held_out_stream], [s.row for s in found.validation]]
    speakers = [{row["speaker"] for row in part} for part in parts]
    assert sum(map(len, parts)) == len(rows) and sum(map(len, speakers)) == 20
    assert bool(speakers[2]) is (check > 0) and speakers[0] and speakers[1]
    source = found.sources[-1]
    assert (source["clips"], source["held_out"], source["checked"]) == tuple(map(len, parts))


@pytest.mark.parametrize(
    ("clips", "printed"),
    [
        ({}, "empty"),
        ({"a.wav": 0.05}, "a.wav: 0.0"),
        ({"a.wav": 0.0}, "holds no samples|truncated|0.00 s"),
    ],
)
def test_positives_that_cannot_be_used(
    small: Small, tunes: Path, tmp_path: Path, clips: dict[str, float], printed: str
) -> None:
    (tmp_path / "clips").mkdir()
    for name, seconds in clips.items():
        soundfile.write(tmp_path / "clips" / name, np.zeros(round(seconds * 16_000)), 16_000)
    with pytest.raises(UserError, match=printed):
        prepare_training_data(small(tmp_path / "d", positives=str(tmp_path / "clips")), QUIET)


def test_a_recording_of_the_word_is_no_other_speech(small: Small, tunes: Path, tmp_path: Path) -> None:
    words = str(tunes / "test_words")
    with pytest.raises(UserError, match="every row contains the word"):
        prepare_training_data(small(tmp_path / "d", positives=words, negatives=words), QUIET)


def test_recordings_shorter_than_the_word_are_named(small: Small, tmp_path: Path) -> None:
    """The shortest duration of the word is estimated from synthetic voices."""
    pytest.importorskip("espeakng_loader")
    (tmp_path / "clips").mkdir()
    for name, seconds in (("hasty.wav", 0.3), ("whole.wav", 1.5)):
        tone = 0.2 * np.sin(np.arange(round(seconds * 16_000)) / 10)
        soundfile.write(tmp_path / "clips" / name, tone, 16_000)
    settings = small(tmp_path / "d", word="hey juniper computer", positives=str(tmp_path / "clips"), steps=2)
    with pytest.raises(UserError, match=r"hasty\.wav: 0\.\d+ s, but the word takes at least 0\.\d+ s") as error:
        prepare_training_data(settings, QUIET)
    assert "whole.wav" not in str(error.value)


def test_nothing_of_the_word_at_all(small: Small, tunes: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no clips of the word to train on"):
        prepare_training_data(small(tmp_path / "d", positives=None), QUIET)


@pytest.fixture
def few_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("espeakng_loader")
    for name, few in (("NUM_FILLER_SENTENCES", 16), ("NUM_NEAR_MISSES", 4), ("_SYNTHETIC_CLIPS", 3)):
        monkeypatch.setattr(prepare, name, few)


def test_without_recordings_everything_is_synthetic_and_no_voice_is_in_two_sets(
    small: Small, tmp_path: Path, few_sentences: None
) -> None:
    settings = small(tmp_path / "d", word="juniper", positives=None, negatives=None, synthetic=4)
    found = prepare_training_data(settings, QUIET)
    assert (found.kind, found.clips_kind) == ("synthetic", "synthetic")
    assert len(found.mixer.positives) == 3 * 4 and len(found.held_out_clips) == 3
    assert [len(found.rows), len(found.held_out_stream), len(found.validation)] == [16, 4, 2]
    train = {row["speaker"].partition("+")[2] for row in found.rows}
    held_out = {c.row["speaker"].partition("+")[2] for c in (*found.held_out_stream, *found.validation)}
    assert train and held_out and train.isdisjoint(held_out)
    texts = [{row["text"] for row in found.rows}, {c.row["text"] for c in found.held_out_stream}]
    assert texts[0].isdisjoint(texts[1])
    sources = {source["what"]: source for source in found.sources}
    assert sources["synthetic recordings of the word"]["clips"] == 4
    assert "niper" in sources["synthetic near misses"]["texts"]
    assert sources["synthetic speech without the word"]["licence"] == "espeak-ng's output"


def test_negatives_that_contain_the_word_or_are_its_recordings_are_left_out(
    small: Small, tunes: Path, tmp_path: Path
) -> None:
    lines = [f"{tunes}/speech/{i:03}.wav,la la" for i in range(10)]
    lines += [f"{tunes}/speech/010.wav,my tune", f"{tunes}/words/000.wav,"]
    (tmp_path / "n.csv").write_text("\n".join(["audio,text", *lines]) + "\n")
    found = prepare_training_data(small(tmp_path / "d", negatives=str(tmp_path / "n.csv")), QUIET)
    assert found.contaminated == [f"{tunes}/speech/010.wav", f"{tunes}/words/000.wav"]
    kept = [*found.rows, *(c.row for c in (*found.held_out_stream, *found.validation))]
    assert len(kept) == 10 and all("/speech/" in row["audio"] for row in kept)


def test_spans_cover_the_negatives_and_noise_has_power_1(small: Small, tunes: Path, tmp_path: Path) -> None:
    found = prepare_training_data(small(tmp_path / "d", noise=str(tunes / "test_speech")), QUIET)
    flat = [span for spans in found.spans for span in spans]
    assert len(found.spans) == len(found.rows) and all(len(spans) == 2 for spans in found.spans)
    assert [start for start, _ in flat] == np.cumsum([0, *(length for _, length in flat)])[:-1].tolist()
    assert flat[-1][0] + flat[-1][1] == len(found.mixer.negatives)
    assert found.sources[-1]["what"] == "noises" and found.sources[-1]["clips"] == 20
    recorded = found.mixer.noises[-150:]  # of the last recording, which is longer
    assert 0.1 < found.mixer.noises.sum(axis=1).mean() < 10 and recorded.sum() > 0


def test_negatives_beyond_the_memory_limit_are_not_read(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(prepare, "MAX_NEGATIVE_HOURS", 400 / 360_000)  # 4 s
    found = prepare_training_data(small(tmp_path / "d"), Reporter())
    assert len(found.rows) == len(found.spans) == 2  # 1.8 s each, with a changed copy
    assert "Only the first 0.0 h of negatives are used" in capsys.readouterr().out
