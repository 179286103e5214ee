"""`speechxfer score`: scores hypothesis texts against reference texts. Imports no torch."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from speechxfer.cli._echo import echo
from speechxfer.cli._options import NORMALISE, NORMALISERS, By, ColumnNames, JsonFile, Quiet, split_columns
from speechxfer.cli._outputs import STANDARD_OUTPUT, check_output_files
from speechxfer.cli._score_inputs import NamedFile, copy_pipes, parse_files
from speechxfer.cli._score_output import OutputTargets, write_outputs
from speechxfer.errors import UserError

HELP_ORDER = 60


def register(app: typer.Typer) -> None:
    app.command("score")(score)


def score(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="REF HYP [HYP2 ...]",
            help="References and hypotheses, or one table with both. NAME=HYP names a system; - is standard input.",
        ),
    ],
    by: By = None,
    normalise: Annotated[
        str,
        typer.Option(*NORMALISE, metavar="NAME", help=f"Text normalisation: {NORMALISERS}."),
    ] = "default",
    equivalents: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Words and phrases that count as equal, one group a line: Ann = Anne."),
    ] = None,
    align: Annotated[
        str, typer.Option(metavar="METHOD", help="Alignment: min (fewest errors, as jiwer) or sclite.")
    ] = "min",
    unit: Annotated[
        str,
        typer.Option(
            metavar="UNIT",
            help="Scoring unit: word, char, mixed (CJK characters, words otherwise), label (of a classifier), or auto: "
            "label if the files say so, char if the references are in a script without spaces, else word.",
        ),
    ] = "auto",
    notation: Annotated[
        bool, typer.Option("--notation", help="Read sclite's notation for alternatives, on either side.")
    ] = False,
    compounds: Annotated[
        bool, typer.Option("--compounds", help='Count "ice cream" for "icecream", and vice versa, as correct.')
    ] = False,
    terms: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also count recall and precision of these words and phrases, one per line."),
    ] = None,
    punctuation: Annotated[
        bool, typer.Option("--punctuation", help="Also count errors of punctuation, in the texts as written.")
    ] = False,
    case: Annotated[
        bool, typer.Option("--case", help="Also count errors of letter case, in the texts as written.")
    ] = False,
    missing: Annotated[
        str, typer.Option(metavar="POLICY", help="If a hypothesis is missing: error, empty or skip.")
    ] = "error",
    reduce: Annotated[
        str | None,
        typer.Option(
            metavar="SIDE", help="Leave out what the other file does not cover, as sclite -m: ref, hyp or both."
        ),
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(
            metavar="FORMAT",
            help="csv, tsv, jsonl, trn, stm, ctm, kaldi or lines; or two, as REF,HYP.",
            show_default="by suffix",
        ),
    ] = None,
    by_line: Annotated[
        bool, typer.Option("--by-line", help="Read one plain text per line and match the lines by number.")
    ] = False,
    reference_column: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Column of the references in a table.", show_default="by its name"),
    ] = None,
    hypothesis_column: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Column of the hypotheses in a table.", show_default="by its name"),
    ] = None,
    column: ColumnNames = None,
    utt2spk: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Speaker of each utterance, in Kaldi's format.")
    ] = None,
    table: Annotated[
        str | None, typer.Option(metavar="FORM", help="Print the results table alone, as markdown, csv or latex.")
    ] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write an HTML report, one file.")] = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the aligned texts, as sclite's .pra ('-': standard output)."),
    ] = None,
    audio_folder: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of the report's audio files.", show_default="the table's folder"),
    ] = None,
    embed_audio: Annotated[
        int, typer.Option(min=0, metavar="N", help="Number of audio files to embed in the report.")
    ] = 0,
    metric: Annotated[
        str, typer.Option(metavar="NAME", help="Metric of --fail-above: wer, cer, mer, wil, accuracy, ...")
    ] = "auto",
    fail_above: Annotated[
        float | None, typer.Option(metavar="RATE", help="Exit 1 if the error rate is above this fraction, e.g. 0.2.")
    ] = None,
    fail_worse_than: Annotated[
        Path | None, typer.Option(metavar="HYP", help="Exit 1 if significantly worse than these hypotheses.")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Bootstrap seed.")] = 0,
    json_file: JsonFile = None,
    quiet: Quiet = False,
) -> None:
    """Score hypotheses against references, and compare systems.

    Prints the WER (of a classifier's labels the accuracy) with its counts and confidence interval, a breakdown by
    columns, and an error analysis.

    The suffix gives the format: .csv .tsv .jsonl .trn .stm .ctm; without one, Kaldi text. Utterances are matched by id.
    """
    from speechxfer.cli._score_run import ScoreRequest, score_files
    from speechxfer.scoring import ScoringOptions
    from speechxfer.scoring.equivalents import read_equivalents

    named = parse_files(files)
    _check_options(metric, fail_above, by_line, format, [file.path for file in named])
    targets = OutputTargets(html, output, json_file, table, audio_folder, embed_audio, quiet)
    extra = [fail_worse_than, utt2spk, equivalents, terms, Path(normalise) if normalise.endswith(".glm") else None]
    others = [NamedFile(path) for path in extra if path is not None]
    _check_outputs(targets, [file.path for file in (*named, *others)])
    equal = None if equivalents is None else read_equivalents(equivalents)
    chosen_format = "lines" if by_line else format
    with copy_pipes(named, with_format=chosen_format is not None) as inputs:
        request = ScoreRequest(
            files=inputs,
            reading={
                "format": chosen_format, "missing": missing, "utt2spk": utt2spk, "notation": notation, "reduce": reduce,
                "columns": _collect_columns(column, reference_column, hypothesis_column),
            },
            columns=split_columns(by),
            options=ScoringOptions(normalise, align, unit, notation, compounds, seed, equal),
            baseline=fail_worse_than,
            metric=metric, max_error=fail_above,
            terms=terms,
            punctuation=punctuation,
            case=case,
        )  # fmt: skip
        run = score_files(request, with_analysis=targets.need_analysis)
        write_outputs(run, targets, [*inputs, *others])
    for failure in run.failures:
        echo(f"speechxfer: {failure}", err=True)
    if run.failures:
        raise typer.Exit(1)


def _collect_columns(column: list[str] | None, reference: str | None, hypothesis: str | None) -> dict[str, str]:
    """Return the named columns of the tables by kind."""
    from speechxfer.tables import parse_column_options

    sides = {"reference": reference, "hypothesis": hypothesis}
    return parse_column_options(column or ()) | {side: name for side, name in sides.items() if name is not None}


def _check_options(metric: str, fail_above: float | None, by_line: bool, format: str | None, files: list[Path]) -> None:
    from speechxfer.scoring.formats import TRANSCRIPT_SUFFIXES
    from speechxfer.scoring.metrics import AUTO_METRIC, METRICS

    if metric != AUTO_METRIC:
        METRICS.get(metric, where="--metric")
    if fail_above is not None and not (math.isfinite(fail_above) and fail_above >= 0):
        fix = "give a fraction of the reference words, e.g. 0.20 for 20 %"
        raise UserError("is not an error rate", where=f"--fail-above {fail_above}", fix=fix)
    if fail_above is not None and fail_above > 2:
        fix = f"give a fraction: {fail_above / 100:g} is {fail_above:g} %"
        raise UserError("is above 200 %", where=f"--fail-above {fail_above:g}", fix=fix)
    if by_line and format not in (None, "lines"):
        raise UserError(f"--by-line and --format {format} exclude each other", fix="leave one out")
    for path in files if by_line and format is None else []:
        suffix_format = TRANSCRIPT_SUFFIXES.get(path.suffix.lower(), "kaldi")
        if suffix_format != "kaldi":  # a file without a suffix may have any format
            problem = f"has the suffix of {suffix_format}, not of plain lines"
            fix = "leave out --by-line, or add --format lines if each line is one text"
            raise UserError(problem, where=str(path), fix=fix)


def _check_outputs(targets: OutputTargets, inputs: list[Path]) -> None:
    """Check the outputs before the work."""
    from speechxfer.report.table_formats import check_table_form

    if targets.table is not None:
        check_table_form(targets.table)
    if targets.html == STANDARD_OUTPUT:
        raise UserError("cannot be written to standard output", where="--html -", fix="name a file")
    outputs = {"--html": targets.html, "--output": targets.alignments, "--json": targets.json}
    check_output_files({"--table": STANDARD_OUTPUT if targets.table else None, **outputs}, inputs)
