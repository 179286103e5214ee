"""A `transformers.Trainer` with batches by duration, error rates on dev, and safetensors checkpoints."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate.data_loader import prepare_data_loader
from torch.utils.data import DataLoader, Dataset
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainerState, TrainingArguments, set_seed

from speechxfer import distributed
from speechxfer.adaptation.training.batch_size import BatchSize, halve_batch_size, make_batches, read_batch_size
from speechxfer.adaptation.training.batching import BatchCollator, DurationBatchSampler, make_dataloader
from speechxfer.adaptation.training.checkpoints import (
    TRAINER_STATE_FILE,
    find_last_valid_checkpoint,
    read_elapsed_seconds,
    remove_checkpoints,
    save_epoch_weights,
    save_weights,
    write_digests,
)
from speechxfer.adaptation.training.context import StageContext
from speechxfer.adaptation.training.staged_module import StagedModule
from speechxfer.encoders.base import SpeechEncoder
from speechxfer.errors import UserError, summarize_out_of_memory
from speechxfer.models.seq2seq import WhisperRecogniser

_RANK_SEED_STEP = 1_000_003  # difference between the seeds of two processes


class StageTrainer(Trainer):
    """Trains a `StagedModule` through one stage.

    Args:
        batches: the batch sampler.
        measure: returns the error rate on dev.
        before: seconds that the stage had taken when this trainer started.
    """

    def __init__(
        self,
        *,
        dataset: Dataset,
        batches: DurationBatchSampler,
        measure: Callable[[], float],
        before: float = 0.0,
        **kwargs: Any,
    ) -> None:
        # Trainer requires an evaluation set, but `evaluate` calls `measure`
        super().__init__(**kwargs, train_dataset=dataset, eval_dataset=dataset)
        self.dataset, self.batches, self.measure = dataset, batches, measure
        self._started = time.perf_counter() - before

    @property
    def elapsed_seconds(self) -> float:
        """Seconds that the stage has taken so far."""
        return time.perf_counter() - self._started

    def get_train_dataloader(self) -> DataLoader:
        device = self.accelerator.device
        batches = make_dataloader(self.dataset, device.type, batch_sampler=self.batches, collate_fn=self.data_collator)
        # the sampler gives this process its own batches: `num_processes=1` keeps accelerate from splitting them again
        return prepare_data_loader(batches, device, num_processes=1, process_index=0, put_on_device=True)

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        metrics = {"eval_error": self.measure()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        if self.optimizer is None:
            fused = self.args.device.type in ("cpu", "cuda")  # where torch has a fused implementation
            self.optimizer = torch.optim.AdamW(self._groups(), betas=(0.9, 0.999), eps=1e-8, fused=fused)
        return self.optimizer

    def _groups(self) -> list[dict[str, Any]]:
        """Group parameters by learning rate (encoder, decoder, head) and weight decay (none for norms and biases).

        With `layer_decay` the rate of each encoder layer is that factor times the rate of the layer above it.
        """
        staged: StagedModule = self.model  # type: ignore[assignment]
        model, stage = staged.model, staged.stage
        encoder = set(model.encoder.module.parameters())
        if "adapter" in stage.train:  # as small and as new to the speech as a head
            encoder -= {p for adapter in model.encoder.get_language_adapters() for p in adapter.parameters()}
        decoder = set(model.whisper.model.decoder.parameters()) if isinstance(model, WhisperRecogniser) else set()
        factors = _layerwise_factors(model.encoder, stage.layer_decay)
        groups: dict[tuple[float, bool], list[torch.nn.Parameter]] = {}
        for parameter in staged.parameters():
            if parameter.requires_grad:
                own = stage.encoder_lr if parameter in encoder else stage.decoder_lr if parameter in decoder else None
                rate = (own or self.args.learning_rate) * factors.get(parameter, 1.0)
                groups.setdefault((rate, parameter.ndim > 1), []).append(parameter)
        return [
            {"params": parameters, "lr": rate, "weight_decay": self.args.weight_decay if decays else 0.0}
            for (rate, decays), parameters in groups.items()
        ]

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        """Save the weights as safetensors, on the main process."""
        if not self.args.should_save:  # Trainer calls this in every process
            return
        stage_dir = Path(str(self.args.output_dir))
        checkpoint = Path(output_dir or stage_dir)
        save_weights(self.accelerator.unwrap_model(self.model), checkpoint, self.elapsed_seconds)
        if float(self.state.epoch or 0).is_integer():
            save_epoch_weights(checkpoint, stage_dir)


def _layerwise_factors(encoder: SpeechEncoder, decay: float) -> dict[torch.nn.Parameter, float]:
    """Return the learning rate factor of each parameter in the encoder's layers and below."""
    depths = [(encoder.depth, encoder.get_embedding_modules())] + [
        (encoder.depth - 1 - number, [layer]) for number, layer in enumerate(encoder.layers)
    ]
    return {p: decay**below for below, modules in depths for module in modules for p in module.parameters()}


class DigestWriter(TrainerCallback):
    """Writes the digests of a checkpoint once all of its files are there."""

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        distributed.wait_for_all()  # each process writes the state of its random numbers
        if distributed.get_rank() == 0:
            stage_dir = Path(args.output_dir)
            write_digests(stage_dir / f"checkpoint-{state.global_step}", stage_dir)


class GracefulInterrupt(TrainerCallback):
    """On Ctrl-C saves a checkpoint after the current step, then raises KeyboardInterrupt; a second one stops at once.

    After an epoch's last step the checkpoint is saved once dev has been evaluated, so that a resumed run has the rate.
    """

    def __init__(self, log: Callable[[str], None]) -> None:
        self.log = log
        self.is_requested = False
        self._previous_handler: Any = None

    def __enter__(self) -> GracefulInterrupt:
        if distributed.get_world_size() > 1:  # processes would stop at different steps and wait for each other
            return self
        try:
            self._previous_handler = signal.signal(signal.SIGINT, self._handle_signal)
        except ValueError:  # not in the main thread, where signals cannot be handled
            self._previous_handler = None
        return self

    def __exit__(self, *_: object) -> None:
        if self._previous_handler is not None:
            signal.signal(signal.SIGINT, self._previous_handler)

    def _handle_signal(self, *_: object) -> None:
        if self.is_requested:
            raise KeyboardInterrupt
        self.is_requested = True

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if not self.is_requested:
            return
        is_evaluated_next = float(state.epoch).is_integer() or state.global_step >= state.max_steps
        self.log("interrupted: saving a checkpoint; press Ctrl-C again to stop at once")
        control.should_save = not is_evaluated_next

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.is_requested:
            self.log(f"interrupted at step {state.global_step:,} of {state.max_steps:,}: use --resume to continue")
            raise KeyboardInterrupt


class EarlyStopping(TrainerCallback):
    """Stops a stage after `epochs` epochs without a better dev error rate, counted in the log of a resumed run too."""

    def __init__(self, epochs: int | None) -> None:
        self.epochs = epochs

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.should_stop(state):
            control.should_training_stop = True

    def should_stop(self, state: TrainerState) -> bool:
        errors = [entry["dev"] for entry in read_epoch_history(state)]
        return bool(self.epochs and errors and len(errors) - 1 - errors.index(min(errors)) >= self.epochs)


class StageResult(NamedTuple):
    """A trained stage.

    epochs: `{"epoch": 1.0, "dev": 0.31}` of each epoch. best: name of the best epoch's checkpoint. seconds: of
    training, with those of an interrupted run up to the checkpoint from which it was resumed.
    """

    epochs: list[dict[str, float]]
    best: str
    seconds: float


def train_stage(
    context: StageContext,
    dataset: Dataset,
    *,
    measure: Callable[[], float],
    callbacks: Sequence[TrainerCallback] = (),
    resume: bool = False,
    spent: float = 0.0,
) -> StageResult:
    """Train one stage and load the weights of its best epoch on dev.

    If GPU memory runs out, the stage starts again with half the seconds per batch and twice the accumulation.

    Args:
        dataset: a `TrainingDataset`, or a `CachedDataset` of it.
        measure: returns the error rate on dev.
        spent: seconds already spent on the stage, e.g. on encoding frozen features.

    Raises:
        UserError: if the smallest batch does not fit into memory.
    """
    staged, stage_dir = context.staged, context.stage_dir
    size = distributed.run_on_main(lambda: read_batch_size(stage_dir, context.stage))
    initial = {name: tensor.detach().cpu().clone() for name, tensor in staged.state_dict().items()}
    stopping = EarlyStopping(context.stage.patience)
    checkpoint = distributed.run_on_main(lambda: _find_checkpoint(context) if resume else None)
    state = None if checkpoint is None else TrainerState.load_from_json(str(Path(checkpoint) / TRAINER_STATE_FILE))
    if state is not None and not _extend_steps(context, dataset, size, state):
        distributed.run_on_main(lambda: remove_checkpoints(stage_dir))
        checkpoint = state = None
    spent += read_elapsed_seconds(checkpoint)
    while state is None or not (stopping.should_stop(state) or state.global_step >= state.max_steps):
        with GracefulInterrupt(context.reporter.info) as interrupt:
            trainer = _make_trainer(context, dataset, size, measure, [*callbacks, stopping, interrupt], spent)
            try:
                trainer.train(resume_from_checkpoint=checkpoint)
                state, spent = trainer.state, trainer.elapsed_seconds
                break
            except torch.cuda.OutOfMemoryError as error:
                message = summarize_out_of_memory(error)
                if distributed.get_world_size() > 1:  # the other processes are in the middle of the step
                    fix = "set a smaller stages.N.batch_seconds, or train fewer layers"
                    raise UserError(f"out of GPU memory ({message})", where="stages", fix=fix) from None
        # the failed step's memory is free only here, without its traceback
        size, spent = halve_batch_size(size, message, stage_dir, context.reporter.info), trainer.elapsed_seconds
        del trainer
        torch.cuda.empty_cache()
        staged.load_state_dict(initial)
        checkpoint = state = None
    assert state is not None
    distributed.wait_for_all()  # until the main process has written the last checkpoint
    best = f"checkpoint-{state.best_global_step}"
    staged.load_checkpoint(stage_dir / best)
    return StageResult(read_epoch_history(state), best, round(spent, 1))


def _find_checkpoint(context: StageContext) -> str | None:
    log = context.reporter.info
    return find_last_valid_checkpoint(context.stage_dir, lambda line: log(f"{context.title}: {line}"))


def read_epoch_history(state: TrainerState) -> list[dict[str, float]]:
    """Return `{"epoch": 1.0, "dev": 0.31}` of each evaluated epoch."""
    return [{"epoch": e["epoch"], "dev": e["eval_error"]} for e in state.log_history if "eval_error" in e]


def _extend_steps(context: StageContext, dataset: Dataset, size: BatchSize, state: TrainerState) -> bool:
    """Give a resumed state the steps of a stage that has more epochs now.

    Returns False, with a log line, if the stage has to start again: its epochs have another number of batches now.
    """
    steps_per_epoch = round(state.global_step / state.epoch) if state.epoch else 0
    steps = math.ceil(steps_per_epoch * context.stage.epochs)
    if steps <= state.max_steps:
        return True
    log, epochs = context.reporter.info, f"{context.stage.epochs:g} epochs"
    if steps_per_epoch != math.ceil(len(make_batches(context, dataset, size)) / size.gradient_accumulation):
        log(f"{context.title}: starts again: with {epochs}, each has another number of batches")
        return False
    share = max(0.0, 1 - state.global_step / steps)
    log(
        f"{context.title}: continued after epoch {state.epoch:.4g}; the learning rate follows the schedule of {epochs} "
        f"from there, which begins with {share:.0%} of the highest"
    )
    state.max_steps = steps
    return True


def _make_trainer(
    context: StageContext,
    dataset: Dataset,
    size: BatchSize,
    measure: Callable[[], float],
    callbacks: Sequence[TrainerCallback],
    spent: float,
) -> StageTrainer:
    set_seed(context.seed)
    batches = make_batches(context, dataset, size)
    *others, stopping, interrupt = callbacks
    tensorboard = _make_tensorboard(context.logs_dir) if distributed.get_rank() == 0 else []
    trainer = StageTrainer(
        model=context.staged,
        args=make_training_arguments(context, size.gradient_accumulation, len(batches)),
        dataset=dataset,
        data_collator=BatchCollator(context.model),
        batches=batches,
        measure=measure,
        before=spent,
        callbacks=[DigestWriter(), *others, *tensorboard, stopping, interrupt],
    )
    trainer.remove_callback(PrinterCallback)  # its lines would break the progress bar
    return trainer


def uses_bfloat16(precision: str, device: str) -> bool:
    """Return whether training computes in bfloat16 (weights and their updates stay float32).

    "auto" selects it on GPUs and processors that support it; others emulate it, slower than float32.
    """
    if precision != "auto":
        return precision == "bfloat16"
    if device == "cuda":
        return torch.cuda.is_bf16_supported()
    capabilities = torch.cpu.get_capabilities() if device == "cpu" else {}
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def make_training_arguments(context: StageContext, accumulation: int, num_batches: int) -> TrainingArguments:
    """Return Trainer's arguments for a stage of `num_batches` batches an epoch."""
    stage, device = context.stage, context.model.device.type
    steps = math.ceil(math.ceil(num_batches / accumulation) * stage.epochs)
    arguments = TrainingArguments(
        output_dir=str(context.stage_dir),
        num_train_epochs=stage.epochs,
        learning_rate=stage.lr,
        warmup_steps=round(stage.warmup * steps),
        lr_scheduler_type="linear",
        weight_decay=stage.weight_decay,
        max_grad_norm=stage.max_grad_norm,
        gradient_accumulation_steps=accumulation,
        bf16=uses_bfloat16(context.recipe.precision, device),
        use_cpu=device == "cpu",
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=2,
        load_best_model_at_end=False,  # `train_stage` does, since the run directory may have been moved
        # Trainer records the epoch with the lowest dev error rate as `best_global_step`
        metric_for_best_model="eval_error",
        greater_is_better=False,
        logging_steps=10,
        logging_first_step=True,
        report_to=[],
        disable_tqdm=True,
        log_level="error",
        remove_unused_columns=False,
        label_names=["labels"],
        seed=context.seed + _RANK_SEED_STEP * distributed.get_rank(),  # dropout and masks differ between processes
    )
    assert arguments.device is not None  # reading it counts the GPUs
    arguments._n_gpu = min(1, arguments.n_gpu)  # one GPU per process: more are torchrun's, not DataParallel's
    return arguments


def _make_tensorboard(logs_dir: Path) -> list[TrainerCallback]:
    """Return the writer of training curves, if the package of the extra `tensorboard` is installed."""
    if find_spec("tensorboard") is None:
        return []
    from torch.utils.tensorboard import SummaryWriter
    from transformers.integrations import TensorBoardCallback

    return [TensorBoardCallback(SummaryWriter(str(logs_dir)))]
