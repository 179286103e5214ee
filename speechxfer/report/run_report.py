"""The contents of `report.json`: one model that the run writes and every reader shares."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

ZERO_SHOT = "zero-shot"  # name of the candidate that is the pretrained model itself
Figures = dict[str, Any]  # a score as `Score.to_json` gives it


class CandidateEntry(BaseModel):
    """One candidate of model selection. dev, dev_beam: error rates on dev, greedy and by beam search (fractions)."""

    model_config = ConfigDict(extra="forbid")

    name: str
    dev: float
    dev_beam: float | None = None


class AdviceEntry(BaseModel):
    """What to do next, and the evidence for it."""

    model_config = ConfigDict(extra="forbid")

    action: str
    evidence: str


class RunReport(BaseModel):
    """Result of an adaptation run. Rates are fractions; an optional part that was not measured is left out of the JSON.

    Attributes:
        before: test score of the pretrained model (zero-shot); `None` if it cannot do the task.
        after: test score of the selected model.
        selected: name of the selected candidate, `ZERO_SHOT` if no trained one was better on dev.
        candidates: candidates of model selection, the pretrained model first.
        stages: entries of `train_stages`.
        rescoring: weights chosen for joint CTC/attention rescoring, with their dev error rates.
        search: beam search options chosen for a CTC head, with their dev error rates.
        rejection: a classifier's rejection threshold, and the shares of dev that it rejects.
        learning_curve: dev error rate by share of the training data.
        dev: score of the selected trained candidate on dev, greedy.
        train_probe: its score on a sample of the training split.
        metric: name of the figure that models are selected by (`scoring.metric`): an error rate ("WER", "CER", ...), or
            a classifier's "accuracy" or "balanced accuracy". The `dev` of candidates, stages and the learning curve are
            error rates in any case: 1 - the accuracy.
        test_metric: its error rate on test, before and after, if the recipe sets `scoring.metric`.
        normaliser: name of the text normaliser used for scoring.
        splits: by split, how it was made and its size.
        warnings: messages for the user.
        retention: scores on `data.retention` before and after.
        rejected: test score of the trained model if the pretrained one was selected.
        after_padded_to_30s: test score of an adapted Whisper with its input padded to 30 s.
        speed: seconds, memory and device.
        provenance: versions, recipe, seed, fingerprints.
        advice: what to do next.
    """

    model_config = ConfigDict(extra="forbid")

    before: Figures | None
    after: Figures
    selected: str
    candidates: list[CandidateEntry]
    stages: list[dict[str, Any]]
    rescoring: dict[str, Any] | None = None
    search: dict[str, Any] | None = None
    rejection: dict[str, Any] | None = None
    learning_curve: list[dict[str, Any]] | None = None
    dev: Figures = {}
    train_probe: Figures = {}
    metric: str
    test_metric: dict[str, float | None] | None = None
    normaliser: str
    splits: dict[str, dict[str, Any]]
    warnings: list[str] = []
    retention: dict[str, Figures] | None = None
    rejected: Figures | None = None
    after_padded_to_30s: Figures | None = None
    speed: dict[str, Any]
    provenance: dict[str, Any]
    advice: list[AdviceEntry] = []

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object; optional parts that were not measured are left out."""
        return {key: value for key, value in self.model_dump().items() if value is not None or key == "before"}

    @classmethod
    def read(cls, path: Path) -> RunReport:
        """Read a `report.json`.

        Raises:
            pydantic.ValidationError: if the file is not a run's report.
        """
        return cls.model_validate(json.loads(path.read_text(encoding="utf-8")))
