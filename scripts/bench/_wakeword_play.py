"""Time one detector for wakeword_peers.py, in a process that loads nothing else: SIDE AUDIO.npy DETECTOR."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

CHUNK = 1_280  # samples: openWakeWord's step of 80 ms
WARM_UP = 20  # chunks processed before the clock starts


def open_detector(folder: str) -> Callable[[np.ndarray], object]:
    from speechxfer.wakeword.runtime.detector import Detector

    return Detector(folder).push


def open_openwakeword(model: str) -> Callable[[np.ndarray], object]:
    from pyopen_wakeword import Model, OpenWakeWord, OpenWakeWordFeatures

    features, head = OpenWakeWordFeatures.from_builtin(), OpenWakeWord.from_builtin(Model(model))
    return lambda chunk: [list(head.process_streaming(e)) for e in features.process_streaming(chunk.tobytes())]


def measure(process: Callable[[np.ndarray], object], samples: np.ndarray) -> dict[str, float]:
    """Return CPU seconds per hour of audio and the process's peak memory in MB. samples: (time,) int16."""
    chunks = [samples[start : start + CHUNK] for start in range(0, len(samples) - CHUNK + 1, CHUNK)]
    for chunk in chunks[:WARM_UP]:
        process(chunk)
    started = time.process_time()
    for chunk in chunks[WARM_UP:]:
        process(chunk)
    seconds = time.process_time() - started
    hours = (len(chunks) - WARM_UP) * CHUNK / 16_000 / 3600
    return {"cpu_seconds_an_hour": seconds / hours, "peak_memory_mb": read_peak_memory()}


def read_peak_memory() -> float:
    """Return the peak memory of this program in MB; `getrusage` would include the process that started it."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise OSError("the system does not report memory")


if __name__ == "__main__":
    side, audio, model = sys.argv[1:4]
    if hasattr(
        os, "sched_setaffinity"
    ):  # one core for both sides: threads that wait for each other would count as work
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    sides = {"speechxfer": open_detector, "openWakeWord": open_openwakeword}
    print(json.dumps(measure(sides[side](model), np.load(audio))))
