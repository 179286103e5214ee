"""Formats of transcripts, and the output file that keeps finished transcripts after an error."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from speechxfer.cli._transcripts import (
    TranscriptOutput,
    check_output,
    make_csv_writer,
    make_jsonl_writer,
    make_plain_writer,
    make_srt_writer,
    make_vtt_writer,
    make_writer,
    split_into_cues,
)
from speechxfer.decoding.forced_alignment import WordTiming
from speechxfer.errors import UserError
from speechxfer.models.transcript import Transcript, TranscriptSegment

SEGMENTS = [
    TranscriptSegment(0, 1.5, "a < b & c"),
    TranscriptSegment(1.5, 2, ""),
    TranscriptSegment(3661.25, 3662, "two\nlines"),
]
LONG = Transcript("i", "a.wav", "x\ty", SEGMENTS, False, 4000.0)
SHORT = Transcript("b.wav", "b.wav", 'said "yes", twice', [TranscriptSegment(0, 1, "said")], True, 1.0)


def test_subtitles_and_plain_text() -> None:
    assert make_vtt_writer([]).header == "WEBVTT\n\n"
    assert make_vtt_writer([]).write(LONG) == (
        "00:00:00.000 --> 00:00:01.500\na &lt; b &amp; c\n\n01:01:01.250 --> 01:01:02.000\ntwo lines\n\n"
    )
    assert make_srt_writer([]).write(LONG) == (
        "1\n00:00:00,000 --> 00:00:01,500\na < b & c\n\n2\n01:01:01,250 --> 01:01:02,000\ntwo lines\n\n"
    )
    assert make_plain_writer(True, times=True).write(LONG) == (
        "[00:00.0 - 00:01.5] a < b & c\n[1:01:01.2 - 1:01:02.0] two lines\n"
    )
    assert make_plain_writer(False).write(LONG) == "i\tx y\n"
    assert make_plain_writer(False).write(SHORT) == 'b.wav\tsaid "yes", twice\n'
    assert make_plain_writer(True).write(SHORT) == 'said "yes", twice\n'


@pytest.mark.parametrize(
    ("segment", "cues"),
    [
        (TranscriptSegment(0, 7, "a b"), [(0, 7, "a b")]),
        (TranscriptSegment(1, 15, "aaa bbb ccc ddd"), [(1, 8, "aaa bbb"), (8, 15, "ccc ddd")]),
        (TranscriptSegment(0, 21, "aaaaaaaaa b c"), [(7, 14, "aaaaaaaaa"), (14, 21, "b c")]),
        (TranscriptSegment(0, 14, "你好世界"), [(0, 7, "你好"), (7, 14, "世界")]),
        (TranscriptSegment(0, 14, ""), []),
        (
            TranscriptSegment(0, 14, "a bbbbbbbb", [WordTiming("a", 0, 8, 1), WordTiming("bbbbbbbb", 8, 14, 1)]),
            [(0, 7, "a"), (7, 14, "bbbbbbbb")],
        ),
    ],
)
def test_cues(segment: TranscriptSegment, cues: list[tuple[float, float, str]]) -> None:
    assert split_into_cues(segment) == cues


def test_csv_and_json_are_read_back() -> None:
    writer = make_csv_writer(["speaker"])
    rows = list(csv.reader(io.StringIO(writer.header + writer.write(SHORT)), strict=True))
    assert rows == [["id", "audio", "hypothesis", "speaker"], ["b.wav", "b.wav", 'said "yes", twice', ""]]
    assert json.loads(make_jsonl_writer([]).write(LONG)) == LONG.to_json()


def test_the_suffix_selects_the_format() -> None:
    assert make_writer(Path("o.VTT"), [], 1).header == "WEBVTT\n\n"
    assert make_writer(Path("o.csv"), ["x"], 2).header == "id,audio,hypothesis,x\n"
    assert make_writer(Path("o.txt"), [], 2).write(LONG) == "i\tx y\n"


@pytest.mark.parametrize(
    ("name", "num_utterances", "message"),
    [
        ("o.json", 1, "did you mean '.jsonl'"),
        ("dir.csv", 1, "is a folder"),
        ("in.csv", 1, "is also an input"),
        ("o.srt", 2, "there are 2"),
    ],
)
def test_outputs_that_cannot_be_used(tmp_path: Path, name: str, num_utterances: int, message: str) -> None:
    (tmp_path / "dir.csv").mkdir()
    (tmp_path / "in.csv").write_text("audio\n")
    with pytest.raises(UserError, match=message):
        check_output(tmp_path / name, [str(tmp_path / "in.csv")], num_utterances, overwrite=True)


def test_a_complete_output_replaces_the_file(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "o.txt"
    with TranscriptOutput(path, make_plain_writer(False)) as output:
        output.write(LONG)
    assert path.read_text() == "i\tx y\n" and list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("exists", [False, True])
def test_an_interruption_keeps_finished_transcripts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], exists: bool
) -> None:
    path = tmp_path / "o.txt"
    if exists:
        path.write_text("earlier")
    with pytest.raises(KeyboardInterrupt), TranscriptOutput(path, make_plain_writer(False)) as output:
        output.write(LONG)
        raise KeyboardInterrupt
    kept = tmp_path / "o.txt.part" if exists else path
    assert kept.read_text() == "i\tx y\n"
    assert f"saved in {kept} (1 transcribed)" in capsys.readouterr().err
    assert not exists or path.read_text() == "earlier"
