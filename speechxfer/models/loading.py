"""Loads a MODEL as a recogniser or classifier, or builds one with a new head for training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from transformers import WhisperConfig, WhisperForConditionalGeneration, WhisperProcessor
from transformers.utils import GENERATION_CONFIG_NAME

from speechxfer.config.recipe import HeadConfig, Recipe
from speechxfer.data.validation import InputLimits
from speechxfer.decoding.whisper import ENGLISH_TOKENS_PER_WORD
from speechxfer.encoders.checkpoints import SETTINGS_FILE, resolve_model_dir, resolve_transformers_dir
from speechxfer.encoders.ctranslate2 import describe_folder, is_ctranslate2
from speechxfer.errors import UserError
from speechxfer.models.base import DECODER_KINDS, ModelSettings, SpeechModel
from speechxfer.models.bundled_lm import use_bundled_lm
from speechxfer.models.classifier import build_classifier, open_classifier
from speechxfer.models.ctc import CtcRecogniser, build_ctc, open_ctc
from speechxfer.models.ctranslate2 import open_ctranslate2
from speechxfer.models.joint import build_joint, open_joint
from speechxfer.models.language_adapters import load_ctc_tokenizer, prepare_language
from speechxfer.models.pretrained import get_encoder_config, load_config, load_pretrained
from speechxfer.models.seq2seq import MAX_PROMPT_TOKENS, WhisperRecogniser
from speechxfer.text.timestamps import strip_special_tokens
from speechxfer.text.vocabulary import detect_case

ENCODER_FRAME_RATE = 50.0  # Hz, in every supported family; an adapter on top lowers it


def load(model: str | Path, *, device: str = "auto", language: str | None = None) -> SpeechModel:
    """Load a model to be run as it was saved, or as its authors run it (Whisper: padded to 30 s, greedy).

    A folder that `export_model` wrote for CTranslate2 runs in CTranslate2 on the CPU (`CTranslate2Recogniser`). On
    another device, and if the folder has no settings file, it is converted to a torch model.

    Args:
        model: any MODEL.
        device: auto, cpu, cuda or mps.
        language: the language of a multilingual Whisper.

    Raises:
        UserError: if the folder is not a model, is damaged, or has no head to predict with.
    """
    located = resolve_model_dir(model)
    exported = _is_exported(located)
    if exported and resolve_device(device).type == "cpu":
        return open_ctranslate2(located, _read_settings(located, str(model)), language)
    folder = resolve_transformers_dir(located)
    settings = _read_settings(located if exported else folder, str(model))
    if language is not None:
        prepare_language(model, folder, language, settings.kind)
        settings.language = language
    opened = _open(folder, settings)
    if isinstance(opened, CtcRecogniser) and not (folder / SETTINGS_FILE).is_file():
        use_bundled_lm(opened, folder)
    opened.network.to(resolve_device(device)).eval()
    return opened


def resolve_device(name: str) -> torch.device:
    """Return the torch device; auto selects CUDA, then Apple's MPS, then the CPU.

    Raises:
        UserError: if this machine does not have the device.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(device for device, present in available.items() if present))
    if name not in available:
        raise UserError(f"'{name}' is not one of auto, cpu, cuda, mps", where="device")
    if not available[name]:
        raise UserError(f"torch finds no {name} device on this machine", where="device", fix="set device=auto")
    return torch.device(name)


def build_trainable(recipe: Recipe, texts: list[str]) -> SpeechModel:
    """Build the recipe's checkpoint with the recipe's head, ready for training, on the recipe's device.

    texts: the texts or labels of the training data, from which a new head takes its vocabulary or classes.
    """
    folder = resolve_transformers_dir(recipe.encoder.name)
    prepare_language(recipe.encoder.name, folder, recipe.encoder.language, recipe.head.kind)
    settings = ModelSettings(
        kind=recipe.head.kind,
        pad_to_30s=recipe.encoder.pad_to_30s,
        pad_silence=recipe.encoder.pad_silence,
        length_penalty=recipe.decoding.length_penalty if recipe.head.kind in DECODER_KINDS else 1.0,
        no_loops=recipe.head.kind in DECODER_KINDS,
        beam_size=recipe.decoding.beam_size if recipe.decoding.kind == "beam" else 1,
        language=recipe.encoder.language or _read_settings(folder, recipe.encoder.name, strict=False).language,
        normaliser=recipe.scoring.normaliser,
        base=recipe.encoder.name,
    )
    if settings.kind == "ctc":
        ctc = build_ctc(folder, settings, recipe.head, texts)
        if settings.beam_size > 1:
            ctc.configure_beam_search(recipe.decoding, texts)
        model: SpeechModel = ctc
    elif settings.kind == "classify":
        model = build_classifier(folder, settings, recipe.head, texts)
    else:
        whisper, processor = _load_whisper(folder)
        if settings.kind == "joint":
            recogniser: WhisperRecogniser = build_joint(whisper, processor, settings, recipe.head, texts)
        else:
            recogniser = WhisperRecogniser(whisper, processor, settings)
        settings.tokens_per_word = _estimate_tokens_per_word(recogniser, texts)
        model = recogniser
    model.network.to(resolve_device(recipe.device))
    return model


def _estimate_tokens_per_word(model: WhisperRecogniser, texts: list[str]) -> float:
    """Average over an even sample of the texts; in scripts without spaces, twelve characters count as a word."""
    sample = [strip_special_tokens(text) for text in texts[:: 1 + len(texts) // 1000] if text and text.strip()]
    words = sum(max(len(text.split()), len(text) / 12) for text in sample)
    if not words:
        return ENGLISH_TOKENS_PER_WORD
    return round(sum(len(model.encode_text(text)) - 1 for text in sample) / words, 2)


def get_input_limits(model: str | Path, *, head: HeadConfig | None = None, language: str | None = None) -> InputLimits:
    """Return the limits of the model's input: seconds of audio, tokens of text, characters. Reads no weights.

    `check` and `adapt` refuse utterances beyond the limits. head: the recipe's head, if it replaces the folder's own.
    """
    located = resolve_model_dir(model)
    if _is_exported(located) and head is None:
        described = describe_folder(located)
        return _get_decoder_limits(described.config, described.processor)
    folder = resolve_transformers_dir(located)
    config = load_config(folder)
    kind = head.kind if head else _read_settings(folder, str(model), strict=False).kind
    encoder_config = get_encoder_config(config)
    is_whisper = encoder_config.model_type == "whisper"
    max_seconds = encoder_config.max_source_positions / ENCODER_FRAME_RATE if is_whisper else None
    if kind in DECODER_KINDS:
        _require_decoder(config, folder)
        return _get_decoder_limits(config, _load_processor(folder, config))
    if kind == "ctc":
        prepare_language(model, folder, language, kind)
        characters = _read_ctc_characters(folder, config, head, language)
        return InputLimits(
            max_seconds=max_seconds,
            frames_per_second=ENCODER_FRAME_RATE,
            characters=characters,
            case=detect_case(characters or ()),
        )
    return InputLimits(max_seconds=max_seconds)


def _read_ctc_characters(folder: Path, config: Any, head: HeadConfig | None, language: str | None) -> set[str] | None:
    """Return the characters of the folder's own CTC vocabulary; None if the head is new."""
    own_head = config.architectures and config.architectures[0].endswith("ForCTC")
    if not own_head or (head and head.vocabulary != "own"):
        return None
    return {symbol for symbol in load_ctc_tokenizer(folder, language).get_vocab() if len(symbol) == 1}


def _get_decoder_limits(config: WhisperConfig, processor: WhisperProcessor) -> InputLimits:
    tokenizer = processor.tokenizer
    return InputLimits(
        max_seconds=config.max_source_positions / ENCODER_FRAME_RATE,
        max_tokens=config.max_target_positions - MAX_PROMPT_TOKENS - 1,  # minus the end token
        count_tokens=lambda text: len(tokenizer(f" {' '.join(text.split())}", add_special_tokens=False).input_ids),
    )


def _is_exported(folder: Path) -> bool:
    """Return whether `export_model` wrote this CTranslate2 folder, with its settings file."""
    return (folder / SETTINGS_FILE).is_file() and is_ctranslate2(folder)


def _open(folder: Path, settings: ModelSettings) -> SpeechModel:
    if settings.kind in DECODER_KINDS:
        whisper, processor = _load_whisper(folder)
        if settings.kind == "joint":
            return open_joint(folder, whisper, processor, settings)
        return WhisperRecogniser(whisper, processor, settings)
    return open_ctc(folder, settings) if settings.kind == "ctc" else open_classifier(folder, settings)


def _load_whisper(folder: Path) -> tuple[WhisperForConditionalGeneration, WhisperProcessor]:
    """Load Whisper with its decoder. Raises UserError if the folder has no decoder."""
    config = load_config(folder)
    _require_decoder(config, folder)
    path = folder / GENERATION_CONFIG_NAME
    try:
        json.loads(path.read_bytes())  # transformers ignores a truncated file and then suppresses no tokens
    except FileNotFoundError:
        pass  # a fine-tuned folder may lack it
    except ValueError as error:
        raise UserError(f"not readable ({error})", where=str(path), fix="copy or download it again") from None
    return load_pretrained(WhisperForConditionalGeneration, folder), _load_processor(folder, config)


def _load_processor(folder: Path, config: Any) -> WhisperProcessor:
    """Load Whisper's processor; transformers returns an empty tokenizer if the folder has none."""
    processor = load_pretrained(WhisperProcessor, folder)
    if processor.tokenizer.convert_tokens_to_ids("<|startoftranscript|>") != config.decoder_start_token_id:
        raise UserError(
            "its tokenizer is missing, or belongs to another model",
            where=str(folder),
            fix="copy tokenizer.json from the source of the weights",
        )
    return processor


def _require_decoder(config: Any, folder: Path) -> None:
    architecture = (config.architectures or [""])[0]
    if config.model_type != "whisper" or architecture.endswith("ForAudioClassification"):
        raise UserError(
            "head.kind seq2seq and joint need Whisper's decoder, and this "
            f"{architecture or config.model_type} has none",
            where=str(folder),
            fix="set head.kind=ctc, or name a Whisper checkpoint",
        )


def _read_settings(folder: Path, name: str, *, strict: bool = True) -> ModelSettings:
    """Read the saved settings, or derive them from the architecture.

    strict: raise UserError, about the model `name`, for an encoder without a head; otherwise assume CTC.
    """
    path = folder / SETTINGS_FILE
    if path.is_file():
        return _parse_settings(path)
    architecture = (load_config(folder).architectures or ["an encoder"])[0]
    if architecture == "WhisperForConditionalGeneration":
        return ModelSettings(kind="seq2seq", pad_to_30s=True)
    if architecture.endswith("ForCTC"):
        return ModelSettings(kind="ctc")
    if architecture.endswith("ForSequenceClassification") or architecture.endswith("ForAudioClassification"):
        return ModelSettings(kind="classify")
    if strict:
        raise UserError(
            f"{architecture} has no head to predict with", where=name, fix="train one with `speechxfer adapt`"
        )
    return ModelSettings(kind="ctc")


def _parse_settings(path: Path) -> ModelSettings:
    try:
        return ModelSettings.model_validate_json(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise UserError(f"not readable ({error})", where=str(path)) from None
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, item['loc'])) or 'the file'}: {item['msg']}" for item in error.errors()]
        fix = "copy it again; a newer speechxfer may have written it"
        raise UserError(f"not readable ({'; '.join(problems)})", where=str(path), fix=fix) from None
