"""Is an exported model the same model? Both hear the same utterances, padded as others pad, and are compared.

Transcripts alone prove little: two numbers that round differently may turn a near tie, and a search behind it. So our
transcript is given to both, and what is compared is the probability that each gives to every token of it. Of a model
without a decoder it is how far apart the two distributions are (half the sum of all differences: 0 to 1), in every
frame or over the labels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset

from speechxfer.data import audio
from speechxfer.errors import UserError
from speechxfer.export.runners import (
    CTranslate2Whisper,
    NativeHead,
    NativeWhisper,
    OnnxHead,
    Runner,
    TransformersHead,
    TransformersWhisper,
)
from speechxfer.models import SpeechModel
from speechxfer.models.seq2seq import WhisperRecogniser

MAX_PARITY_UTTERANCES = 20  # utterances compared, spread evenly
# differences of probabilities that the arithmetic of these weights explains: the mean of all, and the largest of one
TOLERANCES = {"float32": (1e-4, 2e-3), "float16": (2e-3, 0.05), "int8": (0.03, 0.6)}
HEAD_TOLERANCES = TOLERANCES | {
    "int8": (0.03, 1.0)
}  # a symbol that comes a frame later is a whole one apart in two frames


@dataclass
class ParityResult:
    """What both models made of the same utterances.

    mean, largest: difference of the probabilities, over all tokens (frames, labels) of all utterances. frames: largest
    difference of the encoder's output; None where the exported model does not show it. differing: `id`, `ours` and
    `theirs` where the greedy transcripts are not the same text.
    """

    utterances: int
    mean: float
    largest: float
    frames: float | None
    allowed: tuple[float, float]  # mean and largest
    differing: list[dict[str, str]] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return self.mean <= self.allowed[0] and self.largest <= self.allowed[1]

    def to_json(self) -> dict[str, Any]:
        return {"holds": self.passed, **vars(self)}


def check_parity(
    model: SpeechModel,
    to: str,
    folder: Path,
    utterances: Dataset,
    quantization: str,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> ParityResult:
    """Compare `model` with what the library `to` makes of `folder`, on at most `MOST` of the utterances.

    With a Whisper, both run on audio padded to 30 s and search greedily; an ONNX graph pads only where ours does.
    Raises UserError where there is no utterance, or one longer than the model holds.
    """
    whisper = isinstance(model, WhisperRecogniser)
    ours, theirs = _make_runners(model, to, folder, quantization)
    count = min(MAX_PARITY_UTTERANCES, len(utterances))
    if not count:
        raise UserError("holds no utterance", where="--check", fix="name a table of a few")
    proof = ParityResult(count, 0.0, 0.0, None, (TOLERANCES if whisper else HEAD_TOLERANCES)[quantization])
    differences = []
    with torch.no_grad():
        for done in range(count):
            row = utterances[done * len(utterances) // count]
            waveform = audio.load_waveform(row)
            one = ours.run(waveform, None)
            other = theirs.run(waveform, one.tokens)
            apart = (one.probabilities - other.probabilities).abs()
            differences.append((apart if whisper else apart.sum(-1) / 2).flatten())
            if one.frames is not None and other.frames is not None:
                proof.frames = max(proof.frames or 0.0, float((one.frames - other.frames).abs().max()))
            if one.text != other.text:
                proof.differing.append({"id": str(row["id"]), "ours": one.text, "theirs": other.text})
            if progress:
                progress(done + 1, count)
    every = torch.cat(differences)
    if len(every):  # none where every transcript is empty
        proof.mean, proof.largest = float(every.mean()), float(every.max())
    return proof


def _make_runners(model: SpeechModel, to: str, folder: Path, quantization: str) -> tuple[Runner, Runner]:
    """Ours and the exported one."""
    if to == "onnx":
        return NativeHead(model, as_it_is=True), OnnxHead(model, folder)
    if not isinstance(model, WhisperRecogniser):
        return NativeHead(model), TransformersHead(model, folder)
    if to == "transformers":
        return NativeWhisper(model), TransformersWhisper(model, folder)
    return NativeWhisper(model), CTranslate2Whisper(model, folder, quantization)
