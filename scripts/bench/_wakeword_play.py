"""One side of wakeword_peers.py's timing, in a process that loads nothing else: SIDE SOUND.npy [DETECTOR]."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

CHUNK = 1_280  # samples: openWakeWord's step of 80 ms
WARM = 20  # chunks played before the clock starts


def ours(folder: str) -> Callable[[np.ndarray], object]:
    from speechxfer.wakeword.runtime.detector import Detector

    return Detector(folder).push


def theirs(model: str) -> Callable[[np.ndarray], object]:
    from pyopen_wakeword import Model, OpenWakeWord, OpenWakeWordFeatures

    features, head = OpenWakeWordFeatures.from_builtin(), OpenWakeWord.from_builtin(Model(model))
    return lambda chunk: [list(head.process_streaming(e)) for e in features.process_streaming(chunk.tobytes())]


def play(hear: Callable[[np.ndarray], object], samples: np.ndarray) -> dict[str, float]:
    """CPU seconds for an hour of sound and the process's peak memory. samples: (time,) int16."""
    chunks = [samples[start : start + CHUNK] for start in range(0, len(samples) - CHUNK + 1, CHUNK)]
    for chunk in chunks[:WARM]:
        hear(chunk)
    began = time.process_time()
    for chunk in chunks[WARM:]:
        hear(chunk)
    seconds = time.process_time() - began
    hours = (len(chunks) - WARM) * CHUNK / 16_000 / 3600
    return {"cpu_seconds_an_hour": seconds / hours, "peak_memory_mb": peak_memory()}


def peak_memory() -> float:
    """MB that this program has held at most. `getrusage` would count the process that started it too."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise OSError("the system tells no memory")


if __name__ == "__main__":
    side, sound, what = sys.argv[1:4]
    if hasattr(os, "sched_setaffinity"):  # one core for either: threads that wait for each other would count as work
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    print(json.dumps(play({"speechxfer": ours, "openWakeWord": theirs}[side](what), np.load(sound))))
