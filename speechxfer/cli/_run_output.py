"""What `adapt` and `demo` print after a run: the WER table, warnings, the selected model and the output paths."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from speechxfer.report.label_tables import make_label_table
from speechxfer.report.progress import Reporter
from speechxfer.report.run_summary import describe_outcome, summarize_selection
from speechxfer.report.terminal import make_before_after_table, make_curve_table, make_score_table, mark_examples
from speechxfer.scoring.labels import LabelScore

if TYPE_CHECKING:  # the run's module imports torch
    from speechxfer.adaptation.run import Run

NUM_EXAMPLES = 4


def print_run(run: Run, reporter: Reporter, *, by: str | None = None) -> None:
    """Print the WER or accuracy before and after, examples, warnings, the selection and the output paths.

    Args:
        by: a column to break the WER down by.
    """
    reporter.info()
    if run.before is None:
        reporter.info(make_score_table(run.after))
    else:
        reporter.info(make_before_after_table(run.before, run.after, by=by))
        reporter.info(mark_examples(run.before, run.after, NUM_EXAMPLES))
    if isinstance(run.after, LabelScore):
        reporter.info()
        reporter.info(make_label_table(run.after, width=reporter.console.width))
    for warning in run.report.warnings:
        reporter.info(f"warning: {warning}")
    for name, summary in summarize_selection(run.report).items():
        if name != "selected":
            reporter.info(f"{name}: {summary}")
    if isinstance(run.after, LabelScore):
        reporter.info(f"accuracy on test: {run.after.summary()}")
    reporter.info(describe_outcome(run.report))
    reporter.info(f"model   {run.run_dir.model}")
    reporter.info(f"report  {run.run_dir.html}")
    megabytes = run.run_dir.count_checkpoint_bytes() / 1e6
    reporter.info(
        f"training checkpoints: {megabytes:,.0f} MB in {run.run_dir.checkpoints}; the model does not need them"
    )


def print_next_commands(run: Run, reporter: Reporter) -> None:
    """Print the commands that use and measure the model."""
    folder = shlex.quote(str(run.run_dir.path))
    reporter.info(f"use it      speechxfer transcribe {folder} AUDIO")
    baseline = shlex.quote(run.report.provenance["recipe"]["encoder"]["name"])
    reporter.info(f"measure it  speechxfer evaluate {folder} DATA --baseline {baseline}")


def print_advice(run: Run, reporter: Reporter) -> None:
    """Print the learning curve, if there is one, and the advice with its evidence."""
    if curve := run.report.learning_curve:
        reporter.info()
        reporter.info(make_curve_table(curve, run.report.metric))
    for advice in run.report.advice:
        reporter.info(f"next    {advice.action}\n        ({advice.evidence})")
