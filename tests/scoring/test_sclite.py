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
from speechxfer.scoring.notation import Notation
from speechxfer.scoring.pairing import read_pairs
from speechxfer.text.normalise import get_normaliser

needs_sclite = pytest.mark.skipif(not sclite.INSTALLED, reason="Debian's sctk is not installed")


def counted(references, hypotheses, notation=False, unit="word"):
    options = ScoringOptions(normaliser="none", align="sclite", notation=notation, unit=unit)
    return score(references, hypotheses, options=options).words.tolist()


def test_golden_pairs():
    references, hypotheses, expected = sclite.read_golden("plain")
    assert counted(references, hypotheses) == expected


def count_by_speaker(expected):
    """sclite numbers a speaker's segments; ours are named by time: compare what each speaker's segments hold."""
    return Counter((name.rsplit("-", 1)[0], tuple(counts)) for name, counts in expected.items())


def timed(stm, ctm, notation=False, **options):
    (pairs,) = read_pairs(stm, [ctm], notation=notation, **options)
    counts = counted(pairs.references, pairs.hypotheses, notation=notation)
    return Counter((s, tuple(c)) for s, c in zip(pairs.speakers, counts, strict=True))


def compare_timed(folder, texts, suffixes, *options, **reading):
    """Check the counts of each speaker's segments of two files against sclite's."""
    paths = [folder / f"{name}.{suffix}" for name, suffix in zip("rh", suffixes, strict=True)]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text)
    assert timed(*paths, **reading) == count_by_speaker(sclite.run(*texts, suffixes, *options))


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


OPTIONS = [
    (Notation(), ["-D", "-F"]),
    (Notation(fragments=False), ["-D"]),
    (Notation(optional_words=False), ["-F"]),
    (Notation(optional_words=False, fragments=False), []),
]


@needs_sclite
@pytest.mark.parametrize(("notation", "options"), OPTIONS)
@pytest.mark.parametrize("sides", ["references", "hypotheses", "both"])
def test_notation_of_either_side(notation, options, sides):
    references, hypotheses = sclite.marked_pairs(500, 13)
    if sides == "hypotheses":
        references, hypotheses = hypotheses, references
    elif sides == "both":
        hypotheses = sclite.marked_pairs(500, 14)[0]
    assert counted(references, hypotheses, notation) == sclite.run_texts(references, hypotheses, *options)


@needs_sclite
def test_glued_notation_and_tags():
    references, hypotheses = sclite.marked_pairs(500, 15)
    references = [text.replace("{ ", "{").replace(" }", "}").replace(" / ", "/") for text in references]
    hypotheses = [" ".join(f"{word};tag" for word in text.split()) for text in hypotheses]
    assert counted(references, hypotheses, True) == sclite.run_texts(references, hypotheses, "-D", "-F")


@needs_sclite
@pytest.mark.parametrize("is_marked", [False, True])
def test_characters(is_marked):
    """sclite does not end on some optional words of hypotheses."""
    references, hypotheses = sclite.short_marked_texts(500, 16), sclite.short_marked_texts(500, 17)
    spoken = list(map(sclite.drop_markup, hypotheses))
    plain = list(map(sclite.drop_markup, references))
    assert counted(plain, spoken, unit="char") == sclite.run_texts(plain, spoken, "-c")
    notation, options = (Notation(), ["-D"]) if is_marked else (Notation(False, False), [])
    found = counted(references, spoken, notation, "char")
    assert found == sclite.run_texts(references, spoken, "-c", *options)
    if not is_marked:
        assert counted(references, hypotheses, notation, "char") == sclite.run_texts(references, hypotheses, "-c")


@needs_sclite
@pytest.mark.parametrize("seed", range(20, 32))
def test_ctm_cut_by_stm(tmp_path, seed):
    compare_timed(tmp_path, sclite.timed_pair(seed), ("stm", "ctm"))


@needs_sclite
@pytest.mark.parametrize("seed", range(40, 46))
def test_notation_in_an_stm(tmp_path, seed):
    compare_timed(tmp_path, sclite.marked_timed_pair(seed), ("stm", "ctm"), "-D", "-F", notation=True)


@needs_sclite
@pytest.mark.parametrize(("reduce", "sides"), [("ref", ["ref"]), ("hyp", ["hyp"]), ("both", ["ref", "hyp"])])
@pytest.mark.parametrize("seed", range(50, 74))
def test_files_reduced_to_what_both_cover(tmp_path, seed, reduce, sides):
    texts = sclite.partial_pair(seed)
    compare_timed(tmp_path, texts, ("stm", "ctm"), "-m", *sides, reduce=reduce, missing="empty")


@needs_sclite
@pytest.mark.parametrize("seed", range(70, 82))
def test_alternatives_of_a_ctm(tmp_path, seed):
    stm, ctm = sclite.timed_pair(seed)
    compare_timed(tmp_path, (stm, sclite.add_ctm_alternatives(ctm, seed)), ("stm", "ctm"), notation=True)


@needs_sclite
@pytest.mark.parametrize("is_marked", [False, True])
@pytest.mark.parametrize("seed", range(90, 100))
def test_a_ctm_as_the_reference(tmp_path, seed, is_marked):
    reference, hypothesis = sclite.short_ctms(seed)
    reference = sclite.add_ctm_alternatives(reference, seed) if is_marked else reference
    compare_timed(tmp_path, (reference, hypothesis), ("ctm", "ctm"), notation=is_marked)


@needs_sclite
@pytest.mark.parametrize("seed", range(50))
def test_glm_files(tmp_path, seed):
    """Ten texts for each of fifty files."""
    glm, texts = sclite.random_glm(seed)
    (tmp_path / "rules.glm").write_text(glm)
    assert list(map(get_normaliser(str(tmp_path / "rules.glm")), texts)) == sclite.apply_glm(glm, texts)


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
