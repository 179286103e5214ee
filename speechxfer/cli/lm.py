"""`speechxfer lm TEXT`: trains an n-gram word language model for beam search with a CTC head."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from speechxfer.cli._echo import echo
from speechxfer.cli._options import (
    NORMALISE,
    NORMALISERS,
    ColumnNames,
    JsonFile,
    Quiet,
    is_silent,
    translate_write_errors,
    write_json,
)
from speechxfer.cli._outputs import Overwrite, check_output_files
from speechxfer.errors import UserError

HELP_ORDER = 65


def register(app: typer.Typer) -> None:
    app.command("lm")(lm)


def lm(
    text: Annotated[
        str, typer.Argument(metavar="TEXT", help="A text file with one sentence per line, or DATA with a text column.")
    ],
    output: Annotated[Path, typer.Option("--output", metavar="FILE", help="File to write: .arpa or .arpa.gz.")],
    order: Annotated[int, typer.Option(min=2, max=6, metavar="N", help="Words per n-gram.")] = 4,
    normalise: Annotated[
        str,
        typer.Option(
            *NORMALISE,
            metavar="NAME",
            help=f"Text normalisation, the same as the CTC model's: {NORMALISERS}.",
        ),
    ] = "default",
    column: ColumnNames = None,
    overwrite: Overwrite = False,
    json: JsonFile = None,
    quiet: Quiet = False,
) -> None:
    """Train an n-gram language model on text.

    Writes a word model (modified Kneser-Ney, ARPA format) for decoding.lm of a recipe. Rows of a table whose split is
    dev or test are left out. A table without a split column is used as a whole, also the rows that adapt would use for
    dev and test; set decoding.lm=from-train to use the text of the training split only.

    Example: speechxfer lm train.txt --output lm.arpa
    """
    from speechxfer.tables import parse_column_options
    from speechxfer.text.ngram import BEGIN_TOKEN, END_TOKEN, UNKNOWN_WORD, train_ngram
    from speechxfer.text.normalise import get_normaliser

    normaliser = get_normaliser(normalise)
    if not output.name.lower().endswith((".arpa", ".arpa.gz")):
        fix = "end the name in .arpa or .arpa.gz"
        raise UserError("is not the name of an ARPA file", where=f"--output {output}", fix=fix)
    check_output_files({"--output": output}, [Path(text)], overwrite=overwrite)
    sentences, held_out = _read_sentences(text, parse_column_options(column or ()))
    lines = [line for line in map(normaliser, sentences) if line.strip()]
    try:
        model = train_ngram(lines, order)
    except UserError as error:
        raise UserError(error.problem, where=text, fix=error.fix) from None
    with translate_write_errors(f"--output {output}"):
        model.write(output)
    result = {
        "output": str(output),
        "order": order,
        "normaliser": normalise,
        "sentences": len(lines),
        "held_out": held_out,
        "words": sum(len(line.split()) for line in lines),
        "vocabulary": len(set(model.probabilities[0]) - {(BEGIN_TOKEN,), (END_TOKEN,), (UNKNOWN_WORD,)}),
        "ngrams": [len(ngrams) for ngrams in model.probabilities],
    }
    write_json("lm", result, json)
    if not is_silent(quiet, json):
        _print_result(text, result)


def _print_result(text: str, result: dict[str, Any]) -> None:
    held_out = f" ({result['held_out']:,} of dev and test left out)" if result["held_out"] else ""
    words = f"{result['words']:,} words, {result['vocabulary']:,} of them different"
    echo(f"{text}: {result['sentences']:,} sentences{held_out}, {words}")
    counts = ", ".join(f"{count:,}" for count in result["ngrams"])
    echo(f"{result['output']}: {counts} n-grams of 1 to {result['order']}")
    echo(f"use it: speechxfer adapt RECIPE head.kind=ctc decoding.kind=beam decoding.lm={result['output']}")


def _read_sentences(text: str, columns: dict[str, str]) -> tuple[list[str], int]:
    """Return the lines of a text file or the texts of DATA, and the number of rows left out as dev or test."""
    from speechxfer.data.subtitles import SUBTITLE_SUFFIXES
    from speechxfer.tables import TABLE_SUFFIXES

    path = Path(text)
    if path.is_file() and path.suffix.lower() not in (*TABLE_SUFFIXES, *SUBTITLE_SUFFIXES, ".parquet"):
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
            if lines[:1] == ["\\data\\"]:
                raise UserError("is a language model already", where=text, fix="name the text that it was trained on")
            return lines, 0
        except UnicodeDecodeError:
            raise UserError("is not UTF-8 text", where=text, fix="convert it with iconv -t UTF-8") from None
        except OSError as error:
            raise UserError(f"cannot be read ({error.strerror})", where=text) from None
    from speechxfer.data.reader import read
    from speechxfer.data.splits import normalise_split_name

    rows = read(text, need=("text",), columns=columns, on_warning=lambda _: None)  # ids are not used
    splits = rows["split"] if "split" in rows.column_names else [None] * len(rows)
    held_out = [normalise_split_name(split) in ("dev", "test") for split in splits]
    if all(held_out):
        raise UserError(
            "the column 'split' is dev or test in every row", where=text, fix="name a table with training rows"
        )
    kept = [str(one or "") for one, out in zip(rows["text"], held_out, strict=True) if not out]
    return kept, sum(held_out)
