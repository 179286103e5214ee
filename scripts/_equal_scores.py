"""The 20 inputs of `speechxfer score` that `equal_behaviour.py` compares: every format, every option that counts."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np

_SPOKEN = (
    "the train leaves at nine and we have lunch in the garden today with seven old friends from london "
    "please call stella ask her to bring these things six spoons of fresh snow peas five thick slabs"
)
PLAIN = _SPOKEN.split()
TRICKY = ["can't", "don't", "twenty-one", "Mr.", "colour", "ice cream", "£5", "1,200", "naïve", "U.S.", "uh", "okay"]
CHINESE = "今天天气很好我们去公园吃午饭请打电话给她"
GLM = """\
;; a global mapping file
* name "test"
[can't] => [can not] / [ ] __ [ ]
[don't] => [do not] / [ ] __ [ ]
okay => ok
[uh] => []
"""
# name: the words after `score`, and the exit code. Paths are relative to the folder that `write_scores` fills.
SCORES: dict[str, tuple[str, int]] = {
    "01-csv": ("ref.csv hyp-a.csv", 0),
    "02-tsv-by": ("ref.tsv hyp-a.tsv --by accent,speaker", 0),
    "03-one-jsonl": ("both-a.jsonl --seed 7", 0),
    "04-kaldi": ("kaldi/text hyp-a", 0),
    "05-trn-sclite": ("ref.trn hyp-a.trn --align sclite", 0),
    "06-stm-ctm": ("ref.stm hyp-a.ctm --align sclite --missing empty", 0),
    "07-two-systems": ("ref.csv hyp-a.csv hyp-b.csv", 0),
    "08-three-tables": ("both-a.jsonl both-b.jsonl both-c.jsonl --by accent", 0),
    "09-characters": ("ref.csv hyp-b.csv --unit char", 0),
    "10-mixed": ("mixed-ref.csv mixed-hyp.csv --unit mixed", 0),
    "11-english": ("ref.csv hyp-a.csv --normalise english", 0),
    "12-none": ("ref.csv hyp-b.tsv --normalise none --by none", 0),
    "13-glm": ("ref.jsonl hyp-a.jsonl --normalise rules.glm", 0),
    "14-compounds": ("ref.csv joined.csv --compounds", 0),
    "15-notation": ("notation.trn hyp-a.trn --notation --align sclite", 0),
    "16-by-line": ("ref.txt hyp-a.txt --by-line", 0),
    "17-missing-empty": ("ref.csv short-a.csv --missing empty --align sclite", 0),
    "18-missing-skip": ("ref.csv short-a.csv short-b.csv --missing skip", 0),
    "19-utt2spk": ("kaldi/text hyp-b-ids.txt --format kaldi --utt2spk kaldi/utt2spk --by speaker", 0),
    "20-gates": ("ref.csv hyp-b.csv --fail-above 0.05 --fail-worse-than hyp-a.csv", 1),
}
Texts = dict[str, str]  # id to text
Rows = list[dict[str, str]]


def write_scores(folder: Path, utterances: int = 240, speakers: int = 24) -> None:
    """Write every file that `SCORES` names, from seed 0."""
    (folder / "kaldi").mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    names = [f"s{k % speakers}-{k:03d}" for k in range(utterances)]
    about = {
        name: {"speaker": name.split("-")[0], "accent": ("north", "south", "west")[k % 3], "room": f"r{k % 7}"}
        for k, name in enumerate(names)
    }
    reference = {name: _sentence(rng, k) for k, name in enumerate(names)}
    chinese = {name: _chinese(rng) for name in names}
    systems = {key: _heard(reference, rate, rng) for key, rate in (("a", 0.12), ("b", 0.25), ("c", 0.13))}
    files = _reference_files(reference, about, rng)
    systems["b"] = {name: text.lower().strip(".") for name, text in systems["b"].items()}
    for number, (key, hypotheses) in enumerate(systems.items()):
        rows = _rows(dict(sorted(hypotheses.items())), "hypothesis")
        files |= {f"hyp-{key}.{suffix}": text for suffix, text in _tables(rows).items()}
        files[f"hyp-{key}.txt"] = "".join(f"{text}\n" for text in hypotheses.values())
        files[f"hyp-{key}.trn"] = "".join(f"{text} ({name})\n" for name, text in hypotheses.items())
        files[f"hyp-{key}"] = files[f"hyp-{key}-ids.txt"] = "".join(f"{n} {text}\n" for n, text in hypotheses.items())
        both = [
            {"id": name, "hypothesis": hypotheses[name], "reference": reference[name]} | about[name] for name in names
        ]
        files[f"both-{key}.jsonl"] = _tables(both)["jsonl"]
        kept = {name: text for k, (name, text) in enumerate(hypotheses.items()) if k % 11 != number}
        files[f"short-{key}.csv"] = _tables(_rows(kept, "hypothesis"))["csv"]
    files["hyp-a.ctm"] = _ctm(systems["a"], rng)
    joined = {n: t.replace("have lunch", "havelunch").replace("ice cream", "icecream") for n, t in reference.items()}
    files["joined.csv"] = _tables(_rows(joined, "hypothesis"))["csv"]
    files["mixed-ref.csv"] = _tables([row | about[row["id"]] for row in _rows(chinese, "text")])["csv"]
    files["mixed-hyp.csv"] = _tables(_rows(_heard(chinese, 0.2, rng), "hypothesis"))["csv"]
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")


def _reference_files(reference: Texts, about: dict[str, dict[str, str]], rng: np.random.Generator) -> Texts:
    """Return the references in every format: file's name to content."""
    files = _tables([row | about[row["id"]] for row in _rows(reference, "text")])
    files = {f"ref.{suffix}": text for suffix, text in files.items()}
    files["ref.txt"] = "".join(f"{text}\n" for text in reference.values())
    files["ref.trn"] = "".join(f"{text} ({name})\n" for name, text in reference.items())
    files["notation.trn"] = "".join(f"{_marked(text, rng)} ({name})\n" for name, text in reference.items())
    files["kaldi/text"] = "".join(f"{name} {text}\n" for name, text in reference.items())
    files["kaldi/utt2spk"] = "".join(f"{name} few{int(stated['room'][1:]) // 2}\n" for name, stated in about.items())
    files["ref.stm"] = "".join(
        f"call{k // 30} A {about[name]['speaker']} {10 * (k % 30):.2f} {10 * (k % 30) + 9.5:.2f} "
        f"<o,{about[name]['accent']}> {text}\n"
        for k, (name, text) in enumerate(reference.items())
    )
    files["rules.glm"] = GLM
    return files


def _rows(texts: Texts, column: str) -> Rows:
    return [{"id": name, column: text} for name, text in texts.items()]


def _tables(rows: Rows) -> dict[str, str]:
    """Return the rows as csv, tsv (whose values are not quoted) and jsonl."""
    comma = io.StringIO()
    writer = csv.DictWriter(comma, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    tabs = "".join("\t".join(values) + "\n" for values in (list(rows[0]), *(list(row.values()) for row in rows)))
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return {"csv": comma.getvalue(), "tsv": tabs, "jsonl": lines}


def _sentence(rng: np.random.Generator, number: int) -> str:
    words = [PLAIN[k] for k in rng.integers(len(PLAIN), size=3 + number % 9)]
    if number % 2:
        words.insert(len(words) // 2, TRICKY[int(rng.integers(len(TRICKY)))])
    if number % 3 == 0:
        words.append("and we have lunch")
    text = " ".join(words)
    return f"{text[0].upper()}{text[1:]}." if number % 4 == 0 else text


def _chinese(rng: np.random.Generator) -> str:
    letters = "".join(CHINESE[k] for k in rng.integers(len(CHINESE), size=7))
    return f"{letters[:4]} {PLAIN[int(rng.integers(len(PLAIN)))]} {letters[4:]}"


def _heard(texts: Texts, rate: float, rng: np.random.Generator) -> Texts:
    """Return the texts with words substituted, deleted and inserted, each at a third of `rate`."""
    found = {}
    for name, text in texts.items():
        words: list[str] = []
        for word in text.split():
            drawn = rng.random()
            other = PLAIN[int(rng.integers(len(PLAIN)))]
            words += [other] if drawn < rate / 3 else [] if drawn < 2 * rate / 3 else [word]
            words += [other] if drawn > 1 - rate / 3 else []
        found[name] = " ".join(words)
    return found


def _marked(text: str, rng: np.random.Generator) -> str:
    """Return the text in sclite's notation: some words optional, in alternatives, or fragments."""
    forms = ("({0})", "{{ {0} / okay / @ }}", "{0}-", "{{ {0} / {0} {0} }}")
    words = [
        forms[int(rng.integers(len(forms)))].format(word) if word.isalpha() and rng.random() < 0.2 else word
        for word in text.split()
    ]
    return " ".join(words)


def _ctm(texts: Texts, rng: np.random.Generator) -> str:
    """Return the words with times within the segments of `ref.stm`; the last calls were never transcribed."""
    lines = []
    for k, text in enumerate(texts.values()):
        start = 10.0 * (k % 30)
        for word in text.split() if k < 180 else ():
            length = 0.2 + 0.2 * rng.random()
            lines.append(f"call{k // 30} A {start:.2f} {length:.2f} {word} 0.9\n")
            start += length + 0.1
    return "".join(lines)
