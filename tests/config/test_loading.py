"""Recipes: what is read, what is refused, and how much of it is said at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechxfer.config import REQUIRED, Recipe, dump_recipe, load_recipe, require_values, shipped_recipes
from speechxfer.errors import UserError

SMALLEST = "stages:\n  - {train: head, epochs: 1, lr: 1.0e-3}\n"


@pytest.fixture
def write(tmp_path: Path):
    """write(text): a recipe file."""

    def make(text: str | bytes) -> Path:
        path = tmp_path / "mine.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return make


def refusal(source: object, *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        load_recipe(source, overrides)  # type: ignore[arg-type]
    return str(caught.value)


def test_the_smallest_recipe_gets_every_default(write):
    recipe = load_recipe(write(SMALLEST))
    assert recipe == Recipe(stages=[{"train": ["head"], "epochs": 1, "lr": 1e-3}])  # type: ignore[list-item]
    assert (recipe.data.train, recipe.data.dev, recipe.head.kind, recipe.seed) == (REQUIRED, "auto", "ctc", 0)


@pytest.mark.parametrize(
    ("kind", "shipped"),
    [("seq2seq", "accent-whisper"), ("joint", "accent-best"), ("ctc", "accent-ctc"), ("classify", "spoken-commands")],
)
def test_stages_that_are_left_out_are_those_of_the_shipped_recipe_for_the_head(write, kind, shipped):
    theirs = load_recipe(shipped).stages
    assert load_recipe(write(f"head: {{kind: {kind}}}\n")).stages == theirs
    # the head may come from the command line, and what it brings may be changed there
    changed = load_recipe(write("seed: 1\n"), ["stages.0.epochs=17", f"head.kind={kind}"]).stages
    assert changed[0].epochs == 17 and changed[0].lr == theirs[0].lr and changed[1:] == theirs[1:]


def test_a_stage_gets_the_epochs_and_rates_that_it_leaves_out(write):
    text = (
        "head: {kind: ctc}\nstages: [{train: head}, {train: all, lr: 3e-4}, {train: [head, encoder], batch_seconds: 9}]"
    )
    head, every, encoder = load_recipe(write(text)).stages
    first, last = load_recipe("accent-ctc").stages
    assert head == first.model_copy(update={"batch_seconds": head.batch_seconds})
    assert (every.lr, every.encoder_lr, every.epochs) == (3e-4, None, last.epochs)  # one rate was given: for all
    assert (encoder.lr, encoder.encoder_lr, encoder.epochs) == (last.lr, last.encoder_lr, last.epochs)
    assert encoder.batch_seconds == 9


def test_stages_of_their_own_number_take_lengths_patience_and_rates_of_the_staged_recipe(write):
    text = "head: {kind: seq2seq}\nstages: [{train: head}, {train: [top-4, head], epochs: 2}, {train: all, lr: 1e-5}]"
    head, upper, every = load_recipe(write(text)).stages
    first, middle, last = load_recipe("staged").stages
    assert head == first.model_copy(update={"batch_seconds": head.batch_seconds})
    assert (upper.epochs, upper.patience) == (2, None)  # a length of its own, so no patience that belongs to another
    assert (upper.lr, upper.layer_decay) == (middle.lr, middle.layer_decay) and middle.layer_decay < 1
    assert (every.epochs, every.patience) == (last.epochs, last.patience) and last.patience
    assert (every.lr, every.layer_decay) == (1e-5, 1.0)
    # one stage alone is not a transfer in stages, wherever it was written
    alone = load_recipe(write("head: {kind: seq2seq}\n"), ["stages=[{train: head}]"]).stages
    assert alone[0].epochs == load_recipe("accent-whisper").stages[0].epochs
    typed = load_recipe(write("head: {kind: seq2seq}\n"), ["stages=[{train: head}, {train: all}]"]).stages
    assert typed[1].epochs == last.epochs


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


def test_every_problem_is_named_at_once_with_its_line(write):
    path = write(
        "data: {trian: a.csv, limit: many}\n"
        "head: {kind: seq2sec}\n"
        "stages:\n"
        "  - {train: [head, top-0], epochs: 2, lr: fast}\n"
        "  - {train: all, epochs: 1}\n"
        "scoring: {by: 3}\n"
        "sede: 1\n"
    )
    said = refusal(path, "nonsense", "stages.7.lr=1", "encoder.langauge=de", "device=gpu")
    lines = said.splitlines()
    assert lines[0] == f"{path} is not a valid recipe, with device, encoder.langauge from the command line:"
    assert [line for line in lines if line.startswith("  - line 1: ") and "data.trian" in line and "'train'?" in line]
    assert "line 1: data.limit: must be a whole number" in said and "(found 'many')" in said
    assert "line 2: head.kind: must be 'ctc', 'classify', 'seq2seq' or 'joint' (found 'seq2sec')" in said
    assert "line 4: stages.0.train: 'top-0' is not one of head, top-N" in said
    assert "line 4: stages.0.lr: must be a number" in said
    assert "line 5: stages.1.lr: is missing" in said
    assert "line 6: scoring.by: must be a list, as in [a, b] (found 3)" in said
    assert "line 7: unknown key 'sede' (did you mean 'seed'?)" in said
    # what was typed has no line
    assert "  - 'nonsense' is not key=value" in said
    assert "  - 'stages.7.lr=1': there is no item 7; the list has 2" in said
    assert "  - unknown key 'encoder.langauge' (did you mean 'language'?)" in said
    assert "  - device: must be 'auto', 'cpu', 'cuda' or 'mps' (found 'gpu')" in said
    assert sum(line.startswith("  - ") for line in lines) == 12
    assert lines[-1].startswith("  fix: ")


@pytest.mark.parametrize(
    "text, words",
    [
        ("seed: 1\nseed: 2\n" + SMALLEST, "line 2: duplicate key 'seed'"),
        ("data: {dev: a, dev: b}\n" + SMALLEST, "line 1: duplicate key 'dev'"),
        ("stages: [\n", "not readable as YAML"),
        ("- a\n- b\n", "a recipe is a mapping of keys"),
        ("", "a recipe is a mapping of keys"),
        (
            "a: !!python/object/apply:os.system [ls]\n",
            "line 1: not readable as YAML: could not determine a constructor",
        ),
        ("output: 2024-13-45\n" + SMALLEST, "not readable as YAML: month must be in 1..12"),
        ("output: " + "[" * 2_000, "nested too deeply"),
        ("{[a]: b}", "not readable as YAML: found unhashable key"),
        ("a: 1\n---\nb: 2\n", "not readable as YAML"),
        ("a: \x07\n", "not readable as YAML"),
        ("stages: []\n", "stages: must not be empty"),
        (
            SMALLEST.replace("epochs: 1", "epochs: 0"),
            "line 2: stages.0.epochs: must be greater than 0 (found 0)",
        ),
        (SMALLEST + "head: {kind: classify}\ndecoding: {kind: beam}\n", "a classifier has no beam search"),
        (SMALLEST + "encoder: {pad_to_30s: true}\naugment: {pad_to_30s: 0.1}\n", "pads every batch already"),
        (b"stages: caf\xe9\n", "not UTF-8 text (byte 11)"),
    ],
)
def test_one_clear_message(write, text, words):
    assert words in refusal(write(text))


def test_a_byte_order_mark_is_taken(write):
    assert load_recipe(write(b"\xef\xbb\xbf" + SMALLEST.encode())).stages[0].epochs == 1


@pytest.mark.parametrize(
    "word, said",
    [
        ("seed=-1", "seed: must be greater than or equal to 0"),
        ("stages.0.epochs=.inf", "stages.0.epochs: must be a finite number"),
        ("stages.0.lr=.nan", "stages.0.lr: must be"),
        ("augment.noise_snr=[.nan, .nan]", "augment.noise_snr"),
        ("decoding.beam_size=100000", "decoding.beam_size: must be less than"),
        ("candidates.means=[0]", "candidates.means.0: must be greater"),
        ("decoding.hot_words=['']", "decoding.hot_words.0"),
        ("stages.0.epochs=-1", "stages.0.epochs: must be greater than 0"),
    ],
)
def test_what_was_typed_is_not_blamed_on_the_file(write, word, said):
    with pytest.raises(UserError) as caught:
        load_recipe(write(SMALLEST), [word])
    assert str(caught.value).startswith("values on the command line cannot be used:") and said in str(caught.value)
    with pytest.raises(UserError, match="is not a valid recipe"):  # the file has a mistake as well
        load_recipe(write(SMALLEST + "sede: 1\n"), [word])


def test_an_override_into_a_plain_value(write):
    assert "'seed.x=1': a plain value has no keys" in refusal(write(SMALLEST + "seed: 3\n"), "seed.x=1")


def test_a_recipe_that_is_not_there_names_the_nearest():
    assert "did you mean 'accent-whisper'?" in refusal("accent-wisper")


def test_a_shipped_recipe_by_its_name_or_its_path_in_the_repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # no such file from here
    by_name = load_recipe("accent-whisper")
    assert by_name == load_recipe("recipes/accent-whisper.yaml") == load_recipe(shipped_recipes()["accent-whisper"])


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
    lr=st.floats(1e-12, 1e3),
    epochs=st.floats(0.01, 1e4),
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


@pytest.mark.parametrize(
    "word, said",
    [
        ("encoder=whisper-base", "encoder is a section, as in encoder.name=...; known keys: name, language"),
        ("stages=head", "stages is a section, as in stages.0.train=..."),
        ("epochs=2", "unknown key 'epochs' (did you mean 'stages.0.epochs'?)"),
        ("lr=1", "(did you mean 'stages.0.lr'?)"),  # not the nearest word, lora
        ("kind=ctc", "(did you mean 'head.kind' or 'decoding.kind'?)"),
        ("stages.4.lr=1", "there is no item 4; the list has 1"),
        ("decoding.hot_words=Kafka", "decoding.hot_words: "),  # a rule of several keys
    ],
)
def test_a_key_without_its_section_is_shown_the_way(write, word, said):
    message = refusal(write(SMALLEST.replace("ctc", "seq2seq")), word)
    assert message.startswith("values on the command line cannot be used:") and said in message
