"""`speechxfer export MODEL --to ...`: the model as another library opens it, proven equal on request."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from speechxfer.cli._options import JsonFile, Quiet, silent, write_json

if TYPE_CHECKING:
    from speechxfer.export import ExportResult

HELP_ORDER = 55
_SHOWN = 5  # transcripts that differ, printed; --json has them all


def register(app: typer.Typer) -> None:
    app.command("export")(export)


def export(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A run, a model's folder or name, hub:owner/name.")],
    to: Annotated[str, typer.Option(metavar="FORM", help="transformers, ctranslate2 (for faster-whisper), or onnx.")],
    output: Annotated[Path, typer.Option(metavar="DIR", help="The folder to write.")],
    quantization: Annotated[
        str, typer.Option(metavar="TYPE", help="Weights as float32, float16 (not onnx) or int8 (not transformers).")
    ] = "float32",
    language: Annotated[str | None, typer.Option(metavar="CODE", help="Of a multilingual Whisper, say de.")] = None,
    check: Annotated[
        str | None, typer.Option(metavar="DATA", help="Prove it equal on (up to 20 of) these utterances.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a model that lies in DIR.")] = False,
    json: JsonFile = None,
    quiet: Quiet = False,
) -> None:
    """Write a model as other libraries open it. Exit code 1 when --check finds another model than ours.

    Other libraries pad Whisper's audio to 30 s, speechxfer does not. An ONNX graph (a CTC or classification head) takes
    16 kHz samples of one utterance and pads as we do.

    Example: speechxfer export runs/accent-whisper --to ctranslate2 --quantization int8 --output accent-int8
    """
    from speechxfer.data.reader import read
    from speechxfer.export import export_model as write
    from speechxfer.report.progress import Reporter

    narrator = Reporter(quiet=silent(quiet, json))
    utterances = None if check is None else read(check)
    with narrator.progress("checking") as progress:
        made = write(
            model,
            to,
            output,
            quantization=quantization,
            language=language,
            check=utterances,
            overwrite=overwrite,
            progress=progress,
        )
    for warning in made.warnings:
        narrator.info(f"warning: {warning}")
    narrator.info(f"written  {output}: {to}, {quantization}, {sum(made.files.values()) / 1e6:,.1f} MB")
    narrator.info(_checked(made))
    write_json(
        {
            "model": model,
            "to": to,
            "output": str(output),
            "quantization": quantization,
            "files": made.files,
            "warnings": made.warnings,
            "check": None if made.parity is None else {"data": check, **made.parity.to_json()},
        },
        json,
    )
    if made.parity is not None and not made.parity.passed:
        raise typer.Exit(1)


def _checked(made: ExportResult) -> str:
    proof = made.parity
    if proof is None:
        return "not checked: --check DATA compares it with ours on a few utterances"
    mean, largest = proof.allowed
    lines = [
        f"checked  {proof.utterances} utterances, greedy, padded as there: probabilities differ by {proof.mean:.2g} in "
        f"the mean (allowed {mean:g}) and {proof.largest:.2g} at most (allowed {largest:g}); "
        f"{proof.utterances - len(proof.differing)} transcripts are equal"
    ]
    lines += [
        f"         {one['id']}: '{one['ours']}' here, '{one['theirs']}' there" for one in proof.differing[:_SHOWN]
    ]
    if not proof.passed:
        lines.append("NOT EQUAL: the folder holds another model than ours; do not use it")
    return "\n".join(lines)
