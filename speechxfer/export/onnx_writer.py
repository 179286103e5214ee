"""A CTC or classification model as one ONNX graph: samples in, log-probabilities out, nothing else needed.

The preprocessing is in the graph: the normalised waveform of the wav2vec2 family, Whisper's log-mel (its Fourier
transform as a convolution), the silence that the model was adapted with. One utterance a call, as long as it is:
batches would need the masks that keep utterances apart, and a graph of one needs none.
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
EXTERNAL_WEIGHTS_FILE = f"{ONNX_FILE}.data"  # beside a graph of more than 2 GB, which a protocol buffer cannot hold
ONNX_FORMAT = "speechxfer.onnx/1"
INPUT_NAME, OUTPUT_NAME = "samples", "log_probs"  # the graph's input and output
TRACED_OPSET = 17
_INT8 = ["MatMul", "Gemm", "LSTM"]  # never a convolution: those hear the waveform


def write_onnx(model: SpeechModel, folder: Path, quantization: str) -> None:
    """`model.onnx` and `manifest.json` in `folder`; quantization: float32 or int8 (weights of matrices and LSTMs).

    Raises UserError for a model whose graph would not be whole.
    """
    import onnx
    import onnxruntime.quantization as quantizing

    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".traced-") as scratch:
        traced = Path(scratch) / ONNX_FILE  # a large one has many files beside it
        _trace(_WaveformToLogProbs(model).eval(), traced)
        onnx.checker.check_model(str(traced), full_check=True)
        large = len(list(Path(scratch).iterdir())) > 1
        if quantization == "int8":
            with _quiet_onnxruntime():
                quantizing.quantize_dynamic(
                    str(traced),
                    str(folder / ONNX_FILE),
                    op_types_to_quantize=_INT8,
                    weight_type=quantizing.QuantType.QInt8,
                    per_channel=True,
                    reduce_range=True,  # 7 bits: with 8, processors without VNNI overflow
                    use_external_data_format=large,
                )
        elif large:
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
    """Without the root logger's warnings: ONNX Runtime advises a step that these graphs do not need."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def make_manifest(model: Any) -> dict[str, Any]:
    """What a caller of the graph needs to know, units included.

    symbols: the text of every place of the output, "" for the blank, null for what is never written; labels: a
    classifier's. longest_seconds: null where nothing bounds an utterance.
    """
    ctc = isinstance(model, CtcRecogniser)
    longest = max_input_samples(model.encoder)
    return {
        "format": ONNX_FORMAT,
        "kind": model.kind,
        "input": {"name": INPUT_NAME, "shape": [1, "time"], "type": "float32", "sample_rate": SAMPLE_RATE},
        "output": {"name": OUTPUT_NAME, "shape": [1, "frames", "vocab"] if ctc else [1, "classes"]},
        "longest_seconds": longest and longest / SAMPLE_RATE,
        **({"symbols": model.labels, "blank": model.blank} if ctc else {"labels": model.labels}),
        "normaliser": model.settings.normaliser,
        "base": model.settings.base,
    }


def max_input_samples(encoder: Any) -> int | None:
    """What a graph takes; None where nothing bounds it. The table of a conformer's relative positions grows as we run
    it, and is a constant in a graph."""
    if encoder.longest is not None:
        return encoder.longest
    table = getattr(getattr(encoder.module.encoder, "embed_positions", None), "pe", None)
    if table is None:
        return None
    further = (table.size(1) // 2) * math.prod(encoder.module.config.conv_stride)  # frames after the first
    return encoder.shortest + further - 2 * round(encoder.pad_silence * SAMPLE_RATE)


def compute_log_probs(model: Any, frames: Frames) -> Tensor:
    """(batch, frames, vocab) of a CTC head's symbols, or (batch, classes) of a classifier's labels."""
    if isinstance(model, CtcRecogniser):
        return model.compute_emissions(frames).log_probs
    return model.scores(frames).log_softmax(-1)


class _WaveformToLogProbs(nn.Module):
    """Samples (1, time) at 16 kHz to log-probabilities (1, frames, vocab) of symbols or (1, classes) of labels."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model, self.encoder, self.network = model, model.encoder, model.network  # the network: for its parameters
        self.framed = isinstance(model, CtcRecogniser)
        self.silence = round(model.encoder.pad_silence * SAMPLE_RATE)
        if isinstance(self.encoder, WhisperEncoderWrapper):
            self.prepare: nn.Module = _LogMel(self.encoder)
        elif self.encoder.family == "wav2vec2-bert":
            raise UserError(
                "the filter bank of wav2vec2-bert is not one that an ONNX graph computes here",
                fix="say --to transformers",
            )
        else:
            self.prepare = _WaveformNormalizer(self.encoder)

    def forward(self, samples: Tensor) -> Tensor:
        features = self.prepare(self._in_silence(samples))
        lengths = torch._shape_as_tensor(features)[-1:]  # of this call, not of the one that was traced
        return compute_log_probs(self.model, self.encoder(Inputs(features, lengths)))

    def _in_silence(self, samples: Tensor) -> Tensor:
        """As `SpeechEncoder.prepare` puts it around: less where the encoder holds no more."""
        if not self.silence:
            return samples
        around = samples.new_zeros(1, self.silence)
        if self.encoder.longest is not None:
            room = self.encoder.longest - torch._shape_as_tensor(samples)[1]
            around = around[:, : room.clamp(min=0, max=2 * self.silence) // 2]
        return torch.cat([around, samples, around], dim=1)


class _WaveformNormalizer(nn.Module):
    """(1, time), normalised as the extractor of the wav2vec2 family does."""

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.shortest, self.normalise = encoder.shortest, bool(encoder.extractor.do_normalize)

    def forward(self, samples: Tensor) -> Tensor:
        samples = _pad_to(samples, self.shortest)
        if not self.normalise:
            return samples
        centred = samples - samples.mean()
        return centred / (centred.square().mean() + 1e-7).sqrt()


class _LogMel(nn.Module):
    """(1, time) to (1, mels, steps): `WhisperEncoderWrapper.log_mel`, without complex numbers."""

    def __init__(self, encoder: WhisperEncoderWrapper) -> None:
        super().__init__()
        self.wanted = encoder.max_samples if encoder.pad_to_30s else MIN_SAMPLES
        size, self.hop = encoder.extractor.n_fft, encoder.extractor.hop_length
        self.edge, self.bins = size // 2, size // 2 + 1
        # in float32 the angles alone would leak as loudly as the quietest that Whisper hears, 80 dB down
        angles = torch.arange(self.bins).double()[:, None] * torch.arange(size)[None] * (2 * torch.pi / size)
        turns = torch.cat([angles.cos(), angles.sin()]) * torch.hann_window(size).double()
        self.register_buffer("turns", turns.float()[:, None])  # (2 bins, 1, size)
        self.register_buffer("filters", encoder._filters)

    def forward(self, samples: Tensor) -> Tensor:
        samples = _pad_to(samples, self.wanted)
        around = F.pad(samples[None], (self.edge, self.edge), mode="reflect")
        turned = F.conv1d(around, self.turns, stride=self.hop)[:, :, :-1]  # type: ignore[arg-type]
        power = turned[:, : self.bins].square() + turned[:, self.bins :].square()
        logarithm = (self.filters @ power).clamp(min=1e-10).log() / torch.log(torch.tensor(10.0))  # type: ignore[operator]
        return (torch.maximum(logarithm, logarithm.max() - 8.0) + 4.0) / 4.0


def _pad_to(samples: Tensor, shortest: int) -> Tensor:
    """(1, time) followed by silence where there are fewer than `min_samples`."""
    length = torch._shape_as_tensor(samples)[1].clamp(min=shortest)
    return torch.cat([samples, samples.new_zeros(1, shortest)], dim=1)[:, :length]


def _trace(whole: _WaveformToLogProbs, path: Path) -> None:
    """By torch's exporter that traces: the newer one writes an LSTM that takes the traced length alone (torch 2.14)."""
    example = torch.randn(1, SAMPLE_RATE, generator=torch.Generator().manual_seed(0)) * 0.1
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its deprecation, and sizes of a batch of one that are constant by intent
        torch.onnx.export(
            whole,
            (example,),
            str(path),
            dynamo=False,
            opset_version=TRACED_OPSET,
            input_names=[INPUT_NAME],
            output_names=[OUTPUT_NAME],
            dynamic_axes={INPUT_NAME: {1: "time"}, **({OUTPUT_NAME: {1: "frames"}} if whole.framed else {})},
        )
