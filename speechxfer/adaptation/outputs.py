"""Outputs of a run: the model, the predictions, `report.json` and the HTML report."""

from __future__ import annotations

from typing import Any

from speechxfer.adaptation.diagnostics import make_advice
from speechxfer.adaptation.predictions import (
    find_audio_links,
    make_forgetting_warnings,
    make_insertion_warnings,
    summarize_score,
    write_predictions,
)
from speechxfer.adaptation.provenance import get_peak_memory_mb, make_provenance
from speechxfer.adaptation.run_dir import RunDir, translate_os_errors
from speechxfer.adaptation.selection.evaluator import Evaluator
from speechxfer.adaptation.selection.final_model import ZERO_SHOT_DEV, Baseline, FinalModel
from speechxfer.models import SpeechModel
from speechxfer.report.html import ReportAudio, write_html_report
from speechxfer.report.run_report import CandidateEntry, RunReport
from speechxfer.report.run_summary import summarize_run
from speechxfer.scoring.metrics import AUTO_METRIC
from speechxfer.scoring.tokens import LABEL_UNIT


def make_report(
    final: FinalModel,
    baseline: Baseline,
    evaluator: Evaluator,
    training: dict[str, Any],
    *,
    total_seconds: float,
    checkpoint: str,
) -> RunReport:
    """Assemble the report of a run.

    Args:
        training: its `stages` and `learning_curve` entries.
        total_seconds: wall time of the run, as if nothing had been cached or resumed.
        checkpoint: fingerprint of the pretrained checkpoint.
    """
    recipe, splits, test = evaluator.recipe, evaluator.splits, final.test.score
    report = RunReport(
        before=baseline.test.score.to_json() if baseline.test else None,
        after=test.to_json(),
        selected=final.selected.name,
        candidates=[CandidateEntry(**vars(candidate)) for candidate in final.candidates],
        stages=training["stages"],
        rescoring=final.tuning.rescoring,
        search=final.tuning.search,
        rejection=final.tuning.rejection if final.is_adapted else None,
        learning_curve=training["learning_curve"] or None,
        dev=summarize_score(final.dev, evaluator.dev_scores.get(ZERO_SHOT_DEV)),
        train_probe=summarize_score(final.train_probe),
        metric=splits.metric.label,
        test_metric=_measure_test(final, baseline, evaluator),
        normaliser="none" if recipe.head.kind == "classify" else recipe.scoring.normaliser,
        splits=splits.split_info,
        warnings=_make_warnings(final, baseline, evaluator),
        retention={side: found.score.to_json() for side, found in final.retention.items()} or None,
        rejected=None if final.is_adapted else final.adapted_test.score.to_json(),
        after_padded_to_30s=final.padded_test.score.to_json() if final.padded_test else None,
        speed={
            **final.test.speed,
            "training_seconds": round(sum(stage["seconds"] for stage in training["stages"]), 1),
            "total_seconds": round(total_seconds, 1),
            "peak_memory_mb": get_peak_memory_mb(final.model.device),
        },
        provenance=make_provenance(
            {
                "recipe": recipe.model_dump(mode="json"),
                "seed": recipe.seed,
                "checkpoint": checkpoint,
                "data": splits.fingerprints,
            }
        ),
    )
    report.advice = make_advice(report)
    return report


def _measure_test(final: FinalModel, baseline: Baseline, evaluator: Evaluator) -> dict[str, float | None] | None:
    """Return the error rate by `scoring.metric` of the test split before and after, if the recipe sets the metric."""
    if evaluator.recipe.scoring.metric == AUTO_METRIC:
        return None
    compute = evaluator.splits.metric.compute_error
    before = {"before": compute(baseline.test.score)} if baseline.test else {}
    return {**before, "after": compute(final.test.score)}


def write_outputs(
    run_dir: RunDir, report: RunReport, final: FinalModel, baseline: Baseline, evaluator: Evaluator, title: str
) -> None:
    """Write the predictions, the HTML report and, last, `report.json`, which marks the run as finished."""
    splits, test = evaluator.splits, final.test
    with translate_os_errors(run_dir.path):
        labels = splits.unit == LABEL_UNIT
        write_predictions(run_dir.after, splits.test, test.hypotheses, reference=splits.reference, labels=labels)
        write_html_report(
            run_dir.html,
            title,
            {**({"before": baseline.test.score} if baseline.test else {}), "after": test.score},
            facts=summarize_run(report),
            warnings=report.warnings,
            advice=[vars(advice) for advice in report.advice],
            curve=[{**point, "metric": report.metric} for point in report.learning_curve or []],
            audio=ReportAudio(find_audio_links(splits.test)),
        )
    run_dir.write_report(report)


def save_models(run_dir: RunDir, final: FinalModel, adapted: SpeechModel) -> None:
    """Save the selected model, and an adapted one that was not selected under `checkpoints/rejected`."""
    run_dir.save_model(final.model)
    if not final.is_adapted:
        with translate_os_errors(run_dir.path):
            adapted.save(run_dir.checkpoints / "rejected")


def _make_warnings(final: FinalModel, baseline: Baseline, evaluator: Evaluator) -> list[str]:
    name = evaluator.recipe.encoder.name
    warnings = [
        *evaluator.splits.warnings,
        *(evaluator.zero_shot.warnings if evaluator.zero_shot else []),
        *(make_insertion_warnings(f"the zero-shot {name}", baseline.test.score) if baseline.test else []),
        *final.test.score.warnings,
        *make_forgetting_warnings(final.retention.get("before"), final.retention.get("after")),
    ]
    if not final.is_adapted:
        warnings.insert(0, f"no candidate was better than the zero-shot {name} on dev: model/ is the pretrained model")
    return warnings
