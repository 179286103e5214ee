"""Training loop of the student, with rounds of hard-negative mining.

A positive window is scored by its highest logits within the target frames, a negative one by its highest logits within
the quiet frames, so the loss looks at the places where an event would be. Between rounds the student processes all
negatives, and the windows on which it fired are sampled more often. Extra rounds may follow the planned ones until the
target false-alarm rate is met on validation speech: the learning rate, which the planned rounds anneal to zero,
restarts at a quarter of its maximum.
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

from speechxfer.progress import ProgressCallback
from speechxfer.wakeword.data.mixing import WINDOW_FRAMES, MixedBatch, TrainingMixer
from speechxfer.wakeword.model.student import FRAMES_PER_STEP, Student, StudentConfig
from speechxfer.wakeword.model.teacher import SoftTargets
from speechxfer.wakeword.runtime.events import smooth_scores
from speechxfer.wakeword.runtime.features import log_energies

# Called after a round with the student, the mixer and the logits of its negatives, both of which it may change; returns
# whether the target false-alarm rate is met.
RoundCallback = Callable[[Student, TrainingMixer, np.ndarray], bool]

MINING_SMOOTHING = 5  # scores: 100 ms, used to mine and to count false alarms between rounds
_NUM_TOP_STEPS = 8  # steps of a window that enter the loss: 160 ms
_EMA_DECAY = 0.995  # of the weights' exponential moving average, per step
_CHUNK_FRAMES = 60_000  # frames processed at once
_MIN_MINED_DISTANCE = 100  # frames per block of which at most one window is mined


@dataclass(frozen=True)
class TrainingPlan:
    """Length and learning rate of the training.

    steps: of all planned rounds together. mining_rounds: planned rounds. extra_rounds: further rounds of the same
    length while the target is not met; none starts after `max_seconds`. mined: windows mined per round.
    distillation_weight: weight of the distillation loss, if there are soft targets.
    """

    steps: int
    batch: int = 64
    rate: float = 2e-3
    mining_rounds: int = 4
    extra_rounds: int = 0
    max_seconds: float = math.inf
    mined: int = 600
    distillation_weight: float = 0.5
    seed: int = 0

    def last_steps(self) -> list[int]:
        """Return the last step of each planned round; rounds without a step are left out."""
        return sorted({round(self.steps * k / self.mining_rounds) for k in range(1, self.mining_rounds + 1)} - {0})

    def extra_last_steps(self) -> list[int]:
        """Return the last step of each extra round."""
        length = math.ceil(self.steps / self.mining_rounds)
        return [self.steps + length * k for k in range(1, self.extra_rounds + 1)]


def train_student(
    mixer: TrainingMixer,
    plan: TrainingPlan,
    *,
    start: Student | None = None,
    config: StudentConfig | None = None,
    progress: ProgressCallback | None = None,
    on_round: RoundCallback | None = None,
    soft_targets: SoftTargets | None = None,
) -> Student:
    """Train a student and return the moving average of its weights; `mixer` keeps the windows that were mined.

    start: weights to continue from, which are copied (default: new weights of `config`). progress: called with steps.
    """
    rng = np.random.default_rng(plan.seed)
    torch.manual_seed(plan.seed)
    student = Student(config) if start is None else copy.deepcopy(start)
    if start is None:
        fit_normalization(student, mixer, rng)
    averaged = copy.deepcopy(student).eval()
    optimizer = torch.optim.AdamW(student.parameters(), lr=plan.rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, plan.rate, plan.steps, pct_start=0.15)
    num_planned = len(plan.last_steps())
    last_steps = plan.last_steps() + plan.extra_last_steps()
    started, step = time.monotonic(), 0
    for number, last_step in enumerate(last_steps, 1):
        first_step = step
        while step < last_step:
            if number > num_planned:
                _set_rate(optimizer, plan.rate / 4 * (last_step - step) / (last_step - first_step))
            student.train()
            loss = compute_loss(student, mixer.sample_batch(plan.batch, rng), rng)
            if soft_targets is not None:
                distillation_loss = compute_distillation_loss(student, soft_targets, plan.batch // 4, rng)
                loss = loss + plan.distillation_weight * distillation_loss
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
            optimizer.step()
            if number <= num_planned:
                schedule.step()
            _update_average(averaged, student, min(_EMA_DECAY, step / (step + 10)))
            step += 1
            if progress:
                progress(step, max(last_step, plan.steps))
        out_of_time = time.monotonic() - started > plan.max_seconds
        is_last = number >= num_planned and (number == len(last_steps) or out_of_time)
        if is_last and on_round is None:
            break
        logits = compute_logits(averaged, mixer.negatives)
        target_met = on_round is None or on_round(averaged, mixer, logits)
        if is_last or (number >= num_planned and target_met):
            break
        mixer.mined = mine_windows(logits, plan.mined)
    return averaged


def compute_loss(student: Student, batch: MixedBatch, rng: np.random.Generator) -> Tensor:
    """Return the mean loss of a batch."""
    logits, _ = student(torch.from_numpy(_apply_specaugment(log_energies(batch.energies), rng)))
    target = torch.from_numpy(batch.target_frames[:, FRAMES_PER_STEP - 1 :: FRAMES_PER_STEP])
    quiet = torch.from_numpy(batch.quiet[:, FRAMES_PER_STEP - 1 :: FRAMES_PER_STEP])
    positive = torch.from_numpy(batch.positive)
    top_quiet = logits.masked_fill(~quiet, -30.0).topk(_NUM_TOP_STEPS, dim=1).values
    worst_loss = F.softplus(top_quiet).mean(1)
    quiet_loss = (F.softplus(logits) * quiet).sum(1) / quiet.sum(1).clamp(min=1)
    top_target = logits.masked_fill(~target, -30.0).topk(_NUM_TOP_STEPS, dim=1).values
    target_loss = F.softplus(-top_target.clamp(min=-15)).mean(1)
    return (worst_loss + 0.3 * quiet_loss).mean() + 1.5 * (target_loss * positive).sum() / len(positive)


def compute_distillation_loss(
    student: Student, soft_targets: SoftTargets, count: int, rng: np.random.Generator
) -> Tensor:
    """Return the cross entropy of the student's highest logits with the teacher's probabilities, of `count` windows."""
    energies, probabilities = soft_targets.sample_windows(count, rng)
    logits, _ = student(torch.from_numpy(_apply_specaugment(log_energies(energies), rng)))
    return F.binary_cross_entropy_with_logits(logits.topk(_NUM_TOP_STEPS, dim=1).values.mean(1), probabilities)


def compute_logits(student: Student, energies: np.ndarray) -> np.ndarray:
    """Map the (frames, NUM_MELS) energies of a stream to (steps,) logits, in chunks with the state carried over."""
    chunks = []
    states = None
    whole = len(energies) - len(energies) % FRAMES_PER_STEP
    student.eval()
    with torch.inference_mode():
        for start in range(0, whole, _CHUNK_FRAMES):
            chunk = np.asarray(energies[start : min(whole, start + _CHUNK_FRAMES)], np.float32)
            logits, states = student(torch.from_numpy(log_energies(chunk))[None], states)
            chunks.append(logits[0].numpy())
    return np.concatenate(chunks) if chunks else np.zeros(0, np.float32)


def compute_probabilities(logits: np.ndarray) -> np.ndarray:
    """Map (steps,) logits to (steps,) scores in double precision, as the detector computes them."""
    return 1 / (1 + np.exp(-logits.astype(np.float64)))


def mine_windows(logits: np.ndarray, count: int) -> np.ndarray:
    """Return the first frames of up to `count` windows near whose end the student fires most. logits: (steps,)."""
    scores = smooth_scores(logits, MINING_SMOOTHING)
    steps = _MIN_MINED_DISTANCE // FRAMES_PER_STEP
    whole = len(scores) - len(scores) % steps
    if not whole:
        return np.zeros(0, np.int64)
    blocks = scores[:whole].reshape(-1, steps)
    order = np.argsort(blocks.max(axis=1))[::-1][:count]
    peaks = (order * steps + blocks[order].argmax(axis=1)) * FRAMES_PER_STEP
    return np.maximum(0, peaks - round(0.8 * WINDOW_FRAMES))


def fit_normalization(student: Student, mixer: TrainingMixer, rng: np.random.Generator) -> None:
    """Set the mean and scale of each mel from a sampled batch of 256 windows."""
    log_mel = log_energies(mixer.sample_batch(256, rng).energies).reshape(-1, len(student.mean))
    student.mean.copy_(torch.from_numpy(log_mel.mean(axis=0)))
    student.scale.copy_(torch.from_numpy(1 / log_mel.std(axis=0)))


def _apply_specaugment(log_mel: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mask up to 6 mels and up to 100 ms of half of the windows with the window's mean (Park et al. 2019)."""
    for window in log_mel[rng.random(len(log_mel)) < 0.5]:
        mel, frame = rng.integers(log_mel.shape[2] - 6), rng.integers(WINDOW_FRAMES - 10)
        window[:, mel : mel + rng.integers(1, 7)] = window.mean()
        window[frame : frame + rng.integers(1, 11)] = window.mean()
    return log_mel


def _set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


def _update_average(averaged: Student, student: Student, decay: float) -> None:
    with torch.no_grad():
        for old, new in zip(averaged.state_dict().values(), student.state_dict().values(), strict=True):
            if old.is_floating_point():
                old.lerp_(new, 1 - decay)
            else:
                old.copy_(new)
