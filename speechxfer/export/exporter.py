"""Exports a model in the format of another library: `transformers`, `ctranslate2` (for faster-whisper) or `onnx`."""

from __future__ import annotations

import copy
import shutil
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from safetensors import SafetensorError

from speechxfer.encoders.checkpoints import resolve_transformers_dir
from speechxfer.errors import MissingExtraError, UserError, suggest_nearest
from speechxfer.export.onnx_writer import write_onnx
from speechxfer.export.output_dir import atomic_output_dir
from speechxfer.export.parity import ParityResult, check_parity
from speechxfer.heads.classification import AttentiveClassifier
from speechxfer.heads.whisper_ctc import WhisperForCTC
from speechxfer.models import ModelSettings, SpeechModel, load
from speechxfer.models.base import make_readable
from speechxfer.models.seq2seq import WhisperRecogniser, is_multilingual, write_vocabulary
from speechxfer.progress import ProgressCallback

# number types of the weights in each format; the first is the default
QUANTIZATIONS = {
    "transformers": ("float32", "float16"),
    "ctranslate2": ("float32", "float16", "int8"),
    "onnx": ("float32", "int8"),
}
_REQUIRED_PACKAGES = {"transformers": [], "ctranslate2": ["ctranslate2"], "onnx": ["onnx", "onnxruntime"]}
_FASTER_WHISPER_FILES = ["tokenizer.json", "preprocessor_config.json"]  # not written by CTranslate2's converter


@dataclass
class ExportResult:
    """Result of `export_model`. files: name to size in bytes; parity: None without a check."""

    output: Path
    files: dict[str, int]
    warnings: list[str]
    parity: ParityResult | None


def export_model(
    model: str | Path,
    to: str,
    output: Path,
    *,
    quantization: str = "float32",
    language: str | None = None,
    check: Dataset | None = None,
    overwrite: bool = False,
    progress: ProgressCallback | None = None,
) -> ExportResult:
    """Export a model to the folder `output` in the format of another library.

    The folder is written atomically: it appears complete, or not at all.

    Args:
        model: any MODEL.
        to: the format, a key of QUANTIZATIONS.
        output: folder to write to.
        quantization: number type of the weights, one of those that QUANTIZATIONS lists for the format.
        language: the language of a multilingual Whisper.
        check: utterances for a parity check of the exported model (see `ParityResult`). A failed check is returned,
            not raised.
        overwrite: replace an exported model in `output`.
        progress: called with (utterances checked, total utterances).

    Raises:
        UserError: if the format does not support the model, or if `output` has other files.
    """
    _check_quantization(to, quantization)
    write = {"transformers": _write_transformers, "ctranslate2": _write_ctranslate2, "onnx": write_onnx}[to]
    source = resolve_transformers_dir(model)
    with atomic_output_dir(output, source, overwrite=overwrite) as scratch:
        opened = load(source, device="cpu", language=language)
        _check_exportable(opened, to, str(model))
        warnings = _collect_warnings(opened, to)
        if to != "onnx":
            opened.encoder.pad_silence = 0.0  # other libraries add none, also in the parity check
        try:
            write(opened, scratch, quantization)
        except (OSError, SafetensorError) as error:
            raise UserError(
                f"cannot be written ({error})", where=str(output), fix="free some space, or name another folder"
            ) from None
        parity = None
        if check is not None:
            parity = check_parity(opened, to, scratch, check, quantization, progress=progress)
    files = {path.name: path.stat().st_size for path in sorted(output.iterdir())}
    return ExportResult(output, files, warnings, parity)


def _check_quantization(to: str, quantization: str) -> None:
    if to not in QUANTIZATIONS:
        is_ctranslate2 = to.casefold().replace("_", "-") in ("faster-whisper", "fasterwhisper")
        hint = " (faster-whisper reads ctranslate2)" if is_ctranslate2 else suggest_nearest(to, QUANTIZATIONS)
        fix = "use --to ctranslate2" if is_ctranslate2 else None
        raise UserError(f"'{to}' is not one of {', '.join(QUANTIZATIONS)}{hint}", where="--to", fix=fix)
    if quantization not in QUANTIZATIONS[to]:
        raise UserError(
            f"'{quantization}' is not one of {', '.join(QUANTIZATIONS[to])}, which {to} supports"
            f"{suggest_nearest(quantization, QUANTIZATIONS[to])}",
            where="--quantization",
        )
    for package in _REQUIRED_PACKAGES[to]:
        if find_spec(package) is None:
            raise MissingExtraError(package, "export", f"export --to {to}")


def _check_exportable(model: SpeechModel, to: str, name: str) -> None:
    """Refuse a model that the format does not support, or that its library could open but not run."""
    is_whisper = isinstance(model, WhisperRecogniser)
    if to == "onnx" and is_whisper:
        raise UserError(
            "ONNX export supports CTC and classification models only; this one uses Whisper's decoder",
            where=name,
            fix="use --to ctranslate2, which also runs without torch, or --to transformers",
        )
    if to == "onnx":
        return
    if isinstance(model.network, WhisperForCTC):
        raise UserError(
            "a CTC head on Whisper's encoder is speechxfer's own architecture, which no other library can open",
            where=name,
            fix="use --to onnx, or adapt with head.kind=seq2seq or joint, or with head.kind=ctc on an encoder of the "
            "wav2vec2 family",
        )
    if isinstance(model.network, AttentiveClassifier):
        raise UserError(
            "attentive pooling is speechxfer's own architecture, which no other library can open",
            where=name,
            fix="use --to onnx, or adapt with head.pooling=mean",
        )
    if to == "ctranslate2" and not is_whisper:
        raise UserError(
            f"CTranslate2 export supports Whisper with its decoder only; this is a {type(model.network).__name__}",
            where=name,
            fix="use --to transformers or --to onnx",
        )


def _collect_warnings(model: SpeechModel, to: str) -> list[str]:
    """List the features of the model that the export does not have."""
    warnings = []
    if model.encoder.pad_silence and to != "onnx":
        seconds = f"{model.encoder.pad_silence:g} s"
        warnings.append(
            f"the model was adapted with {seconds} of silence around every utterance, which other libraries do not add"
        )
    if model.settings.beam_size > 1 and (model.settings.rescoring or {}).get("ctc"):
        warnings.append("the CTC head, which rescores the decoder's hypotheses, is not exported")
    if model.settings.beam_size > 1 and model.kind == "ctc":
        warnings.append("the beam search, and the language model if there is one, are not exported")
    return warnings


def _write_transformers(model: SpeechModel, folder: Path, quantization: str) -> None:
    """Write the network, its tokenizer and its feature extractor, without settings and without a joint CTC head."""
    network: Any = model.network
    if isinstance(model, WhisperRecogniser):
        network = model.whisper
        model.write_generation_config()
        tokenizer = model.processor.tokenizer
        tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token  # as OpenAI does; collators need it
    if quantization == "float16":
        network = copy.deepcopy(network).half()
    network.save_pretrained(folder)
    model.processor.save_pretrained(folder)
    if isinstance(model, WhisperRecogniser):
        write_vocabulary(model.processor.tokenizer, folder)
    extractor = getattr(model.processor, "feature_extractor", model.processor)
    make_readable(folder)
    extractor.save_pretrained(folder)  # preprocessor_config.json, for faster-whisper and older transformers


def _write_ctranslate2(model: SpeechModel, folder: Path, quantization: str) -> None:
    """Convert a plain transformers folder with CTranslate2's converter, and add the settings, which it ignores."""
    from ctranslate2.converters import TransformersConverter

    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".plain-") as plain:
        _write_transformers(model, Path(plain), "float32")
        with torch.no_grad():
            converter = TransformersConverter(plain, copy_files=_FASTER_WHISPER_FILES)
            converted = Path(plain) / "ctranslate2"
            converter.convert(str(converted), quantization=quantization)
        for path in converted.iterdir():
            shutil.move(path, folder / path.name)
    _make_ctranslate2_settings(model).write(folder)


def _make_ctranslate2_settings(model: Any) -> ModelSettings:
    """Return the model's settings for CTranslate2, without CTC rescoring.

    A language is set for a multilingual model only; `speechxfer.load` recognises multilingual models by it.
    """
    return model.settings.model_copy(
        update={
            "kind": "seq2seq",
            "rescoring": model.settings.rescoring and {**model.settings.rescoring, "ctc": 0.0},
            "language": model.settings.language if is_multilingual(model.whisper) else None,
        }
    )
