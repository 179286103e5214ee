"""Counts equal to jiwer's, utterance by utterance, and rates to its definitions."""

import random

import jiwer
import pytest
from rapidfuzz.distance import Levenshtein

from speechxfer.errors import UserError
from speechxfer.scoring import ScoringOptions, alignment, score


def pairs(count, seed):
    rng = random.Random(seed)
    references, hypotheses = [], []
    for _ in range(count):
        vocabulary = "abcdefghijklmnop"[: rng.randint(1, 16)]
        size = rng.choice([3, 8, 20])
        text = [rng.choice(vocabulary) for _ in range(rng.randint(1, size))]
        other = [rng.choice(vocabulary) for _ in range(rng.randint(0, size))]
        if rng.random() < 0.6:
            other = [w if rng.random() > 0.15 else rng.choice(vocabulary) for w in text if rng.random() > 0.1]
        references.append(" ".join(text))
        hypotheses.append(" ".join(other))
    return references, hypotheses


def test_every_utterance_as_jiwer_counts_it():
    references, hypotheses = pairs(100_000, 1)
    ours = score(references, hypotheses, options=ScoringOptions(normaliser="none"))
    for start in range(0, len(references), 20_000):
        part = slice(start, start + 20_000)
        theirs = jiwer.process_words(references[part], hypotheses[part])
        counted = [[0, 0, 0, 0] for _ in theirs.alignments]
        names = {"equal": 0, "substitute": 1, "delete": 2, "insert": 3}
        for row, chunks in zip(counted, theirs.alignments, strict=True):
            for chunk in chunks:
                length = max(chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx)
                row[names[chunk.type]] += length
        assert ours.words[part].tolist() == counted


def test_rates_that_jiwer_defines():
    references, hypotheses = pairs(3_000, 2)
    ours = score(references, hypotheses, options=ScoringOptions(normaliser="none")).counts
    theirs = jiwer.process_words(references, hypotheses)
    assert ours.wer == pytest.approx(theirs.wer, abs=1e-12)
    assert ours.cer == pytest.approx(jiwer.cer(references, hypotheses), abs=1e-12)


def test_operations_are_rapidfuzz_choice_of_any_length():
    rng = random.Random(3)
    references = [[rng.choice("abc") for _ in range(n)] for n in (0, 1, 5, 300, 900, 2500)]
    hypotheses = [[rng.choice("abc") for _ in range(n)] for n in (4, 1, 0, 310, 700, 2600)]
    for reference, hypothesis, found in zip(
        references, hypotheses, alignment.align_operations(references, hypotheses), strict=True
    ):
        edits = [(e.tag[0].upper().replace("R", "S"), e.src_pos) for e in Levenshtein.editops(reference, hypothesis)]
        ours, at = [], 0
        for letter in found:
            if letter != "=":
                ours.append((letter, at))
            at += letter != "I"
        assert ours == edits


def test_methods_differ_as_the_manual_says():
    assert alignment.count_operations([["a", "c"]], [["c", "b"]], "min").tolist() == [[0, 2, 0, 0]]
    assert alignment.count_operations([["a", "c"]], [["c", "b"]], "sclite").tolist() == [[1, 0, 1, 1]]


def test_operations_and_counts_agree():
    references, hypotheses = ([t.split() for t in side] for side in pairs(2_000, 4))
    for method in alignment.ALIGN_METHODS:
        counts = alignment.count_operations(references, hypotheses, method).tolist()
        found = alignment.align_operations(references, hypotheses, method)
        assert counts == [[o.count(letter) for letter in "=SDI"] for o in found]


def test_unknown_method_names_the_nearest():
    with pytest.raises(UserError, match="did you mean 'sclite'"):
        alignment.count_operations([["a"]], [["a"]], "sclit")


def test_a_pair_larger_than_the_limit_is_refused(monkeypatch):
    """The table of 3 and 2 words has (3 + 2 + 1) * (3 + 1) cells of one byte."""
    references, hypotheses = [["a", "b", "c"]], [["d", "e"]]
    monkeypatch.setattr(alignment, "_MAX_PAIR_BYTES", 24)
    assert alignment.count_operations(references, hypotheses).tolist() == [[0, 2, 1, 0]]
    monkeypatch.setattr(alignment, "_MAX_PAIR_BYTES", 23)
    with pytest.raises(UserError, match="an utterance of 3 words is too long"):
        alignment.count_operations(references, hypotheses)
