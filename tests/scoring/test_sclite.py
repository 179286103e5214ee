"""Every utterance's counts against NIST's sclite: golden files always, the program itself where it is installed."""

import json
import random
import re
import subprocess
from collections import Counter

import numpy as np
import pytest
import sclite

from speechxfer.scoring import ScoringOptions, score
from speechxfer.scoring.comparison import compute_segment_differences
from speechxfer.scoring.pairing import read_pairs

needs_sclite = pytest.mark.skipif(not sclite.INSTALLED, reason="Debian's sctk is not installed")


def counted(references, hypotheses, notation=False):
    options = ScoringOptions(normaliser="none", align="sclite", notation=notation)
    return score(references, hypotheses, options=options).words.tolist()


def test_golden_pairs():
    references, hypotheses, expected = sclite.read_golden("plain")
    assert counted(references, hypotheses) == expected


def count_by_speaker(expected):
    """sclite numbers a speaker's segments; ours are named by time: compare what each speaker's segments hold."""
    return Counter((name.rsplit("-", 1)[0], tuple(counts)) for name, counts in expected.items())


def timed(stm, ctm, notation=False):
    (pairs,) = read_pairs(stm, [ctm], notation=notation)
    counts = counted(pairs.references, pairs.hypotheses, notation=notation)
    return Counter((s, tuple(c)) for s, c in zip(pairs.speakers, counts, strict=True))


def test_golden_ctm_cut_by_stm():
    found = timed(sclite.GOLDEN / "timed.stm", sclite.GOLDEN / "timed.ctm")
    assert found == count_by_speaker(json.loads((sclite.GOLDEN / "timed.json").read_text()))


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
    assert found == count_by_speaker(sclite.run(stm, ctm, ("stm", "ctm")))


@needs_sclite
@pytest.mark.parametrize("seed", range(40, 46))
def test_notation_in_an_stm(tmp_path, seed):
    stm, ctm = sclite.marked_timed_pair(seed)
    (tmp_path / "r.stm").write_text(stm)
    (tmp_path / "h.ctm").write_text(ctm)
    found = timed(tmp_path / "r.stm", tmp_path / "h.ctm", notation=True)
    assert found == count_by_speaker(sclite.run(stm, ctm, ("stm", "ctm"), "-D", "-F"))


@needs_sclite
def test_mapsswe_as_nist_computes_it(tmp_path):
    """Segments, mean and standard deviation of their differences, as `sc_stats` prints them."""
    rng = random.Random(1)
    vocabulary = [f"w{i}" for i in range(50)]
    references = [" ".join(rng.choices(vocabulary, k=rng.randint(3, 25))) for _ in range(300)]

    def corrupt(share):
        words = ((rng.choice(vocabulary) if rng.random() < share else w for w in t.split()) for t in references)
        return [" ".join(w for w in text if rng.random() > share / 4) for text in words]

    texts = {"r": references, "a": corrupt(0.15), "b": corrupt(0.2)}
    for name, some in texts.items():
        lines = (f"{text} (s{i % 20}-{i})\n" for i, text in enumerate(some))
        (tmp_path / f"{name}.trn").write_text("".join(lines))
    for name in "ab":
        command = f"sctk sclite -r r.trn trn -h {name}.trn trn -i spu_id -o sgml".split()
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    both = "".join((tmp_path / f"{name}.trn.sgml").read_text() for name in "ab")
    printed = subprocess.run(
        ["sctk", "sc_stats", "-p", "-t", "mapsswe", "-v", "-n", "-"],
        cwd=tmp_path, check=True, capture_output=True, text=True, input=both,
    ).stdout  # fmt: skip
    found = re.search(r"MTCH_PR_RESULTS.*# segs: (\d+)\).*mean: (\S+)\) \(std dev: (\S+)\)", printed)
    options = ScoringOptions(normaliser="none", align="sclite")
    a, b = (score(references, texts[n], options=options).get_alignments() for n in "ab")
    ours = compute_segment_differences(a, b)
    assert len(ours) == int(found[1])
    assert -np.mean(ours) == pytest.approx(float(found[2]), abs=6e-4)
    assert np.std(ours, ddof=1) == pytest.approx(float(found[3]), abs=6e-4)
