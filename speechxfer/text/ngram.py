"""N-gram language models: training from text, and reading and writing ARPA files (as KenLM, SRILM and others).

Smoothing is interpolated modified Kneser-Ney (Chen and Goodman, 1998), as in KenLM's `lmplz`: each sentence gets one
`<s>` and one `</s>`, lower orders count the contexts of an n-gram, and the unigrams are interpolated with the uniform
distribution, which gives `<unk>` its probability.
"""

from __future__ import annotations

import gzip
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from speechxfer.atomic import replacement_file
from speechxfer.errors import UserError

BEGIN_TOKEN, END_TOKEN, UNKNOWN_WORD = "<s>", "</s>", "<unk>"
# discounts of n-grams seen once, twice, and more often, for texts too small to estimate them (lmplz's fallback)
FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)
LOG10_ZERO = -99.0  # ARPA's log10 of zero: `<s>` is never predicted

Ngram = tuple[str, ...]
Discounts = tuple[float, float, float]


@dataclass
class NgramModel:
    """An n-gram model with back-off.

    Attributes:
        probabilities: [n - 1] is the log10 probabilities of the n-grams of n words.
        backoffs: [n - 1] is the log10 back-off weights of those that are a context.
        discounts: of each order, for counts 1, 2, and 3 or more.
    """

    probabilities: list[dict[Ngram, float]]
    backoffs: list[dict[Ngram, float]]
    discounts: list[Discounts]

    @property
    def order(self) -> int:
        return len(self.probabilities)

    def log10(self, word: str, context: Ngram) -> float:
        """Return log10 of the probability of `word` after `context`, with back-off; unknown words are `<unk>`."""
        word = word if (word,) in self.probabilities[0] else UNKNOWN_WORD
        context = context[max(0, len(context) - self.order + 1) :]
        weight = 0.0
        while context and (*context, word) not in self.probabilities[len(context)]:
            weight += self.backoffs[len(context) - 1].get(context, 0.0)
            context = context[1:]
        return weight + self.probabilities[len(context)][(*context, word)]

    def write(self, path: Path) -> None:
        """Write the model as ARPA text, gzipped if the name ends in `.gz`. The text is deterministic."""
        with replacement_file(path) as part, _open_text(part, "w") as file:
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
    """Train an n-gram model on sentences whose words are separated by spaces.

    Counts are held in memory, about 1 GB for ten million words.

    Args:
        order: number of words of the longest n-grams, 2 or more.

    Raises:
        UserError: for text without words, and for an order below 2, which no decoder reads.
    """
    if order < 2:
        raise UserError(f"{order} is not a supported n-gram order", where="order", fix="use 2 or more")
    counts = _count_ngrams(sentences, order)
    if not counts[0]:
        raise UserError("the text has no words to train a language model on", fix="give one sentence per line")
    adjusted = [_adjust_counts(counts, number) for number in range(order)]
    discounts = [_estimate_discounts(Counter(found.values())) for found in adjusted]
    uniform = 1 / (len(adjusted[0]) + 1)  # the words, </s> and <unk>; never <s>
    lower: dict[Ngram, float] = dict.fromkeys(adjusted[0], uniform) | {(UNKNOWN_WORD,): uniform}
    probabilities, backoffs = [], []
    for number, found in enumerate(adjusted):
        higher, weights = _interpolate(found, discounts[number], lower, unigrams=number == 0)
        probabilities.append({ngram: math.log10(share) for ngram, share in higher.items()})
        if number:
            backoffs.append({context: math.log10(weight) for context, weight in weights.items()})
        lower = higher
    probabilities[0][(BEGIN_TOKEN,)] = LOG10_ZERO
    return NgramModel(probabilities, [*backoffs, {}], discounts)


def _count_ngrams(sentences: Iterable[str], order: int) -> list[Counter[Ngram]]:
    """Count the n-grams of each length up to `order`. The unigram `<s>` is not counted."""
    counts: list[Counter[Ngram]] = [Counter() for _ in range(order)]
    for sentence in sentences:
        words = [word for word in sentence.split() if word not in (BEGIN_TOKEN, END_TOKEN, UNKNOWN_WORD)]
        if not words:
            continue
        words = [BEGIN_TOKEN, *words, END_TOKEN]
        for number, found in enumerate(counts, 1):
            first = 1 if number == 1 else 0
            found.update(zip(*(words[first + offset :] for offset in range(number)), strict=False))
    return counts


def _adjust_counts(counts: list[Counter[Ngram]], number: int) -> dict[Ngram, int]:
    """Return the counts of the highest order; below it, the number of distinct words before each n-gram.

    N-grams that start with `<s>` have no word before them, and keep their counts.
    """
    if number == len(counts) - 1:
        return dict(counts[number])
    follows = Counter(ngram[1:] for ngram in counts[number + 1])
    return {ngram: count if ngram[0] == BEGIN_TOKEN else follows[ngram] for ngram, count in counts[number].items()}


def _estimate_discounts(count_of_counts: Counter[int]) -> Discounts:
    """Estimate discounts from the number of n-grams with counts 1 to 4 (Chen and Goodman, 1998).

    Returns `FALLBACK_DISCOUNTS` if the estimate is undefined or out of range.
    """
    n = count_of_counts
    if any(not n[count] for count in (1, 2, 3)):
        return FALLBACK_DISCOUNTS
    share = n[1] / (n[1] + 2 * n[2])
    one, two, more = (k - (k + 1) * share * n[k + 1] / n[k] for k in (1, 2, 3))
    return (one, two, more) if 0 < one <= 1 and 0 < two <= 2 and 0 < more <= 3 else FALLBACK_DISCOUNTS


def _interpolate(
    counts: dict[Ngram, int], discounts: Discounts, lower: dict[Ngram, float], *, unigrams: bool
) -> tuple[dict[Ngram, float], dict[Ngram, float]]:
    """Return the n-grams' probabilities, and the weight of the shorter context's probabilities for each context."""
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
    """Read the words of an ARPA file without `<s>`, `</s>` and `<unk>`. Raises UserError for other files."""
    special = (BEGIN_TOKEN, END_TOKEN, UNKNOWN_WORD, UNKNOWN_WORD.upper())
    try:
        return [word for word in _iter_unigrams(path) if word not in special]
    except (OSError, EOFError) as error:
        raise UserError(f"cannot be read ({getattr(error, 'strerror', None) or error})", where=str(path)) from None
    except (ValueError, IndexError):
        raise UserError(
            "is not a language model in ARPA format",
            where=str(path),
            fix="train one with `speechxfer lm TEXT --output lm.arpa`, or use the ARPA file of a KenLM binary",
        ) from None


def _iter_unigrams(path: Path) -> Iterator[str]:
    """Yield the unigrams of an ARPA file. Raises ValueError if the file is not in ARPA format."""
    with _open_text(path, "r") as file:
        lines = (line.strip() for line in file)
        if next((line for line in lines if line), None) != "\\data\\":
            raise ValueError
        orders = [line for line in _until(lines, "\\1-grams:") if line.startswith("ngram ")]
        if len(orders) < 2:
            raise ValueError  # KenLM cannot read unigram models
        for line in _until(lines, "\\2-grams:"):
            if line:
                probability, word = line.split()[:2]
                float(probability)
                yield word


def _until(lines: Iterator[str], title: str) -> Iterator[str]:
    """Yield the lines before `title`. Raises ValueError if it does not follow."""
    for line in lines:
        if line == title:
            return
        yield line
    raise ValueError(title)


def _open_text(path: Path, mode: str) -> IO[str]:
    opener: Any = gzip.open if path.suffix == ".gz" else open
    return opener(path, f"{mode}t", encoding="utf-8")
