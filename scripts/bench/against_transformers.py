"""Fine-tuning, against transformers' usual scripts: python scripts/bench/against_transformers.py [TABLE] [--until-dev]

Seconds an epoch and peak memory on the same utterances, for Whisper with its decoder (`_fine_tuning.whisper` against
the recipe accent-whisper), and for a CTC head on a random wav2vec2 of `CTC_SHAPE` (`_fine_tuning.ctc` against ours):
the same threads, as many batches an epoch on both sides. Ours runs once in float32 without augmentation, as theirs
does, and once as the recipe says, in bfloat16 where the processor is made for it; wav2vec2 also with the output of its
frozen convolutions kept (`cache.features`), in float32 and in bfloat16. An epoch is its training steps alone; theirs
has Whisper's features made beforehand, ours makes them as it goes; what is kept is made before the epoch, in seconds
stated apart. Every turn is a process; one batch goes before, uncounted.

`--until-dev`, apart: one run of each with a measure on dev after every epoch, greedy, under one normaliser; wall time
from the first line to theirs' best, and to the epoch in which ours is as good. Both with the recipe's peak rate.
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
KEPT, KEPT_IN_BFLOAT16 = "speechxfer, convolutions kept", "speechxfer, convolutions kept, bfloat16"
SIDES = {"whisper": (OURS, RECIPES, THEIRS), "ctc": (OURS, KEPT, KEPT_IN_BFLOAT16, THEIRS)}
RECIPE = "accent-whisper"
CTC_SHAPE = {  # half of wav2vec2-base's width and depth behind its own feature encoder
    "hidden_size": 384,
    "num_hidden_layers": 6,
    "num_attention_heads": 6,
    "intermediate_size": 1536,
    "feat_extract_norm": "layer",  # as the checkpoints that are fine-tuned most (XLSR, MMS)
    "do_stable_layer_norm": True,
    "conv_bias": True,
    "apply_spec_augment": False,
    "layerdrop": 0.0,
}
CTC_LR = 3e-4


# -- the sides, each in a process of its own -------------------------------------------------------------------------
def material(given: argparse.Namespace) -> tuple[Any, Any]:
    """Training and dev utterances, evenly spread over those of the table; texts as the recipe teaches them."""
    from speechxfer.data.splits import make_splits
    from speechxfer.text.normalise import get_normaliser

    found = make_splits(str(given.table), "auto", "auto", group="speaker", split="auto", seed=0)
    spell = get_normaliser("default") if given.kind == "ctc" else str.lower

    def some(rows: Any, count: int) -> Any:
        count = min(count, len(rows))
        chosen = rows.select([place * len(rows) // count for place in range(count)])
        return chosen.map(lambda row: {"text": spell(row["text"])})

    return some(found.train, given.utterances), some(found.dev, given.dev)


def dev_score(dev: Any) -> Any:
    """The error rate of transcripts of the dev part."""
    from speechxfer.config.recipe import ScoringConfig
    from speechxfer.scoring import score

    return lambda said: score(list(dev["text"]), list(said), normaliser=ScoringConfig().normaliser).wer


def theirs(given: argparse.Namespace) -> Any:
    from _fine_tuning import ctc, whisper

    train, dev = material(given)
    with tempfile.TemporaryDirectory(dir=given.folder) as work:
        shared = {"epochs": given.epochs, "batch": given.batch, "work": Path(work)}
        if given.kind == "ctc":
            return ctc(given.folder / "ctc", train, lr=CTC_LR, **shared)
        until = {"dev": dev, "score": dev_score(dev)} if given.until_dev else {}
        return whisper(checkpoint(given.model), train, lr=recipe_of(given).stages[0].lr, **shared, **until)


def ours(given: argparse.Namespace) -> Any:
    """The stage of the recipe through `train_stage`, as `adapt` trains it."""
    from _fine_tuning import Epochs

    from speechxfer.adaptation.cache.feature_cache import cache_features, count_augmented_copies
    from speechxfer.adaptation.training.batching import TrainingDataset
    from speechxfer.adaptation.training.staged_module import StagedModule
    from speechxfer.adaptation.training.trainer import train_stage
    from speechxfer.data import audio
    from speechxfer.data.augment import WaveformAugmenter
    from speechxfer.models import build_trainable, predict_all
    from speechxfer.report.progress import Reporter

    spent = Epochs()
    train, dev = material(given)
    seconds = [audio.measure_duration(row) for row in train]
    recipe = recipe_of(given)
    stage = recipe.stages[0]
    stage.epochs = given.epochs
    stage.batch_seconds = batch_seconds(seconds, math.ceil(len(train) / given.batch))
    model = build_trainable(recipe, list(train["text"]))
    trainee = StagedModule(model, recipe.augment)
    trainee.apply_stage(stage)
    score = dev_score(dev)
    targets = [model.encode_target(text) for text in train["text"]]
    augment = WaveformAugmenter(recipe.augment, longest=model.encoder.max_samples)
    utterances = TrainingDataset(train, targets, augment, recipe.seed)
    utterances.copies = count_augmented_copies(recipe.cache, trainee.split)
    with tempfile.TemporaryDirectory() as work:
        began = time.perf_counter()
        drawn = cache_features(stage, trainee.split, model, utterances, seconds, recipe, Reporter(quiet=True), "kept")
        spent.beforehand = time.perf_counter() - began
        train_stage(
            trainee,
            stage,
            drawn,
            seconds,
            measure=lambda: score(predict_all(model, dev)) if given.until_dev else 1.0,
            folder=Path(work) / "checkpoints",
            logs=Path(work) / "logs",
            seed=recipe.seed,
            resume=False,
            callbacks=[spent],
            say=lambda words: None,
            precision=recipe.precision,
        )
    return spent


def recipe_of(given: argparse.Namespace) -> Any:
    """accent-whisper, or its like for CTC: all but the feature extractor trained, as their script does."""
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
                "precision": "auto" if given.side == KEPT_IN_BFLOAT16 else "float32",
                "cache": {"use": "never" if given.side == OURS else "always", "features": True},
            }
        )
    recipe = load_recipe(RECIPE, [f"encoder.name={encoder['name']}", "decoding.kind=greedy", "device=cpu"])
    if given.side == OURS:
        recipe.augment, recipe.precision = type(recipe.augment)(), "float32"
    return recipe


def batch_seconds(seconds: Sequence[float], count: int) -> float:
    """So many seconds a batch that an epoch has `count` batches, as theirs has."""
    from speechxfer.adaptation.training.batching import DurationBatchSampler

    low, high = max(seconds), sum(seconds) + max(seconds) * len(seconds)
    for _ in range(30):
        middle = (low + high) / 2
        made = len(DurationBatchSampler(seconds, most=middle, epochs=1, seed=0))
        low, high = (middle, high) if made > count else (low, middle)
    return high


def checkpoint(model: str) -> Path:
    from speechxfer.encoders.checkpoints import resolve_transformers_dir

    return resolve_transformers_dir(model)


def make_ctc(folder: Path, texts: Sequence[str]) -> None:
    """A wav2vec2 of random weights with a CTC head over the texts' characters, as transformers saves it."""
    import torch
    from transformers import Wav2Vec2Config, Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC

    folder.mkdir(parents=True)
    symbols = ["<pad>", "|", "<unk>", *sorted({c for text in texts for c in text} - {" "})]
    (folder / "vocab.json").write_text(json.dumps({symbol: place for place, symbol in enumerate(symbols)}))
    tokenizer = Wav2Vec2CTCTokenizer(str(folder / "vocab.json"), bos_token=None, eos_token=None, pad_token="<pad>")
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = Wav2Vec2Config(**CTC_SHAPE, vocab_size=len(symbols), pad_token_id=0, ctc_zero_infinity=True)
    Wav2Vec2ForCTC(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(folder)


def one_turn(given: argparse.Namespace) -> None:
    """Train, and write what it took. An epoch that is timed has a batch before it; a whole run starts cold."""
    import torch

    torch.set_num_threads(given.threads)

    def train(utterances: int) -> Any:
        with tempfile.TemporaryDirectory(dir=given.folder) as kept:
            os.environ["SPEECHXFER_FRAMES"] = kept
            asked = argparse.Namespace(**{**vars(given), "utterances": utterances})
            return theirs(asked) if given.side == THEIRS else ours(asked)

    if not given.until_dev:
        train(given.batch)
    spent = train(given.utterances)
    result = {"beforehand": spent.beforehand, "epochs": spent.seconds, "measured": spent.measured}
    given.result.write_text(json.dumps(result), encoding="utf-8")


# -- the bench -------------------------------------------------------------------------------------------------------
def turn(given: argparse.Namespace, kind: str, side: str, **changed: Any) -> dict[str, Any]:
    asked = {"utterances": given.utterances, "epochs": 1, "dev": 1, **changed}
    words = [str(Path(__file__).resolve()), str(given.table), "--kind", kind, "--side", side, "--model", given.model]
    words += ["--folder", str(given.folder), "--batch", str(given.batch), "--threads", str(given.threads)]
    words += [word for name, value in asked.items() if name != "until_dev" for word in (f"--{name}", str(value))]
    return measured(words + ["--until-dev"] * ("until_dev" in asked), given.threads)


def epochs(given: argparse.Namespace) -> dict[str, Any]:
    """Every side in turn, `given.repeats` times: seconds of the epoch, memory, and theirs over ours."""
    runs: dict[tuple[str, str], list[dict[str, Any]]] = {
        (kind, side): [] for kind in given.kinds for side in SIDES[kind]
    }
    began = time.perf_counter()
    for number in range(given.repeats):
        for kind, side in runs:
            runs[kind, side].append(turn(given, kind, side))
            say(f"repeat {number + 1}, {kind}, {side}: {runs[kind, side][-1]['epochs'][-1]:.1f} s an epoch")
        if number == 0:
            say(f"about {(time.perf_counter() - began) * (given.repeats - 1) / 60:.0f} minutes are left")
    found: dict[str, Any] = {kind: {} for kind in given.kinds}
    for (kind, side), turns in runs.items():
        found[kind][side] = {
            "seconds_an_epoch": spread([one["epochs"][-1] for one in turns], 2),
            "seconds_beforehand": spread([one["beforehand"] for one in turns], 2),
            "peak_memory_mb": spread([one["peak_memory_mb"] for one in turns], None),
        }
        if side != THEIRS:
            pairs = zip(turns, runs[kind, THEIRS], strict=True)
            ratios = [them["epochs"][-1] / us["epochs"][-1] for us, them in pairs]
            found[kind][side]["times_as_fast"] = spread(ratios, 2)
    return found


def until_dev(given: argparse.Namespace) -> dict[str, Any]:
    """One run of each: the wall time of theirs' best dev WER, and that at which ours is as good."""
    changed = {"epochs": given.epochs, "dev": given.dev, "until_dev": True}
    found: dict[str, Any] = {}
    for side in (RECIPES, THEIRS):
        found[side] = turn(given, "whisper", side, **changed)["measured"]
        best = min(found[side], key=lambda one: one["dev"])
        say(f"{side}: best dev WER {best['dev']:.1%} after {best['seconds']:.0f} s")
    best = min(found[THEIRS], key=lambda one: one["dev"])
    reached = next((one for one in found[RECIPES] if one["dev"] <= best["dev"]), None)
    return {
        "dev_utterances": given.dev,
        "runs": found,
        "their_best": best,
        "ours_as_good": reached,
        "times_as_fast": None if reached is None else round(best["seconds"] / reached["seconds"], 2),
    }


def smoke(given: argparse.Namespace) -> None:
    """Every turn there will be, on a few utterances: what is going to fail fails now."""
    began = time.perf_counter()
    for kind in given.kinds:
        for side in SIDES[kind]:
            turn(given, kind, side, utterances=4, epochs=1)
    if given.until_dev:
        for side in (RECIPES, THEIRS):
            turn(given, "whisper", side, utterances=4, epochs=1, dev=2, until_dev=True)
    say(f"every side runs ({time.perf_counter() - began:.0f} s)")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = options(__doc__)
    parser.add_argument(
        "table", nargs="?", type=Path, help="default: $SPEECHXFER_CORPORA/speechocean762/train-part.csv"
    )
    parser.add_argument("--utterances", type=int, default=200, help="trained on; default %(default)s")
    parser.add_argument("--batch", type=int, default=16, help="their utterances a batch; default %(default)s")
    parser.add_argument("--kinds", nargs="+", choices=list(SIDES), default=list(SIDES), help="what is compared")
    parser.add_argument("--model", default="whisper-tiny.en", help="a Whisper; default %(default)s")
    parser.add_argument("--until-dev", action="store_true", help="the second comparison in place of the first")
    parser.add_argument("--epochs", type=int, default=6, help="with --until-dev; default %(default)s")
    parser.add_argument("--dev", type=int, default=100, help="dev utterances, with --until-dev; default %(default)s")
    parser.add_argument("--threads", type=int, default=cores(), help="default: all cores")
    # one turn, in a process of its own
    parser.add_argument("--kind", help=argparse.SUPPRESS)
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--result", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    given.table = corpus_table(given.table, "speechocean762/train-part.csv")
    if given.side:
        one_turn(given)
        return
    if given.until_dev:
        given.kinds = ["whisper"]
    with tempfile.TemporaryDirectory() as folder:
        given.folder, given.kind = Path(folder), "ctc"
        train, _ = material(given)
        if "ctc" in given.kinds:
            every, _ = material(argparse.Namespace(**{**vars(given), "utterances": sys.maxsize}))
            make_ctc(given.folder / "ctc", every["text"])
        checkpoint(given.model)  # converted once, before anything is timed
        smoke(given)
        found = {"until_dev": until_dev(given)} if given.until_dev else {"training": epochs(given)}
    told = ["--until-dev"] if given.until_dev else []
    if not given.until_dev and given.kinds != list(SIDES):
        told = ["--kinds", *given.kinds]
    write(
        {
            "command": " ".join(["python scripts/bench/against_transformers.py", *told]),
            "machine": machine(),
            "versions": versions("torch", "transformers", "accelerate", "numpy"),
            "corpus": f"{len(train)} training utterances of {named(given.table)}",
            "model": Path(given.model).name,
            "ctc_shape": CTC_SHAPE if "ctc" in given.kinds else None,
            "threads": given.threads,
            "batch": given.batch,
            "target": 5,
            **found,
        },
        given.json,
    )


if __name__ == "__main__":
    run(main)
