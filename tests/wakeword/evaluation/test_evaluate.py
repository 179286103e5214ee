"""Evaluation of a small detector, and of another engine's detections, on clips and streams."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import soundfile

from speechxfer.errors import UserError
from speechxfer.report.progress import Reporter
from speechxfer.wakeword.evaluation.evaluate import evaluate_detection_times, evaluate_detector
from speechxfer.wakeword.runtime.detector import open_artifact
from speechxfer.wakeword.runtime.events import Event

QUIET = Reporter(quiet=True)


def test_the_detector_hears_new_clips_and_stays_silent_on_other_tunes(detector: Path, tunes: Path) -> None:
    found = evaluate_detector(
        open_artifact(detector), QUIET, positives=str(tunes / "test_words"), streams=[str(tunes / "test_speech")]
    )
    assert found.metrics.words == 10 and found.metrics.misses <= 1
    assert found.metrics.false_alarms <= 1
    seconds = sum(soundfile.info(p).duration for p in (tunes / "test_speech").iterdir())
    assert found.metrics.hours == pytest.approx(seconds / 3600)
    delay = found.metrics.to_json()["delay_ms"]
    assert -300 < delay["median"] < 500


def test_evaluation_in_json_has_the_contracts_keys(detector: Path, tunes: Path) -> None:
    clips, stream = str(tunes / "test_words"), str(tunes / "test_speech")
    found = evaluate_detector(open_artifact(detector), QUIET, positives=clips, streams=[stream], snrs=[10]).to_json()
    wanted = {"positives", "misses", "miss_rate", "false_alarms", "hours", "false_alarms_per_hour", "intervals"}
    assert wanted | {"delay_ms", "curve", "threshold"} <= set(found)
    assert {"miss_rate", "false_alarms_per_hour"} <= set(found["intervals"])
    assert found["curve"] and set(found["by"]["condition"]) == {"as recorded", "noise at 10 dB"}
    json.dumps(found, allow_nan=False)


def test_a_stream_that_holds_the_word_says_so_by_its_label(detector: Path, tunes: Path) -> None:
    table = tunes / "mixed.csv"
    words = [f"test_words/{i:03}.wav,tune" for i in range(3)]
    table.write_text("\n".join(["audio,label", *words, "test_speech/000.wav,other"]) + "\n")
    found = evaluate_detector(open_artifact(detector), QUIET, streams=[str(table)])
    assert found.metrics.words == 3 and found.metrics.false_alarms <= 1


def test_another_engines_times_are_counted_by_the_same_rules(tunes: Path) -> None:
    clips, stream = str(tunes / "test_words"), str(tunes / "test_speech")
    times = {f"{i:03}.wav": [Event(1.2)] for i in range(9)} | {stream: [Event(3.0), Event(9.0)]}
    found = evaluate_detection_times("tune", times, positives=clips, streams=[stream])
    assert (found.metrics.misses, found.metrics.false_alarms) == (1, 2)
    assert found.to_json()["threshold"] is None and found.to_json()["curve"] == []
    with pytest.raises(UserError, match=r"strange\.wav"):
        evaluate_detection_times("tune", {"strange.wav": [Event(1)]}, positives=clips)
    with pytest.raises(UserError, match="nothing to evaluate on"):
        evaluate_detection_times("tune", {})


def test_a_stream_of_another_rate_is_resampled_and_said(
    detector: Path, tunes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch
    from torchaudio.functional import resample

    wave, _ = soundfile.read(tunes / "test_words" / "000.wav", dtype="float32")
    times = {}
    for rate in (8_000, 16_000, 44_100):
        (tmp_path / str(rate)).mkdir()
        soundfile.write(tmp_path / str(rate) / "a.wav", resample(torch.from_numpy(wave), 16_000, rate).numpy(), rate)
        found = evaluate_detector(open_artifact(detector), Reporter(), streams=[str(tmp_path / str(rate))])
        times[rate] = [event.time for _, event in found.metrics.false_alarm_events]
        assert found.metrics.hours == pytest.approx(len(wave) / 16_000 / 3600, rel=1e-3)
    assert len(times[16_000]) == 1 and times[44_100] == pytest.approx(times[16_000], abs=0.03)
    output = capsys.readouterr().out
    assert "8,000 Hz, resampled to 16,000 Hz; no content above 4 kHz" in output
    assert "44,100 Hz, resampled to 16,000 Hz\n" in output and "16,000 Hz, resampled" not in output


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
def test_a_pipe_in_a_stream_is_refused_and_not_waited_for(detector: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.wav")
    (tmp_path / "t.csv").write_text("audio\na.wav\n")
    with pytest.raises(UserError, match="is a pipe or a device, not a file"):
        evaluate_detector(open_artifact(detector), QUIET, streams=[str(tmp_path / "t.csv")])
