"""Distillation targets: a frozen pretrained encoder with a classification head, applied to a pool of audio windows.

Running an encoder on sliding windows is too expensive on a device, but the student can learn from one. Windows of the
word, of near misses and of other speech are encoded once, a head is trained on their frames, and its probabilities
become soft targets for the student in addition to the labels. A head memorises its training windows, so each window is
labelled by a head that was trained without its recording (cross-fitting, as in stacking: Wolpert 1992).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechxfer.data.augment import add_noise, add_room, change_speed
from speechxfer.progress import ProgressCallback
from speechxfer.shapes import Frames
from speechxfer.wakeword.data.clips import find_speech_bounds
from speechxfer.wakeword.data.mixing import SPEED_FACTORS, WINDOW_FRAMES
from speechxfer.wakeword.runtime.features import HOP_SAMPLES, NUM_MELS, WINDOW_SAMPLES, compute_mel_energies

NO_TEACHER = "none"  # value of the setting `teacher` without distillation
WORD_WINDOW, NEAR_MISS_WINDOW, OTHER_WINDOW = "word", "near", "other"
WINDOW_COUNTS = {  # windows: 2.7 h, which Whisper tiny encodes in 90 s on two cores
    WORD_WINDOW: 1200,
    NEAR_MISS_WINDOW: 800,
    OTHER_WINDOW: 2000,
}
WINDOW_AUDIO_SAMPLES = (WINDOW_FRAMES - 1) * HOP_SAMPLES + WINDOW_SAMPLES
_NUM_FOLDS = 3  # heads, each of which labels the windows that the others were trained on
_HEAD_STEPS = 300  # training steps of a head, 64 windows each
_ENCODER_BATCH = 40  # windows


@dataclass(frozen=True)
class SoftTargets:
    """Windows and their soft targets. energies: (windows, WINDOW_FRAMES, NUM_MELS). probabilities: (windows,)."""

    energies: np.ndarray
    probabilities: np.ndarray

    def sample_windows(self, count: int, rng: np.random.Generator) -> tuple[np.ndarray, Tensor]:
        """Sample `count` windows with a random gain; return their energies and probabilities."""
        chosen = rng.integers(len(self.probabilities), size=count)
        gains = 10 ** (rng.uniform(-15, 10, (count, 1, 1)) / 10)
        return (self.energies[chosen] * gains).astype(np.float32), torch.from_numpy(self.probabilities[chosen])


@dataclass
class WindowPool:
    """Waveforms from which windows are sampled; stores nothing unless `enabled`."""

    enabled: bool
    seed: int = 0
    _waveforms: dict[str, list[np.ndarray]] = field(default_factory=lambda: {kind: [] for kind in WINDOW_COUNTS})

    def add(self, kind: str, waveform: np.ndarray) -> None:
        """Add a recording at 16 kHz. Of other speech, 4.8 s of as many recordings as windows are kept."""
        waveforms = self._waveforms[kind]
        if not self.enabled or (kind == OTHER_WINDOW and len(waveforms) >= WINDOW_COUNTS[OTHER_WINDOW]):
            return
        if kind == OTHER_WINDOW:
            start = max(0, len(waveform) - 2 * WINDOW_AUDIO_SAMPLES) // 2
            waveform = waveform[start : start + 2 * WINDOW_AUDIO_SAMPLES]
        waveforms.append(np.array(waveform, np.float32))

    def sample_waveforms(self, counts: dict[str, int]) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
        """Sample windows of WINDOW_AUDIO_SAMPLES samples, `counts` of each kind.

        Returns: the windows, (windows,) whether each contains the word, (windows,) the index of its recording.
        """
        rng = np.random.default_rng([self.seed, 3])
        windows, labels, recordings = [], [], []
        first = 0
        for kind, waveforms in self._waveforms.items():
            for index in rng.integers(len(waveforms), size=counts[kind] if waveforms else 0):
                windows.append(_augment_window(_cut_window(waveforms[index], kind == WORD_WINDOW, rng), rng))
                labels.append(kind == WORD_WINDOW)
                recordings.append(first + index)
            first += len(waveforms)
        return windows, np.array(labels), np.array(recordings)


def make_soft_targets(
    encoder: str, pool: WindowPool, *, counts: dict[str, int] | None = None, progress: ProgressCallback | None = None
) -> tuple[SoftTargets, dict[str, Any]]:
    """Compute the soft targets of windows from the pool with a frozen encoder (a MODEL).

    Returns: the targets, and facts for the manifest.
    Raises: UserError if there is no such model.
    """
    from speechxfer.config import load_recipe
    from speechxfer.models.loading import build_trainable  # imports transformers, which takes a second

    recipe = load_recipe(
        {
            "encoder": {"name": encoder},
            "head": {"kind": "classify"},
            "device": "cpu",
            "seed": pool.seed,
            "stages": [{"train": "head", "epochs": 1, "lr": 1e-3}],
        }
    )
    model = build_trainable(recipe, [WORD_WINDOW, OTHER_WINDOW])
    waveforms, labels, recordings = pool.sample_waveforms(counts or WINDOW_COUNTS)
    frames = []
    for start in range(0, len(waveforms), _ENCODER_BATCH):
        frames.append(model.infer(waveforms[start : start + _ENCODER_BATCH], lambda f: f.states.half()))
        if progress:
            progress(min(len(waveforms), start + _ENCODER_BATCH), len(waveforms))
    probabilities = cross_fit_probabilities(torch.cat(frames), labels, recordings, seed=pool.seed)
    energies = np.stack([compute_mel_energies(waveform) for waveform in waveforms]).reshape(-1, WINDOW_FRAMES, NUM_MELS)
    errors = float(np.mean((probabilities > 0.5) != labels))
    facts = {"encoder": encoder, "windows": len(labels), "errors": round(errors, 4)}
    return SoftTargets(energies, probabilities), facts


def cross_fit_probabilities(frames: Tensor, labels: np.ndarray, recordings: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Map (windows, frames, dim) to (windows,) float32 probabilities, by heads trained without the window's recording.

    labels, recordings: (windows,).
    """
    probabilities = np.zeros(len(labels), np.float32)
    num_recordings = int(recordings.max(initial=0)) + 1
    folds = np.random.default_rng([seed, 4]).permutation(num_recordings)[recordings] % _NUM_FOLDS
    for fold in range(_NUM_FOLDS):
        train, test = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        if not len(test):
            continue
        head = _train_head(frames, labels, train, seed)
        with torch.inference_mode():
            for start in range(0, len(test), 256):
                batch = test[start : start + 256]
                probabilities[batch] = torch.sigmoid(head(frames[batch].float())).numpy()
    return probabilities


class AttentivePoolingHead(nn.Module):
    """Attentive statistics pooling and one linear layer: (batch, frames, dim) to (batch,) logits."""

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


def _train_head(frames: Tensor, labels: np.ndarray, indices: np.ndarray, seed: int) -> AttentivePoolingHead:
    rng = np.random.default_rng([seed, 5])
    torch.manual_seed(seed)
    head = AttentivePoolingHead(frames.shape[2])
    optimizer = torch.optim.AdamW(head.parameters(), lr=2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, _HEAD_STEPS)
    targets = torch.from_numpy(labels.astype(np.float32))
    for _ in range(_HEAD_STEPS):
        batch = rng.choice(indices, 64)
        loss = F.binary_cross_entropy_with_logits(head(frames[batch].float()), targets[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return head.eval()


def _cut_window(waveform: np.ndarray, has_word: bool, rng: np.random.Generator) -> np.ndarray:
    """Cut WINDOW_AUDIO_SAMPLES samples at a random position, padded with silence; a word is never cut off."""
    changed = (
        change_speed(waveform, SPEED_FACTORS[rng.integers(len(SPEED_FACTORS))]) if rng.random() < 0.5 else waveform
    )
    if has_word:
        start, end = find_speech_bounds(compute_mel_energies(changed))
        low = (end + 15) * HOP_SAMPLES - WINDOW_AUDIO_SAMPLES  # keeps 0.15 s after the word
        high = start * HOP_SAMPLES
    else:
        low, high = min(0, len(changed) - WINDOW_AUDIO_SAMPLES), max(0, len(changed) - WINDOW_AUDIO_SAMPLES)
    first = int(rng.integers(low, max(low, high) + 1))
    window = np.zeros(WINDOW_AUDIO_SAMPLES, np.float32)
    piece = changed[max(0, first) : max(0, first + WINDOW_AUDIO_SAMPLES)]
    window[max(0, -first) : max(0, -first) + len(piece)] = piece
    return window


def _augment_window(window: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add a room to 30 % of the windows and noise at 0 to 25 dB to 60 %."""
    if rng.random() < 0.3 and window.any():
        window = add_room(window, rng)[: len(window)]
    if rng.random() < 0.6:
        window = add_noise(window, rng.uniform(0, 25), rng)
    return window.astype(np.float32)
