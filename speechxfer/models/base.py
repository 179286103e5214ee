"""Base class of recognisers and classifiers: an encoder and a head, saved together in one folder."""

from __future__ import annotations

import copy
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, TypeVar

import numpy as np
import torch
from pydantic import AliasChoices, BaseModel, ConfigDict, Field
from torch import Tensor, nn

from speechxfer.decoding.whisper import ENGLISH_TOKENS_PER_WORD
from speechxfer.encoders.base import SpeechEncoder
from speechxfer.encoders.checkpoints import SETTINGS_FILE
from speechxfer.errors import UserError
from speechxfer.shapes import Frames

Kind = Literal["seq2seq", "ctc", "classify", "joint"]
TargetSpan = tuple[float, float | None]  # start and end of an utterance in joined audio, in seconds
DECODER_KINDS: tuple[Kind, ...] = ("seq2seq", "joint")  # models that generate text with Whisper's decoder


Prediction = TypeVar("Prediction")


class TrainingLengths(BaseModel):
    """What a model was trained on, for cutting long audio, and for a classifier's warning about it.

    Attributes:
        usual_seconds: length that 95 % of the training examples do not exceed.
        max_seconds: length of the longest training example.
        characters_per_second: characters of the training texts per second of speech; 0 for a classifier.
    """

    model_config = ConfigDict(extra="forbid")

    usual_seconds: float = Field(gt=0, le=3600)
    max_seconds: float = Field(gt=0, le=36_000)
    characters_per_second: float = Field(ge=0, le=10_000)


class ModelSettings(BaseModel):
    """Settings saved with a model: how it was adapted and how it is run.

    A folder without the settings file runs as the authors of its architecture run it. In the file, `pad_silence`,
    `beam_size` and `beam_search` have the names `silence`, `beams` and `search`, the file format's own.
    """

    model_config = ConfigDict(extra="forbid")

    format: Literal[1] = 1
    kind: Kind
    pad_to_30s: bool = False  # Whisper: pad every utterance to 30 s
    # seconds of silence added before and after every utterance
    pad_silence: float = Field(
        0.0, ge=0, le=10, validation_alias=AliasChoices("pad_silence", "silence"), serialization_alias="silence"
    )
    beam_size: int = Field(
        1, ge=0, le=1000, validation_alias=AliasChoices("beam_size", "beams"), serialization_alias="beams"
    )
    # Whisper's decoder, beam search: see `decoding.whisper.decode_whisper`
    length_penalty: float = Field(1.0, ge=-10, le=10)
    no_loops: bool = False  # Whisper's decoder: block repetition loops
    # Whisper's decoder: average over the training texts
    tokens_per_word: float = Field(ENGLISH_TOKENS_PER_WORD, gt=0, le=1000)
    rescoring: dict[str, float] | None = None  # joint, or exported from it: `decoding.rescoring.RescoringWeights`
    lm: str | None = None  # ctc: name of the language model's file in the model's folder
    # ctc: options of `decoding.ctc_beam.BeamSearchOptions` other than the beam size
    beam_search: dict[str, Any] | None = Field(
        None, validation_alias=AliasChoices("beam_search", "search"), serialization_alias="search"
    )
    language: str | None = None
    normaliser: str = "default"
    base: str | None = None  # the MODEL that it was adapted from
    training: TrainingLengths | None = None  # None for a model that was not adapted
    # classify: probability below which the best label is rejected as `scoring.labels.UNKNOWN_LABEL`; None: never
    reject_below: float | None = Field(None, ge=0, le=1)

    def write(self, folder: Path) -> None:
        """Write the settings to `SETTINGS_FILE` in `folder`."""
        text = json.dumps(self.model_dump(by_alias=True), indent=2, ensure_ascii=False) + "\n"
        (folder / SETTINGS_FILE).write_text(text, encoding="utf-8")


class SpeechModel(ABC):
    """A transformers model as an encoder and a head. Most callers need `predict(waveforms)` only.

    Args:
        network: the module that owns all weights; the transformers model itself where possible.
        encoder: a view on the encoder of `network`.
        processor: tokenizer and feature extractor.
        settings: how the model is run.
    """

    kind: ClassVar[Kind]
    num_inflight = 0  # batches that may be submitted before the first result is read

    def __init__(self, network: nn.Module, encoder: SpeechEncoder, processor: Any, settings: ModelSettings) -> None:
        self.network: Any = network  # torch types a submodule as Tensor or Module; subclasses know the type
        self.encoder, self.processor, self.settings = encoder, processor, settings
        # replaces the encoder's forward pass while cached frames are used
        self.frame_source: Callable[[Sequence[np.ndarray]], Frames] | None = None
        self.warnings: list[str] = []  # about how the model was loaded
        encoder.pad_silence = settings.pad_silence

    @property
    @abstractmethod
    def head(self) -> list[nn.Module]:
        """The modules that `train: head` trains: the new head, or Whisper's decoder."""

    @property
    def randomly_initialised_head(self) -> list[nn.Module]:
        """The modules of the head that have no pretrained weights."""
        return self.head

    @abstractmethod
    def encode_target(self, text: str) -> list[int]:
        """Encode a text as the targets of the loss: token, character or class ids.

        Raises:
            UserError: if the model cannot write the text.
        """

    def encode_language(self, language: str) -> list[int]:
        """Return what precedes the targets of a text in another language than `settings.language`; "": the same one.

        Raises:
            UserError: if the model does not know the language, or has no choice of languages.
        """
        if language:
            raise _make_language_error(self.kind)
        return []

    def join_targets(self, targets: Sequence[list[int]], spans: Sequence[TargetSpan] | None = None) -> list[int]:
        """Join the targets of texts to those of the texts one after another, for models of text.

        Args:
            spans: start and end of each utterance in the joined audio, in seconds; the target then has timestamps, if
                the model `knows_timestamps`. Without an end, the audio is cut there and the text is left out.
        """
        raise NotImplementedError

    @property
    def knows_timestamps(self) -> bool:
        """Whether the model has tokens for the times of its text."""
        return False

    @abstractmethod
    def compute_loss(self, frames: Frames, labels: Tensor) -> Tensor:
        """Compute the loss, summed over the targets. labels: (batch, targets) int64, -100 for padding."""

    @abstractmethod
    def decode_frames(self, frames: Frames) -> list[str]:
        """Decode the text or label of each utterance."""

    @property
    def device(self) -> torch.device:
        return self.encoder.device

    def predict(self, waveforms: Sequence[np.ndarray]) -> list[str]:
        """Predict the text or label of each waveform, (time,) float32 at 16 kHz, independently of the batch."""
        return self.infer(waveforms, self.decode_frames)

    def submit(self, waveforms: Sequence[np.ndarray]) -> Callable[[], list[str]]:
        """Submit a batch to background workers; the returned callable waits for the predictions.

        Only for models with `num_inflight` > 0.
        """
        raise NotImplementedError

    @torch.no_grad()
    def infer(self, waveforms: Sequence[np.ndarray], fn: Callable[[Frames], Prediction]) -> Prediction:
        """Apply `fn` to the waveforms' frames, with the network in eval mode and without gradients."""
        was_training = self.network.training
        self.network.eval()
        try:
            if self.frame_source is not None:
                return fn(self.frame_source(waveforms))
            dtype = next(self.network.parameters()).dtype
            return fn(self.encoder(self.encoder.prepare(waveforms).to(self.device, dtype)))
        finally:
            self.network.train(was_training)

    def copy_with(self, **changes: Any) -> Self:
        """Return the same model, with the same weights, and settings of its own in which `changes` are made."""
        other = copy.copy(self)
        other.settings = self.settings.model_copy(update=changes)
        other.encoder = copy.copy(self.encoder)
        return other

    def copy_with_language(self, language: str) -> Self:
        """Return a copy of a multilingual model that transcribes another language.

        Raises:
            UserError: if the model does not know the language, or has no choice of languages.
        """
        raise _make_language_error(self.kind)

    @contextmanager
    def use_padding(self, pad_to_30s: bool = True) -> Iterator[None]:
        """Pad Whisper's input to 30 s (or do not) while the context is open; no effect on other encoders.

        For training and checks: it changes the model itself. `decoding_options.apply_decoding` does not.
        """
        before = getattr(self.encoder, "pad_to_30s", None)
        if before is not None:
            self.encoder.pad_to_30s = pad_to_30s  # type: ignore[attr-defined]
        try:
            yield
        finally:
            if before is not None:
                self.encoder.pad_to_30s = before  # type: ignore[attr-defined]

    def save(self, folder: Path) -> None:
        """Write safetensors and JSON to `folder`; transformers opens it if it knows the architecture."""
        folder.mkdir(parents=True, exist_ok=True)
        self._save_network(folder)
        self.processor.save_pretrained(folder)
        self.settings.write(folder)
        make_readable(folder)

    def _save_network(self, folder: Path) -> None:
        self.network.save_pretrained(folder)


def make_readable(folder: Path) -> None:
    """Give weight files the permissions of config.json: safetensors writes files that only the owner can read."""
    mode = (folder / "config.json").stat().st_mode
    for weights in folder.glob("*.safetensors"):
        weights.chmod(mode)


def _make_language_error(kind: Kind) -> UserError:
    problem = f"a loaded model of kind {kind} keeps its language"
    return UserError(problem, where="language", fix="load it with the language")
