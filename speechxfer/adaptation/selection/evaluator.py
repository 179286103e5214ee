"""Evaluation of a run's candidates: on dev for model selection, on test for the report."""

from __future__ import annotations

from dataclasses import dataclass, field

from datasets import Dataset

from speechxfer.adaptation.cache.prediction_cache import get_cached_predictions
from speechxfer.adaptation.data.splits import DataSplits
from speechxfer.adaptation.predictions import Evaluation, evaluate_split
from speechxfer.config import Recipe
from speechxfer.models import SpeechModel
from speechxfer.report.progress import Reporter
from speechxfer.scoring import Score
from speechxfer.scoring.metrics import compute_metric
from speechxfer.scoring.units import convert_error_rate


@dataclass
class Evaluator:
    """Evaluates every model of a run on the same splits with the same scoring and decoding.

    In a distributed run each process evaluates a share and gets the whole result, so all processes must make the same
    calls in the same order.

    Attributes:
        recipe: with the scoring unit of the splits.
        zero_shot: the pretrained model as its authors run it; its predictions are cached across runs.
        dev_scores: score by title of each `evaluate_dev` call.
        cached_seconds: the time that predictions read from the cache took when they were computed.
    """

    recipe: Recipe
    splits: DataSplits
    reporter: Reporter
    zero_shot: SpeechModel | None = None
    dev_scores: dict[str, Score] = field(default_factory=dict, repr=False)
    cached_seconds: float = 0.0

    def __post_init__(self) -> None:
        self.recipe = self.splits.resolve_scoring(self.recipe)

    def evaluate_dev(self, model: SpeechModel, title: str) -> float:
        """Return the dev error rate by `scoring.metric` with greedy decoding, the criterion of model selection."""
        score = self.score_greedy(model, self.splits.dev, title)
        self.dev_scores[title] = score
        return compute_metric(self.splits.metric, score)

    def show_dev(self, rate: float) -> str:
        """Format a dev error rate as the metric of these splits, with its name."""
        label = self.splits.metric.label
        return f"{label} {convert_error_rate(rate, label):.1%}"

    def evaluate_dev_with_beam(self, model: SpeechModel, title: str) -> float:
        """Return the dev error rate by `scoring.metric`, decoded according to the model's settings."""
        return compute_metric(self.splits.metric, self._evaluate(model, self.splits.dev, title).score)

    def score_greedy(self, model: SpeechModel, split: Dataset, title: str) -> Score:
        """Score greedy predictions on any split."""
        beam_size, model.settings.beam_size = model.settings.beam_size, 1
        try:
            return self._evaluate(model, split, title).score
        finally:
            model.settings.beam_size = beam_size

    def evaluate_test(self, model: SpeechModel, title: str) -> Evaluation:
        """Evaluate on the test split, decoded according to the model's settings."""
        return self._evaluate(model, self.splits.test, title)

    def evaluate_retention(self, model: SpeechModel, title: str) -> Evaluation | None:
        """Evaluate on `data.retention`, if the recipe names it."""
        return None if self.splits.retention is None else self._evaluate(model, self.splits.retention, title)

    def _evaluate(self, model: SpeechModel, split: Dataset, title: str) -> Evaluation:
        if model is not self.zero_shot:
            return self._predict_and_score(model, split, title)
        evaluation, is_cached = get_cached_predictions(
            model, split, self.recipe, self.splits.reference, lambda: self._predict_and_score(model, split, title)
        )
        if is_cached:
            self.reporter.info(f"{title}: predictions read from the cache")
            self.cached_seconds += evaluation.speed["wall_seconds"]
        return evaluation

    def _predict_and_score(self, model: SpeechModel, split: Dataset, title: str) -> Evaluation:
        with self.reporter.progress(title) as progress:
            return evaluate_split(
                model,
                split,
                self.recipe.scoring,
                reference=self.splits.reference,
                batch_seconds=self.recipe.decoding.batch_seconds,
                progress=progress,
                shared=True,
            )
