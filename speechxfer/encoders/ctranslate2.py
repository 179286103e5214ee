"""Converts a CTranslate2 (faster-whisper) folder to transformers' Whisper, lossless for float weights.

The binary format is that of CTranslate2's `ModelSpec.save` (binary version 6): header, variables, aliases. CTranslate2
fuses query, key and value into one matrix and stores int8 weights with a scale per row; Whisper's key has no bias.
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
_BFLOAT16 = 5  # numpy has no such type
_HEAD_WIDTH = 64  # of every published Whisper
_COPY_AGAIN = "the file is damaged or incomplete: copy or download it again"


class ModelDescription(NamedTuple):
    """A folder without its weights. weight_type: how they are stored (`int8`, `float16`, `float32`, ...)."""

    config: WhisperConfig
    processor: WhisperProcessor
    weight_type: str


def is_ctranslate2(folder: Path) -> bool:
    """Whether faster-whisper can read the folder: its `model.bin` starts with CTranslate2's Whisper header."""
    path = folder / "model.bin"
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return b"WhisperSpec" in file.read(32)


def convert_folder(folder: Path) -> tuple[WhisperForConditionalGeneration, WhisperProcessor]:
    """Convert the folder to a `WhisperForConditionalGeneration` in float32 and its processor.

    Raises: UserError for a file that is truncated, damaged or of another kind, and for a missing tokenizer.
    """
    binary = folder / "model.bin"
    variables = read_variables(binary)
    settings = _read_json(folder / "config.json")
    tokenizer = _load_tokenizer(folder)
    try:
        weights = _rename_weights(variables)
        config = _make_config({name: array.shape for name, array in variables.items()}, tokenizer)
        with torch.device("meta"):
            model = WhisperForConditionalGeneration(config)
        model.load_state_dict(weights, strict=False, assign=True)
    except KeyError as error:
        raise UserError(f"weights are missing: {error.args[0]}", where=str(binary), fix=_COPY_AGAIN) from None
    except (ValueError, IndexError, RuntimeError) as error:  # inconsistent shapes
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"not a complete CTranslate2 Whisper ({reason})", where=str(binary), fix=_COPY_AGAIN) from None
    model.tie_weights()
    missing = [name for name, tensor in model.named_parameters() if tensor.is_meta]
    if missing:
        raise UserError(f"weights are missing: {', '.join(missing[:5])}", where=str(binary), fix=_COPY_AGAIN)
    model.generation_config = _make_generation_config(config, settings, tokenizer)
    return model.eval(), _make_processor(config, tokenizer)


def describe_folder(folder: Path) -> ModelDescription:
    """Read the configuration and the processor of the folder's model, without its weights.

    Raises: the same errors as `convert_folder`.
    """
    binary = folder / "model.bin"
    variables, aliases = _read(binary, _skip_variable)
    tokenizer = _load_tokenizer(folder)
    try:
        variables |= {alias: variables[name] for alias, name in aliases.items()}
        config = _make_config({name: shape for name, (shape, _) in variables.items()}, tokenizer)
        number_type = variables["encoder/layer_0/ffn/linear_0/weight"][1]
    except (KeyError, ValueError) as error:
        raise UserError(f"weights are missing: {error.args[0]}", where=str(binary), fix=_COPY_AGAIN) from None
    weight_type = "bfloat16" if number_type == _BFLOAT16 else np.dtype(_DTYPES[number_type]).name
    return ModelDescription(config, _make_processor(config, tokenizer), weight_type)


def read_variables(path: Path) -> dict[str, np.ndarray]:
    """Read all variables of a CTranslate2 `model.bin` and their aliases; integer weights are rescaled to float."""
    variables, aliases = _read(path, _read_variable)
    try:
        for name, array in variables.items():
            if name.endswith("/weight") and array.dtype.kind == "i":  # a scale per row (int8) or one for all (int16)
                scale = variables[f"{name}_scale"].astype(np.float32).reshape(-1, *[1] * (array.ndim - 1))
                variables[name] = array.astype(np.float32) / scale
        return variables | {alias: variables[name] for alias, name in aliases.items()}
    except (ValueError, KeyError) as error:
        raise UserError(f"not a complete CTranslate2 model ({error})", where=str(path), fix=_COPY_AGAIN) from None


def _read(path: Path, read_one: Callable[[BinaryIO], tuple[str, Any]]) -> tuple[dict[str, Any], dict[str, str]]:
    """Call `read_one` for each variable of the file; return the results by name, and the aliases."""
    try:
        with path.open("rb") as file:
            version = _read_number(file, "I")
            if version != 6:
                raise UserError(f"CTranslate2 binary version {version}; 6 is supported", where=str(path))
            _read_text(file), _read_number(file, "I")  # name and revision of the specification
            variables = dict(read_one(file) for _ in range(_read_number(file, "I")))
            aliases = {_read_text(file): _read_text(file) for _ in range(_read_number(file, "I"))}
    except (struct.error, ValueError, UnicodeDecodeError) as error:
        raise UserError(f"not a complete CTranslate2 model ({error})", where=str(path), fix=_COPY_AGAIN) from None
    return variables, aliases


def _read_variable(file: BinaryIO) -> tuple[str, np.ndarray]:
    name, shape, kind, size = _read_header(file)
    raw = file.read(size)
    if len(raw) != size:
        raise ValueError(f"truncated in {name}")
    if kind == _BFLOAT16:
        widened = np.frombuffer(raw, np.uint16).astype(np.uint32) << 16
        return name, widened.view(np.float32).reshape(shape)
    return name, np.frombuffer(raw, _DTYPES[kind]).reshape(shape)


def _skip_variable(file: BinaryIO) -> tuple[str, tuple[tuple[int, ...], int]]:
    """Read a variable's name, shape and number type, and skip its values."""
    name, shape, kind, size = _read_header(file)
    if file.seek(size, os.SEEK_CUR) > os.fstat(file.fileno()).st_size:
        raise ValueError(f"truncated in {name}")
    return name, (shape, kind)


def _read_header(file: BinaryIO) -> tuple[str, tuple[int, ...], int, int]:
    """Read a variable's name, shape, number type, and size in bytes."""
    name = _read_text(file)
    shape = tuple(_read_number(file, "I") for _ in range(_read_number(file, "B")))
    kind, size = _read_number(file, "B"), _read_number(file, "I")
    if kind not in _DTYPES and kind != _BFLOAT16:
        raise ValueError(f"unknown number type {kind} in {name}")
    return name, shape, kind, size


def _read_number(file: BinaryIO, code: str) -> int:
    return int(struct.unpack(f"<{code}", file.read(struct.calcsize(code)))[0])


def _read_text(file: BinaryIO) -> str:
    return file.read(_read_number(file, "H")).rstrip(b"\0").decode("utf-8")


def _read_json(path: Path) -> dict:
    """Read a JSON object; empty if there is no such file."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # includes JSONDecodeError and UnicodeDecodeError
        raise UserError(f"not readable as JSON ({error})", where=str(path), fix=_COPY_AGAIN) from None
    if not isinstance(content, dict):
        raise UserError(f"is a JSON {type(content).__name__}, not an object", where=str(path), fix=_COPY_AGAIN)
    return content


def _load_tokenizer(folder: Path) -> WhisperTokenizer:
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise UserError("a CTranslate2 Whisper needs its tokenizer.json next to model.bin", where=str(folder))
    _read_json(path)
    try:
        tokenizer = WhisperTokenizer(tokenizer_file=str(path))
    except Exception as error:  # the tokenizers library raises nothing narrower
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"not a readable tokenizer ({reason})", where=str(path), fix=_COPY_AGAIN) from None
    if "<|startoftranscript|>" not in tokenizer.get_vocab():
        raise UserError("not Whisper's tokenizer: it has no <|startoftranscript|>", where=str(path))
    tokenizer.pad_token = tokenizer.eos_token  # as in OpenAI's checkpoints; collators need it
    return tokenizer


def _rename_weights(variables: dict[str, np.ndarray]) -> dict[str, Tensor]:
    """Convert CTranslate2's names and fused matrices to transformers' names and separate matrices."""
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
        prefix = f"model.{side}"
        norm(f"{prefix}.layer_norm", f"{side}/layer_norm")
        put(f"{prefix}.embed_positions.weight", variables[f"{side}/position_encodings/encodings"])
        depth = 1 + max(
            int(n.split("/")[1][6:]) for n in variables if n.startswith(f"{side}/layer_") and n[14].isdigit()
        )
        for k in range(depth):
            layer, source = f"{prefix}.layers.{k}", f"{side}/layer_{k}"
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


def _make_processor(config: WhisperConfig, tokenizer: WhisperTokenizer) -> WhisperProcessor:
    return WhisperProcessor(WhisperFeatureExtractor(feature_size=config.num_mel_bins), tokenizer)


def _make_config(shapes: Mapping[str, tuple[int, ...]], tokenizer: WhisperTokenizer) -> WhisperConfig:
    """Derive the configuration from the shapes of the variables, by CTranslate2's names."""

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


def _make_generation_config(config: WhisperConfig, settings: dict, tokenizer: WhisperTokenizer) -> GenerationConfig:
    """Make the generation configuration with which transformers decodes like the original. settings: of config.json."""
    languages = settings.get("lang_ids", [])
    multilingual = config.vocab_size >= MULTILINGUAL_VOCABULARY_SIZE
    token: Any = tokenizer.convert_tokens_to_ids
    heads = settings.get("alignment_heads")
    extra: dict[str, Any] = {"alignment_heads": heads} if heads else {}
    if multilingual:
        extra["lang_to_id"] = {tokenizer.convert_ids_to_tokens(i): i for i in languages}
        extra["task_to_id"] = {task: token(f"<|{task}|>") for task in ("transcribe", "translate")}
    return GenerationConfig(
        bos_token_id=config.bos_token_id,
        eos_token_id=config.eos_token_id,
        pad_token_id=config.pad_token_id,
        decoder_start_token_id=config.decoder_start_token_id,
        max_length=config.max_target_positions,
        suppress_tokens=settings.get("suppress_ids"),
        begin_suppress_tokens=settings.get("suppress_ids_begin"),
        is_multilingual=multilingual,
        no_timestamps_token_id=token("<|notimestamps|>"),
        prev_sot_token_id=token("<|startofprev|>"),
        max_initial_timestamp_index=50,
        **extra,
    )
