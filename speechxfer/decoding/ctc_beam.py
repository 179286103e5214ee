"""CTC emissions to text by beam search, with an n-gram language model of words and with hot words.

The search is pyctcdecode's, in the C++ of the package `ctc-beam-decoder`: prefixes whose labellings are summed (Hannun
et al. 2014), a language model that scores every finished word (shallow fusion), and words that it lacks spelt out at a
penalty rather than forbidden. Utterances are searched in threads, outside Python's lock; each on its own, so neither
the batch nor the number of threads changes an answer.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from speechxfer import distributed
from speechxfer.data.parallel import count_cpus
from speechxfer.errors import MissingExtraError, UserError
from speechxfer.shapes import Emissions
from speechxfer.text.ngram import read_arpa_words

WORD_SEPARATOR = " "
NEVER_LOG_PROB = -1e4  # log-probability of what is never written
DEFAULT_LM_WEIGHT = 0.5  # of a language model for which no dev part has chosen one
MIN_LM_COVERAGE = 0.5  # share of a language model's words that must be within the alphabet
MAX_CHARACTERS_SHOWN = 12  # characters named in a message
# Symbols less likely than this are not looked at in a frame, and prefixes that are so far behind the best are dropped.
MIN_TOKEN_LOG_PROB, BEAM_PRUNE_LOG_PROB = -9.0, -14.0
_PIECES = ("▁", "##")  # to the decoder, marks of word pieces; another character stands for such a symbol meanwhile
_STAND_INS = range(0xE000, 0xF900)  # Unicode's private use

CaseMapping = Callable[[str], str]


@dataclass(frozen=True)
class BeamSearchOptions:
    """How emissions are searched. Scores are natural logarithms.

    beams: prefixes kept in each frame. lm_weight: times the language model's log-probability. word_bonus: added for
    every word. hot_words: words or phrases that get `hot_word_weight` for each of their words, a part of it while they
    are being spelt.
    """

    beam_size: int
    lm_weight: float = 0.0
    word_bonus: float = 0.0
    hot_words: tuple[str, ...] = ()
    hot_word_weight: float = 0.0


@dataclass(frozen=True)
class CtcHypothesis:
    """A text with its score and, of that, what the emissions say: the log-probability of the labellings kept."""

    text: str
    score: float
    ctc: float


@dataclass(frozen=True)
class LanguageModel:
    """An ARPA file and the words that it knows. Make one with `read_lm`."""

    path: Path
    words: tuple[str, ...]


def read_lm(path: str | Path) -> LanguageModel:
    """An n-gram model of words in ARPA format, gzipped or not. Raises UserError: not there, no ARPA, no words."""
    path = Path(path)
    if path.is_dir():
        raise UserError("is a folder, and no language model", where=str(path), fix="name the ARPA file")
    if not path.is_file():
        raise UserError("no such language model", where=str(path), fix="make one: speechxfer lm TEXT --output lm.arpa")
    words = read_arpa_words(path)
    if not words:
        raise UserError("the language model has no words", where=str(path))
    return LanguageModel(path, tuple(words))


def beam_search(
    emissions: Emissions, symbols: Sequence[str | None], lm: LanguageModel | None, search: BeamSearchOptions
) -> list[list[CtcHypothesis]]:
    """Each utterance's hypotheses, the best first: `BeamSearch` made for one batch."""
    return BeamSearch(symbols, lm, search)(emissions)


class BeamSearch:
    """A search that is made once and called for every batch.

    symbols: the text of every place of the vocabulary: "" the blank, " " the space between words, None for what is
    never written. lm, search: see there. jobs: threads; None is as many as there are cores for this process,
    which those that a launcher started here divide.
    Raises MissingExtraError without the decoder's package, and UserError for a language model most of whose words the
    symbols cannot spell, or a hot word that they cannot spell. A language model in the other case is met in its case.
    """

    def __init__(
        self,
        symbols: Sequence[str | None],
        lm: LanguageModel | None,
        search: BeamSearchOptions,
        *,
        jobs: int | None = None,
    ) -> None:
        self.search = search
        self._jobs = jobs or max(1, count_cpus() // distributed.get_local_rank()[1])
        self._fold, self._unfold = _make_case_mappings(symbols, lm)
        written = [None if symbol is None else self._fold(symbol) for symbol in symbols]
        self._hot_words = [_to_vocabulary_case(word, set(filter(None, written))) for word in search.hot_words]
        self._never = [place for place, symbol in enumerate(symbols) if symbol is None]
        stand_ins = (character for character in map(chr, _STAND_INS) if character not in written)
        labels = [next(stand_ins) if one is None or one.startswith(_PIECES) else one for one in written]
        self._meant = str.maketrans(
            {label: one for label, one in zip(labels, written, strict=True) if one is not None and label != one}
        )
        self._decoder = _decoder(labels, lm, search)

    def __call__(self, emissions: Emissions) -> list[list[CtcHypothesis]]:
        """Hypotheses of each utterance, the best first; at least one, which may be empty.

        emissions: log_probs (batch, frames, vocab) with true lengths.
        """
        return self.search_rows([row.numpy() for row in emissions.split_rows()])

    def search_rows(self, rows: Sequence[np.ndarray]) -> list[list[CtcHypothesis]]:
        """The same for utterances that are not padded together: (frames, vocab) log-probabilities of each."""
        if self._jobs == 1 or len(rows) == 1:
            return [self._one(row) for row in rows]
        with ThreadPoolExecutor(self._jobs) as pool:
            return list(pool.map(self._one, rows))

    def _one(self, log_probs: np.ndarray) -> list[CtcHypothesis]:
        """log_probs: (frames, vocab)."""
        if not len(log_probs):
            return [CtcHypothesis("", 0.0, 0.0)]
        log_probs = np.maximum(log_probs, NEVER_LOG_PROB)
        log_probs[:, self._never] = NEVER_LOG_PROB
        found = self._decoder.decode_beams(
            log_probs,
            beam_width=self.search.beam_size,
            beam_prune_logp=BEAM_PRUNE_LOG_PROB,
            token_min_logp=MIN_TOKEN_LOG_PROB,
            hotwords=self._hot_words,
            hotword_weight=self.search.hot_word_weight,
        )
        return [CtcHypothesis(self._text(text), score, ctc) for text, _, _, ctc, score in found]

    def _text(self, said: str) -> str:
        return self._unfold(said.translate(self._meant))


def _decoder(labels: list[str], lm: LanguageModel | None, search: BeamSearchOptions) -> Any:
    try:
        import ctc_beam_decoder
    except ImportError:
        raise MissingExtraError("ctc-beam-decoder", "lm", "beam search over a CTC head's output") from None
    if lm is None:
        return ctc_beam_decoder.BeamSearchDecoder(labels)
    try:
        with _redirect_stderr():
            return ctc_beam_decoder.BeamSearchDecoder(
                labels,
                kenlm_model_path=lm.path,
                unigrams=list(lm.words),
                alpha=search.lm_weight,
                beta=search.word_bonus,
            )
    except (ValueError, RuntimeError) as error:  # what KenLM says of a file that begins well
        last = str(error).splitlines()[-1]  # what stands before it is where in KenLM's own source it happened
        reason = last.rpartition(f"{lm.path}: ")[2].partition(" Byte: ")[0]
        raise UserError(
            f"the language model cannot be read to its end: {reason}",
            where=str(lm.path),
            fix="it is cut short or damaged: make it again, speechxfer lm TEXT --output lm.arpa",
        ) from None


@contextmanager
def _redirect_stderr() -> Iterator[None]:
    """KenLM draws a bar on standard error whenever it reads ARPA; it cannot be told not to."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(nowhere)
        os.close(kept)


def _make_case_mappings(symbols: Sequence[str | None], lm: LanguageModel | None) -> tuple[CaseMapping, CaseMapping]:
    """How the symbols' case becomes the language model's, and back again. Raises UserError for another alphabet."""
    if lm is None:
        return str, str
    known = [symbol for symbol in symbols if symbol]
    ways: list[tuple[CaseMapping, CaseMapping]] = [(str, str), (str.lower, str.upper), (str.upper, str.lower)]
    best: tuple[int, tuple[CaseMapping, CaseMapping]] = (-1, (str, str))
    for fold, unfold in ways:
        if all(unfold(fold(symbol)) == symbol for symbol in known):
            alphabet = set(map(fold, known))
            count = sum(alphabet.issuperset(word) for word in lm.words)
            best = max(best, (count, (fold, unfold)), key=lambda one: one[0])
    count, folds = best
    if count < MIN_LM_COVERAGE * len(lm.words):
        lacking = {character for word in lm.words for character in word} - set(map(folds[0], known))
        raise UserError(
            f"the language model is of another alphabet: {count} of its {len(lm.words)} words can be spelt with the "
            f"model's characters, which lack {_format_characters(lacking)}",
            where=str(lm.path),
            fix="make one from text that is normalised as the model's was: speechxfer lm TEXT --output lm.arpa",
        )
    return folds


def _to_vocabulary_case(word: str, alphabet: Collection[str]) -> str:
    """A hot word in the alphabet's case."""
    for written in (word, word.lower(), word.upper()):
        if not set(written) - {WORD_SEPARATOR, *alphabet}:
            return " ".join(written.split())
    lacking = set(word) - {WORD_SEPARATOR, *alphabet, *map(str.swapcase, alphabet)}
    raise UserError(
        f"the hot word '{word}' has {_format_characters(lacking)}, which the model cannot write",
        where="hot_words",
        fix="spell it with the characters of the training text",
    )


def _format_characters(characters: Collection[str]) -> str:
    found = sorted(characters)
    return " ".join(map(repr, found[:MAX_CHARACTERS_SHOWN])) + (" …" if len(found) > MAX_CHARACTERS_SHOWN else "")
