"""DATA in every form against the rows that were written; broken tables against their messages."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechxfer.data import formats
from speechxfer.data.audio import load_waveform, measure_duration
from speechxfer.data.audit import audit_dataset
from speechxfer.data.reader import read
from speechxfer.data.splits import make_splits
from speechxfer.data.tables import read_table, write_table
from speechxfer.data.validation import find_invalid_rows
from speechxfer.errors import UserError

Writer = Callable[..., Path]
ROWS = [
    {"audio": "audio/a.wav", "text": 'he said "no", twice', "speaker": "0001"},
    {"audio": "audio/b.wav", "text": "größer 日本", "speaker": "1e5"},
]


def table(folder: Path, content: str | bytes, name: str = "t.csv") -> Path:
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder / name


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.jsonl"])
def test_tables(tmp_path: Path, name: str) -> None:
    write_table(tmp_path / name, ROWS, list(ROWS[0]))
    rows = read(tmp_path / name, need=["text"])
    assert rows[0] == {"id": "audio/a.wav", "path": str(tmp_path / "audio/a.wav"), **ROWS[0]}
    assert rows["speaker"][:] == ["0001", "1e5"]  # not 1, nor 100000.0
    assert rows["text"][1] == "größer 日本"


def test_jsonl_scalars_become_strings(tmp_path: Path) -> None:
    lines = [{"audio": "a.wav", "speaker": 7, "ok": True}, {"audio": "b.wav", "text": None, "score": [1, 2], "end": 2}]
    file = table(tmp_path, "\n".join(map(json.dumps, lines)) + "\n\n", "t.jsonl")
    rows = read(file)
    assert rows[0]["speaker"] == "7"
    assert (rows[1]["speaker"], rows[1]["text"], rows[1]["score"], rows[1]["end"]) == ("", "", "[1, 2]", 2.0)


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfaudio,text,speaker\na.wav,hi,01\nb.wav,ho,02\n",  # BOM, as Excel writes
        b"audio,text,speaker\r\na.wav,hi,01\r\nb.wav,ho,02\r\n",  # Windows newlines
        b"audio;text;speaker\na.wav;hi;01\nb.wav;ho;02\n",  # Excel where the comma is the decimal sign
        b"audio\ttext\tspeaker\na.wav\thi\t01\nb.wav\tho\t02\n",  # tabs under the wrong suffix
        b" audio , text,speaker\n\na.wav,hi,01\n\nb.wav,ho,02",  # blank lines, no newline at the end
        b",audio,text,speaker\n0,a.wav,hi,01\n1,b.wav,ho,02\n",  # pandas' index
    ],
)
def test_tables_as_other_programs_write_them(tmp_path: Path, content: bytes) -> None:
    rows = read(table(tmp_path, content))
    assert rows.column_names == ["id", "audio", "path", "text", "speaker"]
    assert [(row["audio"], row["text"], row["speaker"]) for row in rows] == [
        ("a.wav", "hi", "01"),
        ("b.wav", "ho", "02"),
    ]


def test_ids_and_cuts(tmp_path: Path) -> None:
    rows = read(table(tmp_path, "audio,start,end\na.wav,0,1.25\na.wav,1.25,\na.wav,,\n"))
    assert rows["id"][:] == ["a.wav#0-1.25", "a.wav#1.25-", "a.wav"]
    assert (rows[0]["start"], rows[1]["end"], rows[2]["start"]) == (0.0, None, None)
    rows = read(table(tmp_path, "id,audio,start,end\nx,a.wav,0,1\n,a.wav,1,2\n"))
    assert rows["id"][:] == ["x", "a.wav#1-2"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", b"", "the table is empty"),
        ("t.csv", b"\n\n", "the table is empty"),
        ("t.csv", b"audio,text\n", "has no rows"),
        ("t.csv", b"file,text\na.wav,hi\n", "has no column 'audio'; its columns are file, text"),
        ("t.csv", b"Audio,text\na.wav,hi\n", "has no column 'audio' (did you mean 'Audio'?)"),
        ("t.csv", b"audio,sentence\na.wav,hi\n", "has no column 'text'; its columns are id, audio, sentence"),
        ("t.csv", b"audio,sentence\na.wav,hi\n", "rename 'sentence' to 'text'"),
        ("t.csv", b"path,text\na.wav,hi\n", "rename 'path' to 'audio'"),
        ("t.csv", b"audio,text\na.wav,hi\nb.wav,ho\na.wav,hu\n", "'a.wav' in rows 1, 3"),
        ("t.csv", b"id,audio,text\nx,a.wav,hi\nx,b.wav,ho\n", "'x' in rows 1, 2"),
        ("t.csv", b"audio,text\na.wav,hi\nb.wav,caf\xe9\n", "line 3 holds the byte 0xe9"),
        ("t.csv", "audio,text\na.wav,hi\n".encode("utf-16"), "is UTF-16"),
        ("t.csv", b"audio,text\na.wav,well, yes\nb.wav\nc.wav,ho\n", "line 2 has 3 cells, the header has 2"),
        ("t.csv", b"audio,text\na.wav,well, yes\nb.wav\nc.wav,ho\n", "line 3 has 1 cells, the header has 2"),
        ("t.csv", b'audio,text\na.wav,"never closed\nb.wav,ho\n', "cannot be read"),
        ("t.csv", b"audio,text,text\na.wav,hi,ho\n", "two columns are named 'text'"),
        ("t.csv", b"audio,text,start\na.wav,hi,soon\nb.wav,ho,nan\n", "row 1: start is 'soon'"),
        ("t.csv", b"audio,text,start\na.wav,hi,soon\nb.wav,ho,nan\n", "row 2: start is 'nan'"),
        ("t.jsonl", b'{"audio": "a.wav"}\n{"audio": \n', "line 2: "),
        ("t.jsonl", b'["a.wav"]\n', "line 1: list instead of an object"),
        ("t.parquet", b"PAR1 not really", "is not readable parquet"),
        ("t.wav", b"RIFF", "is not DATA"),
        ("t.xlsx", b"PK", "is not DATA"),
    ],
)
def test_broken_tables_are_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    file = table(tmp_path, content, name)
    with pytest.raises(UserError) as caught:
        read(file, need=["text"])
    assert message in str(caught.value)
    assert name in str(caught.value)


def test_absent_and_unknown_folders(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file or folder"):
        read(tmp_path / "nowhere.csv")
    with pytest.raises(UserError, match=r"has no metadata.csv"):
        read(tmp_path)
    table(tmp_path, "audio\na.wav\n", "train.csv")
    with pytest.raises(UserError, match=r"give the table itself, e.g. .*train.csv"):
        read(tmp_path)


CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=20)


@settings(max_examples=60)
@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=5), st.sampled_from([".csv", ".tsv", ".jsonl"]))
def test_any_cell_survives_a_table(tmp_path_factory: pytest.TempPathFactory, cells: list, suffix: str) -> None:
    path = tmp_path_factory.mktemp("t") / f"t{suffix}"
    rows = [{"audio": f"{number}.wav", "one": one, "two": two} for number, (one, two) in enumerate(cells)]
    write_table(path, rows, ["audio", "one", "two"])
    columns = read_table(path)
    assert columns["one"] == [one for one, _ in cells]
    assert columns["two"] == [two for _, two in cells]


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
        ({"text": "u1 A\nu9 B\n"}, "1 utterances have no audio: u9"),
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


def embedded(folder: Path, write: Writer) -> Path:
    """What `push_to_hub` uploads: parquet by split, audio embedded, label and speaker as numbers."""
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
                {"bytes": write(folder / "x.wav", 0.5, hertz=hertz + n).read_bytes(), "path": f"{n}.wav"}
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


def test_parquet_with_embedded_audio(tmp_path: Path, write_tone: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = embedded(tmp_path / "repo", write_tone)
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


def test_parquet_without_audio_and_of_several_configurations(tmp_path: Path) -> None:
    for name in ("en", "de"):
        (tmp_path / name).mkdir()
        datasets.Dataset.from_dict({"sound": ["a"]}).to_parquet(str(tmp_path / name / "train-00000-of-00001.parquet"))
    with pytest.raises(UserError, match="several configurations: de, en"):
        read(tmp_path)
    with pytest.raises(UserError, match="has no column 'audio'; its columns are sound"):
        read(tmp_path / "en")


def test_embedded_audio_goes_the_whole_way(tmp_path: Path, write_tone: Writer) -> None:
    folder = embedded(tmp_path / "repo", write_tone)
    made = make_splits(str(folder))
    assert (len(made.train), len(made.dev), len(made.test)) == (2, 1, 3)
    assert [len(load_waveform(row)) for row in made.dev] == [8_000]
    assert [bad.problem for bad in find_invalid_rows(made.test)] == ["its text is empty"]
    found = audit_dataset(read(folder))
    assert [(found.rows, len(found.errors), len(found.usable))] == [(6, 2, 4)]


def test_one_configuration_of_a_hub_repository(
    tmp_path: Path, write_tone: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded(tmp_path / "en", write_tone)
    embedded(tmp_path / "de", write_tone)
    asked = []

    def snapshot(name: str, *, repo_type: str, allow_patterns: list[str]) -> str:
        asked.append((name, repo_type, allow_patterns))
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    assert len(read("hub:owner/name/de/data")) == 6
    assert asked == [("owner/name", "dataset", ["de/data/*"])]


def test_a_hub_that_does_not_answer_is_a_users_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise ConnectionError("no route to the hub")

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    with pytest.raises(UserError, match=r"hub:owner/name: cannot be downloaded from the hub \(no route"):
        read("hub:owner/name")


def test_our_tables_are_plain_csv(tmp_path: Path) -> None:
    write_table(tmp_path / "t.csv", ROWS, list(ROWS[0]))
    text = (tmp_path / "t.csv").read_text(encoding="utf-8")
    assert list(csv.DictReader(io.StringIO(text))) == ROWS
    assert "\r" not in text
