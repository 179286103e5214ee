"""Frozen means frozen: after training for real, every frozen tensor, running statistics included, is bit-equal."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from speechxfer.adaptation.run_dir import RunDir
from speechxfer.adaptation.training.batching import TrainingDataset
from speechxfer.adaptation.training.context import StageContext
from speechxfer.adaptation.training.staged_module import StagedModule, count_parameters
from speechxfer.adaptation.training.trainer import train_stage
from speechxfer.config import load_recipe
from speechxfer.config.recipe import StageConfig
from speechxfer.data.augment import WaveformAugmenter
from speechxfer.data.reader import read
from speechxfer.models import build_trainable
from speechxfer.report.progress import Reporter

STAGES = {"head": ["head"], "top": ["head", "top-1"], "encoder": ["encoder"], "all": ["all"]}
# what may change in each stage, by the names that transformers gives; each family has two layers
WHISPER = {
    "head": r"model\.decoder\.|proj_out\.",
    "top": r"model\.decoder\.|proj_out\.|model\.encoder\.(layers\.1|layer_norm)\.",
    "encoder": r"model\.encoder\.(layers|layer_norm)\.",
    "all": r"model\.decoder\.|proj_out\.|model\.encoder\.(layers|layer_norm)\.",
}
BELOW = r"\w+\.(feature_projection|encoder\.pos_conv_embed|encoder\.layer_norm)\."  # wav2vec2, HuBERT: norm below
OTHERS = {
    "head": r"lm_head\.",
    "top": r"lm_head\.|\w+\.encoder\.layers\.1\.",
    "encoder": rf"\w+\.encoder\.layers\.|{BELOW}",
    "all": rf"lm_head\.|\w+\.encoder\.layers\.|{BELOW}",
}
CONFORMER = {
    "head": r"lm_head\.",
    "top": r"lm_head\.|\w+\.encoder\.(layers\.1|layer_norm)\.",
    "encoder": rf"\w+\.encoder\.layers\.|{BELOW}",
    "all": rf"lm_head\.|\w+\.encoder\.layers\.|{BELOW}",
}
FAMILIES = {"whisper": WHISPER, "wav2vec2": OTHERS, "hubert": OTHERS, "conformer": CONFORMER}
STATISTICS = re.compile(r"running_|num_batches")
# softmax sees no difference in a key's bias; conformer keeps a positional convolution that it never runs
IDLE = {"conformer": r"k_proj\.bias|linear_k\.bias|pos_conv_embed|masked_spec"}


def trainee_for(checkpoint: Path, kind: str, **augment: Any) -> StagedModule:
    values = {"encoder": {"name": str(checkpoint)}, "head": {"kind": kind}, "device": "cpu", "augment": augment}
    recipe = load_recipe({**values, "stages": [{"train": "head", "epochs": 1, "lr": 1}]})
    torch.manual_seed(0)
    return StagedModule(build_trainable(recipe, ["one", "two", "six"]), recipe.augment)


def make_context(
    staged_module: StagedModule, stage: StageConfig, dataset: TrainingDataset, folder: Path
) -> StageContext:
    recipe = load_recipe({"stages": [stage.model_dump()]})
    durations = [0.9] * len(dataset)
    return StageContext(0, stage, staged_module, dataset, durations, recipe, Reporter(quiet=True), RunDir(folder))


@pytest.fixture
def train(corpus_table: Path, tmp_path: Path) -> Callable[[StagedModule, list[str]], None]:
    """train(trainee, parts): two real epochs of a stage, masks in time and over channels included."""

    def run(staged_module: StagedModule, parts: list[str]) -> None:
        rows = read(corpus_table).select(range(6))
        targets = [staged_module.model.encode_target(text) for text in rows["text"]]
        stage = StageConfig(train=parts, epochs=2, lr=1e-2, batch_seconds=2.5, weight_decay=0.1)
        staged_module.apply_stage(stage)
        errors = iter([0.9, 0.8])
        dataset = TrainingDataset(rows, targets, WaveformAugmenter(staged_module.augment), 0)
        context = make_context(staged_module, stage, dataset, tmp_path)
        train_stage(context, dataset, measure=lambda: next(errors))

    return run


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_frozen_stays_and_what_trains_moves(train, make_encoder, tiny_whisper, family, stage):
    checkpoint = tiny_whisper if family == "whisper" else make_encoder(family)
    staged_module = trainee_for(checkpoint, "seq2seq" if family == "whisper" else "ctc", time_masks=1, freq_masks=1)
    network = staged_module.model.network
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    train(staged_module, STAGES[stage])
    after = network.state_dict()
    trains = {name for name in before if re.match(FAMILIES[family][stage], name)}
    trains -= {name for name in before if STATISTICS.search(name)}  # of frozen and of trained norms alike
    moved = {name for name in before if not after[name].equal(before[name])}
    assert not moved - trains
    idle = {name for name in trains if re.search(IDLE.get(family, r"k_proj\.bias"), name)}
    assert not trains - moved - idle
    assert moved
    if family in ("hubert", "conformer"):
        assert any(STATISTICS.search(name) for name in before), "there is no running statistic to see"
    # what is said to train is what is given a gradient
    counts = count_parameters(staged_module.model)
    texts = sum(part["trained"] for part in counts.values())
    assert texts == sum(p.numel() for name, p in network.named_parameters() if name in trains)
    assert texts + sum(part["frozen"] for part in counts.values()) == sum(p.numel() for p in network.parameters())
    assert counts["feature extractor"]["trained"] == 0


@pytest.mark.parametrize("stage", ["head", "top"])
@pytest.mark.parametrize("family", ["whisper", "wav2vec2", "conformer", "bert", "data2vec"])
def test_below_the_split_nothing_is_random(make_encoder, tiny_whisper, make_speech, family, stage):
    """Dropout, layerdrop and masking act above it only, so that what is frozen could be computed once."""
    checkpoint = tiny_whisper if family == "whisper" else make_encoder(family)
    staged_module = trainee_for(checkpoint, "seq2seq" if family == "whisper" else "ctc")
    encoder = staged_module.model.encoder
    inputs = encoder.prepare([make_speech("one", 0, 0.9), make_speech("two", 1, 0.5)])
    with torch.no_grad():
        staged_module.network.eval()
        truth = encoder.forward_to(inputs, 2 if stage == "head" else 1).states
        staged_module.apply_stage(StageConfig(train=STAGES[stage], epochs=1, lr=1))
        assert staged_module.training and staged_module.split == (2 if stage == "head" else 1)
        for _ in range(2):
            assert encoder.forward_to(inputs, staged_module.split).states.equal(truth)


@pytest.mark.parametrize(("parts", "drops"), [(["head", "top-1"], True), (["head"], False)])
def test_dropout_acts_in_the_layers_that_train(tiny_whisper, make_speech, parts, drops):
    staged_module = trainee_for(tiny_whisper, "ctc")
    staged_module.apply_stage(StageConfig(train=parts, epochs=1, lr=1))
    encoder = staged_module.model.encoder
    hidden = encoder.forward_to(encoder.prepare([make_speech("one", 0, 0.9)]), staged_module.split)
    first, second = (encoder.forward_from(hidden).states for _ in range(2))
    assert first.equal(second) is not drops


def test_evaluation_masks_and_drops_nothing(tiny_whisper, make_speech):
    staged_module = trainee_for(tiny_whisper, "ctc", time_masks=3, freq_masks=3, freq_width=0.5)
    staged_module.apply_stage(StageConfig(train=["all"], epochs=1, lr=1))
    inputs = staged_module.model.encoder.prepare([make_speech("one", 0, 0.9)])
    labels = torch.tensor([staged_module.model.encode_target("one")])
    losses = {
        mode: {
            float(staged_module.train(mode)(inputs.lengths, labels, inputs.features)["loss"].detach()) for _ in range(3)
        }
        for mode in (True, False)
    }
    assert len(losses[True]) == 3 and len(losses[False]) == 1


def test_masks_are_drawn_anew_at_every_step_and_by_the_seed(tiny_whisper, make_speech):
    staged_module = trainee_for(tiny_whisper, "ctc", time_masks=2, freq_masks=2, freq_width=0.5)
    for module in staged_module.network.modules():
        if isinstance(getattr(module, "dropout", None), float):
            module.dropout = 0.0
    staged_module.network.dropout.p = 0.0
    staged_module.apply_stage(StageConfig(train=["all"], epochs=1, lr=1))
    inputs = staged_module.model.encoder.prepare([make_speech("one", 0, 0.9)])
    labels = torch.tensor([staged_module.model.encode_target("one")])

    def losses(seed: int, **augment: int) -> list[float]:
        staged_module.augment = staged_module.augment.model_copy(update=augment)
        torch.manual_seed(seed)
        return [float(staged_module(inputs.lengths, labels, inputs.features)["loss"].detach()) for _ in range(3)]

    masked = losses(0)
    assert len({*masked}) == 3 and losses(0) == masked != losses(1)
    assert len({*losses(0, time_masks=0, freq_masks=0)}) == 1  # nothing else is random here


def rates_of(
    staged_module: StagedModule, stage: StageConfig, table: Path, folder: Path
) -> dict[str, tuple[float, float]]:
    """Name to the rate and the weight decay that the optimiser has for it."""
    from speechxfer.adaptation.training.batching import BatchCollator, DurationBatchSampler
    from speechxfer.adaptation.training.trainer import StageTrainer, make_training_arguments

    staged_module.apply_stage(stage)
    dataset = TrainingDataset(read(table).select(range(2)), [[1], [1]], WaveformAugmenter(staged_module.augment), 0)
    trainer = StageTrainer(
        model=staged_module,
        args=make_training_arguments(make_context(staged_module, stage, dataset, folder), 1, 1),
        dataset=dataset,
        data_collator=BatchCollator(staged_module.model),
        batches=DurationBatchSampler([1, 1], max_seconds=9, epochs=1, seed=0),
        measure=lambda: 0.0,
    )
    assert np.isclose(trainer.args.learning_rate, stage.lr)
    name_of = {parameter: name for name, parameter in staged_module.network.named_parameters()}
    return {
        name_of[parameter]: (group["lr"], group["weight_decay"])
        for group in trainer.create_optimizer().param_groups
        for parameter in group["params"]
    }


def test_rates_of_head_and_encoder_and_no_decay_of_norms_and_biases(tiny_whisper, corpus_table, tmp_path):
    staged_module = trainee_for(tiny_whisper, "seq2seq")
    stage = StageConfig(train=["head", "top-1"], epochs=1, lr=1e-2, encoder_lr=1e-4, weight_decay=0.1)
    rates = rates_of(staged_module, stage, corpus_table, tmp_path)
    for name, (rate, decay) in rates.items():
        assert rate == (1e-4 if name.startswith("model.encoder.") else 1e-2)
        assert decay == (0.0 if re.search(r"bias$|norm\.weight$", name) else 0.1)
    assert {*rates} == {name for name, parameter in staged_module.network.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize("encoder_lr", [None, 1e-3])
def test_lower_layers_learn_slower(make_encoder, corpus_table, tmp_path, encoder_lr):
    staged_module = trainee_for(make_encoder("wav2vec2"), "ctc")
    stage = StageConfig(train=["all"], epochs=1, lr=1e-2, encoder_lr=encoder_lr, layer_decay=0.5)
    top = encoder_lr or 1e-2
    wanted = {"layers.1.": top, "layers.0.": top / 2, "feature_projection": top / 4, "pos_conv_embed": top / 4}
    wanted |= {"wav2vec2.encoder.layer_norm": top / 4, "lm_head": 1e-2}  # this family's norm lies below the layers
    seen = set()
    for name, (rate, _) in rates_of(staged_module, stage, corpus_table, tmp_path).items():
        (part,) = [part for part in wanted if part in name]
        assert rate == pytest.approx(wanted[part]), name
        seen.add(part)
    assert seen == {*wanted}
