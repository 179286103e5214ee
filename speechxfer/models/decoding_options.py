"""Run-time decoding options: how a model is run where that differs from its saved settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from speechxfer.errors import UserError
from speechxfer.models.base import SpeechModel
from speechxfer.models.ctc import CtcRecogniser

Model = TypeVar("Model", bound=SpeechModel)


@dataclass(frozen=True)
class DecodingOptions:
    """Overrides of a model's saved decoding settings; `None` keeps the saved value.

    Args:
        beam_size: beam width; 1 is greedy search.
        pad_to_30s: Whisper only: pad the input to 30 s, or not.
        lm: an ARPA language model for the beam search of a CTC head.
        hot_words: words that the beam search of a CTC head is biased towards.
        language: the language of a multilingual Whisper.
        batch_seconds: audio in one batch, in seconds (default: the recipe's `decoding.batch_seconds`).
        cut_seconds: maximum segment length in seconds; longer audio is split at pauses. By default audio that is longer
            than the training utterances is split into segments of their usual length; for a pretrained model these
            lengths are 30 s and 28 s.
        words: add the time and confidence of each word (models with a CTC head).
    """

    beam_size: int | None = None
    pad_to_30s: bool | None = None
    lm: str | Path | None = None
    hot_words: Sequence[str] = ()
    language: str | None = None
    batch_seconds: float | None = None
    cut_seconds: float | None = None
    words: bool = False


def apply_decoding(model: Model, options: DecodingOptions) -> Model:
    """Return `model` with `options` applied: the same weights, and settings of its own.

    `model` itself is not changed, so that several threads can run it with different options at the same time.

    Raises:
        UserError: if the model cannot be run in that way.
    """
    search = _check_options(model, options)
    if options.language is not None and options.language != model.settings.language:
        model = model.copy_with_language(options.language)
    if options.beam_size is not None:
        model = model.copy_with(beam_size=options.beam_size)
    if options.pad_to_30s is not None:
        model = model.copy_with()
        model.encoder.pad_to_30s = options.pad_to_30s  # type: ignore[attr-defined]
    if isinstance(model, CtcRecogniser) and search:
        model = model.copy_with_search(options.lm, options.hot_words)
    return model


def _check_options(model: SpeechModel, options: DecodingOptions) -> list[str]:
    """Return the names of the beam search options that are set, after checking all options against the model."""
    search = {"lm (--lm)": options.lm, "hot_words (--hot-word)": options.hot_words}
    names = [name for name, value in search.items() if value]
    if names:
        if not isinstance(model, CtcRecogniser):
            problem = f"needs a model with a CTC head, and this model is of kind {model.kind}"
            raise UserError(problem, where=names[0], fix="leave it out")
        if options.beam_size == 1:
            raise UserError("needs a beam search", where=names[0], fix="set a beam size of 2 or more, or leave it out")
    if options.beam_size is not None and options.beam_size > 1 and model.kind == "classify":
        raise UserError("a classifier has no beam search", where="beam_size", fix="leave it out")
    if options.pad_to_30s is not None and not hasattr(model.encoder, "pad_to_30s"):
        raise UserError(f"only Whisper pads its input, and this encoder is {model.encoder.family}", where="pad_to_30s")
    return names
