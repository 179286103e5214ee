"""Time and memory of `speechxfer score` on large inputs: scripts/bench/score_large.py [--json FILE]

Four whole programs, each in a process of its own, repeated alternately:

- a million rows of CSV, 8 words each on average, with `--json`;
- one utterance of 100,000 words with 20 % errors (words and characters);
- one utterance of 2,000 words, every tenth an alternative, with `--notation`;
- 20,000 alternatives in one utterance, with `--notation`.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from _measuring import machine, options, spread, versions, write
from _processes import say
from score import run_program

ERRORS = 0.2  # of the long utterance; the table has half of it


def make_vocabulary(rng: random.Random) -> list[str]:
    """Return 20,000 words of two to nine letters."""
    return ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 9))) for _ in range(20_000)]


def draw_words(rng: random.Random, vocabulary: Sequence[str], count: int) -> list[str]:
    """Return words of which some are far more frequent than others."""
    return [vocabulary[int(rng.random() ** 2 * len(vocabulary))] for _ in range(count)]


def change_words(rng: random.Random, words: Sequence[str], vocabulary: Sequence[str], errors: float) -> list[str]:
    """Return the words with substitutions (half of the errors), deletions and insertions (a quarter each)."""
    changed: list[str] = []
    for word in words:
        kind = rng.random() / errors
        if kind < 0.5:
            changed.append(rng.choice(vocabulary))
        elif kind >= 0.75:
            changed += [word, rng.choice(vocabulary)] if kind < 1 else [word]
    return changed


def write_table(folder: Path, rows: int, rng: random.Random) -> list[str]:
    """Write a reference and a hypothesis as CSV; returns the arguments of `score`."""
    vocabulary = make_vocabulary(rng)
    paths = [folder / "ref.csv", folder / "hyp.csv"]
    with paths[0].open("w", encoding="utf-8") as reference, paths[1].open("w", encoding="utf-8") as hypothesis:
        reference.write("id,speaker,text\n")
        hypothesis.write("id,hypothesis\n")
        for row in range(rows):
            words = draw_words(rng, vocabulary, rng.randint(1, 15))
            reference.write(f"u{row},s{row % 500},{' '.join(words)}\n")
            hypothesis.write(f"u{row},{' '.join(change_words(rng, words, vocabulary, ERRORS / 2))}\n")
    return [*map(str, paths), "--json", str(folder / "rows.json")]


def write_pair(folder: Path, name: str, reference: Sequence[str], hypothesis: Sequence[str]) -> list[str]:
    """Write two trn files of one utterance; returns the arguments of `score`."""
    paths = []
    for side, words in (("ref", reference), ("hyp", hypothesis)):
        paths.append(folder / f"{name}-{side}.trn")
        paths[-1].write_text(f"{' '.join(words)} (s-{name})\n", encoding="utf-8")
    return [*map(str, paths), "--json", str(folder / f"{name}.json")]


def write_inputs(folder: Path, *, share: float = 1.0) -> dict[str, list[str]]:
    """Write all inputs, of a share of their size; returns the arguments of `score` by name."""
    rng = random.Random(0)
    vocabulary = make_vocabulary(rng)
    rows, words, noted, alternatives = (round(share * count) for count in (1_000_000, 100_000, 2_000, 20_000))
    text = draw_words(rng, vocabulary, words)
    notation = draw_words(rng, vocabulary, noted)
    heard = change_words(rng, notation, vocabulary, ERRORS)
    notation = [f"{{ {word} / {rng.choice(vocabulary)} }}" if i % 10 == 0 else word for i, word in enumerate(notation)]
    choices = [(rng.choice(vocabulary), rng.choice(vocabulary)) for _ in range(alternatives)]
    chosen = [rng.choice(pair) if rng.random() > ERRORS else rng.choice(vocabulary) for pair in choices]
    braces = [f"{{ {one} / {other} }}" for one, other in choices]
    return {
        f"{rows:,} rows": write_table(folder, rows, rng),
        f"{words:,} words in one utterance": write_pair(
            folder, "words", text, change_words(rng, text, vocabulary, ERRORS)
        ),
        f"{noted:,} words with notation": [*write_pair(folder, "notation", notation, heard), "--notation"],
        f"{alternatives:,} alternatives": [*write_pair(folder, "alternatives", braces, chosen), "--notation"],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = options(__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="share of the sizes (default: %(default)s)")
    given: argparse.Namespace = parser.parse_args(arguments)
    program = str(Path(sys.executable).with_name("speechxfer"))
    with tempfile.TemporaryDirectory() as name:
        inputs = write_inputs(Path(name), share=given.share)
        runs: dict[str, list[dict[str, float]]] = {what: [] for what in inputs}
        for _ in range(given.repeats):
            for what, files in inputs.items():
                runs[what].append(run_program([program, "score", *files, "--quiet"]))
                say(f"{what}: {runs[what][-1]['seconds']:.1f} s, {runs[what][-1]['peak_memory_mb']:.0f} MB")
    results = {
        what: {
            "seconds": spread([found["seconds"] for found in repeats], 2),
            "peak_memory_mb": spread([found["peak_memory_mb"] for found in repeats], None),
        }
        for what, repeats in runs.items()
    }
    head = {"command": "python scripts/bench/score_large.py", "machine": machine()}
    write({**head, "versions": versions("rapidfuzz", "numpy"), "inputs": results}, given.json)


if __name__ == "__main__":
    main()
