"""How every candidate of a run is measured: on the dev part to choose between them, on the test part to report."""

from __future__ import annotations

from dataclasses import dataclass, field

from datasets import Dataset

from speechxfer.adaptation.baseline import answered_once
from speechxfer.adaptation.evaluation import Evaluation, evaluate_part
from speechxfer.adaptation.material import Material
from speechxfer.config import Recipe
from speechxfer.models import SpeechModel
from speechxfer.report.progress import Narrator
from speechxfer.scoring import Score


@dataclass
class Judge:
    """One recipe's parts, scoring and decoding, the same for every model that is measured.

    Several processes measure together, and each gets the whole result: all of them call the same, in the same order.

    untouched: the checkpoint as its authors run it, whose answers are kept from run to run. scores: by title, what
    `dev` gave the rates of. read_seconds: what the answers that were read took to make.
    """

    recipe: Recipe
    material: Material
    narrator: Narrator
    untouched: SpeechModel | None = None
    scores: dict[str, Score] = field(default_factory=dict, repr=False)
    read_seconds: float = 0.0

    def dev(self, model: SpeechModel, title: str) -> float:
        """The dev part's error rate, greedy, which is what every candidate is compared by."""
        score = self.greedy(model, self.material.dev, title)
        assert score.wer is not None  # `gather` refuses a dev part without words
        self.scores[title] = score
        return score.wer

    def dev_by_beam(self, model: SpeechModel, title: str) -> float:
        """The dev part's error rate, decoded as the model's settings say."""
        rate = self._evaluate(model, self.material.dev, title).score.wer
        assert rate is not None
        return rate

    def greedy(self, model: SpeechModel, part: Dataset, title: str) -> Score:
        """The greedy answers' score on any part."""
        beams, model.settings.beams = model.settings.beams, 1
        try:
            return self._evaluate(model, part, title).score
        finally:
            model.settings.beams = beams

    def test(self, model: SpeechModel, title: str) -> Evaluation:
        """The test part, decoded as the model's settings say."""
        return self._evaluate(model, self.material.test, title)

    def other(self, model: SpeechModel, title: str) -> Evaluation | None:
        """The other speech, where the recipe names any."""
        return None if self.material.other is None else self._evaluate(model, self.material.other, title)

    def _evaluate(self, model: SpeechModel, part: Dataset, title: str) -> Evaluation:
        if model is not self.untouched:
            return self._heard(model, part, title)
        found, read = answered_once(
            model, part, self.recipe, self.material.reference, lambda: self._heard(model, part, title)
        )
        if read:
            self.narrator.say(f"{title}: answered before")
            self.read_seconds += found.speed["wall_seconds"]
        return found

    def _heard(self, model: SpeechModel, part: Dataset, title: str) -> Evaluation:
        with self.narrator.bar(title) as progress:
            return evaluate_part(
                model,
                part,
                self.recipe.scoring,
                reference=self.material.reference,
                batch_seconds=self.recipe.decoding.batch_seconds,
                progress=progress,
                shared=True,
            )
