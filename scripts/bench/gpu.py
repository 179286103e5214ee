"""Training on a GPU: python scripts/bench/gpu.py [TABLE] [--json recipes/results/bench-gpu.json]

Seconds an epoch and peak memory, in bf16 where the GPU has it, of Whisper tiny.en with its own decoder on a table, and
of a CTC head on a random model of wav2vec2-large's size (all but the feature extractor trained) on utterances of 15 s.
Epochs after a first one that is not counted; data loading is part of them, scoring and saving are not.
Without a GPU it says so and writes nothing.
"""

from __future__ import annotations

import csv
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from _measuring import corpus_table, machine, named, options, run, spread, versions, write
from transformers import TrainerCallback, Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

from speechxfer.adaptation.batches import TrainingUtterances
from speechxfer.adaptation.evaluation import peak_memory_mb
from speechxfer.adaptation.trainee import Trainee, parameter_counts
from speechxfer.adaptation.trainer import in_bfloat16, train_stage
from speechxfer.config import load_recipe
from speechxfer.data import audio
from speechxfer.data.augment import Augment
from speechxfer.data.read import read
from speechxfer.models import to_adapt
from speechxfer.shapes import RATE

LARGE = {  # facebook/wav2vec2-large-lv60's sizes
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "feat_extract_norm": "layer",
    "do_stable_layer_norm": True,
    "conv_bias": True,
}
TINY_EN = {
    "head": {"kind": "seq2seq"},
    "stages": [{"train": "all", "epochs": 1, "lr": 1e-4, "batch_seconds": 80}],
}
CTC = {
    "head": {"kind": "ctc"},
    "stages": [{"train": ["head", "encoder"], "epochs": 1, "lr": 1e-4, "batch_seconds": 120}],
}


def random_wav2vec2(folder: Path, sizes: dict[str, Any]) -> Path:
    """A wav2vec2 of random weights, as transformers saves it."""
    torch.manual_seed(0)
    Wav2Vec2Model(Wav2Vec2Config(**sizes)).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(folder)
    return folder


def noise_table(folder: Path, utterances: int, seconds: float) -> Path:
    """Utterances of noise with random letters for text, ten a second: what they hold changes no time."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    with (folder / "train.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["audio", "text"])
        for number in range(utterances):
            soundfile.write(folder / f"{number}.wav", 0.1 * rng.standard_normal(round(seconds * RATE)), RATE)
            words = ("".join(rng.choice(list("abcdefgh"), 4)) for _ in range(max(1, round(2 * seconds))))
            rows.writerow([f"{number}.wav", " ".join(words)])
    return folder / "train.csv"


class _Epochs(TrainerCallback):
    """Wall seconds of each epoch's training."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_epoch_begin(self, *_: Any, **__: Any) -> None:
        self._began = time.perf_counter()

    def on_epoch_end(self, *_: Any, **__: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds.append(time.perf_counter() - self._began)


def epochs(encoder: str | Path, table: Path, plan: dict[str, Any], repeats: int, device: str) -> dict[str, Any]:
    """Train `repeats` epochs and one before them; seconds an epoch, peak memory, and what was trained on what."""
    recipe = load_recipe({**plan, "data": {"train": str(table)}, "encoder": {"name": str(encoder)}, "device": device})
    stage = recipe.stages[0]
    stage.epochs = repeats + 1
    rows = read(table)
    texts = [text.lower() for text in rows["text"]]
    model = to_adapt(recipe, texts)
    trainee = Trainee(model, recipe.augment)
    trainee.begin(stage)
    precision = "auto" if device == "cuda" else "float32"
    spent = _Epochs()
    said: list[str] = []
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    with tempfile.TemporaryDirectory() as folder:
        train_stage(
            trainee,
            stage,
            TrainingUtterances(rows, [model.targets(text) for text in texts], Augment(recipe.augment), recipe.seed),
            lengths := [audio.seconds(row) for row in rows],
            measure=lambda: 1.0,  # nothing is scored here
            folder=Path(folder) / "checkpoints",
            logs=Path(folder) / "logs",
            seed=recipe.seed,
            resume=False,
            callbacks=[spent],
            say=said.append,
            precision=precision,
        )
    counts = parameter_counts(model).values()
    return {
        "seconds_an_epoch": spread(spent.seconds[-repeats:], 2),
        "peak_memory_mb": peak_memory_mb(model.device),
        "audio_seconds": round(sum(lengths), 1),
        "utterances": len(rows),
        "batch_seconds": stage.batch_seconds,
        "parameters": {kind: sum(count[kind] for count in counts) for kind in ("trained", "frozen")},
        "precision": "bf16" if in_bfloat16(precision, device) else "float32",
        "remarks": said,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = options(__doc__)
    parser.add_argument("table", nargs="?", type=Path, help="default: $SPEECHXFER_CORPORA/speechocean762/train.csv")
    parser.add_argument("--utterances", type=int, default=240, help="of 15 s, for the large model; default %(default)s")
    given = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        print("no GPU here: not measured")
        return
    table = corpus_table(given.table, "speechocean762/train.csv")
    with tempfile.TemporaryDirectory() as folder:
        large = random_wav2vec2(Path(folder) / "large", LARGE)
        noise = noise_table(Path(folder) / "noise", given.utterances, 15)
        found = {
            "whisper-tiny.en": epochs("whisper-tiny.en", table, TINY_EN, given.repeats, "cuda"),
            "wav2vec2-large's size": epochs(large, noise, CTC, given.repeats, "cuda"),
        }
    write(
        {
            "command": "python scripts/bench/gpu.py",
            "machine": f"{torch.cuda.get_device_name()}, {machine()}",
            "versions": versions("torch", "transformers", "accelerate"),
            "corpus": {"whisper-tiny.en": named(table), "wav2vec2-large's size": "noise, utterances of 15 s"},
            "training": found,
        },
        given.json,
    )


if __name__ == "__main__":
    run(main)
