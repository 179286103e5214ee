"""Releases of Common Voice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from speechxfer.data.audio import load_waveform
from speechxfer.data.reader import read
from speechxfer.errors import UserError

Writer = Callable[..., Path]


def common_voice(folder: Path, write: Writer) -> Path:
    header = "client_id\tpath\tsentence\tup_votes\taccents\n"
    for number, part in enumerate(("train", "dev", "test")):
        write(folder / f"clips/{part}.mp3")
        line = f'c{number}\t{part}.mp3\t"Quoted" she said {part}.\t2\tScottish\n'
        (folder / f"{part}.tsv").write_text(header + line)
    return folder


def test_common_voice_release(tmp_path: Path, write_tone: Writer) -> None:
    language = common_voice(tmp_path / "en", write_tone)
    for source in (language, tmp_path):
        rows = read(source, need=["text"])
        assert rows["split"][:] == ["train", "dev", "test"]
        assert rows[0]["text"] == '"Quoted" she said train.'
        assert (rows[0]["speaker"], rows[0]["accent"], rows[0]["up_votes"]) == ("c0", "Scottish", "2")
        assert len(load_waveform(rows[2])) == 16_000
    only = read(language / "train.tsv")
    assert (len(only), only[0]["path"]) == (1, str(language / "clips/train.mp3"))
    (tmp_path / "de/clips").mkdir(parents=True)
    with pytest.raises(UserError, match="several languages: de, en"):
        read(tmp_path)
