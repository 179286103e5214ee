"""Rules of the `english` normaliser: contractions, titles, numbers, symbols, fillers and accents.

They are modelled on Whisper's English normaliser, but number words are only joined if they are one number by grammar:
`one two three four` stays four numbers, and `ten o'clock` becomes `10 o'clock`.
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
# "second" is left out: it is a unit of time as often as an ordinal
_IRREGULAR_ORDINALS = {"first": 1, "third": 3, "fifth": 5, "eighth": 8, "ninth": 9, "twelfth": 12}
_ORDINALS = {
    word + "th": n for word, n in _BELOW_TWENTY.items() if n > 2 and n not in _IRREGULAR_ORDINALS.values()
} | _IRREGULAR_ORDINALS
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
    """Expand contractions: `can't` becomes `can not`; a possessive 's is kept."""
    for pattern, replacement in _CONTRACTIONS:
        text = pattern.sub(replacement, text)
    return text


def expand_abbreviations(text: str) -> str:
    """Write out titles, `p.m.` as `pm` and `per cent` as one word, and split words at hyphens."""
    text = re.sub(r"\b[a-z](?:\.[a-z])+\b\.?", lambda found: found[0].replace(".", ""), text)
    # `uh-huh` and `uh-uh` mean yes and no, they are not fillers
    text = re.sub(r"\buh[- ](?=huh\b)|\buh-(?=uh\b)", "uh", text)
    text = re.sub(r"(?<=[^\W\d])-(?=[^\W\d])", " ", text).replace("per cent", "percent")
    return " ".join(_TITLES.get(word.rstrip("."), word) for word in text.split())


def remove_fillers(text: str) -> str:
    """Remove hesitations such as `uh` and `um`."""
    return " ".join(word for word in text.split() if word not in _FILLERS)


def strip_accents(text: str) -> str:
    """Remove accents from Latin letters: `naïve` becomes `naive`, as English allows both spellings."""
    if text.isascii():
        return text
    decomposed = unicodedata.normalize("NFD", text)
    return unicodedata.normalize("NFC", re.sub(r"(?<=[a-z])[\u0300-\u036f]+", "", decomposed))


def expand_symbols(text: str) -> str:
    """Write symbols as words.

    `$5` becomes `5 dollars`, `$3.50` `3 dollars and 50 cents`, `50%` `50 percent`, `1,000` `1000`, `5:30` `5 30` and
    `.5` `0.5`.
    """
    text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)
    text = re.sub(rf"([$£€])(\d+(?:\.\d+)?)( (?:{_SCALE_WORDS})\b)?", _spell_money, text)
    text = re.sub(r"(?<![\d.])(\d\d?):(?=\d\d(?!\d))", r"\1 ", text)
    text = re.sub(r"(?<![\w.])\.(?=\d)", "0.", text)
    return re.sub(r"(?<=\d)\s?%", " percent", text).replace("&", " and ")


def _spell_money(found: re.Match[str]) -> str:
    (unit, small_unit), amount, scale = _CURRENCIES[found[1]], found[2], found[3] or ""
    units, point, fraction = amount.partition(".")
    if scale or (point and len(fraction) != 2):
        return f"{amount}{scale} {unit}s"
    words = _pluralise(units, unit)
    if fraction.strip("0"):
        small = _pluralise(str(int(fraction)), small_unit)
        words = f"{words} and {small}" if int(units) else small
    return words


def _pluralise(number: str, name: str) -> str:
    return f"{number} {name if number == '1' else {'penny': 'pence'}.get(name, name + 's')}"


def convert_numbers(text: str) -> str:
    """Write number words as digits.

    `twenty one` becomes `21`, `two hundred and five` `205`, `nineteen eighty four` `1984`, `third` `3rd` and `sixties`
    `60s`.
    """
    words = text.split()
    result: list[str] = []
    i = 0
    while i < len(words):
        number = _parse_number(words, i)
        if number is None:
            result.append(words[i])
            i += 1
        else:
            i, digits = number
            result.append(digits)
    return " ".join(result)


# Each parser below reads words from an index on. It returns the index after the last word read, and the number;
# None if there is no such number.


def _parse_number(words: list[str], start: int) -> tuple[int, str] | None:
    """Parse any number: a decade, a year, a cardinal, a decimal or an ordinal."""
    if words[start] in _DECADES:
        return start + 1, f"{_DECADES[words[start]]}s"
    year = _parse_year(words, start)
    if year is not None:
        return year
    cardinal = _parse_cardinal(words, start)
    if cardinal is None:
        return _parse_ordinal(words, start, Decimal(0))
    end, total, ends_in_scale = cardinal
    digits = f"{total.normalize():f}"  # 2.5 million has no decimals left
    longer = None
    if end < len(words) and words[end] == "point" and "." not in digits:
        longer = _parse_decimals(words, end + 1, digits)
    elif total >= 100 and (ends_in_scale or total % 100 == 0):
        at = end + (end < len(words) and words[end] == "and")
        longer = _parse_ordinal(words, at, total)
    return longer or _parse_ordinal_unit(words, start, end, total) or (end, digits)


def _parse_cardinal(words: list[str], start: int) -> tuple[int, Decimal, bool] | None:
    """Parse a sum of numbers below a thousand times falling scales; also return whether it ends in a scale."""
    total, end, last_scale = Decimal(0), start, Decimal(10**15)
    found = False
    while end < len(words):
        part = _parse_below_thousand(words, end + (found and words[end] == "and"))
        if part is None or (found and part[2]):
            break
        part_end, value, _ = part
        scale = _SCALES.get(words[part_end]) if part_end < len(words) else None
        if found and (scale or 1) >= last_scale:
            break
        total, end, found = total + value * (scale or 1), part_end + (scale is not None), True
        if scale is None:
            return end, total, False
        last_scale = Decimal(scale)
    return (end, total, True) if found else None


def _parse_decimals(words: list[str], start: int, digits: str) -> tuple[int, str] | None:
    """Parse the digits after `point`, and a scale after them: `one point five million`."""
    decimals = ""
    end = start
    while end < len(words) and words[end] in _UNITS:
        decimals += str(_UNITS[words[end]])
        end += 1
    if decimals and end < len(words) and words[end] in _SCALES:
        return end + 1, f"{(Decimal(f'{digits}.{decimals}') * _SCALES[words[end]]).normalize():f}"
    return (end, f"{digits}.{decimals}") if decimals else None


def _parse_ordinal_unit(words: list[str], start: int, end: int, total: Decimal) -> tuple[int, str] | None:
    """Parse the ordinal after a number that ends in tens: `one hundred twenty first`."""
    if total < 20 or total % 10 != 0 or total % 100 == 0:
        return None
    unit = _ORDINALS.get(words[end]) if end < len(words) else None
    if unit is None or unit >= 10 or words[start][0].isdigit():
        return None
    return end + 1, _format_ordinal(int(total) + unit)


def _parse_below_thousand(words: list[str], i: int) -> tuple[int, Decimal, bool] | None:
    """Parse a number below a thousand (or `nineteen hundred`, or digits); also return whether it is in digits."""
    if i >= len(words):
        return None
    word = words[i]
    if re.fullmatch(r"\d+(\.\d+)?", word):
        if i + 1 < len(words) and words[i + 1] in _SCALES:
            return i + 1, Decimal(word), True
        return None  # digits alone are kept as written, with leading zeros
    if word == "a" and i + 1 < len(words) and words[i + 1] in ("hundred", *_SCALES):
        end, value = i + 1, 1
    else:
        small = _parse_below_hundred(words, i)
        if small is None:
            return None
        end, value = small
    if end < len(words) and words[end] == "hundred" and value:
        end, value = end + 1, value * 100
        rest = _parse_below_hundred(words, end + (end < len(words) and words[end] == "and"))
        if rest is not None and rest[1]:
            end, value = rest[0], value + rest[1]
    return end, Decimal(value), False


def _parse_below_hundred(words: list[str], i: int) -> tuple[int, int] | None:
    if i >= len(words):
        return None
    word = words[i]
    if word in _TENS:
        unit = _UNITS.get(words[i + 1]) if i + 1 < len(words) else None
        return (i + 2, _TENS[word] + unit) if unit else (i + 1, _TENS[word])
    value = _UNITS.get(word, _TEENS.get(word))
    return None if value is None else (i + 1, value)


def _parse_year(words: list[str], i: int) -> tuple[int, str] | None:
    """Parse a year: a century from 13 on, then a number from 10 on (`nineteen eighty four`, `twenty twenty one`)."""
    century = _TEENS.get(words[i], 20 if words[i] == "twenty" else 0)
    following = words[i + 1] if i + 1 < len(words) else ""
    if century >= 13 and following in _DECADES:  # nineteen sixties
        return i + 2, f"{century}{_DECADES[following]}s"
    if century >= 13 and following == "oh" and i + 2 < len(words) and _UNITS.get(words[i + 2]):  # nineteen oh five
        return i + 3, f"{century}0{_UNITS[words[i + 2]]}"
    rest = _parse_below_hundred(words, i + 1)
    if century < 13 or rest is None or rest[1] < (10 if century > 16 else 20) or rest[1] == century + 1:
        return None  # `thirteen fourteen` is counting
    if rest[0] < len(words) and words[rest[0]] in ("hundred", *_SCALES):
        return None
    return rest[0], f"{century}{rest[1]}"


def _parse_ordinal(words: list[str], i: int, before: Decimal) -> tuple[int, str] | None:
    """Parse an ordinal that ends a number whose value so far is `before`."""
    if i >= len(words):
        return None
    value = _ORDINALS.get(words[i], _ORDINAL_TENS.get(words[i]))
    if value is not None:
        return i + 1, _format_ordinal(int(before) + value)
    unit = _ORDINALS.get(words[i + 1], 0) if words[i] in _TENS and i + 1 < len(words) else 0
    return (i + 2, _format_ordinal(int(before) + _TENS[words[i]] + unit)) if 0 < unit < 10 else None


def _format_ordinal(number: int) -> str:
    last = number % 10 if number % 100 not in (11, 12, 13) else 0
    return str(number) + {1: "st", 2: "nd", 3: "rd"}.get(last, "th")
