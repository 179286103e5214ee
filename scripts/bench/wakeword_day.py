"""Run a detector for a day of audio, a second at a time: memory must not grow, and times must stay correct.

    python scripts/bench/wakeword_day.py DETECTOR --sound interview.wav --json FILE

The audio is repeated for the given number of hours, as fast as possible. The process's memory is recorded every hour,
and the size of the detector's state after every second.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from _measuring import machine, run, versions, write

from speechxfer.data.audio import load_waveform
from speechxfer.wakeword.data.clips import read_rows
from speechxfer.wakeword.runtime.detector import Detector
from speechxfer.wakeword.runtime.features import SAMPLE_RATE


def read_resident_memory() -> float:
    """Return the resident memory of this process in MB."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise OSError("the system does not report memory")


def count_state_bytes(detector: Detector) -> int:
    """Return the size of the samples, frames, states and scores that a detector keeps between blocks."""
    scorer = detector.scorer
    arrays = [scorer._mel._rest, scorer._frames, *scorer._states, detector._finder._before]
    return sum(array.nbytes for array in arrays)


def measure(detector: Detector, samples: np.ndarray, hours: float) -> dict[str, Any]:
    """Process (time,) samples repeatedly and return the measurements."""
    detector.reset()
    started = time.process_time()
    memory, sizes, events, last = [], set(), 0, 0.0
    position = 0
    for second in range(round(hours * 3600)):
        block = np.take(samples, np.arange(position, position + SAMPLE_RATE), mode="wrap")
        position = (position + SAMPLE_RATE) % len(samples)
        for event in detector.push(block):
            events, last = events + 1, event.time
        sizes.add(count_state_bytes(detector))
        if second % 3600 == 600:  # starting after ten minutes of warm-up
            memory.append(round(read_resident_memory(), 1))
    return {
        "hours": hours,
        "cpu_seconds_an_hour": round((time.process_time() - started) / hours, 1),
        "memory_mb_each_hour": memory,
        "memory_growth_mb": round(max(memory) - memory[0], 1) if memory else None,
        "kept_between_pieces_bytes": {"least": min(sizes), "most": max(sizes)},
        "events": events,
        "last_event_hours": round(last / 3600, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("detector", type=Path, help="folder written by `wakeword train`")
    parser.add_argument("--sound", type=Path, required=True, help="file, folder or table to repeat")
    parser.add_argument("--hours", type=float, default=24.0, help="hours of audio")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results here")
    given = parser.parse_args()
    waveforms: list[np.ndarray] = []
    for row in read_rows(given.sound):
        waveforms.append(load_waveform(row))
        if sum(map(len, waveforms)) > 600 * SAMPLE_RATE:  # ten minutes are enough to repeat
            break
    write(
        {
            "command": f"python scripts/bench/wakeword_day.py DETECTOR --sound SOUND --hours {given.hours:g}",
            "machine": machine(),
            "versions": versions("onnxruntime", "numpy"),
            **measure(Detector(given.detector), np.concatenate(waveforms), given.hours),
        },
        given.json,
    )


if __name__ == "__main__":
    run(main)
