"""Training on a GPU: python scripts/bench/gpu.py [TABLE] [--json recipes/results/bench-gpu.json]

Measures seconds per epoch, peak memory and utilisation, in bfloat16 if the GPU supports it. On a table: Whisper tiny.en
with its decoder, and jointly with a CTC head. On utterances of 15 s: a CTC head on a random model of wav2vec2-large's
size, training the head alone and the head with the upper six layers, each with and without cached frames, and all but
the feature extractor. The first epoch is not counted; epochs include data loading, but not scoring and saving. Cached
frames are encoded beforehand, and their seconds are reported separately. Without a GPU nothing is measured or written.
"""

from __future__ import annotations

import csv
import importlib.util
import os
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from _measuring import corpus_table, machine, named, options, run, spread, versions, write
from transformers import TrainerCallback, Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

from speechxfer.adaptation.cache.feature_cache import cache_features
from speechxfer.adaptation.provenance import get_peak_memory_mb
from speechxfer.adaptation.run_dir import RunDir
from speechxfer.adaptation.training.batching import TrainingDataset
from speechxfer.adaptation.training.context import StageContext
from speechxfer.adaptation.training.staged_module import StagedModule, count_parameters
from speechxfer.adaptation.training.trainer import train_stage, uses_bfloat16
from speechxfer.config import load_recipe
from speechxfer.data import audio
from speechxfer.data.augment import WaveformAugmenter
from speechxfer.data.reader import read
from speechxfer.models import build_trainable
from speechxfer.report.progress import Reporter
from speechxfer.shapes import SAMPLE_RATE

LARGE = {  # the sizes of facebook/wav2vec2-large-lv60
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
JOINT = TINY_EN | {"head": {"kind": "joint", "lstm_layers": 1}}
STAGES: dict[str, Any] = {"the head": "head", "head and upper six layers": ["head", "top-6"]}  # with and without cache
SAMPLING_SECONDS = 0.2  # between two measurements of the GPU's utilisation


def make_ctc_recipe(train: str | list[str]) -> dict[str, Any]:
    """Make a recipe with a CTC head and one stage that trains `train`."""
    return {
        "head": {"kind": "ctc"},
        "stages": [{"train": train, "epochs": 1, "lr": 1e-4, "batch_seconds": 120}],
        "cache": {"use": "always", "dtype": "float16"},
    }


def save_random_wav2vec2(folder: Path, sizes: dict[str, Any]) -> Path:
    """Save a wav2vec2 with random weights."""
    torch.manual_seed(0)
    Wav2Vec2Model(Wav2Vec2Config(**sizes)).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(folder)
    return folder


def write_noise_table(folder: Path, utterances: int, seconds: float) -> Path:
    """Write utterances of noise with random letters as text, ten per second; the content does not change the time."""
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


class _RecordingReporter(Reporter):
    """Keeps what training logs instead of printing it."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.lines: list[str] = []

    def info(self, words: Any = "") -> None:
        self.lines.append(str(words))


class _EpochTimer(TrainerCallback):
    """Measures the wall seconds of each epoch, and the GPU's utilisation in per cent if nvidia-ml-py is installed."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.utilisation: list[int] = []
        self._training = threading.Event()
        if torch.cuda.is_available() and importlib.util.find_spec("pynvml"):
            threading.Thread(target=self._sample_utilisation, daemon=True).start()

    def _sample_utilisation(self) -> None:
        while True:
            self._training.wait()
            self.utilisation.append(torch.cuda.utilization())
            time.sleep(SAMPLING_SECONDS)

    def on_epoch_begin(self, *_: Any, **__: Any) -> None:
        self._epoch_start = time.perf_counter()
        if self.seconds:  # the first epoch is not counted
            self._training.set()

    def on_epoch_end(self, *_: Any, **__: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self._training.clear()
        self.seconds.append(time.perf_counter() - self._epoch_start)


def measure_epochs(
    encoder: str | Path, table: Path, values: dict[str, Any], repeats: int, device: str, *, cached: bool = False
) -> dict[str, Any]:
    """Train `repeats` epochs after a first one: seconds per epoch, peak memory, and sizes of model and data.

    cached: encode the frozen frames beforehand.
    """
    recipe = load_recipe({**values, "data": {"train": str(table)}, "encoder": {"name": str(encoder)}, "device": device})
    stage = recipe.stages[0]
    stage.epochs = repeats + 1
    rows = read(table)
    texts = [text.lower() for text in rows["text"]]
    model = build_trainable(recipe, texts)
    staged = StagedModule(model, recipe.augment)
    staged.apply_stage(stage)
    precision = "auto" if device == "cuda" else "float32"
    recipe = recipe.model_copy(update={"precision": precision})
    timer = _EpochTimer()
    reporter = _RecordingReporter()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    lengths = [audio.measure_duration(row) for row in rows]
    targets = [model.encode_target(text) for text in texts]
    dataset: Any = TrainingDataset(rows, targets, WaveformAugmenter(recipe.augment), recipe.seed)
    with tempfile.TemporaryDirectory() as folder:
        context = StageContext(0, stage, staged, dataset, lengths, recipe, reporter, RunDir(Path(folder)))
        start = time.perf_counter()
        if cached:
            os.environ["SPEECHXFER_FRAMES"] = f"{folder}/frames"
            dataset = cache_features(replace(context, reporter=Reporter(quiet=True)))
        encoding_seconds = time.perf_counter() - start
        train_stage(context, dataset, measure=lambda: 1.0, callbacks=[timer])  # nothing is scored
    counts = count_parameters(model).values()
    return {
        "seconds_an_epoch": spread(timer.seconds[-repeats:], 2),
        "seconds_beforehand": round(encoding_seconds, 2) if cached else None,
        "utilisation": round(sum(timer.utilisation) / len(timer.utilisation)) if timer.utilisation else None,
        "peak_memory_mb": get_peak_memory_mb(model.device),
        "audio_seconds": round(sum(lengths), 1),
        "utterances": len(rows),
        "batch_seconds": stage.batch_seconds,
        "parameters": {kind: sum(count[kind] for count in counts) for kind in ("trained", "frozen")},
        "precision": "bf16" if uses_bfloat16(precision, device) else "float32",
        "remarks": reporter.lines,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = options(__doc__)
    parser.add_argument("table", nargs="?", type=Path, help="default: $SPEECHXFER_CORPORA/speechocean762/train.csv")
    parser.add_argument(
        "--utterances", type=int, default=240, help="of the large model, 15 s each; default %(default)s"
    )
    given = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        print("no GPU found, nothing measured")
        return
    table = corpus_table(given.table, "speechocean762/train.csv")
    with tempfile.TemporaryDirectory() as folder:
        large = save_random_wav2vec2(Path(folder) / "large", LARGE)
        noise = write_noise_table(Path(folder) / "noise", given.utterances, 15)
        results = {
            "whisper-tiny.en": measure_epochs("whisper-tiny.en", table, TINY_EN, given.repeats, "cuda"),
            "whisper-tiny.en, joint": measure_epochs("whisper-tiny.en", table, JOINT, given.repeats, "cuda"),
            "wav2vec2-large's size": measure_epochs(
                large, noise, make_ctc_recipe(["head", "encoder"]), given.repeats, "cuda"
            ),
        }
        for name, train in STAGES.items():
            for cached in (True, False):
                title = f"wav2vec2-large's size, {name}, {'from kept frames' if cached else 'encoded again'}"
                values = make_ctc_recipe(train)
                results[title] = measure_epochs(large, noise, values, given.repeats, "cuda", cached=cached)
    write(
        {
            "command": "python scripts/bench/gpu.py",
            "machine": f"{torch.cuda.get_device_name()}, {machine()}",
            "versions": versions("torch", "transformers", "accelerate"),
            "corpus": {"whisper": named(table), "wav2vec2-large's size": "noise, utterances of 15 s"},
            "training": results,
        },
        given.json,
    )


if __name__ == "__main__":
    run(main)
