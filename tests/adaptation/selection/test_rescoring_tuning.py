"""The rescoring weights with the fewest word errors on dev are selected."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from speechxfer.adaptation.selection import rescoring_tuning
from speechxfer.config.recipe import DecodingConfig, ScoringConfig
from speechxfer.decoding.rescoring import DecoderHypothesis
from speechxfer.report.progress import Reporter


def make_evaluator(text: str, reporter: Reporter) -> SimpleNamespace:
    """Make an evaluator whose dev split is one utterance and whose recipe asks for beam search."""
    recipe = SimpleNamespace(decoding=DecodingConfig(kind="beam", beam_size=3), scoring=ScoringConfig())
    splits = SimpleNamespace(dev={"text": [text]}, reference="text", unit="word")
    return SimpleNamespace(recipe=recipe, splits=splits, reporter=reporter)


def test_a_small_ctc_weight_can_be_selected(monkeypatch: pytest.MonkeyPatch, quiet: Reporter) -> None:
    """The right text has the best score only where the CTC weight is between 0.05 and 0.15."""
    hypotheses = [
        DecoderHypothesis("one", ("one",), -10.0, -50.0),
        DecoderHypothesis("two", ("two",), -11.0, -31.0),
        DecoderHypothesis("six", ("six",), -14.0, -14.0),
    ]
    monkeypatch.setattr(rescoring_tuning, "predict_all", lambda *_, **__: [hypotheses])
    model = SimpleNamespace(settings=SimpleNamespace(beam_size=1, rescoring=None))
    selected = rescoring_tuning.tune_rescoring(model, make_evaluator("two", quiet), greedy=1.0)
    assert selected == {"ctc": 0.1, "word": 0.0, "risk": 0.0, "dev": 0.0, "dev_decoder_only": 1.0}
    assert model.settings.rescoring == {"ctc": 0.1, "word": 0.0, "risk": 0.0}
