"""Hugging Face's Trainer, taught our batches, our dev measure and our idea of a checkpoint."""

from __future__ import annotations

import json
import math
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate.data_loader import prepare_data_loader
from torch.utils.data import DataLoader, Dataset
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainerState, TrainingArguments, set_seed

from speechxfer import distributed
from speechxfer.adaptation.training.batching import BatchCollator, DurationBatchSampler, make_dataloader
from speechxfer.adaptation.training.checkpoints import (
    TRAINER_STATE_FILE,
    find_last_valid_checkpoint,
    read_elapsed_seconds,
    save_epoch_weights,
    save_weights,
)
from speechxfer.adaptation.training.staged_module import StagedModule
from speechxfer.config.recipe import StageConfig
from speechxfer.encoders.base import SpeechEncoder
from speechxfer.errors import UserError, summarize_out_of_memory
from speechxfer.models.seq2seq import WhisperRecogniser

_SIZE = "batches.json"  # in a stage's folder, once memory was short
_SEEDS = 1_000_003  # between the seeds of two processes
MIN_BATCH_SECONDS = 2.0  # below this there is nothing left to halve when memory runs out


class StageTrainer(Trainer):
    """Trains a `StagedModule` through one stage. measure() gives the dev part's error rate, the lower the better.

    before: seconds that the stage took before this trainer began.
    """

    def __init__(
        self,
        *,
        utterances: Dataset,
        batches: DurationBatchSampler,
        measure: Callable[[], float],
        before: float = 0.0,
        **kwargs: Any,
    ) -> None:
        # Trainer asks for an eval set; `evaluate` measures the dev part
        super().__init__(**kwargs, train_dataset=utterances, eval_dataset=utterances)
        self.utterances, self.batches, self.measure = utterances, batches, measure
        self._began = time.perf_counter() - before

    @property
    def elapsed_seconds(self) -> float:
        """That the stage has taken so far."""
        return time.perf_counter() - self._began

    def get_train_dataloader(self) -> DataLoader:
        device = self.accelerator.device
        batches = make_dataloader(
            self.utterances, device.type, batch_sampler=self.batches, collate_fn=self.data_collator
        )
        # the batches are this process's own already: `num_processes=1` keeps them from being shared out again
        return prepare_data_loader(batches, device, num_processes=1, process_index=0, put_on_device=True)

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        metrics = {"eval_error": self.measure()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        if self.optimizer is None:
            fused = self.args.device.type in ("cpu", "cuda")  # one pass over the weights, where torch has one
            self.optimizer = torch.optim.AdamW(self._groups(), betas=(0.9, 0.999), eps=1e-8, fused=fused)
        return self.optimizer

    def _groups(self) -> list[dict[str, Any]]:
        """Encoder, Whisper's decoder and new heads may have rates of their own; norms and biases have no decay.

        With `layer_decay` the rate of each of the encoder's layers is that times the rate of the one above it.
        """
        trainee: StagedModule = self.model  # type: ignore[assignment]
        model, stage = trainee.model, trainee.stage
        encoder = set(model.encoder.module.parameters())
        decoder = set(model.whisper.model.decoder.parameters()) if isinstance(model, WhisperRecogniser) else set()
        slower = _layerwise_factors(model.encoder, stage.layer_decay)
        groups: dict[tuple[float, bool], list[torch.nn.Parameter]] = {}
        for parameter in trainee.parameters():
            if parameter.requires_grad:
                own = stage.encoder_lr if parameter in encoder else stage.decoder_lr if parameter in decoder else None
                rate = (own or self.args.learning_rate) * slower.get(parameter, 1.0)
                groups.setdefault((rate, parameter.ndim > 1), []).append(parameter)
        return [
            {"params": parameters, "lr": rate, "weight_decay": self.args.weight_decay if decays else 0.0}
            for (rate, decays), parameters in groups.items()
        ]

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        """Weights only, as safetensors: nothing of ours is pickled."""
        if not self.args.should_save:  # Trainer asks every process; two that write one file spoil it
            return
        stage = Path(str(self.args.output_dir))
        checkpoint = Path(output_dir or stage)
        save_weights(self.accelerator.unwrap_model(self.model), checkpoint, self.elapsed_seconds)
        if float(self.state.epoch or 0).is_integer():
            save_epoch_weights(checkpoint, stage)


def _layerwise_factors(encoder: SpeechEncoder, decay: float) -> dict[torch.nn.Parameter, float]:
    """The share of the encoder's rate at which its layers, and what is below them, learn."""
    below = [(encoder.depth, encoder.get_embedding_modules())] + [
        (encoder.depth - 1 - number, [layer]) for number, layer in enumerate(encoder.layers)
    ]
    return {p: decay**under for under, modules in below for module in modules for p in module.parameters()}


class GracefulInterrupt(TrainerCallback):
    """Ctrl-C once: a checkpoint is written after the running step, then KeyboardInterrupt. Twice: at once.

    An epoch's last step waits for that epoch's measure on dev, which a resumed run would not make up for.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self.asked = False
        self._before: Any = None

    def __enter__(self) -> GracefulInterrupt:
        if (
            distributed.get_world_size() > 1
        ):  # each would stop at a step of its own and wait for the others: stop at once
            return self
        try:
            self._before = signal.signal(signal.SIGINT, self._ask)
        except ValueError:  # not in the main thread: whoever called owns the signal
            self._before = None
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _ask(self, *_: object) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if not self.asked:
            return
        measured_next = float(state.epoch).is_integer() or state.global_step >= state.max_steps
        self.say("interrupted: a checkpoint comes first; once more stops at once")
        control.should_save = not measured_next

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.asked:
            self.say(f"interrupted at step {state.global_step:,} of {state.max_steps:,}: --resume goes on from there")
            raise KeyboardInterrupt


class EarlyStopping(TrainerCallback):
    """Stops a stage after `epochs` of them without a better dev measure, as its own log says: a resumed run's too."""

    def __init__(self, epochs: int | None) -> None:
        self.epochs = epochs

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.should_stop(state):
            control.should_training_stop = True

    def should_stop(self, state: TrainerState) -> bool:
        errors = [entry["dev"] for entry in read_epoch_history(state)]
        return bool(self.epochs and errors and len(errors) - 1 - errors.index(min(errors)) >= self.epochs)


class StageResult(NamedTuple):
    """A stage's epochs, `{"epoch": 1.0, "dev": 0.31}` each, the name of the best one's checkpoint, and its seconds.

    The seconds are those of an interrupted run too, up to the checkpoint from which it was taken up.
    """

    epochs: list[dict[str, float]]
    best: str
    seconds: float


def train_stage(
    trainee: StagedModule,
    stage: StageConfig,
    utterances: Dataset,
    seconds: list[float],
    *,
    measure: Callable[[], float],
    folder: Path,
    logs: Path,
    seed: int,
    resume: bool,
    callbacks: list[TrainerCallback],
    say: Callable[[str], None],
    precision: str = "auto",
    spent: float = 0.0,
) -> StageResult:
    """Train one stage; the trainee ends with the weights of its best epoch on the dev part.

    utterances: `TrainingDataset`, or `CachedDataset` of theirs. seconds: each one's length. folder: where the
    stage's checkpoints go. precision: as the recipe says. spent: seconds that went before, on frozen frames. Out of
    memory on a GPU: half the seconds a batch, twice the accumulation, from the stage's start. Raises UserError where
    the smallest batch does not fit.
    """
    size = distributed.run_on_main(lambda: _batch_size(folder, stage))
    start = {name: tensor.detach().cpu().clone() for name, tensor in trainee.state_dict().items()}
    patience = EarlyStopping(stage.patience)
    checkpoint = distributed.run_on_main(lambda: find_last_valid_checkpoint(folder) if resume else None)
    state = None if checkpoint is None else TrainerState.load_from_json(str(Path(checkpoint) / TRAINER_STATE_FILE))
    spent += read_elapsed_seconds(checkpoint)
    while state is None or not (patience.should_stop(state) or state.global_step >= state.max_steps):
        set_seed(seed)
        batches = DurationBatchSampler(
            seconds,
            max_seconds=size.batch_seconds,
            epochs=math.ceil(stage.epochs),
            seed=seed,
            padded_share=trainee.augment.pad_to_30s,
            world_size=distributed.get_world_size(),
            rank=distributed.get_rank(),
        )
        with GracefulInterrupt(say) as stop:
            trainer = StageTrainer(
                model=trainee,
                args=_training_arguments(
                    stage, trainee, folder, size.gradient_accumulation, len(batches), seed, precision
                ),
                utterances=utterances,
                data_collator=BatchCollator(trainee.model),
                batches=batches,
                measure=measure,
                before=spent,
                callbacks=[*callbacks, *([_tensorboard(logs)] if distributed.get_rank() == 0 else []), patience, stop],
            )
            trainer.remove_callback(PrinterCallback)  # its lines would break the progress bar
            try:
                trainer.train(resume_from_checkpoint=checkpoint)
                state, spent = trainer.state, trainer.elapsed_seconds
                break
            except torch.cuda.OutOfMemoryError as error:
                words = summarize_out_of_memory(error)
                if distributed.get_world_size() > 1:  # the others are in the middle of the step
                    raise _batch_too_small_error(
                        words, "say a smaller stages.N.batch_seconds, or train fewer layers"
                    ) from None
        # only here, without the traceback, is the failed step's memory free
        size, spent = _halve_batch_size(size, words, folder, say), trainer.elapsed_seconds
        del trainer
        torch.cuda.empty_cache()
        trainee.load_state_dict(start)
        checkpoint = state = None
    assert state is not None
    distributed.wait_for_all()  # until the main one has written the last checkpoint
    best = f"checkpoint-{state.best_global_step}"
    trainee.load_checkpoint(folder / best)
    return StageResult(read_epoch_history(state), best, round(spent, 1))


def read_epoch_history(state: TrainerState) -> list[dict[str, float]]:
    """`{"epoch": 1.0, "dev": 0.31}` of each epoch that was measured."""
    return [{"epoch": e["epoch"], "dev": e["eval_error"]} for e in state.log_history if "eval_error" in e]


class _BatchSize(NamedTuple):
    """What `stage` asks for, or what the GPU's memory left of it."""

    batch_seconds: float
    gradient_accumulation: int


def _batch_size(folder: Path, stage: StageConfig) -> _BatchSize:
    path = folder / _SIZE
    if not path.is_file():
        return _BatchSize(stage.batch_seconds, stage.gradient_accumulation)
    return _BatchSize(**json.loads(path.read_text(encoding="utf-8")))


def _halve_batch_size(size: _BatchSize, words: str, folder: Path, say: Callable[[str], None]) -> _BatchSize:
    """Half the seconds, as many a step; kept in `folder`, so that a resumed run cuts the same batches."""
    size = _BatchSize(size.batch_seconds / 2, size.gradient_accumulation * 2)
    if size.batch_seconds < MIN_BATCH_SECONDS:
        raise UserError(
            f"out of GPU memory with the smallest batch ({words})",
            where="stages",
            fix="cut long utterances (data with start and end), train fewer layers, or say device=cpu",
        )
    say(
        f"out of GPU memory: from here on {size.batch_seconds:g} s of audio a batch, {size.gradient_accumulation} batches a step"
    )
    shutil.rmtree(folder, ignore_errors=True)  # its checkpoints are of other batches
    folder.mkdir(parents=True)
    (folder / _SIZE).write_text(json.dumps(size._asdict()), encoding="utf-8")
    return size


def _batch_too_small_error(words: str, fix: str) -> UserError:
    return UserError(f"out of GPU memory ({words})", where="stages", fix=fix)


def uses_bfloat16(precision: str, device: str) -> bool:
    """Whether training computes in bfloat16 (weights and their updates stay float32).

    auto: on a GPU that can, and on a processor with instructions for it. Others emulate it, slower than float32.
    """
    if precision != "auto":
        return precision == "bfloat16"
    if device == "cuda":
        return torch.cuda.is_bf16_supported()
    able = torch.cpu.get_capabilities() if device == "cpu" else {}
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


def _training_arguments(
    stage: StageConfig, trainee: StagedModule, folder: Path, accumulate: int, batches: int, seed: int, precision: str
) -> TrainingArguments:
    device = trainee.model.device.type
    steps = math.ceil(math.ceil(batches / accumulate) * stage.epochs)
    arguments = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=stage.epochs,
        learning_rate=stage.lr,
        warmup_steps=round(stage.warmup * steps),
        lr_scheduler_type="linear",
        weight_decay=stage.weight_decay,
        max_grad_norm=stage.max_grad_norm,
        gradient_accumulation_steps=accumulate,
        bf16=uses_bfloat16(precision, device),
        use_cpu=device == "cpu",
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=2,
        load_best_model_at_end=False,  # `train_stage` restores it, from wherever the run folder lies now
        metric_for_best_model="eval_error",
        greater_is_better=False,
        logging_steps=10,
        logging_first_step=True,
        report_to=[],
        disable_tqdm=True,
        log_level="error",
        remove_unused_columns=False,
        label_names=["labels"],
        seed=seed + _SEEDS * distributed.get_rank(),  # no two drop and mask alike
    )
    assert arguments.device is not None  # asked for, it counts the GPUs
    arguments._n_gpu = min(1, arguments.n_gpu)  # a process is one GPU's: more are torchrun's, not DataParallel's
    return arguments


def _tensorboard(logs: Path) -> TrainerCallback:
    from torch.utils.tensorboard import SummaryWriter
    from transformers.integrations import TensorBoardCallback

    return TensorBoardCallback(SummaryWriter(str(logs)))
