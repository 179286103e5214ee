"""English written in two ways made one: contractions, titles, numbers, British and American spelling, fillers.

In the spirit of Whisper's English normaliser, without its faults: a number is read only where the words are one by
grammar, so `one two three four` stays four numbers and `ten o'clock` keeps its clock.
"""

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal

_SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
)
_BELOW_TWENTY = {word: number for number, word in enumerate(_SMALL.split(" "))}
_UNITS = {word: number for word, number in _BELOW_TWENTY.items() if number < 10}
_TEENS = {word: number for word, number in _BELOW_TWENTY.items() if number >= 10}
_TENS = {"twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90}
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
# "second" is left out: it is a length of time as often as a place
_ODD = {"first": 1, "third": 3, "fifth": 5, "eighth": 8, "ninth": 9, "twelfth": 12}
_ORDINALS = {word + "th": n for word, n in _BELOW_TWENTY.items() if n > 2 and n not in _ODD.values()} | _ODD
_ORDINAL_TENS = {w[:-1] + "ieth": n for w, n in _TENS.items()}
_DECADES = {w[:-1] + "ies": n for w, n in _TENS.items()}
_CURRENCIES = {"$": ("dollar", "cent"), "£": ("pound", "penny"), "€": ("euro", "cent")}
_SCALE_WORDS = "hundred|thousand|million|billion|trillion"
_FILLERS = frozenset({"uh", "um", "uhm", "hmm", "mm", "mmm", "mhm", "er", "erm"})
_TITLES = {"mr": "mister", "mrs": "missus", "dr": "doctor", "prof": "professor", "ok": "okay", "per cent": "percent"}
_CONTRACTIONS = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\bcan't\b|\bcannot\b", "can not"),
        (r"\bwon't\b", "will not"),
        (r"\bshan't\b", "shall not"),
        (r"\bain't\b", "aint"),
        (r"n't\b", " not"),
        (r"\bi'm\b", "i am"),
        (r"'re\b", " are"),
        (r"'ve\b", " have"),
        (r"'ll\b", " will"),
        (r"\b(it|that|there|here|what|who|where|how|he|she)'s(?= (?:been|got|gone|had|become)\b)", r"\1 has"),
        (r"\b(it|that|there|here|what|who|where|how|he|she)'s\b", r"\1 is"),
        (r"\b(i|you|he|she|it|we|they|who|that|there)'d(?= (?:been|gone|had|got|become|better|never)\b)", r"\1 had"),
        (r"\b(i|you|he|she|it|we|they|who|that|there)'d\b", r"\1 would"),
        (r"\blet's\b", "let us"),
        (r"\bgonna\b", "going to"),
        (r"\bwanna\b", "want to"),
        (r"\bgotta\b", "got to"),
    )
]


def expand_contractions(text: str) -> str:
    """`can't` is `can not`; a possessive 's stays."""
    for pattern, replacement in _CONTRACTIONS:
        text = pattern.sub(replacement, text)
    return text


def expand_abbreviations(text: str) -> str:
    """Titles written out, `p.m.` as `pm`, `per cent` as one word, hyphens between letters as spaces."""
    text = re.sub(r"\b[a-z](?:\.[a-z])+\b\.?", lambda found: found[0].replace(".", ""), text)
    text = re.sub(r"\buh[- ](?=huh\b)|\buh-(?=uh\b)", "uh", text)  # yes and no, not fillers
    text = re.sub(r"(?<=[^\W\d])-(?=[^\W\d])", " ", text).replace("per cent", "percent")
    return " ".join(_TITLES.get(word.rstrip("."), word) for word in text.split())


def remove_fillers(text: str) -> str:
    return " ".join(word for word in text.split() if word not in _FILLERS)


def strip_accents(text: str) -> str:
    """`naïve` is `naive`: English writes the words it borrowed either way."""
    if text.isascii():
        return text
    apart = unicodedata.normalize("NFD", text)
    return unicodedata.normalize("NFC", re.sub(r"(?<=[a-z])[\u0300-\u036f]+", "", apart))


def expand_symbols(text: str) -> str:
    """`$5` is `5 dollars`, `$3.50` is `3 dollars and 50 cents`, `50%` is `50 percent`, `1,000` is `1000`, `5:30` is
    `5 30`, `.5` is `0.5`."""
    text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)
    text = re.sub(rf"([$£€])(\d+(?:\.\d+)?)( (?:{_SCALE_WORDS})\b)?", _money, text)
    text = re.sub(r"(?<![\d.])(\d\d?):(?=\d\d(?!\d))", r"\1 ", text)
    text = re.sub(r"(?<![\w.])\.(?=\d)", "0.", text)
    return re.sub(r"(?<=\d)\s?%", " percent", text).replace("&", " and ")


def _money(found: re.Match[str]) -> str:
    (unit, small), amount, scale = _CURRENCIES[found[1]], found[2], found[3] or ""
    units, point, parts = amount.partition(".")
    if scale or (point and len(parts) != 2):
        return f"{amount}{scale} {unit}s"
    said = _counted(units, unit)
    if parts.strip("0"):
        said = f"{said} and {_counted(str(int(parts)), small)}" if int(units) else _counted(str(int(parts)), small)
    return said


def _counted(number: str, name: str) -> str:
    return f"{number} {name if number == '1' else {'penny': 'pence'}.get(name, name + 's')}"


def convert_numbers(text: str) -> str:
    """Number words as digits: `twenty one` 21, `two hundred and five` 205, `nineteen eighty four` 1984, `third` 3rd,
    `sixties` 60s."""
    words = text.split()
    result: list[str] = []
    i = 0
    while i < len(words):
        read = _number(words, i)
        if read is None:
            result.append(words[i])
            i += 1
        else:
            i, written = read
            result.append(written)
    return " ".join(result)


def _number(words: list[str], start: int) -> tuple[int, str] | None:
    """The number that begins at `start`: where it ends, and its digits."""
    if words[start] in _DECADES:
        return start + 1, f"{_DECADES[words[start]]}s"
    year = _year(words, start)
    if year is not None:
        return year
    total, i, last_scale = Decimal(0), start, Decimal(10**15)
    found = False
    while i < len(words):
        at = i + (found and words[i] == "and")
        part = _below_thousand(words, at)
        if part is None or (found and part[2]):
            break
        end, value, _ = part
        scale = _SCALES.get(words[end]) if end < len(words) else None
        if found and (scale or 1) >= last_scale:
            break
        total, i, found = total + value * (scale or 1), end + (scale is not None), True
        if scale is None:
            last_scale = Decimal(1)
            break
        last_scale = Decimal(scale)
    if not found:
        return _ordinal(words, start, Decimal(0))
    written = f"{total.normalize():f}"  # 2.5 million has no decimals left
    if i < len(words) and words[i] == "point" and "." not in written:
        decimals = ""
        at = i + 1
        while at < len(words) and words[at] in _UNITS:
            decimals += str(_UNITS[words[at]])
            at += 1
        if decimals and at < len(words) and words[at] in _SCALES:  # one point five million
            return at + 1, f"{(Decimal(f'{written}.{decimals}') * _SCALES[words[at]]).normalize():f}"
        if decimals:
            return at, f"{written}.{decimals}"
    elif last_scale > 1 or total % 100 == 0:
        at = i + (i < len(words) and words[i] == "and")
        if total >= 100 and (ordinal := _ordinal(words, at, total)):
            return ordinal
    if total >= 20 and total % 10 == 0 and total % 100 != 0:
        unit = _ORDINALS.get(words[i]) if i < len(words) else None
        if unit is not None and unit < 10 and not words[start][0].isdigit():
            return i + 1, _th(int(total) + unit)
    return i, written


def _below_thousand(words: list[str], i: int) -> tuple[int, Decimal, bool] | None:
    """A number under a thousand (or `nineteen hundred`, or digits): end, value, whether it is written in digits."""
    if i >= len(words):
        return None
    word = words[i]
    if re.fullmatch(r"\d+(\.\d+)?", word):
        if i + 1 < len(words) and words[i + 1] in _SCALES:
            return i + 1, Decimal(word), True
        return None  # digits by themselves stay as they are written, leading zeros and all
    if word == "a" and i + 1 < len(words) and words[i + 1] in ("hundred", *_SCALES):
        end, value = i + 1, 1
    else:
        small = _below_hundred(words, i)
        if small is None:
            return None
        end, value = small
    if end < len(words) and words[end] == "hundred" and value:
        end, value = end + 1, value * 100
        rest = _below_hundred(words, end + (end < len(words) and words[end] == "and"))
        if rest is not None and rest[1]:
            end, value = rest[0], value + rest[1]
    return end, Decimal(value), False


def _below_hundred(words: list[str], i: int) -> tuple[int, int] | None:
    if i >= len(words):
        return None
    word = words[i]
    if word in _TENS:
        unit = _UNITS.get(words[i + 1]) if i + 1 < len(words) else None
        return (i + 2, _TENS[word] + unit) if unit else (i + 1, _TENS[word])
    value = _UNITS.get(word, _TEENS.get(word))
    return None if value is None else (i + 1, value)


def _year(words: list[str], i: int) -> tuple[int, str] | None:
    """`nineteen eighty four`, `twenty twenty one`: a century from 13 on, then a number from 10 on."""
    century = _TEENS.get(words[i], 20 if words[i] == "twenty" else 0)
    following = words[i + 1] if i + 1 < len(words) else ""
    if century >= 13 and following in _DECADES:  # nineteen sixties
        return i + 2, f"{century}{_DECADES[following]}s"
    if century >= 13 and following == "oh" and i + 2 < len(words) and _UNITS.get(words[i + 2]):  # nineteen oh five
        return i + 3, f"{century}0{_UNITS[words[i + 2]]}"
    rest = _below_hundred(words, i + 1)
    if century < 13 or rest is None or rest[1] < (10 if century > 16 else 20) or rest[1] == century + 1:
        return None  # `thirteen fourteen` is counting
    if rest[0] < len(words) and words[rest[0]] in ("hundred", *_SCALES):
        return None
    return rest[0], f"{century}{rest[1]}"


def _ordinal(words: list[str], i: int, before: Decimal) -> tuple[int, str] | None:
    if i >= len(words):
        return None
    value = _ORDINALS.get(words[i], _ORDINAL_TENS.get(words[i]))
    if value is not None:
        return i + 1, _th(int(before) + value)
    unit = _ORDINALS.get(words[i + 1], 0) if words[i] in _TENS and i + 1 < len(words) else 0
    return (i + 2, _th(int(before) + _TENS[words[i]] + unit)) if 0 < unit < 10 else None


def _th(number: int) -> str:
    last = number % 10 if number % 100 not in (11, 12, 13) else 0
    return str(number) + {1: "st", 2: "nd", 3: "rd"}.get(last, "th")
