"""Alignment of many reference and hypothesis pairs at once: hits, substitutions, deletions and insertions of each.

Two methods. `min`: the fewest edits, with ties broken as by rapidfuzz, so that every count equals jiwer's. `sclite`:
NIST's costs (substitution 4, insertion 3, deletion 3), traced back from the end preferring the diagonal, then
insertion, then deletion, so that every count equals sclite's. `a c` against `c b` is two substitutions with `min`, and
one deletion and one insertion with `sclite`.

Both fill the table of Wagner & Fischer (1974) along its antidiagonals, for all pairs of similar size together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import Levenshtein

from speechxfer.errors import UserError, suggest_nearest
from speechxfer.scoring.long_texts import find_distance

ALIGN_METHODS = ("min", "sclite")
HIT, SUBSTITUTION, DELETION, INSERTION = "=SDI"  # in the order of the count columns

_LETTERS = np.frombuffer(b"=SDI", dtype=np.uint8)
_MIN_RAPIDFUZZ_TOKENS = 256  # above this length rapidfuzz itself is faster (and breaks ties differently)
_MIN_LONG_CELLS = (
    40_000_000_000  # larger tables are searched within a limit of errors, where ties may differ from jiwer's
)
_MAX_BATCH_BYTES = 32 << 20  # traceback held at once
_MAX_PAIR_BYTES = 1 << 30  # traceback of one pair: about 23,000 by 23,000 words

Tokens = Sequence[str]
IntArray = NDArray[np.int32]


@dataclass(frozen=True)
class _Texts:
    """Token ids of texts: `flat` holds all of them, text i is flat[start[i] : start[i] + length[i]]."""

    flat: IntArray
    start: NDArray[np.int64]
    length: NDArray[np.int64]

    def pad(self, rows: NDArray[np.int64], skip: NDArray[np.int64], width: int, fill: int) -> IntArray:
        """Return (rows, width) tokens starting at `skip`, padded with `fill`."""
        at = np.arange(width) + skip[:, None]
        beyond = at >= self.length[rows][:, None]
        at += self.start[rows][:, None]
        at[beyond] = len(self.flat) - 1
        result = self.flat[at]
        result[beyond] = fill
        return result


class _Vocabulary(dict[str, int]):
    def __missing__(self, word: str) -> int:
        self[word] = number = len(self)
        return number


def count_operations(
    references: Sequence[Tokens], hypotheses: Sequence[Tokens], method: str = "min"
) -> NDArray[np.int64]:
    """Return (utterances, 4) hits, substitutions, deletions and insertions of each pair."""
    return _align(references, hypotheses, method, None)


def align_operations(references: Sequence[Tokens], hypotheses: Sequence[Tokens], method: str = "min") -> list[str]:
    """Return the alignment of each pair as a string with one letter per position: `=`, S, D or I."""
    found = [""] * len(references)
    _align(references, hypotheses, method, found)
    return found


def check_align_method(method: str) -> None:
    """Raise UserError for an unknown alignment method."""
    if method not in ALIGN_METHODS:
        problem = f"unknown alignment method '{method}'{suggest_nearest(method, ALIGN_METHODS)}"
        raise UserError(problem, fix=f"use one of {', '.join(ALIGN_METHODS)}")


def _align(
    references: Sequence[Tokens], hypotheses: Sequence[Tokens], method: str, letters: list[str] | None
) -> NDArray[np.int64]:
    check_align_method(method)
    vocabulary = _Vocabulary()
    left, right = _to_ids(references, vocabulary), _to_ids(hypotheses, vocabulary)
    prefix, suffix = _common_ends(left, right)
    if method == "sclite":  # its traceback starts at the end: only there are equal words sure to be aligned
        prefix, suffix = np.zeros_like(prefix), _common_suffix(left, right, np.zeros_like(prefix))
    p, q = left.length - prefix - suffix, right.length - prefix - suffix
    counts = np.zeros((len(references), 4), dtype=np.int64)
    counts[:, 0] = prefix + suffix
    size = np.maximum(p, q)
    order = np.argsort(size, kind="stable")
    order = order[np.searchsorted(size[order], 1) :]
    if letters is not None:
        for i in np.flatnonzero(size == 0):
            letters[i] = HIT * int(counts[i, 0])
    at = 0
    while at < len(order):
        smallest = int(size[order[at]])
        if method == "min" and smallest > _MIN_RAPIDFUZZ_TOKENS:
            for i in order[at:]:
                _align_with_rapidfuzz(int(i), references[i], hypotheses[i], counts, letters)
            break
        edge = smallest + 1 + smallest // 4
        end = int(np.searchsorted(size[order], edge))
        rows = order[at:end]
        wide, high = int(p[rows].max()), int(q[rows].max())
        table = (wide + high + 1) * (wide + 1)
        if table > _MAX_PAIR_BYTES:
            raise UserError(
                f"an utterance of {smallest:,} words is too long for this alignment method",
                fix="split it into segments, or use --align min",
            )
        rows = rows[: max(1, _MAX_BATCH_BYTES // table)]
        at += len(rows)
        trace = _fill_table(left.pad(rows, prefix[rows], wide, -1), right.pad(rows, prefix[rows], high, -2), method)
        path = _traceback(trace, p[rows], q[rows], rows, counts, letters is not None)
        if letters is not None and path is not None:
            for i, row in zip(rows.tolist(), path, strict=True):
                middle = row[: np.searchsorted(row == 0, True)].tobytes()[::-1].decode()
                letters[i] = HIT * int(prefix[i]) + middle + HIT * int(suffix[i])
    return counts


def _to_ids(texts: Sequence[Tokens], vocabulary: _Vocabulary) -> _Texts:
    length = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
    number = vocabulary.__getitem__
    flat = np.fromiter(map(number, chain.from_iterable(texts)), dtype=np.int32, count=int(length.sum()))
    start = np.concatenate([[0], np.cumsum(length)[:-1]]).astype(np.int64) if len(texts) else length
    return _Texts(np.append(flat, np.int32(-3)), start, length)


def _common_ends(left: _Texts, right: _Texts) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the lengths of the common prefix, and of the common suffix of the remaining tokens."""
    prefix = np.zeros(len(left.length), dtype=np.int64)
    shorter = np.minimum(left.length, right.length)
    rows = np.flatnonzero(shorter > 0)
    step = 0
    while len(rows):
        rows = rows[left.flat[left.start[rows] + step] == right.flat[right.start[rows] + step]]
        prefix[rows] += 1
        step += 1
        rows = rows[shorter[rows] > step]
    return prefix, _common_suffix(left, right, prefix)


def _common_suffix(left: _Texts, right: _Texts, prefix: NDArray[np.int64]) -> NDArray[np.int64]:
    suffix = np.zeros(len(left.length), dtype=np.int64)
    shorter = np.minimum(left.length, right.length) - prefix
    left_end, right_end = left.start + left.length - 1, right.start + right.length - 1
    rows = np.flatnonzero(shorter > 0)
    step = 0
    while len(rows):
        rows = rows[left.flat[left_end[rows] - step] == right.flat[right_end[rows] - step]]
        suffix[rows] += 1
        step += 1
        rows = rows[shorter[rows] > step]
    return suffix


def _fill_table(reference: IntArray, hypothesis: IntArray, method: str) -> NDArray[np.uint8]:
    """Return (diagonals, pairs, wide + 1) uint8: the step into cell (i, j) at [i + j, :, i]; 0 hit, 1 S, 2 D, 3 I."""
    pairs, wide = reference.shape
    high = hypothesis.shape[1]
    indel, change = (3, 4) if method == "sclite" else (1, 1)
    dtype = np.int16 if change * (wide + high) < 30_000 else np.int32
    backwards = hypothesis[:, ::-1]
    trace = np.zeros((wide + high + 1, pairs, wide + 1), dtype=np.uint8)
    before = np.zeros((pairs, wide + 1), dtype=dtype)  # diagonal k - 2
    last = np.zeros((pairs, wide + 1), dtype=dtype)  # diagonal k - 1
    for k in range(1, wide + high + 1):
        now = np.empty_like(last)
        if k <= high:
            now[:, 0] = indel * k
            trace[k, :, 0] = 3
        if k <= wide:
            now[:, k] = indel * k
            trace[k, :, k] = 2
        low, top = max(1, k - high), min(wide, k - 1)  # cells with i and j both at least 1
        if low <= top:
            differ = reference[:, low - 1 : top] != backwards[:, high - k + low : high - k + top + 1]
            corner = before[:, low - 1 : top]
            diagonal = corner + (differ * dtype(change))
            insertion = last[:, low : top + 1] + dtype(indel)
            deletion = last[:, low - 1 : top] + dtype(indel)
            best = np.minimum(np.minimum(insertion, deletion), diagonal)
            now[:, low : top + 1] = best
            code = differ.view(np.uint8)
            if method == "sclite":
                code = np.where(diagonal == best, code, np.where(insertion == best, np.uint8(3), np.uint8(2)))
            else:  # as rapidfuzz: a deletion if optimal, else an insertion if its cell costs less than the corner
                code = np.where(insertion == corner, np.uint8(3), code)
                code[deletion == best] = 2
            trace[k, :, low : top + 1] = code
        before, last = last, now
    return trace


def _traceback(
    trace: NDArray[np.uint8],
    p: NDArray[np.int64],
    q: NDArray[np.int64],
    rows: NDArray[np.int64],
    counts: NDArray[np.int64],
    record: bool,
) -> NDArray[np.uint8] | None:
    """Follow each pair from its last cell to its first, and add its steps to `counts[rows]`.

    Returns (pairs, steps) letters from the end, if `record`.
    """
    flat = trace.reshape(-1)
    pairs, width = trace.shape[1:]
    path = np.zeros((pairs, int((p + q).max()) + 1), dtype=np.uint8) if record else None
    active = np.arange(pairs)
    i, k = p.copy(), p + q
    tally = np.zeros((pairs, 4), dtype=np.int64)
    step = 0
    while len(active):
        code = flat[(k * pairs + active) * width + i]
        tally[active, code] += 1
        if path is not None:
            path[active, step] = _LETTERS[code]
        i -= code != 3
        k -= 1 + (code < 2)
        step += 1
        if (k == 0).any():
            remaining = k > 0
            active, i, k = active[remaining], i[remaining], k[remaining]
    counts[rows] += tally
    return path


def _align_with_rapidfuzz(
    index: int, reference: Tokens, hypothesis: Tokens, counts: NDArray[np.int64], letters: list[str] | None
) -> None:
    pieces, at, hint = [], 0, None
    if len(reference) * len(hypothesis) > _MIN_LONG_CELLS:
        hint = find_distance(reference, hypothesis, "an utterance", "words")
    for edit in Levenshtein.editops(reference, hypothesis, score_hint=hint):
        pieces.append(HIT * (edit.src_pos - at))
        at = edit.src_pos + (edit.tag != "insert")
        pieces.append({"replace": SUBSTITUTION, "delete": DELETION, "insert": INSERTION}[edit.tag])
    found = "".join([*pieces, HIT * (len(reference) - at)])
    counts[index] = [found.count(letter) for letter in (HIT, SUBSTITUTION, DELETION, INSERTION)]
    if letters is not None:
        letters[index] = found
