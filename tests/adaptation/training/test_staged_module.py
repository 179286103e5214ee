"""A batch that is padded to 30 s trains in parts, to the loss and the gradients that it has as a whole."""

from __future__ import annotations

import pytest
import torch

from speechxfer.adaptation.training import staged_module as trainee_module
from speechxfer.adaptation.training.staged_module import StagedModule
from speechxfer.config import load_recipe
from speechxfer.models import build_trainable

TEXTS = ["one", "two", "six"]


@pytest.mark.parametrize(("kind", "train"), [("seq2seq", ["all"]), ("seq2seq", ["head", "top-1"]), ("ctc", ["all"])])
def test_a_padded_batch_in_parts_is_the_batch_as_a_whole(tiny_whisper, make_speech, monkeypatch, kind, train):
    values = {
        "encoder": {"name": str(tiny_whisper)},
        "head": {"kind": kind, "dropout": 0},
        "device": "cpu",
        "augment": {"time_masks": 2, "freq_masks": 2, "freq_width": 0.5, "pad_to_30s": 0.5},
        "stages": [{"train": train, "epochs": 1, "lr": 1, "batch_seconds": 1.1}],
    }
    recipe = load_recipe(values)
    torch.manual_seed(0)
    staged_module = StagedModule(build_trainable(recipe, TEXTS), recipe.augment)
    for module in staged_module.network.modules():  # their draws would come in another order
        if isinstance(getattr(module, "dropout", None), float):
            module.dropout = 0.0
    staged_module.apply_stage(recipe.stages[0])
    waveforms = [make_speech(text, 0, 0.5 + 0.1 * place) for place, text in enumerate(TEXTS)]
    targets = [staged_module.model.encode_target(text) for text in TEXTS]
    widest = max(map(len, targets))
    labels = torch.tensor([row + [-100] * (widest - len(row)) for row in targets])
    together: list[int] = []
    upper = staged_module.model.encoder.forward_from
    monkeypatch.setattr(
        staged_module.model.encoder, "forward_from", lambda hidden: together.append(len(hidden.states)) or upper(hidden)
    )

    def step(padded: bool) -> tuple[float, dict[str, torch.Tensor]]:
        together.clear()
        staged_module.zero_grad()
        torch.manual_seed(1)  # of the masks
        with staged_module.model.use_padding(padded):
            inputs = staged_module.model.encoder.prepare(waveforms)
            loss = staged_module(inputs.lengths, labels, inputs.features)["loss"]
            loss.backward()
        found = {n: p.grad.clone() for n, p in staged_module.named_parameters() if p.grad is not None}
        return float(loss.detach()), found

    whole, gradients = step(padded=True)
    assert together == [3]
    monkeypatch.setattr(trainee_module, "_MAX_STATE_VALUES", 1)
    in_parts, others = step(padded=True)
    assert together == [1, 1, 1, 1, 1, 1]  # each again for its gradient
    assert in_parts == pytest.approx(whole, rel=1e-5)
    assert gradients and gradients.keys() == others.keys()
    for name, gradient in gradients.items():
        assert torch.allclose(gradient, others[name], rtol=1e-4, atol=1e-6 * float(gradient.abs().max() + 1)), name
    step(padded=False)
    assert together == [3]
    staged_module.eval()
    with torch.no_grad(), staged_module.model.use_padding(True):
        inputs = staged_module.model.encoder.prepare(waveforms)
        assert float(staged_module(inputs.lengths, labels, inputs.features)["loss"]) > 0
    assert together == [3, 3]


def test_texts_that_are_nothing_once_normalised_leave_the_weights_as_they_are(tiny_whisper, make_speech):
    values = {
        "encoder": {"name": str(tiny_whisper)},
        "head": {"kind": "ctc"},
        "device": "cpu",
        "stages": [{"train": "all", "epochs": 1, "lr": 1}],
    }
    recipe = load_recipe(values)
    staged_module = StagedModule(build_trainable(recipe, TEXTS), recipe.augment)
    staged_module.apply_stage(recipe.stages[0])
    inputs = staged_module.model.encoder.prepare([make_speech("one", 0, 0.5)])
    labels = torch.full((1, 1), -100)
    for count in (None, 0, torch.tensor(0)):
        staged_module.zero_grad()
        loss = staged_module(features=inputs.features, labels=labels, lengths=inputs.lengths, num_items_in_batch=count)[
            "loss"
        ]
        loss.backward()
        assert loss.isfinite()
        assert all(weight.grad is None or weight.grad.isfinite().all() for weight in staged_module.parameters())
