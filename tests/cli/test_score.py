"""`speechxfer score`: every format, the contract's JSON, gates, and thirty broken inputs with their messages."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from speechxfer.cli import build_app
from speechxfer.scoring import score as score_texts

REFERENCES = {"s1-1": "hello world", "s1-2": "three four five", "s2-1": "nothing at all", "s2-2": "it's fine"}
HYPOTHESES = {"s2-2": "it's mine", "s1-1": "hello world", "s2-1": "nothing", "s1-2": "three for five six"}
COUNTS = {"hits": 6, "substitutions": 2, "deletions": 2, "insertions": 1, "reference_words": 10, "utterances": 4}


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments, code=0):
        done = CliRunner().invoke(build_app(), ["score", *map(str, arguments)])
        assert done.exit_code == code, done.output
        assert "Traceback" not in done.output
        return done.output

    return invoke


@pytest.fixture
def write(tmp_path):
    def put(name, content):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return name

    return put


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
def test_formats(kind, run, write):
    for name, content in PAIRS[kind]:
        write(name, content)
    run(PAIRS[kind][0][0], PAIRS[kind][1][0], "--json", "out.json", "--quiet")
    result = json.loads(Path("out.json").read_text(encoding="utf-8"))["result"]
    assert {key: result[key] for key in COUNTS} == COUNTS
    assert result["wer"] == pytest.approx(0.5)


def test_lines_only_when_asked(run, write):
    write("r.txt", "\n".join(REFERENCES.values()))
    write("h.txt", "\n".join(HYPOTHESES[name] for name in REFERENCES) + "\n")
    assert "--by-line" in run("r.txt", "h.txt", code=2)
    assert "50.0 % [5 / 10: 2 sub, 2 del, 1 ins]" in run("r.txt", "h.txt", "--by-line")


def test_one_character_lines_and_empty_ones_count(run, write):
    write("r.txt", "a\n\nb c\n")
    write("h.txt", "a\nx\nb\n")
    assert "66.7 % [2 / 3: 0 sub, 1 del, 1 ins]" in run("r.txt", "h.txt", "--by-line")


def test_kaldi_speakers_lie_beside_the_text(run, write):
    write("text", kaldi(REFERENCES))
    write("hyp", kaldi(HYPOTHESES))
    write("utt2spk", "s1-1 ann\ns1-2 ann\ns2-1 bob\ns2-2 bob\n")
    assert "speaker: ann" in run("text", "hyp")


def test_matched_by_audio_where_ids_are_lacking(run, write):
    write("data.csv", "audio,text,id\nx.wav,a b,1\ny.wav,c,2\n")
    write("out.jsonl", '{"audio": "y.wav", "hypothesis": "c"}\n{"audio": "x.wav", "hypothesis": "a"}\n')
    assert "[1 / 3: 0 sub, 1 del, 0 ins]" in run("data.csv", "out.jsonl")


def test_our_own_output_gives_the_reports_counts(run, write):
    rows = [
        {
            "id": f"u{i}",
            "audio": f"u{i}.wav",
            "hypothesis": h,
            "reference": r,
            "speaker": f"s{i % 3}",
            "accent": "xy"[i % 2],
        }
        for i, (r, h) in enumerate(
            [("One, two!", "one two"), ("three 4", "three four"), ("“five”", "fife"), ("", "um")]
        )
    ]
    write("after.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    run("after.jsonl", "--normalise", "default", "--json", "out.json", "-q")
    expected = score_texts(
        [r["reference"] for r in rows],
        [r["hypothesis"] for r in rows],
        [r["id"] for r in rows],
        columns={"speaker": [r["speaker"] for r in rows], "accent": [r["accent"] for r in rows]},
        by="auto",
    )
    assert json.loads(Path("out.json").read_text(encoding="utf-8"))["result"] == expected.to_json()
    assert expected.counts.substitutions == 2 and expected.counts.insertions == 1


def test_json_of_several_systems(run, write):
    write("r.trn", trn(REFERENCES))
    write("a.trn", trn(HYPOTHESES))
    write("b.trn", trn(REFERENCES))
    run("r.trn", "a.trn", "b.trn", "--json", "out.json", "--quiet")
    document = json.loads(Path("out.json").read_text(encoding="utf-8"))
    assert document["schema"] == "speechxfer.score/1"
    assert set(document["results"]) == {"a.trn", "b.trn"} and "result" not in document
    assert document["results"]["b.trn"]["wer"] == 0
    assert [c["difference"] for c in document["comparisons"]] == [pytest.approx(-0.5)]
    assert [len(i["sha256"]) for i in document["inputs"]] == [64, 64, 64]
    assert {u["id"]: u["operations"] for u in document["utterances"]["a.trn"]}["s1-2"] == "=S=I"


def test_every_utterance_is_in_the_json_and_the_alignments(run, write):
    write("r.trn", trn(REFERENCES))
    write("h.trn", trn(HYPOTHESES))
    run("r.trn", "h.trn", "--json", "out.json", "--output", "deep/a.pra", "-q")
    assert [u["id"] for u in json.loads(Path("out.json").read_text(encoding="utf-8"))["utterances"]["h.trn"]] == list(
        REFERENCES
    )
    text = Path("deep/a.pra").read_text(encoding="utf-8")
    assert all(f"id: ({name})" in text for name in REFERENCES)
    assert "REF:  three FOUR five ***\nHYP:  three FOR  five SIX\nEval:       S         I\n" in text


@pytest.mark.parametrize(("how", "counts"), [("empty", "6 / 10"), ("skip", "4 / 8")])
def test_missing_by_choice_is_counted(how, counts, run, write):
    write("r.trn", trn(REFERENCES))
    write("h.trn", trn({k: v for k, v in HYPOTHESES.items() if k != "s2-2"}))
    output = run("r.trn", "h.trn", "--missing", how)
    assert counts in output and "1 utterances without a hypothesis" in output and "s2-2" in output


def test_gates(run, write):
    write("r.trn", trn(REFERENCES))
    write("h.trn", trn(HYPOTHESES))
    run("r.trn", "h.trn", "--fail-above", 0.5, "-q")
    assert "WER 50.00 %, the bar is 49.00 %" in run("r.trn", "h.trn", "--fail-above", 0.49, "-q", code=1)


def test_worse_than_a_base(run, write):
    references = {f"s{i}-1": "a b c d e" for i in range(30)}
    write("r.trn", trn(references))
    write("good.trn", trn(references))
    write("bad.trn", trn(dict.fromkeys(references, "a b c d x")))
    assert "worse than good.trn: +20.0 points" in run("r.trn", "bad.trn", "--fail-worse-than", "good.trn", code=1)
    run("r.trn", "good.trn", "--fail-worse-than", "bad.trn")
    run("r.trn", "good.trn", "--fail-worse-than", "good2.trn", code=2)


def test_html_is_one_file(run, write):
    write("r.trn", trn(REFERENCES))
    write("h.trn", trn(HYPOTHESES))
    run("r.trn", "h.trn", "--html", "sub/report.html", "-q")
    assert "50.0 %" in Path("sub/report.html").read_text(encoding="utf-8")


def test_swapped_files_are_suspected(run, write):
    loops = {f"s{i}-1": "no no no no no no no no no no" for i in range(8)}
    fine = {f"s{i}-1": f"a text of number {i}" for i in range(8)}
    write("r.trn", trn(loops))
    write("h.trn", trn(fine))
    assert "are the two files swapped?" in run("r.trn", "h.trn")
    assert "swapped" not in run("h.trn", "r.trn")


def test_quiet_prints_nothing(run, write):
    write("r.trn", trn(REFERENCES))
    write("h.trn", trn(HYPOTHESES))
    assert run("r.trn", "h.trn", "-q") == ""


def test_no_torch_is_imported(tmp_path):
    (tmp_path / "r.trn").write_text(trn(REFERENCES))
    (tmp_path / "h.trn").write_text(trn(HYPOTHESES))
    code = (
        "import sys; sys.argv = ['speechxfer', 'score', 'r.trn', 'h.trn', '--html', 'r.html']\n"
        "from speechxfer.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "assert not {'torch', 'pandas', 'transformers', 'datasets'} & set(sys.modules), sorted(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)


R, H = trn(REFERENCES), trn(HYPOTHESES)
BROKEN = {
    "no such file": ({"r.trn": R}, ["r.trn", "h.trn"], "h.trn: no such file"),
    "folder": ({"r.trn": R, "d/x": ""}, ["r.trn", "d"], "d: a folder, not a file"),
    "empty file": ({"r.trn": R, "h.trn": ""}, ["r.trn", "h.trn"], "h.trn: no utterances"),
    "same file twice": ({"r.trn": R}, ["r.trn", "r.trn"], "r.trn: the same file is given twice"),
    "one side only": ({"r.trn": R}, ["r.trn"], "a trn file holds one side only"),
    "unknown suffix": ({"r.xyz": R, "h.trn": H}, ["r.xyz", "h.trn"], "no format is known by the suffix '.xyz'"),
    "unknown format": ({"r.trn": R, "h.trn": H}, ["r.trn", "h.trn", "--format", "tnr"], "did you mean 'trn'"),
    "missing": ({"r.trn": R, "h.trn": "a (s1-1)\n"}, ["r.trn", "h.trn"], "3 of 4 have no hypothesis: s1-2, s2-1, s2-2"),
    "extra": ({"r.trn": R, "h.trn": H + "a (x-9)\n"}, ["r.trn", "h.trn"], "not in r.trn: x-9 (line 5)"),
    "duplicate": ({"r.trn": R, "h.trn": H + "a (s1-1)\n"}, ["r.trn", "h.trn"], "'s1-1' stands twice, on lines 2 and 5"),
    "duplicate reference": ({"r.trn": R + "a (s1-1)\n", "h.trn": H}, ["r.trn", "h.trn"], "r.trn: utterance 's1-1'"),
    "no common id": ({"r.trn": R, "h.trn": "a (x-1)\n"}, ["r.trn", "h.trn"], "no id of r.trn is in h.trn"),
    "not UTF-8": ({"r.trn": R, "h.trn": b"a (s1-1)\ncaf\xe9 (s1-2)\n"}, ["r.trn", "h.trn"],
                  "h.trn:2: byte 0xe9 is not UTF-8"),
    "UTF-16": ({"r.trn": R, "h.trn": H.encode("utf-16")}, ["r.trn", "h.trn"], "UTF-16, not UTF-8"),
    "NUL": ({"r.trn": R, "h.trn": "a\0 (s1-1)\n"}, ["r.trn", "h.trn"], "h.trn:1: a NUL byte"),
    "trn without id": ({"r.trn": R, "h.trn": H + "no id\n"}, ["r.trn", "h.trn"], "line 5: no (id) at its end"),
    "braces": ({"r.trn": "{ a / b (s-1)\n", "h.trn": "a (s-1)\n"}, ["r.trn", "h.trn", "--notation"],
               "reference of 's-1': '{' without a '}'"),
    "JSON": ({"r.trn": R, "h.jsonl": '{"id": "s1-1", "text": }\n'}, ["r.trn", "h.jsonl"], "line 1: Expecting value"),
    "JSON list": ({"r.trn": R, "h.jsonl": "[1]\n"}, ["r.trn", "h.jsonl"], "line 1: a list, not an object"),
    "text a number list": ({"r.trn": R, "h.jsonl": '{"id": "s1-1", "text": ["a"]}\n'}, ["r.trn", "h.jsonl"],
                           "line 1 (s1-1): 'text' is a list, not a text"),
    "no text column": ({"r.csv": "id,txt\n1,a\n", "h.trn": H}, ["r.csv", "h.trn"], "no column for the reference"),
    "no id column": ({"r.csv": "text,x\na,1\n", "h.trn": H}, ["r.csv", "h.trn"], "no 'id' and no 'audio' column"),
    "ragged CSV": ({"r.csv": "id,text\n1,a,b\n", "h.trn": H}, ["r.csv", "h.trn"], "line 2: 3 values for 2 columns"),
    "open quote": ({"r.csv": 'id,text\n1,"a\n', "h.trn": H}, ["r.csv", "h.trn"], "not CSV: unexpected end of data"),
    "two columns alike": ({"r.csv": "id,text,text\n1,a,b\n", "h.trn": H}, ["r.csv", "h.trn"],
                          "two columns are named 'text'"),
    "row without id": ({"r.csv": "id,text\n,a\n", "h.trn": H}, ["r.csv", "h.trn"], "line 2: no id"),
    "rows without reference": ({"a.jsonl": '{"id": "1", "hypothesis": "a"}\n'}, ["a.jsonl"],
                               "1 of 1 rows have no reference"),
    "stm times": ({"r.stm": "rec A s 2.0 1.0 a\n", "h.ctm": ""}, ["r.stm", "h.ctm"], "before it starts at 2.0 s"),
    "stm fields": ({"r.stm": "rec A s one 1.0 a\n", "h.ctm": ""}, ["r.stm", "h.ctm"], "line 1: 'rec A s one 1.0 a'"),
    "ctm fields": ({"r.stm": "rec A s 0 1 a\n", "h.ctm": "rec A x 1 a\n"}, ["r.stm", "h.ctm"], "cannot be read as ctm"),
    "ctm recording": ({"r.stm": "rec A s 0 1 a\n", "h.ctm": "rex A 0 1 a\n"}, ["r.stm", "h.ctm"],
                      "h.ctm:1: recording 'rex', channel 'a' is not in r.stm"),
    "ctm without stm": ({"r.trn": R, "h.ctm": "rec A 0 1 a\n"}, ["r.trn", "h.ctm"], "they come from an stm reference"),
    "ctm as reference": ({"r.ctm": "rec A 0 1 a\n", "h.trn": H}, ["r.ctm", "h.trn"], "give an stm as the reference"),
    "lines of two lengths": ({"r.txt": "a\nb\n", "h.txt": "a\n"}, ["r.txt", "h.txt", "--by-line"],
                             "2 lines in r.txt, 1 in h.txt"),
    "utt2spk": ({"r.trn": R, "h.trn": H, "u": "s1-1\n"}, ["r.trn", "h.trn", "--utt2spk", "u"], "line 1: 's1-1'"),
    "utt2spk lacks one": ({"r.trn": R, "h.trn": H, "u": "s1-1 a\n"}, ["r.trn", "h.trn", "--utt2spk", "u"],
                          "utt2spk has no speaker for s1-2, s2-1, s2-2"),
    "normaliser": ({"r.trn": R, "h.trn": H}, ["r.trn", "h.trn", "--normalise", "englsh"], "did you mean 'english'"),
    "alignment": ({"r.trn": R, "h.trn": H}, ["r.trn", "h.trn", "--align", "sclit"], "did you mean 'sclite'"),
    "unit": ({"r.trn": R, "h.trn": H}, ["r.trn", "h.trn", "--unit", "chars"], "did you mean 'char'"),
    "missing option": ({"r.trn": R, "h.trn": H}, ["r.trn", "h.trn", "--missing", "drop"], "one of error, empty, skip"),
    "bar in per cent": ({"r.trn": R, "h.trn": H}, ["r.trn", "h.trn", "--fail-above", "20"], "0.2 is 20 %"),
    "glm": ({"r.trn": R, "h.trn": H, "x.glm": "[a] -> b\n"}, ["r.trn", "h.trn", "--normalise", "x.glm"],
            "line 1: [a] -> b"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_broken_input(name, run, write):
    files, arguments, message = BROKEN[name]
    for path, content in files.items():
        write(path, content)
    assert message in run(*arguments, code=2)


def test_an_unknown_column_to_break_down_by_is_a_warning(run, write):
    write("r.trn", trn(REFERENCES))
    write("h.trn", trn(HYPOTHESES))
    assert "no column 'speeker' to break the result down by (did you mean 'speaker'?)" in run(
        "r.trn", "h.trn", "--by", "speeker"
    )
