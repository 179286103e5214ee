"""Scheduling of segments: bounded batches and memory, bad files, interrupts, progress."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from speechxfer.data import audio
from speechxfer.data.audio_files import collect_audio
from speechxfer.data.reader import read
from speechxfer.errors import UserError
from speechxfer.models import (
    SpeechModel,
    load,
)
from speechxfer.models.decoding_options import DecodingOptions
from speechxfer.models.transcribe import iter_transcripts, transcribe
from speechxfer.models.transcript import (
    UnreadableAudio,
)

RATE = 16_000


@pytest.fixture(scope="module")
def model(two_second_whisper: Path) -> SpeechModel:
    return load(two_second_whisper, device="cpu")


def test_long_and_short_files_share_bounded_batches(
    model: SpeechModel, long_file: Path, corpus_table: Path, monkeypatch: pytest.MonkeyPatch, record_batches: Any
) -> None:
    alone = {name: transcribe(model, name)[0].text for name in (str(long_file), str(corpus_table.parent / "0-six.wav"))}
    batches = record_batches(model)
    named = [str(corpus_table.parent / "0-six.wav"), str(long_file)]
    transcribe(model, named, decoding=DecodingOptions(pad_to_30s=False, batch_seconds=4.0))
    assert all(max(batch) * len(batch) <= 4.0 * RATE for batch in batches)
    assert any(len(batch) > 1 for batch in batches)
    batches.clear()
    found = transcribe(model, named, decoding=DecodingOptions(batch_seconds=4.0))  # padded: two seconds each
    assert max(len(batch) for batch in batches) == 2
    assert [(one.audio, one.text) for one in found] == [(name, alone[name]) for name in named]


def test_memory_does_not_grow_with_the_file(
    model: SpeechModel, long_file: Path, monkeypatch: pytest.MonkeyPatch, record_batches: Any
) -> None:
    record_batches(model, lambda waveforms: ["word" for _ in waveforms])
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
    assert peaks[60] < 1.5 * peaks[3] < 60 * len(piece)  # the long file's samples alone take four times as much


def test_a_bad_file_is_reported_and_the_others_are_transcribed(
    model: SpeechModel, corpus_table: Path, long_file: Path, tmp_path: Path
) -> None:
    whole = [str(corpus_table.parent / f"0-{word}.wav") for word in ("one", "two")]
    (tmp_path / "text.wav").write_text("I am a transcript")
    soundfile.write(tmp_path / "cut.flac", np.tile(soundfile.read(long_file)[0], 8), RATE)
    data = (tmp_path / "cut.flac").read_bytes()
    (tmp_path / "cut.flac").write_bytes(data[: len(data) // 2])  # segments before the damage are predicted first
    named = ["gone.wav", whole[0], str(tmp_path / "cut.flac"), str(tmp_path / "text.wav"), whole[1]]
    bad: list[UnreadableAudio] = []
    found = transcribe(model, named, decoding=DecodingOptions(batch_seconds=4.0), on_bad=bad.append)
    assert [one.id for one in found] == whole
    assert [one.text for one in found] == [transcribe(model, name)[0].text for name in whole]
    assert [one.audio for one in bad] == ["gone.wav", *named[2:4]]
    assert str(bad[0]) == "gone.wav: no such file or folder"
    assert "cut.flac: is truncated or damaged" in str(bad[1]) and "text.wav: is text, not audio" in str(bad[2])
    with pytest.raises(UserError, match=r"text.wav: is text"):  # not the error of the next file
        transcribe(model, [named[1], named[3], named[2]])


def test_an_interrupt_yields_the_transcripts_so_far(
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


def test_progress_ends_at_the_total_duration(
    model: SpeechModel,
    few_rows: Path,
    long_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_batches: Any,
) -> None:
    record_batches(model, lambda waveforms: ["word" for _ in waveforms])
    steps: list[tuple[int, int]] = []
    (tmp_path / "text.wav").write_text("no audio")
    named = [few_rows, long_file, tmp_path / "text.wav"]
    transcribe(
        model,
        named,
        decoding=DecodingOptions(batch_seconds=2.0),
        progress=lambda done, of: steps.append((done, of)),
        on_bad=print,
    )
    seconds = sum(map(audio.measure_duration, read(few_rows))) + soundfile.info(long_file).duration
    assert {of for _, of in steps} == {round(seconds)}
    assert [done for done, _ in steps] == sorted(done for done, _ in steps)
    assert steps[-1][0] == round(seconds) and steps[0][0] < 5
