"""Short sentences about a run, from its report: printed at the end of a run and shown in the HTML report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from speechxfer.report.formatting import format_percent
from speechxfer.report.run_report import ZERO_SHOT, CandidateEntry, RunReport
from speechxfer.scoring.tokens import LABEL_UNIT
from speechxfer.scoring.units import METRIC_NAMES, convert_error_rate, is_accuracy

NUM_RUNNERS_UP = 3  # candidates listed after the selected one


def summarize_run(report: RunReport) -> dict[str, str]:
    """Describe what was trained and what was selected, as label to text; includes `summarize_selection`."""
    recipe, speed = report.provenance["recipe"], report.speed
    stages = {f"stage {number}": _summarize_stage(stage, report.metric) for number, stage in enumerate(report.stages)}
    return {
        "encoder": recipe["encoder"]["name"],
        "head": recipe["head"]["kind"],
        **stages,
        **summarize_selection(report),
        **({} if is_accuracy(report.metric) else {"normaliser": report.normaliser}),
        "training": f"{speed['training_seconds']:,.0f} s on {speed['device']}",
        "seed": str(recipe["seed"]),
    }


def summarize_selection(report: RunReport) -> dict[str, str]:
    """Describe the selected candidate, the runners-up, and the padded and retention scores where measured."""
    texts = {"selected": report.selected}
    candidates = {one.name: one for one in report.candidates}
    if selected := candidates.pop(report.selected, None):
        texts["selected"] += f" (dev {_format_dev(selected, report.metric)})"
    others = sorted(candidates.values(), key=lambda one: one.dev)
    if others:
        texts["runners-up"] = "; ".join(
            f"{one.name} {_format_dev(one, report.metric)}" for one in others[:NUM_RUNNERS_UP]
        )
    if padded := report.after_padded_to_30s:
        bounds = padded.get("interval")
        interval = f" ({format_percent(bounds[0])} to {format_percent(bounds[1])})" if bounds else ""
        texts["padded to 30 s"] = (
            f"{name_rate(report)} {_format_rate(padded['wer'], report.metric)}{interval}, as in plain transformers"
        )
    if chosen := report.test_metric:
        sides = (f"{_format_rate(rate, report.metric)} {side}" for side, rate in chosen.items())
        texts["scoring.metric"] = f"{report.metric} on test {', '.join(sides)}"
    if retention := report.retention:
        metric = name_rate(report)
        known = [side for side in ("before", "after") if side in retention]
        sides = (f"{_format_rate(retention[side]['wer'], metric)} {side}" for side in known)
        texts["retention"] = f"{metric} {', '.join(sides)}"
    return texts


def describe_outcome(report: RunReport) -> str:
    """Return a sentence: which candidate was selected, among how many, and its figures."""
    candidates = {one.name: one for one in report.candidates}
    zero_shot = candidates.get(ZERO_SHOT)

    def show(candidate: CandidateEntry) -> str:
        return _format_rate(_get_best_dev(candidate), report.metric)

    trained = sorted((one for one in report.candidates if one.name != ZERO_SHOT), key=_get_best_dev)
    dev = f"{report.metric} on dev"
    if report.selected == ZERO_SHOT and zero_shot is not None:
        best = f"; the best, '{trained[0].name}', has {show(trained[0])}" if trained else ""
        return f"No trained model is better than the pretrained one, which is kept: {dev} {show(zero_shot)}{best}."
    extreme = "highest" if is_accuracy(report.metric) else "lowest"
    number = f"the {extreme} of {len(trained)} trained candidates" if len(trained) > 1 else "the only trained candidate"
    before = f", {show(zero_shot)} before adaptation" if zero_shot is not None else ""
    selected = candidates.get(report.selected)
    rate = show(selected) if selected is not None else "unknown"
    return f"The model kept is '{report.selected}': {dev} {rate}, {number}{before}."


def name_rate(report: RunReport) -> str:
    """Return the name of the `wer` of the report's scores, which is not what models are selected by in every run."""
    is_label = is_accuracy(report.metric)
    return METRIC_NAMES[LABEL_UNIT if is_label else report.provenance["recipe"]["scoring"]["unit"]]


def _get_best_dev(candidate: CandidateEntry) -> float:
    """Return the error rate that counts in model selection: of beam search where it was evaluated."""
    return candidate.dev if candidate.dev_beam is None else min(candidate.dev, candidate.dev_beam)


def _summarize_stage(stage: Mapping[str, Any], metric: str) -> str:
    trained = f"{stage['trained_parameters']:,} parameters" if "trained_parameters" in stage else "parameters unknown"
    cached = ", from cached features" if stage.get("cached") else ""
    return (
        f"{', '.join(stage['train'])}: {trained}, {len(stage['epochs'])} epochs in {stage['seconds']:,.0f} s{cached}, "
        f"dev {_format_rate(stage['dev'], metric)}"
    )


def _format_dev(candidate: CandidateEntry, metric: str) -> str:
    with_beam = "" if candidate.dev_beam is None else f", beam search {_format_rate(candidate.dev_beam, metric)}"
    return _format_rate(candidate.dev, metric) + with_beam


def _format_rate(rate: float | None, metric: str) -> str:
    """Format an error rate as the metric is shown."""
    return "unknown" if rate is None else format_percent(convert_error_rate(rate, metric))
