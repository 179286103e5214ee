"""The outputs of `speechxfer evaluate`: report.json, report.html, the predictions, and what is printed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speechxfer.cli._options import write_json
from speechxfer.cli._outputs import is_input, is_own_file
from speechxfer.errors import UserError

if TYPE_CHECKING:
    from speechxfer.cli._evaluate_run import EvaluationRun
    from speechxfer.models import SpeechModel
    from speechxfer.report.progress import Reporter

_NUM_EXAMPLES = 4
_OTHER_FOLDER = "name another folder with --output"


def prepare_output_dir(output: Path | None, inputs: Sequence[Path]) -> Path | None:
    """Create the output folder before the work.

    Raises:
        UserError: for a file, for a run folder, which has a report of its own, and if an input, or a file that is not
            of an earlier evaluation, would be overwritten.
    """
    from speechxfer.adaptation.run_dir import (
        AFTER_FILE,
        BEFORE_FILE,
        HTML_FILE,
        RECIPE_FILE,
        REPORT_FILE,
        translate_os_errors,
    )

    if output is None:
        return None
    where = f"--output {output}"
    if output.exists() and not output.is_dir():
        raise UserError("is a file", where=where, fix="name a folder")
    if (output / RECIPE_FILE).exists():
        raise UserError("is a run folder, which has its own report", where=where, fix="name another folder")
    present = [path for name in (REPORT_FILE, HTML_FILE, BEFORE_FILE, AFTER_FILE) if (path := output / name).exists()]
    for path in present:
        if is_input(path, inputs):
            raise UserError(f"would overwrite an input: {path}", where=where, fix="name another folder")
    if present and not is_own_file(output / REPORT_FILE):
        problem = f"holds {present[0].name}, which is not of an evaluation"
        raise UserError(problem, where=where, fix="name another folder")
    with translate_os_errors(output, fix=_OTHER_FOLDER):
        output.mkdir(parents=True, exist_ok=True)
    return output


def make_report(run: EvaluationRun) -> dict[str, Any]:
    """Return the content of report.json."""
    from speechxfer.scoring import compare_scores
    from speechxfer.scoring.units import METRIC_NAMES

    before, after = run.before, run.after
    return {
        **({"result": after.score.to_json()} if before is None else {}),
        **({} if before is None else {"before": before.score.to_json(), "after": after.score.to_json()}),
        "comparison": None if before is None else compare_scores(before.score, after.score).to_json(),
        "metric": METRIC_NAMES[after.score.options.unit],
        "normaliser": "none" if run.model.kind == "classify" else run.normaliser,
        "skipped": run.split.skipped,
        "warnings": _collect_warnings(run),
        "speed": after.speed,
        **({} if before is None else {"speed_before": before.speed}),
        "provenance": _make_provenance(run),
    }


def print_report(run: EvaluationRun, report: dict[str, Any], reporter: Reporter) -> None:
    """Print the score tables, examples, the words that go wrong, warnings, speed and the result."""
    from speechxfer.scoring import compare_scores

    if reporter.console.quiet:
        return
    _print_scores(run, reporter)
    provenance, before, after = report["provenance"], run.before, run.after
    for warning in report["warnings"]:
        reporter.info(f"warning: {warning}")
    speed, rate = after.speed, report["metric"]
    normaliser = "" if run.model.kind == "classify" else f", normaliser {report['normaliser']}"
    scored = f"{after.score.overall.counts.utterances:,} utterances{normaliser}"
    seconds = f"{speed['audio_seconds']:,.1f} s of audio in {speed['wall_seconds']:,.1f} s"
    reporter.info(f"scored  {scored}; {seconds} on {speed['device']}")
    model = f"{provenance['model']}{_format_decoding(provenance['options'])}"
    if before is not None:
        baseline = f"{provenance['baseline']}{_format_decoding(provenance['baseline_options'])}"
        reporter.info(f"baseline  {baseline}: {rate} {before.score.summary()}")
        reporter.info(f"model     {model}: {rate} {after.score.summary()}")
        reporter.info(f"change    {compare_scores(before.score, after.score).summary()}")
    else:
        reporter.info(f"model   {model}")
        prefix = "" if after.score.wer is None else f"{rate} "  # without a WER the summary says so itself
        reporter.info(f"{prefix}{after.score.summary()}")


def _print_scores(run: EvaluationRun, reporter: Reporter) -> None:
    """Print the tables, examples of changed utterances, and the errors of the model."""
    from speechxfer.report.error_lines import describe_errors, describe_rates
    from speechxfer.report.label_tables import make_label_table
    from speechxfer.report.terminal import make_score_table, make_systems_table, mark_examples, wrap_lines
    from speechxfer.scoring.labels import LabelScore

    width, analysed = reporter.console.width, run.analysed["model"]
    if run.before is None:
        reporter.info(make_score_table(analysed.score, width=width))
    else:
        scores = {name: one.score for name, one in run.analysed.items()}
        reporter.info(make_systems_table(scores, width=width))
        reporter.info(mark_examples(run.before.score, analysed.score, _NUM_EXAMPLES, ("baseline", "model")))
    if isinstance(analysed.score, LabelScore):
        reporter.info(make_label_table(analysed.score, width=width))
    lines = [*describe_rates(analysed.score), *describe_errors(analysed.score, analysed.errors)]
    reporter.info("errors of the model:")
    for line in wrap_lines(lines, reporter.console):
        reporter.info(line)


def write_report(run: EvaluationRun, report: dict[str, Any], folder: Path) -> None:
    """Write report.json, report.html, after.jsonl, and before.jsonl if there is a baseline."""
    from speechxfer.adaptation.predictions import find_audio_links, write_predictions
    from speechxfer.adaptation.run_dir import AFTER_FILE, BEFORE_FILE, HTML_FILE, REPORT_FILE, translate_os_errors
    from speechxfer.report.html import ReportAudio, write_html_report

    utterances, reference, before = run.split.utterances, run.split.reference, run.before
    labels = run.model.kind == "classify"
    facts = {"model": run.request.model, "data": run.request.data}
    if not labels:
        facts["normaliser"] = report["normaliser"]
    if run.request.baseline is not None:
        facts["baseline"] = run.request.baseline
    with translate_os_errors(folder, fix=_OTHER_FOLDER):
        write_predictions(folder / AFTER_FILE, utterances, run.after.hypotheses, reference=reference, labels=labels)
        (folder / BEFORE_FILE).unlink(missing_ok=True)
        if before is not None:
            write_predictions(folder / BEFORE_FILE, utterances, before.hypotheses, reference=reference, labels=labels)
        write_html_report(
            folder / HTML_FILE,
            f"{run.request.model} on {run.request.data}",
            run.analysed,
            facts=facts,
            warnings=report["warnings"],
            audio=ReportAudio(find_audio_links(utterances)),
        )
        write_json("evaluate", report, folder / REPORT_FILE)


def _collect_warnings(run: EvaluationRun) -> list[str]:
    from speechxfer.adaptation.predictions import make_insertion_warnings

    warnings = list(dict.fromkeys([*run.split.warnings, *run.after.score.warnings]))
    for name, evaluation in (("the baseline", run.before), (run.request.model, run.after)):
        if evaluation is not None:
            warnings += make_insertion_warnings(name, evaluation.score)
    return warnings


def _make_provenance(run: EvaluationRun) -> dict[str, Any]:
    from speechxfer.adaptation.provenance import make_provenance
    from speechxfer.encoders.checkpoints import hash_model_dir, resolve_model_dir

    names = {"model": run.request.model, "checkpoint": hash_model_dir(resolve_model_dir(run.request.model))}
    if run.request.baseline is not None:
        names |= {
            "baseline": run.request.baseline,
            "baseline_checkpoint": hash_model_dir(resolve_model_dir(run.request.baseline)),
        }
    decoding = run.request.decoding
    options = _describe_decoding(run.model, decoding.beam_size, decoding.pad_to_30s)
    if decoding.lm is not None or decoding.hot_words:
        options |= {"lm": decoding.lm and Path(decoding.lm).name, "hot_words": list(decoding.hot_words)}
    provenance = make_provenance({**names, "data": run.split.fingerprint, "options": options, "seed": 0})
    if run.baseline is not None:
        provenance["baseline_options"] = _describe_decoding(run.baseline, None, None)
    return provenance


def _describe_decoding(model: SpeechModel, beam_size: int | None, pad_to_30s: bool | None) -> dict[str, Any]:
    """Return the decoding options of the model: the arguments, or else what is saved with it."""
    return {
        "language": model.settings.language,
        "beams": beam_size or model.settings.beam_size,
        "padded_to_30s": getattr(model.encoder, "pad_to_30s", None) if pad_to_30s is None else pad_to_30s,
    }


def _format_decoding(options: dict[str, Any]) -> str:
    """Return the options as text, e.g. `, padded to 30 s, 5 beams`."""
    padding = {True: ", padded to 30 s", False: ", unpadded", None: ""}[options["padded_to_30s"]]
    search = f", {options['beams']} beams" if options["beams"] > 1 else ", greedy"
    return f"{padding}{search}" + (f", language {options['language']}" if options["language"] else "")
