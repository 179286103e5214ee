"""One utterance through a model: by us, by plain transformers, CTranslate2 or ONNX Runtime, each with its own code."""

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
    """frames: (1, frames, dim), if shown. probabilities: of each token, or (1, frames, symbols), or (1, labels)."""

    frames: Tensor | None
    probabilities: Tensor
    text: str
    tokens: list[int]


class Runner(Protocol):
    def run(self, waveform: np.ndarray, tokens: list[int] | None) -> RunnerOutput:
        """waveform: (time,) float32 at 16 kHz. tokens: to be given probabilities; None: those of its own transcript."""


class NativeWhisper:
    """Ours, padded to 30 s, greedy."""

    def __init__(self, model: WhisperRecogniser) -> None:
        self.model = model

    def run(self, waveform: np.ndarray, tokens: list[int] | None) -> RunnerOutput:
        model = self.model
        with model.use_padding():
            frames = model.encoder(model.encoder.prepare([waveform]))
        (said,) = decode_whisper(model.whisper, frames, model.prompt)
        words = _words(said, model) if tokens is None else tokens
        return RunnerOutput(
            frames.states,
            _probabilities(model.whisper, frames.states, model, words),
            model.processor.tokenizer.decode(said, skip_special_tokens=True).strip(),
            words,
        )


class TransformersWhisper:
    """Plain transformers: its feature extractor, its padding, its `generate`."""

    def __init__(self, model: WhisperRecogniser, folder: Path) -> None:
        self.model = model
        self.network = load_pretrained(WhisperForConditionalGeneration, folder).eval()
        self.processor = load_pretrained(WhisperProcessor, folder)

    def run(self, waveform: np.ndarray, tokens: list[int] | None) -> RunnerOutput:
        features = self.processor(waveform, sampling_rate=SAMPLE_RATE, return_tensors="pt").input_features
        states = self.network.model.encoder(features).last_hidden_state
        said = self.network.generate(features, num_beams=1)[0].tolist()
        words = _words(said, self.model) if tokens is None else tokens
        text = self.processor.tokenizer.decode(said, skip_special_tokens=True).strip()
        return RunnerOutput(states, _probabilities(self.network, states, self.model, words), text, words)


class CTranslate2Whisper:
    """CTranslate2 on the CPU, as faster-whisper calls it; the features are ours, which its own tests are not about."""

    def __init__(self, model: WhisperRecogniser, folder: Path, quantization: str) -> None:
        import ctranslate2

        self.model, self._storage = model, ctranslate2.StorageView
        # few processors compute in float16; such weights are widened
        compute = "float32" if quantization == "float16" else quantization
        threads = torch.get_num_threads()
        self.whisper = ctranslate2.models.Whisper(str(folder), compute_type=compute, intra_threads=threads)

    def run(self, waveform: np.ndarray, tokens: list[int] | None) -> RunnerOutput:
        model = self.model
        with model.use_padding():
            features = model.encoder.prepare([waveform]).features.numpy()
        states = self.whisper.encode(self._storage.from_array(np.ascontiguousarray(features)))
        (said,) = self.whisper.generate(
            states, [model.prompt], beam_size=1, max_length=model.whisper.config.max_target_positions
        )
        words = _words(said.sequences_ids[0], model) if tokens is None else tokens
        start = model.prompt[:-1]  # it puts the no-timestamps token itself
        (aligned,) = self.whisper.align(states, start, [words], features.shape[-1]) if words else (None,)
        return RunnerOutput(
            torch.from_numpy(np.array(states)),
            torch.tensor(aligned.text_token_probs if aligned else []),
            model.processor.tokenizer.decode(said.sequences_ids[0], skip_special_tokens=True).strip(),
            words,
        )


class NativeHead:
    """Ours, a CTC or classification head, greedy; a Whisper encoder padded to 30 s, unless it runs `as_it_is`."""

    def __init__(self, model: SpeechModel, *, as_it_is: bool = False) -> None:
        self.model: Any = model
        self.as_it_is = as_it_is

    def run(self, waveform: np.ndarray, tokens: list[int] | None) -> RunnerOutput:
        model = self.model
        with nullcontext() if self.as_it_is else model.padded():
            frames = model.encoder(model.encoder.prepare([waveform]))
        probabilities = compute_log_probs(model, frames).exp()
        return RunnerOutput(frames.states, probabilities, _most_probable(model, probabilities), [])


class TransformersHead:
    """Plain transformers' network with a CTC or classification head, behind its own feature extractor."""

    def __init__(self, model: SpeechModel, folder: Path) -> None:
        self.model: Any = model
        kind = AutoModelForCTC if isinstance(model, CtcRecogniser) else AutoModelForAudioClassification
        self.network = load_pretrained(kind, folder).eval()
        self.extractor = load_pretrained(AutoFeatureExtractor, folder)

    def run(self, waveform: np.ndarray, tokens: list[int] | None) -> RunnerOutput:
        inputs = self.extractor(waveform, sampling_rate=SAMPLE_RATE, return_tensors="pt")
        found = self.network(**inputs, output_hidden_states=True)
        probabilities = found.logits.softmax(-1)
        return RunnerOutput(found.hidden_states[-1], probabilities, _most_probable(self.model, probabilities), [])


class OnnxHead:
    """ONNX Runtime with a graph that takes the samples as they are."""

    def __init__(self, model: SpeechModel, folder: Path) -> None:
        import onnxruntime

        self.model = model
        self.session = onnxruntime.InferenceSession(str(folder / ONNX_FILE), providers=["CPUExecutionProvider"])
        self.longest = max_input_samples(model.encoder)

    def run(self, waveform: np.ndarray, tokens: list[int] | None) -> RunnerOutput:
        if self.longest is not None and len(waveform) > self.longest:
            held = self.longest / SAMPLE_RATE
            raise UserError(
                f"{len(waveform) / SAMPLE_RATE:.1f} s of audio in one utterance, and the graph holds {held:.1f} s"
            )
        (found,) = self.session.run([OUTPUT_NAME], {INPUT_NAME: waveform[None]})
        probabilities = torch.from_numpy(found).exp()
        return RunnerOutput(None, probabilities, _most_probable(self.model, probabilities), [])


def _most_probable(model: Any, probabilities: Tensor) -> str:
    """The text of the best path through (1, frames, symbols), or the label of (1, labels)."""
    if isinstance(model, CtcRecogniser):
        whole = Emissions(probabilities, torch.tensor([probabilities.shape[1]]))  # only the order of symbols counts
        return model.decode_ids(decode_greedy(whole, model.blank)[0])
    return model.labels[int(probabilities.argmax())]


def _words(said: list[int], model: WhisperRecogniser) -> list[int]:
    """The tokens of the text: Whisper's special ones have the numbers from the end token on."""
    end = model.processor.tokenizer.eos_token_id
    return [token for token in said if token < end]


def _probabilities(network: Any, states: Tensor, model: WhisperRecogniser, words: list[int]) -> Tensor:
    """(words,) the probability of each, after those before it, among the tokens of text, as CTranslate2 counts them."""
    given = torch.tensor([[*model.prompt, *words]])
    decoded = network.model.decoder(input_ids=given, encoder_hidden_states=states).last_hidden_state
    logits = network.proj_out(decoded)[0, len(model.prompt) - 1 : -1]
    ranks = logits[:, : model.processor.tokenizer.eos_token_id].softmax(-1)
    return ranks[torch.arange(len(words)), torch.tensor(words, dtype=torch.int64)]
