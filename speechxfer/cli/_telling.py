"""What `adapt` and `demo` print when a run has ended: the table, some sentences, where things lie."""

from __future__ import annotations

from typing import TYPE_CHECKING

from speechxfer.report.progress import Narrator
from speechxfer.report.run_facts import outcome
from speechxfer.report.terminal import before_after_table, curve_table, marked_examples, score_table

if TYPE_CHECKING:  # the run's module imports torch
    from speechxfer.adaptation.run import Run

EXAMPLES = 4


def tell(run: Run, narrator: Narrator, *, by: str | None = None) -> None:
    """The WER table before and after, a few utterances with their errors marked, warnings, what was kept, and where."""
    narrator.say()
    if run.before is None:
        narrator.say(score_table(run.after))
    else:
        narrator.say(before_after_table(run.before, run.after, by=by))
        narrator.say(marked_examples(run.before, run.after, EXAMPLES))
    for warning in run.report["warnings"]:
        narrator.say(f"warning: {warning}")
    for name, words in outcome(run.report).items():
        narrator.say(f"{name}: {words}")
    narrator.say(f"model   {run.folder.model}")
    narrator.say(f"report  {run.folder.html}")
    narrator.say(
        f"weights of its epochs: {run.folder.checkpoint_bytes() / 1e6:,.0f} MB in {run.folder.checkpoints}; "
        "the model needs none of them"
    )


def tell_next(run: Run, narrator: Narrator) -> None:
    """The learning curve, where there is one, and what to do next, each piece with its evidence."""
    if curve := run.report.get("learning_curve"):
        narrator.say()
        narrator.say(curve_table(curve, run.report["measure"]))
    for advice in run.report.get("advice", ()):  # runs of earlier versions have none
        narrator.say(f"next    {advice['what']}\n        ({advice['evidence']})")
