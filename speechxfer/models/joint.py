"""Recogniser with Whisper's decoder and a CTC head, trained jointly; the CTC head rescores the decoder's hypotheses."""

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
from speechxfer.heads.ctc import CtcHead, compute_ctc_log_probs, compute_ctc_loss
from speechxfer.heads.joint import WhisperWithCtc
from speechxfer.heads.whisper_decoder import compute_decoder_log_probs
from speechxfer.models.base import ModelSettings
from speechxfer.models.seq2seq import WhisperRecogniser
from speechxfer.scoring.tokens import tokenize
from speechxfer.scoring.units import choose_unit
from speechxfer.shapes import IGNORE_INDEX, Emissions, Frames, pad_targets
from speechxfer.text.normalise import get_normaliser
from speechxfer.text.timestamps import strip_special_tokens
from speechxfer.text.vocabulary import BLANK_SYMBOL, SPACE_SYMBOL, UNKNOWN_SYMBOL, build_vocabulary, encode_text

# in addition to Whisper's files, which transformers opens unchanged
CTC_HEAD_FILE, CTC_VOCABULARY_FILE = "ctc_head.safetensors", "ctc_vocabulary.json"


class JointRecogniser(WhisperRecogniser):
    """Whisper's decoder with a CTC head (`kind: joint`).

    Attributes:
        vocabulary: symbol of the CTC head to its id; the head writes normalised text.
        blank: id of the CTC blank.
        ctc_weight: share of the CTC loss in the training loss.
    """

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
        self.ctc_weight = 0.3
        self._normalise = get_normaliser(settings.normaliser)
        self._ctc_targets: dict[tuple[int, ...], list[int]] = {}  # of the decoder's tokens

    @property
    def head(self) -> list[nn.Module]:
        return [*super().head, self.ctc]

    @property
    def randomly_initialised_head(self) -> list[nn.Module]:
        return [self.ctc]

    @property
    def labels(self) -> list[str | None]:
        """Text of every output id of the CTC head: "" for the blank, None if it is never written."""
        special = {BLANK_SYMBOL: "", SPACE_SYMBOL: " ", UNKNOWN_SYMBOL: None}
        in_order = sorted(self.vocabulary, key=lambda symbol: self.vocabulary[symbol])
        return [special.get(symbol, symbol) for symbol in in_order]

    def compute_emissions(self, frames: Frames) -> Emissions:
        """Compute the CTC head's log-probabilities (batch, frames, vocab) from frames."""
        return self.ctc(frames)

    def compute_loss(self, frames: Frames, labels: Tensor) -> Tensor:
        """Compute the weighted sum of both losses, with the CTC loss scaled from characters to tokens.

        The loss of a new CTC head is many times the decoder's, and a token has several characters. Without scaling the
        CTC loss would dominate the encoder's first epoch, to the decoder's cost.
        """
        targets, num_tokens = self._make_ctc_targets(labels)
        ctc = compute_ctc_loss(self.compute_emissions(frames), pad_targets(targets).to(labels.device), self.blank)
        ctc = ctc * num_tokens / max(1, sum(map(len, targets)))
        return (1 - self.ctc_weight) * super().compute_loss(frames, labels) + self.ctc_weight * ctc

    def decode_frames(self, frames: Frames) -> list[str]:
        if self.settings.beam_size == 1 or self.settings.rescoring is None:
            return super().decode_frames(frames)
        weights = RescoringWeights(**self.settings.rescoring)
        return [choose_hypothesis(hypotheses, weights).text for hypotheses in self.list_hypotheses(frames)]

    @torch.no_grad()
    def list_hypotheses(self, frames: Frames) -> list[list[DecoderHypothesis]]:
        """List `settings.beam_size` hypotheses per utterance, best first, with decoder and CTC scores."""
        beams = self.settings.beam_size
        n_best = decode_n_best(self.whisper, frames, self.prompt, self.generation_options)
        tokens = [hypothesis for hypotheses in n_best for hypothesis in hypotheses]
        repeated = Frames(frames.states.repeat_interleave(beams, 0), frames.lengths.repeat_interleave(beams))
        labels = pad_targets(tokens).to(self.device)
        decoder = compute_decoder_log_probs(self.whisper, repeated, labels, self.prompt).tolist()
        texts = [text.strip() for text in self.processor.tokenizer.batch_decode(tokens, skip_special_tokens=True)]
        emissions = self.compute_emissions(frames)
        emissions = Emissions(emissions.log_probs.repeat_interleave(beams, 0), repeated.lengths)
        targets = pad_targets([self.encode_known(text) for text in texts])
        ctc = compute_ctc_log_probs(emissions, targets, self.blank).tolist()
        scored = [
            DecoderHypothesis(text, self._split(text), *scores)
            for text, *scores in zip(texts, decoder, ctc, strict=True)
        ]
        return [scored[start : start + beams] for start in range(0, len(scored), beams)]

    def _split(self, text: str) -> tuple[str, ...]:
        """Split a text into what is counted: words, or characters in a script written without spaces."""
        normalised = self._normalise(text)
        return tuple(tokenize(normalised, choose_unit([normalised])))

    def encode_known(self, text: str) -> list[int]:
        """Encode a text for the CTC head; characters that the vocabulary lacks are left out."""
        return encode_text(self._normalise(text), self.vocabulary)[0]

    def _make_ctc_targets(self, labels: Tensor) -> tuple[list[list[int]], int]:
        """Return the CTC head's ids for the decoder's (batch, targets) tokens, and the number of these tokens."""
        rows = [row[row != IGNORE_INDEX].tolist() for row in labels.cpu()]
        return [self._get_ctc_target(row) for row in rows], sum(map(len, rows))

    def _get_ctc_target(self, tokens: list[int]) -> list[int]:
        """Convert the decoder's tokens to the CTC head's ids."""
        key = tuple(tokens)
        if key not in self._ctc_targets:
            words = [token for token in tokens if token <= self.prompt[-1]]  # above are timestamps
            text = self.processor.tokenizer.decode(words, skip_special_tokens=True)
            self._ctc_targets[key] = self.encode_known(text)
        return self._ctc_targets[key]

    def _save_network(self, folder: Path) -> None:
        """Write Whisper's files, which transformers opens unchanged, and the two files of the CTC head."""
        super()._save_network(folder)
        save_file({name: weight.contiguous() for name, weight in self.ctc.state_dict().items()}, folder / CTC_HEAD_FILE)
        (folder / CTC_VOCABULARY_FILE).write_text(json.dumps(self.vocabulary, ensure_ascii=False), encoding="utf-8")


def open_joint(
    folder: Path, whisper: WhisperForConditionalGeneration, processor: WhisperProcessor, settings: ModelSettings
) -> JointRecogniser:
    """Load a model that `save` wrote. Raises UserError if the CTC head's files are missing or do not match."""
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
            fix=f"copy the whole folder, with {CTC_HEAD_FILE} and {CTC_VOCABULARY_FILE} next to model.safetensors",
        ) from None
    return JointRecogniser(whisper, ctc, vocabulary, processor, settings)


def build_joint(
    whisper: WhisperForConditionalGeneration,
    processor: WhisperProcessor,
    settings: ModelSettings,
    head: HeadConfig,
    texts: list[str],
) -> JointRecogniser:
    """Build Whisper with a new CTC head over the characters of the normalised `texts`."""
    normalise = get_normaliser(settings.normaliser)
    vocabulary = build_vocabulary(normalise(strip_special_tokens(text)) for text in texts)
    ctc = CtcHead(whisper.config.d_model, len(vocabulary), recurrent=head.lstm_layers, dropout=head.dropout)
    model = JointRecogniser(whisper, ctc, vocabulary, processor, settings)
    model.ctc_weight = head.ctc_weight
    return model
