"""Control characters made visible."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechxfer.escaping import escape_controls, escape_controls_in_json


def test_sequences_become_visible_and_text_stays():
    assert escape_controls("a\x1b[31mred\x9b0m\r\x07") == "a[U+001B][31mred[U+009B]0m[U+000D][U+0007]"
    assert escape_controls("\u202eevil\udcff") == "[U+202E]evil[U+DCFF]"
    for text in ("two\nlines\tand a tab", "größer 日本語 שלום e\u0301 👍🏽", ""):
        assert escape_controls(text) == text
    assert escape_controls(3.5) == "3.5"


@given(st.text(st.characters(exclude_categories=())))
def test_no_control_character_is_left(text):
    left = escape_controls(text)
    assert all(unicodedata.category(c) not in ("Cc", "Cs") for c in left if c not in "\n\t")
    left.encode()
    assert escape_controls(left) == left


@pytest.mark.parametrize("ensure_ascii", [False, True])
@given(text=st.text(st.characters(exclude_categories=())))
def test_json_keeps_its_value(text, ensure_ascii):
    document = json.dumps({text: [text, 1]}, ensure_ascii=ensure_ascii, indent=2)
    escaped = escape_controls_in_json(document)
    assert json.loads(escaped) == {text: [text, 1]}
    assert all(unicodedata.category(c) not in ("Cc", "Cs") or c == "\n" for c in escaped)
