"""Training and decoding on the meta device, where mixing with a CPU tensor raises: what a GPU would refuse is found.

The meta device has shapes and no values, so CTC's loss, which has no kernel there, is replaced by a sum of the same
arguments, and targets are all valid.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.fx.experimental import _config as meta_options
from transformers import masking_utils

from speechxfer.adaptation.training.staged_module import StagedModule
from speechxfer.config import load_recipe
from speechxfer.encoders import base
from speechxfer.heads import ctc as ctc_module
from speechxfer.heads.whisper_decoder import compute_decoder_log_probs
from speechxfer.models import build_trainable
from speechxfer.models.classifier import Classifier
from speechxfer.models.ctc import CtcRecogniser
from speechxfer.models.joint import JointRecogniser
from speechxfer.models.seq2seq import WhisperRecogniser

FAMILIES = ["wav2vec2", "hubert", "wavlm", "data2vec", "conformer", "bert"]
HEADS: dict[str, dict[str, Any]] = {
    "ctc": {"kind": "ctc"},
    "classify": {"kind": "classify"},
    "attentive": {"kind": "classify", "pooling": "attentive"},
    "seq2seq": {"kind": "seq2seq"},
    "joint": {"kind": "joint"},
}
CASES = [
    *[(family, head) for family in FAMILIES for head in ("ctc", "classify", "attentive")],
    *[("whisper", head) for head in HEADS],
]
TEXTS = ["one", "two", "six"]


@pytest.fixture
def make_staged(make_encoder, tiny_whisper, make_speech, monkeypatch):
    """make_staged(family, head): the module in a stage that trains all of it, and a batch, both on the CPU."""

    def make(family: str, head: str) -> tuple[StagedModule, dict[str, Any]]:
        encoder = tiny_whisper if family == "whisper" else make_encoder(family, words="one two six")
        recipe = load_recipe(
            {
                "encoder": {"name": str(encoder)},
                "head": HEADS[head],
                "device": "cpu",
                "augment": {"time_masks": 1, "freq_masks": 1},
                "stages": [{"train": "all", "epochs": 1, "lr": 1e-3}],
            }
        )
        staged = StagedModule(build_trainable(recipe, TEXTS), recipe.augment)
        staged.apply_stage(recipe.stages[0])
        staged.train()
        inputs = staged.model.encoder.prepare([make_speech(text, 0, 0.5 + 0.1 * k) for k, text in enumerate(TEXTS)])
        targets = [staged.model.encode_target(text) for text in TEXTS]
        shortest = min(map(len, targets))
        labels = torch.tensor([row[:shortest] for row in targets])
        return staged, {"lengths": inputs.lengths.tolist(), "features": inputs.features, "labels": labels}

    return make


def replace_ctc_loss(
    log_probs: Tensor, targets: Tensor, input_lengths: Tensor, target_lengths: Tensor, **_: Any
) -> Tensor:
    """Sum the arguments that the loss reads on the device of the model; its lengths are read on the CPU."""
    assert input_lengths.device.type == "cpu"
    return log_probs.sum((0, 2)) + targets.sum(1)


@pytest.fixture
def on_meta(monkeypatch):
    """Replace what has no kernel or needs values on the meta device."""
    monkeypatch.setattr(ctc_module.F, "ctc_loss", replace_ctc_loss)
    monkeypatch.setattr(ctc_module, "count_targets", lambda labels: torch.full((len(labels),), labels.shape[1]))
    # transformers looks for packed sequences by their positions, which training never gives
    monkeypatch.setattr(masking_utils, "find_packed_sequence_indices", lambda *_: None)
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    monkeypatch.setattr(
        JointRecogniser, "_make_ctc_targets", lambda self, labels: ([[1, 2]] * len(labels), labels.numel())
    )
    with meta_options.patch(meta_nonzero_assume_all_nonzero=True):
        yield


def move(batch: dict[str, Any]) -> dict[str, Any]:
    return {name: value.to("meta") if isinstance(value, Tensor) else value for name, value in batch.items()}


def train_step(staged: StagedModule, batch: dict[str, Any]) -> Tensor:
    optimizer = torch.optim.AdamW([p for p in staged.parameters() if p.requires_grad])
    loss = staged(**batch)["loss"]
    loss.backward()
    optimizer.step()
    return loss


@pytest.mark.parametrize(("family", "head"), CASES)
def test_a_training_step(make_staged, on_meta, family, head):
    staged, batch = make_staged(family, head)
    loss = train_step(staged.to("meta"), move(batch))
    assert loss.device.type == "meta" and loss.shape == ()
    trained = [p for p in staged.parameters() if p.requires_grad]
    assert trained and all(p.grad is None or p.grad.device.type == "meta" for p in trained)
    assert sum(p.grad is not None for p in trained) > len(trained) // 2


@pytest.mark.parametrize(("family", "head"), CASES)
def test_prediction_before_its_values_are_read(make_staged, on_meta, family, head):
    staged, batch = make_staged(family, head)
    model, batch = staged.to("meta").eval().model, move(batch)
    with torch.no_grad():
        frames = model.encoder(base.Inputs(batch["features"], torch.tensor(batch["lengths"])))
        if isinstance(model, Classifier):
            found = model.compute_scores(frames).argmax(-1)
        elif isinstance(model, CtcRecogniser):
            found = model.compute_emissions(frames).log_probs.argmax(-1)
        else:
            assert isinstance(model, WhisperRecogniser)
            found = compute_decoder_log_probs(model.whisper, frames, batch["labels"], model.prompt)
    assert found.device.type == "meta" and len(found) == len(TEXTS)


def test_a_tensor_that_stays_on_the_cpu_is_noticed(make_staged, on_meta, monkeypatch):
    staged, batch = make_staged("wav2vec2", "ctc")
    whole = base.length_mask
    monkeypatch.setattr(base, "length_mask", lambda lengths, size, device: whole(lengths, size))
    with pytest.raises(RuntimeError, match="device"):
        train_step(staged.to("meta"), move(batch))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("family", "head"), [("wav2vec2", "ctc"), ("bert", "attentive"), ("whisper", "joint")])
def test_a_step_in_half_precision_with_the_scaler(make_staged, family, head, dtype):
    staged, batch = make_staged(family, head)
    optimizer = torch.optim.AdamW([p for p in staged.parameters() if p.requires_grad], lr=1e-3)
    scaler = torch.amp.GradScaler("cpu", enabled=dtype == torch.float16, init_scale=64.0)
    before = {name: p.detach().clone() for name, p in staged.named_parameters() if p.requires_grad}
    with torch.autocast("cpu", dtype=dtype):
        loss = staged(**batch)["loss"]
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
    assert loss.isfinite() and loss.dtype == torch.float32
    assert any(not torch.equal(before[name], p) for name, p in staged.named_parameters() if name in before)
    assert all(p.dtype == torch.float32 and p.isfinite().all() for p in staged.parameters())
