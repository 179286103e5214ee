"""The Wyoming server against wyoming's own client, and next to hostile clients."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from speechxfer.wakeword.runtime.detector import open_artifact
from speechxfer.wakeword.runtime.errors import DetectorError
from speechxfer.wakeword.runtime.wyoming_connection import LOG, WyomingService
from speechxfer.wakeword.runtime.wyoming_server import (
    configure_log,
    make_handler_factory,
    make_server,
    serve_wyoming,
)

RATE = 16_000
BENCH = Path(__file__).parents[3] / "scripts" / "bench" / "wyoming_clients.py"


@pytest.mark.parametrize("address", ["here", "tcp://localhost", "tcp://localhost:99999999", "ftp://a:1"])
def test_an_address_that_is_none(address: str) -> None:
    pytest.importorskip("wyoming")
    with pytest.raises(DetectorError, match="invalid address"):
        make_server(address)


def test_a_file_is_not_deleted_for_a_socket(tmp_path: Path, detector: Path) -> None:
    """wyoming removes what is at the path of a socket."""
    pytest.importorskip("wyoming")
    path = tmp_path / "a.wav"
    path.write_bytes(b"recording")
    with pytest.raises(DetectorError, match="is not a socket"):
        serve_wyoming(WyomingService(open_artifact(detector)), f"unix://{path}")
    assert path.read_bytes() == b"recording"


def test_an_address_that_cannot_be_served(tmp_path: Path, detector: Path) -> None:
    pytest.importorskip("wyoming")
    with pytest.raises(DetectorError, match="cannot be served on"):
        serve_wyoming(WyomingService(open_artifact(detector)), f"unix://{tmp_path}/nowhere/w.sock")


def test_the_log_has_the_lines_of_its_level(capsys: pytest.CaptureFixture[str]) -> None:
    before = LOG.handlers[:], LOG.propagate, LOG.level
    try:
        for level in ("warning", "info"):  # twice: a line is printed once
            configure_log(level)
        LOG.info("shown")
        LOG.debug("not shown")
    finally:
        LOG.handlers[:], LOG.propagate = before[0], before[1]
        LOG.setLevel(before[2])
    assert capsys.readouterr().err.count("INFO shown\n") == 1
    assert logging.getLogger("speechxfer.wyoming") is LOG


def test_a_wyoming_client_is_told_of_the_word(
    detector: Path, sound_48_khz: np.ndarray, times: list[float], tmp_path: Path
) -> None:
    pytest.importorskip("wyoming")
    found = asyncio.run(converse(detector, sound_48_khz, tmp_path / "w.sock"))
    assert found["phrase"] == "tune" and found["model"] == "tune"
    assert found["detections"] == pytest.approx([1000 + 1000 * t for t in times], abs=50)
    assert found["after_silence"] == "not-detected"


async def converse(detector: Path, sound: np.ndarray, socket: Path) -> dict[str, Any]:
    """What wyoming's own client receives from the server over a socket; sound: at 48 kHz."""
    from wyoming.audio import AudioChunk, AudioStart, AudioStop
    from wyoming.client import AsyncClient
    from wyoming.info import Describe, Info
    from wyoming.wake import Detect, Detection

    server = make_server(f"unix://{socket}")
    await server.start(make_handler_factory(WyomingService(open_artifact(detector))))
    try:
        async with AsyncClient.from_uri(f"unix://{socket}") as client:
            await client.write_event(Describe().event())
            info = Info.from_event(await client.read_event())
            model = info.wake[0].models[0]
            await client.write_event(Detect(names=["tune"]).event())
            await client.write_event(AudioStart(rate=48_000, width=2, channels=2, timestamp=1000).event())
            wave = (np.column_stack([sound] * 2) * 32_767).astype(np.int16)
            for start in range(0, len(wave), 3_000):
                audio = wave[start : start + 3_000].tobytes()
                await client.write_event(AudioChunk(rate=48_000, width=2, channels=2, audio=audio).event())
            await client.write_event(AudioStop().event())
            detections = [Detection.from_event(await client.read_event()).timestamp for _ in range(2)]
            await client.write_event(AudioStart(rate=16_000, width=2, channels=1).event())
            await client.write_event(AudioChunk(rate=16_000, width=2, channels=1, audio=bytes(64_000)).event())
            await client.write_event(AudioStop().event())
            last = await client.read_event()
            return {"phrase": model.phrase, "model": model.name, "detections": detections, "after_silence": last.type}
    finally:
        await server.stop()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the server's memory from /proc")
def test_a_client_next_to_hostile_ones(detector: Path, sound: np.ndarray, times: list[float], tmp_path: Path) -> None:
    """A short run of scripts/bench/wyoming_clients.py; the delay is not compared, since the machine may be busy."""
    pytest.importorskip("wyoming")
    clip = sound[round((times[0] - 1.0) * RATE) : round((times[0] + 0.2) * RATE)]
    soundfile.write(tmp_path / "a.wav", clip, RATE)
    options = ["--clip", tmp_path / "a.wav", "--clients", 100, "--repeats", 1, "--settling", 0.5]
    command = [sys.executable, BENCH, detector, *options, "--json", tmp_path / "f.json", "--log", tmp_path / "s.log"]
    environment = {**os.environ, "PYTHONPATH": str(BENCH.parents[2])}
    subprocess.run([*map(str, command)], capture_output=True, env=environment, check=False)
    found = json.loads((tmp_path / "f.json").read_text())
    log = (tmp_path / "s.log").read_text()
    assert found["missed_detections"] == 0, log[-2_000:]
    assert found["tracebacks"] == 0 and "Traceback" not in log
    assert sum(found["connections"].values()) >= 100 and "it can be 4,000 to 192,000 Hz" in log
    assert found["memory_mb"]["afterwards"] - found["memory_mb"]["start"] < 50
