"""scripts/evaluate_clips.py: the ways in which a word is played, with the small detector."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

pytest.importorskip("wyoming")

SCRIPT = Path(__file__).parents[2] / "scripts" / "evaluate_clips.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("evaluate_clips", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_all_ways_find_the_same_clips(
    script: ModuleType, detector: Path, tunes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The counts at -30 dB depend on the quick training, and only their agreement is tested."""
    clips = tmp_path / "clips.txt"
    clips.write_text("".join(f"{path}\n" for path in sorted((tunes / "test_words").glob("*.wav"))[:5]))
    try:
        script.main([str(detector), str(clips), "--cut", "--json", str(tmp_path / "f.json")])
    except SystemExit as end:
        assert end.code == 1
    result = json.loads((tmp_path / "f.json").read_text())
    assert list(result["found"]) == ["lead 0 s", "lead 0.1 s", "lead 0.5 s", "lead 2 s", "-30 dB"]
    for counts in result["found"].values():
        assert list(counts) == list(script.WAYS) and max(counts.values()) - min(counts.values()) <= 1
    full = [count for name in list(result["found"])[:4] for count in result["found"][name].values()]
    assert max(full) - min(full) <= 1 and min(full) >= 4
    assert f"{full[0]} of 5" in capsys.readouterr().out


def test_the_limits(script: ModuleType) -> None:
    full = {name: {"a": 10, "b": 9} for name in ("0", "1")}
    assert script.list_failures({**full, "-30 dB": {"a": 9, "b": 9}}) == []
    assert script.list_failures({**full, "-30 dB": {"a": 8, "b": 9}}) == [
        "a: 8 clips found at -30 dB, 10 at full level"
    ]
    differing = {"0": {"a": 10, "b": 10}, "1": {"a": 10, "b": 8}, "-30 dB": {"a": 9, "b": 9}}
    assert script.list_failures(differing) == ["8 to 10 clips found at full level"]


def test_clips_are_cut_around_the_word(script: ModuleType) -> None:
    tone = 0.5 * np.sin(np.arange(8_000) / 3)
    wave = np.concatenate([np.zeros(16_000), tone, np.zeros(16_000)]).astype(np.float32)
    cut = script.cut_clip(wave)
    assert len(cut) == pytest.approx(8_000 + 0.2 * 16_000, abs=1_000)
    assert np.flatnonzero(np.abs(cut) > 0.1)[0] == pytest.approx(0.05 * 16_000, abs=800)


def test_a_detector_that_is_none_is_one_message(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        script.main([str(tmp_path / "nowhere"), str(tmp_path)])
    assert end.value.code == 2 and "no such folder" in capsys.readouterr().err
