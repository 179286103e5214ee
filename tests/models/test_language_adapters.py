"""MMS: a language's adapter and vocabulary are those that transformers loads, and are trained as a part."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    Wav2Vec2Config,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    Wav2Vec2Processor,
)

from speechxfer.adaptation.run import adapt
from speechxfer.adaptation.training.staged_module import StagedModule
from speechxfer.config import load_recipe
from speechxfer.config.recipe import AugmentConfig, LoraAdapterConfig, StageConfig
from speechxfer.errors import UserError
from speechxfer.models import build_trainable, load
from speechxfer.models.loading import get_input_limits
from speechxfer.report.progress import Reporter

ALPHABETS = {"deu": "enotwäsix", "eng": "enotwsix", "fra": "enotwsixé"}


def build_mms(folder: Path) -> Path:
    """A random MMS checkpoint whose main file is English, with an adapter of German (safetensors) and French (.bin)."""
    vocabularies = {
        language: {symbol: place for place, symbol in enumerate(["<pad>", "<s>", "</s>", "<unk>", "|", *letters])}
        for language, letters in ALPHABETS.items()
    }
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps(vocabularies))
    tokenizer = Wav2Vec2CTCTokenizer(str(folder / "vocab.json"), target_lang="eng")
    torch.manual_seed(0)
    network = Wav2Vec2ForCTC(
        Wav2Vec2Config(
            vocab_size=len(vocabularies["eng"]), pad_token_id=0, adapter_attn_dim=4, hidden_size=16,
            num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, conv_dim=(8, 8, 8),
            conv_kernel=(10, 8, 8), conv_stride=(5, 8, 8), num_conv_pos_embeddings=8,
            num_conv_pos_embedding_groups=2, do_stable_layer_norm=True, feat_extract_norm="layer",
        )
    )  # fmt: skip
    Wav2Vec2Processor(Wav2Vec2FeatureExtractor(), tokenizer).save_pretrained(folder)
    network.save_pretrained(folder)
    for language in ("deu", "fra"):
        network.lm_head = torch.nn.Linear(16, len(vocabularies[language]))
        weights = {name: torch.randn_like(weight) for name, weight in network._get_adapters().items()}
        if language == "deu":
            save_file(weights, folder / "adapter.deu.safetensors", metadata={"format": "pt"})
        else:
            torch.save(weights, folder / "adapter.fra.bin")
    return folder


@pytest.fixture(scope="module")
def mms(tmp_path_factory) -> Path:
    return build_mms(tmp_path_factory.mktemp("models") / "mms")


def recipe_for(folder: Path, *overrides: str, **head: str):
    values = {
        "encoder": {"name": str(folder)},
        "head": {"kind": "ctc", **head},
        "stages": [{"train": ["adapter", "head"], "epochs": 1, "lr": 1e-3}],
        "device": "cpu",
    }
    return load_recipe(values, overrides)


@pytest.mark.parametrize("language", ["eng", "deu", "fra"])
def test_a_language_is_that_of_transformers(mms, make_speech, language):
    options = {} if language == "eng" else {"target_lang": language, "ignore_mismatched_sizes": True}
    network = Wav2Vec2ForCTC.from_pretrained(mms, **options).eval()
    processor = Wav2Vec2Processor.from_pretrained(mms)
    processor.tokenizer.set_target_lang(language)
    waveform = make_speech("two", 0, 1.3)
    with torch.no_grad():
        truth = network(**processor(waveform, sampling_rate=16_000, return_tensors="pt")).logits.log_softmax(-1)
    model = load(mms, device="cpu", language=None if language == "eng" else language)
    found = model.infer([waveform], model.compute_emissions).log_probs
    torch.testing.assert_close(found, truth, atol=1e-4, rtol=0)
    assert set(ALPHABETS[language]) <= set(model.vocabulary)
    words = processor.batch_decode(truth.argmax(-1), skip_special_tokens=True)[0]
    assert model.predict([waveform]) == [" ".join(words.split())]


def test_the_language_of_the_main_file_needs_no_adapter(mms):
    main, named = (load(mms, device="cpu", language=language) for language in (None, "eng"))
    assert named.vocabulary == main.vocabulary and named.network.lm_head.weight.equal(main.network.lm_head.weight)


def test_the_limits_have_the_language_s_letters(mms):
    assert "ä" in get_input_limits(mms, language="deu").characters
    assert "ä" not in get_input_limits(mms).characters


@pytest.mark.parametrize(
    ("language", "message"),
    [
        ("de", r"no language adapter for 'de'; MMS names it deu \(it has 2: deu, fra\)"),
        ("German", r"'German'; MMS names it deu"),
        ("fre", r"'fre'; MMS names it fra"),
        ("deo", r"'deo' \(did you mean 'deu'\?\)"),
        ("ita", r"no language adapter for 'ita' \(it has 2: deu, fra\)"),
    ],
)
def test_a_language_without_an_adapter(mms, language, message):
    for act in (
        lambda: load(mms, device="cpu", language=language),
        lambda: build_trainable(recipe_for(mms, f"encoder.language={language}"), ["one"]),
        lambda: get_input_limits(mms, language=language),
    ):
        with pytest.raises(UserError, match=message) as caught:
            act()
        assert caught.value.where == str(mms)


def test_a_damaged_adapter_is_an_error_even_with_another_beside_it(mms, tmp_path):
    folder = Path(shutil.copytree(mms, tmp_path / "mms"))
    path = folder / "adapter.deu.safetensors"
    torch.save(load_file(path), folder / "adapter.deu.bin")
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(UserError, match="the language adapter cannot be read") as caught:
        load(folder, device="cpu", language="deu")
    assert caught.value.where == str(path)


def test_an_adapter_of_another_model(mms, tmp_path):
    folder = Path(shutil.copytree(mms, tmp_path / "mms"))
    save_file({"x": torch.zeros(2)}, folder / "adapter.deu.safetensors")
    with pytest.raises(UserError, match=r"the language adapter cannot be read .*unexpected"):
        load(folder, device="cpu", language="deu")


def test_a_classifier_has_no_language(mms):
    with pytest.raises(UserError, match="belong to a CTC head, and this head is classify"):
        build_trainable(recipe_for(mms, "encoder.language=deu", kind="classify"), ["one", "two"])


@pytest.mark.parametrize("vocabulary", ["own", "from-train"])
def test_what_is_saved_is_one_language(mms, tmp_path, make_speech, vocabulary):
    model = build_trainable(recipe_for(mms, "encoder.language=deu", vocabulary=vocabulary), ["six two", "one"])
    adapter = load_file(mms / "adapter.deu.safetensors")
    state = model.network.state_dict()
    assert all(state[name].equal(weight) for name, weight in adapter.items() if not name.startswith("lm_head"))
    assert state["lm_head.weight"].equal(adapter["lm_head.weight"]) if vocabulary == "own" else True
    model.network.eval()
    model.save(tmp_path / "saved")
    assert not list((tmp_path / "saved").glob("adapter.*"))
    waveforms = [make_speech("two", 0, 1.3)]
    for language in (None, "deu"):
        again = load(tmp_path / "saved", device="cpu", language=language)
        assert again.predict(waveforms) == model.predict(waveforms) and again.vocabulary == model.vocabulary
    network = Wav2Vec2ForCTC.from_pretrained(tmp_path / "saved")
    assert network.lm_head.weight.equal(state["lm_head.weight"])
    with pytest.raises(UserError, match="saved with the adapter of deu, not of fra"):
        load(tmp_path / "saved", device="cpu", language="fra")


def test_the_adapter_is_trained_alone(mms):
    model = build_trainable(recipe_for(mms, "encoder.language=deu", vocabulary="own"), ["one"])
    staged = StagedModule(model, AugmentConfig())

    def trained(*parts: str) -> set[str]:
        staged.apply_stage(StageConfig(train=list(parts), epochs=1, lr=1e-3))
        return {name for name, weight in model.network.named_parameters() if weight.requires_grad}

    adapters = {name for name, _ in model.network.named_parameters() if "adapter_layer" in name}
    head = {"lm_head.weight", "lm_head.bias"}
    assert trained("adapter") == adapters and staged.split == 0
    assert trained("adapter", "head") == adapters | head
    assert trained("head") == head and staged.split == 2
    top = {name for name, _ in model.network.named_parameters() if ".layers.1." in name or "encoder.layer_norm" in name}
    assert trained("adapter", "top-1") == adapters | top and staged.split == 0
    assert trained("top-1") == top and staged.split == 1
    assert not model.encoder.layers[0].attention.training  # frozen modules have no dropout


def test_only_mms_has_the_part(mms, make_encoder):
    model = build_trainable(recipe_for(make_encoder("wav2vec2", words="one two six"), vocabulary="own"), ["one"])
    stage = StageConfig(train=["adapter"], epochs=1, lr=1e-3)
    with pytest.raises(UserError, match="no language adapters"):
        StagedModule(model, AugmentConfig()).apply_stage(stage)
    pytest.importorskip("peft", reason="the extra 'lora' is not installed")
    adapted = StagedModule(build_trainable(recipe_for(mms), ["one"]), AugmentConfig(), LoraAdapterConfig(rank=2))
    with pytest.raises(UserError, match=r"cannot be trained with lora\.rank"):
        adapted.apply_stage(stage)


def test_a_run(mms, corpus_table, tmp_path):
    """The base weights stay, the adapter and the head move, at the stage's own rate."""
    recipe = recipe_for(
        mms, f"data.train={corpus_table}", "encoder.language=deu", f"output={tmp_path / 'run'}",
        "candidates={means: [], pretrained_share: []}", "stages.0.encoder_lr=1e-9", "precision=float32",
        vocabulary="own",
    )  # fmt: skip
    run = adapt(recipe, reporter=Reporter(quiet=True))
    assert run.before is not None  # the language's own head can do the task
    before = build_trainable(recipe, ["one"]).network.state_dict()
    (checkpoint,) = (tmp_path / "run/checkpoints/stage-0").glob("checkpoint-*")
    after = load_file(checkpoint / "model.safetensors")
    moved = {
        name
        for name, weight in before.items()
        if "masked" not in name and (after[f"network.{name}"] - weight).abs().max() > 1e-6
    }
    assert moved == {name for name in before if "adapter_layer" in name or name.startswith("lm_head")}
