"""Parity check of an exported model against the original, on the same padded audio.

Transcripts alone can differ on near ties because of rounding. The check therefore compares the probabilities that both
models give to each token of the original's transcript. For a model without a decoder it compares the two distributions
in every frame, or over the labels, by their total variation distance (half the sum of absolute differences, 0 to 1).
"""

from __future__ import annotations

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
from speechxfer.progress import ProgressCallback

MAX_PARITY_UTTERANCES = 20  # utterances compared, evenly spread
# differences of probabilities that the number type of the weights explains: mean, and largest
TOLERANCES = {"float32": (1e-4, 2e-3), "float16": (2e-3, 0.05), "int8": (0.03, 0.6)}
# for CTC and classification heads: a symbol one frame later differs by 1 in two frames
HEAD_TOLERANCES = TOLERANCES | {"int8": (0.03, 1.0)}


@dataclass
class ParityResult:
    """Differences between the original and the exported model.

    Args:
        utterances: number of utterances compared.
        mean: mean difference of the probabilities, over all tokens (frames, labels) of all utterances.
        largest: largest difference of the probabilities.
        frames: largest difference of the encoder's output; None if the exported model does not return it.
        allowed: tolerances for `mean` and `largest`.
        differing: `id`, `ours` and `theirs` (exported) of the greedy transcripts that differ.
    """

    utterances: int
    mean: float
    largest: float
    frames: float | None
    allowed: tuple[float, float]
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
    progress: ProgressCallback | None = None,
) -> ParityResult:
    """Compare `model` with the export in `folder`, on at most `MAX_PARITY_UTTERANCES` of the utterances.

    Whisper models run on audio padded to 30 s with greedy decoding; an ONNX graph pads only if the model does.

    Raises:
        UserError: if there is no utterance, or one that is longer than the model's limit.
    """
    is_whisper = isinstance(model, WhisperRecogniser)
    original, exported = _make_runners(model, to, folder, quantization)
    count = min(MAX_PARITY_UTTERANCES, len(utterances))
    if not count:
        raise UserError("has no utterances", where="--check", fix="name a table with a few")
    tolerances = TOLERANCES if is_whisper else HEAD_TOLERANCES
    result = ParityResult(count, 0.0, 0.0, None, tolerances[quantization])
    differences = []
    with torch.no_grad():
        for done in range(count):
            row = utterances[done * len(utterances) // count]
            waveform = audio.load_waveform(row)
            ours = original.run(waveform, None)
            theirs = exported.run(waveform, ours.tokens)
            difference = (ours.probabilities - theirs.probabilities).abs()
            differences.append((difference if is_whisper else difference.sum(-1) / 2).flatten())
            if ours.frames is not None and theirs.frames is not None:
                result.frames = max(result.frames or 0.0, float((ours.frames - theirs.frames).abs().max()))
            if ours.text != theirs.text:
                result.differing.append({"id": str(row["id"]), "ours": ours.text, "theirs": theirs.text})
            if progress:
                progress(done + 1, count)
    combined = torch.cat(differences)
    if len(combined):  # empty if every transcript is empty
        result.mean, result.largest = float(combined.mean()), float(combined.max())
    return result


def _make_runners(model: SpeechModel, to: str, folder: Path, quantization: str) -> tuple[Runner, Runner]:
    """Return the runners of the original and of the exported model."""
    if to == "onnx":
        return NativeHead(model, force_padding=False), OnnxHead(model, folder)
    if not isinstance(model, WhisperRecogniser):
        return NativeHead(model), TransformersHead(model, folder)
    if to == "transformers":
        return NativeWhisper(model), TransformersWhisper(model, folder)
    return NativeWhisper(model), CTranslate2Whisper(model, folder, quantization)
