"""Units of a text."""

import pytest

from speechxfer.errors import UserError
from speechxfer.scoring.tokens import check_unit, remove_optional_spaces, tokenize


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        ("word", ["我爱python", "ok"]),
        ("char", list("我爱pythonok")),
        ("mixed", ["我", "爱", "python", "ok"]),
    ],
)
def test_units(unit, expected):
    assert tokenize("我爱python ok", unit) == expected


def test_a_mark_stays_with_its_character():
    assert tokenize("か\u3099き x", "mixed") == ["か\u3099", "き", "x"]


def test_unknown_unit():
    with pytest.raises(UserError, match="did you mean 'mixed'"):
        check_unit("mixd")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ไปไหน มา", ["ไ", "ป", "ไ", "ห", "น", "ม", "า"]),
        ("น้ำ กี่", ["น้", "ำ", "กี่"]),
        ("ភាសា ok", ["ភា", "សា", "ok"]),
        ("ﾃｽﾄ 人々", ["ﾃ", "ｽ", "ﾄ", "人", "々"]),
        ("한국어 말", ["한국어", "말"]),
    ],
)
def test_mixed_units_of_scripts_without_spaces(text, expected):
    assert tokenize(text, "mixed") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("你好 世界 今天", "你好世界今天"),
        ("我 爱 python 和 c plus", "我爱python和c plus"),
        ("が\u3099 き", "が\u3099き"),
        ("ไป ไหน a b", "ไปไหนa b"),
        ("한국어 말", "한국어 말"),
        ("a b", "a b"),
        ("é b", "é b"),
        ("", ""),
    ],
)
def test_spaces_between_characters_of_scripts_without_spaces(text, expected):
    assert remove_optional_spaces(text) == expected
