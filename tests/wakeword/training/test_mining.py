"""Rounds of mining: what ends them, what is counted on whom, and what says the word is no alarm."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from speechxfer.report.progress import Reporter
from speechxfer.wakeword.data.clips import read_rows
from speechxfer.wakeword.data.mixing import PositiveClip, TrainingMixer
from speechxfer.wakeword.data.prepare import PreparedData, RecordedClip, prepare_training_data
from speechxfer.wakeword.model.student import FRAMES_PER_STEP, StudentConfig
from speechxfer.wakeword.model.teacher import WindowPool
from speechxfer.wakeword.runtime.detector import open_artifact
from speechxfer.wakeword.runtime.events import Trigger
from speechxfer.wakeword.training.loop import TrainingPlan, mining, train_student
from speechxfer.wakeword.training.mining import MiningLoop, ValidationStream
from speechxfer.wakeword.training.train import train_detector

QUIET = Reporter(quiet=True)
SHAPE = StudentConfig(width=8, dilations=(1, 2))


def sound(name: str, loud: bool, seconds: float = 1.0) -> RecordedClip:
    wave = (0.5 if loud else 1e-4) * np.sin(np.arange(round(16_000 * seconds)) / 5)
    return RecordedClip({"id": name, "audio": name, "text": ""}, wave.astype(np.float32))


@pytest.fixture
def loudness(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of a student: a logit of 6 where it is loud, of -6 elsewhere."""

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


@pytest.mark.parametrize(
    ("answers", "seconds", "steps", "asked"),
    [
        ([False, True], 1e9, 4, 2),  # held when the planned rounds were done
        ([True, False, True], 1e9, 6, 3),  # the planned ones are done whole, whatever the first said
        ([False] * 9, 1e9, 10, 5),  # never: all further ones
        ([False] * 9, 0.0, 4, 2),  # no time
    ],
)
def test_rounds_go_on_until_the_target_holds(answers: list[bool], seconds: float, steps: int, asked: int) -> None:
    told: list[tuple[int, int]] = []
    heard: list[int] = []

    def on_round(student: object, material: TrainingMixer, logits: np.ndarray) -> bool:
        heard.append(len(logits))
        return answers[len(heard) - 1]

    plan = TrainingPlan(steps=4, batch=8, mining_rounds=2, extra_rounds=3, max_seconds=seconds)
    train_student(some_material(), plan, shape=SHAPE, progress=lambda *at: told.append(at), on_round=on_round)
    assert told[-1][0] == steps and told[-1][0] == told[-1][1] and told[0] == (1, 4)
    assert heard == [600] * asked


def test_further_rounds_change_the_student() -> None:
    def weights(answer: bool) -> np.ndarray:
        plan = TrainingPlan(steps=4, batch=8, mining_rounds=2, extra_rounds=1)
        return (
            train_student(some_material(), plan, shape=SHAPE, on_round=lambda *_: answer).head.weight.detach().numpy()
        )

    assert np.array_equal(weights(True), weights(True)) and not np.array_equal(weights(True), weights(False))


def rounds_of(
    checked: list[RecordedClip], small: Callable[..., Any], tmp_path: Path, material: TrainingMixer
) -> MiningLoop:
    gathered = PreparedData(
        mixer=material, held_out_clips=[], held_out_stream=[], validation=checked, rows=[], spans=[], kind="real", clips_kind="real",
        contaminated=[], window_pool=WindowPool(False), sources=[],
    )  # fmt: skip
    return MiningLoop(small(tmp_path / "d"), gathered, QUIET)


def test_what_says_the_word_is_no_alarm(
    loudness: None, small: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def hears(self: object, rows: list[dict[str, str]]) -> list[str]:
        asked.extend(row["audio"] for row in rows)
        return ["what a tune" if row["audio"] == "said" else "la la" for row in rows]

    monkeypatch.setattr(mining.ContaminationFilter, "_transcribed", hears)
    material = some_material()
    material.negatives = np.zeros((400, 40), np.float32)  # quiet: training's own negatives are no reason to be deaf
    rounds = rounds_of([sound("said", True), sound("quiet", False), sound("fires", True)], small, tmp_path, material)
    logits = np.full(200, -6.0, np.float32)
    assert rounds(None, material, logits) is False  # type: ignore[arg-type]
    assert asked == ["fires", "said"] or asked == ["said", "fires"]
    assert rounds.rounds[0]["alarms"] == 1 and rounds.rounds[0]["hours"] == round(2 / 3600, 4)
    assert rounds.suspects.dropped == ["said"] and rounds.suspects.unsure == ["fires"]
    assert [s.row["audio"] for s in rounds.check.sounds] == ["quiet", "fires"]


def test_without_negatives_to_check_by_the_planned_rounds_are_all(
    loudness: None, small: Callable[..., Any], tmp_path: Path
) -> None:
    rounds = rounds_of([], small, tmp_path, some_material())
    assert rounds(None, some_material(), np.zeros(600, np.float32)) is True  # type: ignore[arg-type]
    found = rounds.to_json(None, Trigger(0.5))  # type: ignore[arg-type]
    assert "no negatives to check by" in found["stopped"] and found["alarms_at_the_calibrated_threshold"] is None


@pytest.mark.parametrize("check", [0.0, 0.3])
def test_nobody_is_in_two_parts_of_the_negatives(
    small: Callable[..., Any], tunes: Path, tmp_path: Path, check: float
) -> None:
    rows = read_rows(tunes / "speech")
    lines = [f"{row['path']},{i % 20}" for i, row in enumerate(rows)]
    (tmp_path / "n.csv").write_text("\n".join(["audio,speaker", *lines]) + "\n")
    found = prepare_training_data(small(tmp_path / "d", negatives=str(tmp_path / "n.csv"), check=check), QUIET)
    parts = [found.rows, [s.row for s in found.held_out_stream], [s.row for s in found.validation]]
    speakers = [{row["speaker"] for row in part} for part in parts]
    assert sum(map(len, parts)) == len(rows) and sum(map(len, speakers)) == 20
    assert bool(speakers[2]) is (check > 0) and speakers[0] and speakers[1]
    source = found.sources[-1]
    assert (source["clips"], source["held_out"], source["checked"]) == tuple(map(len, parts))


def test_the_manifest_says_how_the_rounds_ended(detector: Path, small: Callable[..., Any], tmp_path: Path) -> None:
    found = open_artifact(detector).manifest["mining"]
    assert found["hours"] > 0 and found["alarms_allowed"] == 0
    assert [r["round"] for r in found["rounds"]] == list(range(1, len(found["rounds"]) + 1))
    assert all({"hours", "alarms", "threshold"} <= set(r) for r in found["rounds"])
    last = found["rounds"][-1]["alarms"]
    assert found["stopped"] == ("the target held" if last == 0 else "after the most rounds")
    assert 2 <= len(found["rounds"]) <= 3 and (last == 0 or len(found["rounds"]) == 3)
    assert isinstance(found["alarms_at_the_calibrated_threshold"], int)
    unchecked = train_detector(small(tmp_path / "d", check=0.0, steps=2), QUIET)["mining"]
    assert unchecked["hours"] == 0 and len(unchecked["rounds"]) == 2
