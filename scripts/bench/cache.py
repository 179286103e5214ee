"""What do kept frames save? python scripts/bench/cache.py [TABLE] [--json recipes/results/bench-cache.json]

One epoch of a new CTC head over a frozen encoder, in three ways: its frames read from the store, its utterances encoded
again as long as they are, and encoded again padded to 30 s, as plain transformers does. The same head, loss, optimiser
and loop, the same seconds of input a batch, in turn; audio is decoded in each epoch that encodes, as training does.
Filling the store is measured once, and told apart. Of two heads: linear, and that of the recipe accent-ctc, whose LSTMs
take their own time whatever is kept.

`--family wav2vec2`, apart: the linear head, which is this family's, on a random wav2vec2 of base's shape, which pads to
no 30 s.
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
WINDOW = 30.0  # s
EVERY = 6
HEADS = {  # by the encoder's family: name to LSTMs
    "whisper": {"a new linear CTC head": 0, "accent-ctc's own head, two LSTMs": 2},
    "wav2vec2": {"a new linear CTC head on a random wav2vec2 of base's shape": 0},
}


def recipe(model: str, recurrent: int, batch_seconds: float, dtype: str) -> Recipe:
    """A new CTC head on frozen frames, which are always kept."""
    stage = {"train": "head", "epochs": 2, "lr": 1e-3, "batch_seconds": batch_seconds}
    return load_recipe(
        {
            "encoder": {"name": model},
            "head": {"kind": "ctc", "recurrent": recurrent},
            "stages": [stage],
            "cache": {"use": "always", "dtype": dtype},
            "device": "cpu",
        }
    )


def epoch(trainee: StagedModule, utterances: Any, batches: DurationBatchSampler) -> Callable[[], list[float]]:
    """One epoch of steps; what it returns is each step's loss."""
    collate = BatchCollator(trainee.model)
    optimiser = torch.optim.AdamW([p for p in trainee.parameters() if p.requires_grad], lr=1e-3)

    def train() -> list[float]:
        losses = []
        for batch in batches:
            loss = trainee(**collate([utterances[draw] for draw in batch]))["loss"]
            loss.backward()
            optimiser.step()
            optimiser.zero_grad()
            losses.append(float(loss.detach()))
        return losses

    return train


def measure(chosen: Recipe, rows: Any, repeats: int) -> dict[str, Any]:
    normalise = get_normaliser(chosen.scoring.normaliser)
    texts = [normalise(text) for text in rows["text"]]
    torch.manual_seed(0)
    model = build_trainable(chosen, texts)
    trainee, stage = StagedModule(model, chosen.augment), chosen.stages[0]
    trainee.apply_stage(stage)
    augment = WaveformAugmenter(chosen.augment, longest=model.encoder.max_samples)
    targets, copies = [model.encode_target(text) for text in texts], count_augmented_copies(chosen.cache, trainee.split)
    utterances = TrainingDataset(rows, targets, augment, chosen.seed, copies)
    own = [audio.measure_duration(row) for row in rows]
    began = time.perf_counter()
    narrator = Reporter(quiet=True)
    cached = cache_features(stage, trainee.split, model, utterances, own, chosen, narrator, "bench")
    encoding = time.perf_counter() - began
    assert isinstance(cached, CachedDataset)

    def batches(seconds: Sequence[float], padded: float = 0.0) -> DurationBatchSampler:
        return DurationBatchSampler(seconds, max_seconds=stage.batch_seconds, epochs=1, seed=0, padded_share=padded)

    sides = {
        CACHED: epoch(trainee, cached, batches(own)),
        UNPADDED: epoch(trainee, utterances, batches(own)),
    }
    if model.encoder.max_samples is not None:  # Whisper
        sides[PADDED] = epoch(trainee, utterances, batches([WINDOW] * len(own), 1.0))
    difference = _difference(trainee, stage, cached, utterances, batches(own))
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
        "times_as_long": {name: spread(ratio, 2) for name, ratio in ratios.items()},  # as from the cache, turn by turn
        "filling_the_store_seconds": round(encoding, 2),
        "largest_difference_of_losses": difference,
    }


def random_wav2vec2(scratch: Path) -> Path:
    """A wav2vec2 of base's shape and random weights: its time is that of one which has learnt something."""
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

    folder = scratch / "random-wav2vec2-base"
    torch.manual_seed(0)
    Wav2Vec2Model(Wav2Vec2Config()).save_pretrained(folder)
    Wav2Vec2FeatureExtractor().save_pretrained(folder)
    return folder


@torch.no_grad()
def _difference(
    trainee: StagedModule, stage: StageConfig, cached: Any, utterances: Any, batches: DurationBatchSampler
) -> float:
    """Between the losses of a batch from the cache and encoded again, without dropout."""
    collate, drawn = BatchCollator(trainee.model), next(iter(batches))
    trainee.eval()
    losses = [float(trainee(**collate([side[draw] for draw in drawn]))["loss"]) for side in (cached, utterances)]
    trainee.apply_stage(stage)
    return abs(losses[0] - losses[1])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = options(__doc__)
    parser.add_argument("table", nargs="?", type=Path, help="default: $SPEECHXFER_CORPORA/speechocean762/train.csv")
    parser.add_argument("--every", type=int, default=EVERY, help="use every N-th utterance; default %(default)s")
    parser.add_argument("--family", choices=HEADS, default="whisper", help="default %(default)s")
    parser.add_argument("--model", help="default: whisper-tiny.en, or a random one of the family")
    parser.add_argument("--dtype", default="float32", help="number type on disk; default %(default)s")
    parser.add_argument("--batch-seconds", type=float, default=80.0, help="default %(default)s")
    parser.add_argument("--threads", type=int, default=cores(), help="default: all cores")
    given = parser.parse_args(arguments)
    table = corpus_table(given.table, "speechocean762/train.csv")
    torch.set_num_threads(given.threads)
    rows = read(table)
    rows = rows.select(range(0, len(rows), given.every))
    found: dict[str, Any] = {}
    for name, recurrent in HEADS[given.family].items():
        with tempfile.TemporaryDirectory() as scratch:
            os.environ["SPEECHXFER_FRAMES"] = str(Path(scratch) / "frames")
            model = given.model or ("whisper-tiny.en" if given.family == "whisper" else random_wav2vec2(Path(scratch)))
            chosen = recipe(str(model), recurrent, given.batch_seconds, given.dtype)
            found[name] = measure(chosen, rows, given.repeats)
    words = f" --every {given.every}" * (given.every != EVERY) + " --family wav2vec2" * (given.family == "wav2vec2")
    write(
        {
            "command": f"python scripts/bench/cache.py{words}",
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
            "heads": found,
        },
        given.json,
    )


if __name__ == "__main__":
    run(main)
