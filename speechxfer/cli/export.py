"""`speechxfer export MODEL --to ...`: writes a model in another library's format, with an optional parity check."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from speechxfer.cli._options import ColumnNames, JsonFile, Language, Model, Quiet, is_silent, write_json

if TYPE_CHECKING:
    from speechxfer.export import ExportResult

HELP_ORDER = 55
_MAX_SHOWN = 5  # differing transcripts printed; --json has all of them


def register(app: typer.Typer) -> None:
    app.command("export")(export)


def export(
    model: Model,
    to: Annotated[str, typer.Option(metavar="FORMAT", help="transformers, ctranslate2 (for faster-whisper) or onnx.")],
    output: Annotated[Path, typer.Option(metavar="DIR", help="Folder to write.")],
    quantization: Annotated[
        str, typer.Option(metavar="TYPE", help="Weight type: float32, float16 (not onnx) or int8 (not transformers).")
    ] = "float32",
    language: Language = None,
    check: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="Compare with the original on up to 20 of these utterances."),
    ] = None,
    column: ColumnNames = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a model in DIR.")] = False,
    json: JsonFile = None,
    quiet: Quiet = False,
) -> None:
    """Export a model for other libraries. Exit code 1 if --check fails.

    Other libraries pad Whisper's audio to 30 s; speechxfer does not. ONNX export supports CTC and classification
    models; the graph takes the 16 kHz samples of one utterance and pads them as speechxfer does.

    Example: speechxfer export runs/accent-whisper --to ctranslate2 --quantization int8 --output accent-int8
    """
    from speechxfer.data.reader import read
    from speechxfer.export import export_model
    from speechxfer.report.progress import Reporter
    from speechxfer.tables import parse_column_options

    columns = parse_column_options(column or ())
    reporter = Reporter(quiet=is_silent(quiet, json))
    utterances = None if check is None else read(check, columns=columns, on_warning=reporter.warn)
    with reporter.progress("checking") as progress:
        result = export_model(
            model, to, output, quantization=quantization, language=language, check=utterances, overwrite=overwrite,
            progress=progress,
        )  # fmt: skip
    write_json(
        "export",
        {
            "model": model,
            "to": to,
            "output": str(output),
            "quantization": quantization,
            "files": result.files,
            "warnings": result.warnings,
            "check": None if result.parity is None else {"data": check, **result.parity.to_json()},
        },
        json,
    )
    for warning in result.warnings:
        reporter.info(f"warning: {warning}")
    reporter.info(f"written  {output}: {to}, {quantization}, {sum(result.files.values()) / 1e6:,.1f} MB")
    reporter.info(_format_parity(result))
    if result.parity is not None and not result.parity.passed:
        raise typer.Exit(1)


def _format_parity(result: ExportResult) -> str:
    parity = result.parity
    if parity is None:
        return "not checked: --check DATA compares the export with the original on a few utterances"
    mean, largest = parity.allowed
    equal = parity.utterances - len(parity.differing)
    lines = [
        f"checked  {parity.utterances} utterances, greedy, with the export's padding: mean difference of probabilities "
        f"{parity.mean:.2g} (allowed {mean:g}), largest {parity.largest:.2g} (allowed {largest:g}); "
        f"{equal} of {parity.utterances} transcripts identical"
    ]
    lines += [
        f"         {one['id']}: original '{one['ours']}', exported '{one['theirs']}'"
        for one in parity.differing[:_MAX_SHOWN]
    ]
    if not parity.passed:
        lines.append("NOT EQUAL: the exported model differs from the original; do not use it")
    return "\n".join(lines)
