"""Batches by seconds, the same in every run; accumulated ones weigh by their targets; only training is augmented."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechxfer.adaptation.run_dir import RunDir
from speechxfer.adaptation.training.batching import (
    BatchCollator,
    DurationBatchSampler,
    SampleIndex,
    TrainingDataset,
    count_loader_workers,
)
from speechxfer.adaptation.training.context import StageContext
from speechxfer.adaptation.training.joining import EpochPlan
from speechxfer.adaptation.training.staged_module import StagedModule
from speechxfer.adaptation.training.trainer import train_stage, uses_bfloat16
from speechxfer.config import load_recipe
from speechxfer.config.recipe import AugmentConfig as Settings
from speechxfer.config.recipe import StageConfig
from speechxfer.data import audio
from speechxfer.data.augment import WaveformAugmenter
from speechxfer.data.reader import read
from speechxfer.models import build_trainable
from speechxfer.report.progress import Reporter


@settings(max_examples=60)
@given(
    seconds=st.lists(st.floats(0.1, 30), min_size=1, max_size=40),
    most=st.floats(1, 90),
    seed=st.integers(0, 3),
    padded_share=st.sampled_from([0.0, 0.3]),
)
def test_every_epoch_holds_every_utterance_once_within_the_seconds(seconds, most, seed, padded_share):
    batches = DurationBatchSampler(seconds, max_seconds=most, epochs=3, seed=seed, padded_share=padded_share)
    again = DurationBatchSampler(seconds, max_seconds=most, epochs=3, seed=seed, padded_share=padded_share)
    for epoch in (2, 0, 1):  # in any order: a resumed run begins in the middle
        batches.set_epoch(epoch)
        again.set_epoch(epoch)
        drawn = list(batches)
        assert drawn == list(again)
        assert len(drawn) == len(batches)  # as many in every epoch, as the rate's schedule needs
        assert sorted(draw.row for batch in drawn for draw in batch) == list(range(len(seconds)))
        assert {draw.epoch for batch in drawn for draw in batch} == {epoch}
        for batch in drawn:
            assert len(batch) == 1 or max(seconds[draw.row] for draw in batch) * len(batch) <= most
            assert len({draw.padded for draw in batch}) == 1


def test_epochs_mix_anew_and_seeds_differ():
    seconds = np.random.default_rng(0).uniform(1, 9, 60).tolist()

    def plan(seed: int, epoch: int) -> list[list[int]]:
        batches = DurationBatchSampler(seconds, max_seconds=30, epochs=2, seed=seed)
        batches.set_epoch(epoch)
        return [[draw.row for draw in batch] for batch in batches]

    assert plan(0, 0) == plan(0, 0) != plan(0, 1) != plan(1, 1)
    padded = sum(max(seconds[row] for row in batch) * len(batch) for batch in plan(0, 0))
    assert padded < 1.2 * sum(seconds)  # like goes with like: drawn at random it would be 1.4 times


def test_the_share_of_padded_batches():
    batches = DurationBatchSampler([1.0] * 4000, max_seconds=2, epochs=1, seed=0, padded_share=0.1)
    assert 0.08 < np.mean([batch[0].padded for batch in batches]) < 0.12
    assert not any(
        draw.padded for batch in DurationBatchSampler([1.0] * 9, max_seconds=2, epochs=1, seed=0) for draw in batch
    )


def test_augmentation_follows_from_seed_copy_and_content(corpus_table):
    rows = read(corpus_table)
    chosen = Settings(speed=[0.9, 1.0, 1.1], noise=0.5, gain=6.0, room=0.3)

    def waveform(seed: int, epoch: int, row: int) -> np.ndarray:
        return TrainingDataset(rows, [[1]] * len(rows), WaveformAugmenter(chosen), seed)[
            SampleIndex(row, epoch, False)
        ][0]

    assert np.array_equal(waveform(0, 0, 3), waveform(0, 0, 3))
    others = [waveform(1, 0, 3), waveform(0, 1, 3)]
    assert not any(np.array_equal(waveform(0, 0, 3), other) for other in others)
    elsewhere = TrainingDataset(
        rows.select([5, 3]), [[1]] * 2, WaveformAugmenter(chosen), 0
    )  # another part that holds it
    assert np.array_equal(elsewhere[SampleIndex(1, 0, False)][0], waveform(0, 0, 3))
    taken = TrainingDataset(rows, [[1]] * len(rows), WaveformAugmenter(chosen), 0, copies=2)  # in turn
    for epoch in range(5):
        assert np.array_equal(taken[SampleIndex(3, epoch, False)][0], waveform(0, epoch % 2, 3))
    plain = TrainingDataset(rows, [[1]] * len(rows), WaveformAugmenter(Settings()), 0)
    assert np.array_equal(plain[SampleIndex(3, 0, False)][0], audio.load_waveform(rows[3]))


def test_a_copy_s_key_is_its_audio_its_cut_and_what_augmentation_did(corpus_table, monkeypatch):
    rows = read(corpus_table).select([0, 1, 2])
    cut = rows.map(lambda row: {"start": 0.1, "end": 0.3})
    keys = set()
    for part in (rows, cut):
        for settings_of in (Settings(), Settings(gain=3.0), Settings(gain=3.0, time_masks=2), Settings(speed=[0.9])):
            utterances = TrainingDataset(part, [[1]] * 3, WaveformAugmenter(settings_of), 0)
            keys |= {utterances.cache_key(row, copy) for row in range(3) for copy in range(2)}
    # three utterances, whole and cut; unchanged, by gain (masks come later), by speed; each copy of the last two
    assert len(keys) == 3 * 2 * (1 + 2 + 2)
    longest = TrainingDataset(rows, [[1]] * 3, WaveformAugmenter(Settings(speed=[0.9]), max_samples=99_999), 0)
    assert longest.cache_key(0, 0) not in keys
    reads: list[Path] = []
    whole = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: reads.append(path) or whole(path))
    same = cut.select([1, 1, 1]).map(lambda row, k: {"start": 0.05 * k}, with_indices=True)
    cuts = TrainingDataset(same, [[1]] * 3, WaveformAugmenter(Settings()), 0)
    assert len({cuts.cache_key(row, 0) for row in range(3)}) == 3 and len(reads) == 1  # a long recording is read once


def model_of(checkpoint, kind: str = "seq2seq", **encoder):
    values = {"encoder": {"name": str(checkpoint), **encoder}, "head": {"kind": kind}, "device": "cpu"}
    stages = [{"train": "all", "epochs": 1, "lr": 1}]
    torch.manual_seed(0)
    return build_trainable(load_recipe(values | {"stages": stages}), ["one", "two", "six"])


def test_a_batch_is_padded_with_what_no_loss_sees(tiny_whisper, make_speech):
    model = model_of(tiny_whisper)
    waves = [make_speech("one", 0, 0.5), make_speech("two", 1, 1.0)]
    batch = BatchCollator(model)([(waves[0], [5, 6, 7], False), (waves[1], [8], False)])
    assert batch["labels"].tolist() == [[5, 6, 7], [8, -100, -100]]
    assert batch["lengths"] == [50, 100] and batch["features"].shape == (2, 20, 100)
    assert not batch["features"][0, :, 50:].any()
    padded = BatchCollator(model)([(waves[0], [5], True), (waves[1], [8], True)])
    assert padded["lengths"] == [200, 200]  # all that the tiny model holds
    assert not model.encoder.pad_to_30s  # for that batch only
    always = BatchCollator(model_of(tiny_whisper, pad_to_30s=True))([(waves[0], [5], False)])
    assert always["lengths"] == [200]
    assert BatchCollator(model)([(waves[0], [], False)])["labels"].tolist() == [[-100]]


@pytest.mark.parametrize("kind", ["seq2seq", "ctc", "classify"])
def test_accumulated_batches_weigh_by_their_targets(tiny_whisper, corpus_table, tmp_path, kind):
    """One step of two halves moves every weight as one step of the whole does; texts of unlike length."""
    rows = read(corpus_table).select(range(4))
    texts = ["one", "two", "six", "one"] if kind == "classify" else ["one", "two six one two", "six", "one one"]
    moved = []
    for name, seconds, accumulate in (("whole", 9.0, 1), ("halves", 2.0, 2)):
        model = model_of(tiny_whisper, kind)
        for module in model.network.modules():  # dropout would draw otherwise in other batches
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
            if isinstance(getattr(module, "dropout", None), float):
                module.dropout = 0.0
        staged_module = StagedModule(model, Settings())
        stage = StageConfig(
            train=["all"], epochs=1, lr=1e-2, warmup=0, batch_seconds=seconds, gradient_accumulation=accumulate
        )
        staged_module.apply_stage(stage)
        gradients: dict[str, torch.Tensor] = {}
        dataset = TrainingDataset(rows, [model.encode_target(text) for text in texts], WaveformAugmenter(Settings()), 0)
        recipe = load_recipe({"stages": [stage.model_dump()], "precision": "float32"})
        quiet, run_dir = Reporter(quiet=True), RunDir(tmp_path / name)
        context = StageContext(0, stage, staged_module, dataset, [0.9] * 4, recipe, quiet, run_dir)
        train_stage(context, dataset, measure=lambda: 0.5, callbacks=[keep(gradients, staged_module)])
        moved.append(gradients)
    assert moved[0].keys() == moved[1].keys() and len(moved[0]) > 20
    for name, gradient in moved[0].items():
        torch.testing.assert_close(moved[1][name], gradient, atol=1e-6, rtol=1e-4)
    assert max(float(gradient.abs().max()) for gradient in moved[0].values()) > 1e-3


def keep(gradients: dict[str, torch.Tensor], staged_module: StagedModule):
    """A callback that keeps the gradient of the first step, as the optimiser sees it."""
    from transformers import TrainerCallback

    class Keep(TrainerCallback):
        def on_pre_optimizer_step(self, args, state, control, **_):
            assert not gradients, "there should be one step"
            gradients.update({n: p.grad.clone() for n, p in staged_module.named_parameters() if p.grad is not None})

    return Keep()


def test_the_loss_is_the_mean_over_targets(tiny_whisper, make_speech):
    model = model_of(tiny_whisper)
    staged_module = StagedModule(model, Settings()).eval()
    targets = [model.encode_target("one"), model.encode_target("two six one")]
    waves = [make_speech("one", 0, 0.5), make_speech("two", 1, 1.0)]
    batch = BatchCollator(model)([(wave, target, False) for wave, target in zip(waves, targets, strict=True)])
    with torch.no_grad():
        total = sum(
            float(model.compute_loss(model.encoder(model.encoder.prepare([wave])), torch.tensor([target])))
            for wave, target in zip(waves, targets, strict=True)
        )
        assert float(staged_module(**batch)["loss"]) == pytest.approx(total / 6, rel=1e-5)  # two and four tokens
        assert float(staged_module(**batch, num_items_in_batch=60)["loss"]) == pytest.approx(total / 60, rel=1e-5)


def test_a_clip_shorter_than_its_text_trains_on(tiny_whisper, make_speech):
    model = model_of(tiny_whisper, "ctc")
    staged_module = StagedModule(model, Settings())
    staged_module.apply_stage(StageConfig(train=["all"], epochs=1, lr=1))
    batch = BatchCollator(model)(
        [(make_speech("one", 0, 0.1), [4] * 30, False), (make_speech("two", 1, 0.6), [3, 4], False)]
    )
    loss = staged_module(**batch)["loss"]
    loss.backward()
    assert bool(loss.isfinite())
    assert all(bool(p.grad.isfinite().all()) for p in staged_module.parameters() if p.grad is not None)


@pytest.mark.parametrize(
    ("device", "cores", "processes", "free", "workers"),
    [
        ("cpu", 16, 1, 1e12, 0),
        ("mps", 16, 1, 1e12, 0),
        ("cuda", 16, 1, 1e12, 8),
        ("cuda", 16, 8, 1e12, 1),
        ("cuda", 8, 8, 1e12, 0),
        ("cuda", 4, 1, 1e12, 3),
        ("cuda", 16, 1, 64e6, 0),
    ],
)
def test_who_prepares_batches(monkeypatch, device, cores, processes, free, workers):
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: range(cores), raising=False)
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=free))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    assert count_loader_workers(device) == (workers if Path("/dev/shm").is_dir() or free > 1e9 else 8)


@pytest.mark.parametrize("utterances", [1, 2, 3, 7])
@pytest.mark.parametrize("processes", [1, 2, 4, 8])
def test_every_process_has_as_many_batches(utterances, processes):
    """Else one would wait for ever for another, which has none left."""
    ranks = [
        DurationBatchSampler([1.0] * utterances, max_seconds=1, epochs=2, seed=0, world_size=processes, rank=rank)
        for rank in range(processes)
    ]
    plans = [list(one) for one in ranks]
    assert {len(plan) for plan in plans} == {len(one) for one in ranks} == {-(-utterances // processes)}
    assert {draw.row for plan in plans for batch in plan for draw in batch} == set(range(utterances))


def test_preparing_a_batch_touches_nothing_on_the_model_s_device(recipe_values, corpus_table):
    """A process beside a GPU's may not use it: on `meta` any use would show."""
    rows = read(corpus_table)
    model = build_trainable(load_recipe(recipe_values), list(rows["text"]))
    model.network.to("meta")
    made = BatchCollator(model)(
        [TrainingDataset(rows, [[1]] * len(rows), WaveformAugmenter(Settings()), 0)[SampleIndex(0, 0, True)]]
    )
    assert {made[name].device.type for name in ("features", "labels")} == {"cpu"}


@pytest.mark.parametrize(
    ("precision", "device", "able", "answer"),
    [
        ("auto", "cpu", {"avx512_bf16": True}, True),
        ("auto", "cpu", {"amx_bf16": True}, True),
        ("auto", "cpu", {"avx512_bf16": False, "avx2": True}, False),
        ("auto", "mps", {"avx512_bf16": True}, False),
        ("float32", "cpu", {"avx512_bf16": True}, False),
        ("bfloat16", "cpu", {}, True),
    ],
)
def test_bfloat16_where_the_processor_is_made_for_it(monkeypatch, precision, device, able, answer):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    assert uses_bfloat16(precision, device) is answer


@pytest.mark.parametrize("weight, low, high", [(0.25, 0.15, 0.35), (2.0, 2.0, 2.0), (1.5, 1.35, 1.65)])
def test_weights_are_the_mean_number_of_draws(weight: float, low: float, high: float) -> None:
    sampler = DurationBatchSampler(
        [1.0] * 300, max_seconds=8, epochs=3, seed=0, plan=EpochPlan([1.0] * 100 + [weight] * 200)
    )
    for epoch in range(3):
        sampler.set_epoch(epoch)
        rows = [index.row for batch in sampler for index in batch]
        assert sum(row < 100 for row in rows) == 100
        assert low <= sum(row >= 100 for row in rows) / 200 <= high
    assert len(sampler) == len(list(sampler))
