"""The streaming student: causal depthwise-separable convolutions on log-mel, with every state in the open.

(batch, frames, MELS) log-mel at 100 frames a second to one logit every 20 ms. A score needs no audio after its own
frames, so the latency is the front end's: `FIRST_SCORE_SECONDS` seconds of audio for the first score, `STEP_SECONDS` for each further one.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechxfer.wakeword.runtime.features import HOP_SAMPLES, NUM_MELS, SAMPLE_RATE, WINDOW_SAMPLES

FRAMES_PER_STEP = 2  # log-mel frames to a score
STEP_SECONDS = FRAMES_PER_STEP * HOP_SAMPLES / SAMPLE_RATE  # s: 0.02
FIRST_SCORE_SECONDS = (WINDOW_SAMPLES + (FRAMES_PER_STEP - 1) * HOP_SAMPLES) / SAMPLE_RATE  # s: 0.035
_STEM = 6  # log-mel frames that one step of the first convolution sees


@dataclass(frozen=True)
class StudentConfig:
    """The student's sizes. With these it has 0.15 M parameters and sees 1.8 s."""

    width: int = 128
    kernel: int = 5
    dilations: tuple[int, ...] = (1, 1, 2, 2, 4, 4, 8)

    def to_json(self) -> dict[str, object]:
        return {**asdict(self), "dilations": list(self.dilations)}


class CausalConv(nn.Module):
    """A convolution over time, its batch norm and a rectifier; `state` is the input that it needs from before."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, dilation: int = 1, stride: int = 1, groups: int = 1):
        super().__init__()
        self.conv = nn.Conv1d(inputs, outputs, kernel, stride=stride, dilation=dilation, groups=groups, bias=False)
        self.norm = nn.BatchNorm1d(outputs)
        self.before = dilation * (kernel - 1) + 1 - stride  # steps of input kept

    def forward(self, inputs: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(batch, inputs, steps) and (batch, inputs, before) to (batch, outputs, steps // stride) and the new state."""
        if state is None:
            state = inputs.new_zeros(inputs.shape[0], inputs.shape[1], self.before)
        joined = torch.cat([state, inputs], dim=2)
        return F.relu(self.norm(self.conv(joined))), joined[:, :, joined.shape[2] - self.before :]

    def fold_batch_norm(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of the convolution with its batch norm taken in."""
        mean, variance = cast(Tensor, self.norm.running_mean), cast(Tensor, self.norm.running_var)
        scale = self.norm.weight / torch.sqrt(variance + self.norm.eps)
        return self.conv.weight * scale[:, None, None], self.norm.bias - mean * scale


class SeparableBlock(nn.Module):
    """A depthwise and a pointwise convolution around a shortcut."""

    def __init__(self, width: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.depthwise = CausalConv(width, width, kernel, dilation=dilation, groups=width)
        self.pointwise = CausalConv(width, width, 1)

    def forward(self, inputs: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        along, state = self.depthwise(inputs, state)
        return inputs + self.pointwise(along)[0], state


class Student(nn.Module):
    """Logits of the word, and the frames under them. `average_checkpoints` and `scale`, (MELS,), normalise the log-mel."""

    mean: Tensor
    scale: Tensor

    def __init__(self, shape: StudentConfig | None = None) -> None:
        super().__init__()
        self.shape = shape or StudentConfig()
        self.register_buffer("mean", torch.zeros(NUM_MELS))
        self.register_buffer("scale", torch.ones(NUM_MELS))
        self.stem = CausalConv(NUM_MELS, self.shape.width, _STEM, stride=FRAMES_PER_STEP)
        self.blocks = nn.ModuleList(
            SeparableBlock(self.shape.width, self.shape.kernel, d) for d in self.shape.dilations
        )
        self.head = nn.Linear(self.shape.width, 1)

    def encode_frames(self, log_mel: Tensor, states: list[Tensor] | None = None) -> tuple[Tensor, list[Tensor]]:
        """(batch, frames, MELS), an even number of frames, to (batch, width, steps) and the states to go on from."""
        steps = ((log_mel - self.mean) * self.scale).transpose(1, 2)
        after = []
        for place, layer in enumerate([self.stem, *self.blocks]):
            steps, state = layer(steps, None if states is None else states[place])
            after.append(state)
        return steps, after

    def forward(self, log_mel: Tensor, states: list[Tensor] | None = None) -> tuple[Tensor, list[Tensor]]:
        """(batch, frames, MELS) to (batch, steps) logits and the states; without states it starts in silence's place.

        A stream starts with states of zeros, which is what an utterance heard alone starts with.
        """
        steps, after = self.encode_frames(log_mel, states)
        return self.head(steps.transpose(1, 2))[:, :, 0], after

    def state_shapes(self) -> list[tuple[int, int]]:
        """(channels, steps) of each state."""
        width = self.shape.width
        return [(NUM_MELS, self.stem.before), *((width, before) for before in self._befores())]

    def _befores(self) -> list[int]:
        return [cast(SeparableBlock, block).depthwise.before for block in self.blocks]

    @property
    def receptive_seconds(self) -> float:
        """Seconds of audio that one score depends on."""
        return sum(self._befores()) * STEP_SECONDS + ((_STEM - 1) * HOP_SAMPLES + WINDOW_SAMPLES) / SAMPLE_RATE
