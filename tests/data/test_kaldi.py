"""Kaldi data folders: what is read, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from speechxfer.data.audio import measure_duration
from speechxfer.data.reader import read
from speechxfer.errors import UserError

Writer = Callable[..., Path]


def kaldi(folder: Path, **files: str) -> Path:
    for name, content in files.items():
        (folder / name.replace("wav_scp", "wav.scp")).write_text(content)
    return folder


def test_kaldi_folder(tmp_path: Path, write_tone: Writer) -> None:
    write_tone(tmp_path / "WAVE/a.wav")
    write_tone(tmp_path / "WAVE/b.wav", 2.0)
    data = tmp_path / "train"
    data.mkdir()
    kaldi(
        data,
        wav_scp="u1\tWAVE/a.wav\nu2 WAVE/b.wav\n",
        text="u2 TWO WORDS\nu1 ONE\n",
        utt2spk="u1 s1\nu2 s2\n",
        spk2gender="s1 f\ns2 m\n",
    )
    rows = read(data, need=["text", "speaker"])
    assert rows[1] == {
        "id": "u2",
        "audio": "WAVE/b.wav",
        "path": str(tmp_path / "WAVE/b.wav"),
        "text": "TWO WORDS",
        "speaker": "s2",
        "gender": "m",
    }
    kaldi(data, segments="u1-a u1 0.25 0.75\nu2-a u2 1.5 -1\n", text="u1-a A\nu2-a B\n", utt2spk="u1-a s1\nu2-a s2\n")
    rows = read(data)
    assert [(row["id"], row["text"], measure_duration(row)) for row in rows] == [("u1-a", "A", 0.5), ("u2-a", "B", 0.5)]


def test_kaldi_never_runs_a_command(tmp_path: Path) -> None:
    trap = tmp_path / "ran"
    kaldi(tmp_path, wav_scp=f"u1 touch {trap} |\nu2 | touch {trap}\nu3 raw.ark:1234\nu4 a.wav\n")
    with pytest.raises(UserError) as caught:
        read(tmp_path)
    assert "entry 1 (u1) is a piped command, which is never executed" in str(caught.value)
    assert "entry 2 (u2) is a piped command" in str(caught.value)
    assert "entry 3 (u3) is in a Kaldi archive" in str(caught.value)
    assert not trap.exists()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"text": "u1 A\nu9 B\n"}, "1 ids are not in wav.scp or segments: u9"),
        ({"segments": "s u9 0 1\n"}, "wav.scp has no recording 'u9'"),
        ({"segments": "s u1 0\n"}, "expected '<utterance> <recording> <start> <end>'"),
        ({"wav_scp": "u1 a.wav\nu1 b.wav\n"}, "line 2: duplicate 'u1'"),
        ({"wav_scp": "u1\n"}, "names no file"),
    ],
)
def test_kaldi_files_that_disagree(tmp_path: Path, files: dict[str, str], message: str) -> None:
    kaldi(tmp_path, **({"wav_scp": "u1 a.wav\n"} | files))
    with pytest.raises(UserError) as caught:
        read(tmp_path)
    assert message in str(caught.value)
