"""NIST's mapping files."""

import pytest

from speechxfer.errors import UserError
from speechxfer.text.normalise import get_normaliser


def normaliser(tmp_path, text):
    path = tmp_path / "rules.glm"
    path.write_text(text)
    return get_normaliser(str(path))


def test_rules_apply_to_whole_words_first_rule_first(tmp_path):
    rules = """;; a comment
* name "test"
[CAN'T] => [CAN NOT] / [ ] __ [ ]
ice cream => icecream / [ ] __ [ ] ;; compounds
[uh] => []
[can not] => [never]
"""
    assert normaliser(tmp_path, rules)("I can't eat ice cream uh cans") == "i can not eat icecream cans"


def test_the_version_follows_the_rules(tmp_path):
    first = normaliser(tmp_path, "[a] => [b]\n").version
    assert normaliser(tmp_path, "[a] => [c]\n").version != first


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[a] -> [b]", "line 1: .a. -> .b."),
        ("[a] => [b] / [x] __ [ ]", "only whole words"),
        ("[a] => { b / c }", "alternatives are not supported"),
        ("[] => [b]", "nothing to replace"),
        (";; only a comment", "no rules"),
    ],
)
def test_lines_that_are_no_rules(tmp_path, line, message):
    with pytest.raises(UserError, match=message):
        normaliser(tmp_path, line + "\n")


def test_no_such_file():
    with pytest.raises(UserError, match="no such file"):
        get_normaliser("nowhere.glm")
