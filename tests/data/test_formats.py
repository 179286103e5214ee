"""Detection of DATA's formats: folders with metadata, Common Voice releases and repositories of the hub."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import datasets
import pytest

from speechxfer.data.audio import load_waveform, measure_duration
from speechxfer.data.reader import read
from speechxfer.errors import UserError

Writer = Callable[..., Path]


def table(folder: Path, content: str | bytes, name: str = "t.csv") -> Path:
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder / name


def test_absent_and_unknown_folders(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file or folder"):
        read(tmp_path / "nowhere.csv")
    with pytest.raises(UserError, match=r"it has no metadata.csv"):
        read(tmp_path)
    table(tmp_path, "audio\na.wav\n", "train.csv")
    with pytest.raises(UserError, match=r"give the table itself, e.g. .*train.csv"):
        read(tmp_path)


def test_metadata_folder(tmp_path: Path, write_tone: Writer) -> None:
    write_tone(tmp_path / "a.wav")
    table(tmp_path, "file_name,transcription,speaker_id\na.wav,hello,7\n", "metadata.csv")
    rows = read(tmp_path, need=["text"])
    assert (rows[0]["id"], rows[0]["text"], rows[0]["speaker"]) == ("a.wav", "hello", "7")
    assert len(load_waveform(rows[0])) == 16_000


def test_metadata_in_split_folders(tmp_path: Path, write_tone: Writer) -> None:
    for part in ("test", "train"):
        write_tone(tmp_path / part / "a.wav")
        table(tmp_path / part, f"file_name,text\na.wav,{part}\n", "metadata.csv")
    rows = read(tmp_path)
    assert [(row["audio"], row["split"], row["text"]) for row in rows] == [
        ("test/a.wav", "test", "test"),
        ("train/a.wav", "train", "train"),
    ]
    assert measure_duration(rows[1]) == 1.0


def test_parquet_without_audio_and_of_several_configurations(tmp_path: Path) -> None:
    for name in ("en", "de"):
        (tmp_path / name).mkdir()
        datasets.Dataset.from_dict({"sound": ["a"]}).to_parquet(str(tmp_path / name / "train-00000-of-00001.parquet"))
    with pytest.raises(UserError, match="several configurations: de, en"):
        read(tmp_path)
    with pytest.raises(UserError, match="has no column 'audio'; its columns are sound"):
        read(tmp_path / "en")


def test_one_configuration_of_a_hub_repository(
    tmp_path: Path, write_hub_dataset: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_hub_dataset(tmp_path / "en")
    write_hub_dataset(tmp_path / "de")
    asked = []

    def snapshot(name: str, *, repo_type: str, allow_patterns: list[str]) -> str:
        asked.append((name, repo_type, allow_patterns))
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    assert len(read("hub:owner/name/de/data")) == 6
    assert asked == [("owner/name", "dataset", ["de/data/*"])]
