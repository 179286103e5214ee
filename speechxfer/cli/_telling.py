"""What `adapt` and `demo` print when a run has ended: the table, some sentences, where things lie."""

from __future__ import annotations

from typing import TYPE_CHECKING

from speechxfer.report.progress import Reporter
from speechxfer.report.run_summary import summarize_selection
from speechxfer.report.terminal import make_before_after_table, make_curve_table, make_score_table, mark_examples

if TYPE_CHECKING:  # the run's module imports torch
    from speechxfer.adaptation.run import Run

EXAMPLES = 4


def tell(run: Run, narrator: Reporter, *, by: str | None = None) -> None:
    """The WER table before and after, a few utterances with their errors marked, warnings, what was kept, and where."""
    narrator.info()
    if run.before is None:
        narrator.info(make_score_table(run.after))
    else:
        narrator.info(make_before_after_table(run.before, run.after, by=by))
        narrator.info(mark_examples(run.before, run.after, EXAMPLES))
    for warning in run.report["warnings"]:
        narrator.info(f"warning: {warning}")
    for name, words in summarize_selection(run.report).items():
        narrator.info(f"{name}: {words}")
    narrator.info(f"model   {run.run_dir.model}")
    narrator.info(f"report  {run.run_dir.html}")
    narrator.info(
        f"weights of its epochs: {run.run_dir.count_checkpoint_bytes() / 1e6:,.0f} MB in {run.run_dir.checkpoints}; "
        "the model needs none of them"
    )


def tell_next(run: Run, narrator: Reporter) -> None:
    """The learning curve, where there is one, and what to do next, each piece with its evidence."""
    if curve := run.report.get("learning_curve"):
        narrator.info()
        narrator.info(make_curve_table(curve, run.report["measure"]))
    for advice in run.report.get("advice", ()):  # runs of earlier versions have none
        narrator.info(f"next    {advice['what']}\n        ({advice['evidence']})")
