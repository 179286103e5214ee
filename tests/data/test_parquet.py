"""Parquet with embedded audio, as the hub has it, read by split, alone and under a hub name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from speechxfer.data import formats
from speechxfer.data.audio import load_waveform, measure_duration
from speechxfer.data.audit import audit_dataset
from speechxfer.data.reader import read
from speechxfer.data.splits import make_splits
from speechxfer.data.validation import find_invalid_rows

Writer = Callable[..., Path]


def test_parquet_with_embedded_audio(
    tmp_path: Path, write_hub_dataset: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_hub_dataset(tmp_path / "repo")
    rows = read(folder, need=["text", "speaker", "split"])
    assert len(rows) == 6
    last = dict(rows[5])
    assert len(load_waveform(last)) == 8_000
    assert measure_duration(last) == 0.5
    assert len(last.pop("bytes")) > 16_000
    assert last == {
        "id": f"{last['split']}/2.wav",
        "audio": "2.wav",
        "path": "",
        "text": f"{last['split']} 2",
        "speaker": "2",
        "label": "no",
        "split": "train",
    }
    assert rows[0]["text"] == ""
    one = read(folder / "data/test-00000-of-00001.parquet")
    assert one["id"][:] == ["0.wav", "1.wav", "2.wav"]
    monkeypatch.setattr(formats, "download_dataset", {"hub:owner/name": folder}.__getitem__)
    assert read("hub:owner/name")["id"][:] == rows["id"][:]


def test_embedded_audio_goes_the_whole_way(tmp_path: Path, write_hub_dataset: Writer) -> None:
    folder = write_hub_dataset(tmp_path / "repo")
    made = make_splits(str(folder))
    assert (len(made.train), len(made.dev), len(made.test)) == (2, 1, 3)
    assert [len(load_waveform(row)) for row in made.dev] == [8_000]
    assert [bad.problem for bad in find_invalid_rows(made.test)] == ["its text is empty"]
    found = audit_dataset(read(folder))
    assert [(found.rows, len(found.errors), len(found.usable))] == [(6, 2, 4)]
