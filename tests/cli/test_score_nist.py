"""`speechxfer score` with NIST's files: GLM, sclite's notation on both sides, stm and ctm."""

import json
from pathlib import Path

import pytest

TIMED = "rec A s 0 1 i know it\nrec A s 1 2 yes\n"


@pytest.fixture
def counts(run_score, write_file):
    """Score files by name, and return errors and reference words of the result."""

    def counted(files, *options):
        for name, text in files.items():
            write_file(name, text)
        run_score(*files, *options, "--json", "out.json", "--quiet")
        result = json.loads(Path("out.json").read_text(encoding="utf-8"))["result"]
        errors = result["substitutions"] + result["deletions"] + result["insertions"]
        return errors, result["reference_words"]

    return counted


def test_alternatives_of_a_glm(counts, write_file):
    write_file("x.glm", ";;\n[CAN'T] => [{CAN NOT / CANNOT}] / [ ] __ [ ]\nCANCELLED => CANCELED\n")
    files = {"r.trn": "I can't go (s-1)\nit was uncancelled (s-2)\n", "h.trn": "i cannot go (s-1)\nit was x (s-2)\n"}
    assert counts(files, "--normalise", "x.glm") == (1, 6)
    files = {"r.trn": "i can not go (s-1)\n", "h.trn": "I can't go (s-1)\n"}
    assert counts(files, "--normalise", "x.glm") == (0, 4)
    assert counts(files, "--normalise", "x.glm", "--unit", "char") == (0, 9)


def test_sections_of_a_glm(counts, write_file):
    write_file("x.glm", ';;\nHM => UM\n;; INPUT_DEPENDENT_APPLICATION = "ctm"\n[HE\'S] => [{HE IS / HE HAS}]\n')
    files = {"r.trn": "hm he has it (s-1)\nhe's (s-2)\n", "h.trn": "um he's it (s-1)\nhe's (s-2)\n"}
    assert counts(files, "--normalise", "x.glm") == (2, 5)


@pytest.mark.parametrize(
    ("reference", "hypothesis", "options", "expected"),
    [
        ("{a/b} c", "a c", [], (0, 2)),
        ("{ a /@ } c", "c", [], (0, 1)),
        ("he is", "{ he has / he is }", [], (0, 2)),
        ("{ colour / color } (uh)", "colr", ["--unit", "char"], (1, 7)),
        ("{ 你好 / 您 } 世界", "您世间", ["--unit", "char"], (1, 3)),
        ("hello;N world", "hello world;V", [], (0, 2)),
        ("{ " * 2000 + "a" + " }" * 2000, "a", [], (0, 1)),
    ],
)
def test_notation_of_both_sides(counts, reference, hypothesis, options, expected):
    files = {"r.trn": f"{reference} (s-1)\n", "h.trn": f"{hypothesis} (s-1)\n"}
    assert counts(files, "--notation", *options) == expected


def test_alternatives_of_a_ctm(counts):
    ctm = "".join(f"rec A {line}\n" for line in ("0 .1 i", "* * <ALT_BEGIN>", ".2 .1 no", "* * <ALT>", ".2 .1 know",
                                                 "* * <ALT_END>", "0.5 .1 it", "1.2 .1 yes"))  # fmt: skip
    assert counts({"r.stm": TIMED, "h.ctm": ctm}, "--notation") == (0, 4)


@pytest.mark.parametrize("name", ["h.ctm", "h.stm"])
def test_a_ctm_as_the_reference(counts, name):
    reference = "rec B 0 1 x\nrec A 0 .1 i\nrec A .2 .1 know\nrec A .5 .1 it\nrec A 1.2 .1 yes\n"
    texts = {"h.ctm": "rec a 0 1 i\nrec A 3 1 it\nREC A 4 1 no\nrec b 0 1 x\n", "h.stm": TIMED + "rec B s 0 1 x\n"}
    assert counts({"r.ctm": reference, name: texts[name]}) == ({"h.ctm": 2, "h.stm": 0}[name], 5)


def test_an_empty_ctm(counts):
    assert counts({"r.stm": TIMED, "h.ctm": ";; nothing was said\n"}, "--missing", "empty") == (4, 4)


def test_ids_that_differ_in_case_only(run_score, write_file):
    write_file("r.trn", "a b (S1-1)\nc (S1-2)\n")
    write_file("h.trn", "a x (s1-1)\nc (S1-2)\n")
    printed = run_score("r.trn", "h.trn")
    assert "[1 / 3" in printed and "ids of h.trn differ in case from those of r.trn: s1-1" in printed


def test_an_stm_against_an_stm(counts):
    reference = "rec A ann 0.00 1.50 a b\nrec A ben 0 1.5 c\nrec A ann 2 3 IGNORE_TIME_SEGMENT_IN_SCORING\n"
    hypothesis = "REC A ann 0 1.5 a b\nrec A ben 0.0 1.500 d\nrec A ann 2 3 e\n"
    assert counts({"r.stm": reference, "h.stm": hypothesis}) == (1, 3)
    hypothesis = "rec A ben 0 1.50 c\n"  # no other segment of this time
    assert counts({"r.stm": reference, "h.stm": hypothesis}, "--missing", "empty") == (2, 3)


def test_markup_that_is_not_read_is_a_warning(run_score, write_file):
    write_file("r.trn", "a b (s-1)\n")
    write_file("h.trn", "{ a / c } b (s-1)\n")
    assert "1 hypothesis contains braces as plain words (s-1): use --notation" in run_score("r.trn", "h.trn")


def test_cer_of_chinese(run_score, write_file):
    write_file("r.trn", "你好，世界。今天天气很好！ (s-1)\n你好世界 (s-2)\n")
    write_file("h.trn", "你好世界今天天气很好 (s-1)\n你 好 世 界 (s-2)\n")
    for unit in ("char", "word"):
        run_score("r.trn", "h.trn", "--unit", unit, "--json", "out.json", "--quiet")
        assert json.loads(Path("out.json").read_text(encoding="utf-8"))["result"]["cer"] == 0
