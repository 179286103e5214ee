"""Which weight files of a folder are read, and that a pickle with anything but weights is not opened."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from speechxfer.encoders.checkpoints import hash_model_dir, resolve_transformers_dir
from speechxfer.encoders.weights import check_weights, has_safetensors, list_weights
from speechxfer.errors import UserError
from speechxfer.models import load


@pytest.fixture
def as_bin(tmp_path):
    """as_bin(folder, shards=1, old_format=False): a copy with pytorch_model.bin, as transformers 4 wrote it."""

    def convert(folder: Path, *, shards: int = 1, old_format: bool = False) -> Path:
        copy = Path(shutil.copytree(folder, tmp_path / f"bin-{shards}-{old_format}"))
        tensors = load_file(copy / "model.safetensors")
        (copy / "model.safetensors").unlink()
        options = {"_use_new_zipfile_serialization": not old_format}
        if shards == 1:
            torch.save(tensors, copy / "pytorch_model.bin", **options)
            return copy
        weight_map = {}
        for number in range(shards):
            name = f"pytorch_model-{number + 1:05}-of-{shards:05}.bin"
            part = {key: tensors[key] for key in sorted(tensors)[number::shards]}
            torch.save(part, copy / name, **options)
            weight_map |= dict.fromkeys(part, name)
        (copy / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
        return copy

    return convert


@pytest.mark.parametrize(("shards", "old_format"), [(1, False), (1, True), (3, False)])
def test_a_bin_folder_is_the_same_model(make_encoder, as_bin, make_speech, shards, old_format):
    folder = make_encoder("wav2vec2", words="one two six")
    copy = as_bin(folder, shards=shards, old_format=old_format)
    assert resolve_transformers_dir(copy) == copy and not has_safetensors(copy)
    assert len(list_weights(copy)) == shards
    model, original = load(copy, device="cpu"), load(folder, device="cpu")
    waveforms = [make_speech("two", 0, 0.7), make_speech("six", 1, 0.5)]
    assert model.predict(waveforms) == original.predict(waveforms)
    state = original.network.state_dict()
    assert all(tensor.equal(state[name]) for name, tensor in model.network.state_dict().items())
    assert not list(copy.glob("*.safetensors"))  # nothing is written to the folder


def test_whisper_from_a_bin_file(tiny_whisper, as_bin, make_speech):
    copy = as_bin(tiny_whisper)
    waveform = [make_speech("two", 0, 0.7)]
    assert load(copy, device="cpu").predict(waveform) == load(tiny_whisper, device="cpu").predict(waveform)


def test_a_bin_file_is_fingerprinted(make_encoder, as_bin):
    folder = make_encoder("wav2vec2", words="one two six")
    first = as_bin(folder)
    before = hash_model_dir(first)
    tensors = torch.load(first / "pytorch_model.bin", weights_only=True)
    tensors["lm_head.bias"] = tensors["lm_head.bias"] + 1
    torch.save(tensors, first / "pytorch_model.bin")
    assert hash_model_dir(first) != before


def test_safetensors_come_first_and_damaged_ones_are_an_error(make_encoder, as_bin, tmp_path):
    """Another program may have left a .bin file of other weights beside them."""
    folder = make_encoder("wav2vec2", words="one two six")
    both = as_bin(folder)
    shutil.copy(folder / "model.safetensors", both)
    other = {name: tensor + 1 for name, tensor in load_file(folder / "model.safetensors").items()}
    torch.save(other, both / "pytorch_model.bin")
    assert hash_model_dir(both) == hash_model_dir(folder)
    assert load(both, device="cpu").network.lm_head.bias.equal(load(folder, device="cpu").network.lm_head.bias)
    whole = (both / "model.safetensors").read_bytes()
    (both / "model.safetensors").write_bytes(whole[:-8])
    with pytest.raises(UserError, match="its weights cannot be read"):
        load(both, device="cpu")


class Trap:
    """Marks that it was unpickled."""

    sprung = False

    def __reduce__(self) -> tuple[Any, ...]:
        return setattr, (Trap, "sprung", True)


@pytest.mark.parametrize("old_format", [False, True])
def test_a_bin_file_that_would_run_code_is_not_opened(make_encoder, as_bin, old_format):
    copy = as_bin(make_encoder("wav2vec2", words="one two six"))
    tensors = torch.load(copy / "pytorch_model.bin", weights_only=True)
    torch.save(tensors | {"x": Trap()}, copy / "pytorch_model.bin", _use_new_zipfile_serialization=not old_format)
    with pytest.raises(UserError, match="holds more than weights") as caught:
        load(copy, device="cpu")
    assert caught.value.where == str(copy) and "save_pretrained" in (caught.value.fix or "")
    assert not Trap.sprung


@pytest.mark.parametrize("old_format", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_bin_file_that_is_cut_short_is_one_message(make_encoder, as_bin, old_format, share):
    copy = as_bin(make_encoder("wav2vec2", words="one two six"), old_format=old_format)
    path = copy / "pytorch_model.bin"
    whole = path.read_bytes()
    path.write_bytes(whole[: round(len(whole) * share)])
    with pytest.raises(UserError, match="damaged") as caught:
        load(copy, device="cpu")
    assert caught.value.where == str(copy)


def test_a_shard_that_is_missing_is_named(make_encoder, as_bin):
    copy = as_bin(make_encoder("wav2vec2", words="one two six"), shards=3)
    check_weights(copy)
    (copy / "pytorch_model-00002-of-00003.bin").unlink()
    with pytest.raises(UserError, match=r"weights are missing: pytorch_model-00002-of-00003\.bin"):
        check_weights(copy)


def test_a_part_of_a_model_is_no_model(tmp_path):
    save_file({"a": torch.zeros(2)}, tmp_path / "adapter.deu.safetensors")
    with pytest.raises(UserError, match=r"only adapter\.deu\.safetensors, a part of a model"):
        check_weights(tmp_path)
