"""How every candidate of a run is measured: on the dev part to choose between them, on the test part to report."""

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


@dataclass
class Evaluator:
    """One recipe's parts, scoring and decoding, the same for every model that is measured.

    Several processes measure together, and each gets the whole result: all of them call the same, in the same order.

    untouched: the checkpoint as its authors run it, whose answers are kept from run to run. scores: by title, what
    `dev` gave the rates of. cached_seconds: what the answers that were read took to make.
    """

    recipe: Recipe
    splits: DataSplits
    reporter: Reporter
    zero_shot: SpeechModel | None = None
    dev_scores: dict[str, Score] = field(default_factory=dict, repr=False)
    cached_seconds: float = 0.0

    def evaluate_dev(self, model: SpeechModel, title: str) -> float:
        """The dev part's error rate, greedy, which is what every candidate is compared by."""
        score = self.score_greedy(model, self.splits.dev, title)
        assert score.wer is not None  # `gather` refuses a dev part without words
        self.dev_scores[title] = score
        return score.wer

    def evaluate_dev_with_beam(self, model: SpeechModel, title: str) -> float:
        """The dev part's error rate, decoded as the model's settings say."""
        rate = self._evaluate(model, self.splits.dev, title).score.wer
        assert rate is not None
        return rate

    def score_greedy(self, model: SpeechModel, part: Dataset, title: str) -> Score:
        """The greedy answers' score on any part."""
        beams, model.settings.beam_size = model.settings.beam_size, 1
        try:
            return self._evaluate(model, part, title).score
        finally:
            model.settings.beam_size = beams

    def evaluate_test(self, model: SpeechModel, title: str) -> Evaluation:
        """The test part, decoded as the model's settings say."""
        return self._evaluate(model, self.splits.test, title)

    def evaluate_retention(self, model: SpeechModel, title: str) -> Evaluation | None:
        """The other speech, where the recipe names any."""
        return None if self.splits.retention is None else self._evaluate(model, self.splits.retention, title)

    def _evaluate(self, model: SpeechModel, part: Dataset, title: str) -> Evaluation:
        if model is not self.zero_shot:
            return self._heard(model, part, title)
        found, read = get_cached_predictions(
            model, part, self.recipe, self.splits.reference, lambda: self._heard(model, part, title)
        )
        if read:
            self.reporter.info(f"{title}: answered before")
            self.cached_seconds += found.speed["wall_seconds"]
        return found

    def _heard(self, model: SpeechModel, part: Dataset, title: str) -> Evaluation:
        with self.reporter.progress(title) as progress:
            return evaluate_split(
                model,
                part,
                self.recipe.scoring,
                reference=self.splits.reference,
                batch_seconds=self.recipe.decoding.batch_seconds,
                progress=progress,
                shared=True,
            )
