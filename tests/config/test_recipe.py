"""The recipe schema: defaults, required values, lists, and a round trip through YAML."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechxfer.config import REQUIRED, Recipe, dump_recipe, load_recipe, require_values
from speechxfer.errors import UserError

SMALLEST = "stages:\n  - {train: head, epochs: 1, lr: 1.0e-3}\n"


def test_the_smallest_recipe_gets_every_default(write):
    recipe = load_recipe(write(SMALLEST))
    assert recipe == Recipe(stages=[{"train": ["head"], "epochs": 1, "lr": 1e-3}])  # type: ignore[list-item]
    assert (recipe.data.train, recipe.data.dev, recipe.head.kind, recipe.seed) == (REQUIRED, "auto", "ctc", 0)


def test_required_values_are_all_asked_for():
    with pytest.raises(UserError) as caught:
        require_values(load_recipe({"stages": [{"train": "head", "epochs": 1, "lr": 1}], "output": "REQUIRED"}))
    assert "data.train: set data.train=... on the command line" in str(caught.value)
    assert "output: set output=..." in str(caught.value)


# U+0085 and the like are line breaks to YAML; a path with one is nobody's
texts = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1)


lookalikes = st.sampled_from(
    ["1e-4", "no", "null", "~", "0x1F", "1_000", "true", "2024-01-01", "- a", "a: b", "#", "'"]
)


@given(
    train=texts | lookalikes,
    output=st.none() | texts | lookalikes,
    lr=st.floats(1e-12, 100),
    epochs=st.floats(0.01, 1000),
    parts=st.lists(st.sampled_from(["head", "top-1", "top-12", "encoder", "all"]), min_size=1),
    by=st.just("auto") | st.lists(texts | lookalikes),
    speeds=st.lists(st.floats(0.5, 2)),
)
def test_a_dumped_recipe_reads_back_equal(tmp_path_factory, train, output, lr, epochs, parts, by, speeds):
    recipe = Recipe.model_validate(
        {
            "data": {"train": train},
            "stages": [{"train": parts, "epochs": epochs, "lr": lr}],
            "scoring": {"by": by},
            "augment": {"speed": speeds},
            "output": output,
        }
    )
    path = tmp_path_factory.getbasetemp() / "dumped.yaml"
    path.write_text(dump_recipe(recipe), encoding="utf-8")
    assert load_recipe(path) == recipe


@pytest.mark.parametrize(
    "word, key, value",
    [
        ("scoring.by=accent", "scoring.by", ["accent"]),
        ("scoring.by=auto", "scoring.by", "auto"),
        ("augment.speed=0.9", "augment.speed", [0.9]),
        ("candidates.means=3", "candidates.means", [3]),
        ("lora.targets=out_proj", "lora.targets", ["out_proj"]),
    ],
)
def test_one_value_is_a_list_of_one(write, word, key, value):
    section, name = key.split(".")
    assert getattr(getattr(load_recipe(write(SMALLEST), [word]), section), name) == value
