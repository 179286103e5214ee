"""Whisper's own decoder: frames to token ids, greedy or by beam, the same whatever the batch."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, WhisperForConditionalGeneration
from transformers.generation.utils import GenerationMixin
from transformers.modeling_outputs import BaseModelOutput

from speechxfer.heads.whisper_decoder import mask_cross_attention
from speechxfer.shapes import Frames

# Words come at up to about 5 a second; a decoder that goes on much longer than that is repeating itself.
MAX_WORDS_PER_SECOND = 5
MIN_TOKENS_PER_SECOND = 12  # at least, whatever the script
ENGLISH_TOKENS_PER_WORD = (
    1.5  # of English; Whisper's tokens are bytes in many scripts, and a Georgian word takes seventeen
)
MIN_TOKEN_LIMIT = 24
# A stretch of tokens said so many times running is a loop, not speech; one token ("no, no, no") may come more often.
MAX_LOOP_TOKENS = 12
MAX_REPEATS = 3
MAX_SINGLE_TOKEN_REPEATS = 6
# A loop may have two tunes ("that was the thing, there was that was the thing"): the same few tokens, so many times.
MIN_NO_REPEAT_NGRAM = 4  # at least, and never less than so many words
NO_REPEAT_NGRAM_WORDS = 2.5
MAX_NGRAM_OCCURRENCES = 4
WHISPER_FRAME_RATE = 50


def compute_max_token_rate(tokens_per_word: float) -> int:
    """That a second of speech is written with."""
    return max(MIN_TOKENS_PER_SECOND, math.ceil(MAX_WORDS_PER_SECOND * tokens_per_word))


def compute_no_repeat_ngram_size(tokens_per_word: float) -> int:
    """How many tokens together may not come a `MAX_NGRAM_OCCURRENCES`-th time."""
    return max(MIN_NO_REPEAT_NGRAM, math.ceil(NO_REPEAT_NGRAM_WORDS * tokens_per_word))


@torch.no_grad()
def decode_whisper(
    network: WhisperForConditionalGeneration,
    frames: Frames,
    prompt: list[int],
    *,
    beams: int = 1,
    length_penalty: float = 1.0,
    tokens_per_word: float = ENGLISH_TOKENS_PER_WORD,
    no_loops: bool = False,
) -> list[list[int]]:
    """Token ids of each utterance, those after the prompt.

    frames: (batch, frames, dim). prompt: start, language, task and no-timestamps tokens. beams: 1 is greedy.
    length_penalty: a hypothesis's log-probability is divided by its tokens to this power. 1, as Whisper's authors have
    it, prefers a hypothesis that goes on surely, a loop above all; 0 takes the likeliest as a whole.
    tokens_per_word: of the text that it writes, from which follow how long an utterance's may be and what is a loop.
    no_loops: no stretch of up to `MAX_LOOP_TOKENS` tokens is said a third time running, no single token a sixth, and no
    `compute_no_repeat_ngram_size` tokens together (four, in English) a fourth time, running or not.
    The suppressed tokens are those of the model's generation config, as its authors decode.
    """
    sequences = _generate(
        network,
        frames,
        prompt,
        beams=beams,
        length_penalty=length_penalty,
        tokens_per_word=tokens_per_word,
        no_loops=no_loops,
    )
    return [row[len(prompt) :].tolist() for row in sequences]


@torch.no_grad()
def decode_n_best(
    network: WhisperForConditionalGeneration,
    frames: Frames,
    prompt: list[int],
    *,
    beams: int,
    length_penalty: float = 1.0,
    tokens_per_word: float = ENGLISH_TOKENS_PER_WORD,
    no_loops: bool = False,
) -> list[list[list[int]]]:
    """The token ids of each utterance's `beams` hypotheses, best first, each with its end token and nothing after."""
    end = _end_token(network)
    sequences = _generate(
        network,
        frames,
        prompt,
        beams=beams,
        returned=beams,
        length_penalty=length_penalty,
        tokens_per_word=tokens_per_word,
        no_loops=no_loops,
    )
    rows = sequences[:, len(prompt) :].tolist()
    whole = [[*(row[: row.index(end)] if end in row else row), end] for row in rows]
    return [whole[start : start + beams] for start in range(0, len(whole), beams)]


def _generate(
    network: WhisperForConditionalGeneration,
    frames: Frames,
    prompt: list[int],
    *,
    beams: int,
    length_penalty: float,
    tokens_per_word: float,
    no_loops: bool,
    returned: int = 1,
) -> Tensor:
    """(batch * returned, tokens), the prompt first."""
    stated = network.generation_config
    device = frames.states.device
    room = network.config.max_target_positions - len(prompt)
    rate = compute_max_token_rate(tokens_per_word)
    limits = (MIN_TOKEN_LIMIT + frames.lengths * rate // WHISPER_FRAME_RATE).clamp(max=room)
    settings = GenerationConfig(
        num_beams=beams,
        num_return_sequences=returned,
        length_penalty=length_penalty if beams > 1 else None,
        do_sample=False,
        max_length=len(prompt) + int(limits.max()),
        suppress_tokens=stated.suppress_tokens,
        begin_suppress_tokens=stated.begin_suppress_tokens,
        eos_token_id=stated.eos_token_id,
        pad_token_id=stated.pad_token_id,
        bos_token_id=stated.bos_token_id,
        decoder_start_token_id=stated.decoder_start_token_id,
    )
    given = torch.tensor(prompt, device=device).expand(len(limits), -1).contiguous()
    with mask_cross_attention(frames, network.model.decoder):
        # GenerationMixin's, not Whisper's own generate, which insists on 30 s windows
        return GenerationMixin.generate(
            network,
            encoder_outputs=BaseModelOutput(last_hidden_state=frames.states),
            decoder_input_ids=given,
            decoder_attention_mask=torch.ones_like(given),
            generation_config=settings,
            logits_processor=LogitsProcessorList(
                [
                    *([_LoopBlocker(len(prompt), compute_no_repeat_ngram_size(tokens_per_word))] if no_loops else []),
                    _LengthLimiter(limits + len(prompt), beams, _end_token(network)),
                ]
            ),
        )


class _LoopBlocker(LogitsProcessor):
    """Forbids the token with which a stretch of tokens would be said for the `MAX_REPEATS`-th time running.

    And the one with which `refrain` tokens would be said for the `MAX_NGRAM_OCCURRENCES`-th time.
    """

    def __init__(self, prompt: int, refrain: int = MIN_NO_REPEAT_NGRAM) -> None:
        self.prompt, self.refrain = prompt, refrain

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        said = input_ids[:, self.prompt :]
        forbidden: list[tuple[Tensor, Tensor]] = []  # rows, and a token of each
        for stretch in range(1, MAX_LOOP_TOKENS + 1):
            rounds = MAX_SINGLE_TOKEN_REPEATS if stretch == 1 else MAX_REPEATS
            size = stretch * rounds - 1
            if said.shape[1] < size:
                continue
            last = said[:, -size:]
            looping = (last[:, stretch:] == last[:, :-stretch]).all(1)
            if bool(looping.any()):
                forbidden.append((looping.nonzero().flatten(), last[looping, -stretch]))
        if said.shape[1] >= self.refrain:
            each = said.unfold(1, self.refrain, 1)  # (rows, places, refrain)
            again = (each[:, :, :-1] == said[:, None, 1 - self.refrain :]).all(-1)
            often = (again.sum(1) >= MAX_NGRAM_OCCURRENCES - 1).nonzero().flatten()
            if len(often):
                again, next_ones = again[often], each[often, :, -1]
                times = ((next_ones[:, :, None] == next_ones[:, None, :]) & again[:, None, :]).sum(-1)
                rows, places = (again & (times >= MAX_NGRAM_OCCURRENCES - 1)).nonzero(as_tuple=True)
                forbidden.append((often[rows], next_ones[rows, places]))
        if forbidden:
            scores = scores.clone()
            for rows, tokens in forbidden:
                scores[rows, tokens] = float("-inf")
        return scores


class _LengthLimiter(LogitsProcessor):
    """Lets each utterance's own length end it, so that a long one in the batch does not let a short one ramble on."""

    def __init__(self, limits: Tensor, beams: int, end: int) -> None:
        self.limits, self.end = limits.repeat_interleave(beams), end

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        over = input_ids.shape[1] + 1 >= self.limits
        if bool(over.any()):
            scores = scores.clone()
            scores[over] = float("-inf")
            scores[over, self.end] = 0.0
        return scores


def _end_token(network: WhisperForConditionalGeneration) -> int:
    end = network.generation_config.eos_token_id
    return end[0] if isinstance(end, list) else int(end)
