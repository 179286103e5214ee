"""The evaluator: greedy on dev for selection, as the model's settings say on test, the zero-shot model once only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from speechxfer.adaptation.data.splits import prepare_splits
from speechxfer.adaptation.selection.evaluator import Evaluator
from speechxfer.models import load, predict_all
from speechxfer.scoring import ScoringOptions, score


@pytest.fixture
def evaluator(tiny_recipe: Any, quiet: Any, tiny_whisper: Path, tmp_path: Path, monkeypatch: Any) -> Evaluator:
    monkeypatch.setenv("SPEECHXFER_FRAMES", str(tmp_path / "frames"))
    recipe = tiny_recipe()
    return Evaluator(recipe, prepare_splits(recipe, quiet), quiet, load(tiny_whisper, device="cpu"))


def rate(evaluator: Evaluator, rows: Any, hypotheses: list[str]) -> float | None:
    options = ScoringOptions(normaliser=evaluator.recipe.scoring.normaliser)
    return score(list(rows[evaluator.splits.reference]), hypotheses, options=options).wer


def test_dev_is_greedy_and_test_as_the_settings_say(evaluator: Evaluator, tiny_whisper: Path) -> None:
    model, dev, test = load(tiny_whisper, device="cpu"), evaluator.splits.dev, evaluator.splits.test
    greedy = predict_all(model, dev)
    model.settings.beam_size = 3
    assert evaluator.evaluate_dev(model, "dev") == rate(evaluator, dev, greedy)
    assert model.settings.beam_size == 3
    assert evaluator.dev_scores["dev"].wer == rate(evaluator, dev, greedy)
    assert evaluator.evaluate_dev_with_beam(model, "beam") == rate(evaluator, dev, predict_all(model, dev))
    assert evaluator.evaluate_test(model, "test").hypotheses == predict_all(model, test)
    assert evaluator.evaluate_retention(model, "retention") is None


def test_the_zero_shot_model_predicts_once(evaluator: Evaluator, monkeypatch: Any) -> None:
    assert evaluator.zero_shot is not None
    first = evaluator.evaluate_test(evaluator.zero_shot, "test")
    assert evaluator.cached_seconds == 0.0
    monkeypatch.setattr(type(evaluator.zero_shot), "predict", lambda *_: pytest.fail("it predicted again"))
    again = evaluator.evaluate_test(evaluator.zero_shot, "test")
    assert again.hypotheses == first.hypotheses and again.score.counts == first.score.counts
    assert evaluator.cached_seconds == first.speed["wall_seconds"]
