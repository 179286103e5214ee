"""What each named normaliser does, and what it must leave alone."""

import pytest

from speechxfer.errors import UserError
from speechxfer.text.normalise import NORMALISER_NAMES, get_normaliser

DEFAULT = [
    ("Hello,world — it’s FINE!", "hello world it's fine"),
    ("3.5 10:30 1,000 -5", "3.5 10:30 1,000 -5"),
    (".5, -.5 and 5.", ".5 -.5 and 5"),
    ("ten o'clock well-known U.S.A.", "ten o'clock well-known u.s.a"),
    ("um, uh: 'quoted' (aside)", "um uh quoted aside"),
    ("50% R&D #5 a@b", "50% r&d #5 a@b"),
    ("wait...what -- no", "wait what no"),
    ("नमस्ते।", "नमस्ते"),
    ("naïve café", "naïve café"),
    ("日本語、です。", "日本語 です"),
    ("a\u00a0b\u200bc\u202ed", "a bcd"),
    ("col·legi", "col·legi"),
    ("twenty one", "twenty one"),
    ("…", ""),
]


@pytest.mark.parametrize(("text", "expected"), DEFAULT)
def test_default_is_conservative(text, expected):
    assert get_normaliser("default")(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("It's [noise] well-known (laughs) 50%", "it s well known 50"), ("ﬁne", "fine"), ("हिन्दी!", "हिन्दी")],
)
def test_basic(text, expected):
    assert get_normaliser("basic")(text) == expected


def test_none_leaves_all():
    assert get_normaliser("none")(" A,  b ") == " A,  b "


@pytest.mark.parametrize("name", NORMALISER_NAMES)
def test_applying_twice_is_applying_once(name):
    normalise = get_normaliser(name)
    for text, _ in DEFAULT:
        assert normalise(normalise(text)) == normalise(text)


@pytest.mark.parametrize("name", NORMALISER_NAMES)
def test_named_and_versioned(name):
    assert get_normaliser(name).name == name and get_normaliser(name).version


def test_rules_one_after_the_other():
    whole = get_normaliser("default")
    texts = [whole.take_first(n)("<|0.00|>“It’s”") for n in range(6)]
    assert texts == ["<|0.00|>“It’s”", "“It’s”", "“It’s”", "“it’s”", "“it's”", "it's"]


@pytest.mark.parametrize("name", ["default", "english", "basic"])
def test_whisper_s_special_tokens_are_no_words(name):
    normalise = get_normaliser(name)
    assert normalise("<|startoftranscript|><|0.00|> He can<|1.40|><|1.40|>go <|2.00|>") == "he can go"
    assert normalise("<|0.00|>你好<|1.00|>世界") in ("你好世界", "你好 世界")


def test_remembered_words_are_the_same_as_new_ones():
    once, again = get_normaliser("default"), get_normaliser("default")
    assert [once("A, b!") for _ in range(3)] == ["a b"] * 3 == [again("A, b!")] * 3


def test_unknown_name():
    with pytest.raises(UserError, match="did you mean 'default'"):
        get_normaliser("defalt")
