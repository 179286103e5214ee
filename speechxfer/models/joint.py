"""Whisper with its own decoder and a CTC head beside it: trained together, and each scoring what the other says."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import WhisperForConditionalGeneration, WhisperProcessor

from speechxfer.config.recipe import HeadConfig
from speechxfer.decoding.rescoring import DecoderHypothesis, RescoringWeights, choose_hypothesis
from speechxfer.decoding.whisper import decode_n_best
from speechxfer.errors import UserError
from speechxfer.heads.ctc import compute_ctc_log_probs, compute_ctc_loss
from speechxfer.heads.joint import CtcHead, WhisperWithCtc
from speechxfer.heads.whisper_decoder import compute_decoder_log_probs
from speechxfer.models.base import ModelSettings
from speechxfer.models.seq2seq import WhisperRecogniser
from speechxfer.shapes import IGNORE_INDEX, Emissions, Frames, pad_targets
from speechxfer.text.normalise import get_normaliser
from speechxfer.text.vocabulary import BLANK_SYMBOL, SPACE_SYMBOL, UNKNOWN_SYMBOL, build_vocabulary, encode_text

CTC_HEAD_FILE, CTC_VOCABULARY_FILE = (
    "ctc_head.safetensors",
    "ctc_vocabulary.json",
)  # beside Whisper's own files, which stay plain


class JointRecogniser(WhisperRecogniser):
    """`kind: joint`. vocabulary: the CTC head's symbols to their places; it writes text as `normaliser` leaves it."""

    kind = "joint"
    network: WhisperWithCtc

    def __init__(
        self,
        whisper: WhisperForConditionalGeneration,
        ctc: CtcHead,
        vocabulary: dict[str, int],
        processor: WhisperProcessor,
        settings: ModelSettings,
    ) -> None:
        super().__init__(whisper, processor, settings, network=WhisperWithCtc(whisper, ctc))
        self.ctc, self.vocabulary = ctc, vocabulary
        self.blank = vocabulary[BLANK_SYMBOL]
        self.ctc_weight = 0.3  # in training
        self._normalise = get_normaliser(settings.normaliser)
        self._spelt: dict[tuple[int, ...], list[int]] = {}

    @property
    def head(self) -> list[nn.Module]:
        return [*super().head, self.ctc]

    @property
    def randomly_initialised_head(self) -> list[nn.Module]:
        return [self.ctc]

    @property
    def labels(self) -> list[str | None]:
        """The text of every place of the CTC head's emissions; None for what is never written."""
        meant = {BLANK_SYMBOL: "", SPACE_SYMBOL: " ", UNKNOWN_SYMBOL: None}
        in_order = sorted(self.vocabulary, key=lambda symbol: self.vocabulary[symbol])
        return [meant.get(symbol, symbol) for symbol in in_order]

    def compute_emissions(self, frames: Frames) -> Emissions:
        """Frames to the CTC head's log-probabilities (batch, frames, symbols)."""
        return self.ctc(frames)

    def compute_loss(self, frames: Frames, labels: Tensor) -> Tensor:
        """Both losses by their weights, the CTC head's a character as the decoder's a token.

        A new CTC head's loss is many times the decoder's, and there are several characters to a token: as plain sums
        it would take the encoder away from the decoder in the first epoch.
        """
        spelt = [self._spelling(row[row != IGNORE_INDEX].tolist()) for row in labels.cpu()]
        ctc = compute_ctc_loss(self.compute_emissions(frames), pad_targets(spelt).to(labels.device), self.blank)
        ctc = ctc * int((labels != IGNORE_INDEX).sum()) / max(1, sum(map(len, spelt)))
        return (1 - self.ctc_weight) * super().compute_loss(frames, labels) + self.ctc_weight * ctc

    def decode_frames(self, frames: Frames) -> list[str]:
        if self.settings.beam_size == 1 or self.settings.rescoring is None:
            return super().decode_frames(frames)
        weights = RescoringWeights(**self.settings.rescoring)
        return [choose_hypothesis(hypotheses, weights).text for hypotheses in self.list_hypotheses(frames)]

    @torch.no_grad()
    def list_hypotheses(self, frames: Frames) -> list[list[DecoderHypothesis]]:
        """Each utterance's `settings.beams` hypotheses, the decoder's best first, scored by decoder and CTC head."""
        beams = self.settings.beam_size
        found = decode_n_best(self.whisper, frames, self.prompt, beams=beams, **self.generation_options)
        tokens = [row for rows in found for row in rows]
        repeated = Frames(frames.states.repeat_interleave(beams, 0), frames.lengths.repeat_interleave(beams))
        decoder = compute_decoder_log_probs(
            self.whisper, repeated, pad_targets(tokens).to(self.device), self.prompt
        ).tolist()
        texts = [text.strip() for text in self.processor.tokenizer.batch_decode(tokens, skip_special_tokens=True)]
        emissions = self.compute_emissions(frames)
        emissions = Emissions(emissions.log_probs.repeat_interleave(beams, 0), repeated.lengths)
        ctc = compute_ctc_log_probs(
            emissions, pad_targets([self.encode_known(text) for text in texts]), self.blank
        ).tolist()
        scored = [
            DecoderHypothesis(text, tuple(self._normalise(text).split()), *scores)
            for text, *scores in zip(texts, decoder, ctc, strict=True)
        ]
        return [scored[start : start + beams] for start in range(0, len(scored), beams)]

    def encode_known(self, text: str) -> list[int]:
        """The places of a text's characters; what the vocabulary lacks is left out."""
        return encode_text(self._normalise(text), self.vocabulary)[0]

    def _spelling(self, tokens: list[int]) -> list[int]:
        key = tuple(tokens)
        if key not in self._spelt:
            self._spelt[key] = self.encode_known(self.processor.tokenizer.decode(tokens, skip_special_tokens=True))
        return self._spelt[key]

    def _save_network(self, folder: Path) -> None:
        """Whisper's own files, which transformers opens as they are, and the CTC head's two beside them."""
        super()._save_network(folder)
        save_file({name: weight.contiguous() for name, weight in self.ctc.state_dict().items()}, folder / CTC_HEAD_FILE)
        (folder / CTC_VOCABULARY_FILE).write_text(json.dumps(self.vocabulary, ensure_ascii=False), encoding="utf-8")


def open_joint(
    folder: Path, whisper: WhisperForConditionalGeneration, processor: WhisperProcessor, settings: ModelSettings
) -> JointRecogniser:
    """A folder that `save` wrote. Raises UserError where the CTC head's files are missing or do not fit."""
    try:
        vocabulary = json.loads((folder / CTC_VOCABULARY_FILE).read_text(encoding="utf-8"))
        weights = load_file(folder / CTC_HEAD_FILE)
        layers = sum(name.startswith("recurrent.weight_ih") and not name.endswith("_reverse") for name in weights)
        ctc = CtcHead(whisper.config.d_model, len(vocabulary), recurrent=layers)
        ctc.load_state_dict(weights)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(
            f"the CTC head of a joint model cannot be read ({str(error).splitlines()[0]})",
            where=str(folder),
            fix=f"{CTC_HEAD_FILE} and {CTC_VOCABULARY_FILE} belong beside model.safetensors: copy the whole folder",
        ) from None
    return JointRecogniser(whisper, ctc, vocabulary, processor, settings)


def new_joint(
    whisper: WhisperForConditionalGeneration,
    processor: WhisperProcessor,
    settings: ModelSettings,
    head: HeadConfig,
    texts: list[str],
) -> JointRecogniser:
    """Whisper with a new CTC head over the characters that the normaliser leaves of `texts`."""
    normalise = get_normaliser(settings.normaliser)
    vocabulary = build_vocabulary(normalise(text) for text in texts)
    ctc = CtcHead(whisper.config.d_model, len(vocabulary), recurrent=head.lstm_layers, dropout=head.dropout)
    model = JointRecogniser(whisper, ctc, vocabulary, processor, settings)
    model.ctc_weight = head.ctc_weight
    return model
