"""Kaldi's text and utt2spk, and plain lines."""

import pytest

from speechxfer.errors import UserError
from speechxfer.scoring.formats.lines import read_kaldi_text, read_lines, read_utt2spk


def test_kaldi_text_with_speakers_from_its_folder(tmp_path):
    (tmp_path / "text").write_text("u1 a  b\n\nu2\nu3\tc d\n")
    (tmp_path / "utt2spk").write_text("u1 s1\nu3 s2\n")
    found = read_kaldi_text(tmp_path / "text", "reference")
    assert [(u.id, u.text, u.line, u.speaker) for u in found.utterances] == [
        ("u1", "a  b", 1, "s1"),
        ("u2", "", 3, None),
        ("u3", "c d", 4, "s2"),
    ]


def test_the_id_of_a_kaldi_text_ends_at_the_first_space_or_tab(tmp_path):
    (tmp_path / "text").write_text("u1 hello\tworld again\nu2\thello world\n u3 \t a\u3000b \n", encoding="utf-8")
    found = read_kaldi_text(tmp_path / "text", "reference")
    assert [(u.id, u.text) for u in found.utterances] == [
        ("u1", "hello\tworld again"), ("u2", "hello world"), ("u3", "a\u3000b"),
    ]  # fmt: skip


def test_utt2spk(tmp_path):
    path = tmp_path / "utt2spk"
    path.write_text("u1 s1\nu2 s1\nu1 s1\n")
    assert read_utt2spk(path) == {"u1": "s1", "u2": "s1"}
    path.write_text("u1 s1\nu1 s2\nu2\nu3 a b\n")
    with pytest.raises(UserError, match=r"line 2: 'u1' has two speakers, 's1' and 's2'") as caught:
        read_utt2spk(path)
    assert "line 3: 'u2'" in str(caught.value) and "line 4: 'u3 a b'" in str(caught.value)
    with pytest.raises(UserError, match="no such file"):
        read_utt2spk(tmp_path / "none")


def test_lines_are_named_by_their_numbers(tmp_path):
    path = tmp_path / "t.txt"
    path.write_text("a b\n\n c \n")
    found = read_lines(path, "hypothesis")
    assert [(u.id, u.text) for u in found.utterances] == [("1", "a b"), ("2", ""), ("3", "c")]
    path.write_bytes(b"a\r\rb\r")
    assert [(u.id, u.text) for u in read_lines(path, "hypothesis").utterances] == [("1", "a"), ("2", ""), ("3", "b")]
    path.write_text("")
    with pytest.raises(UserError, match="no utterances"):
        read_lines(path, "hypothesis")
