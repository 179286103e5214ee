"""Words and phrases that count as equal: by hand, in each unit and with other options, and mistakes in the list."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechxfer.errors import UserError
from speechxfer.scoring import ScoringOptions, score
from speechxfer.scoring.equivalents import Equivalents, make_replacer, read_equivalents
from speechxfer.scoring.rule_counts import count_by_rule


def make_options(*groups, **more):
    return ScoringOptions(equivalents=Equivalents("list", tuple(enumerate(groups, start=1))), **more)


NAMES = make_options(("Ann", "Anne"), ("New York", "NY", "big apple"), ("okay", "OK"))


def test_equivalents_count_as_equal_after_normalisation():
    found = score(["Anne, in NY!", "ok"], ["ann in new york", "O.K."], options=NAMES)
    assert found.counts.errors == 1  # 'o.k' is not listed
    assert found.counts.reference_words == 5  # NY counts as two words, as written first in the list
    assert score(["Anne"], ["Anna"], options=NAMES).counts.substitutions == 1
    assert [tuple(word) for word in found.get_alignment(0)][:2] == [("=", "ann", "ann"), ("=", "in", "in")]


def test_the_longest_phrase_is_replaced_and_of_overlapping_ones_the_first():
    replace = make_replacer(Equivalents("x", ((1, ("p", "a b", "a b c")), (2, ("q", "c d")))), str)
    assert replace("a b c d") == "p d" and replace("a b x c d a") == "p x q a" and replace("x y") == "x y"


@given(st.lists(st.sampled_from(["ann", "anne", "new york", "ny", "x"]), min_size=1, max_size=6))
def test_choosing_another_member_of_a_group_never_counts(words):
    other = {"ann": "anne", "anne": "ann", "new york": "ny", "ny": "new york", "x": "x"}
    assert score(" ".join(words), " ".join(other[word] for word in words), options=NAMES).counts.errors == 0


def test_characters_notation_and_the_effect_of_the_list():
    characters = score(["Anne"], ["Ann"], options=make_options(("Ann", "Anne"), unit="char"))
    assert characters.wer == 0 and characters.counts.reference_words == 3
    marked = score(["{ Anne / Bob } x"], ["ann x"], options=make_options(("Ann", "Anne"), notation=True))
    assert marked.counts.errors == 0
    counts = count_by_rule(score(["Anne"], ["ann"], options=NAMES))
    assert [(name, c.errors) for name, c in counts][-2:] == [("punctuation", 1), ("equivalents", 0)]
    plain = count_by_rule(score(["a"], ["b"], options=make_options(("a", "b"), normaliser="none")))
    assert [(name, c.errors) for name, c in plain] == [("as written", 1), ("equivalents", 0)]
    lower = count_by_rule(score(["A"], ["b"], options=make_options(("a", "b"), normaliser=str.lower)))
    assert [(name, c.errors) for name, c in lower] == [("as written", 1), ("lower", 1), ("equivalents", 0)]


def test_the_list_is_part_of_the_options():
    entry = NAMES.to_json()
    assert entry["equivalents"] == "list" and len(entry["equivalents_version"]) == 12
    assert (
        make_options(("a", "c")).to_json()["equivalents_version"]
        != make_options(("a", "b")).to_json()["equivalents_version"]
    )


def test_a_file(tmp_path):
    (tmp_path / "e.txt").write_text("# names\nAnn = Anne=Anna\n\nNew York = NY\n")
    found = read_equivalents(tmp_path / "e.txt")
    assert found.groups == ((2, ("Ann", "Anne", "Anna")), (4, ("New York", "NY")))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Ann\n", "line 1: 'Ann'"),
        ("Ann = \n", "line 1: 'Ann ='"),
        ("# x\nAnn = Anne\nANNE = Anna\n", "line 3: 'ANNE' is also on line 2"),
        ("Ann = ...\n", "line 1: '...' has no words after normalisation"),
    ],
)
def test_mistakes_name_their_line(tmp_path, text, message):
    (tmp_path / "e.txt").write_text(text)
    with pytest.raises(UserError) as raised:
        ScoringOptions(equivalents=read_equivalents(tmp_path / "e.txt"))
    assert message in str(raised.value)
