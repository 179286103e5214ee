"""Whisper's own decoder: frames to token ids, greedy or by beam, the same whatever the batch."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, WhisperForConditionalGeneration
from transformers.generation.utils import GenerationMixin
from transformers.modeling_outputs import BaseModelOutput

from speechxfer.heads.whisper_decoder import attending_only_to
from speechxfer.shapes import Frames

# Words come at up to about 5 a second; a decoder that goes on much longer than that is repeating itself.
TOKENS_PER_SECOND = 12
LEAST_TOKENS = 24
FRAMES_PER_SECOND = 50


@torch.no_grad()
def decode(
    network: WhisperForConditionalGeneration, frames: Frames, prompt: list[int], *, beams: int = 1
) -> list[list[int]]:
    """Token ids of each utterance, those after the prompt.

    frames: (batch, frames, dim). prompt: start, language, task and no-timestamps tokens. beams: 1 is greedy.
    The suppressed tokens are those of the model's generation config, as its authors decode.
    """
    stated = network.generation_config
    device = frames.states.device
    room = network.config.max_target_positions - len(prompt)
    limits = (LEAST_TOKENS + frames.lengths * TOKENS_PER_SECOND // FRAMES_PER_SECOND).clamp(max=room)
    settings = GenerationConfig(
        num_beams=beams,
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
    with attending_only_to(frames, network.model.decoder):
        # GenerationMixin's, not Whisper's own generate, which insists on 30 s windows
        sequences: Tensor = GenerationMixin.generate(
            network,
            encoder_outputs=BaseModelOutput(last_hidden_state=frames.states),
            decoder_input_ids=given,
            decoder_attention_mask=torch.ones_like(given),
            generation_config=settings,
            logits_processor=LogitsProcessorList([_EndAtLimit(limits + len(prompt), beams, _end_token(network))]),
        )
    return [row[len(prompt) :].tolist() for row in sequences]


class _EndAtLimit(LogitsProcessor):
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
