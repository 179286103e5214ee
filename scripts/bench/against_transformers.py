"""Fine-tuning, compared with transformers' example scripts: scripts/bench/against_transformers.py [TABLE] [--until-dev]

Measures seconds per epoch and peak memory on the same utterances, for Whisper with its decoder
(`_fine_tuning.train_whisper` and the recipe accent-whisper) and for a CTC head on a random wav2vec2 of `CTC_SHAPE`
(`_fine_tuning.train_ctc` and ours), with the same threads and the same number of batches per epoch. Our side runs in
float32 without augmentation, like theirs, and with the recipe's settings, in bfloat16 if the CPU supports it; wav2vec2
also with cached outputs of the frozen convolutions (`cache.features`), in float32 and in bfloat16. An epoch is its
training steps only. Their side prepares Whisper's features beforehand, ours during the epoch; cached features are made
before the epoch, and their seconds are reported separately. Every measurement is a process; one batch runs first as a
warm-up.

`--until-dev` is a separate comparison: one run of each side with dev scores after every epoch (greedy, same
normaliser), and the wall time until the best dev WER of theirs and until ours is as good. Both use the recipe's lr.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _measuring import cores, corpus_table, machine, named, options, run, spread, versions, write
from _processes import measured, say

OURS, RECIPES, THEIRS = "speechxfer", "speechxfer, as the recipe says", "transformers"
CACHED, CACHED_BFLOAT16 = "speechxfer, convolutions kept", "speechxfer, convolutions kept, bfloat16"
SIDES = {"whisper": (OURS, RECIPES, THEIRS), "ctc": (OURS, CACHED, CACHED_BFLOAT16, THEIRS)}
RECIPE = "accent-whisper"
CTC_SHAPE = {  # half of wav2vec2-base's width and depth, with its feature encoder
    "hidden_size": 384,
    "num_hidden_layers": 6,
    "num_attention_heads": 6,
    "intermediate_size": 1536,
    "feat_extract_norm": "layer",  # as in the most popular checkpoints (XLSR, MMS)
    "do_stable_layer_norm": True,
    "conv_bias": True,
    "apply_spec_augment": False,
    "layerdrop": 0.0,
}
CTC_LR = 3e-4


# -- the sides, each in a process of its own -------------------------------------------------------------------------
def load_splits(given: argparse.Namespace) -> tuple[Any, Any]:
    """Load evenly spread training and dev utterances of the table, with the recipe's target texts."""
    from speechxfer.data.splits import make_splits
    from speechxfer.text.normalise import get_normaliser

    splits = make_splits(str(given.table), "auto", "auto", group="speaker", split="auto", seed=0)
    normalise = get_normaliser("default") if given.kind == "ctc" else str.lower

    def sample(rows: Any, count: int) -> Any:
        count = min(count, len(rows))
        selected = rows.select([index * len(rows) // count for index in range(count)])
        return selected.map(lambda row: {"text": normalise(row["text"])})

    return sample(splits.train, given.utterances), sample(splits.dev, given.dev)


def make_scorer(dev: Any) -> Any:
    """Return a function that computes the WER of transcripts of the dev split."""
    from speechxfer.config.recipe import ScoringConfig
    from speechxfer.scoring import ScoringOptions, score

    options = ScoringOptions(normaliser=ScoringConfig().normaliser)
    return lambda texts: score(list(dev["text"]), list(texts), options=options).wer


def train_theirs(given: argparse.Namespace) -> Any:
    """Train with transformers' script."""
    from _fine_tuning import TrainingOptions, train_ctc, train_whisper

    train, dev = load_splits(given)
    with tempfile.TemporaryDirectory(dir=given.folder) as work:
        if given.kind == "ctc":
            options = TrainingOptions(epochs=given.epochs, batch=given.batch, lr=CTC_LR, work=Path(work))
            return train_ctc(given.folder / "ctc", train, options)
        lr = make_recipe(given).stages[0].lr
        options = TrainingOptions(epochs=given.epochs, batch=given.batch, lr=lr, work=Path(work))
        evaluation = {"dev": dev, "score": make_scorer(dev)} if given.until_dev else {}
        return train_whisper(locate_checkpoint(given.model), train, options, **evaluation)


def train_ours(given: argparse.Namespace) -> Any:
    """Train the recipe's stage with `train_stage`, as `adapt` does."""
    from _fine_tuning import EpochTimer

    from speechxfer.adaptation.cache.feature_cache import cache_features, count_augmented_copies
    from speechxfer.adaptation.run_dir import RunDir
    from speechxfer.adaptation.training.batching import TrainingDataset
    from speechxfer.adaptation.training.context import StageContext
    from speechxfer.adaptation.training.staged_module import StagedModule
    from speechxfer.adaptation.training.trainer import train_stage
    from speechxfer.data import audio
    from speechxfer.data.augment import WaveformAugmenter
    from speechxfer.models import build_trainable, predict_all
    from speechxfer.report.progress import Reporter

    timer = EpochTimer()
    train, dev = load_splits(given)
    durations = [audio.measure_duration(row) for row in train]
    recipe = make_recipe(given)
    stage = recipe.stages[0]
    stage.epochs = given.epochs
    stage.batch_seconds = find_batch_seconds(durations, math.ceil(len(train) / given.batch))
    model = build_trainable(recipe, list(train["text"]))
    staged = StagedModule(model, recipe.augment)
    staged.apply_stage(stage)
    score = make_scorer(dev)
    targets = [model.encode_target(text) for text in train["text"]]
    augment = WaveformAugmenter(recipe.augment, max_samples=model.encoder.max_samples)
    dataset = TrainingDataset(train, targets, augment, recipe.seed)
    dataset.copies = count_augmented_copies(recipe.cache, staged.split)
    with tempfile.TemporaryDirectory() as work:
        reporter, run_dir = Reporter(quiet=True), RunDir(Path(work))
        context = StageContext(0, stage, staged, dataset, durations, recipe, reporter, run_dir)
        start = time.perf_counter()
        cached = cache_features(context)
        timer.preparation_seconds = time.perf_counter() - start
        train_stage(
            context,
            cached,
            measure=lambda: score(predict_all(model, dev)) if given.until_dev else 1.0,
            callbacks=[timer],
        )
    return timer


def make_recipe(given: argparse.Namespace) -> Any:
    """Load accent-whisper, or make a CTC recipe that trains all but the feature extractor, as their script does."""
    from speechxfer.config import load_recipe

    encoder = {"name": str(given.folder / "ctc" if given.kind == "ctc" else given.model)}
    if given.kind == "ctc":
        stages = [{"train": ["head", "encoder"], "epochs": 1, "lr": CTC_LR}]
        return load_recipe(
            {
                "encoder": encoder,
                "head": {"kind": "ctc", "vocabulary": "own"},
                "stages": stages,
                "device": "cpu",
                "precision": "auto" if given.side == CACHED_BFLOAT16 else "float32",
                "cache": {"use": "never" if given.side == OURS else "always", "features": True},
            }
        )
    recipe = load_recipe(RECIPE, [f"encoder.name={encoder['name']}", "decoding.kind=greedy", "device=cpu"])
    if given.side == OURS:
        recipe.augment, recipe.precision = type(recipe.augment)(), "float32"
    return recipe


def find_batch_seconds(durations: Sequence[float], count: int) -> float:
    """Find the seconds per batch with which an epoch has `count` batches, as many as theirs."""
    from speechxfer.adaptation.training.batching import DurationBatchSampler

    low, high = max(durations), sum(durations) + max(durations) * len(durations)
    for _ in range(30):
        middle = (low + high) / 2
        batches = len(DurationBatchSampler(durations, max_seconds=middle, epochs=1, seed=0))
        low, high = (middle, high) if batches > count else (low, middle)
    return high


def locate_checkpoint(model: str) -> Path:
    from speechxfer.encoders.checkpoints import resolve_transformers_dir

    return resolve_transformers_dir(model)


def make_ctc(folder: Path, texts: Sequence[str]) -> None:
    """Save a wav2vec2 with random weights and a CTC head over the texts' characters."""
    import torch
    from transformers import Wav2Vec2Config, Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC

    folder.mkdir(parents=True)
    symbols = ["<pad>", "|", "<unk>", *sorted({c for text in texts for c in text} - {" "})]
    (folder / "vocab.json").write_text(json.dumps({symbol: index for index, symbol in enumerate(symbols)}))
    tokenizer = Wav2Vec2CTCTokenizer(str(folder / "vocab.json"), bos_token=None, eos_token=None, pad_token="<pad>")
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = Wav2Vec2Config(**CTC_SHAPE, vocab_size=len(symbols), pad_token_id=0, ctc_zero_infinity=True)
    Wav2Vec2ForCTC(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(folder)


def run_side(given: argparse.Namespace) -> None:
    """Train and write the measurements. A warm-up batch precedes a timed epoch, but not a run with `--until-dev`."""
    import torch

    torch.set_num_threads(given.threads)

    def train(utterances: int) -> Any:
        with tempfile.TemporaryDirectory(dir=given.folder) as frames_dir:
            os.environ["SPEECHXFER_FRAMES"] = frames_dir
            options = argparse.Namespace(**{**vars(given), "utterances": utterances})
            return train_theirs(options) if given.side == THEIRS else train_ours(options)

    if not given.until_dev:
        train(given.batch)
    timer = train(given.utterances)
    result = {"beforehand": timer.preparation_seconds, "epochs": timer.seconds, "measured": timer.evaluations}
    given.result.write_text(json.dumps(result), encoding="utf-8")


# -- the benchmark ---------------------------------------------------------------------------------------------------
def run_process(given: argparse.Namespace, kind: str, side: str, **changed: Any) -> dict[str, Any]:
    """Run a side in a process of its own, and return its measurements."""
    options = {"utterances": given.utterances, "epochs": 1, "dev": 1, **changed}
    words = [str(Path(__file__).resolve()), str(given.table), "--kind", kind, "--side", side, "--model", given.model]
    words += ["--folder", str(given.folder), "--batch", str(given.batch), "--threads", str(given.threads)]
    words += [word for name, value in options.items() if name != "until_dev" for word in (f"--{name}", str(value))]
    return measured(words + ["--until-dev"] * ("until_dev" in options), given.threads)


def measure_epochs(given: argparse.Namespace) -> dict[str, Any]:
    """Run all sides alternately, `given.repeats` times: seconds per epoch, memory, and theirs over ours."""
    runs: dict[tuple[str, str], list[dict[str, Any]]] = {
        (kind, side): [] for kind in given.kinds for side in SIDES[kind]
    }
    start = time.perf_counter()
    for number in range(given.repeats):
        for kind, side in runs:
            runs[kind, side].append(run_process(given, kind, side))
            say(f"repeat {number + 1}, {kind}, {side}: {runs[kind, side][-1]['epochs'][-1]:.1f} s an epoch")
        if number == 0:
            say(f"about {(time.perf_counter() - start) * (given.repeats - 1) / 60:.0f} minutes left")
    results: dict[str, Any] = {kind: {} for kind in given.kinds}
    for (kind, side), repeats in runs.items():
        results[kind][side] = {
            "seconds_an_epoch": spread([repeat["epochs"][-1] for repeat in repeats], 2),
            "seconds_beforehand": spread([repeat["beforehand"] for repeat in repeats], 2),
            "peak_memory_mb": spread([repeat["peak_memory_mb"] for repeat in repeats], None),
        }
        if side != THEIRS:
            pairs = zip(repeats, runs[kind, THEIRS], strict=True)
            ratios = [theirs["epochs"][-1] / ours["epochs"][-1] for ours, theirs in pairs]
            results[kind][side]["times_as_fast"] = spread(ratios, 2)
    return results


def measure_time_to_dev(given: argparse.Namespace) -> dict[str, Any]:
    """Run each side once: wall time until the best dev WER of theirs, and until ours is as good."""
    changed = {"epochs": given.epochs, "dev": given.dev, "until_dev": True}
    runs: dict[str, Any] = {}
    for side in (RECIPES, THEIRS):
        runs[side] = run_process(given, "whisper", side, **changed)["measured"]
        best = min(runs[side], key=lambda epoch: epoch["dev"])
        say(f"{side}: best dev WER {best['dev']:.1%} after {best['seconds']:.0f} s")
    best = min(runs[THEIRS], key=lambda epoch: epoch["dev"])
    reached = next((epoch for epoch in runs[RECIPES] if epoch["dev"] <= best["dev"]), None)
    return {
        "dev_utterances": given.dev,
        "runs": runs,
        "their_best": best,
        "ours_as_good": reached,
        "times_as_fast": None if reached is None else round(best["seconds"] / reached["seconds"], 2),
    }


def run_smoke_test(given: argparse.Namespace) -> None:
    """Run every measurement on a few utterances, so that errors appear early."""
    start = time.perf_counter()
    for kind in given.kinds:
        for side in SIDES[kind]:
            run_process(given, kind, side, utterances=4, epochs=1)
    if given.until_dev:
        for side in (RECIPES, THEIRS):
            run_process(given, "whisper", side, utterances=4, epochs=1, dev=2, until_dev=True)
    say(f"smoke test of all sides passed ({time.perf_counter() - start:.0f} s)")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = options(__doc__)
    parser.add_argument(
        "table", nargs="?", type=Path, help="default: $SPEECHXFER_CORPORA/speechocean762/train-part.csv"
    )
    parser.add_argument("--utterances", type=int, default=200, help="of the training set; default %(default)s")
    parser.add_argument("--batch", type=int, default=16, help="utterances per batch of their side; default %(default)s")
    parser.add_argument("--kinds", nargs="+", choices=list(SIDES), default=list(SIDES), help="models to compare")
    parser.add_argument("--model", default="whisper-tiny.en", help="a Whisper; default %(default)s")
    parser.add_argument("--until-dev", action="store_true", help="run the second comparison instead of the first")
    parser.add_argument("--epochs", type=int, default=6, help="of --until-dev; default %(default)s")
    parser.add_argument("--dev", type=int, default=100, help="dev utterances, with --until-dev; default %(default)s")
    parser.add_argument("--threads", type=int, default=cores(), help="default: all cores")
    # a single measurement, in a process of its own
    parser.add_argument("--kind", help=argparse.SUPPRESS)
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--result", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    given.table = corpus_table(given.table, "speechocean762/train-part.csv")
    if given.side:
        run_side(given)
        return
    if given.until_dev:
        given.kinds = ["whisper"]
    with tempfile.TemporaryDirectory() as folder:
        given.folder, given.kind = Path(folder), "ctc"
        train, _ = load_splits(given)
        if "ctc" in given.kinds:
            full, _ = load_splits(argparse.Namespace(**{**vars(given), "utterances": sys.maxsize}))
            make_ctc(given.folder / "ctc", full["text"])
        locate_checkpoint(given.model)  # converts it, before anything is timed
        run_smoke_test(given)
        results = {"until_dev": measure_time_to_dev(given)} if given.until_dev else {"training": measure_epochs(given)}
    options_used = ["--until-dev"] if given.until_dev else []
    if not given.until_dev and given.kinds != list(SIDES):
        options_used = ["--kinds", *given.kinds]
    write(
        {
            "command": " ".join(["python scripts/bench/against_transformers.py", *options_used]),
            "machine": machine(),
            "versions": versions("torch", "transformers", "accelerate", "numpy"),
            "corpus": f"{len(train)} training utterances of {named(given.table)}",
            "model": Path(given.model).name,
            "ctc_shape": CTC_SHAPE if "ctc" in given.kinds else None,
            "threads": given.threads,
            "batch": given.batch,
            "target": 5,
            **results,
        },
        given.json,
    )


if __name__ == "__main__":
    run(main)
