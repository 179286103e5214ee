"""Trains the student: what resembles the word is answered where the word is, and nowhere else.

A positive window is scored by its best few steps where the word may be answered, a negative one by its worst few steps:
the loss looks where an event would be. Between rounds the student hears its negatives whole, and what it fired on is
drawn more often after. Further rounds may follow the planned ones, until the target holds on speech that is no part of
training: the rate of learning, which the planned rounds bring to nothing, begins anew at a quarter of it.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from speechxfer.wakeword.data.mixing import WINDOW_FRAMES, MixedBatch, TrainingMixer
from speechxfer.wakeword.model.student import FRAMES_PER_STEP, Student, StudentConfig
from speechxfer.wakeword.model.teacher import SoftTargets
from speechxfer.wakeword.runtime.events import smooth_scores
from speechxfer.wakeword.runtime.features import log_energies

TrainingProgress = Callable[[int, int], None]  # steps done, of how many
# called after a round with the student, the material and the logits of its negatives, both of which it may change:
# whether the target holds
OnRound = Callable[[Student, TrainingMixer, np.ndarray], bool]

MINING_SMOOTHING = 5  # scores: 100 ms, by which rounds mine and count
_BEST = 8  # steps that a window is judged by: 160 ms
_AVERAGED = 0.995  # of the weights' running average, a step
_PIECE = 60_000  # frames heard at once
_ALONE = 100  # frames around a mined peak in which no other is taken


@dataclass(frozen=True)
class TrainingPlan:
    """How long and how fast. steps: in all planned rounds together; rounds: with mining in between.

    extra: rounds that may follow, each as long as a planned one, while the target does not hold; none begins after
    `seconds`.
    """

    steps: int
    batch: int = 64
    rate: float = 2e-3
    mining_rounds: int = 4
    extra_rounds: int = 0
    max_seconds: float = math.inf
    mined: int = 600  # windows kept for each round
    distillation_weight: float = 0.5  # weight of a teacher's lessons, where there are any
    seed: int = 0


def train_student(
    material: TrainingMixer, plan: TrainingPlan, *, start: Student | None = None, shape: StudentConfig | None = None,
    progress: TrainingProgress | None = None, on_round: OnRound | None = None, lessons: SoftTargets | None = None,
) -> Student:  # fmt: skip
    """A student trained on `material`, which keeps what was mined, and on a teacher's lessons, if there are any.

    start: weights to go on from (they are copied).
    """
    rng = np.random.default_rng(plan.seed)
    torch.manual_seed(plan.seed)
    student = Student(shape) if start is None else copy.deepcopy(start)
    if start is None:
        fit_normalization(student, material, rng)
    averaged = copy.deepcopy(student).eval()
    optimizer = torch.optim.AdamW(student.parameters(), lr=plan.rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, plan.rate, plan.steps, pct_start=0.15)
    ends = sorted({round(plan.steps * k / plan.mining_rounds) for k in range(1, plan.mining_rounds + 1)} - {0})
    planned, length = len(ends), math.ceil(plan.steps / plan.mining_rounds)
    ends += [plan.steps + length * k for k in range(1, plan.extra_rounds + 1)]
    begun, step = time.monotonic(), 0
    for number, end in enumerate(ends, 1):
        first = step
        while step < end:
            if number > planned:
                _set_rate(optimizer, plan.rate / 4 * (end - step) / (end - first))
            student.train()
            loss = compute_loss(student, material.sample_batch(plan.batch, rng), rng)
            if lessons is not None:
                loss = loss + plan.distillation_weight * compute_distillation_loss(
                    student, lessons, plan.batch // 4, rng
                )
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
            optimizer.step()
            if number <= planned:
                schedule.step()
            _average(averaged, student, min(_AVERAGED, step / (step + 10)))
            step += 1
            if progress:
                progress(step, max(end, plan.steps))
        last = number >= planned and (number == len(ends) or time.monotonic() - begun > plan.max_seconds)
        if last and on_round is None:
            break
        logits = compute_logits(averaged, material.negatives)
        holds = on_round is None or on_round(averaged, material, logits)
        if last or (number >= planned and holds):
            break
        material.mined = mine_windows(logits, plan.mined)
    return averaged


def compute_loss(student: Student, batch: MixedBatch, rng: np.random.Generator) -> Tensor:
    """The mean loss of a batch's windows."""
    log_mel = torch.from_numpy(_masked(log_energies(batch.energies), rng))
    logits, _ = student(log_mel)
    answer = torch.from_numpy(batch.target_frames[:, FRAMES_PER_STEP - 1 :: FRAMES_PER_STEP])
    quiet = torch.from_numpy(batch.quiet[:, FRAMES_PER_STEP - 1 :: FRAMES_PER_STEP])
    positive = torch.from_numpy(batch.positive)
    worst = F.softplus(logits.masked_fill(~quiet, -30.0).topk(_BEST, dim=1).values).mean(1)
    everywhere = (F.softplus(logits) * quiet).sum(1) / quiet.sum(1).clamp(min=1)
    answered = F.softplus(-logits.masked_fill(~answer, -30.0).topk(_BEST, dim=1).values.clamp(min=-15)).mean(1)
    return (worst + 0.3 * everywhere).mean() + 1.5 * (answered * positive).sum() / len(positive)


def compute_distillation_loss(student: Student, lessons: SoftTargets, count: int, rng: np.random.Generator) -> Tensor:
    """Cross entropy between the teacher's probabilities and the student's best steps of the same windows."""
    energies, answers = lessons.sample_windows(count, rng)
    logits, _ = student(torch.from_numpy(_masked(log_energies(energies), rng)))
    return F.binary_cross_entropy_with_logits(logits.topk(_BEST, dim=1).values.mean(1), answers)


def compute_logits(student: Student, energies: np.ndarray) -> np.ndarray:
    """(frames, MELS) energies of a stream to (steps,) logits; the state goes on from piece to piece."""
    found = []
    states = None
    whole = len(energies) - len(energies) % FRAMES_PER_STEP
    student.eval()
    with torch.inference_mode():
        for start in range(0, whole, _PIECE):
            piece = torch.from_numpy(log_energies(np.asarray(energies[start : min(whole, start + _PIECE)], np.float32)))
            logits, states = student(piece[None], states)
            found.append(logits[0].numpy())
    return np.concatenate(found) if found else np.zeros(0, np.float32)


def compute_probabilities(logits: np.ndarray) -> np.ndarray:
    """(steps,) logits to (steps,) scores in double precision, as the detector gives them."""
    return 1 / (1 + np.exp(-logits.astype(np.float64)))


def mine_windows(logits: np.ndarray, count: int) -> np.ndarray:
    """First frames of the windows on whose ends the student fires most, at most `count`. logits: (steps,)."""
    scores = smooth_scores(logits, MINING_SMOOTHING)
    steps = _ALONE // FRAMES_PER_STEP
    whole = len(scores) - len(scores) % steps
    if not whole:
        return np.zeros(0, np.int64)
    blocks = scores[:whole].reshape(-1, steps)
    order = np.argsort(blocks.max(axis=1))[::-1][:count]
    peaks = (order * steps + blocks[order].argmax(axis=1)) * FRAMES_PER_STEP
    return np.maximum(0, peaks - round(0.8 * WINDOW_FRAMES))


def fit_normalization(student: Student, material: TrainingMixer, rng: np.random.Generator) -> None:
    """Normalise each mel by the mean and spread that training will show."""
    log_mel = log_energies(material.sample_batch(256, rng).energies).reshape(-1, len(student.mean))
    student.mean.copy_(torch.from_numpy(log_mel.mean(axis=0)))
    student.scale.copy_(torch.from_numpy(1 / log_mel.std(axis=0)))


def _masked(log_mel: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """SpecAugment on half of the windows: a few mels, and a stretch of up to 100 ms, set to the window's mean."""
    for window in log_mel[rng.random(len(log_mel)) < 0.5]:
        mel, frame = rng.integers(log_mel.shape[2] - 6), rng.integers(WINDOW_FRAMES - 10)
        window[:, mel : mel + rng.integers(1, 7)] = window.mean()
        window[frame : frame + rng.integers(1, 11)] = window.mean()
    return log_mel


def _set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


def _average(averaged: Student, student: Student, share: float) -> None:
    with torch.no_grad():
        for old, new in zip(averaged.state_dict().values(), student.state_dict().values(), strict=True):
            if old.is_floating_point():
                old.lerp_(new, 1 - share)
            else:
                old.copy_(new)
