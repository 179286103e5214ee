"""Case and forms of characters."""

import unicodedata

import pytest

from speechxfer.text.characters import remove_invisible, to_lower, to_nfc
from speechxfer.text.normalise import NORMALISER_NAMES, get_normaliser


@pytest.mark.parametrize("text", ["İstanbul", unicodedata.normalize("NFD", "İstanbul"), "İSTANBUL", "i\u0307stanbul"])
def test_the_turkish_dotted_capital_is_an_i(text):
    assert to_lower(text) == "istanbul"
    for name in NORMALISER_NAMES:
        if name != "none":
            assert get_normaliser(name)(text) == "istanbul"


def test_other_letters_and_marks_stay():
    assert to_lower("ISPARTA ILICA ÇÖĞ ẞ Ǆ") == "isparta ilica çöğ ß ǆ"
    assert to_lower("I\u0301 e\u0307") == "í ė"


def test_forms():
    assert to_nfc("cafe\u0301\u200b") == "café" and to_nfc("plain") == "plain"
    assert remove_invisible("a\u00adb\u202ec") == "abc"
