"""Training on a GPU: python scripts/bench/gpu.py [TABLE] [--json recipes/results/bench-gpu.json]

Seconds an epoch, peak memory and utilisation, in bf16 where the GPU has it, of Whisper tiny.en with its own decoder and
jointly with a CTC head on a table, and of a CTC head on a random model of wav2vec2-large's size on utterances of 15 s:
the head alone and the head with the upper six layers, from kept frames and without, and all but the feature extractor.
Epochs after a first one that is not counted; data loading is part of them, scoring and saving are not. What is kept is
encoded before, in seconds stated apart. Without a GPU it says so and writes nothing.
"""

from __future__ import annotations

import csv
import importlib.util
import os
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from _measuring import corpus_table, machine, named, options, run, spread, versions, write
from transformers import TrainerCallback, Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

from speechxfer.adaptation.cache.feature_cache import cache_features
from speechxfer.adaptation.predictions import get_peak_memory_mb
from speechxfer.adaptation.training.batching import TrainingDataset
from speechxfer.adaptation.training.staged_module import StagedModule, count_parameters
from speechxfer.adaptation.training.trainer import train_stage, uses_bfloat16
from speechxfer.config import load_recipe
from speechxfer.data import audio
from speechxfer.data.augment import WaveformAugmenter
from speechxfer.data.reader import read
from speechxfer.models import build_trainable
from speechxfer.report.progress import Reporter
from speechxfer.shapes import SAMPLE_RATE

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
JOINT = TINY_EN | {"head": {"kind": "joint", "recurrent": 1}}
STAGES: dict[str, Any] = {"the head": "head", "head and upper six layers": ["head", "top-6"]}  # kept, and not
SAMPLED = 0.2  # s between two looks at the GPU


def ctc(train: str | list[str]) -> dict[str, Any]:
    """A CTC head, and a stage that trains this."""
    return {
        "head": {"kind": "ctc"},
        "stages": [{"train": train, "epochs": 1, "lr": 1e-4, "batch_seconds": 120}],
        "cache": {"use": "always", "dtype": "float16"},
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
            soundfile.write(
                folder / f"{number}.wav", 0.1 * rng.standard_normal(round(seconds * SAMPLE_RATE)), SAMPLE_RATE
            )
            words = ("".join(rng.choice(list("abcdefgh"), 4)) for _ in range(max(1, round(2 * seconds))))
            rows.writerow([f"{number}.wav", " ".join(words)])
    return folder / "train.csv"


class _Epochs(TrainerCallback):
    """Wall seconds of each epoch's training; how busy the GPU was in them, per cent, with nvidia-ml-py installed."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.busy: list[int] = []
        self._training = threading.Event()
        if torch.cuda.is_available() and importlib.util.find_spec("pynvml"):
            threading.Thread(target=self._look, daemon=True).start()

    def _look(self) -> None:
        while True:
            self._training.wait()
            self.busy.append(torch.cuda.utilization())
            time.sleep(SAMPLED)

    def on_epoch_begin(self, *_: Any, **__: Any) -> None:
        self._began = time.perf_counter()
        if self.seconds:  # the first is not counted
            self._training.set()

    def on_epoch_end(self, *_: Any, **__: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self._training.clear()
        self.seconds.append(time.perf_counter() - self._began)


def epochs(
    encoder: str | Path, table: Path, plan: dict[str, Any], repeats: int, device: str, *, kept: bool = False
) -> dict[str, Any]:
    """Train `repeats` epochs and one before them; seconds an epoch, peak memory, and what was trained on what.

    kept: what the stage leaves frozen is encoded before.
    """
    recipe = load_recipe({**plan, "data": {"train": str(table)}, "encoder": {"name": str(encoder)}, "device": device})
    stage = recipe.stages[0]
    stage.epochs = repeats + 1
    rows = read(table)
    texts = [text.lower() for text in rows["text"]]
    model = build_trainable(recipe, texts)
    trainee = StagedModule(model, recipe.augment)
    trainee.apply_stage(stage)
    precision = "auto" if device == "cuda" else "float32"
    spent = _Epochs()
    said: list[str] = []
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    lengths = [audio.measure_duration(row) for row in rows]
    targets = [model.encode_target(text) for text in texts]
    drawn: Any = TrainingDataset(rows, targets, WaveformAugmenter(recipe.augment), recipe.seed)
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        if kept:
            os.environ["SPEECHXFER_FRAMES"] = f"{folder}/frames"
            drawn = cache_features(stage, trainee.split, model, drawn, lengths, recipe, Reporter(quiet=True), "kept")
        beforehand = time.perf_counter() - began
        train_stage(
            trainee,
            stage,
            drawn,
            lengths,
            measure=lambda: 1.0,  # nothing is scored here
            folder=Path(folder) / "checkpoints",
            logs=Path(folder) / "logs",
            seed=recipe.seed,
            resume=False,
            callbacks=[spent],
            say=said.append,
            precision=precision,
        )
    counts = count_parameters(model).values()
    return {
        "seconds_an_epoch": spread(spent.seconds[-repeats:], 2),
        "seconds_beforehand": round(beforehand, 2) if kept else None,
        "utilisation": round(sum(spent.busy) / len(spent.busy)) if spent.busy else None,
        "peak_memory_mb": get_peak_memory_mb(model.device),
        "audio_seconds": round(sum(lengths), 1),
        "utterances": len(rows),
        "batch_seconds": stage.batch_seconds,
        "parameters": {kind: sum(count[kind] for count in counts) for kind in ("trained", "frozen")},
        "precision": "bf16" if uses_bfloat16(precision, device) else "float32",
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
            "whisper-tiny.en, joint": epochs("whisper-tiny.en", table, JOINT, given.repeats, "cuda"),
            "wav2vec2-large's size": epochs(large, noise, ctc(["head", "encoder"]), given.repeats, "cuda"),
        }
        for name, train in STAGES.items():
            for kept in (True, False):
                title = f"wav2vec2-large's size, {name}, {'from kept frames' if kept else 'encoded again'}"
                found[title] = epochs(large, noise, ctc(train), given.repeats, "cuda", kept=kept)
    write(
        {
            "command": "python scripts/bench/gpu.py",
            "machine": f"{torch.cuda.get_device_name()}, {machine()}",
            "versions": versions("torch", "transformers", "accelerate"),
            "corpus": {"whisper": named(table), "wav2vec2-large's size": "noise, utterances of 15 s"},
            "training": found,
        },
        given.json,
    )


if __name__ == "__main__":
    run(main)
