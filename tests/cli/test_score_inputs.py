"""Transcript files that `speechxfer score` reads: every format, missing and duplicate utterances, columns."""

import hashlib
import json
import os
import threading
from pathlib import Path

import pytest
from typer.testing import CliRunner

from speechxfer.cli import build_app

REFERENCES = {"s1-1": "hello world", "s1-2": "three four five", "s2-1": "nothing at all", "s2-2": "it's fine"}
HYPOTHESES = {"s2-2": "it's mine", "s1-1": "hello world", "s2-1": "nothing", "s1-2": "three for five six"}
COUNTS = {"hits": 6, "substitutions": 2, "deletions": 2, "insertions": 1, "reference_words": 10, "utterances": 4}


def trn(texts):
    return "".join(f"{text} ({name})\n" for name, text in texts.items())


def jsonl(texts, key, **more):
    return "".join(json.dumps({"id": name, key: text, **more}) + "\n" for name, text in texts.items())


def kaldi(texts):
    return "".join(f"{name} {text}\n" for name, text in texts.items())


def csv(texts, key, separator=","):
    rows = [separator.join(["id", key, "speaker"])] + [separator.join([n, t, n[:2]]) for n, t in texts.items()]
    return "\n".join(rows) + "\n"


PAIRS = {
    "trn": (("r.trn", trn(REFERENCES)), ("h.trn", trn(HYPOTHESES))),
    "jsonl": (("r.jsonl", jsonl(REFERENCES, "text")), ("h.jsonl", jsonl(HYPOTHESES, "hypothesis"))),
    "nemo": (("r.json", jsonl(REFERENCES, "text")), ("h.json", jsonl(HYPOTHESES, "pred_text"))),
    "hugging face": (("r.jsonl", jsonl(REFERENCES, "sentence")), ("h.jsonl", jsonl(HYPOTHESES, "text"))),
    "csv": (("r.csv", csv(REFERENCES, "text")), ("h.csv", csv(HYPOTHESES, "hypothesis"))),
    "tsv": (("r.tsv", csv(REFERENCES, "sentence", "\t")), ("h.csv", csv(HYPOTHESES, "text"))),
    "bom": (("r.csv", "\ufeff" + csv(REFERENCES, "text")), ("h.csv", csv(HYPOTHESES, "text").replace("\n", "\r\n"))),
    "kaldi": (("text", kaldi(REFERENCES)), ("hyp", kaldi(HYPOTHESES))),
}


@pytest.mark.parametrize("kind", PAIRS)
def test_formats(kind, run_score, write_file):
    for name, content in PAIRS[kind]:
        write_file(name, content)
    run_score(PAIRS[kind][0][0], PAIRS[kind][1][0], "--json", "out.json", "--quiet")
    result = json.loads(Path("out.json").read_text(encoding="utf-8"))["result"]
    assert {key: result[key] for key in COUNTS} == COUNTS
    assert result["wer"] == pytest.approx(0.5)


def test_lines_only_when_asked(run_score, write_file):
    write_file("r.txt", "\n".join(REFERENCES.values()))
    write_file("h.txt", "\n".join(HYPOTHESES[name] for name in REFERENCES) + "\n")
    assert "--by-line" in run_score("r.txt", "h.txt", code=2)
    assert "50.0 % [5 / 10: 2 sub, 2 del, 1 ins]" in run_score("r.txt", "h.txt", "--by-line")
    write_file("r.csv", "id,text\n1,a b\n")
    printed = run_score("r.csv", "h.txt", "--by-line", code=2)  # its header and ids would be scored as words
    assert "r.csv: has the suffix of csv" in printed and "--format lines" in printed


def test_one_character_lines_and_empty_ones_count(run_score, write_file):
    write_file("r.txt", "a\n\nb c\n")
    write_file("h.txt", "a\nx\nb\n")
    assert "66.7 % [2 / 3: 0 sub, 1 del, 1 ins]" in run_score("r.txt", "h.txt", "--by-line")


def test_kaldi_speakers_lie_beside_the_text(run_score, write_file):
    write_file("text", kaldi(REFERENCES))
    write_file("hyp", kaldi(HYPOTHESES))
    write_file("utt2spk", "s1-1 ann\ns1-2 ann\ns2-1 bob\ns2-2 bob\n")
    assert "speaker: ann" in run_score("text", "hyp")


def test_matched_by_audio_where_ids_are_lacking(run_score, write_file):
    write_file("data.csv", "audio,text,id\nx.wav,a b,1\ny.wav,c,2\n")
    write_file("out.jsonl", '{"audio": "y.wav", "hypothesis": "c"}\n{"audio": "x.wav", "hypothesis": "a"}\n')
    assert "[1 / 3: 0 sub, 1 del, 0 ins]" in run_score("data.csv", "out.jsonl")


@pytest.mark.parametrize(("how", "counts"), [("empty", "6 / 10"), ("skip", "4 / 8")])
def test_missing_by_choice_is_counted(how, counts, run_score, write_file):
    write_file("r.trn", trn(REFERENCES))
    write_file("h.trn", trn({k: v for k, v in HYPOTHESES.items() if k != "s2-2"}))
    output = run_score("r.trn", "h.trn", "--missing", how)
    assert counts in output and "1 utterance without a hypothesis" in output and "s2-2" in output


def test_null_is_missing_and_empty_is_not(run_score, write_file):
    write_file("r.jsonl", jsonl(REFERENCES, "text"))
    rows = {**HYPOTHESES, "s1-1": ""}
    write_file("h.jsonl", jsonl(rows, "hypothesis").replace('"nothing"', "null"))
    assert "1 of 4 utterances have no hypothesis: s2-1" in run_score("r.jsonl", "h.jsonl", code=2)
    assert "[6 / 7: 2 sub, 2 del, 2 ins]" not in run_score("r.jsonl", "h.jsonl", "--missing", "skip")
    both = '{"id": "a", "reference": "x y", "hypothesis": "x"}\n{"id": "b", "reference": "z", "hypothesis": null}\n'
    write_file("both.jsonl", both)
    assert "1 of 2 utterances have no hypothesis: b" in run_score("both.jsonl", code=2)
    assert "[1 / 2: 0 sub, 1 del, 0 ins]" in run_score("both.jsonl", "--missing", "skip")
    assert "[2 / 3: 0 sub, 2 del, 0 ins]" in run_score("both.jsonl", "--missing", "empty")


def test_two_of_our_own_files_are_two_systems(run_score, write_file):
    rows = [{"id": f"u{i}", "reference": "a b c", "speaker": f"s{i}"} for i in range(6)]
    write_file("before.jsonl", "".join(json.dumps({**row, "hypothesis": "a x"}) + "\n" for row in rows))
    write_file("after.jsonl", "".join(json.dumps({**row, "hypothesis": "a b"}) + "\n" for row in rows))
    output = run_score("before.jsonl", "after.jsonl", "--json", "out.json")
    assert "before.jsonl: 66.7 %" in output and "after.jsonl: 33.3 %" in output and "-33.3 points" in output
    document = json.loads(Path("out.json").read_text(encoding="utf-8"))
    assert list(document["results"]) == ["before.jsonl", "after.jsonl"]
    run_score("after.jsonl", "--fail-worse-than", "before.jsonl", "-q")
    assert "worse than after.jsonl: +33.3" in run_score(
        "before.jsonl", "--fail-worse-than", "after.jsonl", "-q", code=1
    )


def test_references_that_differ_are_said(run_score, write_file):
    write_file("r.jsonl", jsonl({"a": "x y", "b": "z"}, "text"))
    write_file("h.csv", "id,reference,hypothesis\na,x y,x\nb,other,z\n")
    assert "the references of h.csv differ from those of r.jsonl, which are used, for b" in run_score(
        "r.jsonl", "h.csv"
    )


def test_nemo_stretches_of_one_recording(run_score, write_file):
    rows = [
        {"audio_filepath": "long.wav", "offset": o, "duration": 1.5, "text": t, "pred_text": p}
        for o, t, p in ((0.0, "a b", "a b"), (1.5, "c", "d"))
    ]
    write_file("m.json", "".join(json.dumps(row) + "\n" for row in rows))
    run_score("m.json", "--json", "out.json", "-q")
    document = json.loads(Path("out.json").read_text(encoding="utf-8"))
    assert document["result"]["wer"] == pytest.approx(1 / 3)
    assert [u["id"] for u in document["utterances"]["m.json"]] == ["long.wav#0-1.5", "long.wav#1.5-3"]


def test_each_side_may_have_its_format(run_score, write_file):
    write_file("r.csv", csv(REFERENCES, "text"))
    write_file("h.txt", kaldi(HYPOTHESES))
    assert "50.0 % [5 / 10" in run_score("r.csv", "h.txt", "--format", "csv,kaldi")


def test_a_recording_without_a_word_is_missing(run_score, write_file):
    write_file("r.stm", "one A s 0 1 a b\ntwo A t 0 1 c\n")
    write_file("h.ctm", "one A 0.1 0.2 a\none A 0.5 0.2 b\n")
    assert "1 of 2 utterances have no hypothesis: two-A-0-1" in run_score("r.stm", "h.ctm", code=2)
    assert "[1 / 3: 0 sub, 1 del, 0 ins]" in run_score("r.stm", "h.ctm", "--missing", "empty")


def test_alternatives_read_as_words_are_suspected(run_score, write_file):
    write_file("r.trn", "{ a lot / alot } of it (s-1)\n")
    write_file("h.trn", "alot of it (s-1)\n")
    assert "use --notation to score them as sclite does" in run_score("r.trn", "h.trn")
    assert "0.0 % [0 / 3" in run_score("r.trn", "h.trn", "--notation")


def test_a_table_with_hypotheses_as_the_reference_is_suspected(run_score, write_file):
    """Its own references would be scored against the same texts: 0 %, and nobody the wiser."""
    write_file("after.csv", "id,reference,hypothesis\na,x y,x\nb,z,q\n")
    write_file("ref.csv", "id,text\na,x y\nb,z\n")
    assert "ref.csv has no column of hypotheses" in run_score("after.csv", "ref.csv")
    assert "swapped" not in run_score("ref.csv", "after.csv")


def test_a_cut_has_one_id_however_its_seconds_are_written(run_score, write_file):
    """`transcribe` names it by its numbers."""
    from speechxfer.data.reader import read

    write_file("r.csv", "audio,text,start,end\na.wav,one,0.00,0.50\na.wav,two,.5,\na.wav,six,,1.250\na.wav,ten,,\n")
    ids = list(read("r.csv")["id"])
    assert ids == ["a.wav#0-0.5", "a.wav#0.5-", "a.wav#0-1.25", "a.wav"]
    lines = [
        f'{{"id": "{name}", "hypothesis": "{text}"}}'
        for name, text in zip(ids, ["one", "too", "six", "ten"], strict=True)
    ]
    write_file("h.jsonl", "\n".join(lines))
    assert "25.0 % [1 / 4: 1 sub" in run_score("r.csv", "h.jsonl")


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_a_table_with_another_delimiter_than_its_suffix_tells(run_score, write_file, delimiter):
    rows = [("id", "text"), ("1", "a b"), ("2", "a, c")]
    write_file("r.csv", "\n".join(delimiter.join(row) for row in rows))
    write_file("h.csv", "id,text\n1,a b\n2,a d\n")
    assert "25.0 % [1 / 4: 1 sub" in run_score("r.csv", "h.csv")


# -- names of systems and standard input -----------------------------------------------------------------------------
def run_with_input(arguments, text):
    return CliRunner().invoke(build_app(), ["score", *arguments], input=text)


def test_systems_are_named_on_the_command_line(run_score, write_file):
    write_file("r.trn", trn(REFERENCES))
    write_file("h.trn", trn(HYPOTHESES))
    write_file("a=b.trn", trn(REFERENCES))
    run_score("r.trn", "ours=h.trn", "a=b.trn", "--json", "out.json", "-q")
    assert list(json.loads(Path("out.json").read_text(encoding="utf-8"))["results"]) == ["ours", "a=b.trn"]
    assert "ours: 50.0 %" in run_score("r.trn", "ours=h.trn", "a=b.trn")
    for arguments, message in {
        ("ours=h.trn", "ours=a=b.trn"): "two systems are named 'ours'",
        ("ours=none.trn",): "none.trn: no such file",
        ("=h.trn",): "=h.trn: no such file",
    }.items():
        assert message in run_score("r.trn", *arguments, code=2)


@pytest.mark.parametrize("side", ["reference", "hypothesis"])
def test_standard_input_is_either_side(tmp_path, monkeypatch, write_file, side):
    monkeypatch.chdir(tmp_path)
    texts = {"reference": trn(REFERENCES), "hypothesis": trn(HYPOTHESES)}
    write_file("r.trn", texts["reference"])
    write_file("h.trn", texts["hypothesis"])
    files = ["-", "h.trn"] if side == "reference" else ["r.trn", "-"]
    done = run_with_input([*files, "--format", "trn", "--json", "-"], texts[side])
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert document["result"]["wer"] == 0.5
    assert [entry["path"] for entry in document["inputs"]] == files
    sha = {entry["path"]: entry["sha256"] for entry in document["inputs"]}
    assert sha["-"] == hashlib.sha256(texts[side].encode()).hexdigest()


def test_standard_input_is_read_once_for_several_uses(tmp_path, monkeypatch, write_file):
    monkeypatch.chdir(tmp_path)
    write_file("a.trn", trn(HYPOTHESES))
    write_file("b.trn", trn(HYPOTHESES))
    arguments = ["-", "a.trn", "--fail-worse-than", "b.trn", "--format", "trn", "--html", "r.html"]
    done = run_with_input(arguments, trn(REFERENCES))
    assert done.exit_code == 0 and "50.0 %" in done.output
    assert "<bdi>-, a.trn</bdi>" in Path("r.html").read_text(encoding="utf-8")


def test_tables_and_lines_from_standard_input(tmp_path, monkeypatch, write_file):
    monkeypatch.chdir(tmp_path)
    write_file("r.txt", "a b\nc\n")
    assert "33.3 % [1 / 3" in run_with_input(["r.txt", "ours=-", "--by-line"], "a x\nc\n").output
    both = json.dumps({"id": "1", "reference": "a b", "hypothesis": "a"}) + "\n"
    assert "50.0 % [1 / 2" in run_with_input(["-", "--format", "jsonl"], both).output


def test_pipes_are_read(tmp_path, monkeypatch, write_file):
    monkeypatch.chdir(tmp_path)
    write_file("r.trn", trn(REFERENCES))
    for name in ("h.trn", "h"):  # as the shell's <(command) makes them
        os.mkfifo(name)
        writer = threading.Thread(target=lambda name=name: Path(name).write_text(trn(HYPOTHESES)))
        writer.start()
        if name == "h":
            done = run_with_input(["r.trn", "h"], "")
            assert done.exit_code == 2 and "h: h has no suffix that gives its format" in done.output
        done = run_with_input(["r.trn", name, *(["--format", "trn"] if name == "h" else []), "--json", "-"], "")
        writer.join()
        document = json.loads(done.stdout)
        assert document["result"]["wer"] == 0.5 and [one["path"] for one in document["inputs"]] == ["r.trn", name]


@pytest.mark.parametrize(
    ("arguments", "text", "message"),
    [
        (["r.trn", "-"], "", "-: standard input has no suffix that gives its format\n  fix: add --format"),
        (["-", "x=-", "--format", "trn"], "", "standard input is given twice"),
        (["r.trn", "-", "--format", "trn"], "no id\n", "standard input is not a valid trn file:\n  - line 1"),
        (["r.trn", "-", "--format", "trn"], "", "standard input: no utterances"),
        (["r.trn", "-", "--format", "trn"], "a (x)\n", "r.trn and standard input have no id in common"),
    ],
)
def test_messages_name_standard_input(tmp_path, monkeypatch, write_file, arguments, text, message):
    monkeypatch.chdir(tmp_path)
    write_file("r.trn", trn(REFERENCES))
    done = run_with_input(arguments, text)
    assert done.exit_code == 2 and message in done.output and "/tmp" not in done.output


def test_a_reference_alone_lacks_its_hypotheses(run_score, write_file):
    write_file("ref.csv", csv(REFERENCES, "text"))
    message = run_score("ref.csv", code=2)
    assert "no column for the hypothesis" in message and "speechxfer score ref.csv HYP" in message


# -- lists, punctuation and case -------------------------------------------------------------------------------------
def test_lists_punctuation_and_case_reach_every_output(run_score, write_file):
    write_file("r.csv", 'id,text\n1,"Hello, Anne. We met in NY."\n')
    write_file("h.csv", "id,hypothesis\n1,hello ann we met in new york.\n")
    write_file("equal.txt", "Ann = Anne\nNew York = NY\n")
    write_file("terms.txt", "Anne\nNew York\nBoston\n")
    options = ("--equivalents", "equal.txt", "--terms", "terms.txt", "--punctuation", "--case")
    output = " ".join(run_score("r.csv", "h.csv", *options, "--json", "o.json", "--html", "r.html").split())
    assert "WER 0.0 % [0 / 7" in output and "equivalents -3" in output
    assert "terms: error rate 0.0 %; recall 100.0 % [2 / 2], precision 100.0 % [2 / 2], F1 100.0 %" in output
    # two marks of three are lost; of hello, we, met, in two have lost their capital (ann and ny are other words)
    assert "punctuation: error rate 66.7 % [2 / 3: 0 sub, 2 del, 0 ins]" in output
    assert "case: error rate 50.0 % [2 / 4: 2 capitals missing, 0 added]" in output
    document = json.loads(Path("o.json").read_text(encoding="utf-8"))
    assert document["terms"]["h.csv"]["terms"]["Boston"]["reference"] == 0
    assert document["punctuation"]["h.csv"]["deletions"] == 2 and document["case"]["h.csv"]["errors"] == 2
    assert document["options"]["equivalents"] == "equal.txt"
    assert {Path(entry["path"]).name for entry in document["inputs"]} == {"r.csv", "h.csv", "equal.txt", "terms.txt"}
    page = " ".join(Path("r.html").read_text(encoding="utf-8").split())
    assert "recall 100.0 %, precision 100.0 %, F1 100.0 %" in page and "<bdi>Boston</bdi>" in page
    assert "Punctuation: error rate 66.7 %" in page and "Case: error rate 50.0 %" in page
    run_score("r.csv", "h.csv", "--json", "o.json", "-q")
    assert not {"terms", "punctuation", "case"} & set(json.loads(Path("o.json").read_text(encoding="utf-8")))


def test_breakdowns_are_repeated_crossed_and_binned(run_score, write_file):
    rows = [f"{i},a b,{'fm'[i % 2]},{20 + i % 15},s{i}" for i in range(30)]
    write_file("r.csv", "id,text,gender,age,speaker\n" + "\n".join(rows) + "\n")
    write_file("h.csv", "id,hypothesis\n" + "".join(f"{i},a{' b' * (i % 3 > 0)}\n" for i in range(30)))
    output = run_score("r.csv", "h.csv", "--by", "gender+age:10", "--by", "age:10,gender", "--json", "o.json")
    by = json.loads(Path("o.json").read_text(encoding="utf-8"))["result"]["by"]
    assert list(by) == ["gender+age:10", "age:10", "gender"]
    assert {value: group["utterances"] for value, group in by["gender+age:10"].items()} == {
        "f + 20-29": 10, "m + 20-29": 10, "f + 30-39": 5, "m + 30-39": 5,
    }  # fmt: skip
    assert all(group["interval"] for groups in by.values() for group in groups.values())
    assert "age:10: 20-29" in output and "gender+age:10: f + 30-39" in output
    assert "did you mean 'gender'" in run_score("r.csv", "h.csv", "--by", "gendre+age:10", code=2)
    assert "'auto' cannot be combined" in run_score("r.csv", "h.csv", "--by", "auto", "--by", "age", code=2)


def test_a_reference_of_null_is_told_to_be_written_as_empty(run_score, write_file):
    rows = '{"id": "a", "reference": "x y", "hypothesis": "x"}\n{"id": "b", "reference": null, "hypothesis": "z"}\n'
    write_file("n.jsonl", rows)
    for policy in ("error", "empty", "skip"):
        assert 'write "" where nothing is said' in run_score("n.jsonl", "--missing", policy, code=2)
    write_file("e.jsonl", rows.replace("null", '""'))
    run_score("e.jsonl")
