"""`speechxfer evaluate MODEL DATA`: transcribes, scores, compares with a baseline and writes the report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from speechxfer.cli._options import (
    NORMALISE,
    NORMALISERS,
    BatchSeconds,
    BeamSize,
    By,
    ColumnNames,
    Data,
    Device,
    HotWords,
    JsonFile,
    Language,
    LmFile,
    Model,
    PadTo30s,
    Quiet,
    is_silent,
    split_columns,
    write_json,
)

HELP_ORDER = 40


def register(app: typer.Typer) -> None:
    app.command("evaluate")(evaluate)


def evaluate(
    model: Model,
    data: Data,
    baseline: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Also run this model as it was saved, and compare the two.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write the report and all predictions to this folder.")
    ] = None,
    normalise: Annotated[
        str | None,
        typer.Option(
            *NORMALISE,
            metavar="NAME",
            help=f"Text normalisation: {NORMALISERS}.",
            show_default="saved with the model",
        ),
    ] = None,
    by: By = None,
    column: ColumnNames = None,
    language: Language = None,
    beam_size: BeamSize = None,
    pad_to_30s: PadTo30s = None,
    lm: LmFile = None,
    hot_word: HotWords = None,
    batch_seconds: BatchSeconds = None,
    device: Device = "auto",
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Skip invalid rows and report their number.")] = False,
    json: JsonFile = None,
    quiet: Quiet = False,
) -> None:
    """Score a model on transcribed speech.

    Prints the WER with its interval over speakers, by speaker and accent; with --baseline also the comparison of the
    two models and example transcripts.

    Example: speechxfer evaluate runs/accent-whisper test.csv --baseline whisper-tiny.en --output report
    """
    from speechxfer import distributed
    from speechxfer.cli import _evaluate_output
    from speechxfer.cli._evaluate_run import EvaluationRequest, evaluate_models
    from speechxfer.data.reader import read
    from speechxfer.models import DecodingOptions
    from speechxfer.report.progress import Reporter
    from speechxfer.tables import parse_column_options
    from speechxfer.text.normalise import get_normaliser

    distributed.init_processes(device)
    main = distributed.get_rank() == 0
    reporter = Reporter(quiet=not main or is_silent(quiet, json))
    if normalise is not None:
        get_normaliser(normalise)  # reports an unknown name before the work
    folder = _evaluate_output.prepare_output_dir(output, [Path(data)])
    decoding = DecodingOptions(beam_size, pad_to_30s, lm, hot_word or (), language, batch_seconds)
    columns = split_columns(by)
    request = EvaluationRequest(model, baseline, data, normalise, columns, decoding, device, skip_bad)
    utterances = read(data, columns=parse_column_options(column or ()), on_warning=reporter.warn)
    run = evaluate_models(request, utterances, reporter)
    distributed.destroy_processes()
    if not main:  # of the processes that torchrun started, rank 0 alone prints and writes
        return
    report = _evaluate_output.make_report(run)
    if folder is not None:
        _evaluate_output.write_report(run, report, folder)
    write_json("evaluate", report, json)
    _evaluate_output.print_report(run, report, reporter)
    if folder is not None:
        reporter.info(f"report  {folder / 'report.html'}")
