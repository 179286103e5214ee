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
    after_silence = np.concatenate([np.zeros(32_000, np.float32), wave])  # as a stream starts: longer than the states
    log_mel = torch.from_numpy(log_energies(compute_mel_energies(after_silence)))
    log_mel = log_mel[: len(log_mel) - len(log_mel) % 2]
    with torch.inference_mode():
        logits, _ = student(log_mel[None])
    scores = Scorer(graph).push(wave).values
    expected = torch.sigmoid(logits[0].double()).numpy()[-len(scores) :]
    assert len(scores) == len(logits[0]) - 99 and np.abs(scores - expected).max() < 1e-4
    assert scores.std() > 0.05  # not all the same
