"""A run's `report.json` in short sentences: what the terminal prints and the HTML report states of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NUM_RUNNERS_UP = 3


def summarize_run(report: Mapping[str, Any]) -> dict[str, str]:
    """What was trained and what was kept, by name: see `summarize_selection` too, which this holds."""
    recipe, speed = report["provenance"]["recipe"], report["speed"]
    stages = {f"stage {number}": _stage(stage) for number, stage in enumerate(report["stages"])}
    return {
        "encoder": recipe["encoder"]["name"],
        "head": recipe["head"]["kind"],
        **stages,
        **summarize_selection(report),
        "normaliser": report["normaliser"],
        "training": f"{speed['training_seconds']:,.0f} s on {speed['device']}",
        "seed": str(recipe["seed"]),
    }


def summarize_selection(report: Mapping[str, Any]) -> dict[str, str]:
    """The candidate that dev chose and those behind it; the adapted model padded, and on other speech, if measured."""
    measure, found = report["measure"], {"kept": report["kept"]}
    rated = {one["name"]: one for one in report["candidates"]}
    if kept := rated.pop(report["kept"], None):
        found["kept"] += f" (dev {_dev(kept)})"
    others = sorted(rated.values(), key=lambda one: one["dev"])
    if others:
        found["behind it"] = "; ".join(f"{one['name']} {_dev(one)}" for one in others[:NUM_RUNNERS_UP])
    if padded := report.get("after_padded_to_30s"):
        low_high = padded.get("interval")
        between = f" ({low_high[0]:.1%} to {low_high[1]:.1%})" if low_high else ""
        found["padded to 30 s"] = f"{measure} {_rate(padded['wer'])}{between}, as plain transformers will run it"
    if forgetting := report.get("forgetting"):
        sides = (f"{_rate(forgetting[side]['wer'])} {side}" for side in ("before", "after") if side in forgetting)
        found["other speech"] = f"{measure} {', '.join(sides)}"
    return found


def _stage(stage: Mapping[str, Any]) -> str:
    trained = f"{stage['trained_parameters']:,} parameters" if "trained_parameters" in stage else "parameters unknown"
    cached = ", from kept frames" if stage.get("cached") else ""
    return (
        f"{', '.join(stage['train'])}: {trained}, {len(stage['epochs'])} epochs in {stage['seconds']:,.0f} s{cached}, "
        f"dev {_rate(stage['dev'])}"
    )


def _dev(candidate: Mapping[str, Any]) -> str:
    by_beam = candidate.get("dev_beam")
    return _rate(candidate["dev"]) + ("" if by_beam is None else f", by beam {_rate(by_beam)}")


def _rate(rate: float | None) -> str:
    return "unknown" if rate is None else f"{rate:.1%}"
