"""Time saved by the frame cache: python scripts/bench/cache.py [TABLE] [--json recipes/results/bench-cache.json]

Measures one epoch of a new CTC head on a frozen encoder in three ways, alternately: with frames from the store, with
utterances encoded again without padding, and encoded again padded to 30 s, as transformers does. Head, loss, optimiser,
loop and seconds of input per batch are the same; epochs that encode also decode the audio, as in training. Filling the
store is measured once, separately. Two heads are measured: a linear one, and that of the recipe accent-ctc, whose LSTMs
take the same time with and without the cache.

`--family wav2vec2` measures the linear head of this family on a random wav2vec2 of base's shape, which is not padded to
30 s.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from _measuring import alternating, cores, corpus_table, machine, named, options, run, spread, versions, write

from speechxfer.adaptation.cache.feature_cache import CachedDataset, cache_features, count_augmented_copies
from speechxfer.adaptation.training.batching import BatchCollator, DurationBatchSampler, TrainingDataset
from speechxfer.adaptation.training.context import StageContext
from speechxfer.adaptation.training.staged_module import StagedModule
from speechxfer.config import Recipe, load_recipe
from speechxfer.config.recipe import StageConfig
from speechxfer.data import audio
from speechxfer.data.augment import WaveformAugmenter
from speechxfer.data.reader import read
from speechxfer.models import build_trainable
from speechxfer.report.progress import Reporter
from speechxfer.text.normalise import get_normaliser

CACHED, UNPADDED, PADDED = "from the cache", "encoded again, unpadded", "encoded again, padded to 30 s"
WINDOW_SECONDS = 30.0
EVERY = 6
HEADS = {  # by the encoder's family: name to number of LSTM layers
    "whisper": {"a new linear CTC head": 0, "accent-ctc's own head, two LSTMs": 2},
    "wav2vec2": {"a new linear CTC head on a random wav2vec2 of base's shape": 0},
}


def make_recipe(model: str, lstm_layers: int, batch_seconds: float, dtype: str) -> Recipe:
    """Make a recipe with a new CTC head on frozen frames, which are always cached."""
    stage = {"train": "head", "epochs": 2, "lr": 1e-3, "batch_seconds": batch_seconds}
    return load_recipe(
        {
            "encoder": {"name": model},
            "head": {"kind": "ctc", "lstm_layers": lstm_layers},
            "stages": [stage],
            "cache": {"use": "always", "dtype": dtype},
            "device": "cpu",
        }
    )


def make_epoch(staged: StagedModule, dataset: Any, batches: DurationBatchSampler) -> Callable[[], list[float]]:
    """Return a function that trains for one epoch and returns the loss of each step."""
    collate = BatchCollator(staged.model)
    optimiser = torch.optim.AdamW([p for p in staged.parameters() if p.requires_grad], lr=1e-3)

    def train() -> list[float]:
        losses = []
        for batch in batches:
            loss = staged(**collate([dataset[index] for index in batch]))["loss"]
            loss.backward()
            optimiser.step()
            optimiser.zero_grad()
            losses.append(float(loss.detach()))
        return losses

    return train


def measure_epochs(recipe: Recipe, rows: Any, repeats: int) -> dict[str, Any]:
    """Measure the epochs of one head on all sides, alternately."""
    normalise = get_normaliser(recipe.scoring.normaliser)
    texts = [normalise(text) for text in rows["text"]]
    torch.manual_seed(0)
    model = build_trainable(recipe, texts)
    staged, stage = StagedModule(model, recipe.augment), recipe.stages[0]
    staged.apply_stage(stage)
    augment = WaveformAugmenter(recipe.augment, max_samples=model.encoder.max_samples)
    targets, copies = [model.encode_target(text) for text in texts], count_augmented_copies(recipe.cache, staged.split)
    dataset = TrainingDataset(rows, targets, augment, recipe.seed, copies)
    durations = [audio.measure_duration(row) for row in rows]
    start = time.perf_counter()
    cached = cache_features(StageContext(0, stage, staged, dataset, durations, recipe, Reporter(quiet=True)))
    filling_seconds = time.perf_counter() - start
    assert isinstance(cached, CachedDataset)

    def make_batches(seconds: Sequence[float], padded: float = 0.0) -> DurationBatchSampler:
        return DurationBatchSampler(seconds, max_seconds=stage.batch_seconds, epochs=1, seed=0, padded_share=padded)

    sides = {
        CACHED: make_epoch(staged, cached, make_batches(durations)),
        UNPADDED: make_epoch(staged, dataset, make_batches(durations)),
    }
    if model.encoder.max_samples is not None:  # Whisper
        sides[PADDED] = make_epoch(staged, dataset, make_batches([WINDOW_SECONDS] * len(durations), 1.0))
    difference = _compute_loss_difference(staged, stage, cached, dataset, make_batches(durations))
    for name in (CACHED, UNPADDED):  # the padded side runs the same code as the unpadded one
        sides[name]()
    seconds = alternating(sides, repeats)
    ratios = {
        name: [slow / fast for slow, fast in zip(seconds[name], seconds[CACHED], strict=True)]
        for name in sides
        if name != CACHED
    }
    return {
        "seconds_an_epoch": {name: spread(values, 4) for name, values in seconds.items()},
        "times_as_long": {name: spread(ratio, 2) for name, ratio in ratios.items()},  # by the cache's
        "filling_the_store_seconds": round(filling_seconds, 2),
        "largest_difference_of_losses": difference,
    }


def save_random_wav2vec2(scratch: Path) -> Path:
    """Save a wav2vec2 of base's shape with random weights, which takes the same time as a pretrained one."""
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

    folder = scratch / "random-wav2vec2-base"
    torch.manual_seed(0)
    Wav2Vec2Model(Wav2Vec2Config()).save_pretrained(folder)
    Wav2Vec2FeatureExtractor().save_pretrained(folder)
    return folder


@torch.no_grad()
def _compute_loss_difference(
    staged: StagedModule, stage: StageConfig, cached: Any, dataset: Any, batches: DurationBatchSampler
) -> float:
    """Compute the difference of a batch's loss with cached and with encoded frames, without dropout."""
    collate, batch = BatchCollator(staged.model), next(iter(batches))
    staged.eval()
    losses = [float(staged(**collate([side[index] for index in batch]))["loss"]) for side in (cached, dataset)]
    staged.apply_stage(stage)
    return abs(losses[0] - losses[1])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = options(__doc__)
    parser.add_argument("table", nargs="?", type=Path, help="default: $SPEECHXFER_CORPORA/speechocean762/train.csv")
    parser.add_argument("--every", type=int, default=EVERY, help="use every N-th utterance; default %(default)s")
    parser.add_argument("--family", choices=HEADS, default="whisper", help="default %(default)s")
    parser.add_argument("--model", help="default: whisper-tiny.en, or a random wav2vec2")
    parser.add_argument("--dtype", default="float32", help="number type of the cached frames; default %(default)s")
    parser.add_argument("--batch-seconds", type=float, default=80.0, help="default %(default)s")
    parser.add_argument("--threads", type=int, default=cores(), help="default: all cores")
    given = parser.parse_args(arguments)
    table = corpus_table(given.table, "speechocean762/train.csv")
    torch.set_num_threads(given.threads)
    rows = read(table)
    rows = rows.select(range(0, len(rows), given.every))
    results: dict[str, Any] = {}
    for name, lstm_layers in HEADS[given.family].items():
        with tempfile.TemporaryDirectory() as scratch:
            os.environ["SPEECHXFER_FRAMES"] = str(Path(scratch) / "frames")
            model = given.model or (
                "whisper-tiny.en" if given.family == "whisper" else save_random_wav2vec2(Path(scratch))
            )
            recipe = make_recipe(str(model), lstm_layers, given.batch_seconds, given.dtype)
            results[name] = measure_epochs(recipe, rows, given.repeats)
    options_used = f" --every {given.every}" * (given.every != EVERY) + " --family wav2vec2" * (
        given.family == "wav2vec2"
    )
    write(
        {
            "command": f"python scripts/bench/cache.py{options_used}",
            "machine": machine(),
            "versions": versions("torch", "transformers", "numpy"),
            "corpus": f"one utterance in {given.every} of {named(table)}",
            "model": Path(model).name,
            "dtype": given.dtype,
            "threads": given.threads,
            "batch_seconds": given.batch_seconds,
            "target": 20,
            "utterances": len(rows),
            "audio_seconds": round(sum(audio.measure_duration(row) for row in rows), 1),
            "heads": results,
        },
        given.json,
    )


if __name__ == "__main__":
    run(main)
