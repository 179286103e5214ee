"""The Wyoming server against wyoming's own client."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from speechxfer.wakeword.runtime.detector import open_artifact
from speechxfer.wakeword.runtime.errors import DetectorError
from speechxfer.wakeword.runtime.wyoming_server import decode_pcm, make_handler_class, make_server

RATE = 16_000


@pytest.mark.parametrize(("width", "kind", "scale"), [(1, np.uint8, 128), (2, np.int16, 2**15), (4, np.int32, 2**31)])
def test_sound_from_the_wire(width: int, kind: type, scale: int) -> None:
    values = np.array([0.5, -0.5, 0.25, 0.25])
    data = (values * scale + (128 if width == 1 else 0)).astype(kind).tobytes()
    assert decode_pcm(data, width, 1) == pytest.approx(values, abs=0.01)
    assert decode_pcm(data, width, 2) == pytest.approx([0.0, 0.25], abs=0.01)


def test_an_address_that_is_none() -> None:
    pytest.importorskip("wyoming")
    with pytest.raises(DetectorError, match="invalid address"):
        make_server("here")


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
    await server.start(partial(make_handler_class(), open_artifact(detector), None))
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
