"""A day of sound through a detector, a second at a time: its memory must not grow, and its clock must stay true.

    python scripts/bench/wakeword_day.py DETECTOR --sound interview.wav --json FILE

The sound is repeated until so many hours are played, as fast as the processor can. The process's memory is noted every
hour; so are the sizes of all that the detector keeps between two pieces.
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


def resident() -> float:
    """MB of this process's memory that are in use now."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise OSError("the system tells no memory")


def kept_by(detector: Detector) -> int:
    """Bytes of samples, frames, states and scores that the detector holds between two pieces."""
    scorer = detector.scorer
    arrays = [scorer._mel._rest, scorer._frames, *scorer._states, detector._finder._before]
    return sum(array.nbytes for array in arrays)


def play(detector: Detector, samples: np.ndarray, hours: float) -> dict[str, Any]:
    """Play (time,) samples over and over; what was measured."""
    detector.reset()
    started = time.process_time()
    memory, sizes, events, last = [], set(), 0, 0.0
    at = 0
    for second in range(round(hours * 3600)):
        piece = np.take(samples, np.arange(at, at + SAMPLE_RATE), mode="wrap")
        at = (at + SAMPLE_RATE) % len(samples)
        for event in detector.push(piece):
            events, last = events + 1, event.time
        sizes.add(kept_by(detector))
        if second % 3600 == 600:  # from ten minutes on, when everything is warm
            memory.append(round(resident(), 1))
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
    parser.add_argument("detector", type=Path, help="the folder that `wakeword train` wrote")
    parser.add_argument("--sound", type=Path, required=True, help="a file, a folder or a table to play over and over")
    parser.add_argument("--hours", type=float, default=24.0, help="of sound in all")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    given = parser.parse_args()
    sounds: list[np.ndarray] = []
    for row in read_rows(given.sound):
        sounds.append(load_waveform(row))
        if sum(map(len, sounds)) > 600 * SAMPLE_RATE:  # ten minutes are enough to repeat
            break
    write(
        {
            "command": f"python scripts/bench/wakeword_day.py DETECTOR --sound SOUND --hours {given.hours:g}",
            "machine": machine(),
            "versions": versions("onnxruntime", "numpy"),
            **play(Detector(given.detector), np.concatenate(sounds), given.hours),
        },
        given.json,
    )


if __name__ == "__main__":
    run(main)
