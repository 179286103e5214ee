"""`wakeword listen`: the options that it refuses, and what it prints and writes, with a detector of loud noise."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from speechxfer.cli._listen import EventPrinter, ListenOptions, check_options, run_listen
from speechxfer.errors import UserError
from speechxfer.wakeword.runtime.audio_sources import LevelReading
from speechxfer.wakeword.runtime.errors import DetectorError
from speechxfer.wakeword.runtime.events import Event


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"wyoming": "tcp://a:1", "audio": "a.wav"}, "AUDIO does not apply with --wyoming"),
        ({"wyoming": "tcp://a:1", "microphone": "usb"}, "--microphone does not apply with --wyoming"),
        ({"wyoming": "tcp://a:1", "json_file": Path("e.jsonl")}, "--json does not apply with --wyoming"),
        ({"wyoming": "tcp://a:1", "audio": "-", "rate": 8_000}, "AUDIO and --rate do not apply with --wyoming"),
        ({"audio": "a.wav", "microphone": "usb"}, "--microphone does not apply to an audio file"),
        ({"audio": "a.wav", "rate": 16_000}, "--rate does not apply to an audio file"),
        ({"audio": "-", "microphone": "0"}, "--microphone does not apply to standard input"),
        ({"audio": "-", "log_level": "info"}, "--log-level does not apply to standard input"),
        ({"rate": 8_000}, "--rate does not apply to a microphone"),
        ({"wyoming": "tcp://a:1", "log_level": "loud"}, "--log-level loud: no such level"),
        ({"gain": float("nan")}, "--gain nan: is not a number of dB"),
    ],
)
def test_options_that_do_not_apply(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as error:
        check_options(ListenOptions(**options))
    assert words in str(error.value)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"microphone": "usb", "channel": 2, "gain": 20.0, "json_file": Path("e.jsonl"), "quiet": True},
        {"audio": "a.wav", "channel": 1, "threshold": 0.5},
        {"audio": "-", "rate": 8_000, "json_file": Path("-")},
        {"wyoming": "tcp://a:1", "log_level": "debug", "channel": 1, "gain": -3.0, "threshold": 0.5, "quiet": True},
    ],
)
def test_options_that_apply(options: dict[str, Any]) -> None:
    check_options(ListenOptions(**options))


def test_a_hint_is_on_standard_error_and_clears_the_level(capsys: pytest.CaptureFixture[str]) -> None:
    for quiet, with_level in ((False, True), (True, False)):
        printer = EventPrinter("word", 0.5, to_stdout=True, quiet=quiet, with_level=with_level)
        printer.print_hint("too quiet")
        printer.print_event(Event(1.5, 0.75))
        printed = capsys.readouterr()
        assert printed.out == '{"word": "word", "time": 1.5, "score": 0.75}\n'
        assert ("speechxfer: too quiet\n" in printed.err) is not quiet
        assert (" " * 79 in printed.err) is with_level


@pytest.fixture
def loudness_detector(tmp_path: Path) -> Path:
    """A detector whose score, every 0.02 s, is above 0.5 where the mean log-mel energy is above 0."""
    onnx = pytest.importorskip("onnx")
    make_value, make_node = onnx.helper.make_tensor_value_info, onnx.helper.make_node
    graph = onnx.helper.make_graph(
        [
            make_node("Reshape", ["log_mel", "shape"], ["steps"]),
            make_node("ReduceMean", ["steps"], ["means"], axes=[1], keepdims=0),
            make_node("Sigmoid", ["means"], ["scores"]),
        ],
        "loudness",
        [make_value("log_mel", onnx.TensorProto.FLOAT, [1, "frames", 40])],
        [make_value("scores", onnx.TensorProto.FLOAT, ["steps"])],
        [onnx.numpy_helper.from_array(np.array([-1, 80]), "shape")],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.helper.set_model_props(model, {"frames_a_score": "2"})
    folder = tmp_path / "detector"
    folder.mkdir()
    onnx.save(model, folder / "model.onnx")
    calibration = {"threshold": 0.5, "smoothing": 1, "refractory": 2.0}
    manifest = {"format": "speechxfer.wakeword/1", "word": "noise", "calibration": calibration}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def make_bursts(rate: int = 16_000, level: float = 0.3) -> np.ndarray:
    """4.5 s of silence with noise from 1 to 1.5 s and from 3.5 to 4 s."""
    wave = np.zeros(round(4.5 * rate))
    for start in (1.0, 3.5):
        burst = slice(round(start * rate), round((start + 0.5) * rate))
        wave[burst] = np.random.default_rng(0).uniform(-level, level, burst.stop - burst.start)
    return wave


def test_a_file_is_listened_to_with_gain(
    loudness_detector: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Noise at -60 dB is detected with 60 dB of gain only; events are printed, written as JSON, and saved as audio."""
    soundfile.write(tmp_path / "a.wav", make_bursts(level=0.0003), 16_000, subtype="FLOAT")
    target = tmp_path / "new" / "events.jsonl"
    options: dict[str, Any] = {"audio": str(tmp_path / "a.wav"), "json_file": target}
    run_listen(loudness_detector, ListenOptions(**options))
    printed = capsys.readouterr()
    assert printed.out.startswith("4.5 s of audio, no detection (highest score 0.0")
    assert "threshold 0.50)" in printed.out and "speechxfer: " in printed.err and target.read_text() == ""
    run_listen(loudness_detector, ListenOptions(**options, gain=60.0, save_audio=tmp_path / "saved"))
    *lines, summary = capsys.readouterr().out.splitlines()
    events = [json.loads(line) for line in target.read_text().splitlines()]
    assert [event["time"] for event in events] == pytest.approx([1.0, 3.5], abs=0.06)
    assert lines == [f"{event['time']:9.2f} s  noise  (score {event['score']:.3f})" for event in events]
    assert summary == "4.5 s of audio, 2 detections"
    saved = sorted(soundfile.info(path).duration for path in (tmp_path / "saved").iterdir())
    assert saved == pytest.approx([1.04, 3.52], abs=0.1)  # up to the block of each event


def test_raw_audio_on_standard_input(
    loudness_detector: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    samples = (make_bursts(48_000) * 32_767).astype("<i2").tobytes()
    for threshold, times in ((None, [1.0, 3.5]), (1.5, [])):
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(samples)))
        options = ListenOptions(audio="-", rate=48_000, threshold=threshold, json_file=Path("-"))
        run_listen(loudness_detector, options)
        events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [event["time"] for event in events] == pytest.approx(times, abs=0.06)
        assert [event["word"] for event in events] == ["noise"] * len(times)


def test_what_cannot_be_written_or_served(
    loudness_detector: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    soundfile.write(tmp_path / "a.wav", make_bursts(), 16_000)
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match=r"file/e\.jsonl.*cannot be written"):
        run_listen(
            loudness_detector, ListenOptions(audio=str(tmp_path / "a.wav"), json_file=tmp_path / "file" / "e.jsonl")
        )
    with pytest.raises(UserError, match="is also an input"):
        run_listen(loudness_detector, ListenOptions(audio=str(tmp_path / "a.wav"), json_file=tmp_path / "a.wav"))
    with pytest.raises(DetectorError, match="invalid address"):
        run_listen(loudness_detector, ListenOptions(wyoming="http://a:1"))
    assert capsys.readouterr().out == "" and (tmp_path / "file").read_text() == "x"


def test_the_level_line_is_printed_over_itself(capsys: pytest.CaptureFixture[str]) -> None:
    for with_level in (True, False):
        EventPrinter("noise", 0.5, with_level=with_level).print_level(LevelReading(61.5, -30.0, 0.5))
        bars = "[==========          ]  -30 dB  [##########          ] 0.50*noise"
        assert capsys.readouterr().err == f"\r  1:01.5  {bars}" * with_level
