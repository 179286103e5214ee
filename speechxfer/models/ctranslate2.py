"""An adapted Whisper in CTranslate2 on the CPU: what `export --to ctranslate2` wrote, run as it was adapted.

faster-whisper pads every utterance to 30 s, as Whisper's authors do. Here features are as long as the utterance: a
model that was adapted unpadded understands that, and it costs a fraction. CTranslate2 has no mask, so what shares a
batch must be of one length: an utterance is filled with silence up to the next half second, by its own length alone, so
that its text does not depend on the batch.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import numpy as np
import torch
from torch import Tensor, nn
from transformers import WhisperProcessor

from speechxfer.decoding.rescoring import DecoderHypothesis, RescoringWeights, choose_hypothesis
from speechxfer.decoding.whisper import (
    MAX_LOOP_TOKENS,
    MAX_NGRAM_OCCURRENCES,
    MAX_REPEATS,
    MAX_SINGLE_TOKEN_REPEATS,
    MIN_NO_REPEAT_NGRAM,
    MIN_TOKEN_LIMIT,
    compute_max_token_rate,
    compute_no_repeat_ngram_size,
)
from speechxfer.encoders.ctranslate2 import ModelDescription, describe_folder
from speechxfer.encoders.whisper import WhisperEncoderWrapper
from speechxfer.errors import MissingExtraError, UserError
from speechxfer.models.base import Kind, ModelSettings, SpeechModel
from speechxfer.models.seq2seq import make_prompt
from speechxfer.shapes import SAMPLE_RATE, Frames, Hidden, Inputs
from speechxfer.text.normalise import get_normaliser

BUCKET_SAMPLES = SAMPLE_RATE // 2  # samples: an utterance is filled up to a multiple of them
# A beam search goes on until so many times the beams have ended. With 1, CTranslate2's default, poor hypotheses that
# end early end it before the best one has been said.
BEAM_PATIENCE = 2.0
MAX_BATCH_UTTERANCES = 16  # utterances in a batch at most; other workers would wait for a larger one


class CTranslate2Recogniser(SpeechModel):
    """`kind: seq2seq` for transcribing alone: it answers, and neither trains nor shows frames and probabilities.

    It is run as its settings say, and decodes as a `WhisperRecogniser` does, but for two things. An utterance's limit
    of tokens is that of its length filled up: six more at most. And `no_loops` cannot be asked of CTranslate2 step by
    step: an utterance that loops is decoded again with the weakest `no_repeat_ngram_size` that ends its loop, which
    forbids other repetitions of that length too; one that does not loop is left as it is. `rescoring`, of a model that
    was joint, has no CTC head here.

    multilingual: it must be told a language.
    """

    kind: ClassVar[Kind] = "seq2seq"
    encoder: CTranslate2FrontEnd
    processor: WhisperProcessor

    def __init__(
        self, folder: Path, described: ModelDescription, settings: ModelSettings, *, multilingual: bool
    ) -> None:
        from ctranslate2 import StorageView
        from ctranslate2.models import Whisper

        ears = CTranslate2FrontEnd(described, pad_to_30s=settings.pad_to_30s)
        super().__init__(ears.module, ears, described.processor, settings)
        self.prompt = make_prompt(described.processor.tokenizer, settings.language, multilingual=multilingual)
        self.longest_text = described.config.max_target_positions - len(self.prompt)
        self.num_inflight = torch.get_num_threads()  # a worker a core, or as many as OMP_NUM_THREADS says
        self._normalise = get_normaliser(settings.normaliser)
        halves = described.weight_type in ("float16", "bfloat16")  # few processors compute in them
        self._storage = StorageView
        self._engine = Whisper(
            str(folder),
            device="cpu",
            compute_type="float32" if halves else "default",
            inter_threads=self.num_inflight,
            intra_threads=1,
        )

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def predict(self, waveforms: Sequence[np.ndarray]) -> list[str]:
        return self.submit(waveforms)()

    def submit(self, waveforms: Sequence[np.ndarray]) -> Callable[[], list[str]]:
        beams = self.settings.beam_size
        of_length: dict[int, list[int]] = {}
        for place, waveform in enumerate(waveforms):
            of_length.setdefault(self.encoder.round_up_samples(len(waveform)), []).append(place)
        begun = []
        for length in sorted(of_length, reverse=True):  # the dearest first
            alike = of_length[length]
            for start in range(0, len(alike), MAX_BATCH_UTTERANCES):
                places = alike[start : start + MAX_BATCH_UTTERANCES]
                features = self.encoder.prepare([waveforms[place] for place in places]).features.numpy()
                begun.append((places, features, length, self._decode(features, length, beams)))

        def answers() -> list[str]:
            said = [""] * len(waveforms)
            for places, features, length, found in begun:
                for number, (place, one) in enumerate(zip(places, found, strict=True)):
                    tokens = self._chosen(one.result())
                    if self.settings.no_loops:
                        tokens = self._unlooped(tokens, features[number : number + 1], length, beams)
                    said[place] = self._text(tokens)
            return said

        return answers

    def _decode(self, features: np.ndarray, length: int, beams: int, *, no_repeat: int = 0) -> list[Any]:
        """features: (batch, mels, steps) of utterances of `length` samples. The results of each, not yet there."""
        said = MIN_TOKEN_LIMIT + length * compute_max_token_rate(self.settings.tokens_per_word) // SAMPLE_RATE
        limit = min(self.longest_text, said) - 1  # the end token
        found: list[Any] = self._engine.generate(
            self._storage.from_array(np.ascontiguousarray(features)),
            [self.prompt] * len(features),
            beam_size=beams,
            patience=BEAM_PATIENCE,
            length_penalty=self.settings.length_penalty,
            num_hypotheses=beams if self.settings.rescoring else 1,
            return_scores=True,
            max_length=max(2 * limit, limit + len(self.prompt)),  # it halves this, and counts the prompt
            no_repeat_ngram_size=no_repeat,
            asynchronous=True,
        )
        return found

    def _chosen(self, found: Any) -> list[int]:
        """The tokens of one utterance's best hypothesis."""
        best: list[int] = found.sequences_ids[0]
        if self.settings.rescoring is None or len(found.sequences_ids) == 1:
            return best
        hypotheses = []
        for tokens, score in zip(found.sequences_ids, found.scores, strict=True):
            text = self._text(tokens)
            decoder = score * max(1, len(tokens)) ** self.settings.length_penalty  # it gives them divided so
            hypotheses.append(DecoderHypothesis(text, tuple(self._normalise(text).split()), decoder, 0.0))
        chosen = choose_hypothesis(hypotheses, RescoringWeights(**self.settings.rescoring))
        return found.sequences_ids[next(place for place, one in enumerate(hypotheses) if one is chosen)]

    def _text(self, tokens: list[int]) -> str:
        text: str = self.processor.tokenizer.decode(tokens, skip_special_tokens=True)
        return text.strip()

    def _unlooped(self, tokens: list[int], features: np.ndarray, length: int, beams: int) -> list[int]:
        """The tokens, or what is said in their place without a loop. features: (1, mels, steps)."""
        refrain = compute_no_repeat_ngram_size(self.settings.tokens_per_word)
        no_repeat = max(MAX_REPEATS * MAX_LOOP_TOKENS, refrain + 1)
        while (stretch := find_loop(tokens, refrain)) and no_repeat > 1:
            # so many tokens may not come twice: a round that is one too many would end with them
            no_repeat = min(
                no_repeat - 1, MAX_SINGLE_TOKEN_REPEATS - 1 if stretch == 1 else (MAX_REPEATS - 1) * stretch
            )
            found = self._decode(features, length, beams, no_repeat=no_repeat)[0].result()
            tokens = self._chosen(found)
        return tokens

    # -- what needs the weights in torch -------------------------------------------------------------------------
    @property
    def head(self) -> list[nn.Module]:
        _refuse("a head to train")

    def encode_target(self, text: str) -> list[int]:
        _refuse("training")

    def compute_loss(self, frames: Frames, labels: Tensor) -> Tensor:
        _refuse("training")

    def infer(self, waveforms: Sequence[np.ndarray], read: Callable[[Frames], Any]) -> Any:
        _refuse("an encoder's frames")

    def decode_frames(self, frames: Frames) -> list[str]:
        _refuse("an encoder's frames")

    def save(self, folder: Path) -> None:
        raise UserError("a CTranslate2 model is not saved again", where=str(folder), fix="copy its folder")


class CTranslate2FrontEnd(WhisperEncoderWrapper):
    """What stands before the network: silence around an utterance, filling after it, log-mel, and lengths."""

    def __init__(self, described: ModelDescription, *, pad_to_30s: bool) -> None:
        weightless: Any = nn.Module()
        weightless.config = described.config
        super().__init__(weightless, described.processor.feature_extractor, pad_to_30s=pad_to_30s)

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def round_up_samples(self, samples: int) -> int:
        """The samples that so many become: with their silence, filled up, at most what the encoder holds."""
        if self.pad_to_30s:
            return max(samples, self.max_samples)
        within = samples + 2 * min(round(self.pad_silence * SAMPLE_RATE), max(0, self.max_samples - samples) // 2)
        return max(within, min(self.max_samples, max(1, math.ceil(within / BUCKET_SAMPLES)) * BUCKET_SAMPLES))

    def compute_padded_seconds(self, seconds: float) -> float:
        return self.round_up_samples(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE

    def _in_silence(self, waveform: np.ndarray) -> np.ndarray:
        within = super()._in_silence(waveform)
        return np.pad(within, (0, self.round_up_samples(len(waveform)) - len(within)))

    def forward_to(self, inputs: Inputs, layer: int) -> Hidden:
        _refuse("an encoder's frames")

    def forward_from(self, hidden: Hidden) -> Frames:
        _refuse("an encoder's frames")


def open_ctranslate2(folder: Path, settings: ModelSettings, language: str | None) -> CTranslate2Recogniser:
    """A folder that `export_model` wrote, with the settings beside its weights; language: in place of those'.

    Raises MissingExtraError without CTranslate2, UserError for a damaged folder or a language that cannot be.
    """
    if find_spec("ctranslate2") is None:
        raise MissingExtraError("ctranslate2", "export", f"{folder}, exported for CTranslate2,")
    multilingual = settings.language is not None  # of an English-only model the export states none
    settings = settings.model_copy(update={"language": language or settings.language})
    described = describe_folder(folder)
    try:
        return CTranslate2Recogniser(folder, described, settings, multilingual=multilingual)
    except (RuntimeError, ValueError) as error:  # what CTranslate2 raises
        words = " ".join(str(error).split())[:200]
        raise UserError(f"CTranslate2 cannot open it ({words})", where=str(folder), fix="export it again") from None


def find_loop(tokens: Sequence[int], refrain: int = MIN_NO_REPEAT_NGRAM) -> int:
    """The length of the shortest stretch that is said too often, by `decoding.whisper`'s rules; 0 if none is.

    refrain: `compute_no_repeat_ngram_size` the model's text.
    """
    for stretch in range(1, MAX_LOOP_TOKENS + 1):
        again = (
            (MAX_SINGLE_TOKEN_REPEATS - 1) if stretch == 1 else (MAX_REPEATS - 1) * stretch
        )  # tokens that repeat those before
        as_before = (one == other for one, other in zip(tokens, tokens[stretch:], strict=False))
        if any(same and len(list(run)) >= again for same, run in itertools.groupby(as_before)):
            return stretch
    refrains = Counter(zip(*(tokens[place:] for place in range(refrain)), strict=False))
    return refrain if max(refrains.values(), default=0) >= MAX_NGRAM_OCCURRENCES else 0


def _refuse(what: str) -> NoReturn:
    raise UserError(
        f"{what} cannot be had of a model that runs in CTranslate2",
        where="model",
        fix="name the model that it was exported from",
    )
