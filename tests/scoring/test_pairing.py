"""References and hypotheses matched by id: missing, duplicate and unknown ids, speakers, formats, one file of both."""

import json
from pathlib import Path

import pytest

from speechxfer.errors import UserError
from speechxfer.scoring.pairing import read_pairs

REFERENCE = "a b (s1-1)\nc (s1-2)\n(s2-1)\n"


@pytest.fixture
def read(tmp_path, monkeypatch):
    """Write files by name, and read them: the first as the reference, `count` others as hypotheses."""
    monkeypatch.chdir(tmp_path)

    def reading(files, count=1, **options):
        for name, text in files.items():
            rows = text if isinstance(text, str) else "".join(json.dumps(row) + "\n" for row in text)
            (tmp_path / name).write_text(rows, encoding="utf-8")

        names = list(map(Path, files))
        return read_pairs(names[0], names[1 : 1 + count], **options)

    return reading


def test_utterances_are_matched_by_id_in_the_order_of_the_references(read):
    (found,) = read({"r.trn": REFERENCE, "h.trn": "x (s2-1)\nc (s1-2)\na (s1-1)\n"})
    assert found.name == "h.trn" and found.missing == [] and found.notes == []
    assert found.ids == ["s1-1", "s1-2", "s2-1"] and found.speakers == ["s1", "s1", "s2"]
    assert found.references == ["a b", "c", ""] and found.hypotheses == ["a", "c", "x"]


@pytest.mark.parametrize(
    ("missing", "ids", "note"),
    [
        ("empty", ["s1-1", "s1-2", "s2-1"], "2 utterances without a hypothesis scored as empty: s1-2, s2-1"),
        ("skip", ["s1-1"], "2 utterances without a hypothesis left out: s1-2, s2-1"),
    ],
)
def test_missing_hypotheses(read, missing, ids, note):
    (found,) = read({"r.trn": REFERENCE, "h.trn": "a (s1-1)\n"}, missing=missing)
    assert found.ids == ids and found.missing == ["s1-2", "s2-1"] and found.notes == [note]


@pytest.mark.parametrize(
    ("hypothesis", "message"),
    [
        ("a (s1-1)\n", "2 of 3 utterances have no hypothesis: s1-2, s2-1"),
        ("a (s1-1)\nb (s1-1)\n", "duplicate id 's1-1' on lines 1 and 2"),
        ("a (x-1)\n", "have no id in common: the first has 's1-1', the second 'x-1'"),
        (REFERENCE + "z (s9-9)\n", r"not in r.trn: s9-9 \(line 4\)"),
    ],
)
def test_ids_without_a_match_are_named(read, hypothesis, message):
    with pytest.raises(UserError, match=message):
        read({"r.trn": REFERENCE, "h.trn": hypothesis})


def test_a_long_list_of_ids_is_shortened(read):
    text = "".join(f"a (s-{i})\n" for i in range(13))
    with pytest.raises(UserError, match=r"12 of 13 utterances .*: s-1, s-2, .*, s-10 and 2 more"):
        read({"r.trn": text, "h.trn": "a (s-0)\n"})


def test_one_file_of_both_sides(read):
    rows = [{"id": "1", "reference": "a", "hypothesis": "b"}, {"id": "2", "reference": "c", "hypothesis": None}]
    (found,) = read({"both.jsonl": rows}, count=0, missing="empty")
    assert (found.ids, found.references, found.hypotheses) == (["1", "2"], ["a", "c"], ["b", ""])
    assert found.missing == ["2"]
    with pytest.raises(UserError, match="1 of 1 rows have no reference, the first on line 1"):
        read({"both.jsonl": [{"id": "1", "reference": None, "hypothesis": "b"}]}, count=0)
    with pytest.raises(UserError, match=r"no column for the reference(?s:.*)speechxfer score REF .*both\.jsonl"):
        read({"both.jsonl": [{"id": "1", "hypothesis": "b"}]}, count=0)
    with pytest.raises(UserError, match="a trn file has one side only"):
        read({"r.trn": REFERENCE}, count=0)


def test_files_that_all_hold_both_sides_are_all_systems(read):
    first, second = ([{"id": "1", "reference": ref, "hypothesis": hyp}] for ref, hyp in (("a", "b"), ("a z", "c")))
    before, after = read({"a.jsonl": first, "b.jsonl": second})
    assert (before.hypotheses, after.hypotheses) == (["b"], ["c"]) and after.references == ["a"]
    assert after.notes == ["the references of b.jsonl differ from those of a.jsonl, which are used, for 1"]


def test_audio_matches_where_one_table_has_no_id(read):
    csv = "id,audio,text,accent\n1,x.wav,a,uk\n2,y.wav,b,us\n"
    hypotheses = [{"audio": "y.wav", "hyp": "b"}, {"audio": "x.wav", "hyp": "c"}]
    (found,) = read({"r.csv": csv, "h.jsonl": hypotheses})
    assert (
        found.ids == ["x.wav", "y.wav"] and found.hypotheses == ["c", "b"] and found.columns["accent"] == ["uk", "us"]
    )
    assert found.audio == {"x.wav": "x.wav", "y.wav": "y.wav"}


def test_a_warning_about_swapped_files(read):
    rows = [{"id": "1", "text": "a", "hypothesis": "b"}]
    (found,) = read({"r.jsonl": rows, "h.jsonl": [{"id": "1", "text": "c"}]})
    assert "check that the two files are not swapped" in found.notes[0]


def test_speakers_of_an_utt2spk(read):
    files = {"r.csv": "id,text\nu1,a\nu2,b\n", "h.txt": "u1 a\nu2 b\n", "spk": "u1 s\nu2 t\n"}
    (found,) = read(files, format="csv,kaldi", utt2spk=Path("spk"))
    assert found.speakers == ["s", "t"]
    with pytest.raises(UserError, match="--utt2spk has no speaker for u2"):
        read({**files, "spk": "u1 s\n"}, format="csv,kaldi", utt2spk=Path("spk"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"missing": "skp"}, "did you mean 'skip'"),
        ({"format": "trm"}, "unknown format 'trm'"),
        ({"format": "trn,trn,trn"}, "has 3 formats"),
    ],
)
def test_unknown_options(read, options, message):
    with pytest.raises(UserError, match=message):
        read({"r.trn": REFERENCE, "h.trn": REFERENCE}, **options)


def test_files_that_cannot_be_paired(read):
    with pytest.raises(UserError, match="the same file is given twice"):
        read_pairs(Path("r.trn"), [Path("r.trn")])
    with pytest.raises(UserError, match=r"r\.txt has 2 lines but h.txt has 1"):
        read({"r.txt": "a\nb\n", "h.txt": "a\n"}, format="lines")
    with pytest.raises(UserError, match="its reference must be an stm or ctm file"):
        read({"r.trn": REFERENCE, "h.ctm": "rec A 0 1 a\n"})
    with pytest.raises(UserError, match=r"line 2 \(s1-2\): '{' without a '}'"):
        read({"r.trn": "a (s1-1)\n{ c (s1-2)\n", "h.trn": "a (s1-1)\nc (s1-2)\n"}, notation=True)


def test_files_are_reduced_to_what_both_cover(read):
    files = {"r.trn": REFERENCE, "h.trn": "a (s1-1)\nx (s9-9)\n"}
    (found,) = read(files, reduce="both")
    assert found.ids == ["s1-1"] and len(found.notes) == 2
    with pytest.raises(UserError, match=r"not in r\.trn: s9-9"):
        read(files, reduce="ref")
    with pytest.raises(UserError, match=r"unknown value --reduce hyb .did you mean 'hyp'"):
        read(files, reduce="hyb")


def test_a_ctm_as_the_reference(read):
    marked = "rec A * * <ALT_BEGIN>\nrec A .2 .1 no\nrec A * * <ALT>\nrec A * * <ALT_END>\n"
    reference = f"rec A 0 .1 i\n{marked}rec B 0 1 x\n"
    (found,) = read({"r.ctm": reference, "h.ctm": "rec A 0 1 i\nREC b 0 1 y\n"}, notation=True)
    assert found.ids == ["rec-A", "rec-B"] == found.speakers
    assert found.references == ["i { no / @ }", "x"] and found.hypotheses == ["i", "y"]
    with pytest.raises(UserError, match=r"has alternatives .* on line 3\n  fix: add --notation"):
        read({"r.ctm": reference, "h.ctm": "rec A 0 1 i\n"})
    (found,) = read({"r.ctm": "rec A 1 1 b\nrec A 0 1 a\n", "h.stm": "rec A s 1 2 d\nrec A t 0 1 c\n"})
    assert (found.references, found.hypotheses) == (["a b"], ["c d"])


def test_braces_of_either_side_are_checked(read):
    with pytest.raises(UserError, match=r"h.trn is not valid .*\n  - line 1 \(s-1\): '{' without a '}'"):
        read({"r.trn": "a (s-1)\n", "h.trn": "{ a (s-1)\n"}, notation=True)
    with pytest.raises(UserError, match=r"h.ctm is not valid .*\n  - line 1 \(rec\): '}' without a '{'"):
        read({"r.stm": "rec A s 0 1 a\n", "h.ctm": "rec A 0 1 }\n"}, notation=True)
    with pytest.raises(UserError, match=r"line 1 \(1\): '}' without a '{'"):
        read({"both.jsonl": [{"id": "1", "reference": "a", "hypothesis": "}"}]}, count=0, notation=True)


def test_systems_of_one_file_name_are_told_apart_by_their_paths(tmp_path):
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "h.trn").write_text("a (u)\n")
    (tmp_path / "r.trn").write_text("a (u)\n")
    files = [tmp_path / folder / "h.trn" for folder in ("x", "y")]
    assert [found.name for found in read_pairs(tmp_path / "r.trn", files)] == list(map(str, files))
