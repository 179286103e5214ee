"""Recogniser with Whisper's encoder and decoder."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from torch import Tensor, nn
from transformers import WhisperForConditionalGeneration, WhisperProcessor, WhisperTokenizer

from speechxfer.decoding.whisper import GenerationOptions, decode_whisper
from speechxfer.encoders.whisper import MULTILINGUAL_VOCABULARY_SIZE, WhisperEncoderWrapper
from speechxfer.errors import UserError
from speechxfer.heads.whisper_decoder import compute_decoder_loss, find_language_tokens
from speechxfer.models.base import Kind, ModelSettings, SpeechModel, TargetSpan
from speechxfer.models.languages import find_whisper_code
from speechxfer.shapes import SAMPLE_RATE, Frames
from speechxfer.text.timestamps import TIMESTAMP_STEP, parse_timestamps, strip_special_tokens

# options of transformers' generation config
_SAMPLING_OPTIONS = ("temperature", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff")
_BEAM_OPTIONS = ("early_stopping", "num_beam_groups", "diversity_penalty")
START_TOKEN, TRANSCRIBE_TOKEN, NO_TIMESTAMPS_TOKEN = "<|startoftranscript|>", "<|transcribe|>", "<|notimestamps|>"
MAX_PROMPT_TOKENS = 4  # start, language, task, no timestamps; English-only checkpoints use two of them


class WhisperRecogniser(SpeechModel):
    """Whisper with its decoder (`kind: seq2seq`).

    Args:
        network: the module that is trained and saved, if it is more than `whisper`.

    Attributes:
        prompt: start, language, task and no-timestamps tokens of the checkpoint.
        max_text_tokens: maximum number of tokens after the prompt, the end token included.
    """

    kind: ClassVar[Kind] = "seq2seq"
    encoder: WhisperEncoderWrapper
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
        self.max_text_tokens = whisper.config.max_target_positions - len(self.prompt)
        if is_multilingual(whisper):  # saved with the tokenizer, for other libraries
            code = find_whisper_code(str(settings.language))
            processor.tokenizer.set_prefix_tokens(language=code, task="transcribe", predict_timestamps=False)

    @property
    def head(self) -> list[nn.Module]:
        return [self.whisper.model.decoder, self.whisper.proj_out]

    @property
    def randomly_initialised_head(self) -> list[nn.Module]:
        return []

    def copy_with_language(self, language: str) -> Self:
        other = self.copy_with(language=language)
        other.prompt = make_prompt(self.processor.tokenizer, language, multilingual=is_multilingual(self.whisper))
        return other

    def encode_language(self, language: str) -> list[int]:
        """Return the language's token, unless it is the model's own; see `heads.whisper_decoder.split_language`."""
        prompt = self.copy_with_language(language).prompt if language else self.prompt
        return [] if prompt == self.prompt else prompt[1:2]

    def encode_target(self, text: str) -> list[int]:
        tokens = self.encode_text(text)
        if len(tokens) > self.max_text_tokens:
            raise UserError(
                f"a text of {len(tokens)} tokens exceeds the decoder's limit of {self.max_text_tokens}: {text[:60]}…"
            )
        return tokens

    def encode_text(self, text: str) -> list[int]:
        """Encode a text as tokens and the end token. Each word starts with a space, as in Whisper's training.

        Timestamps (`<|0.00|> one two<|1.40|>`) become timestamp tokens, with which the decoder's prompt has no
        no-timestamps token. They are left out if they are not as Whisper writes them, or the checkpoint has no tokens
        for them; other special tokens always are.
        """
        end = self.processor.tokenizer.eos_token_id
        segments = parse_timestamps(text) if self.knows_timestamps else None
        if segments is None or max(segments[-1][0], segments[-1][2] or 0.0) > self.max_seconds:
            return [*self._encode_words(strip_special_tokens(text)), end]
        ids = []
        for start, words, stop in segments:
            ids += [self._get_timestamp_token(start), *self._encode_words(words)]
            ids += [] if stop is None else [self._get_timestamp_token(stop)]
        return [*ids, end]

    def _encode_words(self, text: str) -> list[int]:
        words = " ".join(text.split())
        ids: list[int] = self.processor.tokenizer(f" {words}" if words else "", add_special_tokens=False).input_ids
        return ids

    @property
    def knows_timestamps(self) -> bool:
        """Whether the checkpoint has a token for every timestamp, after the no-timestamps token."""
        first = self.prompt[-1] + 1
        named = self.processor.tokenizer.convert_tokens_to_ids("<|0.00|>")  # unknown to the tokenizers of 2022
        has_place = self.whisper.config.vocab_size > first + round(self.max_seconds / TIMESTAMP_STEP)
        return has_place and named in (first, None, self.processor.tokenizer.unk_token_id)

    @property
    def max_seconds(self) -> float:
        """Length of the audio that the encoder takes at once, in seconds."""
        return self.encoder.max_samples / SAMPLE_RATE

    def _get_timestamp_token(self, seconds: float) -> int:
        """Return the token of a time in the text, which is later by the silence that is added before the audio."""
        shifted = min(seconds + self.encoder.pad_silence, self.max_seconds)
        return self.prompt[-1] + 1 + round(shifted / TIMESTAMP_STEP)

    def join_targets(self, targets: Sequence[list[int]], spans: Sequence[TargetSpan] | None = None) -> list[int]:
        last_token = self.prompt[-1] if self.knows_timestamps else math.inf  # timestamps come after it
        language, targets = _split_languages(self.prompt, targets)
        texts = [[token for token in one[:-1] if token < last_token] for one in targets]
        if spans is None:
            ids = [token for text in texts for token in text]
        else:
            ids = []
            for text, (start, end) in zip(texts, spans, strict=True):
                ids.append(self._get_timestamp_token(start))
                if end is not None:
                    ids += [*text, self._get_timestamp_token(end)]
        return [*language, *ids, targets[-1][-1]]

    def write_generation_config(self) -> None:
        """Set the model's decoding settings in Whisper's generation config, for use in other libraries.

        By default transformers' pipeline uses five beams, with a length penalty that favours loops (`decode_whisper`).
        """
        config: Any = self.whisper.generation_config
        beam_size = self.settings.beam_size
        config.num_beams = beam_size
        config.length_penalty = self.settings.length_penalty if beam_size > 1 else None
        config.do_sample = config.num_return_sequences = None
        for name in _SAMPLING_OPTIONS if beam_size > 1 else (*_SAMPLING_OPTIONS, *_BEAM_OPTIONS):
            setattr(config, name, None)  # transformers refuses to save options that the decoding method does not use
        if getattr(config, "is_multilingual", False):
            config.language, config.task = find_whisper_code(str(self.settings.language)), "transcribe"

    def _save_network(self, folder: Path) -> None:
        self.write_generation_config()
        self.whisper.save_pretrained(folder)
        write_vocabulary(self.processor.tokenizer, folder)

    def compute_loss(self, frames: Frames, labels: Tensor) -> Tensor:
        return compute_decoder_loss(self.whisper, frames, labels, self.prompt)

    @property
    def generation_options(self) -> GenerationOptions:
        """The decoder's search options, from the settings."""
        return GenerationOptions(
            beam_size=self.settings.beam_size,
            length_penalty=self.settings.length_penalty,
            tokens_per_word=self.settings.tokens_per_word,
            block_loops=self.settings.no_loops,
        )

    def decode_frames(self, frames: Frames) -> list[str]:
        rows = decode_whisper(self.whisper, frames, self.prompt, self.generation_options)
        texts = self.processor.tokenizer.batch_decode(rows, skip_special_tokens=True)
        return [text.strip() for text in texts]


def _split_languages(prompt: list[int], targets: Sequence[list[int]]) -> tuple[list[int], list[list[int]]]:
    """Return the language's token of the first targets (see `encode_language`), if any, and all targets without it."""
    first, last = find_language_tokens(prompt)
    marked = [bool(one) and first < one[0] < last for one in targets]
    rest = [one[1:] if has_token else one for one, has_token in zip(targets, marked, strict=True)]
    return (targets[0][:1] if marked[0] else []), rest


def write_vocabulary(tokenizer: WhisperTokenizer, folder: Path) -> None:
    """Write `vocab.json` and `added_tokens.json`, token to number, which whisper.cpp's converter and older tools read.

    transformers itself reads `tokenizer.json`, which has the same tokens.
    """
    words = tokenizer.backend_tokenizer.get_vocab(with_added_tokens=False)
    added = {token: number for token, number in tokenizer.get_added_vocab().items() if token not in words}
    for name, vocabulary in (("vocab.json", words), ("added_tokens.json", added)):
        ordered = dict(sorted(vocabulary.items(), key=lambda item: item[1]))
        (folder / name).write_text(json.dumps(ordered, ensure_ascii=False), encoding="utf-8")


def is_multilingual(whisper: WhisperForConditionalGeneration) -> bool:
    """Return whether the model needs a language: see its generation config, or else the size of its vocabulary."""
    declared = getattr(whisper.generation_config, "is_multilingual", None)
    return whisper.config.vocab_size >= MULTILINGUAL_VOCABULARY_SIZE if declared is None else bool(declared)


def make_prompt(tokenizer: WhisperTokenizer, language: str | None, *, multilingual: bool) -> list[int]:
    """Return the start, language, task and no-timestamps tokens; English-only models have no language and task.

    Raises:
        UserError: if a multilingual model gets no language, or the model does not know the language.
    """
    code = None if language is None else find_whisper_code(language)
    names = [START_TOKEN, NO_TIMESTAMPS_TOKEN]
    if multilingual:
        if code is None:
            raise UserError(
                "this Whisper checkpoint is multilingual and needs a language",
                where="encoder.language",
                fix="set encoder.language=en (adapt) or --language en (evaluate, transcribe, export)",
            )
        names[1:1] = [f"<|{code}|>", TRANSCRIBE_TOKEN]
    elif code not in (None, "en"):
        raise UserError(f"encoder.language={language}, but this checkpoint knows English only")
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    if tokenizer.eos_token_id is None:
        problem = "the tokenizer has no end token"
        raise UserError(problem, where="tokenizer_config.json", fix="restore the tokenizer files of the checkpoint")
    missing = [name for name in names if name not in vocabulary]
    if f"<|{code}|>" in missing:
        raise UserError(
            f"this checkpoint does not know the language '{language}': its tokenizer has no token <|{code}|>",
            where="encoder.language",
            fix="use a checkpoint that was trained on this language (large-v3 for yue), or a language close to it",
        )
    if missing:
        raise UserError(
            f"the tokenizer has no token {', '.join(missing)}", fix="copy it from the source of the weights"
        )
    return [vocabulary[name] for name in names]
