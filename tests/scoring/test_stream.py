"""A stream gives the sums of the whole."""

import pytest

from speechxfer.errors import UserError
from speechxfer.scoring import score
from speechxfer.scoring.pairing import read_pairs
from speechxfer.scoring.stream import StreamItem, score_stream, trn_pairs


def files(tmp_path, utterances=30):
    left, right = tmp_path / "r.trn", tmp_path / "h.trn"
    left.write_text("".join(f"a b c{i % 3} (s{i % 25}-{i})\n" for i in range(utterances)))
    right.write_text("".join(f"a c{i % 2} (s{i % 25}-{i})\n" for i in range(utterances)))
    return left, right


def test_same_counts_and_interval_as_the_whole(tmp_path, monkeypatch):
    left, right = files(tmp_path)
    monkeypatch.setattr("speechxfer.scoring.stream._CHUNK", 7)
    found = score_stream(trn_pairs(left, right), seed=4)
    (pairs,) = read_pairs(left, [right])
    whole = score(pairs.references, pairs.hypotheses, pairs.ids, pairs.speakers, seed=4)
    assert found.total.counts == whole.counts
    assert found.speakers == whole.count_by_speaker()
    assert found.total.interval == whole.interval


def test_utterances_of_nobody_are_counted_in_the_whole():
    found = score_stream([StreamItem("1", None, "a b", "a"), StreamItem("2", "s", "a", "a")])
    assert found.total.counts.errors == 1 and list(found.speakers) == ["s"] and found.total.interval is None


def test_files_out_of_step_stop_at_the_line(tmp_path):
    left, right = files(tmp_path)
    lines = right.read_text().splitlines(keepends=True)
    right.write_text("".join([*lines[:3], *lines[4:]]))
    with pytest.raises(UserError, match=r"line 4: .*same order"):
        score_stream(trn_pairs(left, right))
