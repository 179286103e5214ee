"""Writes a model as another library opens it: `transformers`, `ctranslate2` (which faster-whisper runs), or `onnx`."""

from __future__ import annotations

import copy
import shutil
import tempfile
from collections.abc import Callable
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
from speechxfer.models.seq2seq import WhisperRecogniser, is_multilingual

# what each form can hold its weights as; the first is the default
QUANTIZATIONS = {
    "transformers": ("float32", "float16"),
    "ctranslate2": ("float32", "float16", "int8"),
    "onnx": ("float32", "int8"),
}
_PACKAGES = {"transformers": [], "ctranslate2": ["ctranslate2"], "onnx": ["onnx", "onnxruntime"]}  # of the extra
_FOR_FASTER_WHISPER = ["tokenizer.json", "preprocessor_config.json"]  # beside what CTranslate2 writes itself


@dataclass
class ExportResult:
    """What `export_model` wrote. files: name to bytes. proof: where utterances were given. warnings: for the user."""

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
    progress: Callable[[int, int], None] | None = None,
) -> ExportResult:
    """Write MODEL to `output` in another library's form; the folder appears whole or not at all.

    to: a key of QUANTIZATIONS, whose values say what `quantization` may be. language: of a multilingual Whisper.
    check: utterances on which the exported model is compared with ours (see `ParityResult`); a proof that falls short is
    returned, not raised. overwrite: replace a model that lies in `output`.
    Raises UserError for a model that the form cannot hold, and rather than lose anyone's files.
    """
    _check_quantization(to, quantization)
    write = {"transformers": _write_transformers, "ctranslate2": _write_ctranslate2, "onnx": write_onnx}[to]
    source = resolve_transformers_dir(model)
    with atomic_output_dir(output, source, overwrite=overwrite) as scratch:
        opened = load(source, device="cpu", language=language)
        _check_exportable(opened, to, str(model))
        warnings = _warnings(opened, to)
        if to != "onnx":
            opened.encoder.pad_silence = 0.0  # other libraries put none, and are compared with what they do
        try:
            write(opened, scratch, quantization)
        except (OSError, SafetensorError) as error:
            raise UserError(
                f"cannot be written ({error})", where=str(output), fix="make room, or name another folder"
            ) from None
        proof = None
        if check is not None:
            proof = check_parity(opened, to, scratch, check, quantization, progress=progress)
    files = {path.name: path.stat().st_size for path in sorted(output.iterdir())}
    return ExportResult(output, files, warnings, proof)


def _check_quantization(to: str, quantization: str) -> None:
    if to not in QUANTIZATIONS:
        raise UserError(
            f"'{to}' is not one of {', '.join(QUANTIZATIONS)}{suggest_nearest(to, QUANTIZATIONS)}", where="--to"
        )
    if quantization not in QUANTIZATIONS[to]:
        raise UserError(
            f"'{quantization}' is not one of {', '.join(QUANTIZATIONS[to])}, which {to} holds"
            f"{suggest_nearest(quantization, QUANTIZATIONS[to])}",
            where="--quantization",
        )
    for package in _PACKAGES[to]:
        if find_spec(package) is None:
            raise MissingExtraError(package, "export", f"export --to {to}")


def _check_exportable(model: SpeechModel, to: str, named: str) -> None:
    """What `to` cannot hold, or would open without being able to run it."""
    whisper = isinstance(model, WhisperRecogniser)
    if to == "onnx" and whisper:
        raise UserError(
            "an ONNX graph holds a CTC or classification head here, and this model writes with Whisper's own decoder",
            where=named,
            fix="say --to ctranslate2, which runs without torch too, or --to transformers",
        )
    if to == "onnx":
        return
    if isinstance(model.network, WhisperForCTC):
        raise UserError(
            "a CTC head on Whisper's encoder is an architecture of speechxfer's own, which no other library opens",
            where=named,
            fix="say --to onnx, or adapt with head.kind=seq2seq or joint, or with head.kind=ctc on an encoder of the "
            "wav2vec2 family",
        )
    if isinstance(model.network, AttentiveClassifier):
        raise UserError(
            "attentive pooling is an architecture of speechxfer's own, which no other library opens",
            where=named,
            fix="say --to onnx, or adapt with head.pooling=mean",
        )
    if to == "ctranslate2" and not whisper:
        raise UserError(
            f"faster-whisper runs Whisper with its own decoder, and this is a {type(model.network).__name__}",
            where=named,
            fix="say --to transformers or --to onnx",
        )


def _warnings(model: SpeechModel, to: str) -> list[str]:
    found = []
    if model.encoder.pad_silence and to != "onnx":
        seconds = f"{model.encoder.pad_silence:g} s"
        found.append(
            f"it was adapted with {seconds} of silence around every utterance, which other libraries do not put there"
        )
    if model.settings.beam_size > 1 and (model.settings.rescoring or {}).get("ctc"):
        found.append("its CTC head, which has a say in what it writes here, stays behind")
    if model.settings.beam_size > 1 and model.kind == "ctc":
        found.append("its beam search, and its language model if it has one, stay behind")
    return found


def _write_transformers(model: SpeechModel, folder: Path, quantization: str) -> None:
    """The network, its tokenizer and its feature extractor; nothing of ours, a joint model's CTC head neither."""
    network: Any = model.network
    if isinstance(model, WhisperRecogniser):
        network = model.whisper
        model.write_generation_config()
        tokenizer = model.processor.tokenizer
        tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token  # as in OpenAI's own: collators ask for it
    if quantization == "float16":
        network = copy.deepcopy(network).half()
    network.save_pretrained(folder)
    model.processor.save_pretrained(folder)
    extractor = getattr(model.processor, "feature_extractor", model.processor)
    make_readable(folder)
    extractor.save_pretrained(folder)  # as preprocessor_config.json, where faster-whisper and older transformers look


def _write_ctranslate2(model: SpeechModel, folder: Path, quantization: str) -> None:
    """By CTranslate2's own converter, from a plain transformers folder; and our settings, which it does not look at."""
    from ctranslate2.converters import TransformersConverter

    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".plain-") as plain:
        _write_transformers(model, Path(plain), "float32")
        with torch.no_grad():
            converter = TransformersConverter(plain, copy_files=_FOR_FASTER_WHISPER)
            made = Path(plain) / "ctranslate2"
            converter.convert(str(made), quantization=quantization)
        for path in made.iterdir():
            shutil.move(path, folder / path.name)
    _settings(model).write(folder)


def _settings(model: Any) -> ModelSettings:
    """How CTranslate2 is to run a Whisper, for `speechxfer.load`: as it ran here, without a CTC head's say.

    The language is that of a multilingual one, which is known by it.
    """
    return model.settings.model_copy(
        update={
            "kind": "seq2seq",
            "rescoring": model.settings.rescoring and {**model.settings.rescoring, "ctc": 0.0},
            "language": model.settings.language if is_multilingual(model.whisper) else None,
        }
    )
