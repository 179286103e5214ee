"""A sample of scripts/torture.py: damaged and odd audio through every command that reads it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

Script = Callable[[str], ModuleType]
# Python 3.12 and later warn of a fork while other threads exist; the forked process starts none of them again
FORKS = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


@FORKS
def test_a_sample_of_damaged_and_odd_audio(script: Script, tmp_path: Path) -> None:
    torture = script("torture.py")
    audio = torture._torture_audio
    slow = ("adapt --dry-run", "wakeword --positives", "wakeword --stream")  # read as the others
    results = audio.run(tmp_path, len(audio.KINDS), 0, audio.read_wave(None), skip=slow)
    assert [case.kind.split()[0] for case, _ in results] == list(torture._torture_audio.KINDS)
    verdicts = {outcome.verdict for _, outcomes in results for outcome in outcomes}
    assert {"accepted", "damaged"} <= verdicts
    assert torture.list_violations(results) == []


@FORKS
def test_what_is_wrong_is_listed(script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands that fail in each way, as the script must find them."""
    runner = script("torture.py")._torture_audio.run_cases.__globals__
    case = runner["Case"]("cut 000", tmp_path / "a.wav")
    case.path.write_bytes(b"x")
    monkeypatch.setitem(runner, "MAX_SECONDS", 2.0)

    def invoke(arguments: list[str]) -> tuple[int, str]:
        if arguments == ["sleep"]:
            time.sleep(60)
        if arguments == ["grow"]:
            held = bytearray(400 << 20)
            for at in range(0, len(held), 4096):
                held[at] = 1
            time.sleep(60)
        if arguments == ["change"]:
            case.path.write_bytes(b"y")
        if arguments == ["die"]:
            os._exit(3)
        return 0, "fine"

    monkeypatch.setitem(runner, "invoke", invoke)

    def run(*names: str) -> list:
        commands = [
            runner["Command"](name, lambda _, name=name: [name], lambda code, output: output, "g") for name in names
        ]
        return runner["run_cases"]([case], commands, progress=False)

    ((_, (fine,)),) = run("fine")
    assert runner["list_violations"]([(case, [fine])]) == [] and fine.verdict == "fine"
    limit = round(fine.memory_mb) + 200
    monkeypatch.setitem(runner, "MAX_MEMORY_MB", limit)
    found = runner["list_violations"](run("sleep", "grow", "change", "die"))
    assert found[:4] == [
        "cut 000: sleep: still running after 2 s",
        f"cut 000: grow: over {limit} MB",
        "cut 000: change: changed its input 'a.wav'",
        "cut 000: die: died with status 3",
    ]
    assert found[4].startswith("cut 000: verdicts differ: ")
