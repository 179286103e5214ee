"""The preparation scripts on tiny copies of the published folders' shape, read back as DATA."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechxfer.data.audio import load_waveform
from speechxfer.data.reader import read
from speechxfer.data.splits import make_splits

SCRIPTS = Path(__file__).parents[2] / "scripts"


def run(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPTS / script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def archive(folder: Path) -> Path:
    """OpenSLR 101 in small: 12 train speakers and 2 test speakers of two utterances each."""
    for part, numbers in (("train", range(1, 13)), ("test", range(20, 22))):
        lines: dict[str, list[str]] = {name: [] for name in ("wav.scp", "text", "utt2spk", "spk2age", "spk2gender")}
        for number in numbers:
            speaker = f"{number:04}"
            lines["spk2age"].append(f"{speaker}\t{number + 5}")
            lines["spk2gender"].append(f"{speaker} {'mf'[number % 2]}")
            for take in range(2):
                name = f"{speaker}{take:05}"
                file = f"WAVE/SPEAKER{speaker}/{name}.WAV"
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(folder / file, np.full(8000 + 1600 * take, 0.1), 16_000, format="WAV")
                lines["wav.scp"].append(f"{name}\t{file}")
                lines["text"].append(f"{name}\tTAKE {take} BY {speaker}")
                lines["utt2spk"].append(f"{name}\t{speaker}")
        (folder / part).mkdir()
        for name, content in lines.items():
            (folder / part / name).write_text("\n".join(content) + "\n")
    return folder


def test_speechocean762_from_the_archive(tmp_path: Path) -> None:
    folder = archive(tmp_path)
    done = run("prepare_speechocean762.py", folder, "--hold-out")
    assert done.returncode == 0, done.stderr
    train = read(folder / "train.csv", need=["text", "speaker"])
    assert (len(train), len(read(folder / "test.csv"))) == (24, 4)
    assert train[3] == {
        "id": "WAVE/SPEAKER0002/000200001.WAV",
        "audio": "WAVE/SPEAKER0002/000200001.WAV",
        "path": str(folder / "WAVE/SPEAKER0002/000200001.WAV"),
        "text": "TAKE 1 BY 0002",
        "speaker": "0002",
        "age": "7",
        "gender": "m",
        "accent": "mandarin",
        "duration": "0.600",
    }
    assert len(load_waveform(train[3])) == 9600
    made = make_splits(str(folder / "train-part.csv"), test=str(folder / "test-part.csv"))
    assert set(made.test["speaker"]) == {"0003", "0008"}  # [2::5] of 0001..0012
    assert set(made.dev["speaker"]) == {"0001"}
    assert len(made.train) == 18
    assert made.warnings == []


def test_speechocean762_from_a_ready_table_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    folder = archive(tmp_path / "archive")
    assert run("prepare_speechocean762.py", folder).returncode == 0
    done = run("prepare_speechocean762.py", "--table", folder / "train.csv", "--output", tmp_path / "parts")
    assert done.returncode == 0, done.stderr
    held = read(tmp_path / "parts/test-part.csv")
    assert held[0]["audio"] == "../archive/WAVE/SPEAKER0003/000300000.WAV"
    assert len(load_waveform(held[0])) == 8000
    assert not (tmp_path / "parts/train.csv").exists()


def test_speechocean762_only_what_a_list_names(tmp_path: Path) -> None:
    folder, listed = archive(tmp_path), tmp_path / "few.txt"
    listed.write_text("# of speaker 0002\n000200000\n000200001\n")
    assert run("prepare_speechocean762.py", folder, "--hold-out", "--only", listed).returncode == 0
    few = read(folder / "few.csv")
    assert few["audio"] == ["WAVE/SPEAKER0002/000200000.WAV", "WAVE/SPEAKER0002/000200001.WAV"]
    assert "split" not in few.column_names
    listed.write_text("000200000\n000300000\n")  # the second is reported on
    done = run("prepare_speechocean762.py", folder, "--hold-out", "--only", listed)
    assert done.returncode == 1 and "1 of its 2 utterances are training rows here" in done.stderr


def test_speechocean762_names_what_is_missing(tmp_path: Path) -> None:
    done = run("prepare_speechocean762.py", tmp_path)
    assert done.returncode == 1
    assert "train/wav.scp: no such file" in done.stderr.replace("\\", "/")
    folder = archive(tmp_path)
    (folder / "train/text").write_text("000100000 ONLY ONE\n")
    done = run("prepare_speechocean762.py", folder)
    assert done.returncode == 1
    assert "no entry for '000100001'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("inside", [True, False])
def test_fsdd(tmp_path: Path, inside: bool) -> None:
    recordings = tmp_path / "recordings"
    recordings.mkdir()
    for name in ("7_lucas_4", "7_lucas_5", "0_jackson_12", "3_newcomer_0"):
        soundfile.write(recordings / f"{name}.wav", np.full(800, 0.1), 8_000)
    (recordings / "notes.txt").write_text("not a recording")
    done = run("prepare_fsdd.py", tmp_path if inside else recordings)
    assert done.returncode == 0, done.stderr
    rows = read((tmp_path if inside else recordings) / "all.csv", need=["label"])
    assert [(row["text"], row["label"], row["speaker"], row["accent"], row["split"]) for row in rows] == [
        ("zero", "zero", "jackson", "american", "train"),
        ("three", "three", "newcomer", "", "test"),
        ("seven", "seven", "lucas", "german", "test"),
        ("seven", "seven", "lucas", "german", "train"),
    ]
    assert len(load_waveform(rows[0])) == 1600  # 8 kHz to 16 kHz


def test_fsdd_without_recordings(tmp_path: Path) -> None:
    done = run("prepare_fsdd.py", tmp_path)
    assert done.returncode == 1
    assert "no recordings named like" in done.stderr
