"""`speechxfer check DATA`: what is wrong with a data set, before anyone trains on it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from speechxfer.cli._options import JsonFile, Quiet, silent, write_json

if TYPE_CHECKING:
    import datasets

    from speechxfer.data.audit import AuditResult

HELP_ORDER = 20
_SHOWN = 50  # errors printed; --json has them all


def register(app: typer.Typer) -> None:
    app.command("check")(check)


def check(
    data: Annotated[str, typer.Argument(metavar="DATA", help="A table, a folder of data, or hub:owner/name.")],
    model: Annotated[
        str | None, typer.Option("--model", metavar="MODEL", help="Also check what this model can take.")
    ] = None,
    align: Annotated[
        bool,
        typer.Option("--align", help="List rows whose text does not match what --model hears, the worst first."),
    ] = False,
    language: Annotated[str | None, typer.Option(metavar="CODE", help="Of a multilingual Whisper, say de.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="Write the usable rows as a table, say clean.csv.")
    ] = None,
    json: JsonFile = None,
    quiet: Quiet = False,
) -> None:
    """Audit a data set: every file is decoded, every text read. Exit code 1 when rows cannot be used.

    Rows are counted from 1, the header not counted. Example: speechxfer check train.csv --model whisper-tiny.en
    """
    from speechxfer.data.audit import audit_dataset
    from speechxfer.data.reader import read
    from speechxfer.data.tables import TABLE_DELIMITERS
    from speechxfer.errors import UserError
    from speechxfer.report.progress import Reporter

    if output is not None and output.suffix.lower() not in TABLE_DELIMITERS:
        raise UserError(
            "is no table", where=f"--output {output}", fix=f"end it in one of {', '.join(TABLE_DELIMITERS)}"
        )
    if output is not None and output.exists() and Path(data).exists() and output.samefile(data):
        raise UserError("is the table that is checked", where=f"--output {output}", fix="write to another file")
    if align and model is None:
        raise UserError("needs a model that transcribes", where="--align", fix="name one: --model MODEL")
    quiet = silent(quiet, json)
    dataset = read(data, unique=False)
    if output is not None and any(value is not None for value in dataset[:1].get("bytes", [])):
        problem = "embedded audio cannot stand in a table"
        raise UserError(problem, where=f"--output {output}", fix="data.skip_bad=true leaves bad rows out in adapt")
    limits = None
    if model is not None:
        from speechxfer.models import get_input_limits

        limits = get_input_limits(model, language=language)
    with Reporter(quiet=quiet).progress("checking") as step:
        result = audit_dataset(dataset, limits, lambda done: step(done, len(dataset)))
    if not quiet:
        _tell(data, dataset, result)
    if output is not None:
        _write_clean(dataset, result, output)
        if not quiet:
            typer.echo(f"written  {output}: {len(result.usable)} rows")
    found = _as_json(dataset, result)
    if align:
        found["matches"] = _matches(str(model), language, dataset, result, quiet=quiet)
    write_json(found, json)
    if result.errors:
        raise typer.Exit(1)


def _tell(data: str, dataset: datasets.Dataset, result: AuditResult) -> None:
    audio = dataset["audio"]
    for bad in result.errors[:_SHOWN]:
        row = f"row {bad.index + 1}"  # which is the id, too, where neither id nor audio is given
        names = ", ".join(name for name in dict.fromkeys((bad.id, audio[bad.index])) if name and name != row)
        typer.echo(f"error    {row}{f' ({names})' if names else ''}: {bad.problem}")
        if bad.fix:
            typer.echo(f"         fix: {bad.fix}")
    if len(result.errors) > _SHOWN:
        typer.echo(f"         … and {len(result.errors) - _SHOWN} more errors (--json FILE has all)")
    for warning in result.warnings:
        typer.echo(f"warning  {warning}")
    _tell_groups("speaker", result.speakers)
    _tell_groups("accent", result.accents)
    typer.echo(
        f"{data}: {result.rows} rows, {_length(result.hours)}, {len(result.usable)} usable, "
        f"{result.rows - len(result.usable)} bad, {len(result.warnings)} warning{'s' * (len(result.warnings) != 1)}"
    )


def _matches(
    model: str, language: str | None, dataset: datasets.Dataset, result: AuditResult, *, quiet: bool
) -> list[dict[str, Any]]:
    """Each usable row's text against its audio, the worst match first; the doubtful ones are told."""
    from speechxfer.encoders.checkpoints import resolve_transformers_dir
    from speechxfer.errors import UserError
    from speechxfer.models import load
    from speechxfer.models.transcript_check import score_transcripts
    from speechxfer.report.progress import Reporter

    if "text" not in dataset.column_names:
        raise UserError("there is no column 'text' to align", where="--align")
    usable = dataset.select(result.usable)
    if not len(usable):
        return []
    with Reporter(quiet=quiet).progress("aligning") as progress:
        found = score_transcripts(load(resolve_transformers_dir(model), language=language), usable, progress=progress)
    doubtful = [one for one in found if one.is_suspicious]
    if not quiet:
        for one in doubtful[:_SHOWN]:
            typer.echo(f"doubtful row {result.usable[one.index] + 1} ({one.id}): {usable[one.index]['text']}")
            typer.echo(f"         heard: {one.hypothesis}")
        if len(doubtful) > _SHOWN:
            typer.echo(f"         … and {len(doubtful) - _SHOWN} more doubtful rows (--json FILE has all)")
        typer.echo(f"aligned  {len(found)} rows, {len(doubtful)} of them doubtful: listen to those")
    return [
        {
            "row": result.usable[one.index] + 1,
            "id": one.id,
            "gap": one.log_prob_gap,
            "doubtful": one.is_suspicious,
            "text": usable[one.index]["text"],
            "heard": one.hypothesis,
            "words": [vars(word) for word in one.words],
        }
        for one in found
    ]


def _tell_groups(name: str, totals: dict[str, dict[str, float]], shown: int = 5) -> None:
    """The groups with most and least audio: that is where an imbalance shows."""
    if not totals:
        return
    ordered = list(totals.items())
    lines = [f"{value} {_length(total['hours'])} in {total['utterances']:.0f}" for value, total in ordered]
    lines[0] += " utterances" if ordered[0][1]["utterances"] > 1 else " utterance"
    if len(lines) > 2 * shown:
        lines = [*lines[:shown], "…", *lines[-2:]]
    plural = name if len(totals) == 1 else f"{name}s"
    typer.echo(f"{len(totals)} {plural}: {', '.join(lines)}")


def _length(hours: float) -> str:
    if hours >= 0.1:
        return f"{hours:.2f} h"
    return f"{60 * hours:.1f} min" if hours >= 1 / 60 else f"{3600 * hours:.1f} s"


def _as_json(dataset: datasets.Dataset, result: AuditResult) -> dict[str, Any]:
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
    }


def _write_clean(dataset: datasets.Dataset, result: AuditResult, output: Path) -> None:
    """The usable rows with their ids; audio paths are relative to the new table."""
    import os

    from speechxfer.data.tables import write_table
    from speechxfer.errors import UserError

    names = [name for name in dataset.column_names if name not in ("path", "bytes")]
    folder = output.parent.resolve()

    def rows() -> Any:
        for row in dataset.select(result.usable):
            given = Path(row["audio"].strip())
            near = given if given.is_absolute() else Path(os.path.relpath(Path(row["path"]).resolve(), folder))
            yield row | {"audio": near.as_posix()}

    try:
        write_table(output, rows(), names)
    except OSError as error:
        raise UserError(f"cannot be written ({error.strerror or error})", where=f"--output {output}") from None
