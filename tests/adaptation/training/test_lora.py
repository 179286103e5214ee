"""Low-rank adapters: only they train, they are merged, and what is saved is as plain as before."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCTC, WhisperForConditionalGeneration

from speechxfer.adaptation.run import adapt
from speechxfer.adaptation.training import lora
from speechxfer.adaptation.training.staged_module import StagedModule, count_parameters
from speechxfer.config import load_recipe
from speechxfer.config.recipe import LoraAdapterConfig
from speechxfer.errors import UserError
from speechxfer.models import build_trainable

pytest.importorskip("peft", reason="extra 'lora' is not installed")
RANK = 4


def trainee_for(checkpoint, kind: str, **adapters) -> StagedModule:
    values = {"encoder": {"name": str(checkpoint)}, "head": {"kind": kind}, "device": "cpu"}
    recipe = load_recipe({**values, "stages": [{"train": "all", "epochs": 1, "lr": 1e-3}]})
    torch.manual_seed(0)
    staged_module = StagedModule(
        build_trainable(recipe, ["one", "two"]), recipe.augment, LoraAdapterConfig(rank=RANK, **adapters)
    )
    staged_module.apply_stage(recipe.stages[0])
    return staged_module


def test_only_the_adapters_train(tiny_whisper):
    staged_module = trainee_for(tiny_whisper, "seq2seq")
    names = {name for name, parameter in staged_module.named_parameters() if parameter.requires_grad}
    assert names and all("lora_" in name for name in names)
    # 2 encoder layers, 2 decoder layers with two attentions each: 6 attentions, q and v, in and out of width 32
    trained = sum(part["trained"] for part in count_parameters(staged_module.model).values())
    assert trained == 6 * 2 * 2 * 32 * RANK


def test_a_new_head_trains_whole(make_encoder):
    staged_module = trainee_for(make_encoder("wav2vec2"), "ctc")
    names = {name for name, parameter in staged_module.named_parameters() if parameter.requires_grad}
    assert {name for name in names if "lora_" not in name} == {"network.lm_head.weight", "network.lm_head.bias"}


def test_merged_it_says_the_same_under_its_own_names(tiny_whisper):
    before = {name for name, _ in WhisperForConditionalGeneration.from_pretrained(tiny_whisper).named_parameters()}
    staged_module = trainee_for(tiny_whisper, "seq2seq", targets=["q_proj", "fc1"])
    for name, parameter in staged_module.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    staged_module.eval()
    inputs = staged_module.model.encoder.prepare([torch.randn(16_000).numpy()])
    with torch.no_grad():
        truth = staged_module.model.encoder(inputs).states
        lora.merge_adapters(staged_module.model)
        torch.testing.assert_close(staged_module.model.encoder(inputs).states, truth, atol=1e-4, rtol=1e-4)
    assert {name for name, _ in staged_module.network.named_parameters()} == before


def test_a_run_leaves_a_plain_model(tiny_recipe, quiet, tiny_whisper):
    run = adapt(tiny_recipe(f"lora.rank={RANK}", "stages.0.lr=1e-2", "stages.0.epochs=4"), reporter=quiet)
    place = (
        run.run_dir.model if run.report.to_json()["selected"] != "zero-shot" else run.run_dir.checkpoints / "rejected"
    )
    network, found = WhisperForConditionalGeneration.from_pretrained(place, output_loading_info=True)
    assert not found["missing_keys"] and not found["unexpected_keys"]
    before, after = load_file(tiny_whisper / "model.safetensors"), network.state_dict()
    changed = {name for name, weight in before.items() if not weight.equal(after[name])}
    assert changed and all(name.rsplit(".", 2)[1] in ("q_proj", "v_proj") for name in changed)
    rank = torch.linalg.matrix_rank(after[sorted(changed)[0]] - before[sorted(changed)[0]])
    assert rank <= RANK


def test_a_run_with_a_new_head(recipe_values, quiet, make_encoder, tmp_path):
    values = {**recipe_values, "encoder": {"name": str(make_encoder("wav2vec2"))}, "head": {"kind": "ctc"}}
    recipe = load_recipe(values, ["lora.rank=2", f"output={tmp_path / 'run'}"])
    run = adapt(recipe, reporter=quiet)
    _, found = AutoModelForCTC.from_pretrained(run.run_dir.model, output_loading_info=True)
    assert not found["missing_keys"] and not found["unexpected_keys"]


def test_targets_that_match_nothing(tiny_whisper):
    with pytest.raises(UserError, match=r"lora\.targets.*unknown layer names: query") as caught:
        trainee_for(tiny_whisper, "seq2seq", targets=["q_proj", "query"])
    assert "q_proj" in str(caught.value) and "fc1" in str(caught.value)


def test_wavlm_s_attention_takes_no_adapters(make_encoder):
    """It reads the layers' weights, so that what stands beside them would never be asked."""
    with pytest.raises(UserError, match=r"lora\.targets.*only the weights of q_proj, v_proj"):
        trainee_for(make_encoder("wavlm"), "ctc")
    staged_module = trainee_for(make_encoder("wavlm"), "ctc", targets=["intermediate_dense", "output_dense"])
    model = staged_module.model
    waveform = np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    frames = model.encoder(model.encoder.prepare([waveform]))
    model.compute_loss(frames, torch.tensor([model.encode_target("one")])).backward()
    adapters = [(name, weight) for name, weight in staged_module.named_parameters() if "lora_B" in name]
    assert adapters and all(weight.grad is not None and weight.grad.abs().max() > 0 for _, weight in adapters)
