"""Parts by name: built-in ones, those of installed packages, and what is said of unknown and broken ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from speechxfer.errors import UserError
from speechxfer.registry import Registry


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """install("shapes", square="shapes:make_square"): a package on the path, with entry points of the group `test`."""

    def make(package: str, source: str, **points: str) -> None:
        (tmp_path / f"{package}.py").write_text(source)
        folder = tmp_path / f"{package}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = [f"{name} = {target}" for name, target in points.items()]
        (folder / "entry_points.txt").write_text("[test]\n" + "\n".join(lines) + "\n")
        monkeypatch.syspath_prepend(str(tmp_path))

    return make


@pytest.fixture
def registry() -> Registry[int]:
    made: Registry[int] = Registry("test", "shape")
    made.register("triangle")(3)
    return made


def test_built_in_parts(registry: Registry[int]) -> None:
    assert registry.names == ("triangle",) and registry.get("triangle") == 3 and registry.find("circle") is None
    with pytest.raises(ValueError, match="registered twice"):
        registry.register("triangle")(4)


def test_a_package_adds_a_part_that_is_imported_when_it_is_used(registry: Registry[int], install) -> None:
    install("shapes_a", "import sys\nsys.modules[__name__].used = True\nsides = 4\n", square="shapes_a:sides")
    import sys

    assert registry.names == ("triangle", "square") and "shapes_a" not in sys.modules
    assert registry.get("square") == 4 and "shapes_a" in sys.modules


def test_a_built_in_part_is_not_replaced(registry: Registry[int], install) -> None:
    install("shapes_b", "sides = 5\n", triangle="shapes_b:sides")
    assert registry.get("triangle") == 3 and registry.names == ("triangle",)


def test_an_unknown_name_and_a_broken_package(registry: Registry[int], install) -> None:
    install("shapes_c", "sides = 4\n", square="shapes_c:edges", hexagon="nowhere_at_all:sides")
    with pytest.raises(UserError) as caught:
        registry.get("sqare", where="key")
    assert str(caught.value).splitlines() == [
        "key: unknown shape 'sqare' (did you mean 'square'?)",
        "  fix: use one of triangle, square, hexagon",
    ]
    for name in ("square", "hexagon"):
        with pytest.raises(UserError, match=f"the shape '{name}' of the package shapes-?_?c cannot be imported"):
            registry.get(name)
