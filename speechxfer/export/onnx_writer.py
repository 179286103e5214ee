"""Writes a CTC or classification model as one ONNX graph from samples to log-probabilities.

The graph includes the preprocessing: the waveform normalisation of the wav2vec2 family, Whisper's log-mel (with the
Fourier transform as a convolution), and the silence that the model was adapted with. It takes one utterance of any
length per call; batches would need padding masks.
"""

from __future__ import annotations

import json
import logging
import math
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechxfer.encoders.whisper import MIN_SAMPLES, WhisperEncoderWrapper
from speechxfer.errors import UserError
from speechxfer.models import SpeechModel
from speechxfer.models.ctc import CtcRecogniser
from speechxfer.shapes import SAMPLE_RATE, Frames, Inputs

ONNX_FILE, MANIFEST_FILE = "model.onnx", "manifest.json"
EXTERNAL_WEIGHTS_FILE = f"{ONNX_FILE}.data"  # for more than 2 GB, the limit of a protocol buffer
ONNX_FORMAT = "speechxfer.onnx/1"
INPUT_NAME, OUTPUT_NAME = "samples", "log_probs"
TRACED_OPSET = 17
_INT8_OPERATORS = ["MatMul", "Gemm", "LSTM"]  # no convolutions: they process the waveform or the spectrogram


def write_onnx(model: SpeechModel, folder: Path, quantization: str) -> None:
    """Write `model.onnx` and `manifest.json` to `folder`.

    quantization: float32, or int8 for the weights of matrix products and LSTMs.

    Raises:
        UserError: if the preprocessing of the model cannot be part of a graph.
    """
    import onnx
    from onnxruntime import quantization as quantizer

    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".traced-") as scratch:
        traced = Path(scratch) / ONNX_FILE
        _trace(_WaveformToLogProbs(model).eval(), traced)
        onnx.checker.check_model(str(traced), full_check=True)
        is_large = len(list(Path(scratch).iterdir())) > 1  # then torch stores the weights in many other files
        if quantization == "int8":
            with _quiet_onnxruntime():
                quantizer.quantize_dynamic(
                    str(traced),
                    str(folder / ONNX_FILE),
                    op_types_to_quantize=_INT8_OPERATORS,
                    weight_type=quantizer.QuantType.QInt8,
                    per_channel=True,
                    reduce_range=True,  # 7 bits: 8 bits overflow on CPUs without VNNI
                    use_external_data_format=is_large,
                )
        elif is_large:
            onnx.save(
                onnx.load(str(traced)),
                str(folder / ONNX_FILE),
                save_as_external_data=True,
                location=EXTERNAL_WEIGHTS_FILE,
            )
        else:
            shutil.move(traced, folder / ONNX_FILE)
    (folder / MANIFEST_FILE).write_text(
        json.dumps(make_manifest(model), indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )


@contextmanager
def _quiet_onnxruntime() -> Iterator[None]:
    """Suppress warnings: ONNX Runtime recommends a preprocessing step that these graphs do not need."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def make_manifest(model: Any) -> dict[str, Any]:
    """Describe the graph for its callers: input and output, limits, and the meaning of the outputs.

    `symbols` has the text of every output of a CTC head, "" for the blank and null for one that is never written;
    `labels` are a classifier's; the best one other than "unknown" is rejected as "unknown" below the
    probability `reject_below` (null: never). `longest_seconds` is null if the length of an utterance is not limited.
    """
    is_ctc = isinstance(model, CtcRecogniser)
    max_samples = max_input_samples(model.encoder)
    return {
        "format": ONNX_FORMAT,
        "kind": model.kind,
        "input": {"name": INPUT_NAME, "shape": [1, "time"], "type": "float32", "sample_rate": SAMPLE_RATE},
        "output": {"name": OUTPUT_NAME, "shape": [1, "frames", "vocab"] if is_ctc else [1, "classes"]},
        "longest_seconds": max_samples and max_samples / SAMPLE_RATE,
        **(
            {"symbols": model.labels, "blank": model.blank}
            if is_ctc
            else {"labels": model.labels, "reject_below": model.settings.reject_below}
        ),
        "normaliser": model.settings.normaliser,
        "base": model.settings.base,
    }


def max_input_samples(encoder: Any) -> int | None:
    """Return the maximum number of samples of the graph's input; None if it is not limited.

    A conformer's table of relative positions grows as needed in torch, but is a constant in a graph.
    """
    if encoder.max_samples is not None:
        return encoder.max_samples
    table = getattr(getattr(encoder.module.encoder, "embed_positions", None), "pe", None)
    if table is None:
        return None
    further = (table.size(1) // 2) * math.prod(encoder.module.config.conv_stride)  # samples after the first frame
    return encoder.min_samples + further - 2 * round(encoder.pad_silence * SAMPLE_RATE)


def compute_log_probs(model: Any, frames: Frames) -> Tensor:
    """Compute the log-probabilities of a CTC head, (batch, frames, vocab), or a classifier, (batch, classes)."""
    if isinstance(model, CtcRecogniser):
        return model.compute_emissions(frames).log_probs
    return model.compute_scores(frames).log_softmax(-1)


class _WaveformToLogProbs(nn.Module):
    """From samples (1, time) at 16 kHz to log-probabilities (1, frames, vocab) or (1, classes)."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        # `network` registers the parameters: model and encoder are no modules
        self.model, self.encoder, self.network = model, model.encoder, model.network
        self.has_frames = isinstance(model, CtcRecogniser)
        self.silence_samples = round(model.encoder.pad_silence * SAMPLE_RATE)
        if isinstance(self.encoder, WhisperEncoderWrapper):
            self.prepare: nn.Module = _LogMel(self.encoder)
        elif self.encoder.family == "wav2vec2-bert":
            raise UserError(
                "ONNX export does not support the filter bank of wav2vec2-bert",
                fix="use --to transformers",
            )
        else:
            self.prepare = _WaveformNormalizer(self.encoder)

    def forward(self, samples: Tensor) -> Tensor:
        features = self.prepare(self._add_silence(samples))
        lengths = torch._shape_as_tensor(features)[-1:]  # dynamic, unlike the shape of the traced example
        return compute_log_probs(self.model, self.encoder(Inputs(features, lengths)))

    def _add_silence(self, samples: Tensor) -> Tensor:
        """Add silence on both sides as `SpeechEncoder.prepare` does: less near the encoder's maximum length."""
        if not self.silence_samples:
            return samples
        silence = samples.new_zeros(1, self.silence_samples)
        if self.encoder.max_samples is not None:
            room = self.encoder.max_samples - torch._shape_as_tensor(samples)[1]
            silence = silence[:, : room.clamp(min=0, max=2 * self.silence_samples) // 2]
        return torch.cat([silence, samples, silence], dim=1)


class _WaveformNormalizer(nn.Module):
    """Normalises samples (1, time) like the feature extractor of the wav2vec2 family."""

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.min_samples, self.normalise = encoder.min_samples, bool(encoder.extractor.do_normalize)

    def forward(self, samples: Tensor) -> Tensor:
        samples = _pad_to(samples, self.min_samples)
        if not self.normalise:
            return samples
        centred = samples - samples.mean()
        return centred / (centred.square().mean() + 1e-7).sqrt()


class _LogMel(nn.Module):
    """`WhisperEncoderWrapper.compute_log_mel` without complex numbers: (1, time) to (1, mels, steps)."""

    def __init__(self, encoder: WhisperEncoderWrapper) -> None:
        super().__init__()
        self.min_samples = encoder.max_samples if encoder.pad_to_30s else MIN_SAMPLES
        size, self.hop = encoder.extractor.n_fft, encoder.extractor.hop_length
        self.edge, self.bins = size // 2, size // 2 + 1
        # float64: the rounding error of float32 angles would be as loud as the 80 dB floor of Whisper's features
        angles = torch.arange(self.bins).double()[:, None] * torch.arange(size)[None] * (2 * torch.pi / size)
        basis = torch.cat([angles.cos(), angles.sin()]) * torch.hann_window(size).double()
        self.register_buffer("turns", basis.float()[:, None])  # (2 * bins, 1, size); the name is part of the graph
        self.register_buffer("filters", encoder._filters)

    def forward(self, samples: Tensor) -> Tensor:
        samples = _pad_to(samples, self.min_samples)
        padded = F.pad(samples[None], (self.edge, self.edge), mode="reflect")
        spectrum = F.conv1d(padded, self.turns, stride=self.hop)[:, :, :-1]  # type: ignore[arg-type]
        power = spectrum[:, : self.bins].square() + spectrum[:, self.bins :].square()
        logarithm = (self.filters @ power).clamp(min=1e-10).log() / torch.log(torch.tensor(10.0))  # type: ignore[operator]
        return (torch.maximum(logarithm, logarithm.max() - 8.0) + 4.0) / 4.0


def _pad_to(samples: Tensor, min_samples: int) -> Tensor:
    """Append zeros to (1, time) up to `min_samples`."""
    length = torch._shape_as_tensor(samples)[1].clamp(min=min_samples)
    return torch.cat([samples, samples.new_zeros(1, min_samples)], dim=1)[:, :length]


def _trace(network: _WaveformToLogProbs, path: Path) -> None:
    """Export by tracing: the newer exporter fixes the length of an LSTM's input to the traced one (torch 2.14)."""
    example = torch.randn(1, SAMPLE_RATE, generator=torch.Generator().manual_seed(0)) * 0.1
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecation of the exporter; constants for the batch size, which is 1
        torch.onnx.export(
            network,
            (example,),
            str(path),
            dynamo=False,
            opset_version=TRACED_OPSET,
            input_names=[INPUT_NAME],
            output_names=[OUTPUT_NAME],
            dynamic_axes={INPUT_NAME: {1: "time"}, **({OUTPUT_NAME: {1: "frames"}} if network.has_frames else {})},
        )
