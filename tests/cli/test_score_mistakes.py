"""`speechxfer score` on broken files and options: exit 2, one message, and nothing written over."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from speechxfer.cli import build_app

REFERENCES = {"s1-1": "hello world", "s1-2": "three four five", "s2-1": "nothing at all", "s2-2": "it's fine"}
HYPOTHESES = {"s2-2": "it's mine", "s1-1": "hello world", "s2-1": "nothing", "s1-2": "three for five six"}


def trn(texts):
    return "".join(f"{text} ({name})\n" for name, text in texts.items())


def jsonl(texts, key):
    return "".join(json.dumps({"id": name, key: text}) + "\n" for name, text in texts.items())


R, H = trn(REFERENCES), trn(HYPOTHESES)
BROKEN = {
    "no such file": ({"r.trn": R}, ["r.trn", "h.trn"], "h.trn: no such file"),
    "folder": ({"r.trn": R, "d/x": ""}, ["r.trn", "d"], "d: is a folder, not a transcript file"),
    "empty file": ({"r.trn": R, "h.trn": ""}, ["r.trn", "h.trn"], "h.trn: no utterances"),
    "same file twice": ({"r.trn": R}, ["r.trn", "r.trn"], "r.trn: the same file is given twice"),
    "one side only": ({"r.trn": R}, ["r.trn"], "a trn file has one side only"),
    "unknown suffix": ({"r.xyz": R, "h.trn": H}, ["r.xyz", "h.trn"], "unknown suffix '.xyz'"),
    "unknown format": ({"r.trn": R, "h.trn": H}, ["r.trn", "h.trn", "--format", "tnr"], "did you mean 'trn'"),
    "missing": ({"r.trn": R, "h.trn": "a (s1-1)\n"}, ["r.trn", "h.trn"],
                "3 of 4 utterances have no hypothesis: s1-2, s2-1, s2-2"),
    "extra": ({"r.trn": R, "h.trn": H + "a (x-9)\n"}, ["r.trn", "h.trn"], "not in r.trn: x-9 (line 5)"),
    "duplicate": ({"r.trn": R, "h.trn": H + "a (s1-1)\n"}, ["r.trn", "h.trn"], "duplicate id 's1-1' on lines 2 and 5"),
    "duplicate reference": ({"r.trn": R + "a (s1-1)\n", "h.trn": H}, ["r.trn", "h.trn"], "r.trn: duplicate id 's1-1'"),
    "no common id": ({"r.trn": R, "h.trn": "a (x-1)\n"}, ["r.trn", "h.trn"], "r.trn and h.trn have no id in common"),
    "not UTF-8": ({"r.trn": R, "h.trn": b"a (s1-1)\ncaf\xe9 (s1-2)\n"}, ["r.trn", "h.trn"],
                  "h.trn:2: byte 0xe9 is not UTF-8"),
    "UTF-16": ({"r.trn": R, "h.trn": H.encode("utf-16")}, ["r.trn", "h.trn"], "UTF-16, not UTF-8"),
    "NUL": ({"r.trn": R, "h.trn": "a\0 (s1-1)\n"}, ["r.trn", "h.trn"],
            "h.trn:1: is not a text file: it contains a NUL byte"),
    "trn without id": ({"r.trn": R, "h.trn": H + "no id\n"}, ["r.trn", "h.trn"], "line 5: no (id) at the end"),
    "braces": ({"r.trn": "{ a / b (s-1)\n", "h.trn": "a (s-1)\n"}, ["r.trn", "h.trn", "--notation"],
               "line 1 (s-1): '{' without a '}'"),
    "JSON": ({"r.trn": R, "h.jsonl": '{"id": "s1-1", "text": }\n'}, ["r.trn", "h.jsonl"], "line 1: Expecting value"),
    "JSON list": ({"r.trn": R, "h.jsonl": "[1]\n"}, ["r.trn", "h.jsonl"], "line 1: a list instead of an object"),
    "text a number list": ({"r.trn": R, "h.jsonl": '{"id": "s1-1", "text": ["a"]}\n'}, ["r.trn", "h.jsonl"],
                           "line 1 (s1-1): 'text' is a list, not a text"),
    "no text column": ({"r.csv": "id,txt\n1,a\n", "h.trn": H}, ["r.csv", "h.trn"], "no column for the reference"),
    "no id column": ({"r.csv": "text,x\na,1\n", "h.trn": H}, ["r.csv", "h.trn"], "no 'id' or 'audio' column"),
    "ragged CSV": ({"r.csv": "id,text\n1,a,b\n", "h.trn": H}, ["r.csv", "h.trn"],
                   "line 2 has 3 cells, the header has 2"),
    "open quote": ({"r.csv": 'id,text\n1,"a\n', "h.trn": H}, ["r.csv", "h.trn"],
                   "r.csv:2: cannot be read (unexpected end of data)"),
    "two columns alike": ({"r.csv": "id,text,text\n1,a,b\n", "h.trn": H}, ["r.csv", "h.trn"],
                          "two columns are named 'text'"),
    "row without id": ({"r.csv": "id,text\n,a\n", "h.trn": H}, ["r.csv", "h.trn"], "line 2: no id"),
    "rows without reference": ({"a.jsonl": '{"id": "1", "hypothesis": "a"}\n'}, ["a.jsonl"],
                               "no column for the reference; the columns are id, hypothesis"),
    "stm times": ({"r.stm": "rec A s 2.0 1.0 a\n", "h.ctm": ""}, ["r.stm", "h.ctm"], "end 1.0 s is before start 2.0 s"),
    "stm fields": ({"r.stm": "rec A s one 1.0 a\n", "h.ctm": ""}, ["r.stm", "h.ctm"], "line 1: 'rec A s one 1.0 a'"),
    "ctm fields": ({"r.stm": "rec A s 0 1 a\n", "h.ctm": "rec A x 1 a\n"}, ["r.stm", "h.ctm"],
                   "h.ctm is not a valid ctm file"),
    "ctm recording": ({"r.stm": "rec A s 0 1 a\n", "h.ctm": "rex A 0 1 a\n"}, ["r.stm", "h.ctm"],
                      "h.ctm:1: recording 'rex', channel 'A' is not in r.stm"),
    "ctm without stm": ({"r.trn": R, "h.ctm": "rec A 0 1 a\n"}, ["r.trn", "h.ctm"], "must be an stm or ctm file"),
    "ctm as reference": ({"r.ctm": "rec A 0 1 a\n", "h.trn": H}, ["r.ctm", "h.trn"],
                         "have no id in common: the first has 'rec-A'"),
    "empty ctm as reference": ({"r.ctm": ";; c\n", "h.ctm": "rec A 0 1 a\n"}, ["r.ctm", "h.ctm"],
                               "r.ctm: no utterances"),
    "empty ctm": ({"r.stm": "rec A s 0 1 a\n", "h.ctm": ";; c\n"}, ["r.stm", "h.ctm"],
                  "1 of 1 utterances have no hypothesis: rec-A-0-1"),
    "ctm alternatives": ({"r.stm": "rec A s 0 1 a\n", "h.ctm": "r A * * <ALT_BEGIN>\nr A 0 1 a\nr A * * <ALT_END>\n"},
                         ["r.stm", "h.ctm"], "the first on line 2\n  fix: add --notation"),
    "two on a line": ({"r.trn": "a (s-1) b (s-2)\n", "h.trn": "a b (s-2)\n"}, ["r.trn", "h.trn"],
                      "line 1: two utterances, 's-1' and 's-2', on one line"),
    "braces of the hypothesis": ({"r.trn": "a (s-1)\n", "h.trn": "a } (s-1)\n"}, ["r.trn", "h.trn", "--notation"],
                                 "h.trn is not valid in sclite's notation:\n  - line 1 (s-1): '}' without a '{'"),
    "lines of two lengths": ({"r.txt": "a\nb\n", "h.txt": "a\n"}, ["r.txt", "h.txt", "--by-line"],
                             "r.txt has 2 lines but h.txt has 1"),
    "utt2spk": ({"r.trn": R, "h.trn": H, "u": "s1-1\n"}, ["r.trn", "h.trn", "--utt2spk", "u"], "line 1: 's1-1'"),
    "utt2spk lacks one": ({"r.trn": R, "h.trn": H, "u": "s1-1 a\n"}, ["r.trn", "h.trn", "--utt2spk", "u"],
                          "utt2spk has no speaker for s1-2, s2-1, s2-2"),
    "normaliser": ({"r.trn": R, "h.trn": H}, ["r.trn", "h.trn", "--normalise", "englsh"], "did you mean 'english'"),
    "alignment": ({"r.trn": R, "h.trn": H}, ["r.trn", "h.trn", "--align", "sclit"], "did you mean 'sclite'"),
    "unit": ({"r.trn": R, "h.trn": H}, ["r.trn", "h.trn", "--unit", "chars"], "did you mean 'char'"),
    "missing option": ({"r.trn": R, "h.trn": H}, ["r.trn", "h.trn", "--missing", "drop"], "one of error, empty, skip"),
    "bar in per cent": ({"r.trn": R, "h.trn": H}, ["r.trn", "h.trn", "--fail-above", "20"], "0.2 is 20 %"),
    "half a character": ({"r.trn": R, "h.jsonl": '{"id": "s1-1", "text": "\\ud800"}\n'}, ["r.trn", "h.jsonl"],
                         "line 1: an unpaired surrogate"),
    "bool text": ({"r.trn": R, "h.jsonl": '{"id": "s1-1", "text": true}\n'}, ["r.trn", "h.jsonl"], "'text' is a bool"),
    "sides swapped": ({"r.jsonl": jsonl(HYPOTHESES, "hypothesis"), "h.jsonl": jsonl(REFERENCES, "text")},
                      ["r.jsonl", "h.jsonl"], "or swap the two files"),
    "bar not a number": ({"r.trn": R, "h.trn": H}, ["r.trn", "h.trn", "--fail-above", "nan"], "--fail-above nan"),
    "bar below nothing": ({"r.trn": R, "h.trn": H}, ["r.trn", "h.trn", "--fail-above", "-0.1"], "0.20 for 20 %"),
    "base is the hypothesis": ({"r.trn": R, "h.trn": H}, ["r.trn", "h.trn", "--fail-worse-than", "h.trn"],
                               "--fail-worse-than h.trn: is the hypothesis itself"),
    "base is the reference": ({"r.trn": R, "h.trn": H}, ["r.trn", "h.trn", "--fail-worse-than", "r.trn"],
                              "r.trn: the same file is given twice"),
    "seed": ({"r.trn": R, "h.trn": H}, ["r.trn", "h.trn", "--seed", "-1"], "seed -1"),
    "three formats": ({"r.trn": R, "h.trn": H}, ["r.trn", "h.trn", "--format", "trn,trn,trn"],
                      "give one format for all files, or two"),
    "lines and a format": ({"r.trn": R, "h.trn": H}, ["r.trn", "h.trn", "--by-line", "--format", "trn"],
                           "exclude each other"),
    "output is a folder": ({"r.trn": R, "h.trn": H, "d/x": ""}, ["r.trn", "h.trn", "--output", "d"],
                           "--output d: is a folder"),
    "output is an input": ({"r.trn": R, "h.trn": H}, ["r.trn", "h.trn", "--json", "h.trn"],
                           "--json h.trn: already exists, and was not written by speechxfer"),
    "one file for two outputs": ({"r.trn": R, "h.trn": H}, ["r.trn", "h.trn", "--json", "x", "--output", "x"],
                                 "is named for two outputs"),
    "page on standard output": ({"r.trn": R, "h.trn": H}, ["r.trn", "h.trn", "--html", "-"], "name a file"),
    "below a file": ({"r.trn": R, "h.trn": H}, ["r.trn", "h.trn", "--html", "h.trn/x.html"], "cannot be written"),
    "glm": ({"r.trn": R, "h.trn": H, "x.glm": "[a] -> b\n"}, ["r.trn", "h.trn", "--normalise", "x.glm"],
            "line 1: [a] -> b"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_broken_input(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files, arguments, message = BROKEN[name]
    contents = {path: text if isinstance(text, bytes) else text.encode() for path, text in files.items()}
    for path, content in contents.items():
        Path(path).parent.mkdir(exist_ok=True)
        Path(path).write_bytes(content)
    done = CliRunner().invoke(build_app(), ["score", *arguments])
    assert done.exit_code == 2, done.output
    assert message in done.output and "Traceback" not in done.output
    assert all(Path(path).read_bytes() == content for path, content in contents.items())
