"""Decoding with Whisper's decoder: frames to token ids, greedy or by beam search, independent of the batch."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, WhisperForConditionalGeneration
from transformers.generation.utils import GenerationMixin
from transformers.modeling_outputs import BaseModelOutput

from speechxfer.heads.whisper_decoder import mask_cross_attention
from speechxfer.shapes import Frames

# Speech has up to about 5 words per second; a much longer output is a repetition loop.
MAX_WORDS_PER_SECOND = 5
MIN_TOKENS_PER_SECOND = 12  # lower bound for any script
ENGLISH_TOKENS_PER_WORD = 1.5  # Whisper's tokens are bytes in many scripts: a Georgian word takes seventeen
MIN_TOKEN_LIMIT = 24
# A sequence of up to MAX_LOOP_TOKENS tokens that repeats this often in a row is a loop; a single token may repeat
# more often ("no, no, no").
MAX_LOOP_TOKENS = 12
MAX_REPEATS = 3
MAX_SINGLE_TOKEN_REPEATS = 6
# A loop may alternate ("that was the thing, there was that was the thing"), so n-grams are counted as well.
MIN_NO_REPEAT_NGRAM = 4  # tokens, and at least NO_REPEAT_NGRAM_WORDS words
NO_REPEAT_NGRAM_WORDS = 2.5
MAX_NGRAM_OCCURRENCES = 4
WHISPER_FRAME_RATE = 50  # Hz


@dataclass(frozen=True)
class GenerationOptions:
    """How the decoder searches.

    beam_size: 1 is greedy.
    length_penalty: a hypothesis's log-probability is divided by its length in tokens to this power. 1, Whisper's
    default, prefers long confident hypotheses, loops above all; 0 chooses the most probable one.
    tokens_per_word: average of the texts; limits the length of the output, and the n-grams that count as loops.
    block_loops: prevent any sequence of up to `MAX_LOOP_TOKENS` tokens from occurring a third time in a row, a single
    token a sixth, and any `compute_no_repeat_ngram_size` tokens (four in English) a fourth time anywhere.
    """

    beam_size: int = 1
    length_penalty: float = 1.0
    tokens_per_word: float = ENGLISH_TOKENS_PER_WORD
    block_loops: bool = False


GREEDY = GenerationOptions()


def compute_max_token_rate(tokens_per_word: float) -> int:
    """Return the maximum number of tokens per second of speech."""
    return max(MIN_TOKENS_PER_SECOND, math.ceil(MAX_WORDS_PER_SECOND * tokens_per_word))


def compute_no_repeat_ngram_size(tokens_per_word: float) -> int:
    """Return the size of the n-grams that may not occur `MAX_NGRAM_OCCURRENCES` times."""
    return max(MIN_NO_REPEAT_NGRAM, math.ceil(NO_REPEAT_NGRAM_WORDS * tokens_per_word))


@torch.no_grad()
def decode_whisper(
    network: WhisperForConditionalGeneration, frames: Frames, prompt: list[int], options: GenerationOptions = GREEDY
) -> list[list[int]]:
    """Decode each utterance to the token ids after the prompt.

    The tokens that the model's generation config suppresses are never generated, as in the original.

    frames: (batch, frames, dim). prompt: start, language, task and no-timestamps tokens.
    """
    return [row[len(prompt) :].tolist() for row in _generate(network, frames, prompt, options, num_returned=1)]


@torch.no_grad()
def decode_n_best(
    network: WhisperForConditionalGeneration, frames: Frames, prompt: list[int], options: GenerationOptions
) -> list[list[list[int]]]:
    """Decode each utterance to `beam_size` hypotheses, best first, as token ids up to and with the end token."""
    size, end = options.beam_size, _get_end_token(network)
    rows = _generate(network, frames, prompt, options, num_returned=size)[:, len(prompt) :].tolist()
    ended = [[*(row[: row.index(end)] if end in row else row), end] for row in rows]
    return [ended[start : start + size] for start in range(0, len(ended), size)]


def _generate(
    network: WhisperForConditionalGeneration,
    frames: Frames,
    prompt: list[int],
    options: GenerationOptions,
    *,
    num_returned: int,
) -> Tensor:
    """Generate (batch * num_returned, tokens), including the prompt."""
    config = network.generation_config
    device = frames.states.device
    max_new_tokens = network.config.max_target_positions - len(prompt)
    rate = compute_max_token_rate(options.tokens_per_word)
    limits = (MIN_TOKEN_LIMIT + frames.lengths * rate // WHISPER_FRAME_RATE).clamp(max=max_new_tokens)
    settings = GenerationConfig(
        num_beams=options.beam_size,
        num_return_sequences=num_returned,
        length_penalty=options.length_penalty if options.beam_size > 1 else None,
        do_sample=False,
        max_length=len(prompt) + int(limits.max()),
        suppress_tokens=config.suppress_tokens,
        begin_suppress_tokens=config.begin_suppress_tokens,
        eos_token_id=config.eos_token_id,
        pad_token_id=config.pad_token_id,
        bos_token_id=config.bos_token_id,
        decoder_start_token_id=config.decoder_start_token_id,
    )
    prompts = torch.tensor(prompt, device=device).expand(len(limits), -1).contiguous()
    processors = LogitsProcessorList()
    if options.block_loops:
        processors.append(_LoopBlocker(len(prompt), compute_no_repeat_ngram_size(options.tokens_per_word)))
    processors.append(_LengthLimiter(limits + len(prompt), options.beam_size, _get_end_token(network)))
    with mask_cross_attention(frames, network.model.decoder):
        # GenerationMixin's `generate`, as Whisper's own requires windows of 30 s
        return GenerationMixin.generate(
            network,
            encoder_outputs=BaseModelOutput(last_hidden_state=frames.states),
            decoder_input_ids=prompts,
            decoder_attention_mask=torch.ones_like(prompts),
            generation_config=settings,
            logits_processor=processors,
        )


class _LoopBlocker(LogitsProcessor):
    """Forbids tokens that would complete a loop: the `MAX_REPEATS`-th repetition of a sequence in a row.

    Also forbids those that would complete the `MAX_NGRAM_OCCURRENCES`-th occurrence of an n-gram of `ngram_size`.
    """

    def __init__(self, prompt_length: int, ngram_size: int = MIN_NO_REPEAT_NGRAM) -> None:
        self.prompt_length, self.ngram_size = prompt_length, ngram_size

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        tokens = input_ids[:, self.prompt_length :]
        forbidden = [*self._find_repeats(tokens), *self._find_ngrams(tokens)]
        if forbidden:
            scores = scores.clone()
            for rows, next_tokens in forbidden:
                scores[rows, next_tokens] = float("-inf")
        return scores

    @staticmethod
    def _find_repeats(tokens: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return pairs of rows and, for each row, the token that would complete a repetition."""
        found = []
        for length in range(1, MAX_LOOP_TOKENS + 1):
            repeats = MAX_SINGLE_TOKEN_REPEATS if length == 1 else MAX_REPEATS
            size = length * repeats - 1
            if tokens.shape[1] < size:
                continue
            last = tokens[:, -size:]
            looping = (last[:, length:] == last[:, :-length]).all(1)
            if bool(looping.any()):
                found.append((looping.nonzero().flatten(), last[looping, -length]))
        return found

    def _find_ngrams(self, tokens: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return pairs of rows and, for each row, a token that would complete a frequent n-gram."""
        if tokens.shape[1] < self.ngram_size:
            return []
        ngrams = tokens.unfold(1, self.ngram_size, 1)  # (rows, positions, ngram_size)
        matches = (ngrams[:, :, :-1] == tokens[:, None, 1 - self.ngram_size :]).all(-1)
        frequent = (matches.sum(1) >= MAX_NGRAM_OCCURRENCES - 1).nonzero().flatten()
        if not len(frequent):
            return []
        matches, next_tokens = matches[frequent], ngrams[frequent, :, -1]
        counts = ((next_tokens[:, :, None] == next_tokens[:, None, :]) & matches[:, None, :]).sum(-1)
        rows, positions = (matches & (counts >= MAX_NGRAM_OCCURRENCES - 1)).nonzero(as_tuple=True)
        return [(frequent[rows], next_tokens[rows, positions])]


class _LengthLimiter(LogitsProcessor):
    """Ends each utterance at its own maximum length, so that the longest one of a batch does not set the limit."""

    def __init__(self, limits: Tensor, beam_size: int, end: int) -> None:
        self.limits, self.end = limits.repeat_interleave(beam_size), end  # on the CPU, as the frames' lengths are

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        over = input_ids.shape[1] + 1 >= self.limits
        if bool(over.any()):
            scores = scores.clone()
            scores[over] = float("-inf")
            scores[over, self.end] = 0.0
        return scores


def _get_end_token(network: WhisperForConditionalGeneration) -> int:
    end = network.generation_config.eos_token_id
    return end[0] if isinstance(end, list) else int(end)
