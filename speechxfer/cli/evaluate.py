"""`speechxfer evaluate MODEL DATA`: transcribes, scores, compares with a baseline, writes the report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from speechxfer.cli._options import HotWords, JsonFile, LmFile, Quiet, silent, write_json
from speechxfer.errors import UserError

if TYPE_CHECKING:
    from speechxfer.adaptation.evaluate import EvaluationSet
    from speechxfer.adaptation.predictions import Evaluation
    from speechxfer.models import SpeechModel
    from speechxfer.report.progress import Reporter

HELP_ORDER = 40
_EXAMPLES = 4


def register(app: typer.Typer) -> None:
    app.command("evaluate")(evaluate)


def evaluate(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A run, a model's folder or name, hub:owner/name.")],
    data: Annotated[str, typer.Argument(metavar="DATA", help="A table, a folder of data, or hub:owner/name.")],
    baseline: Annotated[str | None, typer.Option(metavar="MODEL", help="Compare with this, run as saved.")] = None,
    output: Annotated[Path | None, typer.Option(metavar="DIR", help="Write the report and every answer here.")] = None,
    normalise: Annotated[
        str | None, typer.Option(metavar="NAME", help="none, basic, default, english, or a GLM file; else as saved.")
    ] = None,
    by: Annotated[
        str, typer.Option(metavar="COLS", help="Columns to break the result down by, with commas; auto; none.")
    ] = "auto",
    language: Annotated[str | None, typer.Option(metavar="CODE", help="Of a multilingual Whisper, say de.")] = None,
    beam_size: Annotated[int | None, typer.Option(min=1, help="MODEL's search, 1 is greedy; else as saved.")] = None,
    pad_to_30s: Annotated[
        bool | None,
        typer.Option("--pad-to-30s/--no-pad-to-30s", help="MODEL, a Whisper, padded to 30 s or not; else as saved."),
    ] = None,
    lm: LmFile = None,
    hot_word: HotWords = None,
    batch_seconds: Annotated[float | None, typer.Option(min=0.1, help="Audio answered at once, seconds.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave unusable rows out, and count them.")] = False,
    json: JsonFile = None,
    quiet: Quiet = False,
) -> None:
    """Score a model on transcribed speech, beside a baseline.

    WER with its interval over speakers, by speaker and accent, and what both models wrote.

    Example: speechxfer evaluate runs/accent-whisper test.csv --baseline whisper-tiny.en --output report
    """
    from speechxfer import distributed
    from speechxfer.adaptation.evaluate import evaluate_set, prepare_evaluation_set
    from speechxfer.adaptation.predictions import make_insertion_warnings, make_provenance
    from speechxfer.config.recipe import ScoringConfig
    from speechxfer.data.reader import read
    from speechxfer.encoders.checkpoints import hash_model_dir, resolve_model_dir
    from speechxfer.models import DecodingOptions, load
    from speechxfer.report.progress import Reporter
    from speechxfer.scoring import compare_scores
    from speechxfer.text.normalise import get_normaliser

    distributed.init_processes(device)
    main = distributed.get_rank() == 0
    narrator = Reporter(quiet=not main or silent(quiet, json))
    if normalise is not None:
        get_normaliser(normalise)  # a wrong name is told before the work
    folder = _folder(output)
    utterances = read(data)
    adapted = load(model, device=device, language=language)
    other = load(baseline, device=device, language=language) if baseline is not None else None
    if other is not None and (other.kind == "classify") != (adapted.kind == "classify"):
        raise UserError("a recogniser and a classifier cannot be compared", where=f"--baseline {baseline}")
    with narrator.progress("checking") as step:
        common: dict[str, Any] = {"skip_bad": skip_bad, "progress": lambda done: step(done, len(utterances))}
        part = prepare_evaluation_set(utterances, data, adapted, named=model, language=language, **common)
        if other is not None:  # both are scored on what both can take
            also = prepare_evaluation_set(part.utterances, data, other, named=baseline, language=language, **common)
            warnings = list(dict.fromkeys([*part.warnings, *also.warnings]))
            part = replace(also, skipped=part.skipped + also.skipped, warnings=warnings)
    columns: list[str] | Literal["auto"] = (
        "auto" if by == "auto" else [name.strip() for name in by.split(",") if name.strip() not in ("", "none")]
    )
    scoring = ScoringConfig(normaliser=normalise or adapted.settings.normaliser, by=columns)

    before: Evaluation | None = None
    if other is not None:
        with narrator.progress(f"before, {baseline}") as progress:
            saved = DecodingOptions(batch_seconds=batch_seconds)
            before = evaluate_set(other, part, scoring, saved, progress=progress, shared=True)
    with narrator.progress(model if other is None else f"after, {model}") as progress:
        decoding = DecodingOptions(
            beam_size=beam_size, pad_to_30s=pad_to_30s, lm=lm, hot_words=hot_word or (), batch_seconds=batch_seconds
        )
        after = evaluate_set(adapted, part, scoring, decoding, progress=progress, shared=True)
    distributed.destroy_processes()
    if not main:  # torchrun started several; one tells and writes
        return

    names = {"model": model, "checkpoint": hash_model_dir(resolve_model_dir(model))}
    if baseline is not None:
        names |= {"baseline": baseline, "baseline_checkpoint": hash_model_dir(resolve_model_dir(baseline))}
    options = _options(adapted, beam_size, pad_to_30s)
    if lm is not None or hot_word:
        options |= {"lm": lm and lm.name, "hot_words": hot_word or []}
    warnings = list(dict.fromkeys([*part.warnings, *after.score.warnings]))
    for name, measured in (("the baseline", before), (model, after)):
        if measured is not None:
            warnings += make_insertion_warnings(name, measured.score)
    report: dict[str, Any] = {
        **({"result": after.score.to_json()} if before is None else {}),
        **({} if before is None else {"before": before.score.to_json(), "after": after.score.to_json()}),
        "comparison": None if before is None else compare_scores(before.score, after.score).to_json(),
        "measure": "error rate" if part.reference == "label" else "WER",
        "normaliser": "none" if adapted.kind == "classify" else scoring.normaliser,
        "skipped": part.skipped,
        "warnings": warnings,
        "speed": after.speed,
        **({} if before is None else {"speed_before": before.speed}),
        "provenance": make_provenance({**names, "data": part.fingerprint, "options": options, "seed": 0}),
    }
    if other is not None:
        report["provenance"]["baseline_options"] = _options(other, None, None)
    _tell(narrator, report, before, after)
    if folder is not None:
        _write(folder, model, data, part, before, after, report)
        narrator.info(f"report  {folder / 'report.html'}")
    write_json(report, json)


def _folder(output: Path | None) -> Path | None:
    """The folder to write to, made before the work. A run keeps its own report."""
    from speechxfer.adaptation.run_dir import RECIPE_FILE, translate_os_errors

    if output is None:
        return None
    where = f"--output {output}"
    if output.exists() and not output.is_dir():
        raise UserError("is a file", where=where, fix="name a folder")
    if (output / RECIPE_FILE).exists():
        raise UserError("is a run folder, which has its own report", where=where, fix="name another folder")
    with translate_os_errors(output):
        output.mkdir(parents=True, exist_ok=True)
    return output


def _options(model: SpeechModel, beams: int | None, padded: bool | None) -> dict[str, Any]:
    """How the model is run: what was asked for, else as it was saved."""
    return {
        "language": model.settings.language,
        "beams": beams or model.settings.beam_size,
        "padded_to_30s": getattr(model.encoder, "pad_to_30s", None) if padded is None else padded,
    }


def _tell(narrator: Reporter, report: dict[str, Any], before: Evaluation | None, after: Evaluation) -> None:
    from speechxfer.report.terminal import make_before_after_table, make_score_table, mark_examples
    from speechxfer.scoring import compare_scores

    stated = report["provenance"]
    if before is None:
        narrator.info(make_score_table(after.score))
    else:
        narrator.info(make_before_after_table(before.score, after.score))
        narrator.info(mark_examples(before.score, after.score, _EXAMPLES))
    for warning in report["warnings"]:
        narrator.info(f"warning: {warning}")
    speed = after.speed
    audio, wall = speed["audio_seconds"], speed["wall_seconds"]
    scored = f"{after.score.overall.counts.utterances:,} utterances, normaliser {report['normaliser']}"
    narrator.info(f"scored  {scored}; {audio:,.1f} s of audio in {wall:,.1f} s on {speed['device']}")
    if before is not None:
        rate = report["measure"]
        first = f"{stated['baseline']}{_run_as(stated['baseline_options'])}"
        narrator.info(f"before  {first}: {rate} {before.score.summary()}")
        narrator.info(f"after   {stated['model']}{_run_as(stated['options'])}: {rate} {after.score.summary()}")
        narrator.info(f"change  {compare_scores(before.score, after.score).summary()}")
    else:
        narrator.info(f"model   {stated['model']}{_run_as(stated['options'])}")
        rate = "" if after.score.wer is None else f"{report['measure']} "  # of none the summary itself tells
        narrator.info(f"{rate}{after.score.summary()}")


def _run_as(options: dict[str, Any]) -> str:
    """`, padded to 30 s, 5 beams`: what of the options a reader needs to know."""
    padding = {True: ", padded to 30 s", False: ", unpadded", None: ""}[options["padded_to_30s"]]
    search = f", {options['beams']} beams" if options["beams"] > 1 else ", greedy"
    return f"{padding}{search}" + (f", language {options['language']}" if options["language"] else "")


def _write(
    folder: Path,
    model: str,
    data: str,
    part: EvaluationSet,
    before: Evaluation | None,
    after: Evaluation,
    report: dict[str, Any],
) -> None:
    """report.json, report.html, after.jsonl, and before.jsonl where there is a baseline."""
    from speechxfer.adaptation.predictions import find_audio_links, write_predictions
    from speechxfer.adaptation.run_dir import AFTER_FILE, BEFORE_FILE, HTML_FILE, REPORT_FILE, translate_os_errors
    from speechxfer.report.html import write_html_report

    systems = {**({"before": before.score} if before else {}), "after": after.score}
    facts = {"model": model, "data": data, "normaliser": report["normaliser"]}
    if before is not None:
        facts["baseline"] = report["provenance"]["baseline"]
    with translate_os_errors(folder):
        write_predictions(folder / AFTER_FILE, part.utterances, after.hypotheses, reference=part.reference)
        (folder / BEFORE_FILE).unlink(missing_ok=True)
        if before is not None:
            write_predictions(folder / BEFORE_FILE, part.utterances, before.hypotheses, reference=part.reference)
        title = f"{model} on {data}"
        write_html_report(
            folder / HTML_FILE,
            title,
            systems,
            facts=facts,
            warnings=report["warnings"],
            audio=find_audio_links(part.utterances),
        )
        write_json(report, folder / REPORT_FILE)
