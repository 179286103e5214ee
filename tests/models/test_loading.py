"""Loading: settings, devices, and the limits of a model's input, which need no weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from speechxfer.config import load_recipe
from speechxfer.config.recipe import HeadConfig
from speechxfer.errors import UserError
from speechxfer.models import (
    build_trainable,
    get_input_limits,
    load,
    resolve_device,
)


def get_refusal(folder: Path) -> str:
    """The message of the error that loading the folder raises."""
    with pytest.raises(UserError) as caught:
        load(folder, device="cpu")
    return str(caught.value)


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("config.json", "{", "config.json"),
        ("config.json", '{"model_type": "bert"}', "no head to predict with"),
        ("config.json", '{"model_type": "nothing"}', "config.json"),
        ("tokenizer.json", "{", "tokenizer"),
        ("speechxfer.json", "{", "speechxfer.json: not readable"),
        ("speechxfer.json", '{"kind": "seq2seq", "colour": "red"}', "not readable (colour: Extra inputs"),
        ("speechxfer.json", '{"kind": "song"}', "not readable (kind: Input should be"),
        ("config.json", '{"model_type": "whisper", "encoder_layers": 2.5}', "'encoder_layers' expected int, got float"),
        ("generation_config.json", '{"suppress_tokens": [1, 2', "generation_config.json: not readable"),
    ],
)
def test_damaged_settings(copy_folder, tiny_whisper, file, content, words):
    folder = copy_folder(tiny_whisper)
    (folder / file).write_text(content)
    output = get_refusal(folder)
    assert words in output and "\n" not in output.split("\n  fix:")[0]


def test_a_tokenizer_left_behind(copy_folder, tiny_whisper):
    """transformers would open it with an empty tokenizer, and every text would be empty."""
    folder = copy_folder(tiny_whisper)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    assert "its tokenizer is missing" in get_refusal(folder)
    with pytest.raises(UserError, match="its tokenizer is missing"):
        get_input_limits(folder)


def test_an_encoder_alone_cannot_predict(make_encoder):
    assert "has no head to predict with" in get_refusal(make_encoder("wav2vec2"))


def test_a_device_that_does_not_exist(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert resolve_device("auto") == resolve_device("cpu") == torch.device("cpu")
    with pytest.raises(UserError, match="no cuda") as caught:
        resolve_device("cuda")
    assert "device=auto" in str(caught.value)


def test_limits_of_whisper(make_whisper):
    limits = get_input_limits(make_whisper())
    assert limits.max_seconds == 30.0
    # 64 positions, minus at most 4 prompt tokens and the end token
    assert limits.max_tokens == 59 and limits.count_tokens is not None
    # "Ġone" is one token of the tiny tokenizer; unknown words are spelled in letters
    assert limits.count_tokens("one two") == 2 and limits.count_tokens("xyz") == 4
    model = load(make_whisper(), device="cpu")
    assert len(model.encode_target("one " * 59)) == 60
    for seconds in (2, 30):
        assert get_input_limits(make_whisper(seconds=seconds), head=HeadConfig(kind="ctc")).max_seconds == seconds


def test_limits_of_a_vocabulary(make_encoder):
    own = make_encoder("wav2vec2", words="ONE TWO")
    limits = get_input_limits(own)
    assert limits.characters is not None and limits.characters >= set("ONETW") and "A" not in limits.characters
    assert limits.case == "upper" and limits.frames_per_second == 50 and limits.max_seconds is None
    assert get_input_limits(own, head=HeadConfig(kind="ctc", vocabulary="own")).characters == limits.characters
    assert (
        get_input_limits(own, head=HeadConfig(kind="ctc")).characters is None
    )  # a new head gets the characters of the texts
    assert get_input_limits(make_encoder("wav2vec2"), head=HeadConfig(kind="classify")).frames_per_second is None


@pytest.mark.parametrize("kind", ["seq2seq", "joint"])
def test_how_many_tokens_a_word_of_the_training_text_takes(make_whisper, kind):
    values = {
        "encoder": {"name": str(make_whisper(seconds=2, multilingual=True)), "language": "en"},
        "head": {"kind": kind},
        "stages": [{"train": "all", "epochs": 1, "lr": 1}],
        "device": "cpu",
    }
    for texts in (["one two six", "", "two"], ["one" * 12, "one two"], ["", " "]):
        model = build_trainable(load_recipe(values), texts)
        output = [text for text in texts if text.strip()]
        count = sum(len(model.encode_text(text)) - 1 for text in output)
        words = sum(max(len(text.split()), len(text) / 12) for text in output)
        assert model.settings.tokens_per_word == (round(count / words, 2) if output else 1.5)


@pytest.mark.parametrize(
    ("options", "name", "message"),
    [
        ({"words": "one two six"}, "vocab.json", r"its tokenizer is missing: there is no vocab\.json"),
        (
            {"words": "one two six"},
            "preprocessor_config.json",
            r"extractor is missing: there is no preprocessor_config",
        ),
        ({"labels": ["one", "two"]}, "preprocessor_config.json", r"extractor is missing: there is no preprocessor_c"),
    ],
)
def test_a_file_that_is_missing_is_named(make_encoder, copy_folder, options, name, message):
    folder = copy_folder(make_encoder("wav2vec2", **options))
    (folder / name).unlink()
    with pytest.raises(UserError, match=message) as caught:
        load(folder, device="cpu")
    assert caught.value.where == str(folder) and f"copy {name}" in (caught.value.fix or "")


@pytest.mark.parametrize(
    ("name", "message"), [("tokenizer.json", "tokenizer is missing"), ("processor_config.json", "extractor")]
)
def test_a_file_that_whisper_needs_is_named(tiny_whisper, copy_folder, name, message):
    folder = copy_folder(tiny_whisper)
    (folder / name).unlink()
    with pytest.raises(UserError, match=message) as caught:
        load(folder, device="cpu")
    assert caught.value.where == str(folder)
