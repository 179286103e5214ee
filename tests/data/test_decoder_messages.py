"""What libmpg123 writes to standard error of a damaged MP3 is not shown; Python's own messages are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import soundfile

PROGRAM = """
import sys
from pathlib import Path
from speechxfer.data.decoder_messages import separate_stderr
if sys.argv[2] == "separate":
    separate_stderr()
from speechxfer.data.audio import decode_audio
print("before", file=sys.stderr)
decode_audio(Path(sys.argv[1]))
print("after", file=sys.stderr)
import os
os.write(2, b"other libraries\\n")
"""


def decode_in_a_process(path: Path, how: str) -> list[str]:
    words = [sys.executable, "-c", PROGRAM, str(path), how]
    return subprocess.run(words, capture_output=True, text=True, check=True).stderr.splitlines()


def test_only_messages_of_the_decoder_are_discarded(tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, 32_000)
    soundfile.write(path, noise, 16_000, format="MP3", bitrate_mode="CONSTANT")
    data = bytearray(path.read_bytes())
    rng = np.random.default_rng(0)
    frame = data.index(data[:2], 4)
    for number in range(5, 15):
        data[number * frame + 4 : number * frame + 13] = rng.bytes(9)  # the side information
    path.write_bytes(data)
    shown = decode_in_a_process(path, "shared")
    assert any("libmpg123" in line or "Illegal" in line for line in shown)  # else this file tests nothing
    assert decode_in_a_process(path, "separate") == ["before", "after", "other libraries"]
