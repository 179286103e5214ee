"""`speechxfer check`: exit codes, messages, JSON and the clean table."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from transformers import (
    Wav2Vec2Config,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    Wav2Vec2Processor,
)
from typer.testing import CliRunner

from speechxfer.cli import build_app
from speechxfer.data.audio import load_waveform
from speechxfer.data.reader import read


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(build_app(), ["check", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def table(tmp_path: Path) -> Path:
    (tmp_path / "audio").mkdir()
    for number in range(4):
        samples = 0.3 * np.sin(np.arange(8000) / (10 + number))
        soundfile.write(tmp_path / f"audio/{number}.wav", samples, 16_000)
    lines = [f"audio/{number}.wav,word {number},000{number // 2},north" for number in range(4)]
    (tmp_path / "t.csv").write_text("audio,text,speaker,accent\n" + "\n".join(lines) + "\n")
    return tmp_path / "t.csv"


def test_clean(table: Path, tmp_path: Path) -> None:
    code, out, _ = run(table, "--json", tmp_path / "out/r.json")
    assert code == 0
    assert out.splitlines()[-1] == f"{table}: 4 rows, 2.0 s, 4 usable, 0 bad, 0 warnings"
    assert "2 speakers: 0000 1.0 s in 2 utterances, 0001 1.0 s in 2\n1 accent: north 2.0 s in 4 utterances" in out
    result = json.loads((tmp_path / "out/r.json").read_text())
    assert set(result) == {"schema", "rows", "usable", "hours", "errors", "warnings", "speakers", "accents"}
    assert result["hours"] == pytest.approx(4 * 0.5 / 3600)
    assert result["accents"]["north"]["utterances"] == 4


def test_bad_rows_are_named_and_left_out(table: Path, tmp_path: Path) -> None:
    table.write_text(table.read_text() + "audio/gone.wav,word,0002,north\n")
    (tmp_path / "audio/1.wav").write_text("not audio")
    clean = tmp_path / "elsewhere/clean.csv"
    code, out, err = run(table, "--output", clean, "--json", tmp_path / "r.json")
    assert (code, err) == (1, "")
    assert "row 2 (audio/1.wav): is text, not audio (it begins 'not audio')" in out
    assert "row 5 (audio/gone.wav): no such file" in out
    errors = json.loads((tmp_path / "r.json").read_text())["errors"]
    assert [(error["row"], error["id"]) for error in errors] == [(2, "audio/1.wav"), (5, "audio/gone.wav")]
    assert set(errors[0]) == {"row", "id", "audio", "problem", "fix"}
    rows = read(clean)
    assert [(row["id"], row["audio"], row["speaker"]) for row in rows] == [
        ("audio/0.wav", "../audio/0.wav", "0000"),
        ("audio/2.wav", "../audio/2.wav", "0001"),
        ("audio/3.wav", "../audio/3.wav", "0001"),
    ]
    assert [len(load_waveform(row)) for row in rows] == [8000] * 3
    assert run(clean)[0] == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file or folder"),
        ("", "the table is empty"),
        ("audio,text\n", "has no rows"),
        ("sound,text\na.wav,hi\n", "has no column 'audio'"),
        ("audio,text\na.wav,hi,ho\n", "line 2 has 3 cells"),
    ],
)
def test_what_is_not_data_at_all(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "t.csv").write_text(content)
    code, out, err = run(tmp_path / "t.csv")
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err


def test_json_to_standard_output_stands_alone(table: Path) -> None:
    table.write_text(table.read_text() + "gone.wav,word,0002,north\n")
    for more in ([], ["--quiet"]):
        code, out, _ = run(table, "--json", "-", *more)
        assert code == 1
        assert json.loads(out)["usable"] == 4


def test_a_row_without_id_and_audio_is_named_by_its_number(table: Path) -> None:
    table.write_text(table.read_text() + ",word,0002,north\n")
    assert "error    row 5: no audio is named" in run(table)[1].splitlines()


@pytest.fixture(scope="module")
def ctc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small wav2vec2 with a CTC head that writes capitals, in a transformers folder."""
    folder = tmp_path_factory.mktemp("ctc")
    letters = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ'"]
    (folder / "vocab.json").write_text(json.dumps({letter: number for number, letter in enumerate(letters)}))
    Wav2Vec2Processor(Wav2Vec2FeatureExtractor(), Wav2Vec2CTCTokenizer(folder / "vocab.json")).save_pretrained(folder)
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = Wav2Vec2Config(vocab_size=len(letters), conv_dim=[8] * 7, num_conv_pos_embedding_groups=4, **size)
    Wav2Vec2ForCTC(config).save_pretrained(folder)
    return folder


def test_a_ctc_models_vocabulary_case_and_frames(table: Path, ctc: Path) -> None:
    header, *rows = table.read_text().splitlines()
    texts = ["DON'T", "don't", "CAFÉ 3", "AN OUTRAGEOUSLY LONG TEXT FOR HALF A SECOND"]
    rows = [",".join([row.split(",")[0], text, *row.split(",")[2:]]) for row, text in zip(rows, texts, strict=True)]
    table.write_text("\n".join([header, *rows]) + "\n")
    code, out, _ = run(table, "--model", ctc)
    assert code == 1
    assert "error    row 4 (audio/3.wav): is too short for its text: 25 frames, CTC needs 43" in out
    assert "warning  row 2 is written in another case than the model's upper case: change the text's case" in out
    assert "warning  row 3 is written with characters that the model lacks ('3' 'É')" in out
    assert "row 1" not in out
    # without a model, or with one whose decoder writes anything, only what any CTC would need is remarked on
    code, out, _ = run(table)
    assert code == 0
    assert "warning  row 4 is too short for the text under CTC (50 Hz): check the text and the span" in out
    assert "characters that the model lacks" not in out and "case" not in out


def test_whispers_thirty_seconds_and_its_tokens(table: Path, make_whisper: Callable[..., Path]) -> None:
    """The tiny one holds two seconds and 64 tokens in place of 30 s and 448."""
    samples = 0.3 * np.sin(np.arange(40_000) / 7)
    soundfile.write(table.parent / "audio/0.wav", samples, 16_000)
    table.write_text(table.read_text().replace("word 1", "six " * 70))
    code, out, _ = run(table, "--model", make_whisper(seconds=2))
    assert code == 1
    assert "error    row 1 (audio/0.wav): lasts 2.5 s; the model takes 2 s\n         fix: cut it with" in out
    assert "error    row 2 (audio/1.wav): its text is 70 tokens; the model takes 59" in out


def test_the_clean_table_never_replaces_the_one_that_is_checked(table: Path) -> None:
    before = table.read_text()
    code, out, err = run(table, "--output", table)
    assert (code, out) == (2, "")
    assert "is also an input" in err
    assert table.read_text() == before


def test_a_clean_table_that_cannot_be_written_loses_nothing_that_was_found(table: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for option in ("--output", "--json"):
        code, out, err = run(table, option, tmp_path / "file/clean.csv")
        assert code == 2
        assert "4 rows, 2.0 s, 4 usable" in out
        assert "file/clean.csv: cannot be written" in err


def test_output_that_is_no_table(table: Path) -> None:
    code, _, err = run(table, "--output", "clean.xlsx")
    assert code == 2
    assert "has no suffix of a table" in err


def test_many_errors_are_counted(table: Path) -> None:
    table.write_text("audio,text\n" + "".join(f"gone{n}.wav,word\n" for n in range(70)))
    code, out, _ = run(table)
    assert code == 1
    assert out.count("error    row") == 50
    assert "… and 20 more errors" in out


@pytest.mark.parametrize("named", ["table", "audio"])
def test_json_is_written_over_nothing_but_json(table: Path, tmp_path: Path, named: str) -> None:
    target = table if named == "table" else next((tmp_path / "audio").iterdir())
    before = target.read_bytes()
    code, _, error = run(table, "-q", "--json", target)
    assert code == 2 and f"--json {target}: already exists, and was not written by speechxfer" in error
    assert target.read_bytes() == before
    codes = {run(table, "-q", "--json", tmp_path / "found.json")[0] for _ in range(2)}
    assert len(codes) == 1 and json.loads((tmp_path / "found.json").read_text())


def test_labels_are_counted(tmp_path: Path) -> None:
    """Their numbers, near-equal labels, invisible differences and an imbalance."""
    rows = ["audio,label,speaker"]
    for number, label in enumerate(["zero"] * 12 + ["one", "One", "zero "]):
        soundfile.write(tmp_path / f"{number}.wav", 0.3 * np.sin(np.arange(8000) / (10 + number)), 16_000)
        rows.append(f"{number}.wav,{label},s{number % 2}")
    (tmp_path / "t.csv").write_text("\n".join(rows) + "\n")
    code, out, _ = run(tmp_path / "t.csv", "--json", tmp_path / "out.json")
    assert code == 0
    assert "3 labels: zero 13, one 1, One 1\n" in out
    assert "'One' (1) and 'one' (1)" in out and "'zero' has 13 utterances" in out
    assert "1 label has spaces or invisible characters that are left out: 'zero ' is read as 'zero'" in out
    stated = json.loads((tmp_path / "out.json").read_text())
    assert {label: total["utterances"] for label, total in stated["labels"].items()} == {"zero": 13, "one": 1, "One": 1}


def test_an_imbalance_of_the_training_rows_counts(tmp_path: Path) -> None:
    """Dev and test are balanced here, and the sum over the splits looks harmless."""
    rows = ["audio,label,split"]
    for number, (label, split) in enumerate(
        [("zero", "train")] * 10 + [("one", "train")] + [("zero", "test"), ("one", "test")] * 3
    ):
        soundfile.write(tmp_path / f"{number}.wav", 0.3 * np.sin(np.arange(8000) / (10 + number)), 16_000)
        rows.append(f"{number}.wav,{label},{split}")
    (tmp_path / "t.csv").write_text("\n".join(rows) + "\n")
    _, out, _ = run(tmp_path / "t.csv")
    assert "'zero' has 10 utterances and 'one' 1" in out and "2 labels: zero 13, one 4\n" in out
