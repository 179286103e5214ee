"""Reads a CTranslate2 (faster-whisper) folder into transformers' Whisper, without loss for float weights.

The binary layout is that of CTranslate2's `ModelSpec.save` (binary version 6): header, variables, aliases. CTranslate2
fuses query, key and value into one matrix and keeps int8 weights with a scale per row; Whisper's key has no bias.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import (
    GenerationConfig,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperProcessor,
    WhisperTokenizer,
)

from speechxfer.encoders.whisper import MULTILINGUAL_VOCABULARY_SIZE
from speechxfer.errors import UserError

_DTYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
_BFLOAT16 = 5  # read apart
_HEAD_WIDTH = 64  # every published Whisper
_AGAIN = "the file is damaged or incomplete: copy or download it again"


class ModelDescription(NamedTuple):
    """A folder without its weights. numbers: what those are kept as (`int8`, `float16`, `float32`, ...)."""

    config: WhisperConfig
    processor: WhisperProcessor
    weight_type: str


def is_ctranslate2(folder: Path) -> bool:
    """True for a folder as faster-whisper reads it: `model.bin` that begins with CTranslate2's Whisper header."""
    path = folder / "model.bin"
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return b"WhisperSpec" in file.read(32)


def convert_folder(folder: Path) -> tuple[WhisperForConditionalGeneration, WhisperProcessor]:
    """The folder's weights as `WhisperForConditionalGeneration`, float32, and its processor.

    Raises UserError for a file that is cut short, damaged, of another kind, or without its tokenizer.
    """
    binary = folder / "model.bin"
    variables = read_variables(binary)
    stated = _json(folder / "config.json")
    tokenizer = _tokenizer(folder)
    try:
        weights = _rename(variables)
        config = _config({name: array.shape for name, array in variables.items()}, tokenizer)
        with torch.device("meta"):
            model = WhisperForConditionalGeneration(config)
        model.load_state_dict(weights, strict=False, assign=True)
    except KeyError as error:
        raise UserError(f"weights are missing: {error.args[0]}", where=str(binary), fix=_AGAIN) from None
    except (ValueError, IndexError, RuntimeError) as error:  # shapes that do not fit each other
        words = " ".join(str(error).split())[:200]
        raise UserError(f"not a whole CTranslate2 Whisper ({words})", where=str(binary), fix=_AGAIN) from None
    model.tie_weights()
    left = [name for name, tensor in model.named_parameters() if tensor.is_meta]
    if left:
        raise UserError(f"weights are missing: {', '.join(left[:5])}", where=str(binary), fix=_AGAIN)
    model.generation_config = _generation(config, stated, tokenizer)
    return model.eval(), _processor(config, tokenizer)


def describe_folder(folder: Path) -> ModelDescription:
    """What the folder states of its model, and its processor; no weight is read.

    Raises UserError as `convert_folder` does.
    """
    binary = folder / "model.bin"
    found, aliases = _read(binary, _skip_variable)
    tokenizer = _tokenizer(folder)
    try:
        found |= {alias: found[name] for alias, name in aliases.items()}
        config = _config({name: shape for name, (shape, _) in found.items()}, tokenizer)
        number = found["encoder/layer_0/ffn/linear_0/weight"][1]
    except (KeyError, ValueError) as error:
        raise UserError(f"weights are missing: {error.args[0]}", where=str(binary), fix=_AGAIN) from None
    numbers = "bfloat16" if number == _BFLOAT16 else np.dtype(_DTYPES[number]).name
    return ModelDescription(config, _processor(config, tokenizer), numbers)


def read_variables(path: Path) -> dict[str, np.ndarray]:
    """Every variable of a CTranslate2 `model.bin`, aliases included, integer weights divided by their scales."""
    variables, aliases = _read(path, _variable)
    try:
        for name, array in variables.items():
            if name.endswith("/weight") and array.dtype.kind == "i":  # a scale a row (int8) or one for all (int16)
                scale = variables[f"{name}_scale"].astype(np.float32).reshape(-1, *[1] * (array.ndim - 1))
                variables[name] = array.astype(np.float32) / scale
        return variables | {alias: variables[name] for alias, name in aliases.items()}
    except (ValueError, KeyError) as error:
        raise UserError(f"not a whole CTranslate2 model ({error})", where=str(path), fix=_AGAIN) from None


def _read(path: Path, variable: Callable[[BinaryIO], tuple[str, Any]]) -> tuple[dict[str, Any], dict[str, str]]:
    """What `variable` reads of each variable of the file, by its name; and the aliases, further names of some."""
    try:
        with path.open("rb") as file:
            version = _number(file, "I")
            if version != 6:
                raise UserError(f"CTranslate2 binary version {version}; 6 is known", where=str(path))
            _text(file), _number(file, "I")  # the specification's name and revision
            found = dict(variable(file) for _ in range(_number(file, "I")))
            aliases = {_text(file): _text(file) for _ in range(_number(file, "I"))}
    except (struct.error, ValueError, UnicodeDecodeError) as error:
        raise UserError(f"not a whole CTranslate2 model ({error})", where=str(path), fix=_AGAIN) from None
    return found, aliases


def _variable(file: BinaryIO) -> tuple[str, np.ndarray]:
    name, shape, kind, size = _header(file)
    raw = file.read(size)
    if len(raw) != size:
        raise ValueError(f"cut short in {name}")
    if kind == _BFLOAT16:
        widened = np.frombuffer(raw, np.uint16).astype(np.uint32) << 16
        return name, widened.view(np.float32).reshape(shape)
    return name, np.frombuffer(raw, _DTYPES[kind]).reshape(shape)


def _skip_variable(file: BinaryIO) -> tuple[str, tuple[tuple[int, ...], int]]:
    """A variable's name, and its shape and kind of numbers; these are not read."""
    name, shape, kind, size = _header(file)
    if file.seek(size, os.SEEK_CUR) > os.fstat(file.fileno()).st_size:
        raise ValueError(f"cut short in {name}")
    return name, (shape, kind)


def _header(file: BinaryIO) -> tuple[str, tuple[int, ...], int, int]:
    """Name, shape, kind of numbers, and bytes of what follows."""
    name = _text(file)
    shape = tuple(_number(file, "I") for _ in range(_number(file, "B")))
    kind, size = _number(file, "B"), _number(file, "I")
    if kind not in _DTYPES and kind != _BFLOAT16:
        raise ValueError(f"unknown number type {kind} in {name}")
    return name, shape, kind, size


def _number(file: BinaryIO, code: str) -> int:
    return int(struct.unpack(f"<{code}", file.read(struct.calcsize(code)))[0])


def _text(file: BinaryIO) -> str:
    return file.read(_number(file, "H")).rstrip(b"\0").decode("utf-8")


def _json(path: Path) -> dict:
    """What the file states; nothing where there is none."""
    if not path.is_file():
        return {}
    try:
        stated = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError are ones
        raise UserError(f"not readable as JSON ({error})", where=str(path), fix=_AGAIN) from None
    if not isinstance(stated, dict):
        raise UserError(f"holds a {type(stated).__name__} in place of keys", where=str(path), fix=_AGAIN)
    return stated


def _tokenizer(folder: Path) -> WhisperTokenizer:
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise UserError("a CTranslate2 Whisper needs its tokenizer.json beside model.bin", where=str(folder))
    _json(path)
    try:
        tokenizer = WhisperTokenizer(tokenizer_file=str(path))
    except Exception as error:  # the tokenizers library raises nothing narrower
        words = " ".join(str(error).split())[:200]
        raise UserError(f"not a readable tokenizer ({words})", where=str(path), fix=_AGAIN) from None
    if "<|startoftranscript|>" not in tokenizer.get_vocab():
        raise UserError("not Whisper's tokenizer: it has no <|startoftranscript|>", where=str(path))
    tokenizer.pad_token = tokenizer.eos_token  # as in OpenAI's own folders: collators ask for it
    return tokenizer


def _rename(variables: dict[str, np.ndarray]) -> dict[str, Tensor]:
    """CTranslate2's names and fused matrices to transformers' names and separate ones."""
    weights: dict[str, Tensor] = {}

    def put(name: str, array: np.ndarray) -> None:
        weights[name] = torch.from_numpy(np.array(array, dtype=np.float32))

    def linear(target: str, source: str) -> None:
        put(f"{target}.weight", variables[f"{source}/weight"])
        if f"{source}/bias" in variables:
            put(f"{target}.bias", variables[f"{source}/bias"])

    def norm(target: str, source: str) -> None:
        put(f"{target}.weight", variables[f"{source}/gamma"])
        put(f"{target}.bias", variables[f"{source}/beta"])

    def split(targets: list[str], source: str) -> None:
        rows = np.split(variables[f"{source}/weight"], len(targets))
        biases = np.split(variables[f"{source}/bias"], len(targets))
        for target, weight, bias in zip(targets, rows, biases, strict=True):
            put(f"{target}.weight", weight)
            if not target.endswith("k_proj"):  # Whisper's key has no bias; CTranslate2 stores zeros
                put(f"{target}.bias", bias)

    for side in ("encoder", "decoder"):
        ours = f"model.{side}"
        norm(f"{ours}.layer_norm", f"{side}/layer_norm")
        put(f"{ours}.embed_positions.weight", variables[f"{side}/position_encodings/encodings"])
        depth = 1 + max(
            int(n.split("/")[1][6:]) for n in variables if n.startswith(f"{side}/layer_") and n[14].isdigit()
        )
        for k in range(depth):
            layer, source = f"{ours}.layers.{k}", f"{side}/layer_{k}"
            norm(f"{layer}.self_attn_layer_norm", f"{source}/self_attention/layer_norm")
            split([f"{layer}.self_attn.{p}_proj" for p in "qkv"], f"{source}/self_attention/linear_0")
            linear(f"{layer}.self_attn.out_proj", f"{source}/self_attention/linear_1")
            if side == "decoder":
                norm(f"{layer}.encoder_attn_layer_norm", f"{source}/attention/layer_norm")
                linear(f"{layer}.encoder_attn.q_proj", f"{source}/attention/linear_0")
                split([f"{layer}.encoder_attn.{p}_proj" for p in "kv"], f"{source}/attention/linear_1")
                linear(f"{layer}.encoder_attn.out_proj", f"{source}/attention/linear_2")
            norm(f"{layer}.final_layer_norm", f"{source}/ffn/layer_norm")
            linear(f"{layer}.fc1", f"{source}/ffn/linear_0")
            linear(f"{layer}.fc2", f"{source}/ffn/linear_1")
    for conv in ("conv1", "conv2"):
        linear(f"model.encoder.{conv}", f"encoder/{conv}")
    put("model.decoder.embed_tokens.weight", variables["decoder/embeddings/weight"])
    return weights


def _processor(config: WhisperConfig, tokenizer: WhisperTokenizer) -> WhisperProcessor:
    return WhisperProcessor(WhisperFeatureExtractor(feature_size=config.num_mel_bins), tokenizer)


def _config(shapes: Mapping[str, tuple[int, ...]], tokenizer: WhisperTokenizer) -> WhisperConfig:
    """shapes: of the variables, by CTranslate2's names."""

    def depth(side: str) -> int:
        layers = [name.split("/")[1] for name in shapes if name.startswith(f"{side}/layer_")]
        return 1 + max(int(layer[6:]) for layer in layers if layer[6:].isdigit())

    dim, mels, _ = shapes["encoder/conv1/weight"]
    token: Any = tokenizer.convert_tokens_to_ids
    end = token("<|endoftext|>")
    return WhisperConfig(
        vocab_size=shapes["decoder/embeddings/weight"][0],
        num_mel_bins=mels,
        d_model=dim,
        encoder_layers=depth("encoder"),
        decoder_layers=depth("decoder"),
        encoder_attention_heads=dim // _HEAD_WIDTH,
        decoder_attention_heads=dim // _HEAD_WIDTH,
        encoder_ffn_dim=shapes["encoder/layer_0/ffn/linear_0/weight"][0],
        decoder_ffn_dim=shapes["decoder/layer_0/ffn/linear_0/weight"][0],
        max_source_positions=shapes["encoder/position_encodings/encodings"][0],
        max_target_positions=shapes["decoder/position_encodings/encodings"][0],
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        decoder_start_token_id=token("<|startoftranscript|>"),
        dtype="float32",
    )


def _generation(config: WhisperConfig, stated: dict, tokenizer: WhisperTokenizer) -> GenerationConfig:
    """What transformers' `generate` needs to decode as Whisper's authors do."""
    languages = stated.get("lang_ids", [])
    multilingual = config.vocab_size >= MULTILINGUAL_VOCABULARY_SIZE
    token: Any = tokenizer.convert_tokens_to_ids
    more: dict[str, Any] = {"alignment_heads": stated["alignment_heads"]} if stated.get("alignment_heads") else {}
    if multilingual:
        more["lang_to_id"] = {tokenizer.convert_ids_to_tokens(i): i for i in languages}
        more["task_to_id"] = {task: token(f"<|{task}|>") for task in ("transcribe", "translate")}
    return GenerationConfig(
        bos_token_id=config.bos_token_id,
        eos_token_id=config.eos_token_id,
        pad_token_id=config.pad_token_id,
        decoder_start_token_id=config.decoder_start_token_id,
        max_length=config.max_target_positions,
        suppress_tokens=stated.get("suppress_ids"),
        begin_suppress_tokens=stated.get("suppress_ids_begin"),
        is_multilingual=multilingual,
        no_timestamps_token_id=token("<|notimestamps|>"),
        prev_sot_token_id=token("<|startofprev|>"),
        max_initial_timestamp_index=50,
        **more,
    )
