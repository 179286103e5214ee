"""The teacher: a frozen encoder with a classification head on its frames, and what it says of a pool of windows.

An encoder over sliding windows is too dear for a device, but the student may learn from one. Windows of the word, of
what resembles it and of other speech are encoded once; a head is trained on their frames; its probabilities are what
the student is taught beside the labels. A head knows by heart what it was trained on, so each window is judged by one
that never heard its recording (cross-fitting, as in stacking: Wolpert 1992).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechxfer.data.augment import add_noise, add_room, change_speed
from speechxfer.shapes import Frames
from speechxfer.wakeword.data.clips import find_speech_bounds
from speechxfer.wakeword.data.mixing import SPEED_FACTORS, WINDOW_FRAMES
from speechxfer.wakeword.runtime.features import HOP_SAMPLES, NUM_MELS, WINDOW_SAMPLES, compute_mel_energies

WORD_WINDOW, NEAR_MISS_WINDOW, OTHER_WINDOW = "word", "near", "other"
WINDOW_COUNTS = {
    WORD_WINDOW: 1200,
    NEAR_MISS_WINDOW: 800,
    OTHER_WINDOW: 2000,
}  # windows: 2.7 h, which Whisper tiny encodes in 90 s on two cores
WINDOW_AUDIO_SAMPLES = (WINDOW_FRAMES - 1) * HOP_SAMPLES + WINDOW_SAMPLES  # of a window
_HEADS = 3  # each of which judges what the others were trained on
_STEPS = 300  # of a head's training, 64 windows each
_AT_ONCE = 40  # windows

NO_TEACHER = "none"  # in a teacher's place

TeacherProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class SoftTargets:
    """What the student is taught. energies: (windows, FRAMES, MELS). answers: (windows,) probabilities."""

    energies: np.ndarray
    answers: np.ndarray

    def sample_windows(self, count: int, rng: np.random.Generator) -> tuple[np.ndarray, Tensor]:
        """`count` windows at a drawn loudness, and their answers."""
        chosen = rng.integers(len(self.answers), size=count)
        gains = 10 ** (rng.uniform(-15, 10, (count, 1, 1)) / 10)
        return (self.energies[chosen] * gains).astype(np.float32), torch.from_numpy(self.answers[chosen])


@dataclass
class WindowPool:
    """Waveforms from which windows are drawn; holds nothing unless it is wanted."""

    wanted: bool
    seed: int = 0
    _kept: dict[str, list[np.ndarray]] = field(default_factory=lambda: {kind: [] for kind in WINDOW_COUNTS})

    def add(self, kind: str, waveform: np.ndarray) -> None:
        """A recording at 16 kHz. Of other speech two windows' worth is kept, of as many as windows are drawn."""
        kept = self._kept[kind]
        if not self.wanted or (kind == OTHER_WINDOW and len(kept) >= WINDOW_COUNTS[OTHER_WINDOW]):
            return
        if kind == OTHER_WINDOW:
            start = max(0, len(waveform) - 2 * WINDOW_AUDIO_SAMPLES) // 2
            waveform = waveform[start : start + 2 * WINDOW_AUDIO_SAMPLES]
        kept.append(np.array(waveform, np.float32))

    def sample_waveforms(self, counts: dict[str, int]) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
        """Waveforms of SAMPLES samples; (windows,) whether each holds the word; (windows,) its recording's number."""
        rng = np.random.default_rng([self.seed, 3])
        found, labels, recordings = [], [], []
        first = 0
        for kind, sounds in self._kept.items():
            for place in rng.integers(len(sounds), size=counts[kind] if sounds else 0):
                found.append(_heard(_placed(sounds[place], kind == WORD_WINDOW, rng), rng))
                labels.append(kind == WORD_WINDOW)
                recordings.append(first + place)
            first += len(sounds)
        return found, np.array(labels), np.array(recordings)


def make_soft_targets(
    encoder: str, pool: WindowPool, *, counts: dict[str, int] | None = None, progress: TeacherProgress | None = None
) -> tuple[SoftTargets, dict[str, Any]]:
    """Lessons by a teacher on `encoder` (a MODEL), and what the manifest says of it. Raises UserError for no model."""
    from speechxfer.config import load_recipe
    from speechxfer.models.loading import build_trainable  # transformers: a second that most trainings need not wait

    recipe = load_recipe(
        {"encoder": {"name": encoder}, "head": {"kind": "classify"}, "device": "cpu", "seed": pool.seed,
         "stages": [{"train": "head", "epochs": 1, "lr": 1e-3}]}
    )  # fmt: skip
    model = build_trainable(recipe, [WORD_WINDOW, OTHER_WINDOW])
    waveforms, labels, recordings = pool.sample_waveforms(counts or WINDOW_COUNTS)
    frames = []
    for start in range(0, len(waveforms), _AT_ONCE):
        frames.append(model.infer(waveforms[start : start + _AT_ONCE], lambda f: f.states.half()))
        if progress:
            progress(min(len(waveforms), start + _AT_ONCE), len(waveforms))
    answers = cross_fit_probabilities(torch.cat(frames), labels, recordings, seed=pool.seed)
    energies = np.stack([compute_mel_energies(waveform) for waveform in waveforms]).reshape(-1, WINDOW_FRAMES, NUM_MELS)
    errors = float(np.mean((answers > 0.5) != labels))
    return SoftTargets(energies, answers), {"encoder": encoder, "windows": len(labels), "errors": round(errors, 4)}


def cross_fit_probabilities(frames: Tensor, labels: np.ndarray, recordings: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """(windows, frames, dim) to (windows,) float32 probabilities, each by a head that never heard its recording.

    labels, recordings: (windows,).
    """
    answers = np.zeros(len(labels), np.float32)
    fold = np.random.default_rng([seed, 4]).permutation(int(recordings.max(initial=0)) + 1)[recordings] % _HEADS
    for number in range(_HEADS):
        apart, judged = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        if not len(judged):
            continue
        head = _trained(frames, labels, apart, seed)
        with torch.inference_mode():
            for start in range(0, len(judged), 256):
                place = judged[start : start + 256]
                answers[place] = torch.sigmoid(head(frames[place].float())).numpy()
    return answers


class AttentivePoolingHead(nn.Module):
    """Attentive statistics of a window's frames, and one linear layer: (batch, frames, dim) to (batch,) logits."""

    def __init__(self, dim: int) -> None:
        from speechxfer.heads.classification import AttentiveStatistics

        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.pool = AttentiveStatistics(dim)
        self.dropout = nn.Dropout(0.2)
        self.out = nn.Linear(2 * dim, 1)

    def forward(self, states: Tensor) -> Tensor:
        lengths = torch.full((len(states),), states.shape[1])
        return self.out(self.dropout(self.pool(Frames(self.norm(states), lengths))))[:, 0]


def _trained(frames: Tensor, labels: np.ndarray, places: np.ndarray, seed: int) -> AttentivePoolingHead:
    rng = np.random.default_rng([seed, 5])
    torch.manual_seed(seed)
    head = AttentivePoolingHead(frames.shape[2])
    optimizer = torch.optim.AdamW(head.parameters(), lr=2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, _STEPS)
    wanted = torch.from_numpy(labels.astype(np.float32))
    for _ in range(_STEPS):
        chosen = rng.choice(places, 64)
        loss = F.binary_cross_entropy_with_logits(head(frames[chosen].float()), wanted[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return head.eval()


def _placed(waveform: np.ndarray, word: bool, rng: np.random.Generator) -> np.ndarray:
    """SAMPLES samples: the word whole and anywhere in them, another sound anywhere, silence where nothing was."""
    changed = (
        change_speed(waveform, SPEED_FACTORS[rng.integers(len(SPEED_FACTORS))]) if rng.random() < 0.5 else waveform
    )
    if word:
        start, end = find_speech_bounds(compute_mel_energies(changed))
        least, most = (
            (end + 15) * HOP_SAMPLES - WINDOW_AUDIO_SAMPLES,
            start * HOP_SAMPLES,
        )  # 0.15 s are left after the word
    else:
        least, most = min(0, len(changed) - WINDOW_AUDIO_SAMPLES), max(0, len(changed) - WINDOW_AUDIO_SAMPLES)
    first = int(rng.integers(least, max(least, most) + 1))
    window = np.zeros(WINDOW_AUDIO_SAMPLES, np.float32)
    piece = changed[max(0, first) : max(0, first + WINDOW_AUDIO_SAMPLES)]
    window[max(0, -first) : max(0, -first) + len(piece)] = piece
    return window


def _heard(window: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """As it is, in a room, in noise, or both."""
    if rng.random() < 0.3 and window.any():
        window = add_room(window, rng)[: len(window)]
    if rng.random() < 0.6:
        window = add_noise(window, rng.uniform(0, 25), rng)
    return window.astype(np.float32)
