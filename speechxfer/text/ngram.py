"""An n-gram language model of words, estimated from text and kept as ARPA, which KenLM, SRILM and others read.

Interpolated modified Kneser-Ney smoothing (Chen and Goodman 1998), as KenLM's `lmplz` does it: sentences get one `<s>`
and one `</s>`, lower orders count in how many contexts an n-gram stands, and the unigrams are interpolated with the
uniform distribution, which is where `<unk>` gets its probability.
"""

from __future__ import annotations

import gzip
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from speechxfer.errors import UserError

BEGIN_TOKEN, END_TOKEN, UNKNOWN_WORD = "<s>", "</s>", "<unk>"
# Discounts of n-grams seen once, twice, and more often, where a text is too small to estimate them (lmplz's fallback).
FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)
LOG10_ZERO = -99.0  # ARPA's log10 of nothing: `<s>` is never predicted

Ngram = tuple[str, ...]
Discounts = tuple[float, float, float]


@dataclass
class NgramModel:
    """log10 probabilities of each order's n-grams, and log10 back-off weights of those that are a context.

    probabilities[n - 1] and backoffs[n - 1] are the n-grams of n words. discounts: one triple an order, as used.
    """

    probabilities: list[dict[Ngram, float]]
    backoffs: list[dict[Ngram, float]]
    discounts: list[Discounts]

    @property
    def order(self) -> int:
        return len(self.probabilities)

    def log10(self, word: str, context: Ngram) -> float:
        """log10 of `word`'s probability after `context`, backing off as ARPA means it. An unknown word is `<unk>`."""
        word = word if (word,) in self.probabilities[0] else UNKNOWN_WORD
        context = context[max(0, len(context) - self.order + 1) :]
        weight = 0.0
        while context and (*context, word) not in self.probabilities[len(context)]:
            weight += self.backoffs[len(context) - 1].get(context, 0.0)
            context = context[1:]
        return weight + self.probabilities[len(context)][(*context, word)]

    def write(self, path: Path) -> None:
        """Write ARPA text, gzipped where the name ends in `.gz`; the same model gives the same text."""
        with _opened(path, "w") as file:
            file.write("\\data\\\n")
            for number, found in enumerate(self.probabilities, 1):
                file.write(f"ngram {number}={len(found)}\n")
            for number, (found, weights) in enumerate(zip(self.probabilities, self.backoffs, strict=True), 1):
                file.write(f"\n\\{number}-grams:\n")
                for ngram in sorted(found):
                    weight = "" if number == self.order else f"\t{weights.get(ngram, 0.0):.7g}"
                    file.write(f"{found[ngram]:.7g}\t{' '.join(ngram)}{weight}\n")
            file.write("\n\\end\\\n")


def train_ngram(sentences: Iterable[str], order: int) -> NgramModel:
    """An n-gram model of `order` words (2 or more) from sentences whose words are parted by spaces.

    Counts are held in memory, about 1 GB for ten million words. Raises UserError where there is no word, or an order
    that no decoder reads.
    """
    if order < 2:
        raise UserError(f"{order} is no order of a language model here", where="order", fix="give 2 or more")
    counts = _counts(sentences, order)
    if not counts[0]:
        raise UserError("there is no word to make a language model of", fix="give one sentence a line")
    adjusted = [_adjusted(counts, number) for number in range(order)]
    discounts = [_discounts(Counter(found.values())) for found in adjusted]
    uniform = 1 / (len(adjusted[0]) + 1)  # the words, </s> and <unk>; never <s>
    lower: dict[Ngram, float] = dict.fromkeys(adjusted[0], uniform) | {(UNKNOWN_WORD,): uniform}
    probabilities, backoffs = [], []
    for number, found in enumerate(adjusted):
        higher, weights = _interpolated(found, discounts[number], lower, unigrams=number == 0)
        probabilities.append({ngram: math.log10(share) for ngram, share in higher.items()})
        if number:
            backoffs.append({context: math.log10(weight) for context, weight in weights.items()})
        lower = higher
    probabilities[0][(BEGIN_TOKEN,)] = LOG10_ZERO
    return NgramModel(probabilities, [*backoffs, {}], discounts)


def _counts(sentences: Iterable[str], order: int) -> list[Counter[Ngram]]:
    """How often each n-gram stands in the text, by length. `<s>` alone is not counted."""
    counts: list[Counter[Ngram]] = [Counter() for _ in range(order)]
    for sentence in sentences:
        words = [word for word in sentence.split() if word not in (BEGIN_TOKEN, END_TOKEN, UNKNOWN_WORD)]
        if not words:
            continue
        words = [BEGIN_TOKEN, *words, END_TOKEN]
        for number, found in enumerate(counts, 1):
            first = 1 if number == 1 else 0
            found.update(zip(*(words[first + place :] for place in range(number)), strict=False))
    return counts


def _adjusted(counts: list[Counter[Ngram]], number: int) -> dict[Ngram, int]:
    """Counts of the highest order as they are; below it, how many words an n-gram follows (`<s>` follows nothing)."""
    if number == len(counts) - 1:
        return dict(counts[number])
    follows = Counter(ngram[1:] for ngram in counts[number + 1])
    return {ngram: count if ngram[0] == BEGIN_TOKEN else follows[ngram] for ngram, count in counts[number].items()}


def _discounts(often: Counter[int]) -> Discounts:
    """Chen and Goodman's estimate from how many n-grams have the counts 1 to 4; `FALLBACK_DISCOUNTS` where it has no sense."""
    if any(not often[count] for count in (1, 2, 3)):
        return FALLBACK_DISCOUNTS
    share = often[1] / (often[1] + 2 * often[2])
    one, two, more = (k - (k + 1) * share * often[k + 1] / often[k] for k in (1, 2, 3))
    return (one, two, more) if 0 < one <= 1 and 0 < two <= 2 and 0 < more <= 3 else FALLBACK_DISCOUNTS


def _interpolated(
    counts: dict[Ngram, int], discounts: Discounts, lower: dict[Ngram, float], *, unigrams: bool
) -> tuple[dict[Ngram, float], dict[Ngram, float]]:
    """Probabilities of the n-grams, and for each context the weight that the shorter context's probabilities get."""
    totals: dict[Ngram, int] = defaultdict(int)
    freed: dict[Ngram, float] = defaultdict(float)
    for ngram, count in counts.items():
        totals[ngram[:-1]] += count
        freed[ngram[:-1]] += discounts[min(count, 3) - 1]
    weights = {context: freed[context] / total for context, total in totals.items()}
    found = {}
    for ngram, count in counts.items():
        context = ngram[:-1]
        shorter = ngram if unigrams else ngram[1:]
        kept = (count - discounts[min(count, 3) - 1]) / totals[context]
        found[ngram] = kept + weights[context] * lower[shorter]
    if unigrams:
        found[(UNKNOWN_WORD,)] = weights[()] * lower[(UNKNOWN_WORD,)]
    return found, weights


def read_arpa_words(path: Path) -> list[str]:
    """The words of an ARPA file, `<s>`, `</s>` and `<unk>` left out. Raises UserError for a file that is no ARPA."""
    try:
        return [
            word for word in _unigrams(path) if word not in (BEGIN_TOKEN, END_TOKEN, UNKNOWN_WORD, UNKNOWN_WORD.upper())
        ]
    except (OSError, EOFError) as error:
        raise UserError(f"cannot be read ({getattr(error, 'strerror', None) or error})", where=str(path)) from None
    except (ValueError, IndexError):
        raise UserError(
            "is no language model in ARPA format",
            where=str(path),
            fix="make one with `speechxfer lm TEXT --output lm.arpa`; a binary of KenLM's was built from an ARPA file",
        ) from None


def _unigrams(path: Path) -> Iterator[str]:
    """Raises ValueError where a file is not what ARPA says."""
    with _opened(path, "r") as file:
        lines = (line.strip() for line in file)
        if next((line for line in lines if line), None) != "\\data\\":
            raise ValueError
        orders = [line for line in _until(lines, "\\1-grams:") if line.startswith("ngram ")]
        if len(orders) < 2:
            raise ValueError  # KenLM reads no unigram model
        for line in _until(lines, "\\2-grams:"):
            if line:
                probability, word = line.split()[:2]
                float(probability)
                yield word


def _until(lines: Iterator[str], title: str) -> Iterator[str]:
    for line in lines:
        if line == title:
            return
        yield line
    raise ValueError(title)


def _opened(path: Path, mode: str) -> IO[str]:
    opener: Any = gzip.open if path.suffix == ".gz" else open
    return opener(path, f"{mode}t", encoding="utf-8")
