"""Every utterance's counts against NIST's sclite: golden files always, the program itself where it is installed."""

import json
from collections import Counter

import pytest
import sclite

from speechxfer.scoring import score
from speechxfer.scoring.matching import read_pairs

needs_sclite = pytest.mark.skipif(not sclite.INSTALLED, reason="Debian's sctk is not installed")


def counted(references, hypotheses, **options):
    return score(references, hypotheses, normaliser="none", align="sclite", **options).words.tolist()


def golden(name):
    return zip(*map(json.loads, (sclite.GOLDEN / f"{name}.jsonl").read_text().splitlines()), strict=True)


def test_golden_pairs():
    references, hypotheses, expected = golden("plain")
    assert counted(references, hypotheses) == list(expected)


def test_golden_notation():
    references, hypotheses, expected = golden("marked")
    assert counted(references, hypotheses, notation=True) == list(expected)


def by_speaker(expected):
    """sclite numbers a speaker's segments; ours are named by time: compare what each speaker's segments hold."""
    return Counter((name.rsplit("-", 1)[0], tuple(counts)) for name, counts in expected.items())


def timed(stm, ctm):
    (pairs,) = read_pairs(stm, [ctm])
    counts = counted(pairs.references, pairs.hypotheses)
    return Counter((s, tuple(c)) for s, c in zip(pairs.speakers, counts, strict=True))


def test_golden_ctm_cut_by_stm():
    found = timed(sclite.GOLDEN / "timed.stm", sclite.GOLDEN / "timed.ctm")
    assert found == by_speaker(json.loads((sclite.GOLDEN / "timed.json").read_text()))


@needs_sclite
def test_five_thousand_pairs():
    references, hypotheses = sclite.plain_pairs(5000, 11)
    assert counted(references, hypotheses) == sclite.run_texts(references, hypotheses)


@needs_sclite
def test_notation():
    references, hypotheses = sclite.marked_pairs(3000, 12)
    assert counted(references, hypotheses, notation=True) == sclite.run_texts(references, hypotheses, "-D", "-F")


@needs_sclite
@pytest.mark.parametrize("seed", range(20, 32))
def test_ctm_cut_by_stm(tmp_path, seed):
    stm, ctm = sclite.timed_pair(seed)
    (tmp_path / "r.stm").write_text(stm)
    (tmp_path / "h.ctm").write_text(ctm)
    found = timed(tmp_path / "r.stm", tmp_path / "h.ctm")
    assert found == by_speaker(sclite.run(stm, ctm, ("stm", "ctm")))
