"""What libmpg123 writes to standard error of a damaged MP3 is not shown; Python's own messages are."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechxfer.data import decoder_messages
from speechxfer.data.decoder_messages import discard_decoder_messages, separate_stderr

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


@pytest.fixture
def separated(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> pytest.CaptureFixture[str]:
    """Standard error as a program has it, after `separate_stderr`; all is undone at the end."""
    monkeypatch.setattr(decoder_messages, "_is_separate", False)
    monkeypatch.setattr(sys, "stderr", os.fdopen(2, "w", encoding="utf-8", closefd=False))
    separate_stderr()
    return capfd


def test_python_writes_to_a_descriptor_of_its_own(separated: pytest.CaptureFixture[str]) -> None:
    own = sys.stderr
    assert own.fileno() != 2
    separate_stderr()
    assert sys.stderr is own  # once is enough
    with discard_decoder_messages():
        os.write(2, b"of a library\n")
        print("of Python", file=sys.stderr)
    os.write(2, b"afterwards\n")
    assert separated.readouterr().err == "of Python\nafterwards\n"


def test_messages_are_shown_again_after_the_last_of_several_threads(separated: pytest.CaptureFixture[str]) -> None:
    inside, leave = threading.Event(), threading.Event()

    def decode() -> None:
        with discard_decoder_messages():
            inside.set()
            leave.wait(10)
            os.write(2, b"second thread\n")

    thread = threading.Thread(target=decode)
    with discard_decoder_messages():
        thread.start()
        inside.wait(10)
    os.write(2, b"between\n")  # the other thread still decodes
    leave.set()
    thread.join()
    os.write(2, b"afterwards\n")
    assert separated.readouterr().err == "afterwards\n"


def test_without_a_descriptor_of_standard_error_nothing_is_discarded(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoder_messages, "_is_separate", False)
    for replaced in (None, io.StringIO()):
        monkeypatch.setattr(sys, "stderr", replaced)
        separate_stderr()
        assert sys.stderr is replaced
    with discard_decoder_messages():
        os.write(2, b"of a library\n")
    assert capfd.readouterr().err == "of a library\n"
