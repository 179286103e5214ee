"""Setup of a run: data splits, the model with its new head, and the run directory, checked before training starts."""

from __future__ import annotations

from dataclasses import dataclass

from speechxfer import distributed
from speechxfer.adaptation.data.splits import DataSplits, prepare_splits
from speechxfer.adaptation.data.timestamps import describe_targets
from speechxfer.adaptation.learning_curve import Subset, make_subsets
from speechxfer.adaptation.run_dir import RunDir
from speechxfer.adaptation.training.batching import TrainingDataset
from speechxfer.adaptation.training.joining import UtteranceJoiner
from speechxfer.adaptation.training.staged_module import StagedModule
from speechxfer.adaptation.training.stages import validate_stages
from speechxfer.config import Recipe
from speechxfer.data.augment import WaveformAugmenter
from speechxfer.encoders.checkpoints import hash_model_dir, resolve_transformers_dir
from speechxfer.errors import UserError
from speechxfer.models import DECODER_KINDS, SpeechModel, build_trainable, load
from speechxfer.report.progress import Reporter


@dataclass
class TrainingSetup:
    """What training needs.

    Attributes:
        targets: target ids of each training utterance.
        dataset: the training split with augmentation.
        subsets: parts of the training split for a learning curve, the whole of it last; empty if none is wanted.
    """

    splits: DataSplits
    staged: StagedModule
    targets: list[list[int]]
    dataset: TrainingDataset
    subsets: list[Subset]

    @property
    def model(self) -> SpeechModel:
        return self.staged.model


def prepare_training(recipe: Recipe, reporter: Reporter, *, learning_curve: bool) -> TrainingSetup:
    """Read the data, build the model and check every stage.

    Raises:
        UserError: names every row, text or value that cannot be used.
    """
    splits = prepare_splits(recipe, reporter)
    subsets = make_subsets(splits.train, recipe.data.group, recipe.seed) if learning_curve else []
    model = build_trainable(recipe, splits.texts)
    if remark := describe_targets(splits.texts, model):
        reporter.info(remark)
    targets = splits.encode_targets(model)
    staged = StagedModule(model, recipe.augment, recipe.lora)
    augmenter = WaveformAugmenter(recipe.augment, max_samples=model.encoder.max_samples)
    dataset = TrainingDataset(splits.train, targets, augmenter, recipe.seed, joiner=UtteranceJoiner(model))
    validate_stages(staged, dataset, recipe)
    return TrainingSetup(splits, staged, targets, dataset, subsets)


def load_zero_shot_model(recipe: Recipe, reporter: Reporter | None = None) -> SpeechModel | None:
    """Load the pretrained model as its authors run it; `None`, with a log line, if it cannot do the recipe's task."""
    try:
        # a CTranslate2 folder is converted to torch, since its weights are trained and interpolated
        source = resolve_transformers_dir(recipe.encoder.name)
        model = load(source, device=recipe.device, language=recipe.encoder.language)
    except UserError as error:
        if recipe.head.kind in DECODER_KINDS:
            raise
        reason = error.problem
    else:
        if (model.kind == "classify") == (recipe.head.kind == "classify"):
            if reporter:
                for warning in model.warnings:
                    reporter.info(f"warning: {recipe.encoder.name}: {warning}")
            return model
        reason = f"it is a model of kind {model.kind}"
    if reporter:
        reporter.info(f"no zero-shot baseline: {recipe.encoder.name} cannot do this task ({reason})")
    return None


def open_run_dir(run_dir: RunDir, recipe: Recipe, splits: DataSplits, reporter: Reporter, *, resume: bool) -> str:
    """Create or resume the run directory, on the main process; returns the fingerprint of the pretrained checkpoint."""
    if resume and not run_dir.is_started:
        reporter.info(f"{run_dir.path} holds no run to resume: starting a new one")
    distributed.wait_for_all()  # until each process has seen the directory as it was
    checkpoint = hash_model_dir(resolve_transformers_dir(recipe.encoder.name))
    sources = {"encoder.name": checkpoint, **{f"data.{name}": of for name, of in splits.fingerprints.items()}}
    distributed.run_on_main(lambda: run_dir.open(recipe, sources, resume=resume))
    return checkpoint
