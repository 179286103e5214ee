"""What `speechxfer score` prints: text of files as it is, without markup and control sequences; results come first."""

import csv
import io
import json
import re
from pathlib import Path

import pytest
import soundfile
from typer.testing import CliRunner

from speechxfer.cli import build_app
from speechxfer.report import terminal

ESCAPE = "\x1b]0;owned\x07\x1b[31m"
VISIBLE = "[U+001B]]0;owned[U+0007][U+001B][31m"
HOSTILE_NAME = f"exp[a]{ESCAPE}\x9b.csv"


def find_controls(text):
    return re.findall(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", text)


@pytest.fixture
def hostile(write_file):
    """A reference and two systems with markup and control sequences in every place that is printed."""
    head = f"id,speaker,room,[b]col{ESCAPE},text\n"
    places = ("[indoor]", "[/noise]", f"[outdoor]{ESCAPE}")
    rows = [f"u{i}{ESCAPE},[s{i % 5}],{places[i % 3]},v{i % 2}{ESCAPE},[red]one two{ESCAPE} three" for i in range(15)]
    write_file("r.csv", head + "\n".join(rows) + "\n")
    for name, word in ((HOSTILE_NAME, f"\\ESC{ESCAPE}"), ("exp[b].csv", "[/bold]")):
        texts = [f"u{i}{ESCAPE},[red]one {word} x three {word}" for i in range(15)]
        write_file(name, "id,hypothesis\n" + "\n".join(texts) + "\n")
    return "r.csv", HOSTILE_NAME, "exp[b].csv"


@pytest.mark.parametrize(
    "options", [[], ["--output", "-"], ["--table", "markdown"], ["--table", "csv"], ["--table", "latex"]]
)
@pytest.mark.parametrize("count", [2, 3])
def test_hostile_text_is_printed_as_it_is(run_score, hostile, options, count):
    output = run_score(*hostile[:count], "--normalise", "none", *options, "--by", f"room,speaker,[b]col{ESCAPE}")
    assert find_controls(output) == [] and "owned" in output
    if not options:
        for text in ("room: [indoor]", "room: [/noise]", "speaker: [s3]", VISIBLE[:12]):
            assert text in output
        assert count == 2 or ("exp[a]" in output and "exp[b]" in output)


def test_files_with_hostile_names_and_texts_are_written(run_score, hostile):
    run_score(*hostile, "--json", "out.json", "--html", "r.html", "--output", "a.pra", "-q")
    document = json.loads(Path("out.json").read_text(encoding="utf-8"))
    assert list(document["results"]) == [HOSTILE_NAME, "exp[b].csv"]
    assert document["utterances"][HOSTILE_NAME][0]["id"] == f"u0{ESCAPE}"
    assert find_controls(Path("a.pra").read_text(encoding="utf-8")) == []
    printed = run_score(*hostile, "--json", "-")
    assert find_controls(printed) == [] and json.loads(printed)["results"] == document["results"]


@pytest.mark.parametrize(
    ("changed", "arguments"),
    [
        ({"h.csv": f"id,hypothesis\nother{ESCAPE},a\n"}, ["r.csv", "h.csv"]),
        ({"h.csv": f"id,[x]{ESCAPE}\n1,a\n"}, ["r.csv", "h.csv"]),
        ({}, ["r.csv", f"none{ESCAPE}.csv"]),
        ({"h.csv": "id,hypothesis\n1,a\n", f"d{ESCAPE}/x": ""}, ["r.csv", "h.csv", "--html", f"d{ESCAPE}"]),
        ({"h.csv": f"id,hypothesis\n1{ESCAPE},a\n1{ESCAPE},b\n"}, ["r.csv", "h.csv"]),
        ({}, ["r.csv", "h.csv", "--seed", ESCAPE]),
        ({}, ["r.csv", "h.csv", f"--{ESCAPE}"]),
        ({}, ["r.csv", "h.csv", "--by", f"col{ESCAPE}"]),
    ],
)
def test_messages_are_escaped(run_score, write_file, changed, arguments):
    for name, text in {"r.csv": "id,text\n1,a\n", "h.csv": "id,hypothesis\n1,a\n", **changed}.items():
        write_file(name, text)
    assert find_controls(run_score(*arguments, code=2)) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "t.csv"],
        ["lm", "t.csv", "--output", f"x{ESCAPE}.arp"],
        ["recipes", "copy", ESCAPE],
        ["transcribe", ESCAPE],
    ],
)
def test_other_verbs_escape_too(tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    Path("t.csv").write_text(f"audio,text,[/x]{ESCAPE}\nnone{ESCAPE}.wav,a{ESCAPE},b\n")
    done = CliRunner().invoke(build_app(), arguments)
    assert done.exit_code in (1, 2) and "Traceback" not in done.output and find_controls(done.output) == []


def test_an_error_while_printing_loses_no_result(tmp_path, monkeypatch, write_file):
    monkeypatch.chdir(tmp_path)
    write_file("r.csv", "id,text\n1,a\n")
    write_file("h.csv", "id,hypothesis\n1,a\n")
    monkeypatch.setattr(terminal, "print_scores", lambda *_: 1 / 0)
    done = CliRunner().invoke(build_app(), ["score", "r.csv", "h.csv", "--json", "o.json", "--html", "r.html"])
    assert isinstance(done.exception, ZeroDivisionError)
    assert json.loads(Path("o.json").read_text(encoding="utf-8"))["result"]["wer"] == 0
    assert Path("r.html").read_text(encoding="utf-8").rstrip().endswith("</html>")


def test_only_audio_is_embedded(run_score, write_file):
    write_file("secret.wav", "root:x:0:0")
    write_file("secret.raw", "root:x:0:0")
    write_file("a.html", b"")
    soundfile.write("a.html", [0.0] * 100, 16_000, format="WAV")
    write_file("r.csv", "id,audio,text\n1,secret.wav,a b c\n2,secret.raw,a b c\n3,a.html,a b\n")
    write_file("h.csv", "id,hypothesis\n1,x\n2,x\n3,x\n")
    run_score("r.csv", "h.csv", "--html", "r.html", "--embed-audio", 3, "-q")
    page = Path("r.html").read_text(encoding="utf-8")
    rows = json.loads(page.split('id="data">')[1].split("</script>")[0])["rows"]
    assert [row["a"].split(",")[0] for row in rows] == ["./secret.wav", "./secret.raw", "data:audio/wav;base64"]
    assert "cm9vd" not in page  # "root" in base64


def test_a_table_alone(run_score, write_file):
    write_file("r.csv", "id,text,room\n" + "".join(f"{i},a b,{'xy'[i % 2]}\n" for i in range(12)))
    write_file("h.csv", "id,hypothesis\n" + "".join(f"{i},a\n" for i in range(12)))
    rows = list(csv.DictReader(io.StringIO(run_score("r.csv", "ours=h.csv", "--table", "csv", "--quiet"))))
    assert [(row["system"], row["column"], row["value"], row["WER %"]) for row in rows] == [
        ("ours", "all", "", "50.0"), ("ours", "room", "x", "50.0"), ("ours", "room", "y", "50.0"),
    ]  # fmt: skip
    assert "warning: fewer than two speakers" in run_score("r.csv", "h.csv", "--table", "csv")  # on standard error
    for arguments, message in {
        ("--table", "html"): "'html' is not a form of table",
        ("--table", "csv", "--json", "-"): "is named for two outputs",
    }.items():
        assert message in run_score("r.csv", "h.csv", *arguments, code=2)


def test_every_rate_is_in_every_output(run_score, write_file):
    write_file("r.csv", "id,text\n1,a b c d\n")
    write_file("h.csv", "id,hypothesis\n1,a b x\n")
    rates = "MER 50.0 %, WIL 66.7 %, CER 42.9 %"  # 2 hits of 4 positions; 1 - 4 / 12; 3 of 7 characters
    assert rates in run_score("r.csv", "h.csv", "--json", "o.json", "--html", "r.html", "--output", "a.pra")
    result = json.loads(Path("o.json").read_text(encoding="utf-8"))["result"]
    assert [round(100 * result[rate], 1) for rate in ("mer", "wil", "cer")] == [50.0, 66.7, 42.9]
    page = " ".join(Path("r.html").read_text(encoding="utf-8").split())
    assert "CER 42.9 %, MER 50.0 %, WIL 66.7 %" in page
    assert f"50.0 % [2 / 4: 1 sub, 1 del, 0 ins]; {rates}" in Path("a.pra").read_text(encoding="utf-8")


def test_characters_have_one_rate(run_score, write_file):
    write_file("r.csv", "id,text\n1,a bc def\n")
    write_file("h.csv", "id,hypothesis\n1,a bx df\n")
    output = run_score("r.csv", "h.csv", "--unit", "char", "--json", "o.json")
    result = json.loads(Path("o.json").read_text(encoding="utf-8"))["result"]
    assert result["wer"] == result["cer"] == pytest.approx(2 / 6) and "CER" not in output
