"""Trains the student: what resembles the word is answered where the word is, and nowhere else.

A positive window is scored by its best few steps where the word may be answered, a negative one by its worst few steps:
the loss looks where an event would be. Between rounds the student hears its negatives whole, and what it fired on is
drawn more often after.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from speechxfer.wakeword.events import smooth
from speechxfer.wakeword.features import to_log
from speechxfer.wakeword.material import FRAMES, Batch, Material
from speechxfer.wakeword.student import STRIDE, Shape, Student

Progress = Callable[[int, int], None]  # steps done, of how many
OnRound = Callable[[Student, Material], None]  # called before a round mines; may change the material

_BEST = 8  # steps that a window is judged by: 160 ms
_AVERAGED = 0.995  # of the weights' running average, a step
_PIECE = 60_000  # frames heard at once
_ALONE = 100  # frames around a mined peak in which no other is taken


@dataclass(frozen=True)
class Plan:
    """How long and how fast. steps: in all rounds together; rounds: with mining in between."""

    steps: int = 400
    batch: int = 64
    rate: float = 2e-3
    rounds: int = 4
    mined: int = 600  # windows kept for each round
    seed: int = 0


def train(
    material: Material, plan: Plan, *, start: Student | None = None, shape: Shape | None = None,
    progress: Progress | None = None, on_round: OnRound | None = None,
) -> Student:  # fmt: skip
    """A student trained on `material`, which keeps what was mined. start: weights to go on from (they are copied)."""
    rng = np.random.default_rng(plan.seed)
    torch.manual_seed(plan.seed)
    student = Student(shape) if start is None else copy.deepcopy(start)
    if start is None:
        set_scale(student, material, rng)
    averaged = copy.deepcopy(student).eval()
    optimizer = torch.optim.AdamW(student.parameters(), lr=plan.rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, plan.rate, plan.steps, pct_start=0.15)
    rounds = np.linspace(0, plan.steps, plan.rounds + 1).round().astype(int)[1:-1]
    for step in range(plan.steps):
        student.train()
        loss = loss_of(student, material.batch(plan.batch, rng), rng)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        _average(averaged, student, min(_AVERAGED, step / (step + 10)))
        if step + 1 in rounds:
            if on_round:
                on_round(averaged, material)
            material.mined = mine(averaged, material.negatives, plan.mined)
        if progress:
            progress(step + 1, plan.steps)
    return averaged


def loss_of(student: Student, batch: Batch, rng: np.random.Generator) -> Tensor:
    """The mean loss of a batch's windows."""
    log_mel = torch.from_numpy(_masked(to_log(batch.energies), rng))
    logits, _ = student(log_mel)
    answer = torch.from_numpy(batch.answer[:, STRIDE - 1 :: STRIDE])
    quiet = torch.from_numpy(batch.quiet[:, STRIDE - 1 :: STRIDE])
    positive = torch.from_numpy(batch.positive)
    worst = F.softplus(logits.masked_fill(~quiet, -30.0).topk(_BEST, dim=1).values).mean(1)
    everywhere = (F.softplus(logits) * quiet).sum(1) / quiet.sum(1).clamp(min=1)
    answered = F.softplus(-logits.masked_fill(~answer, -30.0).topk(_BEST, dim=1).values.clamp(min=-15)).mean(1)
    return (worst + 0.3 * everywhere).mean() + 1.5 * (answered * positive).sum() / len(positive)


def logits_of(student: Student, energies: np.ndarray) -> np.ndarray:
    """(frames, MELS) energies of a stream to (steps,) logits; the state goes on from piece to piece."""
    found = []
    states = None
    whole = len(energies) - len(energies) % STRIDE
    student.eval()
    with torch.inference_mode():
        for start in range(0, whole, _PIECE):
            piece = torch.from_numpy(to_log(np.asarray(energies[start : min(whole, start + _PIECE)], np.float32)))
            logits, states = student(piece[None], states)
            found.append(logits[0].numpy())
    return np.concatenate(found) if found else np.zeros(0, np.float32)


def mine(student: Student, negatives: np.ndarray, count: int, smoothing: int = 5) -> np.ndarray:
    """First frames of the windows of `negatives` on whose ends the student fires most, at most `count`."""
    scores = smooth(logits_of(student, negatives), smoothing)
    steps = _ALONE // STRIDE
    whole = len(scores) - len(scores) % steps
    if not whole:
        return np.zeros(0, np.int64)
    blocks = scores[:whole].reshape(-1, steps)
    order = np.argsort(blocks.max(axis=1))[::-1][:count]
    peaks = (order * steps + blocks[order].argmax(axis=1)) * STRIDE
    return np.maximum(0, peaks - round(0.8 * FRAMES))


def set_scale(student: Student, material: Material, rng: np.random.Generator) -> None:
    """Normalise each mel by the mean and spread that training will show."""
    log_mel = to_log(material.batch(256, rng).energies).reshape(-1, len(student.mean))
    student.mean.copy_(torch.from_numpy(log_mel.mean(axis=0)))
    student.scale.copy_(torch.from_numpy(1 / log_mel.std(axis=0)))


def _masked(log_mel: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """SpecAugment on half of the windows: a few mels, and a stretch of up to 100 ms, set to the window's mean."""
    for window in log_mel[rng.random(len(log_mel)) < 0.5]:
        mel, frame = rng.integers(log_mel.shape[2] - 6), rng.integers(FRAMES - 10)
        window[:, mel : mel + rng.integers(1, 7)] = window.mean()
        window[frame : frame + rng.integers(1, 11)] = window.mean()
    return log_mel


def _average(averaged: Student, student: Student, share: float) -> None:
    with torch.no_grad():
        for old, new in zip(averaged.state_dict().values(), student.state_dict().values(), strict=True):
            if old.is_floating_point():
                old.lerp_(new, 1 - share)
            else:
                old.copy_(new)
