"""The unit follows the script of the references."""

from __future__ import annotations

import pytest

from speechxfer import score
from speechxfer.scoring import ScoringOptions
from speechxfer.scoring.units import choose_unit, resolve_unit


@pytest.mark.parametrize(
    ("texts", "unit"),
    [
        (["the cat sat", "größer"], "word"),
        (["你好，世界。"], "char"),
        (["今日はいい天気です", "OK"], "char"),
        (["สวัสดีชาวโลก"], "char"),
        (["안녕하세요 세계"], "word"),
        (["हिन्दी में"], "word"),
        (["I said 你好 to everybody in the room"], "word"),
        ([""], "word"),
        ([], "word"),
    ],
)
def test_scripts(texts: list[str], unit: str) -> None:
    assert choose_unit(texts) == resolve_unit("auto", texts) == unit
    assert resolve_unit("mixed", texts) == "mixed"


def test_a_sentence_without_spaces_is_not_one_word() -> None:
    found = score(["今日はいい天気です"], ["今日はいい天気だ"])
    assert found.options.unit == "char" and found.wer == pytest.approx(2 / 9)
    assert score(["今日は"], ["今日が"], options=ScoringOptions(unit="word")).wer == 1.0
