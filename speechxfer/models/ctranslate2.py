"""Runs an adapted Whisper that was exported for CTranslate2, on the CPU.

faster-whisper pads every utterance to 30 s. A model that was adapted without padding takes features of the utterance's
own length, at a fraction of the cost. CTranslate2 has no padding mask, so all utterances of a batch must have the same
length: each is padded with silence to the next half second, so that its text does not depend on the batch.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, NoReturn, Self

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

BUCKET_SAMPLES = SAMPLE_RATE // 2  # utterances are padded to a multiple of this
# A beam search stops after this many times the beam size of finished hypotheses. With CTranslate2's default of 1, poor
# hypotheses that end early stop it before the best one is finished.
BEAM_PATIENCE = 2.0
MAX_BATCH_UTTERANCES = 16  # larger batches would leave other workers idle


class CTranslate2Recogniser(SpeechModel):
    """Whisper in CTranslate2 (`kind: seq2seq`), for inference only: no training, frames or probabilities.

    It decodes as a `WhisperRecogniser` with the same settings, with three differences. The token limit of an utterance
    is that of its padded length, at most six tokens more. CTranslate2 cannot block loops during the search, so for
    `no_loops` an utterance with a loop is decoded again with the largest `no_repeat_ngram_size` that ends the loop,
    which also forbids other repetitions of that length. `rescoring` of a joint model runs without its CTC head.

    Args:
        folder: the exported folder.
        description: its configuration and processor.
        settings: how the model is run.
        multilingual: the model needs a language.
    """

    kind: ClassVar[Kind] = "seq2seq"
    encoder: CTranslate2FrontEnd
    processor: WhisperProcessor

    def __init__(
        self, folder: Path, description: ModelDescription, settings: ModelSettings, *, multilingual: bool
    ) -> None:
        from ctranslate2 import StorageView
        from ctranslate2.models import Whisper

        front_end = CTranslate2FrontEnd(description, pad_to_30s=settings.pad_to_30s)
        super().__init__(front_end.module, front_end, description.processor, settings)
        self.multilingual = multilingual
        self.prompt = make_prompt(description.processor.tokenizer, settings.language, multilingual=multilingual)
        self.max_text_tokens = description.config.max_target_positions - len(self.prompt)
        self.num_inflight = torch.get_num_threads()  # one worker per core, or OMP_NUM_THREADS
        self._normalise = get_normaliser(settings.normaliser)
        is_half = description.weight_type in ("float16", "bfloat16")  # few CPUs compute in half precision
        self._storage = StorageView
        self._engine = Whisper(
            str(folder),
            device="cpu",
            compute_type="float32" if is_half else "default",
            inter_threads=self.num_inflight,
            intra_threads=1,
        )

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def copy_with_language(self, language: str) -> Self:
        other = self.copy_with(language=language)
        other.prompt = make_prompt(self.processor.tokenizer, language, multilingual=self.multilingual)
        return other

    def predict(self, waveforms: Sequence[np.ndarray]) -> list[str]:
        return self.submit(waveforms)()

    def submit(self, waveforms: Sequence[np.ndarray]) -> Callable[[], list[str]]:
        beam_size = self.settings.beam_size
        indices_by_length: dict[int, list[int]] = {}
        for index, waveform in enumerate(waveforms):
            indices_by_length.setdefault(self.encoder.round_up_samples(len(waveform)), []).append(index)
        submitted = []
        for length in sorted(indices_by_length, reverse=True):  # most expensive first
            same_length = indices_by_length[length]
            for start in range(0, len(same_length), MAX_BATCH_UTTERANCES):
                indices = same_length[start : start + MAX_BATCH_UTTERANCES]
                features = self.encoder.prepare([waveforms[index] for index in indices]).features.numpy()
                submitted.append((indices, features, length, self._decode(features, length, beam_size)))

        def get_results() -> list[str]:
            texts = [""] * len(waveforms)
            for indices, features, length, futures in submitted:
                for number, (index, future) in enumerate(zip(indices, futures, strict=True)):
                    tokens = self._choose_tokens(future.result())
                    if self.settings.no_loops:
                        tokens = self._remove_loops(tokens, features[number : number + 1], length, beam_size)
                    texts[index] = self._decode_text(tokens)
            return texts

        return get_results

    def _decode(self, features: np.ndarray, length: int, beam_size: int, *, no_repeat: int = 0) -> list[Any]:
        """Start decoding features (batch, mels, steps) of utterances of `length` samples, and return a future of each.

        no_repeat: length of token sequences that may not repeat; 0 allows all.
        """
        max_tokens = MIN_TOKEN_LIMIT + length * compute_max_token_rate(self.settings.tokens_per_word) // SAMPLE_RATE
        limit = min(self.max_text_tokens, max_tokens) - 1  # minus the end token
        futures: list[Any] = self._engine.generate(
            self._storage.from_array(np.ascontiguousarray(features)),
            [self.prompt] * len(features),
            beam_size=beam_size,
            patience=BEAM_PATIENCE,
            length_penalty=self.settings.length_penalty,
            num_hypotheses=beam_size if self.settings.rescoring else 1,
            return_scores=True,
            max_length=max(2 * limit, limit + len(self.prompt)),  # CTranslate2 halves it and counts the prompt
            no_repeat_ngram_size=no_repeat,
            asynchronous=True,
        )
        return futures

    def _choose_tokens(self, result: Any) -> list[int]:
        """Return the tokens of an utterance's best hypothesis, after rescoring if the settings have it."""
        best: list[int] = result.sequences_ids[0]
        if self.settings.rescoring is None or len(result.sequences_ids) == 1:
            return best
        hypotheses = []
        for tokens, score in zip(result.sequences_ids, result.scores, strict=True):
            text = self._decode_text(tokens)
            decoder = score * max(1, len(tokens)) ** self.settings.length_penalty  # undo CTranslate2's normalisation
            hypotheses.append(DecoderHypothesis(text, tuple(self._normalise(text).split()), decoder, 0.0))
        chosen = choose_hypothesis(hypotheses, RescoringWeights(**self.settings.rescoring))
        return result.sequences_ids[next(i for i, hypothesis in enumerate(hypotheses) if hypothesis is chosen)]

    def _decode_text(self, tokens: list[int]) -> str:
        text: str = self.processor.tokenizer.decode(tokens, skip_special_tokens=True)
        return text.strip()

    def _remove_loops(self, tokens: list[int], features: np.ndarray, length: int, beam_size: int) -> list[int]:
        """Decode again until the tokens have no loop. features: (1, mels, steps)."""
        ngram_size = compute_no_repeat_ngram_size(self.settings.tokens_per_word)
        no_repeat = max(MAX_REPEATS * MAX_LOOP_TOKENS, ngram_size + 1)
        while (period := find_loop(tokens, ngram_size)) and no_repeat > 1:
            # the last of the repetitions that make a loop would end with a second copy of this many tokens
            no_repeat = min(no_repeat - 1, MAX_SINGLE_TOKEN_REPEATS - 1 if period == 1 else (MAX_REPEATS - 1) * period)
            result = self._decode(features, length, beam_size, no_repeat=no_repeat)[0].result()
            tokens = self._choose_tokens(result)
        return tokens

    # -- not available without the weights in torch ----------------------------------------------------------------
    @property
    def head(self) -> list[nn.Module]:
        _raise_unavailable("a head to train")

    def encode_target(self, text: str) -> list[int]:
        _raise_unavailable("training")

    def compute_loss(self, frames: Frames, labels: Tensor) -> Tensor:
        _raise_unavailable("training")

    def infer(self, waveforms: Sequence[np.ndarray], fn: Callable[[Frames], Any]) -> Any:
        _raise_unavailable("the encoder's frames")

    def decode_frames(self, frames: Frames) -> list[str]:
        _raise_unavailable("the encoder's frames")

    def save(self, folder: Path) -> None:
        raise UserError("a CTranslate2 model cannot be saved", where=str(folder), fix="copy its folder")


class CTranslate2FrontEnd(WhisperEncoderWrapper):
    """Feature extraction for CTranslate2: silence around an utterance, padding to a bucket length, log-mel."""

    def __init__(self, description: ModelDescription, *, pad_to_30s: bool) -> None:
        module: Any = nn.Module()  # without weights
        module.config = description.config
        super().__init__(module, description.processor.feature_extractor, pad_to_30s=pad_to_30s)

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def round_up_samples(self, samples: int) -> int:
        """Return the length after adding silence and padding, at most the encoder's maximum length."""
        if self.pad_to_30s:
            return max(samples, self.max_samples)
        length = samples + 2 * min(round(self.pad_silence * SAMPLE_RATE), max(0, self.max_samples - samples) // 2)
        return max(length, min(self.max_samples, max(1, math.ceil(length / BUCKET_SAMPLES)) * BUCKET_SAMPLES))

    def compute_padded_seconds(self, seconds: float) -> float:
        return self.round_up_samples(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE

    def _add_silence(self, waveform: np.ndarray) -> np.ndarray:
        padded = super()._add_silence(waveform)
        return np.pad(padded, (0, self.round_up_samples(len(waveform)) - len(padded)))

    def forward_to(self, inputs: Inputs, layer: int) -> Hidden:
        _raise_unavailable("the encoder's frames")

    def forward_from(self, hidden: Hidden) -> Frames:
        _raise_unavailable("the encoder's frames")


def open_ctranslate2(folder: Path, settings: ModelSettings, language: str | None) -> CTranslate2Recogniser:
    """Load a folder that `export_model` wrote, with its settings file. language: replaces the saved language.

    Raises:
        MissingExtraError: if CTranslate2 is not installed.
        UserError: if the folder is damaged, or the model does not know the language.
    """
    if find_spec("ctranslate2") is None:
        raise MissingExtraError("ctranslate2", "export", f"{folder}, exported for CTranslate2,")
    multilingual = settings.language is not None  # the export saves no language for an English-only model
    settings = settings.model_copy(update={"language": language or settings.language})
    description = describe_folder(folder)
    try:
        return CTranslate2Recogniser(folder, description, settings, multilingual=multilingual)
    except (RuntimeError, ValueError) as error:  # raised by CTranslate2
        message = " ".join(str(error).split())[:200]
        raise UserError(f"CTranslate2 cannot open it ({message})", where=str(folder), fix="export it again") from None


def find_loop(tokens: Sequence[int], ngram_size: int = MIN_NO_REPEAT_NGRAM) -> int:
    """Return the length of the shortest token sequence that repeats too often (`decoding.whisper`), or 0.

    ngram_size: `compute_no_repeat_ngram_size` of the model's text.
    """
    for period in range(1, MAX_LOOP_TOKENS + 1):
        # number of tokens in a row that are equal to those one period before
        repeated = MAX_SINGLE_TOKEN_REPEATS - 1 if period == 1 else (MAX_REPEATS - 1) * period
        is_equal = (token == later for token, later in zip(tokens, tokens[period:], strict=False))
        if any(equal and len(list(run)) >= repeated for equal, run in itertools.groupby(is_equal)):
            return period
    counts = Counter(zip(*(tokens[start:] for start in range(ngram_size)), strict=False))
    return ngram_size if max(counts.values(), default=0) >= MAX_NGRAM_OCCURRENCES else 0


def _raise_unavailable(feature: str) -> NoReturn:
    raise UserError(
        f"a model that runs in CTranslate2 does not support {feature}",
        where="model",
        fix="name the model that it was exported from",
    )
