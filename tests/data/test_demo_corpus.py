"""The demonstration's corpus: parts that share nothing, the same bytes every time, and nobody else's files touched."""

import csv
import re
from collections import Counter

import numpy as np
import pytest
import soundfile

from speechxfer.data import demo_corpus
from speechxfer.data.demo_corpus import write_demo_corpus
from speechxfer.data.synthesis import list_voice_variants
from speechxfer.errors import UserError

pytest.importorskip("espeakng_loader", reason="the extra demo is not installed")

SIZES = {"train": (180, 18), "dev": (30, 3), "test": (60, 6)}


def rows(folder, part):
    with (folder / f"{part}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def words(text):
    return re.findall(r"[a-z']+", text.lower())


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "deep" / "corpus"
    write_demo_corpus(folder)
    return folder


@pytest.fixture
def small(monkeypatch):
    """Three utterances instead of 270, for what concerns the writing itself."""
    monkeypatch.setattr(
        demo_corpus,
        "make_sentences",
        lambda: {"train": ("A cup of tea.",), "dev": ("A slice of cake.",), "test": ("A walk in the rain.",)},
    )


class TestParts:
    @pytest.mark.parametrize("part", SIZES)
    def test_utterances_and_speakers(self, corpus, part):
        table = rows(corpus, part)
        utterances, speakers = SIZES[part]
        assert list(table[0]) == ["audio", "text", "speaker", "accent"]
        assert len(table) == utterances
        assert Counter(row["speaker"] for row in table) == dict.fromkeys({row["speaker"] for row in table}, 10)
        assert len({row["speaker"] for row in table}) == speakers
        assert {row["speaker"] for row in table} <= set(list_voice_variants())
        assert len({row["accent"] for row in table}) == 1

    def test_no_speaker_in_two_parts(self, corpus):
        speakers = [{row["speaker"] for row in rows(corpus, part)} for part in SIZES]
        assert len(set.union(*speakers)) == sum(map(len, speakers)) == 27

    def test_no_four_words_in_two_parts(self, corpus):
        grams = [
            {
                tuple(spoken[at : at + 4])
                for row in rows(corpus, part)
                for spoken in [words(row["text"])]
                for at in range(len(spoken) - 3)
            }
            for part in SIZES
        ]
        assert len(set.union(*grams)) == sum(map(len, grams))

    def test_sentences_are_sentences(self, corpus):
        texts = [row["text"] for part in SIZES for row in rows(corpus, part)]
        assert len(set(texts)) == len(texts) == 270
        for text in texts:
            assert 6 <= len(words(text)) <= 14
            assert re.fullmatch(r"[A-Z][A-Za-z',; ]*[.?]", text)

    def test_audio(self, corpus):
        for part in SIZES:
            for row in rows(corpus, part):
                waveform, rate = soundfile.read(corpus / row["audio"], dtype="float32")
                assert rate == 16_000 and waveform.ndim == 1
                assert 1 < len(waveform) / rate < 8
                assert 0.1 < np.abs(waveform).max() <= 1

    def test_speakers_sound_different(self, small, monkeypatch, tmp_path):
        speakers = [speaker for part in demo_corpus.DEMO_SPEAKERS.values() for speaker in part]
        monkeypatch.setattr(demo_corpus, "DEMO_SPEAKERS", {"all": speakers})
        monkeypatch.setattr(demo_corpus, "make_sentences", lambda: {"all": ("Where did you find it?",) * len(speakers)})
        write_demo_corpus(tmp_path / "corpus")
        audio = [path.read_bytes() for path in (tmp_path / "corpus" / "audio").iterdir()]
        assert len(audio) == len(set(audio)) == 27


class TestWriting:
    def test_another_process_writes_the_same_bytes(self, corpus, tmp_path, fork_server):
        code = "import sys, pathlib; from speechxfer.data.demo_corpus import write_demo_corpus as w; "
        code += "w(pathlib.Path(sys.argv[1]))"
        assert fork_server.run("-c", code, tmp_path / "again").returncode == 0
        assert contents(tmp_path / "again") == contents(corpus)

    def test_nothing_else_is_left_beside_it(self, corpus):
        assert [path.name for path in corpus.parent.iterdir()] == ["corpus"]

    def test_progress_counts_every_utterance(self, small, tmp_path):
        calls = []
        write_demo_corpus(tmp_path / "corpus", lambda done, total: calls.append((done, total)))
        assert calls == [(1, 3), (2, 3), (3, 3)]

    def test_a_whole_corpus_is_left_alone(self, small, tmp_path):
        folder, calls = tmp_path / "corpus", []
        write_demo_corpus(folder)
        before = (folder / "train.csv").stat().st_mtime_ns
        write_demo_corpus(folder, lambda done, total: calls.append(done))
        assert not calls and (folder / "train.csv").stat().st_mtime_ns == before

    @pytest.mark.parametrize("damage", ["train.csv", "audio", "checksums.txt", "missing"])
    def test_a_damaged_corpus_is_replaced(self, small, tmp_path, damage):
        folder = tmp_path / "corpus"
        write_demo_corpus(folder)
        good = contents(folder)
        audio = next((folder / "audio").iterdir())
        if damage == "missing":
            audio.unlink()
        else:
            path = audio if damage == "audio" else folder / damage
            path.write_bytes(path.read_bytes()[:-3])
        write_demo_corpus(folder)
        assert contents(folder) == good
        assert [path.name for path in tmp_path.iterdir()] == ["corpus"]

    def test_an_empty_folder_is_filled(self, small, tmp_path):
        (tmp_path / "corpus").mkdir()
        write_demo_corpus(tmp_path / "corpus")
        assert (tmp_path / "corpus" / "train.csv").is_file()

    def test_an_interruption_leaves_nothing(self, small, tmp_path):
        def interrupt(done, total):
            if done == 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            write_demo_corpus(tmp_path / "corpus", interrupt)
        assert not list(tmp_path.iterdir())

    def test_a_quicker_process_is_no_fault(self, small, tmp_path):
        def other_process(done, total):
            if done == 1:
                write_demo_corpus(tmp_path / "corpus")

        write_demo_corpus(tmp_path / "corpus", other_process)
        assert [path.name for path in tmp_path.iterdir()] == ["corpus"]
        assert len(contents(tmp_path / "corpus")) == 7


class TestOtherPeoplesFiles:
    @pytest.mark.parametrize("name", ["train.csv", "notes/mine.txt"])
    def test_are_refused_and_kept(self, small, tmp_path, name):
        path = tmp_path / "corpus" / name
        path.parent.mkdir(parents=True)
        path.write_text("mine")
        with pytest.raises(UserError, match="not part of the demo corpus"):
            write_demo_corpus(tmp_path / "corpus")
        assert contents(tmp_path / "corpus") == {name: b"mine"}

    def test_beside_a_damaged_corpus_are_kept(self, small, tmp_path):
        folder = tmp_path / "corpus"
        write_demo_corpus(folder)
        (folder / "train.csv").unlink()
        (folder / "mine.txt").write_text("mine")
        with pytest.raises(UserError, match=r"mine\.txt"):
            write_demo_corpus(folder)
        assert (folder / "mine.txt").read_text() == "mine"

    def test_a_file_in_the_way_is_named(self, small, tmp_path):
        (tmp_path / "corpus").write_text("mine")
        with pytest.raises(UserError, match="is a file"):
            write_demo_corpus(tmp_path / "corpus")
        assert (tmp_path / "corpus").read_text() == "mine"
