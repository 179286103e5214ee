"""Whisper with its own decoder and a CTC head beside it: trained together, and each scoring what the other says."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import WhisperForConditionalGeneration, WhisperProcessor

from speechxfer.config.recipe import Head
from speechxfer.decoding.hybrid import Hypothesis, Rescoring, choose
from speechxfer.decoding.whisper import n_best
from speechxfer.errors import UserError
from speechxfer.heads.ctc import ctc_log_probs, ctc_loss
from speechxfer.heads.joint import CtcHead, WhisperWithCtc
from speechxfer.heads.whisper_decoder import decoder_log_probs
from speechxfer.models.base import Settings
from speechxfer.models.seq2seq import WhisperRecogniser
from speechxfer.shapes import IGNORED, Emissions, Frames, padded_targets
from speechxfer.text.normalise import get_normaliser
from speechxfer.text.vocabulary import BLANK, SPACE, UNKNOWN, spell, vocabulary_of

WEIGHTS, VOCABULARY = "ctc_head.safetensors", "ctc_vocabulary.json"  # beside Whisper's own files, which stay plain


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
        settings: Settings,
    ) -> None:
        super().__init__(whisper, processor, settings, network=WhisperWithCtc(whisper, ctc))
        self.ctc, self.vocabulary = ctc, vocabulary
        self.blank = vocabulary[BLANK]
        self.ctc_weight = 0.3  # in training
        self._normalise = get_normaliser(settings.normaliser)
        self._spelt: dict[tuple[int, ...], list[int]] = {}

    @property
    def head(self) -> list[nn.Module]:
        return [*super().head, self.ctc]

    @property
    def new_head(self) -> list[nn.Module]:
        return [self.ctc]

    @property
    def symbols(self) -> list[str | None]:
        """The text of every place of the CTC head's emissions; None for what is never written."""
        meant = {BLANK: "", SPACE: " ", UNKNOWN: None}
        in_order = sorted(self.vocabulary, key=lambda symbol: self.vocabulary[symbol])
        return [meant.get(symbol, symbol) for symbol in in_order]

    def emissions(self, frames: Frames) -> Emissions:
        """Frames to the CTC head's log-probabilities (batch, frames, symbols)."""
        return self.ctc(frames)

    def loss(self, frames: Frames, labels: Tensor) -> Tensor:
        """Both losses by their weights, the CTC head's a character as the decoder's a token.

        A new CTC head's loss is many times the decoder's, and there are several characters to a token: as plain sums
        it would take the encoder away from the decoder in the first epoch.
        """
        spelt = [self._spelling(row[row != IGNORED].tolist()) for row in labels.cpu()]
        ctc = ctc_loss(self.emissions(frames), padded_targets(spelt).to(labels.device), self.blank)
        ctc = ctc * int((labels != IGNORED).sum()) / max(1, sum(map(len, spelt)))
        return (1 - self.ctc_weight) * super().loss(frames, labels) + self.ctc_weight * ctc

    def read(self, frames: Frames) -> list[str]:
        if self.settings.beams == 1 or self.settings.rescoring is None:
            return super().read(frames)
        weights = Rescoring(**self.settings.rescoring)
        return [choose(hypotheses, weights).text for hypotheses in self.hypotheses(frames)]

    @torch.no_grad()
    def hypotheses(self, frames: Frames) -> list[list[Hypothesis]]:
        """Each utterance's `settings.beams` hypotheses, the decoder's best first, scored by decoder and CTC head."""
        beams = self.settings.beams
        found = n_best(self.whisper, frames, self.prompt, beams=beams, **self.rules)
        tokens = [row for rows in found for row in rows]
        repeated = Frames(frames.states.repeat_interleave(beams, 0), frames.lengths.repeat_interleave(beams))
        decoder = decoder_log_probs(
            self.whisper, repeated, padded_targets(tokens).to(self.device), self.prompt
        ).tolist()
        texts = [text.strip() for text in self.processor.tokenizer.batch_decode(tokens, skip_special_tokens=True)]
        emissions = self.emissions(frames)
        emissions = Emissions(emissions.log_probs.repeat_interleave(beams, 0), repeated.lengths)
        ctc = ctc_log_probs(emissions, padded_targets([self.spelling(text) for text in texts]), self.blank).tolist()
        scored = [
            Hypothesis(text, tuple(self._normalise(text).split()), *scores)
            for text, *scores in zip(texts, decoder, ctc, strict=True)
        ]
        return [scored[start : start + beams] for start in range(0, len(scored), beams)]

    def spelling(self, text: str) -> list[int]:
        """The places of a text's characters; what the vocabulary lacks is left out."""
        return spell(self._normalise(text), self.vocabulary)[0]

    def _spelling(self, tokens: list[int]) -> list[int]:
        key = tuple(tokens)
        if key not in self._spelt:
            self._spelt[key] = self.spelling(self.processor.tokenizer.decode(tokens, skip_special_tokens=True))
        return self._spelt[key]

    def _save_network(self, folder: Path) -> None:
        """Whisper's own files, which transformers opens as they are, and the CTC head's two beside them."""
        super()._save_network(folder)
        save_file({name: weight.contiguous() for name, weight in self.ctc.state_dict().items()}, folder / WEIGHTS)
        (folder / VOCABULARY).write_text(json.dumps(self.vocabulary, ensure_ascii=False), encoding="utf-8")


def open_joint(
    folder: Path, whisper: WhisperForConditionalGeneration, processor: WhisperProcessor, settings: Settings
) -> JointRecogniser:
    """A folder that `save` wrote. Raises UserError where the CTC head's files are missing or do not fit."""
    try:
        vocabulary = json.loads((folder / VOCABULARY).read_text(encoding="utf-8"))
        weights = load_file(folder / WEIGHTS)
        layers = sum(name.startswith("recurrent.weight_ih") and not name.endswith("_reverse") for name in weights)
        ctc = CtcHead(whisper.config.d_model, len(vocabulary), recurrent=layers)
        ctc.load_state_dict(weights)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(
            f"the CTC head of a joint model cannot be read ({str(error).splitlines()[0]})",
            where=str(folder),
            fix=f"{WEIGHTS} and {VOCABULARY} belong beside model.safetensors: copy the whole folder",
        ) from None
    return JointRecogniser(whisper, ctc, vocabulary, processor, settings)


def new_joint(
    whisper: WhisperForConditionalGeneration,
    processor: WhisperProcessor,
    settings: Settings,
    head: Head,
    texts: list[str],
) -> JointRecogniser:
    """Whisper with a new CTC head over the characters that the normaliser leaves of `texts`."""
    normalise = get_normaliser(settings.normaliser)
    vocabulary = vocabulary_of(normalise(text) for text in texts)
    ctc = CtcHead(whisper.config.d_model, len(vocabulary), recurrent=head.recurrent, dropout=head.dropout)
    model = JointRecogniser(whisper, ctc, vocabulary, processor, settings)
    model.ctc_weight = head.ctc_weight
    return model
