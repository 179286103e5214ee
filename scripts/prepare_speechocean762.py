"""Make tables of speechocean762 (OpenSLR 101, Zhang et al., Interspeech 2021) from its unpacked archive.

    python scripts/prepare_speechocean762.py $SPEECHXFER_CORPORA/speechocean762 --hold-out

writes train.csv and test.csv (the official split) next to the archive's folders. --hold-out also splits the official
train speakers: every fifth (the published results are on these) goes to test-part.csv, the others to train-part.csv,
where every tenth is dev (column `split`). With --table, it reads an existing train.csv and writes these two only.
--only recipes/accent-little.txt also writes the utterances of the list (ten minutes) to accent-little.csv.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import soundfile

from speechxfer.data.tables import read_columns, write_table
from speechxfer.errors import UserError

Row = dict[str, str]


def kaldi(path: Path) -> dict[str, str]:
    """Map the key of each line of a Kaldi file to the rest of the line."""
    if not path.is_file():
        raise UserError("no such file", where=str(path), fix="give the folder that the archive unpacks to")
    lines = (line.split(maxsplit=1) for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    return {key: (rest[0].strip() if rest else "") for key, *rest in lines}


def official(archive: Path, part: str, output: Path) -> list[Row]:
    """Return the rows of the official split `train` or `test`, sorted by utterance; paths relative to `output`."""
    files, texts, speakers, ages, genders = (
        kaldi(archive / part / name) for name in ("wav.scp", "text", "utt2spk", "spk2age", "spk2gender")
    )
    rows = []
    for name, file in sorted(files.items()):
        audio = archive / file
        try:
            speaker = speakers[name]
            row = {
                "audio": relative(audio, output),
                "text": texts[name],
                "speaker": speaker,
                "age": ages[speaker],
                "gender": genders[speaker],
                "accent": "mandarin",
                "duration": f"{soundfile.info(audio).duration:.3f}",
            }
        except KeyError as missing:
            raise UserError(f"no entry for {missing}", where=str(archive / part)) from None
        except soundfile.LibsndfileError as error:
            raise UserError(error.error_string, where=str(audio), fix="unpack the archive again") from None
        rows.append(row)
    return rows


def ready(table: Path, output: Path) -> list[Row]:
    """Return the rows of an existing table, with paths relative to `output`."""
    columns = read_columns(table)
    rows = [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
    return [row | {"audio": relative(table.parent / row["audio"], output)} for row in rows]


def relative(audio: Path, output: Path) -> str:
    return Path(os.path.relpath(audio.resolve(), output.resolve())).as_posix()


def split_held_out(rows: list[Row]) -> tuple[list[Row], list[Row]]:
    """Split into (train and dev, test): every fifth of the sorted speakers, from the third, is test; a tenth is dev."""
    speakers = sorted({row["speaker"] for row in rows})
    held_out = set(speakers[2::5])
    dev = set([speaker for speaker in speakers if speaker not in held_out][::10])
    split = {speaker: "test" if speaker in held_out else "dev" if speaker in dev else "train" for speaker in speakers}
    assigned = [row | {"split": split[row["speaker"]]} for row in rows]
    return [row for row in assigned if row["split"] != "test"], [row for row in assigned if row["split"] == "test"]


def only(listed: Path, rest: list[Row]) -> list[Row]:
    """Return the training rows in a list of utterances, without `split`, so that dev is drawn from them too."""
    if not listed.is_file():
        raise UserError("no such file", where=str(listed), fix="give a list with one utterance per line")
    names = {line for line in listed.read_text(encoding="utf-8").split("\n") if line and not line.startswith("#")}
    rows = [row for row in rest if Path(row["audio"]).stem in names and row["split"] == "train"]
    if len(rows) != len(names):
        raise UserError(f"{len(rows)} of its {len(names)} utterances are training rows here", where=str(listed))
    return [{key: value for key, value in row.items() if key != "split"} for row in rows]


def write(output: Path, name: str, rows: list[Row]) -> None:
    """Write a table, and print its size."""
    write_table(output / name, rows, list(rows[0]))
    hours = sum(float(row["duration"]) for row in rows) / 3600
    speakers = len({row["speaker"] for row in rows})
    print(f"{output / name}: {len(rows)} utterances, {speakers} speakers, {hours:.2f} h")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", type=Path, nargs="?", help="folder with WAVE/, train/ and test/")
    parser.add_argument("--table", type=Path, help="read this train.csv instead of the archive")
    parser.add_argument("--output", type=Path, help="folder to write to (default: that of the input)")
    parser.add_argument("--hold-out", action="store_true", help="also write train-part.csv and test-part.csv")
    parser.add_argument("--only", type=Path, metavar="LIST", help="with --hold-out: also write the listed utterances")
    arguments = parser.parse_args()
    if (arguments.archive is None) == (arguments.table is None):
        parser.error("give the archive's folder, or --table")
    try:
        if arguments.table is not None:
            output = arguments.output or arguments.table.parent
            train = ready(arguments.table, output)
        else:
            output = arguments.output or arguments.archive
            train = official(arguments.archive, "train", output)
            write(output, "train.csv", train)
            write(output, "test.csv", official(arguments.archive, "test", output))
        if arguments.hold_out or arguments.table is not None:
            rest, held_out = split_held_out(train)
            write(output, "train-part.csv", rest)
            write(output, "test-part.csv", held_out)
            if arguments.only is not None:
                write(output, f"{arguments.only.stem}.csv", only(arguments.only, rest))
    except UserError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
