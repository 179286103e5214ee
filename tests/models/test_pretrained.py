"""Damaged and incomplete folders are one message, and an encoder continues under any new head."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from speechxfer.config import load_recipe
from speechxfer.errors import UserError
from speechxfer.models import (
    get_input_limits,
    load,
)
from speechxfer.models.pretrained import load_config

CTC = {"kind": "ctc"}
MEAN = {"kind": "classify", "pooling": "mean"}
ATTENTIVE = {"kind": "classify", "pooling": "attentive"}
SEQ2SEQ = {"kind": "seq2seq"}


def get_head_name(head: dict[str, str]) -> str:
    return head.get("pooling", head["kind"])


def get_refusal(folder: Path) -> str:
    """The message of the error that loading the folder raises."""
    with pytest.raises(UserError) as caught:
        load(folder, device="cpu")
    return str(caught.value)


def test_truncated_weights(copy_folder, tiny_whisper):
    folder = copy_folder(tiny_whisper)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert "its weights cannot be read" in get_refusal(folder) and "copy or download it again" in get_refusal(folder)


def test_missing_weights(copy_folder, tiny_whisper):
    folder = copy_folder(tiny_whisper)
    weights = load_file(folder / "model.safetensors")
    del weights["model.encoder.layers.1.fc1.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    assert "weights are missing: model.encoder.layers.1.fc1.weight" in get_refusal(folder)


def test_a_missing_vocabulary(copy_folder, make_encoder):
    folder = copy_folder(make_encoder("wav2vec2", words="one two"))
    for name in ("vocab.json", "tokenizer_config.json"):
        (folder / name).unlink()
    assert "tokenizer" in get_refusal(folder)


def test_a_vocabulary_of_the_wrong_type(copy_folder, make_encoder):
    folder = copy_folder(make_encoder("wav2vec2", words="one two"))
    (folder / "vocab.json").write_text("[]")
    assert "its tokenizer or feature extractor cannot be read" in get_refusal(folder)


@pytest.mark.parametrize("then", [CTC, MEAN, ATTENTIVE], ids=get_head_name)
@pytest.mark.parametrize("first", [SEQ2SEQ, CTC, MEAN, ATTENTIVE], ids=get_head_name)
def test_the_encoder_of_a_whisper_model_under_a_new_head(
    save_perturbed, tiny_whisper, make_speech, first, then, build, have_equal_weights
):
    earlier, folder = save_perturbed(tiny_whisper, first)
    model = build(folder, then)
    assert have_equal_weights(earlier.encoder.module, model.encoder.module)
    assert model.kind == then["kind"] and len(model.predict([make_speech("one", 0, 0.5)])) == 1
    assert get_input_limits(
        folder, head=load_recipe({"stages": [{"train": "head", "epochs": 1, "lr": 1}]}).head
    ).max_seconds


@pytest.mark.parametrize("then", [CTC, MEAN, ATTENTIVE], ids=get_head_name)
@pytest.mark.parametrize("first", [CTC, MEAN, ATTENTIVE], ids=get_head_name)
@pytest.mark.parametrize("family", ["hubert", "bert"])
def test_the_encoder_of_other_families_under_a_new_head(
    save_perturbed, make_encoder, make_speech, family, first, then, build, have_equal_weights
):
    earlier, folder = save_perturbed(make_encoder(family), first)
    model = build(folder, then)
    assert have_equal_weights(earlier.encoder.module, model.encoder.module)
    assert model.kind == then["kind"] and len(model.predict([make_speech("one", 0, 0.5)])) == 1


@pytest.mark.parametrize("first", [CTC, MEAN, ATTENTIVE], ids=get_head_name)
def test_a_model_without_decoder_cannot_become_seq2seq(save_perturbed, tiny_whisper, first, build):
    _, folder = save_perturbed(tiny_whisper, first)
    for ask in (
        lambda: build(folder, SEQ2SEQ),
        lambda: get_input_limits(
            folder,
            head=build(folder, CTC)
            and load_recipe({"head": SEQ2SEQ, "stages": [{"train": "head", "epochs": 1, "lr": 1}]}).head,
        ),
    ):
        with pytest.raises(UserError, match="need Whisper's decoder") as caught:
            ask()
        assert "head.kind=ctc" in str(caught.value)


def test_code_of_a_folder_is_never_run(tmp_path, monkeypatch):
    """Not even after a question at the terminal."""
    marker = tmp_path / "it ran"
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "own.py").write_text(
        f"open({str(marker)!r}, 'w')\nfrom transformers import PretrainedConfig\n"
        "class Own(PretrainedConfig):\n    model_type = 'own'\n"
    )
    (folder / "config.json").write_text(json.dumps({"model_type": "own", "auto_map": {"AutoConfig": "own.Own"}}))
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    with pytest.raises(UserError, match="Python code of its own, which is never run"):
        load_config(folder)
    assert not marker.exists()


def change_json(path: Path, **values: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize(
    ("file", "values", "text"),
    [
        ("config.json", {"encoder_layers": 100_000}, "encoder_layers is 100000, it can be 0 to 500"),
        ("config.json", {"d_model": -8}, "d_model is -8"),
        ("config.json", {"vocab_size": 1e12}, "vocab_size"),
        ("config.json", {"architectures": 5}, "architectures"),
        ("preprocessor_config.json", {"feature_size": 1_000_000_000}, "feature_size is 1e+09, it can be 0 to 4,096"),
    ],
)
def test_sizes_beyond_any_use_are_not_built(copy_folder, tiny_whisper, file, values, text):
    folder = copy_folder(tiny_whisper)
    if not (folder / file).is_file():  # newer versions of transformers write one file for the processor
        extractor = json.loads((folder / "processor_config.json").read_text())["feature_extractor"]
        (folder / file).write_text(json.dumps(extractor))
    change_json(folder / file, **values)
    assert text in get_refusal(folder)


@pytest.mark.parametrize("name, content", [("generation_config.json", "[]"), ("tokenizer.json", "{}")])
def test_files_with_other_types_than_they_should_have(copy_folder, tiny_whisper, name, content):
    folder = copy_folder(tiny_whisper)
    (folder / name).write_text(content)
    assert "cannot be read" in get_refusal(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_numbers(copy_folder, tiny_whisper, value):
    folder = copy_folder(tiny_whisper)
    weights = load_file(folder / "model.safetensors")
    weights["model.encoder.layers.1.fc1.weight"][0, 0] = value
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    assert "encoder.layers.1.fc1.weight has values that are not finite numbers" in get_refusal(folder)


def test_a_damaged_safetensors_file_is_no_reason_to_read_a_pickle(copy_folder, tiny_whisper):
    folder = copy_folder(tiny_whisper)
    (folder / "pytorch_model.bin").write_bytes(b"never read")
    (folder / "model.safetensors").rename(folder / "x.safetensors")
    (folder / "x.safetensors").write_bytes(b"\0" * 10)
    assert "cannot be read" in get_refusal(folder) and "pytorch_model.bin" not in get_refusal(folder)


@pytest.mark.parametrize("values", [{"beams": -3}, {"beams": 100_000}, {"silence": 1e9}, {"length_penalty": "x"}])
def test_settings_out_of_range(copy_folder, tiny_whisper, values):
    folder = copy_folder(tiny_whisper)
    (folder / "speechxfer.json").write_text(json.dumps({"kind": "seq2seq", **values}))
    assert next(iter(values)) in get_refusal(folder)
