"""An installed wheel is whole: recipes, page and sentences come along, and the recipes are found in it."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from speechxfer.config import shipped_recipes

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    builders = pytest.importorskip("hatchling.builders.wheel")
    folder = tmp_path_factory.mktemp("wheel")
    (wheel,) = builders.WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_the_recipes_are_found_where_it_is_installed(unpacked: Path) -> None:
    words = "from speechxfer.config import shipped_recipes; print(*shipped_recipes().values(), sep='\\n')"
    environment = {**os.environ, "PYTHONPATH": str(unpacked)}
    output = subprocess.run(
        [sys.executable, "-c", words], env=environment, cwd=unpacked, capture_output=True, text=True, check=True
    )
    found = [Path(line) for line in output.stdout.splitlines()]
    assert all(path.is_relative_to(unpacked) for path in found)
    assert {path.stem: path.read_text() for path in found} == {n: p.read_text() for n, p in shipped_recipes().items()}


def test_every_file_of_the_package_is_in_it(unpacked: Path) -> None:
    package = ROOT / "speechxfer"
    files = {path.relative_to(package) for path in package.rglob("*") if path.is_file()}
    kept = {file for file in files if "__pycache__" not in file.parts}
    assert kept <= {path.relative_to(unpacked / "speechxfer") for path in (unpacked / "speechxfer").rglob("*")}
