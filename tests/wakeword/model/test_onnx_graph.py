"""The exported graph against the student in torch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from speechxfer.wakeword.model.student import Student
from speechxfer.wakeword.runtime.detector import Scorer
from speechxfer.wakeword.runtime.features import compute_mel_energies, log_energies


def test_onnx_gives_torchs_scores(student: Student, graph: bytes, speechlike: Callable[..., np.ndarray]) -> None:
    wave = speechlike(5.0, seed=1)
    log_mel = torch.from_numpy(log_energies(compute_mel_energies(wave)))
    log_mel = log_mel[: len(log_mel) - len(log_mel) % 2]
    with torch.inference_mode():
        logits, _ = student(log_mel[None])
    scores = Scorer(graph).push(wave).values
    assert np.abs(scores - torch.sigmoid(logits[0].double()).numpy()).max() < 1e-4
    assert scores.std() > 0.05  # not all the same
