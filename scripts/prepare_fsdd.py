"""Make a table of the Free Spoken Digit Dataset (Jackson et al., CC BY-SA 4.0) from its published repository.

    python scripts/prepare_fsdd.py $SPEECHXFER_CORPORA/free-spoken-digit-dataset

writes all.csv next to recordings/. `split` is the published one (takes 0 to 4 are test), in which train and test share
their speakers. To test on an unseen speaker, set data.split=ignore data.test=speaker=george
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path

from speechxfer.data.tables import write_table

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
ACCENTS = {  # from the repository's metadata.py; lucas joined later
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
    """Return a row per recording {digit}_{speaker}_{take}.wav, sorted by name; paths relative to `output`."""
    rows = []
    for file in sorted(recordings.iterdir()):
        match = _FILE.fullmatch(file.name)
        if not match:
            continue
        word, speaker = WORDS[int(match[1])], match[2]
        rows.append(
            {
                "audio": Path(os.path.relpath(file.resolve(), output.resolve())).as_posix(),
                "text": word,
                "label": word,
                "speaker": speaker,
                "accent": ACCENTS.get(speaker, ""),
                "split": "test" if int(match[3]) < 5 else "train",
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repository", type=Path, help="folder of the repository or of the recordings")
    parser.add_argument("--output", type=Path, help="folder to write all.csv to (default: the repository)")
    arguments = parser.parse_args()
    recordings = arguments.repository / "recordings"
    recordings = recordings if recordings.is_dir() else arguments.repository
    output = arguments.output or arguments.repository
    rows = table(recordings, output) if recordings.is_dir() else []
    if not rows:
        sys.exit(f"{recordings}: no recordings named like 7_jackson_3.wav\n  fix: give the folder of the repository")
    write_table(output / "all.csv", rows, NAMES)
    print(f"{output / 'all.csv'}: {len(rows)} utterances, {len({row['speaker'] for row in rows})} speakers")


if __name__ == "__main__":
    main()
