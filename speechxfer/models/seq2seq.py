"""Whisper with its own decoder: the recogniser that accents gain most from."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn
from transformers import WhisperForConditionalGeneration, WhisperProcessor, WhisperTokenizer

from speechxfer.decoding.whisper import decode_whisper
from speechxfer.encoders.whisper import MULTILINGUAL_VOCABULARY_SIZE, WhisperEncoderWrapper
from speechxfer.errors import UserError
from speechxfer.heads.whisper_decoder import compute_decoder_loss
from speechxfer.models.base import Kind, ModelSettings, SpeechModel
from speechxfer.shapes import Frames

_OF_SAMPLING = ("temperature", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff")
_OF_BEAMS = ("early_stopping", "num_beam_groups", "diversity_penalty")
MAX_PROMPT_TOKENS = 4  # tokens before the text: start, language, task, no timestamps (English-only checkpoints use two)


class WhisperRecogniser(SpeechModel):
    """`kind: seq2seq`. `prompt` holds the start, language, task and no-timestamps tokens of this checkpoint.

    network: what trains and is kept as a whole, where that is more than `whisper`.
    """

    kind: ClassVar[Kind] = "seq2seq"
    processor: WhisperProcessor

    def __init__(
        self,
        whisper: WhisperForConditionalGeneration,
        processor: WhisperProcessor,
        settings: ModelSettings,
        *,
        network: nn.Module | None = None,
    ) -> None:
        encoder = WhisperEncoderWrapper(
            whisper.model.encoder, processor.feature_extractor, pad_to_30s=settings.pad_to_30s
        )
        super().__init__(network or whisper, encoder, processor, settings)
        self.whisper = whisper
        self.prompt = make_prompt(processor.tokenizer, settings.language, multilingual=is_multilingual(whisper))
        self.longest_text = whisper.config.max_target_positions - len(self.prompt)

    @property
    def head(self) -> list[nn.Module]:
        return [self.whisper.model.decoder, self.whisper.proj_out]

    @property
    def randomly_initialised_head(self) -> list[nn.Module]:
        return []

    def encode_target(self, text: str) -> list[int]:
        tokens = self.encode_text(text)
        if len(tokens) > self.longest_text:
            raise UserError(
                f"a text of {len(tokens)} tokens, and this decoder writes {self.longest_text}: {text[:60]}…"
            )
        return tokens

    def encode_text(self, text: str) -> list[int]:
        """The text's tokens and the end token. A word begins with its space, as in Whisper's own training."""
        words = " ".join(text.split())
        ids = self.processor.tokenizer(f" {words}" if words else "", add_special_tokens=False).input_ids
        return [*ids, self.processor.tokenizer.eos_token_id]

    def write_generation_config(self) -> None:
        """Write into Whisper's own generation config how it is decoded here, for whoever opens it elsewhere.

        Left alone, transformers' pipeline takes five beams and prefers loops (`decode`).
        """
        stated: Any = self.whisper.generation_config
        beams = self.settings.beam_size
        stated.num_beams = beams
        stated.length_penalty = self.settings.length_penalty if beams > 1 else None
        stated.do_sample = stated.num_return_sequences = None
        for name in _OF_SAMPLING if beams > 1 else (*_OF_SAMPLING, *_OF_BEAMS):
            setattr(stated, name, None)  # transformers writes no config with what its way of decoding does not use
        if getattr(stated, "is_multilingual", False):
            stated.language, stated.task = self.settings.language, "transcribe"

    def _save_network(self, folder: Path) -> None:
        self.write_generation_config()
        self.whisper.save_pretrained(folder)

    def compute_loss(self, frames: Frames, labels: Tensor) -> Tensor:
        return compute_decoder_loss(self.whisper, frames, labels, self.prompt)

    @property
    def generation_options(self) -> dict[str, Any]:
        """By which hypotheses are searched: `decoding.whisper.decode`'s words for them are the settings' own."""
        return self.settings.model_dump(include={"length_penalty", "tokens_per_word", "no_loops"})

    def decode_frames(self, frames: Frames) -> list[str]:
        rows = decode_whisper(
            self.whisper, frames, self.prompt, beams=self.settings.beam_size, **self.generation_options
        )
        texts = self.processor.tokenizer.batch_decode(rows, skip_special_tokens=True)
        return [text.strip() for text in texts]


def is_multilingual(whisper: WhisperForConditionalGeneration) -> bool:
    """Whether it must be told a language: as its generation config says, or (older checkpoints) by its vocabulary."""
    stated = getattr(whisper.generation_config, "is_multilingual", None)
    return whisper.config.vocab_size >= MULTILINGUAL_VOCABULARY_SIZE if stated is None else bool(stated)


def make_prompt(tokenizer: WhisperTokenizer, language: str | None, *, multilingual: bool) -> list[int]:
    """Start, language, task and no-timestamps tokens; an English-only checkpoint has neither language nor task.

    Raises UserError for a language that it does not know, or that it must be told.
    """
    if not multilingual:
        if language not in (None, "en"):
            raise UserError(f"encoder.language={language}, and this checkpoint knows English only")
        return list(tokenizer.prefix_tokens[:1]) + list(tokenizer.prefix_tokens[-1:])
    if language is None:
        raise UserError(
            "this Whisper checkpoint is multilingual and must be told the language",
            where="encoder.language",
            fix="say encoder.language=en (adapt) or --language en (evaluate, transcribe, export)",
        )
    try:
        tokenizer.set_prefix_tokens(language=language, task="transcribe", predict_timestamps=False)
        return list(tokenizer.prefix_tokens)
    except ValueError:
        raise UserError(
            f"'{language}' is not a language that Whisper knows", where="encoder.language", fix="use a code such as de"
        ) from None
