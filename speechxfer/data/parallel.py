"""A thread pool over the rows of a data set: decoding and hashing release Python's lock."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, TypeVar

import datasets

RowResult = TypeVar("RowResult")
RowsDoneCallback = Callable[[int], None]  # called with the number of rows done so far

_CHUNK, _CHUNK_EMBEDDED = 32, 8  # rows per task; fewer if they hold their audio


def count_cpus() -> int:
    """Return the number of CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_rows(
    dataset: datasets.Dataset,
    columns: Collection[str],
    job: Callable[[dict[str, Any]], RowResult],
    progress: RowsDoneCallback | None = None,
) -> Iterator[RowResult]:
    """Apply `job` to every row (a dict of the existing `columns`) in a thread pool, preserving the order.

    Memory: at most a few chunks of rows, regardless of the size of the data set.
    """
    workers = min(16, 2 * (os.cpu_count() or 1))  # twice: reading headers waits for the disk
    chunks = _iter_chunks(dataset.select_columns([name for name in columns if name in dataset.column_names]))
    pending: deque[Future[list[RowResult]]] = deque()
    done = 0
    with ThreadPoolExecutor(workers) as pool:
        try:
            for chunk in islice(chunks, 3 * workers):
                pending.append(pool.submit(lambda rows: [job(row) for row in rows], chunk))
            while pending:
                results = pending.popleft().result()
                for chunk in islice(chunks, 1):
                    pending.append(pool.submit(lambda rows: [job(row) for row in rows], chunk))
                done += len(results)
                if progress:
                    progress(done)
                yield from results
        finally:
            for future in pending:  # on Ctrl-C no further chunk is started
                future.cancel()


def _iter_chunks(dataset: datasets.Dataset) -> Iterator[list[dict[str, Any]]]:
    for batch in dataset.iter(batch_size=_CHUNK_EMBEDDED if "bytes" in dataset.column_names else _CHUNK):
        names = list(batch)
        yield [dict(zip(names, values, strict=True)) for values in zip(*batch.values(), strict=True)]
