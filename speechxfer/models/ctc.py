"""Recogniser with a CTC head: a new head over the characters of the training text, or the checkpoint's own."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from transformers import (
    AutoFeatureExtractor,
    AutoModelForCTC,
    PreTrainedModel,
    Wav2Vec2BertProcessor,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2Processor,
)

from speechxfer.config.recipe import CTC_BEAM_SIZE, DecodingConfig, HeadConfig
from speechxfer.decoding.ctc_beam import DEFAULT_LM_WEIGHT, BeamSearch, BeamSearchOptions, LanguageModel, read_lm
from speechxfer.decoding.ctc_greedy import decode_greedy
from speechxfer.encoders import wrap_encoder
from speechxfer.encoders.whisper import WhisperEncoderWrapper
from speechxfer.errors import UserError
from speechxfer.heads.classification import AttentiveConfig
from speechxfer.heads.ctc import compute_ctc_loss
from speechxfer.heads.whisper_ctc import WhisperCTCConfig, WhisperForCTC
from speechxfer.models.base import ModelSettings, SpeechModel, TargetSpan
from speechxfer.models.language_adapters import load_adapter, load_ctc_tokenizer
from speechxfer.models.pretrained import (
    get_encoder_config,
    load_bare_encoder,
    load_config,
    load_pretrained,
    reinit_linear,
)
from speechxfer.shapes import Emissions, Frames
from speechxfer.text.ngram import train_ngram
from speechxfer.text.normalise import get_normaliser
from speechxfer.text.vocabulary import (
    BLANK_SYMBOL,
    SPACE_SYMBOL,
    UNKNOWN_SYMBOL,
    build_vocabulary,
    detect_case,
    encode_text,
)

FROM_TRAIN = "from-train"


class CtcRecogniser(SpeechModel):
    """Recogniser with a CTC head (`kind: ctc`), decoded by the best path or by beam search.

    Attributes:
        vocabulary: symbol to its id, the column of the emissions.
        blank: id of the CTC blank, the tokenizer's pad token.
        space: the symbol between words.
        lm: language model for the beam search, if any.
    """

    kind = "ctc"

    def __init__(self, network: PreTrainedModel, extractor: Any, tokenizer: Any, settings: ModelSettings) -> None:
        if isinstance(network, WhisperForCTC):
            encoder: Any = WhisperEncoderWrapper(network.encoder, extractor, pad_to_30s=settings.pad_to_30s)
            processor: Any = _ProcessorPair(extractor, tokenizer)
        else:
            encoder = wrap_encoder(network, extractor)
            processors = {"wav2vec2-bert": Wav2Vec2BertProcessor}
            processor = processors.get(network.config.model_type, Wav2Vec2Processor)(extractor, tokenizer)
        super().__init__(network, encoder, processor, settings)
        self.vocabulary: dict[str, int] = tokenizer.get_vocab()
        self.blank = int(tokenizer.pad_token_id)
        self.space = tokenizer.word_delimiter_token
        self._symbols = {index: symbol for symbol, index in self.vocabulary.items()}
        self._unwritten = {tokenizer.bos_token, tokenizer.eos_token, tokenizer.unk_token} - {None}
        self.lm: LanguageModel | None = None
        self._last_search: tuple[Any, BeamSearch] | None = None  # key (language model, options) and its search
        self._scratch: tempfile.TemporaryDirectory | None = None  # holds a trained language model until it is saved

    @property
    def head(self) -> list[nn.Module]:
        context = getattr(self.network, "context", None)
        return [self.network.lm_head] if context is None else [context, self.network.lm_head]

    def encode_target(self, text: str) -> list[int]:
        ids, unknown = encode_text(self._to_vocabulary_case(text), self.vocabulary)
        if unknown:
            raise UserError(f"its text has characters that the vocabulary lacks: {' '.join(sorted(unknown))}")
        return ids

    def join_targets(self, targets: Sequence[list[int]], spans: Sequence[TargetSpan] | None = None) -> list[int]:
        space = self.vocabulary.get(SPACE_SYMBOL)
        joined = list(targets[0])
        for one in targets[1:]:
            joined += [*([] if space is None else [space]), *one]
        return joined

    def encode_known(self, text: str) -> list[int]:
        """Encode a text after normalisation; characters that the vocabulary lacks are left out."""
        normalised = get_normaliser(self.settings.normaliser)(text)
        return encode_text(self._to_vocabulary_case(normalised), self.vocabulary)[0]

    def _to_vocabulary_case(self, text: str) -> str:
        """Convert to upper case for a vocabulary that has capitals only, as in many English checkpoints."""
        characters = {symbol for symbol in self.vocabulary if len(symbol) == 1}  # without special symbols like `<pad>`
        return text.upper() if detect_case(characters) == "upper" else text

    def compute_emissions(self, frames: Frames) -> Emissions:
        """Compute log-probabilities (batch, frames, vocab) from frames."""
        if isinstance(self.network, WhisperForCTC):
            logits = self.network.compute_logits(frames.states, frames.lengths)
        else:
            logits = self.network.lm_head(self.network.dropout(frames.states))
        return Emissions(logits.float().log_softmax(-1), frames.lengths)

    @torch.no_grad()
    def standardise_frames(self, waveforms: Iterable[np.ndarray]) -> None:
        """Standardise Whisper's frames: mean 0 and deviation 1 per dimension over `waveforms`, by the final layer norm.

        Whisper's dimensions differ tenfold in scale, so a new head would learn from the largest only, and no decoder
        depends on them any more. Other families' frames need no scaling: `waveforms` is not read.
        """
        if not isinstance(self.network, WhisperForCTC):
            return
        frames = torch.cat([self.infer([waveform], lambda frames: frames.states[0]) for waveform in waveforms])
        norm = self.network.encoder.layer_norm
        deviation, mean = torch.std_mean(frames, 0, correction=0)
        deviation.clamp_(min=1e-3)  # do not amplify a constant dimension
        norm.bias.copy_((norm.bias - mean) / deviation)
        norm.weight.div_(deviation)

    def compute_loss(self, frames: Frames, labels: Tensor) -> Tensor:
        return compute_ctc_loss(self.compute_emissions(frames), labels, self.blank)

    def decode_frames(self, frames: Frames) -> list[str]:
        """Decode by the best path, or for `settings.beam_size` > 1 by beam search with the language model, if any."""
        if self.settings.beam_size == 1:
            return [self.decode_ids(ids) for ids in decode_greedy(self.compute_emissions(frames), self.blank)]
        return [hypotheses[0].text for hypotheses in self.get_beam_search()(self.compute_emissions(frames))]

    @property
    def labels(self) -> list[str | None]:
        """Text of every output id, in the form `BeamSearch` expects: "" for the blank, None if it is never written."""
        special = {self.space: " "} | dict.fromkeys(self._unwritten)
        labels: list[str | None] = [None] * self.network.lm_head.out_features
        for index, symbol in self._symbols.items():
            if index < len(labels):  # transformers gives tokenizers start and end symbols that a head may lack
                labels[index] = special.get(symbol, symbol)
        labels[self.blank] = ""
        return labels

    @property
    def search_options(self) -> BeamSearchOptions:
        """Options of the beam search according to the settings."""
        saved = dict(self.settings.beam_search or {})
        return BeamSearchOptions(self.settings.beam_size, **saved | {"hot_words": tuple(saved.get("hot_words", ()))})

    def get_beam_search(self) -> BeamSearch:
        """Return the beam search that `decode_frames` uses; it is rebuilt only if the settings have changed."""
        key, last = (self.lm, self.search_options), self._last_search
        if last is None or last[0] != key:
            last = self._last_search = key, BeamSearch(self.labels, self.lm, self.search_options)
        return last[1]

    def configure_beam_search(self, decoding: DecodingConfig, texts: list[str]) -> None:
        """Set up the beam search of a recipe: hot words, weights and language model.

        Args:
            decoding: the recipe's `decoding` section.
            texts: training texts, on which the language model is trained with `decoding.lm=from-train`.

        Weights that the recipe leaves open are 0 until they are tuned on dev.

        Raises:
            UserError: if a language model or a hot word cannot be used.
            MissingExtraError: if the package of the beam search is not installed.
        """
        normalise = get_normaliser(self.settings.normaliser)
        self.settings.beam_search = {
            "lm_weight": decoding.lm_weight or 0.0,
            "word_bonus": decoding.word_bonus or 0.0,
            "hot_words": [normalise(word) for word in decoding.hot_words],
            "hot_word_weight": decoding.hot_word_weight,
        }
        if decoding.lm == FROM_TRAIN:
            self._scratch = tempfile.TemporaryDirectory()
            path = Path(self._scratch.name) / "lm.arpa"
            train_ngram((self._to_vocabulary_case(text) for text in texts), decoding.lm_order).write(path)
            self.lm = read_lm(path)
        elif decoding.lm is not None:
            self.lm = read_lm(decoding.lm)
        self.settings.lm = self.lm.saved_name if self.lm else None
        self.get_beam_search()

    def copy_with_search(self, lm: str | Path | None, hot_words: Sequence[str]) -> Self:
        """Return a copy with this language model or these hot words instead of the saved ones.

        Saved weights are kept; the defaults are `DEFAULT_LM_WEIGHT` and the recipe's `hot_word_weight`. For a model
        saved with greedy decoding the beam size is `CTC_BEAM_SIZE`. Raises the errors of `configure_beam_search`.
        """
        options, defaults = dict(self.settings.beam_search or {}), DecodingConfig.model_validate({})
        if hot_words:
            normalise = get_normaliser(self.settings.normaliser)
            options["hot_words"] = [normalise(word) for word in hot_words]
            options["hot_word_weight"] = options.get("hot_word_weight") or defaults.hot_word_weight
        if lm is not None:
            options["lm_weight"] = options.get("lm_weight") or DEFAULT_LM_WEIGHT
        beam_size = CTC_BEAM_SIZE if self.settings.beam_size == 1 else self.settings.beam_size
        other = self.copy_with(beam_search=options, beam_size=beam_size)
        other.lm = self.lm if lm is None else read_lm(lm)
        other.get_beam_search()
        return other

    def save(self, folder: Path) -> None:
        super().save(folder)
        if self.lm is not None:
            self.lm.save(folder)

    def decode_ids(self, ids: list[int]) -> str:
        """Join the symbols of a label sequence without blanks and repeats."""
        symbols = (self._symbols.get(index) for index in ids)  # a head may have more outputs than its vocabulary
        written = (symbol for symbol in symbols if symbol and symbol not in self._unwritten)
        return " ".join("".join(" " if symbol == self.space else symbol for symbol in written).split())


class _ProcessorPair:
    """Feature extractor and tokenizer in one folder: transformers has no processor class for Whisper with CTC."""

    def __init__(self, feature_extractor: Any, tokenizer: Any) -> None:
        self.feature_extractor, self.tokenizer = feature_extractor, tokenizer

    def save_pretrained(self, folder: Path) -> None:
        self.feature_extractor.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)


def open_ctc(folder: Path, settings: ModelSettings) -> CtcRecogniser:
    """Load a model with a CTC head and its vocabulary."""
    if load_config(folder).model_type == WhisperCTCConfig.model_type:
        network = load_pretrained(WhisperForCTC, folder)
    else:
        network = load_pretrained(AutoModelForCTC, folder)
        load_adapter(network, folder, settings.language)
    tokenizer = load_ctc_tokenizer(folder, settings.language)
    model = CtcRecogniser(network.eval(), load_pretrained(AutoFeatureExtractor, folder), tokenizer, settings)
    if settings.lm is not None:
        model.lm = read_lm(folder / Path(settings.lm).name)
    return model


def build_ctc(folder: Path, settings: ModelSettings, head: HeadConfig, texts: list[str]) -> CtcRecogniser:
    """Build the folder's encoder with a new CTC head over the characters of `texts`, or load its own head.

    The folder's own head and vocabulary are used for `vocabulary: own`.
    """
    config = load_config(folder)
    if head.vocabulary == "own":
        if not (config.architectures or [""])[0].endswith("ForCTC"):
            raise UserError(
                "the checkpoint has no CTC head of its own",
                where="head.vocabulary",
                fix="set head.vocabulary=from-train",
            )
        return open_ctc(folder, settings)
    tokenizer = _make_tokenizer(build_vocabulary(texts))
    encoder_config = get_encoder_config(config)
    extractor = load_pretrained(AutoFeatureExtractor, folder)
    if encoder_config.model_type == "whisper":
        network: PreTrainedModel = _build_whisper_ctc(folder, encoder_config, head, len(tokenizer.get_vocab()))
    elif head.lstm_layers:
        raise UserError(
            f"transformers cannot open a {encoder_config.model_type} model with LSTM layers before its CTC output",
            where="head.lstm_layers",
            fix="set head.lstm_layers=0; this family needs none",
        )
    else:
        network = _build_transformers_ctc(folder, config, head, tokenizer, settings.language)
    return CtcRecogniser(network, extractor, tokenizer, settings)


def _build_whisper_ctc(folder: Path, encoder_config: Any, head: HeadConfig, vocab_size: int) -> WhisperForCTC:
    encoder = load_bare_encoder(folder)
    shared = {k: v for k, v in encoder_config.to_dict().items() if k not in ("model_type", "architectures")}
    added = {"symbols": vocab_size, "final_dropout": head.dropout, "recurrent": head.lstm_layers}
    network = WhisperForCTC(WhisperCTCConfig(**shared | added))
    network.encoder.load_state_dict(encoder.state_dict())
    return network


def _build_transformers_ctc(
    folder: Path, config: Any, head: HeadConfig, tokenizer: Wav2Vec2CTCTokenizer, language: str | None
) -> PreTrainedModel:
    """Build the CTC model of the folder's architecture with a new output layer.

    language: whose adapter layers are loaded, if the folder has any.
    """
    options = {
        "vocab_size": len(tokenizer.get_vocab()),
        "pad_token_id": tokenizer.pad_token_id,
        "final_dropout": head.dropout,
        "ctc_loss_reduction": "mean",
        "ctc_zero_infinity": True,
    }
    encoder_config = get_encoder_config(config)
    if isinstance(config, AttentiveConfig):
        encoder_config.update(options)
        network = AutoModelForCTC.from_config(encoder_config)
        network.base_model.load_state_dict(load_bare_encoder(folder).state_dict())
    else:
        network = load_pretrained(AutoModelForCTC, folder, fresh=("lm_head",), ignore_mismatched_sizes=True, **options)
        load_adapter(network, folder, language)
        if network.lm_head.out_features != options["vocab_size"]:  # that of the language
            network.lm_head = nn.Linear(network.lm_head.in_features, options["vocab_size"])
            network.config.vocab_size = options["vocab_size"]
    # a checkpoint's own head may have as many symbols, but other ones
    reinit_linear(network.lm_head, encoder_config.initializer_range)
    return network


def _make_tokenizer(vocabulary: dict[str, int]) -> Wav2Vec2CTCTokenizer:
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "vocab.json"
        path.write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
        return Wav2Vec2CTCTokenizer(
            str(path),
            bos_token=None,
            eos_token=None,
            unk_token=UNKNOWN_SYMBOL,
            pad_token=BLANK_SYMBOL,
            word_delimiter_token=SPACE_SYMBOL,
        )
