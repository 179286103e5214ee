"""A detector's folder, and its scores and events in blocks of any size, without torch."""

from __future__ import annotations

import json
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from speechxfer.wakeword.model.student import FIRST_SCORE_SECONDS, STEP_SECONDS
from speechxfer.wakeword.runtime.detector import (
    FLUSH_SECONDS,
    Detector,
    Scorer,
    ScoringModel,
    _read_layout,
    open_artifact,
    replace_threshold,
)
from speechxfer.wakeword.runtime.errors import DetectorError
from speechxfer.wakeword.runtime.events import Trigger
from speechxfer.wakeword.runtime.features import SAMPLE_RATE

Speech = Callable[..., np.ndarray]


def write_artifact(folder: Path, graph: bytes) -> Path:
    folder.mkdir()
    (folder / "model.onnx").write_bytes(graph)
    calibration = {"threshold": 0.5, "smoothing": 3, "refractory": 1.0}
    manifest = {"format": "speechxfer.wakeword/1", "word": "juniper", "calibration": calibration}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def set_calibration(folder: Path, **values: float) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["calibration"] |= values
    (folder / "manifest.json").write_text(json.dumps(manifest))


def rename_metadata(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"frames_a_score", b"frames_a_smile"))


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=st.lists(st.integers(16, 5 * SAMPLE_RATE), min_size=1, max_size=10), whole=st.booleans())
def test_scores_in_pieces_of_1_ms_to_5_s_are_those_of_the_whole(
    graph: bytes, speechlike: Speech, pieces: list[int], whole: bool
) -> None:
    wave = speechlike(6.0)
    reference = Scorer(graph).push(wave)
    scorer, found, start = Scorer(graph), [], 0
    sizes = [*pieces, len(wave)] if whole else pieces * (1 + len(wave) // sum(pieces))
    for size in sizes:
        scores = scorer.push(wave[start : start + size])
        assert scores.first == pytest.approx(FIRST_SCORE_SECONDS + STEP_SECONDS * (sum(map(len, found)) - 1))
        found.append(scores.values)
        start += size
    assert np.abs(np.concatenate(found)[: len(reference.values)] - reference.values).max() < 1e-4


@pytest.mark.parametrize("lead", [0.02, 0.1, 0.5, 2.0, 5.0])
def test_a_stream_starts_as_after_silence(graph: bytes, speechlike: Speech, lead: float) -> None:
    """The sound has the same scores at its start and after a pause of any length, at times that are the pause later."""
    wave = speechlike(2.5, seed=2)
    scorer = Scorer(graph)
    alone = scorer.push(wave)
    scorer.reset()
    later = scorer.push(np.concatenate([np.zeros(round(lead * SAMPLE_RATE), np.float32), wave]))
    count = len(alone.values)
    assert len(later.values) == count + round(lead / STEP_SECONDS)
    assert np.abs(later.values[-count:] - alone.values).max() < 1e-5
    assert later.times()[-count:] - lead == pytest.approx(alone.times())
    assert np.ptp(alone.values[:40]) > 0.05  # the start is not silence


def test_a_model_that_streams_share_gives_each_its_scores(graph: bytes, speechlike: Speech) -> None:
    model = ScoringModel(graph)
    one, other = Scorer(model), Scorer(model)
    waves = [speechlike(2.0, seed=seed) for seed in (4, 5)]
    found: list[list[np.ndarray]] = [[], []]
    for start in range(0, len(waves[0]), 3_000):
        for side, (scorer, wave) in enumerate(zip((one, other), waves, strict=True)):
            found[side].append(scorer.push(wave[start : start + 3_000]).values)
    for side, wave in enumerate(waves):
        assert np.abs(np.concatenate(found[side]) - Scorer(graph).push(wave).values).max() < 1e-4


def test_an_event_after_the_end_is_found_by_the_flush(detector: Path, sound: np.ndarray, times: list[float]) -> None:
    end = round((times[0] - 0.03) * SAMPLE_RATE)  # before the score that passes the threshold is complete
    running = Detector(detector)
    assert running.push(sound[:end]) == []
    (event,) = running.flush()
    assert times[0] - 0.1 < event.time < end / SAMPLE_RATE + FLUSH_SECONDS


def test_one_millisecond_at_a_time(graph: bytes, speechlike: Speech) -> None:
    wave = speechlike(2.0, seed=3)
    scorer = Scorer(graph)
    found = np.concatenate([scorer.push(wave[i : i + 16]).values for i in range(0, len(wave), 16)])
    assert np.abs(found - Scorer(graph).push(wave).values).max() < 1e-4


def test_what_is_kept_does_not_grow_with_what_was_heard(graph: bytes, speechlike: Speech, tmp_path: Path) -> None:
    """Ten minutes, a minute at a time; a whole day is played by scripts/bench/wakeword_day.py."""
    detector = Detector(write_artifact(tmp_path / "d", graph))
    minute = speechlike(60.0)
    detector.push(minute)
    tracemalloc.start()
    detector.push(minute)
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(10):
        detector.push(minute)
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert after - before < 100_000
    assert detector.push(minute[:SAMPLE_RATE]) == [] or detector._finder._last > 700  # time goes on


def test_the_folder_alone_detects_without_torch(graph: bytes, speechlike: Speech, tmp_path: Path) -> None:
    folder = write_artifact(tmp_path / "d", graph)
    np.save(tmp_path / "wave.npy", speechlike(3.0))
    program = f"""
import sys
sys.modules["torch"] = None  # an import of it fails
import numpy as np
from speechxfer.wakeword.runtime.detector import Detector
detector = Detector({str(folder)!r})
wave = np.load({str(tmp_path / "wave.npy")!r})
events = [e for i in range(0, len(wave), 1000) for e in detector.push(wave[i:i + 1000])]
print(len(events), round(detector.score, 4))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    detector = Detector(folder)
    events = detector.push(speechlike(3.0))
    assert done.stdout.split()[0] == str(len(events)) and events


def test_int16_and_float_are_the_same_sound(graph: bytes, speechlike: Speech) -> None:
    wave = np.round(speechlike(1.0) * 32_768).astype(np.int16)
    assert np.array_equal(Scorer(graph).push(wave).values, Scorer(graph).push(wave / np.float32(32_768)).values)


def test_samples_that_are_no_numbers_are_silence(graph: bytes, speechlike: Speech) -> None:
    wave = speechlike(1.0)
    silenced = wave.copy()
    silenced[4000:4100] = 0
    for value in (np.nan, np.inf, -1e38):
        wave[4000:4100] = value
        assert np.array_equal(Scorer(graph).push(wave).values, Scorer(graph).push(silenced).values)


@pytest.mark.parametrize(
    ("damage", "texts"),
    [
        (lambda f: (f / "model.onnx").unlink(), "model.onnx missing"),
        (lambda f: (f / "manifest.json").write_text("{"), "invalid manifest.json"),
        (lambda f: (f / "manifest.json").write_text('{"format": "other/9"}'), "other/9"),
        (lambda f: (f / "model.onnx").write_bytes(b"no graph"), "not a usable ONNX model"),
        (lambda f: rename_metadata(f / "model.onnx"), "frames_a_score is ''"),
        (lambda f: set_calibration(f, threshold=float("nan")), "threshold is nan"),
        (lambda f: set_calibration(f, smoothing=-5), "smoothing is -5, it can be 1 to 1000"),
        (lambda f: set_calibration(f, smoothing=1_000_000_000), "smoothing"),
        (lambda f: set_calibration(f, refractory=-1.0), "refractory"),
        (lambda f: set_calibration(f, refractory=float("inf")), "refractory"),
        (lambda f: (f / "manifest.json").write_text("[" * 100_000), "invalid manifest.json"),
    ],
)
def test_a_folder_that_is_no_detector(graph: bytes, tmp_path: Path, damage, texts: str) -> None:  # type: ignore[no-untyped-def]
    folder = write_artifact(tmp_path / "d", graph)
    damage(folder)
    with pytest.raises(DetectorError, match=texts):
        Detector(folder)


@pytest.mark.parametrize(
    ("inputs", "outputs", "stride", "texts"),
    [
        ({}, {"scores": [1, None]}, "2", "no log_mel"),
        ({"log_mel": [1, None, 40], "state": [1, 2]}, {"scores": [1, None]}, "2", "no next_state"),
        ({"log_mel": [1, None, 40], "state": [1, 2**33]}, {"scores": [], "next_state": []}, "2", "state has the shape"),
        ({"log_mel": [1, None, 40], "state": [1, "n"]}, {"scores": [], "next_state": []}, "2", "state has the shape"),
        ({"log_mel": [1, None, 40]}, {"scores": [1, None]}, "0", "frames_a_score is '0'"),
        ({"log_mel": [1, None, 40]}, {"scores": [1, None]}, "9" * 5000, "frames_a_score"),
    ],
)
def test_a_graph_that_is_no_detector(inputs: dict, outputs: dict, stride: str, texts: str) -> None:
    session = SimpleNamespace(
        get_inputs=lambda: [SimpleNamespace(name=name, shape=shape) for name, shape in inputs.items()],
        get_outputs=lambda: [SimpleNamespace(name=name, shape=shape) for name, shape in outputs.items()],
        get_modelmeta=lambda: SimpleNamespace(custom_metadata_map={"frames_a_score": stride}),
    )
    with pytest.raises(ValueError, match=texts):
        _read_layout(session)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(DetectorError, match="no such folder"):
        open_artifact(tmp_path / "nowhere")


def test_a_threshold_replaces_the_calibrated_one_if_given() -> None:
    calibrated = Trigger(0.7, 3, 1.0)
    assert replace_threshold(calibrated, None) is calibrated
    assert replace_threshold(calibrated, 0.2) == Trigger(0.2, 3, 1.0)
