"""A tiny Whisper that has learnt something: its texts end, and differ."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

TEXTS = ("one", "two six", "six one two", "two two one six six", "one one two one two six one")


@pytest.fixture(scope="session")
def taught(
    make_whisper: Callable[..., Path], spoken: Callable[..., np.ndarray], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A saved model, unpadded, of two seconds, that has learnt `TEXTS` from words of 0.5, 0.8, 1.0, 1.3 and 1.5 s."""
    import torch

    from speechxfer.models import load
    from speechxfer.shapes import pad_targets

    model = load(make_whisper(seconds=2), device="cpu")
    model.settings.pad_to_30s = model.encoder.pad_to_30s = False
    prepared = model.encoder.prepare(read_arpa_words(spoken))
    labels = pad_targets([model.encode_target(text) for text in TEXTS])
    optimiser = torch.optim.AdamW(model.network.parameters(), lr=4e-3)
    torch.manual_seed(0)
    for _ in range(60):
        optimiser.zero_grad()
        model.compute_loss(model.encoder(prepared), labels).backward()
        optimiser.step()
    folder = tmp_path_factory.mktemp("taught")
    model.save(folder)
    return folder


def read_arpa_words(
    spoken: Callable[..., np.ndarray], seconds: Sequence[float] = (0.5, 0.8, 1.0, 1.3, 1.5)
) -> list[np.ndarray]:
    return [spoken(("one", "two", "six")[k % 3], k, length) for k, length in enumerate(seconds)]


@pytest.fixture
def words(spoken: Callable[..., np.ndarray]) -> list[np.ndarray]:
    """What `taught` has learnt, as it heard it."""
    return read_arpa_words(spoken)
