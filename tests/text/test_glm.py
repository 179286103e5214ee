"""NIST's mapping files: rules, contexts, settings, sections and alternatives as csrfilt.sh and rfilter1 apply them."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from speechxfer.errors import UserError
from speechxfer.text.glm import GlmMapping, GlmRule, take_first_alternatives
from speechxfer.text.normalise import get_normaliser


@pytest.fixture
def make(tmp_path):
    """Return a normaliser of the rules of a text."""

    def made(text):
        path = tmp_path / "rules.glm"
        path.write_text(text, encoding="utf-8")
        return get_normaliser(str(path))

    return made


def test_the_first_rule_that_matches_is_applied(make):
    rules = """;; a comment
* name "test"
[CAN'T] => [CAN NOT] / [ ] __ [ ]
ice cream => icecream / [ ] __ [ ] ;; compounds
[uh] => []
[can not] => [never]
"""
    assert make(rules)("I can't eat ice cream uh cans") == "i can not eat icecream cans"


@pytest.mark.parametrize(
    ("rule", "text", "expected"),
    [
        # without a context, within words too (GLMRules.txt, 2)
        ("CANCELLED => CANCELED ;; per AHD", "They CANCELLED and uncancelled", "they canceled and uncanceled"),
        ("FUNDRAIS => FUND RAIS", "fundraiser fundraising", "fund raiser fund raising"),
        ("JETLINER => JET LINER", "jetliners", "jet liners"),
        ("OK => O. K. / [ ] __ [ ]", "ok smoke ok ok", "o. k. smoke o. k. o. k."),
        ("[ ok ] => [ okay ]", "ok ok smoke", "okay ok smoke"),  # the space between them is replaced with the first
        # contexts of one side, of words, in quotes, glued to the slot
        ("Falkner => Faulkner / [William ] __ ", "william falkner, falkner", "william faulkner, falkner"),
        ("BINYAMIN => BENJAMIN / __ [ NETANYAHU]", "binyamin netanyahu binyamin", "benjamin netanyahu binyamin"),
        ("ADVISER => ADVISOR / [ ] __", "adviser radviser advisers", "advisor radviser advisors"),
        ('T. => TEE / __ " SHIRT"', "a t. shirt t. x", "a tee shirt t. x"),
        ("a => b / [x]__[y]", "xay xaz zay", "xby xaz zay"),
        ("a => b / x _ y", "xay xaz", "xby xaz"),
        # a context is compared with the text as it was before
        ("aa => b / [a] __", "aaaaa", "abb"),
        # strings in quotes and brackets; quotes and brackets of one end only are characters
        ('" OK " => " OKAY "', "ok smoke", "okay smoke"),
        ("[CANNOT ] => [CAN NOT ]", "cannot cannots", "can not cannots"),
        (' "BEGIN-QUOTE => BEGIN QUOTE', '"begin-quote a', "begin quote a"),
        (" {LEFT-BRACE  => LEFT BRACE", "{left-brace", "left brace"),
        (" (LEFT-PAREN => LEFT PAREN", "a (left-paren b", "a (left-paren b"),  # csrfilt.sh writes `( left-paren`
        ("'CAUSE => BECAUSE ;; per AHD", "'cause", "because"),
        ("'N' => AND", "rock 'n' roll", "rock and roll"),
        ("%AH => %HESITATION / [ ] __ [ ]", "%ah ah", "%hesitation ah"),
        ("ÚÀ => [ %HESITATION ]", "aúàb", "a %hesitation b"),
        ("اب => أب / [ ] __ [ ]", "اب", "أب"),
        # slashes without a slot are characters
        (" /SLASH => SLASH", "a /slash b", "a slash b"),
        ("AND/OR => AND / OR", "and/or", "and / or"),
        ("PATH => A/FILE_NAME", "path", "a/file_name"),
        ("X => A/B / [ ] __ [ ]", "x xx", "a/b xx"),
        ("um => / [ ] __ [ ]", "um a umm", "a umm"),
        ("um =>", "um a", "a"),
        # the parentheses of optional words are apart from them
        ("UH => %HESITATION / [ ] __ [ ]", "a (uh) b (uh)", "a (%hesitation) b (%hesitation)"),
        # white space
        ("[a b] => [c]", " a \t b  d ", "c d"),
    ],
)
def test_rules_of_files_in_use(make, rule, text, expected):
    assert make(f";; a comment\n{rule}\n")(text) == expected


@pytest.mark.parametrize(
    ("lines", "text", "expected"),
    [
        ("* case_sensitive = 'T'\nA => B", "A a", "B a"),
        ("*case_sensitive 'true'\nA => B", "A a", "B a"),
        ("* CASE_SENSITIVE = 'F'\nA => B", "A a", "b b"),
        ("* copy_no_hit = 'F'\na => b\n[ ] => [ ]", "a x a", "b b"),
        ('* copy_no_hit "YES"\na => b', "a x", "b x"),
        ("* name \"x.glm\"\n* desc 'copy_no_hit'\n* max_nrules = '1'\n* format = 'NIST2'\na => b\nc => d", "ac", "bd"),
        ("*****\n\n;;\na => b", "a", "b"),
        ("# comment\na => b # c => d\n# e", "a c", "b c"),
        (";;;;;;;\na => b ;; c => d\n;; e", "a c", "b c"),
        ("a => b\nb => c", "ab", "bc"),  # the first line is a rule
        ("%hm => b\n%mm => b", "%hm %mm", "b b"),
    ],
)
def test_settings_and_comments(make, lines, text, expected):
    assert make(lines + "\n")(text) == expected


SECTIONS = """;; rules
one => both
;; INPUT_DEPENDENT_APPLICATION = "ctm"
[CAN'T] => [{CAN NOT / CANNOT}] / [ ] __ [ ]
;;  INPUT_DEPENDENT_APPLICATION="REF|stm"
two => written
;; INPUT_DEPENDENT_APPLICATION = ".*"
three => all
"""


def test_sections_apply_to_references_or_hypotheses(make):
    found = make(SECTIONS)
    text = "One two three can't"
    assert found.for_side("reference")(text) == "both written all can't"
    assert found.for_side("hypothesis")(text) == "both two all {can not / cannot}"
    assert found(text) == "both written all can't"
    assert found.writes_notation and found.for_side("hypothesis").writes_notation


def test_alternatives_are_for_scoring_only(make):
    found = make("[CAN'T] => [{CAN NOT / CANNOT}] / [ ] __ [ ]\n[uh] => @ / [ ] __ [ ]\n")
    assert found("I can't uh go") == "i can not go"
    assert found.for_side("reference")("I can't uh go") == "i {can not / cannot} @ go"
    assert found.take_first(1).writes_notation is False
    plain = make("a => b\n")
    assert not plain.writes_notation and plain.for_side("reference")("a") == "b"
    assert get_normaliser("default").for_side("hypothesis") == get_normaliser("default")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{ a b / c } d", "a b d"),
        ("x {a/{b/c}} {{d/e}/f}", "x a d"),
        ("{ @ / um } yes", "yes"),
        ("a } b {", "a } b {"),
        ("plain", "plain"),
    ],
)
def test_first_alternatives(text, expected):
    assert take_first_alternatives(text) == expected


def test_the_version_follows_the_rules(make):
    first = make("[a] => [b]\n").version
    assert make("[a] => [c]\n").version != first != make("* case_sensitive = 'T'\n[a] => [b]\n").version


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[a] -> [b]", "line 1: .a. -> .b."),
        ("[] => [b]", "nothing to replace"),
        ("=> b", "nothing to replace"),
        (";; only a comment", "no rules"),
        ("", "no rules"),
        ("* format = 'XML'\na => b", "line 1: the format 'XML' is not known"),
        (';; INPUT_DEPENDENT_APPLICATION = "("\na => b', "line 1: '.' is not a regular expression"),
    ],
)
def test_lines_that_are_no_rules(make, line, message):
    with pytest.raises(UserError, match=message):
        make(line + "\n")


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        get_normaliser("nowhere.glm")
    (tmp_path / "gb.glm").write_bytes(b"\xda\xc0 => a\n")
    with pytest.raises(UserError, match="is not UTF-8"):
        get_normaliser(str(tmp_path / "gb.glm"))


def apply_plainly(rules, text):
    """Apply rules as GLMRules.txt, section 2, says: a cursor, and a search of the list at each character."""
    text, result, at = f" {text} ", "", 0
    while at < len(text):
        for rule in rules:
            after = at + len(rule.source)
            if text[at:after] == rule.source and text[:at].endswith(rule.left) and text[after:].startswith(rule.right):
                result, at = result + rule.target, after
                break
        else:
            result, at = result + text[at], at + 1
    return " ".join(result.split())


some = st.text("ab ", max_size=4)
words = st.text("ab", max_size=4)
rules = st.builds(GlmRule, st.text("ab ", min_size=1, max_size=12), some, words, words)


@settings(max_examples=300)
@given(st.lists(rules, min_size=1, max_size=12), st.lists(words.filter(bool), max_size=10).map(" ".join))
@example([GlmRule("a" * n, f"b{n}") for n in range(12, 0, -1)], "a" * 20)
@example([GlmRule("ab", "x", "", "b"), GlmRule("a", "y"), GlmRule("ab", "z")], "ab abb a")
def test_the_pattern_is_the_search_of_the_list(many, text):
    assert GlmMapping(many)(text) == apply_plainly(many, text)


def test_thousands_of_rules_are_quick(make):
    rules = "".join(f"word{i} => other{i} / [ ] __ [ ]\n" for i in range(5_000))
    text = " ".join(f"word{i} word{i}s" for i in range(2_000))
    found = make(rules)
    assert found(text) == " ".join(f"other{i} word{i}s" for i in range(2_000))
