"""The benchmark of long files on a tiny model: joined files, and every library's transcripts in the files' order."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile

from speechxfer.data import audio
from speechxfer.data.reader import read


def test_the_files_are_the_speakers_utterances_half_a_second_apart(script, corpus_table, tmp_path):
    bench = script("bench/long_files.py")
    bench.UTTERANCES_PER_FILE = 2
    rows = read(corpus_table)
    files, texts, speakers = bench.join_utterances(corpus_table, tmp_path)
    assert sum(len(text.split()) for text in texts) == sum(len(text.split()) for text in rows["text"])
    assert sorted(set(speakers)) == sorted(set(rows["speaker"]))
    first = [row for row in rows if row["speaker"] == speakers[0]][:2]
    joined, rate = soundfile.read(files[0], dtype="float32")
    pieces = [audio.load_waveform(row) for row in first]
    assert (
        rate == 16_000
        and len(joined) == sum(map(len, pieces)) + 8_000
        and texts[0] == " ".join(row["text"] for row in first)
    )
    assert np.allclose(joined[: len(pieces[0])], pieces[0], atol=1e-4)
    assert not joined[len(pieces[0]) : len(pieces[0]) + 8_000].any()


def test_the_longest_run_of_deleted_words(script):
    bench = script("bench/long_files.py")
    found = bench.measure(["a b c d e f", "g h i"], ["a f", "g h x i"], ["s", "t"], "none")
    assert found["longest_deletion"] == 4 and (found["deletions"], found["insertions"]) == (4, 1)
    assert found["wer"] == pytest.approx(5 / 9)


def test_every_side_transcribes_every_file(script, make_whisper, corpus_table, tmp_path):
    pytest.importorskip("faster_whisper")
    bench = script("bench/long_files.py")
    model = make_whisper(seconds=30)
    bench.make_faster_whisper = lambda folder, beam_size: lambda path: "one"
    bench.make_pipeline = lambda folder, beam_size: lambda path: "two"
    bench.main([str(corpus_table), "--adapted", str(model), "--json", str(tmp_path / "l.json")])
    found = json.loads((tmp_path / "l.json").read_text())
    assert list(found["sides"]) == list(bench.SIDES)
    assert len({side["reference_words"] for side in found["sides"].values()}) == 1
    rows = script("tables.py").BENCHES["bench-long-files"][0](found)
    assert [row[0].rsplit(", ", 1)[1] for row in rows] == ["speechxfer", "faster-whisper", "transformers"]
