"""Names of columns: one list, in order of preference, and what the user names instead."""

from __future__ import annotations

import pytest

from speechxfer.errors import UserError
from speechxfer.tables import COLUMN_ROLES, find_role, map_columns, parse_column_options


@pytest.mark.parametrize(
    ("names", "roles"),
    [
        (["file_name", "transcription"], {"audio": "file_name", "text": "transcription"}),
        (["audio_filepath", "offset", "duration", "text"],
         {"audio": "audio_filepath", "start": "offset", "duration": "duration", "text": "text"}),
        (["path", "client_id", "sentence", "accents"],
         {"audio": "path", "speaker": "client_id", "text": "sentence", "accent": "accents"}),
        (["path", "audio"], {"audio": "audio"}),
        (["sentence", "text"], {"text": "text"}),
        (["Audio", "Speaker ID"], {"audio": "Audio", "speaker": "Speaker ID"}),
        (["spk", "age"], {"speaker": "spk"}),
    ],
)  # fmt: skip
def test_known_names(names: list[str], roles: dict[str, str]) -> None:
    assert map_columns(names) == roles


def test_a_chosen_column_is_taken_first_and_has_no_other_role() -> None:
    assert map_columns(["text", "sentence"], {"text": "sentence"}) == {"text": "sentence"}
    assert map_columns(["path", "utt"], {"id": "path"}) == {"id": "path"}


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"text": "sentnce"}, r"t\.csv: columns that the table lacks(?s:.*)text=sentnce \(did you mean 'sentence'\?\)"),
        ({"txt": "sentence"}, r"unknown kind of column 'txt' \(did you mean 'text'\?\)"),
    ],
)
def test_a_choice_that_does_not_exist(chosen: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        map_columns(["sentence"], chosen, "t.csv")


def test_options() -> None:
    assert parse_column_options(["text=sentence", "audio = file"]) == {"text": "sentence", "audio": "file"}
    for option, message in [("text", "is not KIND=NAME"), ("words=x", "unknown kind of column 'words'")]:
        with pytest.raises(UserError, match=message):
            parse_column_options([option])


def test_a_name_has_one_role() -> None:
    names = [name for aliases in COLUMN_ROLES.values() for name in aliases]
    assert len(set(names)) == len(names)
    assert find_role("client_id") == "speaker" and find_role("nothing") is None
