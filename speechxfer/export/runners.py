"""Runs one utterance through a model in speechxfer, transformers, CTranslate2 or ONNX Runtime."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from transformers import (
    AutoFeatureExtractor,
    AutoModelForAudioClassification,
    AutoModelForCTC,
    WhisperForConditionalGeneration,
    WhisperProcessor,
)

from speechxfer.decoding.ctc_greedy import decode_greedy
from speechxfer.decoding.whisper import decode_whisper
from speechxfer.errors import UserError
from speechxfer.export.onnx_writer import INPUT_NAME, ONNX_FILE, OUTPUT_NAME, compute_log_probs, max_input_samples
from speechxfer.models import SpeechModel
from speechxfer.models.ctc import CtcRecogniser
from speechxfer.models.pretrained import load_pretrained
from speechxfer.models.seq2seq import WhisperRecogniser
from speechxfer.shapes import SAMPLE_RATE, Emissions


class RunnerOutput(NamedTuple):
    """Output of a runner for one utterance.

    Args:
        frames: the encoder's output, (1, frames, dim), if the library returns it.
        probabilities: of each token, (tokens,), or of the head's outputs, (1, frames, vocab) or (1, classes).
        text: the greedy transcript or label.
        tokens: the tokens that `probabilities` belongs to; [] without a decoder.
    """

    frames: Tensor | None
    probabilities: Tensor
    text: str
    tokens: list[int]


class Runner(Protocol):
    """A model in one library."""

    def run(self, waveform: np.ndarray, tokens: list[int] | None) -> RunnerOutput:
        """Run the model on a waveform, (time,) float32 at 16 kHz.

        tokens: compute the probabilities of these tokens (None: of the model's own transcript).
        """


class NativeWhisper:
    """Whisper in speechxfer, padded to 30 s, greedy."""

    def __init__(self, model: WhisperRecogniser) -> None:
        self.model = model

    def run(self, waveform: np.ndarray, tokens: list[int] | None) -> RunnerOutput:
        model = self.model
        with model.use_padding():
            frames = model.encoder(model.encoder.prepare([waveform]))
        (decoded,) = decode_whisper(model.whisper, frames, model.prompt)
        tokens = _select_text_tokens(decoded, model) if tokens is None else tokens
        return RunnerOutput(
            frames.states,
            _compute_probabilities(model.whisper, frames.states, model, tokens),
            model.processor.tokenizer.decode(decoded, skip_special_tokens=True).strip(),
            tokens,
        )


class TransformersWhisper:
    """Whisper in transformers, with its feature extractor, padding and `generate`."""

    def __init__(self, model: WhisperRecogniser, folder: Path) -> None:
        self.model = model
        self.network = load_pretrained(WhisperForConditionalGeneration, folder).eval()
        self.processor = load_pretrained(WhisperProcessor, folder)

    def run(self, waveform: np.ndarray, tokens: list[int] | None) -> RunnerOutput:
        features = self.processor(waveform, sampling_rate=SAMPLE_RATE, return_tensors="pt").input_features
        states = self.network.model.encoder(features).last_hidden_state
        decoded = self.network.generate(features, num_beams=1)[0].tolist()
        tokens = _select_text_tokens(decoded, self.model) if tokens is None else tokens
        text = self.processor.tokenizer.decode(decoded, skip_special_tokens=True).strip()
        return RunnerOutput(states, _compute_probabilities(self.network, states, self.model, tokens), text, tokens)


class CTranslate2Whisper:
    """Whisper in CTranslate2 on the CPU, called as faster-whisper does, with speechxfer's log-mel features."""

    def __init__(self, model: WhisperRecogniser, folder: Path, quantization: str) -> None:
        import ctranslate2

        self.model, self._storage = model, ctranslate2.StorageView
        # few CPUs compute in float16, so such weights are converted
        compute_type = "float32" if quantization == "float16" else quantization
        threads = torch.get_num_threads()
        self.whisper = ctranslate2.models.Whisper(str(folder), compute_type=compute_type, intra_threads=threads)

    def run(self, waveform: np.ndarray, tokens: list[int] | None) -> RunnerOutput:
        model = self.model
        with model.use_padding():
            features = model.encoder.prepare([waveform]).features.numpy()
        states = self.whisper.encode(self._storage.from_array(np.ascontiguousarray(features)))
        (generated,) = self.whisper.generate(
            states, [model.prompt], beam_size=1, max_length=model.whisper.config.max_target_positions
        )
        decoded = generated.sequences_ids[0]
        tokens = _select_text_tokens(decoded, model) if tokens is None else tokens
        start = model.prompt[:-1]  # CTranslate2 adds the no-timestamps token itself
        (aligned,) = self.whisper.align(states, start, [tokens], features.shape[-1]) if tokens else (None,)
        return RunnerOutput(
            torch.from_numpy(np.array(states)),
            torch.tensor(aligned.text_token_probs if aligned else []),
            model.processor.tokenizer.decode(decoded, skip_special_tokens=True).strip(),
            tokens,
        )


class NativeHead:
    """A CTC or classification head in speechxfer, greedy.

    force_padding: pad the input of a Whisper encoder to 30 s, whatever the model's settings.
    """

    def __init__(self, model: SpeechModel, *, force_padding: bool = True) -> None:
        self.model: Any = model
        self.force_padding = force_padding

    def run(self, waveform: np.ndarray, tokens: list[int] | None) -> RunnerOutput:
        model = self.model
        with model.use_padding() if self.force_padding else nullcontext():
            frames = model.encoder(model.encoder.prepare([waveform]))
        probabilities = compute_log_probs(model, frames).exp()
        return RunnerOutput(frames.states, probabilities, _decode_greedily(model, probabilities), [])


class TransformersHead:
    """A CTC or classification model in transformers, with its feature extractor."""

    def __init__(self, model: SpeechModel, folder: Path) -> None:
        self.model: Any = model
        auto_class = AutoModelForCTC if isinstance(model, CtcRecogniser) else AutoModelForAudioClassification
        self.network = load_pretrained(auto_class, folder).eval()
        self.extractor = load_pretrained(AutoFeatureExtractor, folder)

    def run(self, waveform: np.ndarray, tokens: list[int] | None) -> RunnerOutput:
        inputs = self.extractor(waveform, sampling_rate=SAMPLE_RATE, return_tensors="pt")
        output = self.network(**inputs, output_hidden_states=True)
        probabilities = output.logits.softmax(-1)
        return RunnerOutput(output.hidden_states[-1], probabilities, _decode_greedily(self.model, probabilities), [])


class OnnxHead:
    """An ONNX graph in ONNX Runtime, which takes raw samples."""

    def __init__(self, model: SpeechModel, folder: Path) -> None:
        import onnxruntime

        self.model = model
        self.session = onnxruntime.InferenceSession(str(folder / ONNX_FILE), providers=["CPUExecutionProvider"])
        self.max_samples = max_input_samples(model.encoder)

    def run(self, waveform: np.ndarray, tokens: list[int] | None) -> RunnerOutput:
        if self.max_samples is not None and len(waveform) > self.max_samples:
            seconds, limit = len(waveform) / SAMPLE_RATE, self.max_samples / SAMPLE_RATE
            raise UserError(f"an utterance of {seconds:.1f} s is longer than the graph's limit of {limit:.1f} s")
        (log_probs,) = self.session.run([OUTPUT_NAME], {INPUT_NAME: waveform[None]})
        probabilities = torch.from_numpy(log_probs).exp()
        return RunnerOutput(None, probabilities, _decode_greedily(self.model, probabilities), [])


def _decode_greedily(model: Any, probabilities: Tensor) -> str:
    """Decode the best path of (1, frames, vocab), or the label of (1, classes)."""
    if isinstance(model, CtcRecogniser):
        # greedy decoding depends on the ranking only, so probabilities serve as well as log-probabilities
        emissions = Emissions(probabilities, torch.tensor([probabilities.shape[1]]))
        return model.decode_ids(decode_greedy(emissions, model.blank)[0])
    return model.labels[int(probabilities.argmax())]


def _select_text_tokens(tokens: list[int], model: WhisperRecogniser) -> list[int]:
    """Remove special tokens; in Whisper these are the end token and all ids above it."""
    end = model.processor.tokenizer.eos_token_id
    return [token for token in tokens if token < end]


def _compute_probabilities(network: Any, states: Tensor, model: WhisperRecogniser, tokens: list[int]) -> Tensor:
    """Compute the probability of each token given those before it, (tokens,).

    The distribution is over text tokens only, as in CTranslate2's `align`.
    """
    input_ids = torch.tensor([[*model.prompt, *tokens]])
    decoded = network.model.decoder(input_ids=input_ids, encoder_hidden_states=states).last_hidden_state
    logits = network.proj_out(decoded)[0, len(model.prompt) - 1 : -1]
    probabilities = logits[:, : model.processor.tokenizer.eos_token_id].softmax(-1)
    return probabilities[torch.arange(len(tokens)), torch.tensor(tokens, dtype=torch.int64)]
