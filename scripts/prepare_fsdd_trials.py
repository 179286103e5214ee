"""Make tables of spoken digits for two trials of classifiers: an imbalanced cut, and the rejection of other audio.

    python scripts/prepare_fsdd_trials.py $SPEECHXFER_CORPORA --output trials

Reads fsdd/all.csv, speechocean762/train.csv, wakewords/train.csv, athena/train.csv and noise/noise.csv of the folder.

trials/imbalanced.csv has zero, one and two: in training 30 utterances of zero a speaker and 1 of each other, in dev and
test 5 of each.

trials/rejection.csv has all digits, and audio without digits with the label `unknown`; everything at 8 kHz, as the
digits are. Its parts share neither speakers nor classes of noise, but for the digits of training, which are other takes
of all speakers: dev has the digits of three speakers, test those of the three others. Column `kind`: digit, silence,
noise, speech (cut from sentences without a digit or a word that sounds like one), word (jarvis, computer, ...).
"""

from __future__ import annotations

import argparse
import os
import random
import re
from pathlib import Path

import numpy as np
import soundfile
import torch
from torchaudio.functional import resample

from speechxfer.data.audio import load_waveform
from speechxfer.data.reader import read
from speechxfer.data.tables import write_table
from speechxfer.scoring.labels import UNKNOWN_LABEL
from speechxfer.shapes import SAMPLE_RATE

RATE = 8000  # Hz, of the digits
NAMES = ("id", "audio", "label", "speaker", "kind", "split")
IMBALANCED = {"zero": 30, "one": 1, "two": 1}  # training utterances a speaker
NUM_HELD_OUT = 5  # dev and test utterances of each label a speaker
DIGIT_WORDS = {"zero", "oh", "one", "won", "two", "too", "to", "three", "four", "for", "fore"}
DIGIT_WORDS |= {"five", "six", "seven", "eight", "ate", "nine"}
DEV_SPEAKERS = ("george", "lucas", "yweweler")  # of the digits; the others are test
NUM_DIGIT_TAKES = 10  # takes 0 to 9 of the digits are dev or test
WORDS = {"train": ("computer",), "dev": ("jarvis",), "test": ("snowboy", "athena")}
NUM_SILENT = 40  # a part
CUTS = {"train": 2, "dev": 1, "test": 1}  # cuts of a recording of noise or of a sentence
NUM_SENTENCES = {"train": 600, "dev": 150, "test": 300}
CUT_SECONDS = (0.3, 0.9)
PARTS = ("train", "dev", "test")

Row = dict[str, str]


def take_of(row: Row) -> int:
    """Return the number of a digit's recording, of 50 a speaker and digit."""
    return int(re.search(r"_(\d+)\.wav$", row["audio"])[1])


def make_imbalanced(digits: list[Row]) -> list[Row]:
    """Return the rows of the imbalanced trial: dev and test first of each speaker and label, then training."""
    limits = {"test": NUM_HELD_OUT, "dev": 2 * NUM_HELD_OUT}
    rows = []
    for row in digits:
        take, label = take_of(row), row["label"]
        if label in IMBALANCED and take < limits["dev"] + IMBALANCED[label]:
            split = next((name for name, limit in limits.items() if take < limit), "train")
            rows.append(row | {"split": split})
    return rows


def make_known(digits: list[Row]) -> list[Row]:
    rows = []
    for row in digits:
        held_out = "dev" if row["speaker"] in DEV_SPEAKERS else "test"
        rows.append(row | {"split": held_out if take_of(row) < NUM_DIGIT_TAKES else "train"})
    return rows


class ClipWriter:
    """Writes clips of unknown audio at `RATE` to a folder, and collects their rows."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.rows = folder, list[Row]()
        (folder / "unknown").mkdir(parents=True, exist_ok=True)

    def add(self, name: str, samples: np.ndarray, kind: str, speaker: str, split: str) -> None:
        """Write samples at `RATE`."""
        audio = f"unknown/{kind}-{name}.wav"
        soundfile.write(self.folder / audio, samples.clip(-1, 1), RATE, subtype="PCM_16")
        row = {"id": audio, "audio": audio, "label": UNKNOWN_LABEL, "speaker": speaker, "kind": kind, "split": split}
        self.rows.append(row)


def load_at_rate(row: Row) -> np.ndarray:
    return resample(torch.from_numpy(load_waveform(row)), SAMPLE_RATE, RATE).numpy()


def cut_loudest(samples: np.ndarray, seconds: float, rng: random.Random) -> np.ndarray:
    """Cut the loudest of five random pieces, so that speech is in it."""
    length = round(seconds * RATE)
    starts = [rng.randrange(max(1, len(samples) - length)) for _ in range(5)]
    start = max(starts, key=lambda at: float(np.square(samples[at : at + length]).sum()))
    return samples[start : start + length]


def trim_silence(samples: np.ndarray) -> np.ndarray:
    """Cut a single word out of its silence, 50 ms before the first and after the last loud 20 ms."""
    size = RATE // 50
    power = np.square(samples[: len(samples) // size * size]).reshape(-1, size).mean(1)
    loud = np.flatnonzero(power > 0.01 * power.max())
    margin = RATE // 20
    return samples[max(0, loud[0] * size - margin) : (loud[-1] + 1) * size + margin]


def add_noise(writer: ClipWriter, corpora: Path, rng: random.Random) -> None:
    """Add cuts of every class of noise; a class is in one part only."""
    rows = list(read(corpora / "noise" / "noise.csv"))
    classes = sorted({row["label"] for row in rows})
    for row in rows:
        split = PARTS[classes.index(row["label"]) % len(PARTS)]
        samples = load_at_rate(row)
        for k in range(CUTS[split]):
            cut = cut_loudest(samples, rng.uniform(*CUT_SECONDS), rng)
            writer.add(f"{Path(row['audio']).stem}-{k}", cut, "noise", f"noise {row['label']}", split)


def add_speech(writer: ClipWriter, corpora: Path, rng: random.Random) -> None:
    """Add cuts of sentences; of the speakers every fifth is test, and every tenth of the others dev."""
    rows = [row for row in read(corpora / "speechocean762" / "train.csv") if has_no_digit(row["text"])]
    speakers = sorted({row["speaker"] for row in rows})
    test = set(speakers[2::5])
    dev = set([name for name in speakers if name not in test][::10])
    parts = {name: "test" if name in test else "dev" if name in dev else "train" for name in speakers}
    rng.shuffle(rows)
    left = dict(NUM_SENTENCES)
    for row in rows:
        split = parts[row["speaker"]]
        if not left[split]:
            continue
        left[split] -= 1
        samples = load_at_rate(row)
        for k in range(CUTS[split]):
            cut = cut_loudest(samples, rng.uniform(*CUT_SECONDS), rng)
            writer.add(f"{Path(row['audio']).stem}-{k}", cut, "speech", f"speaker {row['speaker']}", split)


def has_no_digit(text: str) -> bool:
    return not DIGIT_WORDS.intersection(re.findall(r"[a-z']+", text.lower()))


def add_words(writer: ClipWriter, corpora: Path) -> None:
    """Add single words, each in one part only."""
    rows = [row for name in ("wakewords", "athena") for row in read(corpora / name / "train.csv")]
    parts = {word: split for split, words in WORDS.items() for word in words}
    for row in rows:
        if row["label"] in parts:
            name = Path(row["audio"]).stem
            samples = trim_silence(load_at_rate(row))
            writer.add(f"{row['label']}-{name}", samples, "word", f"word {name}", parts[row["label"]])


def add_silence(writer: ClipWriter, rng: random.Random) -> None:
    """Add digital silence, and white noise from -90 to -50 dB of full scale."""
    generator = np.random.default_rng(rng.randrange(2**32))
    for split in PARTS:
        for k in range(NUM_SILENT):
            length = round(rng.uniform(*CUT_SECONDS) * RATE)
            level = 0.0 if k % 4 == 0 else 10 ** (rng.uniform(-90, -50) / 20)
            writer.add(f"{split}-{k}", level * generator.standard_normal(length), "silence", f"silence {split}", split)


def read_digits(corpora: Path, output: Path) -> list[Row]:
    rows = []
    for row in read(corpora / "fsdd" / "all.csv"):
        audio = Path(os.path.relpath(Path(row["path"]).resolve(), output.resolve())).as_posix()
        name = Path(row["audio"]).name
        rows.append({"id": name, "audio": audio, "label": row["text"], "speaker": row["speaker"], "kind": "digit"})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpora", type=Path, help="folder of the corpora")
    parser.add_argument("--output", type=Path, required=True, help="folder to write to")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    digits = read_digits(options.corpora, options.output)
    rng, writer = random.Random(0), ClipWriter(options.output)
    add_silence(writer, rng)
    add_noise(writer, options.corpora, rng)
    add_speech(writer, options.corpora, rng)
    add_words(writer, options.corpora)
    tables = {"imbalanced": make_imbalanced(digits), "rejection": [*make_known(digits), *writer.rows]}
    for name, rows in tables.items():
        write_table(options.output / f"{name}.csv", rows, NAMES)
        counts = {part: sum(row["split"] == part for row in rows) for part in PARTS}
        print(f"{options.output / name}.csv: {', '.join(f'{part} {n:,}' for part, n in counts.items())}")


if __name__ == "__main__":
    main()
