"""A MODEL becomes a recogniser or classifier: as it was saved, as its authors run it, or with a new head to train."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from transformers import Wav2Vec2CTCTokenizer, WhisperConfig, WhisperForConditionalGeneration, WhisperProcessor
from transformers.utils import GENERATION_CONFIG_NAME

from speechxfer.config.recipe import HeadConfig, Recipe
from speechxfer.data.validation import InputLimits
from speechxfer.decoding.whisper import ENGLISH_TOKENS_PER_WORD
from speechxfer.encoders.checkpoints import SETTINGS_FILE, resolve_model_dir, resolve_transformers_dir
from speechxfer.encoders.ctranslate2 import describe_folder, is_ctranslate2
from speechxfer.errors import UserError
from speechxfer.models.base import DECODER_KINDS, ModelSettings, SpeechModel
from speechxfer.models.classifier import new_classifier, open_classifier
from speechxfer.models.ctc import is_new_ctc, open_ctc
from speechxfer.models.ctranslate2 import open_ctranslate2
from speechxfer.models.joint import new_joint, open_joint
from speechxfer.models.pretrained import get_encoder_config, load_config, load_pretrained
from speechxfer.models.seq2seq import MAX_PROMPT_TOKENS, WhisperRecogniser
from speechxfer.text.vocabulary import detect_case

ENCODER_FRAME_RATE = 50.0  # of every family here; adapters make fewer


def load(model: str | Path, *, device: str = "auto", language: str | None = None) -> SpeechModel:
    """The model as it was saved by us, or as its authors run it (Whisper: padded to 30 s, greedy).

    model: any MODEL. device: auto, cpu, cuda or mps. language: for a multilingual Whisper. What `export_model` wrote for
    CTranslate2 runs in CTranslate2 on the CPU (`CTranslate2Recogniser`); on another device, and where a CTranslate2 folder has
    no settings of ours, it becomes a model in torch.
    Raises UserError for a folder that is no model, is damaged, or has no head to answer with.
    """
    located = resolve_model_dir(model)
    exported = _is_exported(located)
    if exported and resolve_device(device).type == "cpu":
        return open_ctranslate2(located, _settings(located, str(model)), language)
    folder = resolve_transformers_dir(located)
    settings = _settings(located if exported else folder, str(model))
    if language is not None:
        _one_language(folder)
        settings.language = language
    opened = _open(folder, settings)
    opened.network.to(resolve_device(device)).eval()
    return opened


def resolve_device(wanted: str) -> torch.device:
    """auto: CUDA, else Apple's MPS, else the CPU. Raises UserError for one that this machine lacks."""
    here = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        return torch.device(next(name for name, present in here.items() if present))
    if wanted not in here:
        raise UserError(f"'{wanted}' is none of auto, cpu, cuda, mps", where="device")
    if not here[wanted]:
        raise UserError(f"this machine has no {wanted} that torch can use", where="device", fix="say device=auto")
    return torch.device(wanted)


def build_trainable(recipe: Recipe, texts: list[str]) -> SpeechModel:
    """The recipe's checkpoint with the head that it asks for, ready to train, on the recipe's device.

    texts: the training part's texts or labels, from which a new head takes its vocabulary or classes.
    """
    folder = resolve_transformers_dir(recipe.encoder.name)
    if recipe.encoder.language is not None:
        _one_language(folder)
    settings = ModelSettings(
        kind=recipe.head.kind,
        pad_to_30s=recipe.encoder.pad_to_30s,
        pad_silence=recipe.encoder.pad_silence,
        length_penalty=recipe.decoding.length_penalty if recipe.head.kind in DECODER_KINDS else 1.0,
        no_loops=recipe.head.kind in DECODER_KINDS,
        beam_size=recipe.decoding.beam_size if recipe.decoding.kind == "beam" else 1,
        language=recipe.encoder.language or _settings(folder, recipe.encoder.name, strict=False).language,
        normaliser=recipe.scoring.normaliser,
        base=recipe.encoder.name,
    )
    if settings.kind == "ctc":
        ctc = is_new_ctc(folder, settings, recipe.head, texts)
        if settings.beam_size > 1:
            ctc.configure_beam_search(recipe.decoding, texts)
        model: SpeechModel = ctc
    elif settings.kind == "classify":
        model = new_classifier(folder, settings, recipe.head, texts)
    else:
        whisper, processor = _with_decoder(folder)
        if settings.kind == "joint":
            recogniser: WhisperRecogniser = new_joint(whisper, processor, settings, recipe.head, texts)
        else:
            recogniser = WhisperRecogniser(whisper, processor, settings)
        settings.tokens_per_word = _estimate_tokens_per_word(recogniser, texts)
        model = recogniser
    model.network.to(resolve_device(recipe.device))
    return model


def _estimate_tokens_per_word(model: WhisperRecogniser, texts: list[str]) -> float:
    """Of some of the texts, evenly. Where no spaces part the words, a dozen characters count as one."""
    some = [text for text in texts[:: 1 + len(texts) // 1000] if text and text.strip()]
    words = sum(max(len(text.split()), len(text) / 12) for text in some)
    return (
        round(sum(len(model.encode_text(text)) - 1 for text in some) / words, 2) if words else ENGLISH_TOKENS_PER_WORD
    )


def get_input_limits(model: str | Path, *, head: HeadConfig | None = None, language: str | None = None) -> InputLimits:
    """What the model can take: seconds of audio, tokens of text, characters. `check` and `adapt` refuse what passes it.

    head: the recipe's, where another head than the folder's own is to be trained. Reads no weights.
    """
    located = resolve_model_dir(model)
    if _is_exported(located) and head is None:
        described = describe_folder(located)
        return _decoder_limits(described.config, described.processor)
    folder = resolve_transformers_dir(located)
    config = load_config(folder)
    kind = head.kind if head else _settings(folder, str(model), strict=False).kind
    inner = get_encoder_config(config)
    longest = inner.max_source_positions / ENCODER_FRAME_RATE if inner.model_type == "whisper" else None
    if kind in DECODER_KINDS:
        _needs_decoder(config, folder)
        return _decoder_limits(config, _processor(folder, config))
    if kind == "ctc":
        written: set[str] | None = None
        if (
            config.architectures
            and config.architectures[0].endswith("ForCTC")
            and not (head and head.vocabulary != "own")
        ):
            written = {
                symbol for symbol in load_pretrained(Wav2Vec2CTCTokenizer, folder).get_vocab() if len(symbol) == 1
            }
        return InputLimits(
            max_seconds=longest,
            frames_per_second=ENCODER_FRAME_RATE,
            characters=written,
            case=detect_case(written or ()),
        )
    return InputLimits(max_seconds=longest)


def _decoder_limits(config: WhisperConfig, processor: WhisperProcessor) -> InputLimits:
    tokenizer = processor.tokenizer
    return InputLimits(
        max_seconds=config.max_source_positions / ENCODER_FRAME_RATE,
        max_tokens=config.max_target_positions - MAX_PROMPT_TOKENS - 1,  # the end token
        count_tokens=lambda text: len(tokenizer(f" {' '.join(text.split())}", add_special_tokens=False).input_ids),
    )


def _is_exported(folder: Path) -> bool:
    """Whether it is a CTranslate2 folder that our export wrote its settings into."""
    return (folder / SETTINGS_FILE).is_file() and is_ctranslate2(folder)


def _open(folder: Path, settings: ModelSettings) -> SpeechModel:
    if settings.kind in DECODER_KINDS:
        whisper, processor = _with_decoder(folder)
        if settings.kind == "joint":
            return open_joint(folder, whisper, processor, settings)
        return WhisperRecogniser(whisper, processor, settings)
    return open_ctc(folder, settings) if settings.kind == "ctc" else open_classifier(folder, settings)


def _with_decoder(folder: Path) -> tuple[WhisperForConditionalGeneration, WhisperProcessor]:
    """Whisper and its own decoder. Raises UserError where the folder has none."""
    config = load_config(folder)
    _needs_decoder(config, folder)
    path = folder / GENERATION_CONFIG_NAME
    try:
        json.loads(path.read_bytes())  # transformers takes one that is cut short for none, with no tokens suppressed
    except FileNotFoundError:
        pass  # a fine-tuned folder may lack it
    except ValueError as error:
        raise UserError(f"not readable ({error})", where=str(path), fix="copy or download it again") from None
    return load_pretrained(WhisperForConditionalGeneration, folder), _processor(folder, config)


def _processor(folder: Path, config: Any) -> WhisperProcessor:
    """Whisper's. transformers makes an empty tokenizer where a folder has none."""
    processor = load_pretrained(WhisperProcessor, folder)
    if processor.tokenizer.convert_tokens_to_ids("<|startoftranscript|>") != config.decoder_start_token_id:
        raise UserError(
            "its tokenizer is missing, or another model's",
            where=str(folder),
            fix="copy tokenizer.json from where the weights come from",
        )
    return processor


def _needs_decoder(config: Any, folder: Path) -> None:
    architecture = (config.architectures or [""])[0]
    if config.model_type != "whisper" or architecture.endswith("ForAudioClassification"):
        raise UserError(
            "head.kind seq2seq, as joint, keeps Whisper's own decoder, and this "
            f"{architecture or config.model_type} has none",
            where=str(folder),
            fix="say head.kind=ctc, or name a Whisper checkpoint",
        )


def _one_language(folder: Path) -> None:
    """MMS keeps each language's head and adapters in a file of its own, and none but the folder's main one is read."""
    if getattr(load_config(folder), "adapter_attn_dim", None) is not None and not (folder / SETTINGS_FILE).is_file():
        raise UserError(
            "a language of an MMS checkpoint is not chosen here: it is read with the one that it is set to",
            where=str(folder),
            fix="set it with transformers' load_adapter and set_target_lang, save_pretrained it, and name that folder",
        )


def _settings(folder: Path, named: str, *, strict: bool = True) -> ModelSettings:
    """As stored beside the weights, else how the authors of the architecture run it."""
    path = folder / SETTINGS_FILE
    if path.is_file():
        try:
            return ModelSettings.model_validate_json(path.read_text(encoding="utf-8"))
        except UnicodeDecodeError as error:
            raise UserError(f"not readable ({error})", where=str(path)) from None
        except ValidationError as error:
            each = [f"{'.'.join(map(str, one['loc'])) or 'the file'}: {one['msg']}" for one in error.errors()]
            fix = "copy it again; a newer speechxfer may have written it"
            raise UserError(f"not readable ({'; '.join(each)})", where=str(path), fix=fix) from None
    architecture = (load_config(folder).architectures or ["an encoder"])[0]
    if architecture == "WhisperForConditionalGeneration":
        return ModelSettings(kind="seq2seq", pad_to_30s=True)
    if architecture.endswith("ForCTC"):
        return ModelSettings(kind="ctc")
    if architecture.endswith("ForSequenceClassification") or architecture.endswith("ForAudioClassification"):
        return ModelSettings(kind="classify")
    if strict:
        raise UserError(
            f"{architecture} has no head that could answer", where=named, fix="give it one with `speechxfer adapt`"
        )
    return ModelSettings(kind="ctc")
