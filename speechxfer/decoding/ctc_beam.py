"""CTC beam search with a word n-gram language model and hot words.

The search is pyctcdecode's, in the C++ package `ctc-beam-decoder`: prefix beam search (Hannun et al. 2014), a language
model that scores every complete word (shallow fusion), and a penalty for out-of-vocabulary words. Utterances are
decoded in threads, outside Python's lock and independently, so neither the batch nor the number of threads changes a
result.
"""

from __future__ import annotations

import gzip
import os
import shutil
import sys
import threading
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
from speechxfer.text.ngram import BEGIN_TOKEN, END_TOKEN, UNKNOWN_WORD, read_arpa_words

WORD_SEPARATOR = " "
NEVER_LOG_PROB = -1e4  # log-probability of tokens that are never written
UNKNOWN_WORD_SCORE = -10.0  # pyctcdecode's default
DEFAULT_LM_WEIGHT = 0.5  # of a language model whose weight was not tuned on dev
MIN_LM_COVERAGE = 0.5  # share of a language model's words that the symbols must be able to spell
MAX_CHARACTERS_SHOWN = 12  # in a message
# pruning: tokens below the first log-probability in a frame, and prefixes this far below the best
MIN_TOKEN_LOG_PROB, BEAM_PRUNE_LOG_PROB = -9.0, -14.0
_PIECES = ("▁", "##")  # the decoder treats these as word pieces, so such symbols are replaced during the search
_STAND_INS = range(0xE000, 0xF900)  # replacements, from Unicode's private use area
UNIGRAMS_FILE = "unigrams.txt"  # the words of a language model, in pyctcdecode's layout
_KENLM_HEADER = b"mmap lm http://kheafield.com/code"  # of the binary format
_SENTENCE_MARKERS = (BEGIN_TOKEN, END_TOKEN)
_STDERR_LOCK = threading.Lock()  # standard error is the process's: it is redirected by one thread at a time

CaseMapping = Callable[[str], str]


@dataclass(frozen=True)
class BeamSearchOptions:
    """Options of the beam search. Scores are natural logarithms.

    beam_size: prefixes kept in each frame. lm_weight: factor of the language model's log-probability. word_bonus: added
    for every word. hot_words: words or phrases whose words get `hot_word_weight`, or a share of it while incomplete.
    unknown_word_score: log10, added to the language model's probability of a word that it does not have.
    """

    beam_size: int
    lm_weight: float = 0.0
    word_bonus: float = 0.0
    hot_words: tuple[str, ...] = ()
    hot_word_weight: float = 0.0
    unknown_word_score: float = UNKNOWN_WORD_SCORE


@dataclass(frozen=True)
class CtcHypothesis:
    """A text with its score. ctc: the acoustic part of the score, the log-probability of the paths kept."""

    text: str
    score: float
    ctc: float


@dataclass(frozen=True)
class LanguageModel:
    """A language model's file and its vocabulary, as returned by `read_lm`. is_binary: KenLM's binary format."""

    path: Path
    words: tuple[str, ...]
    is_binary: bool = False

    @property
    def saved_name(self) -> str:
        """Name of the file in a saved model's folder."""
        return "lm.bin" if self.is_binary else "lm.arpa"

    def save(self, folder: Path) -> None:
        """Write the file, decompressed, and for a binary one its words, unless it is in `folder` already."""
        target = folder / self.saved_name
        if target.exists() and target.samefile(self.path):
            return
        opener = gzip.open if self.path.suffix == ".gz" else open
        with opener(self.path, "rb") as source, target.open("wb") as file:
            shutil.copyfileobj(source, file)
        if self.is_binary:
            (folder / UNIGRAMS_FILE).write_text("\n".join(self.words) + "\n", encoding="utf-8")


def read_lm(path: str | Path) -> LanguageModel:
    """Read a word n-gram model: ARPA, gzipped or not, or KenLM's binary format with `unigrams.txt` next to it.

    Raises:
        UserError: if the file is missing, invalid or empty.
    """
    path = Path(path)
    if path.is_dir():
        raise UserError("is a folder, not a language model", where=str(path), fix="name the ARPA file")
    if not path.is_file():
        raise UserError("no such language model", where=str(path), fix="train one: speechxfer lm TEXT --output lm.arpa")
    with path.open("rb") as file:
        is_binary = file.read(len(_KENLM_HEADER)) == _KENLM_HEADER
    words = _read_unigrams(path.with_name(UNIGRAMS_FILE)) if is_binary else read_arpa_words(path)
    if not words:
        raise UserError("the language model has no words", where=str(path))
    return LanguageModel(path, tuple(words), is_binary)


def _read_unigrams(path: Path) -> list[str]:
    """Read the words of a binary language model, one a line, as pyctcdecode writes them."""
    try:
        words = path.read_text(encoding="utf-8").split()
    except (OSError, ValueError) as error:
        raise UserError(
            f"KenLM's binary format does not list its words, and {path.name} cannot be read ({error})",
            where=str(path),
            fix=f"put {path.name}, with a word a line, next to it, or use the ARPA file",
        ) from None
    return [word for word in words if word not in (*_SENTENCE_MARKERS, UNKNOWN_WORD)]


def beam_search(
    emissions: Emissions, symbols: Sequence[str | None], lm: LanguageModel | None, search: BeamSearchOptions
) -> list[list[CtcHypothesis]]:
    """Decode one batch: each utterance's hypotheses, best first (see `BeamSearch`)."""
    return BeamSearch(symbols, lm, search)(emissions)


class BeamSearch:
    """A beam search decoder for many batches.

    If the language model is in another case than the symbols, symbols and hot words are converted to its case.

    symbols: text of every token: "" is the blank, " " the space between words, None is never written.
    jobs: number of threads (default: CPUs of this process, divided by the processes that a launcher started here).
    Raises: MissingExtraError without the decoder's package; UserError if the symbols cannot spell most words of the
    language model, or a hot word.
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
        self._never_written = [token for token, symbol in enumerate(symbols) if symbol is None]
        stand_ins = (character for character in map(chr, _STAND_INS) if character not in written)
        reserved = (*_PIECES, *_SENTENCE_MARKERS)
        labels = [next(stand_ins) if one is None or one.startswith(reserved) else one for one in written]
        self._replacements = str.maketrans(
            {label: one for label, one in zip(labels, written, strict=True) if one is not None and label != one}
        )
        self._marker_columns: tuple[int, ...] = ()  # of the frames around an utterance, if there is a language model
        self._marker_score = 0.0
        if lm is not None:
            labels += [one for one in (WORD_SEPARATOR, *_SENTENCE_MARKERS) if one not in labels]
            begin, space, end = map(labels.index, (BEGIN_TOKEN, WORD_SEPARATOR, END_TOKEN))
            self._marker_columns = (begin, space, space, end)
        self._num_columns = len(labels)
        self._decoder = _make_decoder(labels, lm, search)
        if lm is not None:
            self._marker_score = self._score_begin_marker() + search.word_bonus

    def __call__(self, emissions: Emissions) -> list[list[CtcHypothesis]]:
        """Decode a batch: hypotheses of each utterance, best first; at least one, which may be empty.

        emissions: log_probs (batch, frames, vocab) with true lengths.
        """
        return self.search_rows([row.numpy() for row in emissions.split_rows()])

    def search_rows(self, rows: Sequence[np.ndarray]) -> list[list[CtcHypothesis]]:
        """Decode utterances given as unpadded (frames, vocab) log-probabilities."""
        if self._jobs == 1 or len(rows) == 1:
            return [self._search(row) for row in rows]
        with ThreadPoolExecutor(self._jobs) as pool:
            return list(pool.map(self._search, rows))

    def _search(self, log_probs: np.ndarray) -> list[CtcHypothesis]:
        """Decode one utterance. log_probs: (frames, vocab)."""
        if not len(log_probs):
            return [CtcHypothesis("", 0.0, 0.0)]
        log_probs = np.maximum(log_probs, NEVER_LOG_PROB)
        log_probs[:, self._never_written] = NEVER_LOG_PROB
        beams = self._decoder.decode_beams(
            self._add_sentence_markers(log_probs),
            beam_width=self.search.beam_size,
            beam_prune_logp=BEAM_PRUNE_LOG_PROB,
            token_min_logp=MIN_TOKEN_LOG_PROB,
            hotwords=self._hot_words,
            hotword_weight=self.search.hot_word_weight,
        )
        return [
            CtcHypothesis(self._restore_text(text), score - self._marker_score, ctc) for text, _, _, ctc, score in beams
        ]

    def _add_sentence_markers(self, log_probs: np.ndarray) -> np.ndarray:
        """Add frames that say `<s>` and a space before an utterance, and a space and `</s>` after it.

        The decoder would score the end of the sentence together with the word that is open in the last frame. Where a
        space ends the utterance no word is open, and it would score an empty, unknown word. With the markers as words
        of the text, every hypothesis ends with the word `</s>`, however many spaces come before it.
        """
        if not self._marker_columns:
            return log_probs
        framed = np.full((len(log_probs) + 4, self._num_columns), NEVER_LOG_PROB, dtype=np.float32)
        framed[2:-2, : log_probs.shape[1]] = log_probs
        framed[(0, 1, -2, -1), self._marker_columns] = 0.0
        return framed

    def _score_begin_marker(self) -> float:
        """Return the score that `<s>` adds to every hypothesis: a language model gives it a probability too."""
        frame = np.full((1, self._num_columns), NEVER_LOG_PROB, dtype=np.float32)
        frame[0, self._marker_columns[0]] = 0.0
        return float(self._decoder.decode_beams(frame)[0][-1])

    def _restore_text(self, text: str) -> str:
        if self._marker_columns:
            text = " ".join(text.split(WORD_SEPARATOR)[1:-1])
        return self._unfold(text.translate(self._replacements))


def _make_decoder(labels: list[str], lm: LanguageModel | None, search: BeamSearchOptions) -> Any:
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
                unigrams=[*lm.words, *_SENTENCE_MARKERS],
                alpha=search.lm_weight,
                beta=search.word_bonus,
                unk_score_offset=search.unknown_word_score,
                score_boundary=False,  # the boundaries are words: see `BeamSearch._add_sentence_markers`
            )
    except (ValueError, RuntimeError) as error:  # KenLM's error for a file that is valid at the start only
        last = str(error).splitlines()[-1]  # the lines before it are positions in KenLM's source
        reason = last.rpartition(f"{lm.path}: ")[2].partition(" Byte: ")[0]
        raise UserError(
            f"the language model cannot be read to its end: {reason}",
            where=str(lm.path),
            fix="it is truncated or damaged: copy it again, or train one: speechxfer lm TEXT --output lm.arpa",
        ) from None


@contextmanager
def _redirect_stderr() -> Iterator[None]:
    """Hide the progress bar that KenLM always prints to standard error when it reads ARPA."""
    with _STDERR_LOCK:
        sys.stderr.flush()
        stderr = os.dup(2)
        devnull = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(devnull, 2)
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(devnull)
            os.close(stderr)


def _make_case_mappings(symbols: Sequence[str | None], lm: LanguageModel | None) -> tuple[CaseMapping, CaseMapping]:
    """Return mappings from the symbols' case to the language model's, and back.

    Raises: UserError if the language model has another alphabet.
    """
    if lm is None:
        return str, str
    known = [symbol for symbol in symbols if symbol]
    mappings: list[tuple[CaseMapping, CaseMapping]] = [(str, str), (str.lower, str.upper), (str.upper, str.lower)]
    best: tuple[int, tuple[CaseMapping, CaseMapping]] = (-1, (str, str))
    for fold, unfold in mappings:
        if all(unfold(fold(symbol)) == symbol for symbol in known):
            alphabet = set(map(fold, known))
            count = sum(alphabet.issuperset(word) for word in lm.words)
            best = max(best, (count, (fold, unfold)), key=lambda one: one[0])
    count, folds = best
    if count < MIN_LM_COVERAGE * len(lm.words):
        missing = {character for word in lm.words for character in word} - set(map(folds[0], known))
        raise UserError(
            f"the language model has another alphabet: {count} of its {len(lm.words)} words can be spelt with the "
            f"model's characters, which lack {_format_characters(missing)}",
            where=str(lm.path),
            fix="train one on text that is normalised like the model's: speechxfer lm TEXT --output lm.arpa",
        )
    return folds


def _to_vocabulary_case(word: str, alphabet: Collection[str]) -> str:
    """Convert a hot word to the alphabet's case. Raises UserError if the alphabet cannot spell it."""
    for written in (word, word.lower(), word.upper()):
        if not set(written) - {WORD_SEPARATOR, *alphabet}:
            return " ".join(written.split())
    missing = set(word) - {WORD_SEPARATOR, *alphabet, *map(str.swapcase, alphabet)}
    raise UserError(
        f"the hot word '{word}' has {_format_characters(missing)}, which the model cannot write",
        where="hot_words",
        fix="spell it with the characters of the training text",
    )


def _format_characters(characters: Collection[str]) -> str:
    ordered = sorted(characters)
    return " ".join(map(repr, ordered[:MAX_CHARACTERS_SHOWN])) + (" …" if len(ordered) > MAX_CHARACTERS_SHOWN else "")
