"""Data sets of the hub: a download that fails is a user error."""

from __future__ import annotations

import pytest

from speechxfer.data.reader import read
from speechxfer.errors import UserError


def test_a_hub_that_does_not_answer_is_a_users_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise ConnectionError("no route to the hub")

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    with pytest.raises(UserError, match=r"hub:owner/name: cannot be downloaded from the hub \(no route"):
        read("hub:owner/name")
