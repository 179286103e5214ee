"""Whisper with an additional CTC head on its encoder (Watanabe et al. 2017, hybrid CTC/attention).

The CTC head aligns the encoder's frames with the audio, and rescores the decoder's hypotheses: a hypothesis that
continues after the end of speech has a low CTC probability.
"""

from __future__ import annotations

from torch import nn
from transformers import WhisperForConditionalGeneration

from speechxfer.heads.ctc import CtcHead


class WhisperWithCtc(nn.Module):
    """Whisper and its CTC head as one module, for training and checkpoints. `JointRecogniser` calls its submodules."""

    def __init__(self, whisper: WhisperForConditionalGeneration, ctc: CtcHead) -> None:
        super().__init__()
        self.whisper, self.ctc = whisper, ctc
