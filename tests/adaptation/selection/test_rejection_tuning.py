"""The rejection threshold: at most the given share of known audio below it, and as much unknown audio as possible."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechxfer.adaptation.run import adapt
from speechxfer.adaptation.selection.rejection_tuning import TARGET_REJECTED, choose_threshold
from speechxfer.models import load

SCORES = st.lists(st.floats(0, 1), min_size=1, max_size=50)


@given(SCORES, st.lists(st.floats(0, 1), max_size=50), st.floats(0, 0.5))
def test_at_most_the_share_is_rejected(known: list[float], unknown: list[float], share: float) -> None:
    threshold = choose_threshold(known, unknown, share)
    assert (np.array(known) < threshold).mean() <= share + 1e-9


@given(SCORES, st.lists(st.floats(0, 0.5), min_size=1, max_size=50))
def test_the_target_is_reached_where_it_may_be(known: list[float], unknown: list[float]) -> None:
    """Known audio with higher scores than all unknown audio is never rejected, and the unknown audio is."""
    threshold = choose_threshold([score / 4 + 0.75 for score in known], unknown, 0.01)
    assert (np.array(unknown) < threshold).mean() >= TARGET_REJECTED and threshold <= 0.75 + min(known) / 4


def test_with_and_without_unknown_audio() -> None:
    known = [0.5, 0.8, *np.linspace(0.9, 1, 98)]
    assert choose_threshold(known, [], 0.0) == 0.5
    assert choose_threshold(known, [], 0.01) == pytest.approx(0.65)  # between the one that may be rejected and the next
    assert choose_threshold(known, [0.1, 0.2, 0.3], 0.02) == pytest.approx(0.4)  # the lowest that rejects all three
    assert choose_threshold(known, [0.1, 0.2, 0.7], 0.02) == pytest.approx(0.75)
    assert choose_threshold(known, [0.1, 0.2, 0.7], 0.0) == pytest.approx(0.35)  # the highest that rejects no known one
    many = [*np.linspace(0, 0.3, 98), 0.7, 0.85]
    assert 0.3 < choose_threshold(known, many, 0.05) < 0.5  # 98 of 100 are enough


def test_a_run_stores_the_threshold_that_it_measures_with(make_small_recipe, quiet, tmp_path) -> None:
    """Predictions, report and saved model follow one threshold; without a share there is none."""
    overrides = ("head.max_rejected=0.5", "stages.0.epochs=1", "augment={}")
    run = adapt(make_small_recipe(*overrides), reporter=quiet)
    stated = run.report.rejection
    assert stated is not None and 0 <= stated["wrongly_rejected"] <= 0.5
    model = load(tmp_path / "run", device="cpu")
    assert model.settings.reject_below == stated["reject_below"]
    rejected = run.after.to_json().get("rejection", {}).get("wrongly_rejected", 0.0)
    assert rejected == sum(text == "unknown" for text in run.after.hypotheses) / len(run.after.hypotheses)
    plain = adapt(make_small_recipe("stages.0.epochs=1", "augment={}", "overwrite=true"), reporter=quiet)
    assert plain.report.rejection is None and load(tmp_path / "run", device="cpu").settings.reject_below is None
