"""The settings of a training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from speechxfer.wakeword.settings import WakeWordSettings


def make(**values: Any) -> WakeWordSettings:
    return WakeWordSettings(**{"word": "juniper", "output": Path("d"), **values})


@pytest.mark.parametrize("word", ["", "!!!", " - "])
def test_a_word_that_cannot_be_said(word: str) -> None:
    with pytest.raises(ValidationError, match="word"):
        make(word=word)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("false_alarms_per_hour", 0),
        ("false_alarms_per_hour", float("inf")),
        ("held_out", 0.5),
        ("validation_share", -0.1),
        ("width", 300),
        ("batch", 4),
        ("rounds", 4),  # the former name of mining_rounds
    ],
)
def test_values_out_of_range_and_unknown_keys_are_refused(key: str, value: Any) -> None:
    with pytest.raises(ValidationError, match=key):
        make(**{key: value})


def test_every_key_but_the_seed_is_described() -> None:
    fields = WakeWordSettings.model_fields
    assert [name for name, field in fields.items() if not field.description] == ["seed"]
    assert [name for name, field in fields.items() if field.is_required()] == ["word", "output"]
