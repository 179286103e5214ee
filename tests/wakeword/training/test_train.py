"""Training from recordings to a detector's folder."""

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
from speechxfer.wakeword.evaluation.evaluate import evaluate_detector
from speechxfer.wakeword.runtime.detector import Detector, open_artifact
from speechxfer.wakeword.training import mining, train
from speechxfer.wakeword.training.train import train_detector

QUIET = Reporter(quiet=True)
Small = Callable[..., Any]


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


def test_negatives_that_say_the_word_are_listed_and_left_out(
    small: Small, tunes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two by their text, some by their transcript, and one that is a recording of the word itself."""
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

    monkeypatch.setattr(mining.ContaminationFilter, "_transcribe", hears)
    settings = small(tmp_path / "d", negatives=str(tmp_path / "n.csv"), steps=90, mining_rounds=3)
    manifest = train_detector(settings, QUIET)
    listed = manifest["negatives_with_the_word"]
    assert {f"{tunes}/words/{i:03}.wav" for i in (0, 1, 5)} <= set(listed)
    assert any(f"{tmp_path}/words/{i:03}.wav" in listed for i in range(2, 5)), (listed, asked)
    assert not any("/speech/" in name for name in listed)


def test_what_lies_in_the_folder_is_never_lost(detector: Path, small: Small, tunes: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a detector already exists"):
        train_detector(small(detector), QUIET)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(UserError, match="contains other files"):
        train_detector(small(tmp_path / "mine", overwrite=True), QUIET)
    assert (tmp_path / "mine" / "thesis.txt").exists()


def test_a_folder_of_recordings_with_some_manifest_is_no_detector(small: Small, detector: Path, tmp_path: Path) -> None:
    """Not with --overwrite either: the recordings may be those that the detector is trained on."""
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(UserError, match=r"model\.onnx missing"):
        train_detector(small(tmp_path, overwrite=True), QUIET)
    folder = tmp_path / "project"
    shutil.copytree(detector, folder)
    (folder / "clips").mkdir()
    (folder / "clips" / "one.wav").write_bytes(b"RIFF")
    with pytest.raises(UserError, match="other files, which would be deleted: clips"):
        train_detector(small(folder, overwrite=True, positives=str(folder / "clips")), QUIET)
    assert (folder / "clips" / "one.wav").read_bytes() == b"RIFF"


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
    assert "Only 1 recording of the word" in capsys.readouterr().out.replace("\n", " ")


@pytest.mark.parametrize(
    "others",
    [
        {"positives": "test_words", "negatives": "test_words"},  # no negative is left
        {"positives": "empty"},
        {"positives": None},
    ],
)
def test_data_that_cannot_be_used_leave_no_folder(
    small: Small, tunes: Path, tmp_path: Path, others: dict[str, str | None]
) -> None:
    (tmp_path / "empty").mkdir()
    folders = {"test_words": str(tunes / "test_words"), "empty": str(tmp_path / "empty"), None: None}
    with pytest.raises(UserError):
        train_detector(small(tmp_path / "d", **{key: folders[name] for key, name in others.items()}), QUIET)
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_the_stop_of_mining_is_described() -> None:
    counts = {"rounds": [{"alarms": 2}], "hours": 0.04, "stopped": "time limit"}
    one = train._describe_mining({**counts, "alarms_at_the_calibrated_threshold": 0})
    assert one == (
        "Hard-negative mining stopped after 1 round: time limit. False alarms on 0.04 h of unseen speech per round: 2."
    )
    unchecked = train._describe_mining({**counts, "alarms_at_the_calibrated_threshold": None})
    assert unchecked == "Hard-negative mining stopped after 1 round: time limit."
