"""How the benchmarks count, on scores written by hand; the trainings themselves take hours and are not run."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

BENCH = Path(__file__).parents[2] / "scripts" / "bench"


def bench(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Import a benchmark as a module, with its folder on the path."""
    monkeypatch.syspath_prepend(str(BENCH))
    spec = importlib.util.spec_from_file_location(f"{name}_tested", BENCH / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def folds(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return bench("wakeword_folds", monkeypatch)


def kept(folds: ModuleType, path: Path, clips: list[float], stream: list[float], channel: list[float]) -> Path:
    """Write a fold's file: the highest score of each clip, and streams of single scores 4 s apart."""

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
    found = folds.evaluate_pooled(files)
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
    here = [folds.assign_fold({"audio": f"audio/computer/{name}"}) for name in names]
    assert here == [folds.assign_fold({"audio": f"/else/where/{name}"}) for name in names]
    assert all(60 < here.count(fold) < 140 for fold in range(folds.FOLDS))


def test_speakers_are_whole_in_a_fold_and_folds_are_even(folds: ModuleType) -> None:
    rows = [{"speaker": f"{i // 3:03}"} for i in range(75)]
    found = folds.assign_speaker_folds(rows)
    assert len(found) == 25 and all(list(found.values()).count(fold) == 5 for fold in range(5))


def test_what_is_left_without_the_word(folds: ModuleType) -> None:
    rng = np.random.default_rng(0)
    wave = (0.001 * rng.standard_normal(48_000)).astype(np.float32)
    wave[16_000:24_000] += 0.3 * np.sin(np.arange(8_000) / 5).astype(np.float32)
    rest = folds.cut_word_out(wave)
    assert np.abs(rest).max() < 0.01 and 30_000 < len(rest) < 40_000


# -- beside openWakeWord ---------------------------------------------------------------------------------------------
@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return bench("wakeword_peers", monkeypatch)


def test_a_window_is_a_chunk_and_the_fifteen_before_it(peers: ModuleType) -> None:
    frames = np.arange(40, dtype=np.float32)[:, None] * np.ones((1, 96), np.float32)
    part = peers.Embedded(frames, np.array([0, 20, 40]))
    assert part.window_ends(0).tolist() == [15, 16, 17, 18, 19]  # before, no whole window
    assert part.window_ends(1).tolist() == list(range(20, 40))
    found = part.take_windows(np.array([20, 39]))
    assert found.shape == (2, 16 * 96)
    assert found[0, ::96].tolist() == list(range(5, 21)) and found[1, ::96].tolist() == list(range(24, 40))
    (one,) = peers.merge_parts([(part, np.array([15])), (part, np.array([17, 18]))])
    assert one[1].tolist() == [15, 17, 18]


def test_rows_of_the_fold_that_is_heard_are_mixed_with_its_own_voices(peers: ModuleType) -> None:
    words = [{"audio": f"{i}.opus", "label": "jarvis"} for i in range(50)]
    speech = [{"speaker": f"{i // 4:02}", "audio": f"{i}.wav"} for i in range(80)]
    parts, rows = peers.make_parts(words, speech)
    heard = {row["speaker"] for row in rows["as recorded"] if row["in_test"]}
    assert len(heard) == 4 and heard.isdisjoint(row["speaker"] for row in rows["as recorded"] if not row["in_test"])
    for part in parts:
        assert {row["speaker"] for row in part.voices[True]} == heard
        assert heard.isdisjoint(row["speaker"] for row in part.voices[False])
    few = rows["noise at 10 dB"]
    assert sum(row["in_test"] for row in few) == 16 and sum(not row["in_test"] for row in few) == 64 / peers.MIXED_EVERY
    assert [part.name for part in parts if part.lead] == ["words-0", "words-1", "words-2"]


def test_a_head_learns_what_parts_two_kinds_of_windows(peers: ModuleType) -> None:
    rng = np.random.default_rng(0)
    frames = rng.standard_normal((600, 96)).astype(np.float32)
    frames[300:] += 1.0
    part = peers.Embedded(frames, np.array([0, 300, 600]))
    score = peers.train_head([(part, part.window_ends(1)[16:])], [(part, part.window_ends(0))], epochs=8)
    assert (
        score(part.take_windows(part.window_ends(1)[16:])).mean()
        > 0.9
        > 0.1
        > score(part.take_windows(part.window_ends(0))).mean()
    )


def test_a_side_is_timed_in_a_process_of_its_own(
    peers: ModuleType, detector: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    play = bench("_wakeword_play", monkeypatch)
    heard: list[int] = []
    found = play.measure(lambda chunk: heard.append(len(chunk)), np.zeros(40 * play.CHUNK + 7, np.int16))
    assert heard == [play.CHUNK] * 40 and found["peak_memory_mb"] > 0 and found["cpu_seconds_an_hour"] >= 0
    assert "torch" not in (BENCH / "_wakeword_play.py").read_text()
    play.open_detector(str(detector))(np.zeros(play.CHUNK, np.int16))


# -- a day -----------------------------------------------------------------------------------------------------------
def test_what_a_detector_keeps_and_when_it_last_fired(
    detector: Path, clip: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = bench("wakeword_day", monkeypatch)
    from speechxfer.wakeword.runtime.detector import Detector

    sound = np.concatenate([np.zeros(16_000, np.float32), clip("word", 5000), np.zeros(32_000, np.float32)])
    found = day.measure(Detector(detector), sound, 900 / 3600)
    times = len(sound) / 16_000
    assert found["events"] == pytest.approx(900 / times, abs=2)  # once in each round of the sound
    assert found["last_event_hours"] * 3600 == pytest.approx(900, abs=2 * times)
    assert found["kept_between_pieces_bytes"]["most"] < 200_000
    assert len(found["memory_mb_each_hour"]) == 1 and found["memory_growth_mb"] == 0
