"""What a recogniser and a classifier share: an encoder, a head on its frames, and one folder that holds both."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from speechxfer.decoding.whisper import ENGLISH_TOKENS_PER_WORD
from speechxfer.encoders.base import SpeechEncoder
from speechxfer.encoders.checkpoints import SETTINGS_FILE
from speechxfer.shapes import Frames

Kind = Literal["seq2seq", "ctc", "classify", "joint"]
DECODER_KINDS: tuple[Kind, ...] = ("seq2seq", "joint")  # they write with Whisper's own decoder


Prediction = TypeVar("Prediction")


class ModelSettings(BaseModel):
    """How a saved model was adapted and is meant to be run; a folder without it runs as its authors' model does."""

    model_config = ConfigDict(extra="forbid")

    format: Literal[1] = 1
    kind: Kind
    pad_to_30s: bool = False  # Whisper: run on utterances padded to 30 s
    pad_silence: float = 0.0  # seconds put before and after every utterance
    beam_size: int = 1  # 1 is greedy
    length_penalty: float = 1.0  # with its decoder and a beam: `decoding.whisper.decode`
    no_loops: bool = False  # with its decoder: a stretch of tokens is not said over and over
    tokens_per_word: float = ENGLISH_TOKENS_PER_WORD  # with its decoder: of the training text
    rescoring: dict[str, float] | None = None  # joint, or exported from it: `decoding.hybrid.Rescoring`
    lm: str | None = None  # ctc: the ARPA file beside the weights
    beam_search: dict[str, Any] | None = None  # ctc: `decoding.ctc_beam.Search`, but for its beams
    language: str | None = None
    normaliser: str = "default"
    base: str | None = None  # the MODEL that it was adapted from

    def write(self, folder: Path) -> None:
        """Beside the weights, as `SETTINGS_FILE`."""
        text = json.dumps(self.model_dump(), indent=2, ensure_ascii=False) + "\n"
        (folder / SETTINGS_FILE).write_text(text, encoding="utf-8")


class SpeechModel(ABC):
    """A transformers model seen as encoder and head. `answer(waveforms)` is all that most callers need.

    network: the module that owns every weight, transformers' own where that is enough. processor: its tokenizer and
    feature extractor.
    """

    kind: ClassVar[Kind]
    num_inflight = 0  # batches that may be begun while the first of them is being answered

    def __init__(self, network: nn.Module, encoder: SpeechEncoder, processor: Any, settings: ModelSettings) -> None:
        self.network: Any = network  # torch types a submodule as Tensor or Module; each kind knows better
        self.encoder, self.processor, self.settings = encoder, processor, settings
        self.heard: Callable[[Sequence[np.ndarray]], Frames] | None = None  # while frames are remembered
        encoder.pad_silence = settings.pad_silence

    @property
    @abstractmethod
    def head(self) -> list[nn.Module]:
        """The modules that `train: head` trains: the new head, or Whisper's own decoder."""

    @property
    def randomly_initialised_head(self) -> list[nn.Module]:
        """Of the head, what no checkpoint has pretrained."""
        return self.head

    @abstractmethod
    def encode_target(self, text: str) -> list[int]:
        """What the loss compares the utterance with: token, character or class numbers.

        Raises UserError where the text has something that the model cannot write.
        """

    @abstractmethod
    def compute_loss(self, frames: Frames, labels: Tensor) -> Tensor:
        """The loss summed over the targets. labels: (batch, targets) int64, -100 where padded."""

    @abstractmethod
    def decode_frames(self, frames: Frames) -> list[str]:
        """The text or label of each utterance."""

    @property
    def device(self) -> torch.device:
        return self.encoder.device

    def predict(self, waveforms: Sequence[np.ndarray]) -> list[str]:
        """Text or label of each waveform, (time,) float32 at 16 kHz. The answers do not depend on the batch."""
        return self.infer(waveforms, self.decode_frames)

    def submit(self, waveforms: Sequence[np.ndarray]) -> Callable[[], list[str]]:
        """A call that gives `answer`, of a model whose workers begin at once; `num_inflight` says how far."""
        raise NotImplementedError

    @torch.no_grad()
    def infer(self, waveforms: Sequence[np.ndarray], read: Callable[[Frames], Prediction]) -> Prediction:
        """What `decode_frames` makes of the waveforms' frames, everything in eval mode."""
        was_training = self.network.training
        self.network.eval()
        try:
            if self.heard is not None:
                return read(self.heard(waveforms))
            dtype = next(self.network.parameters()).dtype
            return read(self.encoder(self.encoder.prepare(waveforms).to(self.device, dtype)))
        finally:
            self.network.train(was_training)

    @contextmanager
    def use_padding(self, pad_to_30s: bool = True) -> Iterator[None]:
        """While open, Whisper's inputs are (or are not) padded to 30 s; other families have no such way."""
        before = getattr(self.encoder, "pad_to_30s", None)
        if before is not None:
            self.encoder.pad_to_30s = pad_to_30s  # type: ignore[attr-defined]
        try:
            yield
        finally:
            if before is not None:
                self.encoder.pad_to_30s = before  # type: ignore[attr-defined]

    def save(self, folder: Path) -> None:
        """Write safetensors and JSON to `folder`; transformers opens it where it knows the architecture."""
        folder.mkdir(parents=True, exist_ok=True)
        self._save_network(folder)
        self.processor.save_pretrained(folder)
        self.settings.write(folder)
        make_readable(folder)

    def _save_network(self, folder: Path) -> None:
        self.network.save_pretrained(folder)


def make_readable(folder: Path) -> None:
    """Give weights the permissions of what lies beside them: safetensors writes for the user alone."""
    mode = (folder / "config.json").stat().st_mode
    for weights in folder.glob("*.safetensors"):
        weights.chmod(mode)
