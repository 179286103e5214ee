"""Tiny models to export, and utterances to compare them on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def whisper(make_whisper: Callable[..., Path]) -> Path:
    """A tiny random Whisper that takes 30 s, which transformers' pipeline and faster-whisper require."""
    return make_whisper(seconds=30)


@pytest.fixture(scope="session")
def in_ctranslate2(whisper: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`whisper`, exported for CTranslate2."""
    pytest.importorskip("ctranslate2")
    from speechxfer.export import export_model

    return export_model(whisper, "ctranslate2", tmp_path_factory.mktemp("ctranslate2") / "out").output


@pytest.fixture
def utterances(corpus_table: Path) -> Any:
    from speechxfer.data.reader import read

    return read(corpus_table).select([0, 7, 17])


@pytest.fixture
def save_untrained(tmp_path: Path) -> Callable[..., Path]:
    """save_untrained(name, encoder, head, scale=1): the folder of a saved model with a new head.

    scale: factor of the output layer's weights; large ones make its predictions as certain as a trained head's.
    """
    import torch

    from speechxfer.config import load_recipe
    from speechxfer.models import build_trainable

    def save(name: str, encoder: Path, head: dict[str, Any], *, scale: float = 1.0) -> Path:
        stages = [{"train": "head", "epochs": 1, "lr": 1}]
        values = {"encoder": {"name": str(encoder), "pad_silence": 0.1}, "head": head, "stages": stages}
        torch.manual_seed(1)
        model = build_trainable(load_recipe(values | {"device": "cpu"}), ["one", "two", "six"])
        if scale != 1.0:
            with torch.no_grad():
                (model.network.lm_head if model.kind == "ctc" else model.network.classifier).weight *= scale
        model.save(tmp_path / name)
        return tmp_path / name

    return save
