"""A recipe with the old name of a key is refused with a message that names the new key."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from speechxfer.config import load_recipe, validation_errors
from speechxfer.errors import UserError

ROOT = Path(__file__).parents[2]
SHORT = {"data": {"train": "train.csv"}, "stages": [{"train": "all", "epochs": 1, "lr": 1.0e-4}]}
RECORDED = json.loads((ROOT / "scripts" / "renamed_keys.json").read_text(encoding="utf-8"))["recipe"]


def in_first_stage(key: str) -> str:
    return key.replace(".N.", ".0.")


def refusal(*overrides: str, recipe: object = SHORT) -> str:
    with pytest.raises(UserError) as caught:
        load_recipe(recipe, overrides)
    return str(caught.value)


def assert_names_new_key(message: str, old: str, new: str) -> None:
    """Check that the line about the old key names the new one before any list of all known keys."""
    (line,) = (line for line in message.splitlines() if in_first_stage(old) in line)
    assert new.rpartition(".")[2] in line.partition("known here")[0], message


def test_every_renamed_key_is_known() -> None:
    assert {in_first_stage(old) for old in RECORDED} <= {in_first_stage(old) for old in validation_errors.RENAMED_KEYS}


@pytest.mark.parametrize("old, new", RECORDED.items())
def test_an_old_key_on_the_command_line(old: str, new: str) -> None:
    assert_names_new_key(refusal(f"{in_first_stage(old)}=1"), old, new)


@pytest.mark.parametrize("old, new", RECORDED.items())
def test_an_old_key_in_a_file(old: str, new: str, tmp_path: Path) -> None:
    values = json.loads(json.dumps(SHORT))
    *sections, key = in_first_stage(old).split(".")
    target = values
    for section in sections:
        target = target[int(section)] if isinstance(target, list) else target.setdefault(section, {})
    target[key] = 1
    (tmp_path / "old.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    assert_names_new_key(refusal(recipe=str(tmp_path / "old.yaml")), old, new)
