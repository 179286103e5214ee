"""Validation errors: all at once, each with its key, its line and the nearest key."""

from __future__ import annotations

import pytest

from speechxfer.config import load_recipe
from speechxfer.errors import UserError

SMALLEST = "stages:\n  - {train: head, epochs: 1, lr: 1.0e-3}\n"


def test_every_problem_is_named_at_once_with_its_line(write, refusal):
    path = write(
        "data: {trian: a.csv, limit: many}\n"
        "head: {kind: seq2sec}\n"
        "stages:\n"
        "  - {train: [head, top-0], epochs: 2, lr: fast}\n"
        "  - {train: all, epochs: 1}\n"
        "scoring: {by: 3}\n"
        "sede: 1\n"
    )
    output = refusal(path, "nonsense", "stages.7.lr=1", "encoder.langauge=de", "device=gpu")
    lines = output.splitlines()
    assert lines[0] == f"{path} is not a valid recipe, with device, encoder.langauge from the command line:"
    assert [line for line in lines if line.startswith("  - line 1: ") and "data.trian" in line and "'train'?" in line]
    assert "line 1: data.limit: must be a whole number" in output and "(found 'many')" in output
    assert "line 2: head.kind: must be 'ctc', 'classify', 'seq2seq' or 'joint' (found 'seq2sec')" in output
    assert "line 4: stages.0.train: 'top-0' is not one of head, adapter, top-N" in output
    assert "line 4: stages.0.lr: must be a number" in output
    assert "line 5: stages.1.lr: is missing" in output
    assert "line 6: scoring.by: must be a list, as in [a, b] (found 3)" in output
    assert "line 7: unknown key 'sede' (did you mean 'seed'?)" in output
    # what was typed has no line
    assert "  - 'nonsense' is not key=value" in output
    assert "  - 'stages.7.lr=1': there is no item 7; the list has 2" in output
    assert "  - unknown key 'encoder.langauge' (did you mean 'language'?)" in output
    assert "  - device: must be 'auto', 'cpu', 'cuda' or 'mps' (found 'gpu')" in output
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
        (SMALLEST + "head: {class_weights: balanced}\n", "head.class_weights: only with head.kind classify"),
        (SMALLEST + "head: {max_rejected: 0.01}\n", "head.max_rejected: only with head.kind classify"),
        (SMALLEST + "candidates: {metric: accuracy}\n", "scoring.metric"),
        (
            "head: {kind: joint}\ndata: {train: [{path: a.csv, language: de}]}\nstages: [{train: all}]\n",
            "a table has a language of its own only with head.kind seq2seq",
        ),
        (SMALLEST + "encoder: {pad_to_30s: true}\naugment: {pad_to_30s: 0.1}\n", "pads every batch already"),
        (b"stages: caf\xe9\n", "not UTF-8 text (byte 11)"),
    ],
)
def test_one_clear_message(write, text, words, refusal):
    assert words in refusal(write(text))


@pytest.mark.parametrize(
    "word, output",
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
def test_what_was_typed_is_not_blamed_on_the_file(write, word, output):
    with pytest.raises(UserError) as caught:
        load_recipe(write(SMALLEST), [word])
    assert str(caught.value).startswith("values on the command line cannot be used:") and output in str(caught.value)
    with pytest.raises(UserError, match="is not a valid recipe"):  # the file has a mistake as well
        load_recipe(write(SMALLEST + "sede: 1\n"), [word])


@pytest.mark.parametrize(
    "word, output",
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
def test_a_key_without_its_section_is_shown_the_way(write, word, output, refusal):
    message = refusal(write(SMALLEST.replace("ctc", "seq2seq")), word)
    assert message.startswith("values on the command line cannot be used:") and output in message
