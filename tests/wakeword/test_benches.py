"""The benches' counting, on scores made by hand; what trains for hours is not run here."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

BENCH = Path(__file__).parents[2] / "scripts" / "bench"


@pytest.fixture
def folds(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(BENCH))
    spec = importlib.util.spec_from_file_location("wakeword_folds_tested", BENCH / "wakeword_folds.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module


def kept(folds: ModuleType, path: Path, clips: list[float], stream: list[float], channel: list[float]) -> Path:
    """A fold's file: a clip's highest score each, and streams of single scores 4 s apart."""

    def spaced(peaks: list[float]) -> np.ndarray:
        values = np.zeros(200 * (len(peaks) + 1))
        values[[200 * (i + 1) for i in range(len(peaks))]] = peaks
        return values

    found = {}
    for condition, less in zip(folds.CONDITIONS, (0.0, 0.1, 0.2), strict=True):
        for place, peak in enumerate(clips):
            found[f"{condition}/{place}"] = np.concatenate([np.zeros(150), [peak - less], np.zeros(100)])
        found[f"{condition}/stream"] = spaced(stream)
    found |= {"other words/stream": spaced(channel), "without the word/stream": spaced([])}
    facts = {
        "clips": [{"name": str(i), "words": [[2.0, 4.0, 2.9]]} for i in range(len(clips))],
        "hours": 0.5, "first": 0.02, "step": 0.02, "cpu_seconds": 60.0, "trigger": [0.75, 1, 2.0],
        "channel_hours": {"other words": 0.1, "without the word": 0.05},
    }  # fmt: skip
    np.savez(path, **found, facts=np.array(json.dumps(facts)))
    return path


def test_folds_are_pooled_at_one_threshold(folds: ModuleType, tmp_path: Path) -> None:
    files = [
        kept(folds, tmp_path / "0.npz", [0.9, 0.8], [0.5, 0.6], [0.85]),
        kept(folds, tmp_path / "1.npz", [0.65, 0.7], [0.72], [0.3]),
    ]
    found = folds.pooled(files)
    clean, noise, babble = (found["conditions"][name] for name in folds.CONDITIONS)
    # no alarm: above 0.72 over both folds, so 0.65 and 0.7 are missed; one alarm: above 0.6, so none is
    assert (clean["at_0_alarms"]["misses"], clean["at_0_alarms"]["positives"]) == (2, 4)
    assert (clean["at_1_alarms"]["misses"], clean["at_1_alarms"]["false_alarms"]) == (0, 1)
    assert clean["at_0_alarms"]["hours"] == 1.0
    assert (noise["at_0_alarms"]["misses"], babble["at_0_alarms"]["misses"]) == (3, 4)  # 0.8 0.7 0.55 0.6; less 0.1
    assert clean["at_0_alarms"]["delay_ms"]["median"] == pytest.approx(1000 * (0.02 + 150 * 0.02 - 2.9))
    # each at its own 0.75: 0.9 and 0.8 of fold 0; fold 1's stream of 0.72 stays silent
    assert found["as_calibrated"][folds.CONDITIONS[0]] == {"misses": 2, "positives": 4, "false_alarms": 0}
    assert found["channel"]["other words"]["alarms_at_the_threshold_of_0"] == 1  # 0.85
    assert found["channel"]["other words"]["hours"] == pytest.approx(0.2)
    assert found["channel"]["without the word"]["alarms_at_the_threshold_of_1"] == 0
    json.dumps(found, allow_nan=False)


def test_a_files_fold_is_by_its_name_wherever_it_lies(folds: ModuleType) -> None:
    names = [f"{i:032x}.opus" for i in range(500)]
    here = [folds.fold_of({"audio": f"audio/computer/{name}"}) for name in names]
    assert here == [folds.fold_of({"audio": f"/else/where/{name}"}) for name in names]
    assert all(60 < here.count(fold) < 140 for fold in range(folds.FOLDS))


def test_speakers_are_whole_in_a_fold_and_folds_are_even(folds: ModuleType) -> None:
    rows = [{"speaker": f"{i // 3:03}"} for i in range(75)]
    found = folds.speaker_folds(rows)
    assert len(found) == 25 and all(list(found.values()).count(fold) == 5 for fold in range(5))


def test_what_is_left_without_the_word(folds: ModuleType) -> None:
    rng = np.random.default_rng(0)
    wave = (0.001 * rng.standard_normal(48_000)).astype(np.float32)
    wave[16_000:24_000] += 0.3 * np.sin(np.arange(8_000) / 5).astype(np.float32)
    rest = folds.without_word(wave)
    assert np.abs(rest).max() < 0.01 and 30_000 < len(rest) < 40_000
