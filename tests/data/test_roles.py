"""Columns get the names of their roles."""

from __future__ import annotations

import pytest

from speechxfer.data.roles import rename_to_roles


@pytest.mark.parametrize(
    ("roles", "names", "renames"),
    [
        ({"audio": "file", "text": "text"}, ["file", "text"], {"file": "audio"}),
        ({"text": "raw"}, ["text", "raw"], {"raw": "text", "text": "text.1"}),
        ({"reference": "ref", "hypothesis": "hyp"}, ["ref", "hyp"], {"ref": "text"}),
        ({"duration": "dur"}, ["dur"], {}),
    ],
)
def test_renames(roles: dict[str, str], names: list[str], renames: dict[str, str]) -> None:
    assert rename_to_roles(roles, names) == renames
