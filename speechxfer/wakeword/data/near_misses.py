"""Texts that are spoken for training: near misses, which sound similar to the word, and everyday sentences.

Letters are replaced by those of similar sound: Latin ones (with or without marks) and Cyrillic ones by tables, those of
other alphabets by their neighbours in the script, which in most of them (Devanagari, kana, Hangul's letters, Armenian)
differ in one feature of the sound.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache
from importlib import resources

import numpy as np
import yaml

from speechxfer.data.demo_corpus import make_sentences
from speechxfer.text.characters import compose
from speechxfer.wakeword.data.synthetic import synthesize_trimmed
from speechxfer.wakeword.runtime.features import SAMPLE_RATE

MIN_NEAR_MISSES = 10  # with fewer, a detector fires on what it was not shown
ENGLISH = "en"

_VOWELS = "aeiouyæœøаеёиоуыэюяєіїαεηιουω"
_SIMILAR_LETTERS = {  # letters whose sounds differ in one feature
    "b": "pdv", "p": "bt", "d": "tbg", "t": "dpk", "g": "kd", "k": "gt", "c": "gt", "f": "vth", "v": "fb", "s": "fsh",
    "z": "v", "m": "nb", "n": "ml", "l": "rn", "r": "lw", "j": "yd", "w": "rv", "h": "f", "a": "eoi", "e": "aio",
    "i": "eou", "o": "aue", "u": "oia", "y": "oa", "ä": "aeo", "ö": "oeü", "ü": "uiö", "ß": "zf", "ñ": "nm", "ç": "zt",
    "б": "пдв", "п": "бт", "д": "тбг", "т": "дпк", "г": "кд", "к": "гтх", "ф": "вх", "в": "фб", "с": "зшф", "з": "сж",
    "ш": "жсч", "ж": "шз", "щ": "шч", "ч": "цш", "ц": "чс", "х": "кф", "м": "нб", "н": "мл", "л": "рн", "р": "лв",
    "й": "л", "а": "оэу", "о": "ауэ", "у": "оюи", "э": "аои", "и": "еыу", "ы": "иу", "е": "иёя", "ё": "еою", "ю": "уёя",
    "я": "еёю",
}  # fmt: skip
_ENGLISH_FILLERS = ("tomorrow", "paper", "nothing", "garden")
_REFERENCE_VOICE = ("max", 160, 50)  # variant, words per minute, pitch: to compare pronunciations


def make_near_miss_texts(
    word: str, rng: np.random.Generator, count: int = 60, *, language: str | None = None
) -> list[str]:
    """Return texts similar to the word: parts, reordered syllables, parts with another word, and similar sounds.

    Texts that are pronounced like the word (the same samples from one voice of the language) are removed.

    language: as espeak-ng names it, e.g. de (default: English).
    """
    word = compose(word).casefold()
    candidates = _combine_syllables(word, list_filler_words(language))
    similar = list(_replace_letters(word))
    order = rng.permutation(len(similar))
    candidates += [similar[i] for i in order[: max(0, count - len(candidates))]]
    voice = language or "en-us"
    pronounced_word = synthesize_trimmed(word, voice, *_REFERENCE_VOICE)
    texts = []
    for text in dict.fromkeys(text.strip() for text in candidates):
        if len(re.sub(r"\W", "", text)) < 2:
            continue
        waveform = synthesize_trimmed(text, voice, *_REFERENCE_VOICE)
        if len(waveform) >= 0.1 * SAMPLE_RATE and not np.array_equal(waveform, pronounced_word):
            texts.append(text)
    return texts[:count]


def make_filler_sentences(language: str | None = None) -> list[str]:
    """Return everyday sentences, used as general speech if there are no negatives.

    They are in English if there are none in the language (see `find_language_gaps`).
    """
    phrases = _read_phrases().get(get_base_language(language))
    if phrases is None:
        return [line for lines in make_sentences().values() for line in lines]
    return [" ".join(parts) for parts in itertools.product(*phrases)]


def find_language_gaps(word: str, language: str | None, near_misses: Sequence[str] | None = None) -> list[str]:
    """Return warnings about what is missing in a language.

    near_misses: of the word, where they are counted; else the sentences are looked at.
    """
    if near_misses is not None:
        if len(near_misses) >= MIN_NEAR_MISSES:
            return []
        made = f"only {len(near_misses)} texts that sound similar to '{word}' could be made"
        return [f"{made}: give recordings of similar words as --negatives"]
    if get_base_language(language) in (ENGLISH, *_read_phrases()):
        return []
    return [
        f"there are no sentences in '{language}': the other speech is English text read by its voices, and the false "
        "alarms are not those of the language; give recordings as --negatives"
    ]


def get_base_language(language: str | None) -> str:
    """Return the language without its region: de for de-at; en for None."""
    return (language or ENGLISH).partition("-")[0]


def list_filler_words(language: str | None) -> list[str]:
    """Return four words that are spoken next to parts of the word; none in a language without sentences."""
    base = get_base_language(language)
    if base == ENGLISH:
        return list(_ENGLISH_FILLERS)
    phrases = _read_phrases().get(base)
    return [phrase.split()[-1] for phrase in phrases[1][:4]] if phrases else []


def split_syllables(word: str) -> list[str]:
    """Split into rough syllables at the vowels, a space belonging to the next syllable: hey, ju, ni, per.

    A part without vowels that is not in Latin letters (Chinese, kana, Hangul) is split into its characters.
    """
    syllables: list[str] = []
    for part in word.casefold().split():
        pieces = _split_part(part)
        syllables += [(" " if syllables else "") + pieces[0], *pieces[1:]]
    return syllables


def _split_part(part: str) -> list[str]:
    plain = "".join(_get_base_letter(letter) for letter in part)  # one letter each, so that positions agree
    pattern = rf"[^{_VOWELS}]*[{_VOWELS}]+(?:[^{_VOWELS}]+(?![{_VOWELS}]|.*[{_VOWELS}]))?"
    pieces = [part[found.start() : found.end()] for found in re.finditer(pattern, plain)]
    return pieces or ([part] if part.isascii() else list(part))


def _get_base_letter(letter: str) -> str:
    """Return a letter without its marks: e for é."""
    return unicodedata.normalize("NFD", letter)[0]


def _combine_syllables(word: str, fillers: list[str]) -> list[str]:
    """Return the word's parts, its syllables in other orders, and parts of it next to another word."""
    syllables = split_syllables(word)
    parts = ["".join(syllables[i:j]) for i in range(len(syllables)) for j in range(i + 1, len(syllables) + 1)]
    texts = [part for part in parts if part != "".join(syllables)]
    texts += word.split() if len(word.split()) > 1 else []
    texts += ["".join(syllables[::-1]), "".join(syllables[1:] + syllables[:1])]
    for filler in fillers:
        texts += [f"{''.join(syllables[:-1])} {filler}", f"{filler} {''.join(syllables[1:]).strip()}"]
    return texts


def _replace_letters(letters: str) -> Iterator[str]:
    """Yield the word with one or two letters replaced by letters of similar sound."""
    similar = {i: others for i, letter in enumerate(letters) if (others := _find_similar_letters(letter))}
    replacements = [(i, other) for i, others in similar.items() for other in others]
    if len(similar) < 5:  # in longer words, one changed sound is within normal variation of pronunciation
        for i, other in replacements:
            yield letters[:i] + other + letters[i + 1 :]
    for i, other in replacements:
        for j, another in replacements:
            if j > i + 1:
                yield letters[:i] + other + letters[i + 1 : j] + another + letters[j + 1 :]


def _find_similar_letters(letter: str) -> str:
    """Return letters of similar sound, none for what is not a letter."""
    if letter in _SIMILAR_LETTERS:
        return _SIMILAR_LETTERS[letter]
    base = _get_base_letter(letter)
    if base in _SIMILAR_LETTERS:
        return _SIMILAR_LETTERS[base]
    if letter.isascii() or not unicodedata.category(letter).startswith("L"):
        return ""
    script = unicodedata.name(letter, "").split()[0]
    neighbours = [chr(ord(letter) + step) for step in (-2, -1, 1, 2)]
    return "".join(
        other
        for other in neighbours
        if unicodedata.category(other).startswith("L") and unicodedata.name(other, "").startswith(script)
    )


@cache
def _read_phrases() -> dict[str, list[list[str]]]:
    """Return the beginnings, objects and endings of the sentences of each language."""
    text = resources.files(__package__).joinpath("filler_sentences.yaml").read_text(encoding="utf-8")
    phrases: dict[str, list[list[str]]] = yaml.safe_load(text)
    return phrases
