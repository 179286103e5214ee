"""Files, folders and tables named together: what is found, in which order, under which ids; what is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from speechxfer.data.audio_files import collect_audio
from speechxfer.errors import UserError

Writer = Callable[..., Path]


@pytest.fixture(autouse=True)
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def ids(*named: str | Path) -> list[str]:
    found, missing = collect_audio(named)
    assert not missing
    return [name for dataset in found for name in dataset["id"]]


def test_files_keep_their_order_and_their_names(tmp_path: Path, write_tone: Writer) -> None:
    for name in ("b.wav", "a.flac", "odd.name"):
        shutil.copy(write_tone(tmp_path / "tone.wav"), tmp_path / name)
    (found,), missing = collect_audio(["b.wav", tmp_path / "a.flac", "odd.name"])
    assert missing == []
    assert found["id"] == found["audio"] == ["b.wav", str(tmp_path / "a.flac"), "odd.name"]
    assert found["path"] == [str(tmp_path / name) for name in ("b.wav", "a.flac", "odd.name")]


def test_a_folder_is_searched_below_and_sorted(tmp_path: Path, write_tone: Writer) -> None:
    for name in ("talks/z.mp3", "talks/2/b.WAV", "talks/10/a.opus", "talks/.bin/x.wav", "talks/._z.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "talks/notes.txt").write_text("not this")
    (tmp_path / "talks/clips").mkdir()  # a name that Common Voice uses too
    (tmp_path / "talks/clips/c.m4a").write_bytes(b"x")
    assert ids("talks") == ["talks/10/a.opus", "talks/2/b.WAV", "talks/clips/c.m4a", "talks/z.mp3"]
    assert ids("talks/z.mp3", "talks", "./talks/2/b.WAV") == [
        "talks/z.mp3",
        "talks/10/a.opus",
        "talks/2/b.WAV",
        "talks/clips/c.m4a",
    ]


def test_data_is_read_as_data(tmp_path: Path, corpus: Callable[..., Path]) -> None:
    table = corpus(2, 1)
    found, _ = collect_audio([table])
    assert found[0]["text"] == ["word 0", "word 1"] and found[0]["speaker"] == ["0000", "0001"]
    # a folder with metadata.csv, and one with a table that is none, beside the same audio
    (tmp_path / "hub").mkdir()
    shutil.copytree(tmp_path / "audio", tmp_path / "hub/audio")
    (tmp_path / "hub/metadata.csv").write_text("file_name,transcription\naudio/001.wav,seven\n")
    found, _ = collect_audio(["hub"])
    assert (found[0]["id"], found[0]["text"]) == (["audio/001.wav"], ["seven"])
    (tmp_path / "hub/metadata.csv").rename(tmp_path / "hub/other.csv")
    assert ids("hub") == ["hub/audio/000.wav", "hub/audio/001.wav"]
    kaldi = tmp_path / "kaldi"
    kaldi.mkdir()
    (kaldi / "wav.scp").write_text(f"u1 {tmp_path}/audio/000.wav\n")
    assert ids("kaldi") == ["u1"]


def test_a_common_voice_release_is_data(tmp_path: Path, write_tone: Writer) -> None:
    write_tone(tmp_path / "cv/en/clips/a.mp3")
    write_tone(tmp_path / "cv/en/clips/unlisted.mp3")
    (tmp_path / "cv/en/test.tsv").write_text("client_id\tpath\tsentence\nc\ta.mp3\tHello\n")
    for named in ("cv", "cv/en"):
        found, _ = collect_audio([named])
        assert (found[0]["audio"], found[0]["text"]) == (["a.mp3"], ["Hello"])


def test_files_and_tables_together_keep_their_order(tmp_path: Path, corpus: Callable[..., Path]) -> None:
    table = corpus(1, 2)
    shutil.copy(tmp_path / "audio/000.wav", tmp_path / "z.wav")
    shutil.copy(tmp_path / "audio/000.wav", tmp_path / "y.wav")
    assert ids("z.wav", table, "y.wav") == ["z.wav", "audio/000.wav", "audio/001.wav", "y.wav"]


def test_what_is_not_there_is_named_and_the_rest_found(tmp_path: Path, write_tone: Writer) -> None:
    write_tone(tmp_path / "a.wav")
    found, missing = collect_audio(["gone.wav", "a.wav", "gone.csv"])
    assert found[0]["id"] == ["a.wav"]
    assert [str(error) for error in missing] == [f"{name}: no such file or folder" for name in ("gone.wav", "gone.csv")]


def test_nothing_to_hear_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "untold.csv").write_text("sound,text\na.wav,x\n")
    for named, message in [
        (["gone.wav"], "gone.wav: no such file or folder"),
        ([], "no audio is named"),
        (["empty"], "empty: holds no audio file"),
        (["untold.csv"], "untold.csv: has no column 'audio'"),
    ]:
        with pytest.raises(UserError, match=message):
            collect_audio(named)


def test_an_id_stands_for_one_utterance(tmp_path: Path, corpus: Callable[..., Path]) -> None:
    one, other = corpus(1, 2), corpus(1, 2, "other.csv")
    with pytest.raises(UserError, match=r"'audio/000.wav' in rows 1, 3[\s\S]*one at a time"):
        collect_audio([one, other])
