"""`speechxfer check DATA`: finds the problems of a data set before training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from speechxfer.cli._echo import echo
from speechxfer.cli._options import (
    ColumnNames,
    Data,
    JsonFile,
    Language,
    Quiet,
    is_silent,
    translate_write_errors,
    write_json,
)
from speechxfer.cli._outputs import Overwrite, check_output_files

if TYPE_CHECKING:
    import datasets

    from speechxfer.data.audit import AuditResult
    from speechxfer.data.validation import InputLimits

HELP_ORDER = 20
_MAX_LABELS = 40  # labels printed; --json has all of them
_MAX_SHOWN = 50  # errors printed; --json has all of them


def register(app: typer.Typer) -> None:
    app.command("check")(check)


def check(
    data: Data,
    model: Annotated[
        str | None, typer.Option("--model", metavar="MODEL", help="Also check the limits of this model.")
    ] = None,
    transcripts: Annotated[
        bool,
        typer.Option("--transcripts", help="List rows whose text does not match --model's transcript, worst first."),
    ] = False,
    language: Language = None,
    column: ColumnNames = None,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="Write the usable rows to a table, e.g. clean.csv.")
    ] = None,
    overwrite: Overwrite = False,
    json: JsonFile = None,
    quiet: Quiet = False,
) -> None:
    """Find the problems of a data set.

    Decodes every file and reads every text. Rows are counted from 1, without the header. Exit code 1 if rows cannot be
    used.

    Example: speechxfer check train.csv --model whisper-tiny.en
    """
    from speechxfer.data.audit import audit_dataset
    from speechxfer.data.reader import read
    from speechxfer.errors import UserError
    from speechxfer.report.progress import Reporter
    from speechxfer.tables import parse_column_options

    _check_output(output, data, overwrite=overwrite)
    if transcripts and model is None:
        raise UserError("needs a model that transcribes", where="--transcripts", fix="set --model MODEL")
    quiet = is_silent(quiet, json)
    warnings: list[str] = []
    dataset = read(data, columns=parse_column_options(column or ()), on_warning=warnings.append)
    _check_not_embedded(output, dataset)
    limits = _get_limits(model, language)
    with Reporter(quiet=quiet).progress("checking") as step:
        result = audit_dataset(dataset, limits, lambda done: step(done, len(dataset)))
    result.warnings[:0] = warnings
    try:
        _write_usable_rows(dataset, result, output)
    finally:  # what was found is printed also if the table cannot be written
        if not quiet:
            _print_result(data, dataset, result)
    if output is not None and not quiet:
        echo(f"written  {output}: {len(result.usable)} rows")
    report = _make_report(dataset, result)
    suspicious: list[str] = []
    if transcripts:
        report["matches"], suspicious = _match_transcripts(str(model), language, dataset, result, quiet=quiet)
    write_json("check", report, json)
    for line in [] if quiet else suspicious:
        echo(line)
    if result.errors:
        raise typer.Exit(1)


def _get_limits(model: str | None, language: str | None) -> InputLimits | None:
    from speechxfer.models import get_input_limits

    return None if model is None else get_input_limits(model, language=language)


def _check_output(output: Path | None, data: str, *, overwrite: bool) -> None:
    """Check before the work that `output` is a table, and that nothing is lost."""
    from speechxfer.data.tables import TABLE_DELIMITERS
    from speechxfer.errors import UserError

    if output is None:
        return
    where = f"--output {output}"
    if output.suffix.lower() not in TABLE_DELIMITERS:
        raise UserError("has no suffix of a table", where=where, fix=f"use one of {', '.join(TABLE_DELIMITERS)}")
    check_output_files({"--output": output}, [Path(data)], overwrite=overwrite)


def _check_not_embedded(output: Path | None, dataset: datasets.Dataset) -> None:
    from speechxfer.errors import UserError

    if output is not None and any(value is not None for value in dataset[:1].get("bytes", [])):
        problem = "embedded audio cannot be written to a table"
        raise UserError(problem, where=f"--output {output}", fix="set data.skip_bad=true to skip bad rows in adapt")


def _print_result(data: str, dataset: datasets.Dataset, result: AuditResult) -> None:
    audio = dataset["audio"]
    for bad in result.errors[:_MAX_SHOWN]:
        row = f"row {bad.index + 1}"  # also the id if the table has neither ids nor audio paths
        names = ", ".join(name for name in dict.fromkeys((bad.id, audio[bad.index])) if name and name != row)
        echo(f"error    {row}{f' ({names})' if names else ''}: {bad.problem}")
        if bad.fix:
            echo(f"         fix: {bad.fix}")
    if len(result.errors) > _MAX_SHOWN:
        echo(f"         … and {len(result.errors) - _MAX_SHOWN} more errors (--json FILE has all)")
    for warning in result.warnings:
        echo(f"warning  {warning}")
    _print_groups("speaker", result.speakers)
    _print_groups("accent", result.accents)
    _print_labels(result)
    echo(
        f"{data}: {result.rows} rows, {_format_duration(result.hours)}, {len(result.usable)} usable, "
        f"{result.rows - len(result.usable)} bad, {len(result.warnings)} warning{'s' * (len(result.warnings) != 1)}"
    )


def _match_transcripts(
    model: str, language: str | None, dataset: datasets.Dataset, result: AuditResult, *, quiet: bool
) -> tuple[list[dict[str, Any]], list[str]]:
    """Compare the text of each usable row with the model's transcript, worst match first.

    Returns:
        The entries of the report, and lines about the suspicious rows.
    """
    from speechxfer.encoders.checkpoints import resolve_transformers_dir
    from speechxfer.errors import UserError
    from speechxfer.models import load
    from speechxfer.models.transcript_check import score_transcripts
    from speechxfer.report.progress import Reporter

    if "text" not in dataset.column_names:
        raise UserError("there is no column 'text' to compare", where="--transcripts")
    usable = dataset.select(result.usable)
    if not len(usable):
        return [], []
    with Reporter(quiet=quiet).progress("comparing transcripts") as progress:
        scores = score_transcripts(load(resolve_transformers_dir(model), language=language), usable, progress=progress)
    suspicious = [score for score in scores if score.is_suspicious]
    lines = []
    for score in suspicious[:_MAX_SHOWN]:
        row, text = result.usable[score.index] + 1, usable[score.index]["text"]
        lines += [f"suspicious row {row} ({score.id}): {text}", f"         transcribed as: {score.hypothesis}"]
    if len(suspicious) > _MAX_SHOWN:
        lines.append(f"         … and {len(suspicious) - _MAX_SHOWN} more suspicious rows (--json FILE has all)")
    lines.append(f"compared {len(scores)} rows, {len(suspicious)} of them suspicious: listen to those")
    entries = [
        {
            "row": result.usable[score.index] + 1,
            "id": score.id,
            "gap": score.log_prob_gap,
            "doubtful": score.is_suspicious,
            "text": usable[score.index]["text"],
            "heard": score.hypothesis,
            "words": [vars(word) for word in score.words],
        }
        for score in scores
    ]
    return entries, lines


def _print_groups(name: str, totals: dict[str, dict[str, float]], num_shown: int = 5) -> None:
    """Print the groups with the most and the least audio, which show an imbalance."""
    if not totals:
        return
    ordered = list(totals.items())
    lines = [f"{value} {_format_duration(total['hours'])} in {total['utterances']:.0f}" for value, total in ordered]
    lines[0] += " utterances" if ordered[0][1]["utterances"] > 1 else " utterance"
    if len(lines) > 2 * num_shown:
        lines = [*lines[:num_shown], "…", *lines[-2:]]
    plural = name if len(totals) == 1 else f"{name}s"
    echo(f"{len(totals)} {plural}: {', '.join(lines)}")


def _print_labels(result: AuditResult) -> None:
    """Print the number of utterances of each label, the most frequent first."""
    if not result.labels:
        return
    counts = sorted(result.labels.items(), key=lambda item: -item[1]["utterances"])
    shown = [f"{label} {total['utterances']:,.0f}" for label, total in counts]
    if len(shown) > _MAX_LABELS:
        shown = [*shown[: _MAX_LABELS - 5], "…", *shown[-5:]]
    name = "label" if result.label_column == "label" else "different text"
    echo(f"{len(counts)} {name}{'s' * (len(counts) != 1)}: {', '.join(shown)}")


def _format_duration(hours: float) -> str:
    if hours >= 0.1:
        return f"{hours:.2f} h"
    return f"{60 * hours:.1f} min" if hours >= 1 / 60 else f"{3600 * hours:.1f} s"


def _make_report(dataset: datasets.Dataset, result: AuditResult) -> dict[str, Any]:
    audio = dataset["audio"]
    errors = [
        {"row": bad.index + 1, "id": bad.id, "audio": audio[bad.index], "problem": bad.problem, "fix": bad.fix}
        for bad in result.errors
    ]
    return {
        "rows": result.rows,
        "usable": len(result.usable),
        "hours": result.hours,
        "errors": errors,
        "warnings": result.warnings,
        "speakers": result.speakers,
        "accents": result.accents,
        **({"labels": result.labels} if result.labels else {}),
    }


def _write_usable_rows(dataset: datasets.Dataset, result: AuditResult, output: Path | None) -> None:
    """Write the usable rows with their ids, if there is an output; audio paths are relative to the new table."""
    import os

    from speechxfer.data.tables import write_table

    if output is None:
        return
    names = [name for name in dataset.column_names if name not in ("path", "bytes")]
    folder = output.parent.resolve()

    def rows() -> Any:
        for row in dataset.select(result.usable):
            given = Path(row["audio"].strip())
            audio = given if given.is_absolute() else Path(os.path.relpath(Path(row["path"]).resolve(), folder))
            yield row | {"audio": audio.as_posix()}

    with translate_write_errors(f"--output {output}"):
        write_table(output, rows(), names)
