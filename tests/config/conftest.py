"""Fixtures that write a recipe file and load a recipe that is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from speechxfer.config import load_recipe
from speechxfer.errors import UserError


@pytest.fixture
def write(tmp_path: Path):
    """write(text): a recipe file."""

    def make(text: str | bytes) -> Path:
        path = tmp_path / "mine.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return make


@pytest.fixture
def refusal() -> Callable[..., str]:
    """refusal(source, *overrides): the message with which a recipe is refused."""

    def load(source: object, *overrides: str) -> str:
        with pytest.raises(UserError) as caught:
            load_recipe(source, overrides)  # type: ignore[arg-type]
        return str(caught.value)

    return load
