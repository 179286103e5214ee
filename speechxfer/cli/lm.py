"""`speechxfer lm TEXT`: an n-gram language model of words, for beam search with a CTC head."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from speechxfer.cli._options import JsonFile, Quiet, silent, write_json
from speechxfer.errors import UserError

HELP_ORDER = 65


def register(app: typer.Typer) -> None:
    app.command("lm")(lm)


def lm(
    text: Annotated[
        str, typer.Argument(metavar="TEXT", help="A text file of one sentence a line, or DATA with a column 'text'.")
    ],
    output: Annotated[Path, typer.Option("--output", metavar="FILE", help="Write .arpa, or .arpa.gz.")],
    order: Annotated[int, typer.Option(min=2, max=6, help="Words to an n-gram.")] = 4,
    normaliser: Annotated[
        str, typer.Option(metavar="NAME", help="As the CTC model's text: none, basic, default, english, a .glm file.")
    ] = "default",
    json: JsonFile = None,
    quiet: Quiet = False,
) -> None:
    """Make an n-gram language model of text (modified Kneser-Ney, ARPA format), for decoding.lm of a recipe.

    Of a table, rows whose split is dev or test are left out; one without that column is taken whole, and adapt would
    carve dev and test from it: decoding.lm=from-train takes the training part's text alone.

    Example: speechxfer lm train.txt --output lm.arpa
    """
    from speechxfer.text.ngram import BEGIN_TOKEN, END_TOKEN, UNKNOWN_WORD, train_ngram
    from speechxfer.text.normalise import get_normaliser

    normalise = get_normaliser(normaliser)
    if not output.name.lower().endswith((".arpa", ".arpa.gz")):
        raise UserError("is no name of an ARPA file", where=f"--output {output}", fix="end it in .arpa or .arpa.gz")
    sentences, held_out = _sentences(text)
    written = [line for line in map(normalise, sentences) if line.strip()]
    try:
        model = train_ngram(written, order)
    except UserError as error:
        raise UserError(error.problem, where=text, fix=error.fix) from None
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        model.write(output)
    except OSError as error:
        raise UserError(f"cannot be written ({error.strerror or error})", where=f"--output {output}") from None
    words = sum(len(line.split()) for line in written)
    known = len(set(model.probabilities[0]) - {(BEGIN_TOKEN,), (END_TOKEN,), (UNKNOWN_WORD,)})
    if not silent(quiet, json):
        aside = f" ({held_out:,} of dev and test left out)" if held_out else ""
        typer.echo(f"{text}: {len(written):,} sentences{aside}, {words:,} words, {known:,} of them different")
        typer.echo(f"{output}: {', '.join(f'{len(found):,}' for found in model.probabilities)} n-grams of 1 to {order}")
        typer.echo(f"use it: speechxfer adapt RECIPE head.kind=ctc decoding.kind=beam decoding.lm={output}")
    write_json(
        {
            "output": str(output),
            "order": order,
            "normaliser": normaliser,
            "sentences": len(written),
            "held_out": held_out,
            "words": words,
            "vocabulary": known,
            "ngrams": [len(found) for found in model.probabilities],
        },
        json,
    )


def _sentences(text: str) -> tuple[list[str], int]:
    """The lines of a text file, or DATA's texts; and how many of them were left out as dev or test."""
    from speechxfer.data.tables import TABLE_DELIMITERS

    path = Path(text)
    if path.is_file() and path.suffix.lower() not in (*TABLE_DELIMITERS, ".parquet"):
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
            if lines[:1] == ["\\data\\"]:
                raise UserError("is a language model already", where=text, fix="name the text that it was made of")
            return lines, 0
        except UnicodeDecodeError:
            raise UserError("is not UTF-8 text", where=text, fix="convert it: iconv -t UTF-8") from None
        except OSError as error:
            raise UserError(f"cannot be read ({error.strerror})", where=text) from None
    from speechxfer.data.reader import read
    from speechxfer.data.splits import normalise_split_name

    rows = read(text, need=("text",), unique=False)
    splits = rows["split"] if "split" in rows.column_names else [None] * len(rows)
    held_out = [normalise_split_name(split) in ("dev", "test") for split in splits]
    if all(held_out):
        raise UserError("every row is of dev or test by its column 'split'", where=text, fix="name a table of training")
    kept = [str(one or "") for one, out in zip(rows["text"], held_out, strict=True) if not out]
    return kept, sum(held_out)
