"""Choice of a classifier's rejection threshold on dev: the probability below which audio is unknown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from speechxfer.adaptation.selection.evaluator import Evaluator
from speechxfer.models import predict_all
from speechxfer.models.classifier import Classifier
from speechxfer.scoring.labels import UNKNOWN_LABEL

TARGET_REJECTED = 0.98  # of dev's utterances with `UNKNOWN_LABEL`
DEFAULT_MAX_REJECTED = 0.01  # where `UNKNOWN_LABEL` is a label of the training data


def tune_rejection(model: Classifier, evaluator: Evaluator) -> dict[str, Any] | None:
    """Set `model.settings.reject_below` on dev, whose speakers and groups are in neither training nor test.

    At most `head.max_rejected` of dev's utterances with other labels than `UNKNOWN_LABEL` are rejected, see
    `choose_threshold`.

    Returns:
        For the report: the threshold, and on dev the shares and numbers of utterances that it rejects. `None` if
        there is no threshold: no share is set and `UNKNOWN_LABEL` is no class.
    """
    share = evaluator.recipe.head.max_rejected
    if share is None:
        share = DEFAULT_MAX_REJECTED if UNKNOWN_LABEL in model.labels else 0.0
    model.settings.reject_below = None
    if not share:
        return None
    dev, reporter = evaluator.splits.dev, evaluator.reporter
    with reporter.progress("rejection threshold, dev") as progress:
        predictions = predict_all(
            model,
            dev,
            fn=model.predict_labels,
            batch_seconds=evaluator.recipe.decoding.batch_seconds,
            progress=progress,
            shared=True,
        )
    scores = np.array([prediction.score for prediction in predictions])
    is_unknown = np.array([label == UNKNOWN_LABEL for label in dev[evaluator.splits.reference]])
    known, unknown = scores[~is_unknown], scores[is_unknown]
    if not len(known):
        return None
    threshold = choose_threshold(known, unknown, share)
    model.settings.reject_below = threshold
    found: dict[str, Any] = {"reject_below": threshold, "known_utterances": len(known)}
    found |= {"wrongly_rejected": float((known < threshold).mean()), "unknown_utterances": len(unknown)}
    found |= {"rejected": float((unknown < threshold).mean())} if len(unknown) else {}
    rejected = f", and {found['rejected']:.1%} of {len(unknown):,} unknown ones" if len(unknown) else ""
    reporter.info(
        f"labels with a probability below {threshold:.3f} are rejected as '{UNKNOWN_LABEL}': on dev "
        f"{found['wrongly_rejected']:.1%} of {len(known):,} utterances{rejected}"
    )
    return found


def choose_threshold(known: Sequence[float] | np.ndarray, unknown: Sequence[float] | np.ndarray, share: float) -> float:
    """Choose the threshold of a score below which at most `share` of `known` is.

    With scores of unknown audio it is the lowest one that rejects `TARGET_REJECTED` of them: new speakers have lower
    scores than those of dev. Where that would reject more of the known audio, and without unknown audio, it is the
    highest one that `share` permits. It is the mean of the scores next to it.
    """
    ordered, others = np.sort(np.asarray(known, dtype=float)), np.sort(np.asarray(unknown, dtype=float))
    highest = ordered[int(share * len(ordered))]  # rejects as many as permitted
    if len(others):
        last = others[math.ceil(TARGET_REJECTED * len(others)) - 1]  # to be rejected, so the threshold is above it
        if last < highest:
            above = [*ordered[ordered > last][:1], *others[others > last][:1]]
            return _round((last + min(above)) / 2, above=last)
    below = [*ordered[ordered < highest][-1:], *others[others < highest][-1:]]
    return _round((highest + max(below)) / 2, above=max(below)) if below else float(highest)


def _round(threshold: float, *, above: float) -> float:
    """Round a threshold to six digits, if it stays above the score that is to be rejected."""
    rounded = round(float(threshold), 6)
    return rounded if rounded > above else float(threshold)
