"""Runs Debian's `sctk sclite`, makes the pairs it is compared on, and (run by itself) the golden files."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

INSTALLED = shutil.which("sctk") is not None
GOLDEN = Path(__file__).parent / "golden"
_SCORES = re.compile(r"id: \(([^)\n]+)\)\n(?:(?!id:).*\n)*?Scores: \(#C #S #D #I\) (\d+) (\d+) (\d+) (\d+)")
WORDS = [f"w{i}" for i in range(6)]


def run(
    reference: str, hypothesis: str, suffixes: tuple[str, str] = ("trn", "trn"), *options: str
) -> dict[str, list[int]]:
    """Utterance id to hits, substitutions, deletions, insertions."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "ref").write_text(reference, encoding="utf-8")
        Path(folder, "hyp").write_text(hypothesis, encoding="utf-8")
        ids = ["-i", "spu_id"] if suffixes[1] == "trn" else []
        command = ["sctk", "sclite", "-r", "ref", suffixes[0], "-h", "hyp", suffixes[1], *ids, "-s", "-l", "100000"]
        done = subprocess.run(
            [*command, "-o", "pra", "stdout", *options],
            cwd=folder, capture_output=True, text=True, check=True, timeout=300,
        )  # fmt: skip
    return {found[0]: [int(n) for n in found[1:]] for found in _SCORES.findall(done.stdout)}


def run_texts(references: list[str], hypotheses: list[str], *options: str) -> list[list[int]]:
    def trn(texts: list[str]) -> str:
        return "".join(f"{text} (s-{i})\n" for i, text in enumerate(texts))

    found = run(trn(references), trn(hypotheses), ("trn", "trn"), *options)
    return [found[f"s-{i}"] for i in range(len(references))]


def read_golden(name: str) -> tuple[list[str], list[str], list[list[int]]]:
    """References, hypotheses and sclite's counts of a golden file."""
    rows = map(json.loads, (GOLDEN / f"{name}.jsonl").read_text(encoding="utf-8").splitlines())
    references, hypotheses, counts = zip(*rows, strict=True)
    return list(references), list(hypotheses), list(counts)


def plain_pairs(count: int, seed: int) -> tuple[list[str], list[str]]:
    """Random vocabularies of 1 to 50 words, repeats, empties, up to 80 words."""
    rng = random.Random(seed)
    references, hypotheses = [], []
    for _ in range(count):
        vocabulary = [f"w{i}" for i in range(rng.choice([1, 2, 3, 5, 10, 50]))]
        text = [rng.choice(vocabulary) for _ in range(rng.randint(0, rng.choice([3, 10, 30, 80])))]
        if rng.random() < 0.5:
            other = [w for w in text if rng.random() > 0.1]
        else:
            other = [rng.choice(vocabulary) for _ in range(rng.randint(0, rng.choice([3, 10, 30, 80])))]
        references.append(" ".join(text))
        hypotheses.append(" ".join(other))
    return references, hypotheses


def marked_pairs(count: int, seed: int) -> tuple[list[str], list[str]]:
    """References with alternatives (nested, null), optional words and fragments."""
    rng = random.Random(seed)

    def word() -> str:
        kind = rng.random()
        return f"({rng.choice(WORDS)})" if kind < 0.1 else "w-" if kind < 0.15 else rng.choice(WORDS)

    def sequence(depth: int, length: int) -> str:
        out = []
        for _ in range(length):
            if depth and rng.random() < 0.15:
                some = [
                    "@" if rng.random() < 0.2 else sequence(depth - 1, rng.randint(1, 3))
                    for _ in range(rng.randint(2, 3))
                ]
                out.append("{ " + " / ".join(some) + " }")
            else:
                out.append(word())
        return " ".join(out)

    references = [sequence(2, rng.randint(1, 9)) for _ in range(count)]
    hypotheses = []
    for text in references:
        spoken = re.sub(r"[{}()@/]", " ", text).split()
        kept = [w if w[-1] != "-" else "w3" for w in spoken if rng.random() < 0.8]
        made = kept if rng.random() > 0.3 else [rng.choice(WORDS) for _ in range(rng.randint(0, 8))]
        hypotheses.append(" ".join(made))
    return references, hypotheses


def timed_pair(seed: int) -> tuple[str, str]:
    """An stm of three speakers with gaps and an ignored segment, and a ctm whose words drift over its borders."""
    rng = random.Random(seed)
    stm, ctm = [], []
    for channel in "AB":
        at = 0.0
        for i in range(25):
            at += rng.choice([0.0, 0.0, 0.8])
            length = rng.randint(1, 6)
            text = [rng.choice(WORDS) for _ in range(length)]
            end = at + 0.5 * length
            written = " ".join(text) if i % 9 != 5 else "ignore_time_segment_in_scoring"
            stm.append(f"rec {channel} spk{rng.randint(1, 3)} {at:.2f} {end:.2f} <o,f0,male> {written}")
            for k, w in enumerate(text):
                if rng.random() > 0.1:
                    spoken = w if rng.random() > 0.2 else rng.choice(WORDS)
                    ctm.append((channel, max(0.0, at + 0.5 * k + rng.uniform(-0.3, 0.3)), spoken))
            at = end
    ctm.sort()
    lines = [f"rec {channel} {start:.2f} 0.30 {word}" for channel, start, word in ctm]
    return "\n".join(stm) + "\n", "\n".join(lines) + "\n"


def marked_timed_pair(seed: int) -> tuple[str, str]:
    """An stm with alternatives, optional words and fragments, and a ctm of the spoken words."""
    rng = random.Random(seed)
    stm, ctm = [], []
    for i, text in enumerate(marked_pairs(30, seed)[0]):
        at = 4.0 * i
        stm.append(f"rec A spk{rng.randint(1, 3)} {at:.2f} {at + 4:.2f} <o,f0,male> {text}")
        spoken = [w if w[-1] != "-" else "w3" for w in re.sub(r"[{}()@/]", " ", text).split()]
        kept = [w if rng.random() > 0.2 else rng.choice(WORDS) for w in spoken if rng.random() > 0.2]
        ctm += [f"rec A {at + 0.1 + 0.18 * k:.2f} 0.10 {word}" for k, word in enumerate(kept[:20])]
    return "\n".join(stm) + "\n", "\n".join(ctm) + "\n"


def short_marked_texts(count: int, seed: int) -> list[str]:
    """Texts of a few words and alternatives, of which sclite can align the characters.

    It does not end on some optional words within alternatives.
    """
    rng = random.Random(seed)

    def word(optional: float = 0.0) -> str:
        kind, made = rng.random(), rng.choice(["ab", "b", "abc", "ca", "dd"])
        return f"({made})" if kind < optional else f"{made}-" if kind > 0.95 else made

    def part() -> str:
        if rng.random() > 0.3:
            return word(0.15)
        return "{ " + " / ".join(rng.choice([word(), f"{word()} {word()}", "@"]) for _ in range(2)) + " }"

    return [" ".join(part() for _ in range(rng.randint(1, 4))) for _ in range(count)]


def drop_markup(text: str) -> str:
    return " ".join(re.sub(r"[{}()@/]", " ", text).split())


def partial_pair(seed: int) -> tuple[str, str]:
    """An stm and a ctm that each lack a part of the other's time, at the start or at the end."""
    stm, ctm = timed_pair(seed)
    rng = random.Random(seed)

    def cut(lines: list[str], time: int) -> list[str]:
        kept = []
        for channel in "AB":
            some = [line for line in lines if line.split()[1] == channel]
            times = [float(line.split()[time]) for line in some]
            low, high = sorted(rng.uniform(0, times[-1]) for _ in range(2))
            if high - low < times[-1] / 4:
                low, high = 0.0, times[-1]
            kept += [line for line, at in zip(some, times, strict=True) if low <= at <= high]
        return kept

    return "\n".join(cut(stm.splitlines(), 3)) + "\n", "\n".join(cut(ctm.splitlines(), 2)) + "\n"


def add_ctm_alternatives(ctm: str, seed: int) -> str:
    """Replace words of a ctm by alternatives, some of them empty or of two words."""
    rng = random.Random(seed)
    lines = []
    for line in ctm.splitlines():
        recording, channel, start, length, _ = line.split()
        if rng.random() > 0.15:
            lines.append(line)
            continue
        other = f"{recording} {channel} {float(start) + 0.05:.2f} {length} {rng.choice(WORDS)}"
        marks = [f"{recording} {channel} * * {mark}" for mark in ("<ALT_BEGIN>", "<ALT>", "<ALT_END>")]
        second = [] if rng.random() < 0.3 else [other]
        lines += [marks[0], line, *([other] if rng.random() < 0.2 else []), marks[1], *second, marks[2]]
    return "\n".join(lines) + "\n"


def short_ctms(seed: int) -> tuple[str, str]:
    """Two ctm files of 25 recordings of two channels of up to 16 words, which sclite aligns at once.

    It cuts channels of more than 50 words and marks.
    """
    rng = random.Random(seed)
    files: tuple[list[str], list[str]] = [], []
    for name in (f"rec{i:02} {channel}" for i in range(25) for channel in "AB"):
        for k in range(rng.randint(5, 16)):
            word = rng.choice(WORDS)
            for side, error in zip(files, (0.0, 0.2), strict=True):
                if rng.random() > error or k == 0:
                    spoken = word if rng.random() > error else rng.choice(WORDS)
                    side.append(f"{name} {0.5 * k + rng.uniform(0, 0.1):.2f} 0.30 {spoken}")
    return "\n".join(files[0]) + "\n", "\n".join(files[1]) + "\n"


def random_glm(seed: int) -> tuple[str, list[str]]:
    """Rules over a small alphabet, with and without contexts, and texts to apply them to."""
    rng = random.Random(seed)

    def some(low: int, high: int, letters: str = "ab ") -> str:
        return "".join(rng.choice(letters) for _ in range(rng.randint(low, high)))

    lines = [";; random rules", "* case_sensitive = 'F'"]
    for _ in range(rng.randint(1, 12)):
        source = f"[{some(1, 3)}]" if rng.random() < 0.5 else f"{some(1, 3, 'ab')}"
        context = rng.choice(["", " / [ ] __ [ ]", f" / [{some(1, 2)}] __", f" / __ [{some(1, 2)}]", " / a __ b"])
        lines.append(f"{source} => [{some(0, 3, 'xyab ')}]{context} ;; a rule")
    texts = [" ".join(some(1, 4, "ab") for _ in range(rng.randint(0, 8))) for _ in range(10)]
    return "\n".join(lines) + "\n", texts


def apply_glm(glm: str, texts: list[str]) -> list[str]:
    """Texts as rfilter1 changes them, with a space at both ends as from csrfilt.sh."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rules.glm")
        path.write_text(glm, encoding="utf-8")
        lines = "".join(f" {text} \n" for text in texts)
        done = subprocess.run(["sctk", "rfilter1", str(path)], input=lines, capture_output=True, text=True, check=True)
    return [" ".join(line.split()) for line in done.stdout.splitlines()]


def main() -> None:
    for name, (references, hypotheses), options in (
        ("plain", plain_pairs(300, 1), ()),
        ("marked", marked_pairs(400, 2), ("-D", "-F")),
    ):
        counts = run_texts(references, hypotheses, *options)
        rows = [json.dumps(row) for row in zip(references, hypotheses, counts, strict=True)]
        (GOLDEN / f"{name}.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    stm, ctm = timed_pair(3)
    (GOLDEN / "timed.stm").write_text(stm, encoding="utf-8")
    (GOLDEN / "timed.ctm").write_text(ctm, encoding="utf-8")
    (GOLDEN / "timed.json").write_text(json.dumps(run(stm, ctm, ("stm", "ctm"))) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
