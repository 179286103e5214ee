"""The usual fine-tuning scripts of transformers, short: what `against_transformers.py` compares with.

`whisper` is the well-known recipe (Fine-Tune Whisper with Transformers, Sanchit Gandhi 2022): features padded to 30 s,
made once by `map`, a collator that pads labels with -100, `Seq2SeqTrainer`, `predict_with_generate`. `ctc` is
examples/pytorch/speech-recognition/run_speech_recognition_ctc.py: batches padded to their longest, grouped by length,
the feature encoder frozen. Both without half precision and gradient checkpointing, which only slow a CPU down.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
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

Score = Callable[[Sequence[str]], float]  # the dev part's error rate of its transcripts


class Epochs(TrainerCallback):
    """Wall seconds of each epoch's training, and at each evaluation those since the start and the error rate.

    beforehand: seconds in which what every epoch reads was made, before the first.
    """

    def __init__(self) -> None:
        self.beforehand = 0.0
        self.seconds: list[float] = []
        self.measured: list[dict[str, float]] = []
        self.start = time.perf_counter()

    def on_epoch_begin(self, *_: Any, **__: Any) -> None:
        self._began = time.perf_counter()

    def on_epoch_end(self, *_: Any, **__: Any) -> None:
        self.seconds.append(time.perf_counter() - self._began)

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        error = kwargs["metrics"].get("eval_error")
        if error is not None:
            elapsed = time.perf_counter() - self.start
            self.measured.append({"epoch": round(state.epoch, 2), "seconds": round(elapsed, 3), "dev": error})


def whisper(
    folder: Path,
    train: Dataset,
    *,
    epochs: int,
    batch: int,
    lr: float,
    work: Path,
    dev: Dataset | None = None,
    score: Score | None = None,
) -> Epochs:
    """Whisper and its decoder, every weight trained, as the recipe has it."""
    spent = Epochs()
    processor = WhisperProcessor.from_pretrained(folder)
    model = WhisperForConditionalGeneration.from_pretrained(folder)
    tokenizer = processor.tokenizer
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token  # as in OpenAI's own folders

    def prepare(row: dict[str, Any]) -> dict[str, Any]:
        features = processor.feature_extractor(audio.load_waveform(row), sampling_rate=SAMPLE_RATE).input_features[0]
        return {"input_features": features, "labels": tokenizer(row["text"]).input_ids}

    def collate(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        features = [{"input_features": row["input_features"]} for row in rows]
        made = processor.feature_extractor.pad(features, return_tensors="pt")
        labels = tokenizer.pad([{"input_ids": row["labels"]} for row in rows], return_tensors="pt")
        targets = labels["input_ids"].masked_fill(labels.attention_mask.ne(1), -100)
        if (targets[:, 0] == model.config.decoder_start_token_id).all():
            targets = targets[:, 1:]  # the model puts it there again
        return {"input_features": made["input_features"], "labels": targets}

    def metrics(predicted: Any) -> dict[str, float]:
        assert score is not None
        places = predicted.predictions
        places[places < 0] = tokenizer.pad_token_id
        return {"error": score(tokenizer.batch_decode(places, skip_special_tokens=True))}

    began = time.perf_counter()
    prepared = _prepared(train, prepare, work / "train.arrow")
    spent.beforehand = time.perf_counter() - began
    trainer = Seq2SeqTrainer(
        model=model,
        args=Seq2SeqTrainingArguments(
            **_arguments(work, epochs, batch, lr, evaluated=dev is not None),
            predict_with_generate=True,
            generation_max_length=min(225, model.config.max_target_positions),
        ),
        train_dataset=prepared,
        eval_dataset=None if dev is None else _prepared(dev, prepare, work / "dev.arrow"),
        data_collator=collate,
        compute_metrics=metrics if dev is not None else None,
        callbacks=[spent],
    )
    trainer.train()
    return spent


def ctc(folder: Path, train: Dataset, *, epochs: int, batch: int, lr: float, work: Path) -> Epochs:
    """A wav2vec2 with a CTC head over `folder`'s vocabulary; texts are given as they are to be spelt."""
    spent = Epochs()
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
        made = processor.feature_extractor.pad(values, padding=True, return_tensors="pt")
        labels = processor.tokenizer.pad([{"input_ids": row["labels"]} for row in rows], return_tensors="pt")
        return {**made, "labels": labels["input_ids"].masked_fill(labels.attention_mask.ne(1), -100)}

    began = time.perf_counter()
    prepared = _prepared(train, prepare, work / "train.arrow")
    spent.beforehand = time.perf_counter() - began
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            **_arguments(work, epochs, batch, lr, evaluated=False),
            train_sampling_strategy="group_by_length",
            length_column_name="length",
        ),
        train_dataset=prepared,
        data_collator=collate,
        callbacks=[spent],
    )
    trainer.train()
    return spent


def _prepared(rows: Dataset, prepare: Callable[[dict[str, Any]], dict[str, Any]], file: Path) -> Dataset:
    """By `map`, read from a file on disk as it is trained on: in memory it would count against them."""
    return rows.map(prepare, remove_columns=rows.column_names, cache_file_name=str(file), load_from_cache_file=False)


def _arguments(work: Path, epochs: int, batch: int, lr: float, *, evaluated: bool) -> dict[str, Any]:
    return {
        "output_dir": str(work),
        "per_device_train_batch_size": batch,
        "per_device_eval_batch_size": 8,
        "learning_rate": lr,
        "warmup_steps": 0.1,  # a share of the steps, where it is less than one
        "num_train_epochs": epochs,
        "eval_strategy": "epoch" if evaluated else "no",
        "save_strategy": "no",
        "use_cpu": True,
        "report_to": [],
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "label_names": ["labels"],
        "seed": 0,
    }
