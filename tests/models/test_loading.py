"""What is no model, or a damaged one, is one message; what a model can take is known before its weights are read."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from speechxfer.config import load_recipe
from speechxfer.config.recipe import HeadConfig
from speechxfer.data.reader import read
from speechxfer.errors import UserError
from speechxfer.models import (
    batch_by_seconds,
    build_trainable,
    get_input_limits,
    load,
    predict_all,
    resolve_device,
    seq2seq,
)


@pytest.fixture
def copy_of(tmp_path: Path) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        return Path(shutil.copytree(folder, tmp_path / "copy"))

    return make


def refusal(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        load(folder, device="cpu")
    return str(caught.value)


def test_weights_cut_short(copy_of, tiny_whisper):
    folder = copy_of(tiny_whisper)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert "its weights cannot be read" in refusal(folder) and "copy or download it again" in refusal(folder)


def test_weights_in_part(copy_of, tiny_whisper):
    folder = copy_of(tiny_whisper)
    weights = load_file(folder / "model.safetensors")
    del weights["model.encoder.layers.1.fc1.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    assert "weights are missing: model.encoder.layers.1.fc1.weight" in refusal(folder)


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
def test_damaged_settings(copy_of, tiny_whisper, file, content, words):
    folder = copy_of(tiny_whisper)
    (folder / file).write_text(content)
    said = refusal(folder)
    assert words in said and "\n" not in said.split("\n  fix:")[0]


def test_a_tokenizer_left_behind(copy_of, tiny_whisper):
    """transformers would open it with an empty one, and answer with nothing."""
    folder = copy_of(tiny_whisper)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    assert "its tokenizer is missing" in refusal(folder)
    with pytest.raises(UserError, match="its tokenizer is missing"):
        get_input_limits(folder)


def test_a_vocabulary_left_behind(copy_of, make_encoder):
    folder = copy_of(make_encoder("wav2vec2", words="one two"))
    for name in ("vocab.json", "tokenizer_config.json"):
        (folder / name).unlink()
    assert "tokenizer" in refusal(folder)


def test_a_vocabulary_of_another_shape(copy_of, make_encoder):
    folder = copy_of(make_encoder("wav2vec2", words="one two"))
    (folder / "vocab.json").write_text("[]")
    assert "its tokenizer or feature extractor cannot be read" in refusal(folder)


def test_an_encoder_alone_cannot_answer(make_encoder):
    assert "has no head to predict with" in refusal(make_encoder("wav2vec2"))


def test_a_device_that_is_not_here(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert resolve_device("auto") == resolve_device("cpu") == torch.device("cpu")
    with pytest.raises(UserError, match="no cuda") as caught:
        resolve_device("cuda")
    assert "device=auto" in str(caught.value)


def test_limits_of_whisper(make_whisper):
    limits = get_input_limits(make_whisper())
    assert limits.max_seconds == 30.0
    # 64 places: the longest prompt is 4 tokens, and the end takes one
    assert limits.max_tokens == 59 and limits.count_tokens is not None
    # "Ġone" is one token of the tiny tokenizer, and so is each letter of a word it lacks
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
    )  # a new head writes what the texts hold
    assert get_input_limits(make_encoder("wav2vec2"), head=HeadConfig(kind="classify")).frames_per_second is None


@given(
    seconds=st.lists(st.floats(0.01, 40), max_size=30),
    most=st.floats(0.5, 100),
    seed=st.integers(0, 9),
)
def test_batches_hold_no_more_than_they_may(seconds, most, seed):
    order = np.random.default_rng(seed).permutation(len(seconds)).tolist()
    batches = list(batch_by_seconds(order, seconds, most))
    assert [index for batch in batches for index in batch] == order
    for batch in batches:
        assert len(batch) == 1 or max(seconds[i] for i in batch) * len(batch) <= most
    for batch, following in itertools.pairwise(batches):  # and no fewer than they could
        assert max(seconds[i] for i in [*batch, following[0]]) * (len(batch) + 1) > most


def test_answers_stand_in_the_tables_order_whatever_the_batches(corpus_table, make_encoder):
    model, rows, done = load(make_encoder("wav2vec2", words="one two"), device="cpu"), read(corpus_table), []
    model.network.train()
    whole = predict_all(model, rows, batch_seconds=100, progress=lambda *step: done.append(step))
    assert model.network.training  # it is given back as it was
    assert done[-1] == (18, 18)
    assert predict_all(model, rows, batch_seconds=0.1) == whole
    shuffled = rows.shuffle(seed=3)
    by_name = dict(zip(rows["id"], whole, strict=True))
    assert predict_all(model, shuffled, batch_seconds=2) == [by_name[name] for name in shuffled["id"]]
    assert len({*whole}) > 9  # the random head says another thing to each


def test_a_saved_language_needs_no_telling(make_whisper, tmp_path):
    load(make_whisper(seconds=2, multilingual=True), device="cpu", language="de").save(tmp_path / "saved")
    assert json.loads((tmp_path / "saved/speechxfer.json").read_text())["language"] == "de"
    assert load(tmp_path / "saved", device="cpu").prompt == load(tmp_path / "saved", device="cpu", language="de").prompt
    assert load(tmp_path / "saved", device="cpu", language="en").prompt != load(tmp_path / "saved", device="cpu").prompt


def test_a_multilingual_checkpoint_that_does_not_say_so(make_whisper, copy_of, monkeypatch):
    """Early fine-tunings have no generation_config.json; the vocabulary tells the English-only ones (OpenAI's rule)."""
    folder = copy_of(make_whisper(seconds=2, multilingual=True))
    (folder / "generation_config.json").unlink()
    load(folder, device="cpu")  # a small vocabulary
    monkeypatch.setattr(seq2seq, "MULTILINGUAL_VOCABULARY_SIZE", 10)
    with pytest.raises(UserError, match=r"multilingual and must be told the language"):
        load(folder, device="cpu")
    assert len(load(folder, device="cpu", language="de").prompt) == 4


def test_a_ctc_head_wider_than_its_vocabulary(make_encoder):
    """As hub checkpoints have whose vocabulary was padded to a round number: such a place writes nothing."""
    model = load(make_encoder("wav2vec2", words="one two"), device="cpu")
    places = [model.vocabulary[character] for character in "one"]
    assert model.decode_ids([places[0], 1_000, *places[1:]]) == "one"


def test_a_language_of_mms_is_not_silently_another(copy_of, make_encoder):
    folder = copy_of(make_encoder("wav2vec2", words="one two"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"adapter_attn_dim": 8}))
    with pytest.raises(UserError, match=r"the language of an MMS checkpoint cannot be chosen[\s\S]*load_adapter"):
        load(folder, device="cpu", language="fra")


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
        said = [text for text in texts if text.strip()]
        count = sum(len(model.encode_text(text)) - 1 for text in said)
        words = sum(max(len(text.split()), len(text) / 12) for text in said)
        assert model.settings.tokens_per_word == (round(count / words, 2) if said else 1.5)
