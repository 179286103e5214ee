"""`speechxfer transcribe`: what is printed and written in each form, exit codes, what an interrupt leaves."""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from speechxfer.cli import _transcripts, build_app
from speechxfer.cli._transcripts import MAX_CUE_SECONDS
from speechxfer.models import load
from speechxfer.models.base import SpeechModel
from speechxfer.models.seq2seq import WhisperRecogniser
from speechxfer.models.transcribe import LONG_SEGMENT_SHARE, MAX_SINGLE_SECONDS

Run = Callable[..., tuple[str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments: object, code: int = 0) -> tuple[str, str]:
        done = CliRunner().invoke(build_app(), ["transcribe", *map(str, arguments)])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        assert done.exit_code == code, done.output
        assert "Traceback" not in done.output
        return done.stdout, done.stderr

    return invoke


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model answers with the length of what it hears, so that texts tell the cuts; nothing is computed."""
    monkeypatch.setattr(
        "speechxfer.models.seq2seq.WhisperRecogniser.predict",
        lambda self, waveforms: [f"heard {len(waveform) / 16_000:.2f}" for waveform in waveforms],
    )


@pytest.fixture
def long_file(tmp_path: Path) -> Path:
    """Tones of two seconds with half a second between them, 40 s, then a minute of nothing."""
    tone = 0.3 * np.sin(np.arange(32_000) / 9)
    samples = np.concatenate([np.tile(np.concatenate([tone, np.zeros(8_000)]), 16), np.zeros(60 * 16_000)])
    soundfile.write(tmp_path / "long.flac", samples, 16_000)
    return tmp_path / "long.flac"


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_one_short_file_is_its_text_alone(run: Run, whisper: Path, speech: Path) -> None:
    file = speech.parent / "audio/3.wav"
    waveform, _ = soundfile.read(file, dtype="float32")
    (text,) = load(whisper, device="cpu").predict([waveform])
    assert run(whisper, file) == (" ".join(text.split()) + "\n", "")


def test_several_have_their_names_before_them(run: Run, whisper: Path, speech: Path, named: None) -> None:
    files = [speech.parent / f"audio/{n}.wav" for n in (2, 0)]
    assert run(whisper, *files) == (f"{files[0]}\theard 0.70\n{files[1]}\theard 0.50\n", "")
    out, _ = run(whisper, speech.parent / "audio")
    assert [line.split("\t")[0] for line in out.splitlines()] == [f"{speech.parent}/audio/{n}.wav" for n in range(6)]


def test_a_long_file_has_the_times_of_its_cuts(run: Run, whisper: Path, long_file: Path, named: None) -> None:
    out, _ = run(whisper, long_file)
    found = re.findall(r"^\[(\d\d):(\d\d\.\d) - (\d\d):(\d\d\.\d)\] heard (\d+\.\d\d)$", out, re.MULTILINE)
    assert len(found) == len(out.splitlines()) == 2
    for m0, s0, m1, s1, heard in found:
        start, end = 60 * int(m0) + float(s0), 60 * int(m1) + float(s1)
        assert end - start == pytest.approx(float(heard), abs=0.11)
    assert float(found[0][4]) <= MAX_SINGLE_SECONDS * LONG_SEGMENT_SHARE
    assert end == pytest.approx(39.65, abs=0.1)  # where the nothing begins, and 0.15 s of it


def test_what_help_says_of_the_lengths_is_so(run: Run) -> None:
    out, _ = run("--help")
    assert f"training utterances, at most {MAX_SINGLE_SECONDS * LONG_SEGMENT_SHARE:g}" in " ".join(out.split())


def test_jsonl_can_be_scored(run: Run, whisper: Path, speech: Path, long_file: Path, tmp_path: Path) -> None:
    out, _ = run(whisper, speech, "--output", "deep/er/out.jsonl", "--json", "r.json")
    rows = lines_of(tmp_path / "deep/er/out.jsonl")
    assert [row["audio"] for row in rows] == [f"audio/{n}.wav" for n in range(6)]
    assert {"id", "audio", "hypothesis", "reference", "speaker", "accent"} == set(rows[0])
    assert list((tmp_path / "deep/er").iterdir()) == [tmp_path / "deep/er/out.jsonl"]  # nothing else is left there
    assert out.splitlines()[-1].startswith("deep/er/out.jsonl: 6 files, 0.1 min of audio in ")
    done = CliRunner().invoke(build_app(), ["score", "deep/er/out.jsonl", "--json", "-", "-q"])
    assert json.loads(done.stdout)["result"]["reference_words"] == 10
    # the same rows as evaluate writes
    evaluated = CliRunner().invoke(build_app(), ["evaluate", str(whisper), str(speech), "--output", "e", "-q"])
    assert evaluated.exit_code == 0
    assert rows == lines_of(tmp_path / "e/after.jsonl")


def test_the_json_has_the_contracts_keys(
    run: Run, whisper: Path, speech: Path, long_file: Path, named: None, tmp_path: Path
) -> None:
    out, _ = run(whisper, speech, long_file, "--json", "-", "--beam-size", "2", "--no-pad-to-30s")
    report = json.loads(out)
    assert (report["files"], report["failed"]) == (7, [])
    seconds = sum(soundfile.info(speech.parent / f"audio/{n}.wav").duration for n in range(6)) + 100
    assert report["seconds"] == report["speed"]["audio_seconds"] == pytest.approx(seconds, abs=0.02)
    assert report["silence_seconds"] == pytest.approx(60.35, abs=0.5)
    assert set(report["speed"]) == {"audio_seconds", "wall_seconds", "peak_memory_mb", "device"}
    assert len(report["utterances"]) == 7 and len(report["utterances"][-1]["segments"]) == 2
    options = {"language": None, "beams": 2, "padded_to_30s": False, "cut_seconds": None}
    assert report["provenance"]["options"] == options and len(report["provenance"]["checkpoint"]) == 64
    assert run(whisper, speech, "-q") == ("", "")


def test_csv(run: Run, whisper: Path, speech: Path, named: None, tmp_path: Path) -> None:
    speech.write_text(
        'audio,text,note\naudio/0.wav,bad,"two\nlines, ""quoted"""\naudio/1.wav,,"a\rreturn"\n', newline=""
    )
    run(whisper, speech, speech.parent / "audio/2.wav", "--output", "o.csv")
    with (tmp_path / "o.csv").open(newline="") as file:
        rows = list(csv.reader(file, strict=True))
    assert rows == [
        ["id", "audio", "hypothesis", "reference", "note"],
        ["audio/0.wav", "audio/0.wav", "heard 0.50", "bad", 'two\nlines, "quoted"'],
        ["audio/1.wav", "audio/1.wav", "heard 0.60", "", "a\rreturn"],
        [*[str(speech.parent / "audio/2.wav")] * 2, "heard 0.70", "", ""],
    ]


def test_text(run: Run, whisper: Path, speech: Path, long_file: Path, named: None, tmp_path: Path) -> None:
    run(whisper, speech.parent / "audio/1.wav", "--output", "o.txt", "-q")
    assert (tmp_path / "o.txt").read_text() == "heard 0.60\n"
    run(whisper, long_file, "--output", "o.TXT", "-q")
    assert re.fullmatch(r"heard \d+\.\d\d\nheard \d+\.\d\d\n", (tmp_path / "o.TXT").read_text())
    run(whisper, speech, "--output", "o.txt", "--overwrite", "-q")
    assert (tmp_path / "o.txt").read_text().splitlines()[5] == "audio/5.wav\theard 1.00"


def test_subtitles(run: Run, whisper: Path, long_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They have the words of the plain text, in cues of at most seven seconds."""
    words = " ".join(f"w{number}" for number in range(20))
    monkeypatch.setattr(WhisperRecogniser, "predict", lambda self, waveforms: [words] * len(waveforms))
    run(whisper, long_file, "--output", "o.txt", "-q")
    for name, head in (("o.srt", ""), ("o.vtt", "WEBVTT\n\n")):
        run(whisper, long_file, "--output", name, "-q")
        cues = (tmp_path / name).read_text().removeprefix(head).split("\n\n")[:-1]
        ends, texts = 0.0, []
        for cue in cues:
            *_, stamps, text = cue.split("\n")
            found = re.fullmatch(r"00:00:(\d\d)[,.](\d{3}) --> 00:00:(\d\d)[,.](\d{3})", stamps)
            assert found
            start, end = int(found[1]) + int(found[2]) / 1000, int(found[3]) + int(found[4]) / 1000
            assert ends <= start < end <= start + MAX_CUE_SECONDS
            ends, texts = end, [*texts, text]
        assert " ".join(texts).split() == (tmp_path / "o.txt").read_text().split()
        assert 6 <= len(cues) <= 14


def test_bad_files_are_named_and_the_others_done(
    run: Run, whisper: Path, speech: Path, named: None, tmp_path: Path
) -> None:
    (speech.parent / "audio/1.wav").write_text("not audio")
    _, err = run(whisper, "gone.mp3", speech, "--output", "o.jsonl", "--json", "r.json", "-q", code=1)
    assert "speechxfer: gone.mp3: no such file or folder" in err
    assert "speechxfer: audio/1.wav: is text, not audio (it begins 'not audio')" in err
    assert [row["id"] for row in lines_of(tmp_path / "o.jsonl")] == [f"audio/{n}.wav" for n in (0, 2, 3, 4, 5)]
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["files"] == 5
    assert [(bad["audio"], bad["problem"][:7]) for bad in report["failed"]] == [
        ("gone.mp3", "no such"),
        ("audio/1.wav", "is text"),
    ]
    out, _ = run(whisper, speech, "--output", "o.jsonl", "--overwrite", code=1)
    assert out.strip().endswith("1 could not be read")
    assert run(whisper, speech.parent / "audio/1.wav", code=1)[0] == ""


@pytest.mark.skipif(os.name == "nt", reason="names are UTF-16 there")
def test_a_folder_with_odd_names_and_bad_files_is_transcribed(
    run: Run, whisper: Path, speech: Path, named: None, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    good = (speech.parent / "audio/2.wav").read_bytes()
    slow = bytearray(good)
    slow[24:28] = (20).to_bytes(4, "little")  # Hz
    for name, data in {b"a.wav": bytes(slow), b"b.wav": good, b"\xff\xfe.wav": good, b"._b.wav": b"x"}.items():
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(data)
    out, err = run(whisper, folder, "--output", "o.jsonl", "--json", "r.json", code=1)
    assert err == (
        f"speechxfer: {folder}/a.wav: states a sampling rate of 20 Hz; 4,000 to 768,000 Hz can be read\n"
        "  fix: write the file again with its true rate, e.g. 16,000 Hz\n"
    )
    found = {line["id"]: line["hypothesis"] for line in lines_of(tmp_path / "o.jsonl")}
    assert found == {f"{folder}/b.wav": "heard 0.70", rf"{folder}/\xff\xfe.wav": "heard 0.70"}
    assert out.strip().endswith("1 could not be read")
    alone, _ = run(whisper, os.fsdecode(os.fsencode(folder) + b"/\xff\xfe.wav"))
    assert alone == "heard 0.70\n"


def interrupting(monkeypatch: pytest.MonkeyPatch, call: int) -> None:
    """Ctrl-C in the midst of an answer, the `call`-th."""
    calls = iter(range(1, 1000))

    def answer(self: SpeechModel, waveforms: Sequence[np.ndarray]) -> list[str]:
        if next(calls) == call:
            raise KeyboardInterrupt
        return [f"heard {len(waveform) / 16_000:.2f}" for waveform in waveforms]

    monkeypatch.setattr("speechxfer.models.seq2seq.WhisperRecogniser.predict", answer)


def test_ctrl_c_keeps_what_was_finished(
    run: Run, whisper: Path, speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupting(monkeypatch, 4)
    _, err = run(whisper, speech, "--output", "o.jsonl", "--no-pad-to-30s", "--batch-seconds", "1", code=130)
    rows = lines_of(tmp_path / "o.jsonl")
    assert 0 < len(rows) < 6 and all(row["hypothesis"].startswith("heard") for row in rows)
    assert f"finished transcripts are saved in o.jsonl ({len(rows)} transcribed)" in err
    assert not (tmp_path / "o.jsonl.part").exists()


def test_ctrl_c_leaves_an_earlier_file_alone(
    run: Run, whisper: Path, speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "o.csv").write_text("earlier")
    interrupting(monkeypatch, 4)
    _, err = run(
        whisper, speech, "--output", "o.csv", "--overwrite", "--no-pad-to-30s", "--batch-seconds", "1", code=130
    )
    assert (tmp_path / "o.csv").read_text() == "earlier"
    assert "saved in o.csv.part" in err and len((tmp_path / "o.csv.part").read_text().splitlines()) > 1
    interrupting(monkeypatch, 1)
    (tmp_path / "o.csv.part").unlink()
    _, err = run(whisper, speech, "--output", "o.csv", "--overwrite", "--batch-seconds", "1", code=130)
    assert not (tmp_path / "o.csv.part").exists() and "saved" not in err


def test_ctrl_c_in_a_long_file_keeps_what_it_has_heard(
    run: Run, whisper: Path, long_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("--cut-seconds", "5", "--batch-seconds", "30")
    interrupting(monkeypatch, 6)
    _, err = run(whisper, long_file, "--output", "o.jsonl", *options, code=130)
    (row,) = lines_of(tmp_path / "o.jsonl")
    assert row["complete"] is False and 1 <= len(row["segments"]) < 9
    assert "(1 transcribed, 1 of them incomplete)" in err
    interrupting(monkeypatch, 6)
    out, _ = run(whisper, long_file, *options, code=130)
    assert len(out.splitlines()) == len(row["segments"])
    interrupting(monkeypatch, 6)  # a table has no place to say that a row is half a file
    run(whisper, long_file, "--output", "o.csv", *options, code=130)
    assert not (tmp_path / "o.csv").exists()


def test_a_disk_that_fills_keeps_what_was_written(
    run: Run, whisper: Path, speech: Path, named: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = _transcripts.TranscriptOutput._write_text, iter(range(100))

    class Full:
        def __init__(self, file: Any) -> None:
            self.file = file

        def write(self, text: str) -> None:
            raise OSError(28, "No space left on device")

        def flush(self) -> None: ...

        def close(self) -> None:
            self.file.close()

    def put(self: Any, text: str) -> None:
        if next(calls) == 3:
            self._file = Full(self._file)
        real(self, text)

    monkeypatch.setattr(_transcripts.TranscriptOutput, "_write_text", put)
    _, err = run(whisper, speech, "--output", "o.txt", code=2)
    assert "o.txt.part: writing failed (No space left on device)" in err
    assert "saved in o.txt (2 transcribed)" in err
    assert len((tmp_path / "o.txt").read_text().splitlines()) == 2


def test_a_multilingual_checkpoint_is_told_its_language(run: Run, multilingual_whisper: Path, speech: Path) -> None:
    _, err = run(multilingual_whisper, speech, code=2)
    assert "--language en" in err
    assert run(multilingual_whisper, speech, "--language", "de")[0].count("\n") == 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "{data}"], "no such model"),
        (["{model}", "gone.wav"], "gone.wav: no such file or folder"),
        (["{model}", "empty"], "holds no audio file"),
        (["{model}", "table.csv"], "has no column 'audio'"),
        (["{model}", "{data}", "--output", "o.json"], "did you mean '.jsonl'"),
        (["{model}", "{data}", "--output", "o"], "use one of .jsonl"),
        (["{model}", "{data}", "--output", "dir.csv"], "is a folder"),
        (["{model}", "{data}", "--output", "{data}"], "is also an input"),
        (["{model}", "{data}", "--output", "o.srt"], "subtitles need exactly one audio file, and there are 6"),
        (["{model}", "{data}", "--output", "{data}/o.txt"], "cannot be written"),
        (["{model}", "{data}", "--device", "gpu"], "'gpu' is not one of auto, cpu, cuda, mps"),
        (["{model}", "{data}", "--language", "de"], "this checkpoint knows English only"),
        (["{model}", "{data}", "--cut-seconds", "31"], "more than Whisper's encoder takes (30 s)"),
    ],
)
def test_mistakes(
    arguments: list[str],
    message: str,
    run: Run,
    whisper: Path,
    speech: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "speechxfer.models.seq2seq.WhisperRecogniser.predict", lambda *_: pytest.fail("it began to work")
    )
    for folder in ("empty", "dir.csv"):
        (tmp_path / folder).mkdir()
    (tmp_path / "table.csv").write_text("sound,text\na.wav,x\n")
    _, err = run(*(a.format(model=whisper, data=speech) for a in arguments), code=2)
    assert message in err
