"""Run-time decoding options: how a model is run where that differs from its saved settings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from speechxfer.errors import UserError
from speechxfer.models.base import SpeechModel
from speechxfer.models.ctc import CtcRecogniser


@dataclass(frozen=True)
class DecodingOptions:
    """Overrides of a model's saved decoding settings; `None` keeps the saved value.

    Args:
        beam_size: beam width; 1 is greedy search.
        pad_to_30s: Whisper only: pad the input to 30 s, or not.
        lm: an ARPA language model for the beam search of a CTC head.
        hot_words: words that the beam search of a CTC head is biased towards.
        language: the language of a multilingual Whisper, used when the model is loaded.
        batch_seconds: audio in one batch, in seconds (default: the recipe's `decoding.batch_seconds`).
        cut_seconds: maximum segment length in seconds; longer audio is split at pauses. By default audio that the model
            does not take at once (30 s) is split into segments of at most 28 s.
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


@contextmanager
def override_decoding(model: SpeechModel, options: DecodingOptions) -> Iterator[None]:
    """Apply `options` to `model` while the context is open.

    Raises:
        UserError: if the model cannot be run in that way.
    """
    search = _check_options(model, options)
    saved = model.settings.beam_size
    model.settings.beam_size = saved if options.beam_size is None else options.beam_size
    try:
        with ExitStack() as overrides:
            if options.pad_to_30s is not None:
                overrides.enter_context(model.use_padding(options.pad_to_30s))
            if isinstance(model, CtcRecogniser) and search:
                overrides.enter_context(model.override_beam_search(options.lm, options.hot_words))
            yield
    finally:
        model.settings.beam_size = saved


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
