"""A pattern of many strings matches as their alternatives in order."""

import re

from hypothesis import given
from hypothesis import strategies as st

from speechxfer.text.prefix_pattern import make_prefix_pattern

strings = st.tuples(st.text("ab.|(", min_size=1, max_size=12), st.sampled_from(["", "(?=a)", r"(?!b)"]))


@given(st.lists(strings, min_size=1, max_size=15), st.text("ab.|(", max_size=30))
def test_the_first_string_that_matches_is_taken(many, text):
    plain = re.compile("|".join(f"(?:{re.escape(string)}{condition})" for string, condition in many))
    shared = re.compile(make_prefix_pattern(many))
    assert [found.span() for found in shared.finditer(text)] == [found.span() for found in plain.finditer(text)]


def test_no_strings_match_nothing():
    assert re.search(make_prefix_pattern([]), "") is None
