"""User errors: the whole message, collected problems, and suggestions."""

from __future__ import annotations

import pytest

from speechxfer.errors import (
    MissingExtraError,
    Problems,
    UserError,
    suggest_nearest,
    summarize_out_of_memory,
)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (UserError("is empty"), "is empty"),
        (UserError("is empty", where="a.wav"), "a.wav: is empty"),
        (UserError("is empty", where="a.wav", fix="copy it again"), "a.wav: is empty\n  fix: copy it again"),
        (
            MissingExtraError("av", "av", "this file"),
            "this file needs the package 'av', which is not installed\n  fix: pip install 'speechxfer[av]'",
        ),
    ],
)
def test_the_whole_message(error: UserError, message: str) -> None:
    assert str(error) == message


def test_problems_are_listed_together_up_to_a_limit() -> None:
    problems = Problems("t.csv cannot be used", fix="correct the rows", shown=2)
    problems.raise_if_any()
    assert not problems
    for row in (1, 2, 3):
        problems.add(f"row {row}")
    with pytest.raises(UserError) as caught:
        problems.raise_if_any()
    assert str(caught.value) == ("t.csv cannot be used:\n  - row 1\n  - row 2\n  … and 1 more\n  fix: correct the rows")


def test_the_nearest_name_is_suggested() -> None:
    assert suggest_nearest("spaeker", ["speaker", "accent"]) == " (did you mean 'speaker'?)"
    assert suggest_nearest("zzz", ["speaker", "accent"]) == ""


def test_out_of_memory_is_its_first_sentence() -> None:
    error = RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 8 GiB")
    assert summarize_out_of_memory(error) == "Tried to allocate 2.00 GiB"
    assert summarize_out_of_memory(RuntimeError("MPS backend out of memory. More.")) == "MPS backend out of memory"
