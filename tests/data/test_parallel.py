"""One job over all rows in threads: in order, a bounded number at a time, stopped when the caller stops."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Iterator

import datasets
import numpy as np
import pytest

from speechxfer.data.audio_stream import AudioStream
from speechxfer.data.audit import audit_dataset
from speechxfer.data.parallel import map_rows

ROWS = 20_000
IN_FLIGHT = 32 * (3 * min(16, 2 * (os.cpu_count() or 1)) + 1)  # a chunk, three for each thread and one more


@pytest.fixture
def rows() -> datasets.Dataset:
    return datasets.Dataset.from_dict({"number": list(range(ROWS)), "other": ["x"] * ROWS})


def test_results_come_in_the_rows_order_with_progress(rows: datasets.Dataset) -> None:
    seen: list[int] = []
    names: set[tuple[str, ...]] = set()

    def job(row: dict) -> int:
        names.add(tuple(row))
        time.sleep(0.001 if row["number"] % 997 == 0 else 0)  # so that threads overtake each other
        return row["number"]

    assert list(map_rows(rows, ["number", "absent"], job, seen.append)) == list(range(ROWS))
    assert names == {("number",)}
    assert seen == sorted(seen) and seen[-1] == ROWS and len(seen) > 100


def test_no_more_rows_are_begun_than_are_asked_for(rows: datasets.Dataset) -> None:
    """What bounds the memory: a slow reader of the results holds the threads back."""
    begun = 0
    lock = threading.Lock()

    def job(_: dict) -> None:
        nonlocal begun
        with lock:
            begun += 1

    results = map_rows(rows, ["number"], job)
    for taken in range(1, 2_000):
        next(results)
        if taken % 500 == 0:
            time.sleep(0.05)
            assert begun <= taken + IN_FLIGHT
    results.close()
    stopped = begun
    time.sleep(0.05)
    assert begun == stopped < ROWS  # nothing goes on after the caller has stopped


def test_an_exception_in_a_row_comes_out_and_ends_the_rest(rows: datasets.Dataset) -> None:
    begun: list[int] = []

    def job(row: dict) -> None:
        begun.append(row["number"])
        if row["number"] == 100:
            raise KeyError("a fault of ours")

    with pytest.raises(KeyError, match="a fault of ours"):
        list(map_rows(rows, ["number"], job))
    assert len(begun) < ROWS


def test_an_audit_keeps_no_audio(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 2,000 rows, a few waveforms are alive at once."""
    alive = most = 0
    lock = threading.Lock()

    class Waveform(np.ndarray):
        """An array that can be watched."""

    def forget() -> None:
        nonlocal alive
        with lock:
            alive -= 1

    def decode(source: str, start: float | None, end: float | None) -> AudioStream:
        def blocks() -> Iterator[np.ndarray]:
            nonlocal alive, most
            waveform = np.full((800, 1), 0.1 + int(source) / 10_000, dtype=np.float32).view(Waveform)
            with lock:
                alive += 1
                most = max(most, alive)
            weakref.finalize(waveform, forget)
            yield waveform

        return AudioStream(16_000, blocks())

    monkeypatch.setattr("speechxfer.data.audio.open_audio", decode)
    names = [str(number) for number in range(2_000)]
    columns = {"id": names, "audio": names, "path": names, "text": ["a b"] * 2_000, "speaker": ["s"] * 2_000}
    found = audit_dataset(datasets.Dataset.from_dict(columns))
    assert len(found.usable) == 2_000 and found.hours == pytest.approx(2_000 * 0.05 / 3600)
    assert alive == 0
    assert 1 <= most <= 64  # one a thread, and what is about to be forgotten
