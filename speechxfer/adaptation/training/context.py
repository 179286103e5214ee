"""The context of one training stage, shared by caching, training and evaluation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from speechxfer.adaptation.run_dir import RunDir
from speechxfer.adaptation.training.batching import TrainingDataset
from speechxfer.adaptation.training.joining import NUM_TIMESTAMPS, JoinPlan
from speechxfer.adaptation.training.staged_module import StagedModule
from speechxfer.config import Recipe
from speechxfer.config.recipe import StageConfig
from speechxfer.data.collection import LANGUAGE_COLUMN, WEIGHT_COLUMN
from speechxfer.models import SpeechModel
from speechxfer.report.progress import Reporter


@dataclass(frozen=True)
class StageContext:
    """A stage of a recipe and what it is trained with.

    Attributes:
        number: of the stage, from 0.
        durations: length of each utterance in seconds, with the silence around it.
        run_dir: where checkpoints and logs are written; not needed for estimates.
    """

    number: int
    stage: StageConfig
    staged: StagedModule
    dataset: TrainingDataset
    durations: Sequence[float]
    recipe: Recipe
    reporter: Reporter
    run_dir: RunDir | None = None

    @property
    def model(self) -> SpeechModel:
        return self.staged.model

    @property
    def title(self) -> str:
        return f"stage {self.number} ({', '.join(self.stage.train)})"

    @property
    def seed(self) -> int:
        return self.recipe.seed + self.number

    @property
    def weights(self) -> list[float] | None:
        """Average number of times that each utterance is used in an epoch; `None`: once."""
        utterances = self.dataset.utterances
        return list(utterances[WEIGHT_COLUMN]) if WEIGHT_COLUMN in utterances.column_names else None

    @property
    def join_plan(self) -> JoinPlan | None:
        """How utterances are joined to longer ones (`augment.join`); `None`: not at all."""
        augment, dataset = self.recipe.augment, self.dataset
        if not augment.join:
            return None
        utterances = dataset.utterances
        columns = [name for name in (self.recipe.data.group, LANGUAGE_COLUMN) if name in utterances.column_names]
        limit = self.model.encoder.max_seconds
        return JoinPlan(
            share=augment.join,
            max_seconds=min(augment.join_seconds, math.inf if limit is None else limit),
            groups=list(zip(*(utterances[name] for name in columns), strict=True)) or [""] * len(utterances),
            num_targets=[len(target) + NUM_TIMESTAMPS for target in dataset.targets],
            max_targets=getattr(self.model, "max_text_tokens", None),
            stretch=1 / min([1.0, *augment.speed]),
        )

    @property
    def stage_dir(self) -> Path:
        """Directory of the stage's checkpoints."""
        assert self.run_dir is not None
        return self.run_dir.checkpoints / f"stage-{self.number}"

    @property
    def logs_dir(self) -> Path:
        assert self.run_dir is not None
        return self.run_dir.logs / f"stage-{self.number}"
