"""A well-behaved Wyoming client next to 200 hostile ones: its delay, the server's memory and its log.

    python scripts/bench/wyoming_clients.py DETECTOR --clip CLIP --json FILE

DETECTOR is served by `speechxfer wakeword listen --wyoming` in its own process. A client sends CLIP, in which the
detector finds its word, in chunks of 1,024 bytes as fast as they are spoken, several times alone and several times
while another process runs the hostile clients of _hostile_clients.py. The delay is from the chunk that completes the
word, which is found by processing the same chunks here, to the detection. Memory is that of the server's process before
the hostile clients, at most, and some seconds after they are gone.

Exit code 1 if the log has a traceback, memory stays over 50 MB above the start, a detection is missing, or the median
delay next to the hostile clients is over 200 ms longer than alone.
"""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from _hostile_clients import CLIENTS
from _measuring import machine, options, run, spread, versions, write

from speechxfer.data.audio import load_waveform
from speechxfer.errors import UserError
from speechxfer.wakeword.data.clips import read_rows
from speechxfer.wakeword.runtime.detector import Detector, open_artifact
from speechxfer.wakeword.runtime.features import SAMPLE_RATE

MAX_GROWTH_MB = 50.0
MAX_DELAY_SECONDS = 0.2
CHUNK_SAMPLES = 512  # 1,024 bytes
SETTLING_SECONDS = 12.0  # s after the hostile clients: unread answers are kept for 10 s


class Server:
    """`speechxfer wakeword listen --wyoming` in its own process, with its log in a file."""

    def __init__(self, detector: Path, log: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.log = log
        command = [sys.executable, "-m", "speechxfer", "wakeword", "listen", str(detector)]
        with log.open("w", encoding="utf-8") as file:
            self.process = subprocess.Popen(
                [*command, "--wyoming", f"tcp://127.0.0.1:{self.port}"], stdout=file, stderr=subprocess.STDOUT
            )

    def wait_until_ready(self, seconds: float = 60.0) -> None:
        """Return when a client can connect. Exits with the log if the process ends before."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1.0).close()
                return
            except OSError:
                if self.process.poll() is not None:
                    break
                time.sleep(0.05)
        sys.exit(f"the server did not start:\n{self.log.read_text(encoding='utf-8')}")

    def read_memory(self, field: str = "VmRSS") -> float:
        """Return a field of the process's memory in MB: resident (VmRSS), or its peak (VmHWM)."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii").splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) / 1024
        raise OSError("the system does not report memory")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)


def make_chunks(waveform: np.ndarray) -> list[bytes]:
    """Split (time,) samples, with a second of silence after them, into chunks of 16-bit PCM."""
    padded = np.concatenate([waveform, np.zeros(SAMPLE_RATE, np.float32)])
    pcm = (np.clip(padded, -1, 1) * 32_767).astype("<i2")
    return [pcm[start : start + CHUNK_SAMPLES].tobytes() for start in range(0, len(pcm), CHUNK_SAMPLES)]


def find_completing_chunk(detector: Path, chunks: list[bytes]) -> int:
    """Return the index of the chunk with which the detector first finds the word.

    Raises: UserError if it does not.
    """
    running = Detector(detector)
    for index, chunk in enumerate(chunks):
        if running.push(np.frombuffer(chunk, np.int16)):
            return index
    raise UserError("the detector does not find its word in the clip", fix="choose another --clip")


async def measure_delay(port: int, name: str, chunks: list[bytes], completing: int) -> float | None:
    """Send the chunks as fast as they are spoken; return the seconds from the completing one to the detection."""
    from wyoming.audio import AudioChunk, AudioStart
    from wyoming.client import AsyncClient
    from wyoming.wake import Detect

    async with AsyncClient.from_uri(f"tcp://127.0.0.1:{port}") as client:
        await client.write_event(Detect(names=[name]).event())
        await client.write_event(AudioStart(rate=SAMPLE_RATE, width=2, channels=1).event())
        detected = asyncio.create_task(client.read_event())
        started, sent = time.monotonic(), 0.0
        for index, chunk in enumerate(chunks):
            await client.write_event(AudioChunk(rate=SAMPLE_RATE, width=2, channels=1, audio=chunk).event())
            if index == completing:
                sent = time.monotonic()
                break
            await asyncio.sleep(max(0.0, started + (index + 1) * CHUNK_SAMPLES / SAMPLE_RATE - time.monotonic()))
        try:
            event = await asyncio.wait_for(detected, 10.0)
        except TimeoutError:
            return None
        return time.monotonic() - sent if event is not None and event.type == "detection" else None


def measure_delays(port: int, name: str, chunks: list[bytes], completing: int, repeats: int) -> list[float | None]:
    return [asyncio.run(measure_delay(port, name, chunks, completing)) for _ in range(repeats)]


def measure(
    detector: Path, waveform: np.ndarray, clients: int, repeats: int, settling: float, log: Path
) -> dict[str, Any]:
    """Measure delays and memory without and with the hostile clients."""
    chunks = make_chunks(waveform)
    completing, name = find_completing_chunk(detector, chunks), open_artifact(detector).word
    hostile_seconds = 2.0 + repeats * (len(chunks) * CHUNK_SAMPLES / SAMPLE_RATE + 1.0)
    server = Server(detector, log)
    try:
        server.wait_until_ready()
        alone = measure_delays(server.port, name, chunks, completing, repeats)
        start = server.read_memory()
        program = Path(__file__).with_name("_hostile_clients.py")
        words = [str(program), "127.0.0.1", str(server.port), str(clients), str(hostile_seconds)]
        hostile = subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, text=True)
        time.sleep(1.0)
        crowded = measure_delays(server.port, name, chunks, completing, repeats)
        connections = json.loads(hostile.communicate(timeout=hostile_seconds + 60)[0])
        time.sleep(settling)
        last = measure_delays(server.port, name, chunks, completing, 1)
        memory = {"start": start, "peak": server.read_memory("VmHWM"), "afterwards": server.read_memory()}
    finally:
        server.stop()
    text = log.read_text(encoding="utf-8", errors="replace")
    return {
        "hostile_clients": clients,
        "kinds": list(CLIENTS),
        "connections": connections,
        "delay_seconds": {name: summarize(values) for name, values in (("alone", alone), ("crowded", crowded))},
        "missed_detections": sum(value is None for value in (*alone, *crowded, *last)),
        "memory_mb": {name: round(value, 1) for name, value in memory.items()},
        "log_lines": len(text.splitlines()),
        "tracebacks": text.count("Traceback") + text.count("never retrieved"),
    }


def summarize(delays: list[float | None]) -> dict[str, float] | None:
    """Return median and range of the delays of the detections; None without any."""
    found = [delay for delay in delays if delay is not None]
    return spread(found, 4) if found else None


def list_failures(found: dict[str, Any]) -> list[str]:
    """Return the limits that a measurement exceeds."""
    failures = []
    if found["tracebacks"]:
        failures.append(f"{found['tracebacks']} tracebacks in the log")
    growth = found["memory_mb"]["afterwards"] - found["memory_mb"]["start"]
    if growth > MAX_GROWTH_MB:
        failures.append(f"memory grew by {growth:.1f} MB")
    if found["missed_detections"]:
        failures.append(f"{found['missed_detections']} detections are missing")
    alone, crowded = found["delay_seconds"]["alone"], found["delay_seconds"]["crowded"]
    if alone and crowded and crowded["median"] - alone["median"] > MAX_DELAY_SECONDS:
        failures.append(f"detections came {crowded['median'] - alone['median']:.3f} s later than alone")
    return failures


def main() -> None:
    parser = options(__doc__, repeats=5)
    parser.add_argument("detector", type=Path, help="folder written by `wakeword train`")
    parser.add_argument("--clip", required=True, help="audio file with the word (the first of a folder or table)")
    parser.add_argument("--clients", type=int, default=200, help="hostile clients (default: %(default)s)")
    parser.add_argument(
        "--settling", type=float, default=SETTLING_SECONDS, metavar="SECONDS", help="before memory is read"
    )
    parser.add_argument("--log", type=Path, metavar="FILE", help="keep the server's log here")
    given = parser.parse_args()
    waveform = load_waveform(read_rows(given.clip)[0])
    with tempfile.TemporaryDirectory() as folder:
        log = given.log or Path(folder) / "server.log"
        found = measure(given.detector, waveform, given.clients, given.repeats, given.settling, log)
    failures = list_failures(found)
    write(
        {
            "command": "python scripts/bench/wyoming_clients.py DETECTOR --clip CLIP",
            "machine": machine(),
            "versions": versions("onnxruntime", "wyoming"),
            **found,
            "failures": failures,
        },
        given.json,
    )
    if failures:
        sys.exit(1)


if __name__ == "__main__":
    run(main)
