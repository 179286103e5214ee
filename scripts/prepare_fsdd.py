"""The Free Spoken Digit Dataset (Jackson et al., CC BY-SA 4.0), as its repository is published, becomes a table.

    python scripts/prepare_fsdd.py $SPEECHXFER_CORPORA/free-spoken-digit-dataset

writes all.csv beside recordings/. `split` is the published one (takes 0 to 4 are test): the same speakers stand on both
sides of it. For a speaker that no training heard: data.split=ignore data.test=speaker=george
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path

from speechxfer.data.tables import write_table

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
ACCENTS = {  # as the repository's metadata.py has them; lucas joined later
    "george": "greek",
    "jackson": "american",
    "lucas": "german",
    "nicolas": "french",
    "theo": "american",
    "yweweler": "german",
}
NAMES = ("audio", "text", "label", "speaker", "accent", "split")
_FILE = re.compile(r"(\d)_([a-z]+)_(\d+)\.wav")


def table(recordings: Path, output: Path) -> list[dict[str, str]]:
    """A row for each recording {digit}_{speaker}_{take}.wav, sorted by name; paths relative to `output`."""
    rows = []
    for file in sorted(recordings.iterdir()):
        found = _FILE.fullmatch(file.name)
        if not found:
            continue
        word, speaker = WORDS[int(found[1])], found[2]
        rows.append(
            {
                "audio": Path(os.path.relpath(file.resolve(), output.resolve())).as_posix(),
                "text": word,
                "label": word,
                "speaker": speaker,
                "accent": ACCENTS.get(speaker, ""),
                "split": "test" if int(found[3]) < 5 else "train",
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repository", type=Path, help="its folder, or the folder of the recordings themselves")
    parser.add_argument("--output", type=Path, help="folder to write all.csv to (default: the folder given)")
    arguments = parser.parse_args()
    recordings = arguments.repository / "recordings"
    recordings = recordings if recordings.is_dir() else arguments.repository
    output = arguments.output or arguments.repository
    rows = table(recordings, output) if recordings.is_dir() else []
    if not rows:
        sys.exit(f"{recordings}: no recordings named like 7_jackson_3.wav\n  fix: give the repository's folder")
    write_table(output / "all.csv", rows, NAMES)
    print(f"{output / 'all.csv'}: {len(rows)} utterances, {len({row['speaker'] for row in rows})} speakers")


if __name__ == "__main__":
    main()
