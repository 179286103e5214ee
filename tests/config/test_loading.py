"""Recipes: what is read, what is refused, and how much of it is said at once."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st

from speechxfer.config import load_recipe, shipped_recipes

SMALLEST = "stages:\n  - {train: head, epochs: 1, lr: 1.0e-3}\n"


@pytest.mark.parametrize("written", ["1e-4", "1E-4", "1.0e-4", "1.e-4", ".1e-3", "+1e-4", "0.0001"])
def test_a_rate_is_a_number_however_it_is_written(write, written):
    by_file = load_recipe(write(SMALLEST.replace("1.0e-3", written)))
    typed = load_recipe(write(SMALLEST), [f"stages.0.lr={written}"])
    assert by_file.stages[0].lr == typed.stages[0].lr == 1e-4


def test_norwegian_is_a_language(write):
    assert load_recipe(write(SMALLEST + "encoder: {language: no}\n")).encoder.language == "no"
    assert load_recipe(write(SMALLEST), ["encoder.language=no"]).encoder.language == "no"
    assert (
        load_recipe(write(SMALLEST + "encoder: {language: no}\n"), ["encoder.language=null"]).encoder.language is None
    )


@pytest.mark.parametrize("written, value", [("true", True), ("False", False)])
def test_booleans_are_true_and_false(write, written, value):
    assert load_recipe(write(SMALLEST), [f"overwrite={written}"]).overwrite is value


@pytest.mark.parametrize(
    "word, key, value",
    [
        ("data.train=a=b.csv", "data.train", "a=b.csv"),
        ("data.dev=speaker=0001,0002", "data.dev", "speaker=0001,0002"),
        ("data.train=C: my table.csv", "data.train", "C: my table.csv"),
        ("data.train=[a].csv", "data.train", "[a].csv"),
        ("data.train=2024-01-01", "data.train", "2024-01-01"),
        ("data.train=2024-13-45", "data.train", "2024-13-45"),
        ("data.train='quoted name.csv'", "data.train", "quoted name.csv"),
        ("data.group=0001", "data.group", "0001"),
        ("output=0001", "output", "0001"),
        ("output=2024-01-01", "output", "2024-01-01"),
        ("seed=7", "seed", 7),
        ("scoring.by=[speaker, accent]", "scoring.by", ["speaker", "accent"]),
        ("augment.noise_snr=[0, 10]", "augment.noise_snr", (0.0, 10.0)),
        ("stages.0.epochs=2", "stages.0.epochs", 2.0),
        ("stages.0.train=[head, top-2]", "stages.0.train", ["head", "top-2"]),
        ("stages.0={train: all, epochs: 3, lr: 1e-5}", "stages.0.lr", 1e-5),
        ("stages=[{train: all, epochs: 3, lr: 1e-5}]", "stages.0.train", ["all"]),
    ],
)
def test_overrides(write, word, key, value):
    found = load_recipe(write(SMALLEST), [word])
    for part in key.split("."):
        found = found[int(part)] if isinstance(found, list) else getattr(found, part)
    assert found == value


def test_a_later_override_wins(write):
    assert load_recipe(write(SMALLEST), ["seed=1", "seed=2"]).seed == 2


def test_a_mapping_given_by_a_program_is_not_changed():
    given_values = {"stages": [{"train": "head", "epochs": 1, "lr": 0.1}]}
    assert load_recipe(given_values, ["stages.0.epochs=9", "data.train=x"]).stages[0].epochs == 9
    assert given_values == {"stages": [{"train": "head", "epochs": 1, "lr": 0.1}]}


def test_a_byte_order_mark_is_taken(write):
    assert load_recipe(write(b"\xef\xbb\xbf" + SMALLEST.encode())).stages[0].epochs == 1


def test_an_override_into_a_plain_value(write, refusal):
    assert "'seed.x=1': a plain value has no keys" in refusal(write(SMALLEST + "seed: 3\n"), "seed.x=1")


def test_a_recipe_that_is_not_there_names_the_nearest(refusal):
    assert "did you mean 'accent-whisper'?" in refusal("accent-wisper")


def test_a_shipped_recipe_by_its_name_or_its_path_in_the_repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # no such file from here
    by_name = load_recipe("accent-whisper")
    assert by_name == load_recipe("recipes/accent-whisper.yaml") == load_recipe(shipped_recipes()["accent-whisper"])


# U+0085 and the like are line breaks to YAML; a path with one is nobody's
texts = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1)
lookalikes = st.sampled_from(
    ["1e-4", "no", "null", "~", "0x1F", "1_000", "true", "2024-01-01", "- a", "a: b", "#", "'"]
)


@pytest.mark.parametrize("name", ["train.csv", "train.parquet", "corpus"])
def test_data_in_the_place_of_a_recipe(tmp_path, refusal, name):
    (tmp_path / "corpus").mkdir()
    (tmp_path / "train.csv").write_text("audio,text\n")
    (tmp_path / "train.parquet").write_bytes(b"PAR1")
    message = refusal(str(tmp_path / name))
    assert "is DATA, not a recipe" in message and f"adapt accent-whisper data.train={tmp_path / name}" in message


def test_several_tables_of_training_data():
    recipe = load_recipe({"data": {"train": "a.csv"}}, ["data.train=[a.csv, {path: b.csv, weight: 0.5}]"])
    assert [(table.path, table.weight) for table in recipe.data.train] == [("a.csv", 1.0), ("b.csv", 0.5)]
    named = load_recipe({"data": {"train": "a.csv"}}, ["data.columns={audio: file, text: sentence}"])
    assert named.data.columns == {"audio": "file", "text": "sentence"} and named.data.train == "a.csv"


def test_aliases_that_stand_for_billions_of_values(write, refusal):
    """Ten lists of nine times the list before: found at once, not expanded."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    assert "more than 100,000 values" in refusal(write("\n".join(lines)))


def test_an_alias_of_itself(write, refusal):
    assert "contains itself" in refusal(write("data: &d {train: t.csv, self: *d}"))


def test_an_alias_is_read(write):
    path = write("data: &d {train: a.csv, dev: a.csv}\nencoder: {name: x}\nhead: {kind: ctc}\n")
    assert load_recipe(path).data.dev == "a.csv"


def test_numbers_out_of_range(write, refusal):
    assert "thousands of digits" in refusal(write(f"seed: {'9' * 5000}"))
    text = refusal("accent-whisper", "data.train=a.csv", "stages.0.epochs=1e9", "lora.rank=1e6")
    assert "stages.0.epochs" in text and "1000" in text and "lora.rank" in text
