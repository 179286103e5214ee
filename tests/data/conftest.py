"""Tiny utterances and tables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile


def tone(seconds: float = 1.0, rate: int = 16_000, hertz: float = 220.0, level: float = 0.3) -> np.ndarray:
    return (level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


@pytest.fixture
def write_tone() -> Callable[..., Path]:
    """write_tone(path, seconds, rate, hertz, level): a mono file in the suffix's format."""

    def write(path: Path, seconds: float = 1.0, rate: int = 16_000, hertz: float = 220.0, level: float = 0.3) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        kind = {".opus": ("OGG", "OPUS"), ".ogg": ("OGG", "VORBIS"), ".mp3": ("MP3", None)}.get(
            path.suffix, (None, None)
        )
        soundfile.write(path, tone(seconds, rate, hertz, level), rate, format=kind[0], subtype=kind[1])
        return path

    return write


@pytest.fixture
def corpus(tmp_path: Path, write_tone: Callable[..., Path]) -> Callable[..., Path]:
    """corpus(speakers, each): a table of that many utterances, all different, with text, speaker and accent."""

    def make(speakers: int = 4, each: int = 2, name: str = "all.csv", **columns: Callable[[int], str]) -> Path:
        lines = [",".join(["audio", "text", "speaker", "accent", *columns])]
        for number in range(speakers * each):
            audio = f"audio/{number:03}.wav"
            write_tone(tmp_path / audio, 0.5, hertz=200 + 7 * number)
            cells = [audio, f"word {number}", f"{number // each:04}", "north" if number % 2 else "south"]
            lines.append(",".join([*cells, *(column(number) for column in columns.values())]))
        (tmp_path / name).write_text("\n".join(lines) + "\n")
        return tmp_path / name

    return make


@pytest.fixture
def write_hub_dataset(write_tone: Callable[..., Path]) -> Callable[[Path], Path]:
    """write_hub_dataset(folder): what `push_to_hub` uploads: parquet by split, embedded audio, labels as numbers."""

    def make(folder: Path) -> Path:
        features = datasets.Features(
            {
                "audio": datasets.Audio(decode=False),
                "transcription": datasets.Value("string"),
                "speaker_id": datasets.Value("int64"),
                "label": datasets.ClassLabel(names=["no", "yes"]),
            }
        )
        (folder / "data").mkdir(parents=True)
        for part, hertz in (("train", 220), ("test", 440)):
            columns = {
                "audio": [
                    {"bytes": write_tone(folder / "x.wav", 0.5, hertz=hertz + n).read_bytes(), "path": f"{n}.wav"}
                    for n in range(3)
                ],
                "transcription": [None, f"{part} 1", f"{part} 2"],
                "speaker_id": [0, 1, 2],
                "label": [0, 1, 0],
            }
            table = pa.table(columns, schema=features.arrow_schema)
            pq.write_table(table, folder / f"data/{part}-00000-of-00001.parquet")
        (folder / "x.wav").unlink()
        return folder

    return make
