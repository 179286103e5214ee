"""The streaming student network: causal depthwise-separable convolutions on log-mel frames, with explicit states.

Maps (batch, frames, NUM_MELS) log-mel at 100 frames per second to one logit every 20 ms. A score needs no audio after
its own frames: the first one is available after `FIRST_SCORE_SECONDS`, each further one after `STEP_SECONDS` more.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechxfer.wakeword.runtime.features import HOP_SAMPLES, NUM_MELS, SAMPLE_RATE, WINDOW_SAMPLES

FRAMES_PER_STEP = 2  # log-mel frames per score
STEP_SECONDS = FRAMES_PER_STEP * HOP_SAMPLES / SAMPLE_RATE  # s: 0.02
FIRST_SCORE_SECONDS = (WINDOW_SAMPLES + (FRAMES_PER_STEP - 1) * HOP_SAMPLES) / SAMPLE_RATE  # s: 0.035
_STEM_KERNEL = 6  # log-mel frames


@dataclass(frozen=True)
class StudentConfig:
    """Sizes of the student. The defaults give 0.15 M parameters and a receptive field of 1.8 s."""

    width: int = 128
    kernel: int = 5
    dilations: tuple[int, ...] = (1, 1, 2, 2, 4, 4, 8)

    def to_json(self) -> dict[str, object]:
        return {**asdict(self), "dilations": list(self.dilations)}


class CausalConv(nn.Module):
    """A causal convolution over time, batch norm and ReLU. The state is the input of the previous steps."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, dilation: int = 1, stride: int = 1, groups: int = 1):
        super().__init__()
        self.conv = nn.Conv1d(inputs, outputs, kernel, stride=stride, dilation=dilation, groups=groups, bias=False)
        self.norm = nn.BatchNorm1d(outputs)
        self.before = dilation * (kernel - 1) + 1 - stride  # input steps in the state

    def forward(self, inputs: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map (batch, inputs, steps) to (batch, outputs, steps // stride); return it and the next state.

        state: (batch, inputs, before) (default: zeros).
        """
        if state is None:
            state = inputs.new_zeros(inputs.shape[0], inputs.shape[1], self.before)
        joined = torch.cat([state, inputs], dim=2)
        return F.relu(self.norm(self.conv(joined))), joined[:, :, joined.shape[2] - self.before :]

    def fold_batch_norm(self) -> tuple[Tensor, Tensor]:
        """Return weight and bias of the convolution with the batch norm folded in."""
        mean, variance = cast(Tensor, self.norm.running_mean), cast(Tensor, self.norm.running_var)
        scale = self.norm.weight / torch.sqrt(variance + self.norm.eps)
        return self.conv.weight * scale[:, None, None], self.norm.bias - mean * scale


class SeparableBlock(nn.Module):
    """A depthwise and a pointwise convolution with a residual connection."""

    def __init__(self, width: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.depthwise = CausalConv(width, width, kernel, dilation=dilation, groups=width)
        self.pointwise = CausalConv(width, width, 1)

    def forward(self, inputs: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        outputs, state = self.depthwise(inputs, state)
        return inputs + self.pointwise(outputs)[0], state


class Student(nn.Module):
    """Logits of the word from log-mel frames, which the buffers `mean` and `scale`, (NUM_MELS,), normalise."""

    mean: Tensor
    scale: Tensor

    def __init__(self, config: StudentConfig | None = None) -> None:
        super().__init__()
        self.config = config or StudentConfig()
        self.register_buffer("mean", torch.zeros(NUM_MELS))
        self.register_buffer("scale", torch.ones(NUM_MELS))
        self.stem = CausalConv(NUM_MELS, self.config.width, _STEM_KERNEL, stride=FRAMES_PER_STEP)
        self.blocks = nn.ModuleList(
            SeparableBlock(self.config.width, self.config.kernel, d) for d in self.config.dilations
        )
        self.head = nn.Linear(self.config.width, 1)

    def encode_frames(self, log_mel: Tensor, states: list[Tensor] | None = None) -> tuple[Tensor, list[Tensor]]:
        """Map (batch, frames, NUM_MELS), frames even, to (batch, width, steps); return it and the next states."""
        steps = ((log_mel - self.mean) * self.scale).transpose(1, 2)
        next_states = []
        for index, layer in enumerate([self.stem, *self.blocks]):
            steps, state = layer(steps, None if states is None else states[index])
            next_states.append(state)
        return steps, next_states

    def forward(self, log_mel: Tensor, states: list[Tensor] | None = None) -> tuple[Tensor, list[Tensor]]:
        """Map (batch, frames, NUM_MELS) to (batch, steps) logits; return them and the states for the next block.

        states: of the previous block (default: zeros, the start of a stream).
        """
        steps, next_states = self.encode_frames(log_mel, states)
        return self.head(steps.transpose(1, 2))[:, :, 0], next_states

    def state_shapes(self) -> list[tuple[int, int]]:
        """Return (channels, steps) of each state."""
        width = self.config.width
        return [(NUM_MELS, self.stem.before), *((width, steps) for steps in self._block_state_steps())]

    def _block_state_steps(self) -> list[int]:
        return [cast(SeparableBlock, block).depthwise.before for block in self.blocks]

    @property
    def receptive_seconds(self) -> float:
        """Duration in seconds of the audio that one score depends on."""
        return (
            sum(self._block_state_steps()) * STEP_SECONDS
            + ((_STEM_KERNEL - 1) * HOP_SAMPLES + WINDOW_SAMPLES) / SAMPLE_RATE
        )
