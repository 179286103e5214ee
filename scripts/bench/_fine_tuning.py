"""Short versions of transformers' fine-tuning scripts, with which `against_transformers.py` compares.

`train_whisper` follows "Fine-Tune Whisper with Transformers" (Sanchit Gandhi 2022): features padded to 30 s and
computed once by `map`, labels padded with -100, `Seq2SeqTrainer`, `predict_with_generate`. `train_ctc` follows
examples/pytorch/speech-recognition/run_speech_recognition_ctc.py: batches padded to their longest utterance, grouped by
length, with a frozen feature encoder. Both without half precision and gradient checkpointing, which are slower on a
CPU.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import (
    AutoFeatureExtractor,
    AutoModelForCTC,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2Processor,
    WhisperForConditionalGeneration,
    WhisperProcessor,
)

from speechxfer.data import audio
from speechxfer.shapes import SAMPLE_RATE

Scorer = Callable[[Sequence[str]], float]  # from transcripts of the dev split to their error rate


class EpochTimer(TrainerCallback):
    """Measures the wall seconds of each epoch, and the seconds and error rate at each evaluation.

    Attributes:
        preparation_seconds: for data that is prepared before the first epoch.
        seconds: of each epoch's training.
        evaluations: epoch, seconds since the start, and error rate on dev.
    """

    def __init__(self) -> None:
        self.preparation_seconds = 0.0
        self.seconds: list[float] = []
        self.evaluations: list[dict[str, float]] = []
        self.start = time.perf_counter()

    def on_epoch_begin(self, *_: Any, **__: Any) -> None:
        self._epoch_start = time.perf_counter()

    def on_epoch_end(self, *_: Any, **__: Any) -> None:
        self.seconds.append(time.perf_counter() - self._epoch_start)

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        error = kwargs["metrics"].get("eval_error")
        if error is not None:
            elapsed = time.perf_counter() - self.start
            self.evaluations.append({"epoch": round(state.epoch, 2), "seconds": round(elapsed, 3), "dev": error})


@dataclass(frozen=True)
class TrainingOptions:
    """Options of both scripts. batch: utterances per batch; work: folder for temporary files."""

    epochs: int
    batch: int
    lr: float
    work: Path


def train_whisper(
    folder: Path,
    train: Dataset,
    options: TrainingOptions,
    *,
    dev: Dataset | None = None,
    score: Scorer | None = None,
) -> EpochTimer:
    """Train all weights of Whisper. dev, score: evaluate after each epoch."""
    timer = EpochTimer()
    processor = WhisperProcessor.from_pretrained(folder)
    model = WhisperForConditionalGeneration.from_pretrained(folder)
    tokenizer = processor.tokenizer
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token  # as in OpenAI's checkpoints

    def prepare(row: dict[str, Any]) -> dict[str, Any]:
        features = processor.feature_extractor(audio.load_waveform(row), sampling_rate=SAMPLE_RATE).input_features[0]
        return {"input_features": features, "labels": tokenizer(row["text"]).input_ids}

    def collate(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        features = [{"input_features": row["input_features"]} for row in rows]
        padded = processor.feature_extractor.pad(features, return_tensors="pt")
        labels = tokenizer.pad([{"input_ids": row["labels"]} for row in rows], return_tensors="pt")
        targets = labels["input_ids"].masked_fill(labels.attention_mask.ne(1), -100)
        if (targets[:, 0] == model.config.decoder_start_token_id).all():
            targets = targets[:, 1:]  # the model adds it again
        return {"input_features": padded["input_features"], "labels": targets}

    def compute_metrics(prediction: Any) -> dict[str, float]:
        assert score is not None
        ids = prediction.predictions
        ids[ids < 0] = tokenizer.pad_token_id
        return {"error": score(tokenizer.batch_decode(ids, skip_special_tokens=True))}

    start = time.perf_counter()
    prepared = _prepare(train, prepare, options.work / "train.arrow")
    timer.preparation_seconds = time.perf_counter() - start
    trainer = Seq2SeqTrainer(
        model=model,
        args=Seq2SeqTrainingArguments(
            **_make_arguments(options, evaluate=dev is not None),
            predict_with_generate=True,
            generation_max_length=min(225, model.config.max_target_positions),
        ),
        train_dataset=prepared,
        eval_dataset=None if dev is None else _prepare(dev, prepare, options.work / "dev.arrow"),
        data_collator=collate,
        compute_metrics=compute_metrics if dev is not None else None,
        callbacks=[timer],
    )
    trainer.train()
    return timer


def train_ctc(folder: Path, train: Dataset, options: TrainingOptions) -> EpochTimer:
    """Train a wav2vec2 with a CTC head over `folder`'s vocabulary, on normalised texts."""
    timer = EpochTimer()
    processor = Wav2Vec2Processor(
        AutoFeatureExtractor.from_pretrained(folder), Wav2Vec2CTCTokenizer.from_pretrained(folder)
    )
    model = AutoModelForCTC.from_pretrained(folder, ctc_loss_reduction="mean", layerdrop=0.0, mask_time_prob=0.0)
    model.freeze_feature_encoder()

    def prepare(row: dict[str, Any]) -> dict[str, Any]:
        values = processor.feature_extractor(audio.load_waveform(row), sampling_rate=SAMPLE_RATE).input_values[0]
        return {"input_values": values, "length": len(values), "labels": processor.tokenizer(row["text"]).input_ids}

    def collate(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        values = [{"input_values": row["input_values"]} for row in rows]
        padded = processor.feature_extractor.pad(values, padding=True, return_tensors="pt")
        labels = processor.tokenizer.pad([{"input_ids": row["labels"]} for row in rows], return_tensors="pt")
        return {**padded, "labels": labels["input_ids"].masked_fill(labels.attention_mask.ne(1), -100)}

    start = time.perf_counter()
    prepared = _prepare(train, prepare, options.work / "train.arrow")
    timer.preparation_seconds = time.perf_counter() - start
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            **_make_arguments(options, evaluate=False),
            train_sampling_strategy="group_by_length",
            length_column_name="length",
        ),
        train_dataset=prepared,
        data_collator=collate,
        callbacks=[timer],
    )
    trainer.train()
    return timer


def _prepare(rows: Dataset, prepare: Callable[[dict[str, Any]], dict[str, Any]], file: Path) -> Dataset:
    """Apply `map` with a cache file on disk: in memory the features would count as this side's peak memory."""
    return rows.map(prepare, remove_columns=rows.column_names, cache_file_name=str(file), load_from_cache_file=False)


def _make_arguments(options: TrainingOptions, *, evaluate: bool) -> dict[str, Any]:
    return {
        "output_dir": str(options.work),
        "per_device_train_batch_size": options.batch,
        "per_device_eval_batch_size": 8,
        "learning_rate": options.lr,
        "warmup_steps": 0.1,  # below 1: a share of the steps
        "num_train_epochs": options.epochs,
        "eval_strategy": "epoch" if evaluate else "no",
        "save_strategy": "no",
        "use_cpu": True,
        "report_to": [],
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "label_names": ["labels"],
        "seed": 0,
    }
