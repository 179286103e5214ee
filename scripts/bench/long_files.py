"""Long recordings against their utterances one by one: scripts/bench/long_files.py TABLE --adapted MODEL

The utterances of each speaker of TABLE are joined, 20 to a file, 0.5 s apart. The adapted model transcribes the files
here, and exported in faster-whisper and in the pipeline of transformers, both with timestamps, as they transcribe long
audio; and the utterances one by one here. Printed are the error rates, and the longest run of deleted words: a
sentence that is left out is a long run.
"""

from __future__ import annotations

import argparse
import re
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from _measuring import corpus_table, machine, named, run, versions, write
from _processes import say

from speechxfer.shapes import SAMPLE_RATE

UTTERANCES_PER_FILE = 20
PAUSE_SECONDS = 0.5
SIDES = ("one by one", "speechxfer", "faster-whisper", "transformers")


def join_utterances(table: Path, folder: Path) -> tuple[list[Path], list[str], list[str]]:
    """Write the files; returns them, their texts and their speakers."""
    from speechxfer.data import audio
    from speechxfer.data.reader import read

    rows = read(table)
    by_speaker: dict[str, list[int]] = {}
    for row, speaker in enumerate(rows["speaker"]):
        by_speaker.setdefault(speaker, []).append(row)
    files, texts, speakers = [], [], []
    for speaker, members in sorted(by_speaker.items()):
        for start in range(0, len(members), UTTERANCES_PER_FILE):
            chosen = [rows[row] for row in members[start : start + UTTERANCES_PER_FILE]]
            pause = np.zeros(round(PAUSE_SECONDS * SAMPLE_RATE), np.float32)
            pieces = [piece for row in chosen for piece in (pause, audio.load_waveform(row))][1:]
            files.append(folder / f"{speaker}-{start}.wav")
            soundfile.write(files[-1], np.concatenate(pieces), SAMPLE_RATE)
            texts.append(" ".join(row["text"] for row in chosen))
            speakers.append(speaker)
    return files, texts, speakers


def transcribe_here(model: str, audio: Any) -> list[str]:
    """Transcribe files or a data set with `speechxfer.transcribe`."""
    from speechxfer.models.transcribe import transcribe

    return [transcript.text for transcript in transcribe(model, audio)]


def make_faster_whisper(folder: Path, beam_size: int) -> Callable[[Path], str]:
    """Return the transcription of a file by faster-whisper, as it transcribes long audio."""
    from faster_whisper import WhisperModel

    model = WhisperModel(str(folder), device="cpu", compute_type="float32")

    def transcribe(path: Path) -> str:
        segments, _ = model.transcribe(
            str(path), language="en", beam_size=beam_size, condition_on_previous_text=False, temperature=0.0
        )
        return " ".join(segment.text.strip() for segment in segments)

    return transcribe


def make_pipeline(folder: Path, beam_size: int) -> Callable[[Path], str]:
    """Return the transcription of a file by transformers' pipeline, in windows of 30 s that its timestamps place."""
    from transformers import pipeline

    recogniser = pipeline("automatic-speech-recognition", str(folder), device="cpu")

    def transcribe(path: Path) -> str:
        waveform, rate = soundfile.read(path, dtype="float32")
        inputs = {"raw": waveform, "sampling_rate": rate}
        text = recogniser(inputs, return_timestamps=True, generate_kwargs={"num_beams": beam_size})["text"]
        return str(text).strip()

    return transcribe


def measure(references: Sequence[str], hypotheses: Sequence[str], speakers: Sequence[str], normaliser: str) -> Any:
    """Return the error rate, its counts, and the longest run of deleted words."""
    from speechxfer.scoring import ScoringOptions, score

    result = score(references, hypotheses, speakers=speakers, options=ScoringOptions(normaliser=normaliser))
    found = result.to_json()
    names = ("wer", "interval", "substitutions", "deletions", "insertions", "reference_words")
    runs = [len(run) for operations in result.operations for run in re.findall("D+", operations)]
    return {name: found[name] for name in names} | {"longest_deletion": max(runs, default=0)}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to this file")
    parser.add_argument("table", nargs="?", type=Path, help="default: $SPEECHXFER_CORPORA/speechocean762/test-part.csv")
    parser.add_argument("--adapted", default="runs/accent-whisper/model", help="our model; default %(default)s")
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES), help="default: all")
    given = parser.parse_args(arguments)
    table = corpus_table(given.table, "speechocean762/test-part.csv")

    from speechxfer.data.reader import read
    from speechxfer.export import export_model
    from speechxfer.models import load

    settings = load(given.adapted, device="cpu").settings
    with tempfile.TemporaryDirectory() as name:
        folder, results = Path(name), dict[str, Any]()
        files, texts, speakers = join_utterances(table, folder)
        for side in given.sides:
            if side == "one by one":
                rows = read(table)
                answer = list(rows["text"]), transcribe_here(given.adapted, rows), list(rows["speaker"])
            elif side == "speechxfer":
                answer = texts, transcribe_here(given.adapted, [str(path) for path in files]), speakers
            else:
                to, make = {
                    "faster-whisper": ("ctranslate2", make_faster_whisper),
                    "transformers": ("transformers", make_pipeline),
                }[side]
                transcribe = make(export_model(given.adapted, to, folder / to).output, settings.beam_size)
                answer = texts, [transcribe(path) for path in files], speakers
            results[side] = measure(*answer, settings.normaliser)
            say(f"{side}: {results[side]['wer']:.1%}, longest deletion {results[side]['longest_deletion']} words")
        seconds = sum(soundfile.info(path).duration for path in files)
    document = {
        "command": f"python scripts/bench/long_files.py --adapted {'/'.join(Path(given.adapted).parts[-3:])}",
        "machine": machine(),
        "versions": versions("torch", "transformers", "faster-whisper", "ctranslate2"),
        "corpus": named(table),
        "files": len(files),
        "minutes": round(seconds / 60, 1),
        "sides": results,
    }
    write(document, given.json)


if __name__ == "__main__":
    run(main)
