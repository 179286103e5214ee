"""From recordings to a folder that detects, through the same code as the command line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from safetensors.numpy import load_file

from speechxfer.errors import UserError
from speechxfer.report.progress import Reporter
from speechxfer.wakeword.evaluation.evaluate import evaluate_detection_times, evaluate_detector
from speechxfer.wakeword.evaluation.report import write_detector_report
from speechxfer.wakeword.runtime.detector import Detector, open_artifact
from speechxfer.wakeword.runtime.events import Event
from speechxfer.wakeword.training.loop import mining, train
from speechxfer.wakeword.training.train import train_detector

QUIET = Reporter(quiet=True)
Small = Callable[..., Any]


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


def test_the_folder_holds_what_its_manifest_says(detector: Path) -> None:
    assert sorted(p.name for p in detector.iterdir()) == ["manifest.json", "model.onnx", "model.safetensors"]
    manifest = json.loads((detector / "manifest.json").read_text())
    assert manifest["word"] == "tune" and manifest["calibration"]["kind"] == "real"
    clips = {source["what"]: source["clips"] for source in manifest["data"]}
    assert clips["recordings of the word"] == 24
    assert manifest["model"]["parameters"] == sum(
        tensor.size
        for name, tensor in load_file(detector / "model.safetensors").items()
        if not name.endswith(("mean", "var", "scale", "tracked"))
    )
    assert not any(str(detector.parent) in line for line in (detector / "manifest.json").read_text().splitlines())
    assert manifest["calibration"]["positives"] % 2 == 0  # each clean and with noise


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


def test_the_report_plays_what_went_wrong_and_escapes_what_people_wrote(
    detector: Path, tunes: Path, tmp_path: Path
) -> None:
    evil = tmp_path / "<script>alert(1)<b>"
    evil.mkdir()
    for i in range(3):
        (evil / f"{i}.wav").write_bytes((tunes / "test_words" / f"00{i}.wav").read_bytes())  # as a stream: it fires
    artifact = open_artifact(detector)
    found = evaluate_detector(
        artifact, QUIET, positives=str(tunes / "test_speech"), streams=[str(evil)]
    )  # and these are missed
    write_detector_report(tmp_path / "report.html", found, facts={"a<b": "c&d"}, warnings=["<i>"])
    text = (tmp_path / "report.html").read_text()
    assert found.metrics.false_alarms >= 2 and found.metrics.misses >= 15
    assert text.count("<audio") == min(found.metrics.misses, 30) + found.metrics.false_alarms
    assert "<script" not in text and "a&lt;b" in text and "&lt;i&gt;" in text
    assert "<polyline" in text and 'class="here"' in text


def test_negatives_that_say_the_word_are_listed_and_left_out(
    small: Small, tunes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two by their text; one by its sound, which a recogniser confirms; one is a recording of the word itself."""
    (tmp_path / "words").mkdir()
    for i in range(2, 5):
        shutil.copy(tunes / "words" / f"{i:03}.wav", tmp_path / "words")
    lines = [f"{tunes}/speech/{i:03}.wav,a tone,{i}" for i in range(30)]
    lines += [f"{tunes}/words/000.wav,they said: Tune!,31", f"{tunes}/words/001.wav,TUNE,32"]
    lines += [f"{tmp_path}/words/{i:03}.wav,,x{i}" for i in range(2, 5)] + [f"{tunes}/words/005.wav,,y"]
    (tmp_path / "n.csv").write_text("\n".join(["audio,text,speaker", *lines]) + "\n")
    asked: list[str] = []

    def hears(self: object, rows: list[dict[str, str]]) -> list[str]:
        asked.extend(row["audio"] for row in rows)
        return ["a tune." if "/words/" in row["audio"] else "la la" for row in rows]

    monkeypatch.setattr(mining.ContaminationFilter, "_transcribed", hears)
    settings = small(tmp_path / "d", negatives=str(tmp_path / "n.csv"), steps=90, rounds=3)
    manifest = train_detector(settings, QUIET)
    listed = manifest["negatives_with_the_word"]
    assert {f"{tunes}/words/{i:03}.wav" for i in (0, 1, 5)} <= set(listed)
    assert any(f"{tmp_path}/words/{i:03}.wav" in listed for i in range(2, 5)), (listed, asked)
    assert not any("/speech/" in name for name in listed)


def test_what_lies_in_the_folder_is_never_lost(detector: Path, small: Small, tunes: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds a detector already"):
        train_detector(small(detector), QUIET)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(UserError, match="holds other files"):
        train_detector(small(tmp_path / "mine", overwrite=True), QUIET)
    assert (tmp_path / "mine" / "thesis.txt").exists()


def test_a_place_that_cannot_be_written_is_told_before_any_work(small: Small, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/detector: cannot be written"):
        train_detector(small(tmp_path / "file" / "detector"), QUIET)


def test_a_failed_training_leaves_the_old_detector(
    small: Small, tunes: Path, detector: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "d"
    folder.mkdir()
    for path in detector.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())

    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("power cut")

    monkeypatch.setattr(train, "train_student", fails)
    with pytest.raises(RuntimeError):
        train_detector(small(folder, overwrite=True), QUIET)
    assert Detector(folder).artifact.word == "tune"


@pytest.mark.parametrize(
    ("clips", "said"),
    [
        ({}, "empty"),
        ({"a.wav": 0.05}, "a.wav: 0.0"),
        ({"a.wav": 0.0}, "holds no samples|truncated|0.00 s"),
    ],
)
def test_positives_that_cannot_be_used(
    small: Small, tunes: Path, tmp_path: Path, clips: dict[str, float], said: str
) -> None:
    (tmp_path / "clips").mkdir()
    for name, seconds in clips.items():
        soundfile.write(tmp_path / "clips" / name, np.zeros(round(seconds * 16_000)), 16_000)
    with pytest.raises(UserError, match=said):
        train_detector(small(tmp_path / "d", positives=str(tmp_path / "clips")), QUIET)
    assert not (tmp_path / "d").exists()


def test_a_recording_of_the_word_is_no_other_speech(small: Small, tunes: Path, tmp_path: Path) -> None:
    words = str(tunes / "test_words")
    with pytest.raises(UserError, match="every row holds the word"):
        train_detector(small(tmp_path / "d", positives=words, negatives=words), QUIET)
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize("word", ["", "!!!", " - "])
def test_a_word_that_cannot_be_said(small: Small, tmp_path: Path, word: str) -> None:
    with pytest.raises(ValueError, match="word"):
        small(tmp_path / "d", word=word)


def test_recordings_shorter_than_the_word_are_named(small: Small, tmp_path: Path) -> None:
    """How long the word takes at the quickest is known from the synthetic voices."""
    pytest.importorskip("espeakng_loader")
    (tmp_path / "clips").mkdir()
    for name, seconds in (("hasty.wav", 0.3), ("whole.wav", 1.5)):
        tone = 0.2 * np.sin(np.arange(round(seconds * 16_000)) / 10)
        soundfile.write(tmp_path / "clips" / name, tone, 16_000)
    settings = small(tmp_path / "d", word="hey juniper computer", positives=str(tmp_path / "clips"), steps=2)
    with pytest.raises(UserError, match=r"hasty\.wav: 0\.\d+ s, and the word takes 0\.\d+ s") as error:
        train_detector(settings, QUIET)
    assert "whole.wav" not in str(error.value) and not (tmp_path / "d").exists()


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
    said = capsys.readouterr().out
    assert "8,000 Hz, resampled to 16,000; above 4 kHz it is empty" in said
    assert "44,100 Hz, resampled to 16,000\n" in said and "16,000 Hz, resampled" not in said


def test_what_real_streams_showed_is_kept_in_the_manifest(detector: Path, tunes: Path, tmp_path: Path) -> None:
    folder = tmp_path / "d"
    folder.mkdir()
    for path in detector.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    stream = str(tunes / "test_speech")
    figures = evaluate_detector(open_artifact(folder), QUIET, streams=[stream]).to_json()
    kept = train.add_stream_results(folder, [stream], figures)
    assert json.loads((folder / "manifest.json").read_text()) == kept
    assert kept["streams"]["names"] == ["test_speech"]  # no folder of this machine
    assert kept["streams"]["false_alarms"] == figures["false_alarms"] and kept["streams"]["hours"] > 0
    assert {name: kept[name] for name in kept if name != "streams"} == open_artifact(detector).manifest
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in detector.iterdir())


def test_one_recording_makes_a_detector_and_says_that_it_is_few(
    small: Small, tunes: Path, tmp_path: Path, clip: Callable[..., np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "one").mkdir()
    soundfile.write(tmp_path / "one" / "a.wav", clip("word", 1), 16_000)
    settings = small(tmp_path / "d", positives=str(tmp_path / "one"), steps=2)
    manifest = train_detector(settings, Reporter())
    assert manifest["calibration"]["positives"] == 0
    assert "1 recordings of the word are few" in capsys.readouterr().out.replace("\n", " ")


def test_nothing_of_the_word_at_all(small: Small, tunes: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing of the word"):
        train_detector(small(tmp_path / "d", positives=None), QUIET)
