"""`speechxfer score`: every format, the contract's JSON, choices, gates."""

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
    write("r.csv", "id,text\n1,a b\n")
    said = run("r.csv", "h.txt", "--by-line", code=2)  # its header and ids would be scored as words
    assert "r.csv: has the suffix of csv" in said and "--format lines" in said


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
        ids=[r["id"] for r in rows],
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


def test_alignments_of_wide_characters_and_of_notation(run, write):
    write("r.trn", "日本 (uh) b { c / d } (s-1)\n")
    write("h.trn", "日 b d e (s-1)\n")
    output = run("r.trn", "h.trn", "--notation", "--output", "-")
    assert "REF:  日本 (uh) b d *\nHYP:  日        b d E\nEval: S             I\n" in output


@pytest.mark.parametrize(("how", "counts"), [("empty", "6 / 10"), ("skip", "4 / 8")])
def test_missing_by_choice_is_counted(how, counts, run, write):
    write("r.trn", trn(REFERENCES))
    write("h.trn", trn({k: v for k, v in HYPOTHESES.items() if k != "s2-2"}))
    output = run("r.trn", "h.trn", "--missing", how)
    assert counts in output and "1 utterance without a hypothesis" in output and "s2-2" in output


def test_null_is_missing_and_empty_is_not(run, write):
    write("r.jsonl", jsonl(REFERENCES, "text"))
    rows = {**HYPOTHESES, "s1-1": ""}
    write("h.jsonl", jsonl(rows, "hypothesis").replace('"nothing"', "null"))
    assert "1 of 4 utterances have no hypothesis: s2-1" in run("r.jsonl", "h.jsonl", code=2)
    assert "[6 / 7: 2 sub, 2 del, 2 ins]" not in run("r.jsonl", "h.jsonl", "--missing", "skip")
    both = '{"id": "a", "reference": "x y", "hypothesis": "x"}\n{"id": "b", "reference": "z", "hypothesis": null}\n'
    write("both.jsonl", both)
    assert "1 of 2 utterances have no hypothesis: b" in run("both.jsonl", code=2)
    assert "[1 / 2: 0 sub, 1 del, 0 ins]" in run("both.jsonl", "--missing", "skip")
    assert "[2 / 3: 0 sub, 2 del, 0 ins]" in run("both.jsonl", "--missing", "empty")


def test_two_of_our_own_files_are_two_systems(run, write):
    rows = [{"id": f"u{i}", "reference": "a b c", "speaker": f"s{i}"} for i in range(6)]
    write("before.jsonl", "".join(json.dumps({**row, "hypothesis": "a x"}) + "\n" for row in rows))
    write("after.jsonl", "".join(json.dumps({**row, "hypothesis": "a b"}) + "\n" for row in rows))
    output = run("before.jsonl", "after.jsonl", "--json", "out.json")
    assert "before.jsonl: 66.7 %" in output and "after.jsonl: 33.3 %" in output and "-33.3 points" in output
    document = json.loads(Path("out.json").read_text(encoding="utf-8"))
    assert list(document["results"]) == ["before.jsonl", "after.jsonl"]
    run("after.jsonl", "--fail-worse-than", "before.jsonl", "-q")
    assert "worse than after.jsonl: +33.3" in run("before.jsonl", "--fail-worse-than", "after.jsonl", "-q", code=1)


def test_references_that_differ_are_said(run, write):
    write("r.jsonl", jsonl({"a": "x y", "b": "z"}, "text"))
    write("h.csv", "id,reference,hypothesis\na,x y,x\nb,other,z\n")
    assert "the references of h.csv differ from those of r.jsonl, which are used, for b" in run("r.jsonl", "h.csv")


def test_nemo_stretches_of_one_recording(run, write):
    rows = [
        {"audio_filepath": "long.wav", "offset": o, "duration": 1.5, "text": t, "pred_text": p}
        for o, t, p in ((0.0, "a b", "a b"), (1.5, "c", "d"))
    ]
    write("m.json", "".join(json.dumps(row) + "\n" for row in rows))
    run("m.json", "--json", "out.json", "-q")
    document = json.loads(Path("out.json").read_text(encoding="utf-8"))
    assert document["result"]["wer"] == pytest.approx(1 / 3)
    assert [u["id"] for u in document["utterances"]["m.json"]] == ["long.wav#0-1.5", "long.wav#1.5-3"]


def test_each_side_may_have_its_format(run, write):
    write("r.csv", csv(REFERENCES, "text"))
    write("h.txt", kaldi(HYPOTHESES))
    assert "50.0 % [5 / 10" in run("r.csv", "h.txt", "--format", "csv,kaldi")


def test_a_recording_without_a_word_is_missing(run, write):
    write("r.stm", "one A s 0 1 a b\ntwo A t 0 1 c\n")
    write("h.ctm", "one A 0.1 0.2 a\none A 0.5 0.2 b\n")
    assert "1 of 2 utterances have no hypothesis: two-A-0-1" in run("r.stm", "h.ctm", code=2)
    assert "[1 / 3: 0 sub, 1 del, 0 ins]" in run("r.stm", "h.ctm", "--missing", "empty")


def test_alternatives_read_as_words_are_suspected(run, write):
    write("r.trn", "{ a lot / alot } of it (s-1)\n")
    write("h.trn", "alot of it (s-1)\n")
    assert "use --notation to score them as sclite does" in run("r.trn", "h.trn")
    assert "0.0 % [0 / 3" in run("r.trn", "h.trn", "--notation")


def test_options_reach_the_counts(run, write):
    write("r.trn", "a c (s-1)\n")
    write("h.trn", "c b (s-1)\n")
    assert "2 sub, 0 del, 0 ins" in run("r.trn", "h.trn")
    assert "0 sub, 1 del, 1 ins" in run("r.trn", "h.trn", "--align", "sclite")
    write("r2.trn", "我爱 python ice cream (s-1)\n")
    write("h2.trn", "我 python icecream (s-1)\n")
    assert "[1 / 5: 0 sub, 1 del, 0 ins]" in run("r2.trn", "h2.trn", "--unit", "mixed", "--compounds")
    assert "/ 16: " in run("r2.trn", "h2.trn", "--unit", "char")
    write("rules.glm", "[colour] => [color] / [ ] __ [ ]\n")
    write("r3.trn", "twenty one Colour (s-1)\n")
    write("h3.trn", "21 color (s-1)\n")
    assert "[0 / 2" in run("r3.trn", "h3.trn", "--normalise", "english")
    assert "[2 / 3" in run("r3.trn", "h3.trn", "--normalise", "rules.glm", "--json", "out.json")
    inputs = json.loads(Path("out.json").read_text(encoding="utf-8"))["inputs"]
    assert [Path(i["path"]).name for i in inputs] == ["r3.trn", "h3.trn", "rules.glm"]


def test_without_reference_words_there_is_no_rate(run, write):
    write("r.trn", " (s-1)\n... (s-2)\n")
    write("h.trn", "a b (s-1)\n (s-2)\n")
    output = run("r.trn", "h.trn", "--html", "r.html", "--output", "r.pra", "--json", "r.json")
    assert output.startswith("no WER: no reference words in 2 utterances [0 sub, 0 del, 2 ins]")
    assert "warning: no WER: the references have no words after normalisation" in output
    assert json.loads(Path("r.json").read_text(encoding="utf-8"))["result"]["wer"] is None
    assert "h.trn: has no WER, the limit is 20.00 %" in run("r.trn", "h.trn", "--fail-above", 0.2, "-q", code=1)


def test_characters_are_not_called_words(run, write):
    write("r.trn", "a bc (s-1)\n")
    write("h.trn", "a bd (s-1)\n")
    output = run("r.trn", "h.trn", "--unit", "char", "--by", "speaker")
    assert output.startswith("character error rate 33.3 % [1 / 3:") and "words" not in output and "WER" not in output


def test_what_went_wrong_is_printed(run, write):
    references = {f"s{i}-1": "one two three" for i in range(8)}
    said = {**references, "s3-1": "one " + "you " * 12, "s5-1": "one too three", "s6-1": "one two"}
    write("r.trn", trn(references))
    write("h.trn", trn(said))
    output = run("r.trn", "h.trn")
    assert "most confused: " in output and "two > too (1)" in output
    assert "most deleted: three (1)" in output and "most inserted: you (" in output
    assert "worst utterances: s3-1 [12 / 3], s5-1 [1 / 3], s6-1 [1 / 3]" in output
    assert "utterances with more errors than words: 1" in output
    assert "hypotheses with repetition loops: 1; without them 9.5 % [2 / 21]" in output


def test_systems_with_different_utterances_are_not_compared(run, write):
    write("r.trn", trn(REFERENCES))
    write("a.trn", trn(HYPOTHESES))
    write("b.trn", trn({k: v for k, v in HYPOTHESES.items() if k != "s2-2"}))
    output = run("r.trn", "a.trn", "b.trn", "--missing", "skip", "--html", "r.html")
    assert "not compared" in output and " points" not in output


def test_json_on_standard_output_is_json_alone(run, write):
    write("r.trn", trn(REFERENCES))
    write("h.trn", trn(HYPOTHESES))
    document = json.loads(run("r.trn", "h.trn", "--json", "-"))
    assert document["schema"] == "speechxfer.score/1" and document["versions"]["speechxfer"]
    assert document["options"]["by"] == "auto" and document["gates"]["failures"] == []
    assert run("r.trn", "h.trn", "--output", "-").startswith("System name:   h.trn\n")


def test_gates(run, write):
    write("r.trn", trn(REFERENCES))
    write("h.trn", trn(HYPOTHESES))
    run("r.trn", "h.trn", "--fail-above", 0.5, "-q")
    assert "WER 50.00 %, the limit is 49.00 %" in run("r.trn", "h.trn", "--fail-above", 0.49, "-q", code=1)


def test_worse_than_a_base(run, write):
    references = {f"s{i}-1": "a b c d e" for i in range(30)}
    write("r.trn", trn(references))
    write("good.trn", trn(references))
    write("bad.trn", trn(dict.fromkeys(references, "a b c d x")))
    assert "worse than good.trn: +20.0 points" in run("r.trn", "bad.trn", "--fail-worse-than", "good.trn", code=1)
    run("r.trn", "good.trn", "--fail-worse-than", "bad.trn")
    run("r.trn", "good.trn", "--fail-worse-than", "good2.trn", code=2)
    run("r.trn", "bad.trn", "--fail-worse-than", "good.trn", "--json", "out.json", "-q", code=1)
    gates = json.loads(Path("out.json").read_text(encoding="utf-8"))["gates"]
    assert gates["fail_worse_than"]["bad.trn"]["difference"] == pytest.approx(0.2) and len(gates["failures"]) == 1


def test_the_base_has_the_speakers_of_utt2spk(run, write):
    """Without them the gate would take utterances as independent, and fail for one speaker's sake."""
    references = {f"u{i:03}": "a b c d e" for i in range(40)}
    write("text", kaldi(references))
    write("good", kaldi(references))
    write("bad", kaldi({k: "a b c d x" if i < 20 else v for i, (k, v) in enumerate(references.items())}))
    write("who", "".join(f"{k} {'ann' if i < 20 else f's{i % 4}'}\n" for i, k in enumerate(references)))
    assert "over 40 utterances" in run("text", "bad", "--fail-worse-than", "good", code=1)
    assert "over 5 speakers" in run("text", "bad", "--fail-worse-than", "good", "--utt2spk", "who")


def test_html_is_one_file(run, write):
    write("r.trn", trn(REFERENCES))
    write("h.trn", trn(HYPOTHESES))
    run("r.trn", "h.trn", "--html", "sub/report.html", "-q")
    assert "50.0 %" in Path("sub/report.html").read_text(encoding="utf-8")


def test_audio_is_found_beside_the_table_and_some_of_it_put_inside(run, write):
    for name in "ab":
        write(f"data/audio/{name}.wav", b"RIFF")
    write("data/r.csv", "id,audio,text\n1,audio/a.wav,x y\n2,audio/b.wav,z\n3,audio/none.wav,q\n")
    write("h.csv", "id,hypothesis\n1,x y\n2,w\n3,q\n")
    run("data/r.csv", "h.csv", "--html", "out/r.html", "--embed-audio", 1, "-q")
    page = Path("out/r.html").read_text(encoding="utf-8")
    rows = json.loads(page.split('id="data">')[1].split("</script>")[0])["rows"]
    assert [row.get("a", "").split(",")[0] for row in rows] == [
        "../data/audio/a.wav",
        "data:audio/x-wav;base64",
        "",
    ]
    run("data/r.csv", "h.csv", "--html", "out/r.html", "--audio-folder", "elsewhere", "-q")
    assert "a.wav" not in Path("out/r.html").read_text(encoding="utf-8")


def test_swapped_files_are_suspected(run, write):
    loops = {f"s{i}-1": "no no no no no no no no no no" for i in range(8)}
    fine = {f"s{i}-1": f"a text of number {i}" for i in range(8)}
    write("r.trn", trn(loops))
    write("h.trn", trn(fine))
    assert "check that the two files are not swapped" in run("r.trn", "h.trn")
    assert "swapped" not in run("h.trn", "r.trn")


def test_a_table_with_hypotheses_as_the_reference_is_suspected(run, write):
    """Its own references would be scored against the same texts: 0 %, and nobody the wiser."""
    write("after.csv", "id,reference,hypothesis\na,x y,x\nb,z,q\n")
    write("ref.csv", "id,text\na,x y\nb,z\n")
    assert "ref.csv has no column of hypotheses" in run("after.csv", "ref.csv")
    assert "swapped" not in run("ref.csv", "after.csv")


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


def test_an_unknown_column_to_break_down_by_is_a_warning(run, write):
    write("r.trn", trn(REFERENCES))
    write("h.trn", trn(HYPOTHESES))
    assert "no column 'speeker' to break the result down by (did you mean 'speaker'?)" in run(
        "r.trn", "h.trn", "--by", "speeker"
    )


def test_a_cut_has_one_id_however_its_seconds_are_written(run, write):
    """`transcribe` names it by its numbers."""
    from speechxfer.data.reader import read

    write("r.csv", "audio,text,start,end\na.wav,one,0.00,0.50\na.wav,two,.5,\na.wav,six,,1.250\na.wav,ten,,\n")
    ids = list(read("r.csv")["id"])
    assert ids == ["a.wav#0-0.5", "a.wav#0.5-", "a.wav#0-1.25", "a.wav"]
    lines = [
        f'{{"id": "{name}", "hypothesis": "{text}"}}'
        for name, text in zip(ids, ["one", "too", "six", "ten"], strict=True)
    ]
    write("h.jsonl", "\n".join(lines))
    assert "25.0 % [1 / 4: 1 sub" in run("r.csv", "h.jsonl")


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_a_table_with_another_delimiter_than_its_suffix_tells(run, write, delimiter):
    rows = [("id", "text"), ("1", "a b"), ("2", "a, c")]
    write("r.csv", "\n".join(delimiter.join(row) for row in rows))
    write("h.csv", "id,text\n1,a b\n2,a d\n")
    assert "25.0 % [1 / 4: 1 sub" in run("r.csv", "h.csv")
