"""`speechxfer score`: its options, JSON, printed tables, gates and HTML report."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from speechxfer.scoring import score as score_texts

REFERENCES = {"s1-1": "hello world", "s1-2": "three four five", "s2-1": "nothing at all", "s2-2": "it's fine"}
HYPOTHESES = {"s2-2": "it's mine", "s1-1": "hello world", "s2-1": "nothing", "s1-2": "three for five six"}
COUNTS = {"hits": 6, "substitutions": 2, "deletions": 2, "insertions": 1, "reference_words": 10, "utterances": 4}


def trn(texts):
    return "".join(f"{text} ({name})\n" for name, text in texts.items())


def kaldi(texts):
    return "".join(f"{name} {text}\n" for name, text in texts.items())


def test_our_own_output_gives_the_reports_counts(run_score, write_file):
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
    write_file("after.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    run_score("after.jsonl", "--normalise", "default", "--json", "out.json", "-q")
    expected = score_texts(
        [r["reference"] for r in rows],
        [r["hypothesis"] for r in rows],
        ids=[r["id"] for r in rows],
        columns={"speaker": [r["speaker"] for r in rows], "accent": [r["accent"] for r in rows]},
        by="auto",
    )
    assert json.loads(Path("out.json").read_text(encoding="utf-8"))["result"] == expected.to_json()
    assert expected.counts.substitutions == 2 and expected.counts.insertions == 1


def test_json_of_several_systems(run_score, write_file):
    write_file("r.trn", trn(REFERENCES))
    write_file("a.trn", trn(HYPOTHESES))
    write_file("b.trn", trn(REFERENCES))
    run_score("r.trn", "a.trn", "b.trn", "--json", "out.json", "--quiet")
    document = json.loads(Path("out.json").read_text(encoding="utf-8"))
    assert document["schema"] == "speechxfer.score/1"
    assert set(document["results"]) == {"a.trn", "b.trn"} and "result" not in document  # which system?
    assert document["results"]["b.trn"]["wer"] == 0
    assert [c["difference"] for c in document["comparisons"]] == [pytest.approx(-0.5)]
    assert [len(i["sha256"]) for i in document["inputs"]] == [64, 64, 64]
    assert {u["id"]: u["operations"] for u in document["utterances"]["a.trn"]}["s1-2"] == "=S=I"


def test_every_utterance_is_in_the_json_and_the_alignments(run_score, write_file):
    write_file("r.trn", trn(REFERENCES))
    write_file("h.trn", trn(HYPOTHESES))
    run_score("r.trn", "h.trn", "--json", "out.json", "--output", "deep/a.pra", "-q")
    assert [u["id"] for u in json.loads(Path("out.json").read_text(encoding="utf-8"))["utterances"]["h.trn"]] == list(
        REFERENCES
    )
    text = Path("deep/a.pra").read_text(encoding="utf-8")
    assert all(f"id: ({name})" in text for name in REFERENCES)
    assert "REF:  three FOUR five ***\nHYP:  three FOR  five SIX\nEval:       S         I\n" in text


def test_alignments_of_wide_characters_and_of_notation(run_score, write_file):
    write_file("r.trn", "日本 (uh) b { c / d } (s-1)\n")
    write_file("h.trn", "日 b d e (s-1)\n")
    output = run_score("r.trn", "h.trn", "--notation", "--output", "-")
    assert "REF:  日本 (uh) b d *\nHYP:  日        b d E\nEval: S             I\n" in output


def test_options_reach_the_counts(run_score, write_file):
    write_file("r.trn", "a c (s-1)\n")
    write_file("h.trn", "c b (s-1)\n")
    assert "2 sub, 0 del, 0 ins" in run_score("r.trn", "h.trn")
    assert "0 sub, 1 del, 1 ins" in run_score("r.trn", "h.trn", "--align", "sclite")
    write_file("r2.trn", "我爱 python ice cream (s-1)\n")
    write_file("h2.trn", "我 python icecream (s-1)\n")
    assert "[1 / 5: 0 sub, 1 del, 0 ins]" in run_score("r2.trn", "h2.trn", "--unit", "mixed", "--compounds")
    assert "/ 16: " in run_score("r2.trn", "h2.trn", "--unit", "char")
    write_file("rules.glm", "[colour] => [color] / [ ] __ [ ]\n")
    write_file("r3.trn", "twenty one Colour (s-1)\n")
    write_file("h3.trn", "21 color (s-1)\n")
    assert "[0 / 2" in run_score("r3.trn", "h3.trn", "--normalise", "english")
    assert "[2 / 3" in run_score("r3.trn", "h3.trn", "--normalise", "rules.glm", "--json", "out.json")
    inputs = json.loads(Path("out.json").read_text(encoding="utf-8"))["inputs"]
    assert [Path(i["path"]).name for i in inputs] == ["r3.trn", "h3.trn", "rules.glm"]


def test_without_reference_words_there_is_no_rate(run_score, write_file):
    write_file("r.trn", " (s-1)\n... (s-2)\n")
    write_file("h.trn", "a b (s-1)\n (s-2)\n")
    output = run_score("r.trn", "h.trn", "--html", "r.html", "--output", "r.pra", "--json", "r.json")
    assert output.startswith("no WER: no reference words in 2 utterances [0 sub, 0 del, 2 ins]")
    assert "warning: no WER: the references have no words after normalisation" in output
    assert json.loads(Path("r.json").read_text(encoding="utf-8"))["result"]["wer"] is None
    assert "h.trn: has no WER, the limit is 20.00 %" in run_score("r.trn", "h.trn", "--fail-above", 0.2, "-q", code=1)


def test_characters_are_not_called_words(run_score, write_file):
    write_file("r.trn", "a bc (s-1)\n")
    write_file("h.trn", "a bd (s-1)\n")
    output = run_score("r.trn", "h.trn", "--unit", "char", "--by", "speaker")
    assert output.startswith("character error rate 33.3 % [1 / 3:") and "words" not in output and "WER" not in output


def test_what_went_wrong_is_printed(run_score, write_file):
    references = {f"s{i}-1": "one two three" for i in range(8)}
    printed = {**references, "s3-1": "one " + "you " * 12, "s5-1": "one too three", "s6-1": "one two"}
    write_file("r.trn", trn(references))
    write_file("h.trn", trn(printed))
    output = run_score("r.trn", "h.trn")
    assert "most confused: " in output and "two > too (1)" in output
    assert "most deleted: three (1)" in output and "most inserted: you (" in output
    assert "worst utterances: s3-1 [12 / 3], s5-1 [1 / 3], s6-1 [1 / 3]" in output
    assert "utterances with more errors than words: 1" in output
    assert "hypotheses with repetition loops: 1; without them 9.5 % [2 / 21]" in output


def test_systems_with_different_utterances_are_not_compared(run_score, write_file):
    write_file("r.trn", trn(REFERENCES))
    write_file("a.trn", trn(HYPOTHESES))
    write_file("b.trn", trn({k: v for k, v in HYPOTHESES.items() if k != "s2-2"}))
    output = run_score("r.trn", "a.trn", "b.trn", "--missing", "skip", "--html", "r.html")
    assert "not compared" in output and " points" not in output


def test_json_on_standard_output_is_json_alone(run_score, write_file):
    write_file("r.trn", trn(REFERENCES))
    write_file("h.trn", trn(HYPOTHESES))
    document = json.loads(run_score("r.trn", "h.trn", "--json", "-"))
    assert document["schema"] == "speechxfer.score/1" and document["versions"]["speechxfer"]
    assert document["options"]["by"] == "auto" and document["gates"]["failures"] == []
    assert run_score("r.trn", "h.trn", "--output", "-").startswith("System name:   h.trn\n")


def test_gates(run_score, write_file):
    write_file("r.trn", trn(REFERENCES))
    write_file("h.trn", trn(HYPOTHESES))
    run_score("r.trn", "h.trn", "--fail-above", 0.5, "-q")
    assert "WER 50.00 %, the limit is 49.00 %" in run_score("r.trn", "h.trn", "--fail-above", 0.49, "-q", code=1)


def test_worse_than_a_base(run_score, write_file):
    references = {f"s{i}-1": "a b c d e" for i in range(30)}
    write_file("r.trn", trn(references))
    write_file("good.trn", trn(references))
    write_file("bad.trn", trn(dict.fromkeys(references, "a b c d x")))
    assert "worse than good.trn: +20.0 points" in run_score("r.trn", "bad.trn", "--fail-worse-than", "good.trn", code=1)
    run_score("r.trn", "good.trn", "--fail-worse-than", "bad.trn")
    run_score("r.trn", "good.trn", "--fail-worse-than", "good2.trn", code=2)
    run_score("r.trn", "bad.trn", "--fail-worse-than", "good.trn", "--json", "out.json", "-q", code=1)
    gates = json.loads(Path("out.json").read_text(encoding="utf-8"))["gates"]
    assert gates["fail_worse_than"]["bad.trn"]["difference"] == pytest.approx(0.2) and len(gates["failures"]) == 1


def test_the_base_has_the_speakers_of_utt2spk(run_score, write_file):
    """Without them the gate would take utterances as independent, and fail for one speaker's sake."""
    references = {f"u{i:03}": "a b c d e" for i in range(40)}
    write_file("text", kaldi(references))
    write_file("good", kaldi(references))
    write_file("bad", kaldi({k: "a b c d x" if i < 20 else v for i, (k, v) in enumerate(references.items())}))
    write_file("who", "".join(f"{k} {'ann' if i < 20 else f's{i % 4}'}\n" for i, k in enumerate(references)))
    assert "over 40 utterances" in run_score("text", "bad", "--fail-worse-than", "good", code=1)
    assert "over 5 speakers" in run_score("text", "bad", "--fail-worse-than", "good", "--utt2spk", "who")


def test_html_is_one_file(run_score, write_file):
    write_file("r.trn", trn(REFERENCES))
    write_file("h.trn", trn(HYPOTHESES))
    run_score("r.trn", "h.trn", "--html", "sub/report.html", "-q")
    assert "50.0 %" in Path("sub/report.html").read_text(encoding="utf-8")


def test_audio_is_found_beside_the_table_and_some_of_it_put_inside(run_score, write_file):
    for name in "ab":
        write_file(f"data/audio/{name}.wav", b"")
        soundfile.write(f"data/audio/{name}.wav", [0.0] * 100, 16_000)
    write_file("data/r.csv", "id,audio,text\n1,audio/a.wav,x y\n2,audio/b.wav,z\n3,audio/none.wav,q\n")
    write_file("h.csv", "id,hypothesis\n1,x y\n2,w\n3,q\n")
    run_score("data/r.csv", "h.csv", "--html", "out/r.html", "--embed-audio", 1, "-q")
    page = Path("out/r.html").read_text(encoding="utf-8")
    rows = json.loads(page.split('id="data">')[1].split("</script>")[0])["rows"]
    assert [row.get("a", "").split(",")[0] for row in rows] == [
        "../data/audio/a.wav",
        "data:audio/x-wav;base64",
        "",
    ]
    run_score("data/r.csv", "h.csv", "--html", "out/r.html", "--audio-folder", "elsewhere", "-q")
    assert "a.wav" not in Path("out/r.html").read_text(encoding="utf-8")


def test_swapped_files_are_suspected(run_score, write_file):
    loops = {f"s{i}-1": "no no no no no no no no no no" for i in range(8)}
    fine = {f"s{i}-1": f"a text of number {i}" for i in range(8)}
    write_file("r.trn", trn(loops))
    write_file("h.trn", trn(fine))
    assert "check that the two files are not swapped" in run_score("r.trn", "h.trn")
    assert "swapped" not in run_score("h.trn", "r.trn")


def test_quiet_prints_nothing(run_score, write_file):
    write_file("r.trn", trn(REFERENCES))
    write_file("h.trn", trn(HYPOTHESES))
    assert run_score("r.trn", "h.trn", "-q") == ""


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


def test_an_unknown_column_to_break_down_by_is_an_error(run_score, write_file):
    write_file("r.trn", trn(REFERENCES))
    write_file("h.trn", trn(HYPOTHESES))
    assert "no column 'speeker' to break the result down by (did you mean 'speaker'?)" in run_score(
        "r.trn", "h.trn", "--by", "speeker", code=2
    )
