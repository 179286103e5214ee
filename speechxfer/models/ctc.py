"""An encoder with a CTC head: a new one over the training text's characters, or the checkpoint's own."""

from __future__ import annotations

import gzip
import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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
from speechxfer.models.base import ModelSettings, SpeechModel
from speechxfer.models.pretrained import (
    UNUSED_WEIGHTS,
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

LM_FILE = "lm.arpa"  # beside the weights
FROM_TRAIN = "from-train"


class CtcRecogniser(SpeechModel):
    """`kind: ctc`. vocabulary: symbol to its place in the emissions; `blank` is the tokenizer's pad token.

    lm: the language model that beams are searched with, if any.
    """

    kind = "ctc"

    def __init__(self, network: PreTrainedModel, extractor: Any, tokenizer: Any, settings: ModelSettings) -> None:
        if isinstance(network, WhisperForCTC):
            encoder: Any = WhisperEncoderWrapper(network.encoder, extractor, pad_to_30s=settings.pad_to_30s)
            processor: Any = _ProcessorPair(extractor, tokenizer)
        else:
            encoder = wrap_encoder(network, extractor)
            kinds = {"wav2vec2-bert": Wav2Vec2BertProcessor}
            processor = kinds.get(network.config.model_type, Wav2Vec2Processor)(extractor, tokenizer)
        super().__init__(network, encoder, processor, settings)
        self.vocabulary: dict[str, int] = tokenizer.get_vocab()
        self.blank = int(tokenizer.pad_token_id)
        self.space = tokenizer.word_delimiter_token
        self._symbols = {place: symbol for symbol, place in self.vocabulary.items()}
        self._silent = {tokenizer.bos_token, tokenizer.eos_token, tokenizer.unk_token} - {None}
        self.lm: LanguageModel | None = None
        self._searches: tuple[Any, BeamSearch] | None = None  # the last one, and what it was made of
        self._scratch: tempfile.TemporaryDirectory | None = None  # holds an estimated language model until it is saved

    @property
    def head(self) -> list[nn.Module]:
        context = getattr(self.network, "context", None)
        return [self.network.lm_head] if context is None else [context, self.network.lm_head]

    def encode_target(self, text: str) -> list[int]:
        places, lacking = encode_text(self._cased(text), self.vocabulary)
        if lacking:
            raise UserError(f"its text holds {' '.join(sorted(lacking))}, which the vocabulary lacks")
        return places

    def encode_known(self, text: str) -> list[int]:
        """The places of a text's characters, normalised as the model writes; what the vocabulary lacks is left out."""
        return encode_text(self._cased(get_normaliser(self.settings.normaliser)(text)), self.vocabulary)[0]

    def _cased(self, text: str) -> str:
        """A vocabulary of capitals alone (many English checkpoints) is given capitals."""
        characters = {symbol for symbol in self.vocabulary if len(symbol) == 1}  # `<pad>` is none that is written
        return text.upper() if detect_case(characters) == "upper" else text

    def compute_emissions(self, frames: Frames) -> Emissions:
        """Frames to log-probabilities (batch, frames, vocab)."""
        if isinstance(self.network, WhisperForCTC):
            logits = self.network.compute_logits(frames.states, frames.lengths)
        else:
            logits = self.network.lm_head(self.network.dropout(frames.states))
        return Emissions(logits.float().log_softmax(-1), frames.lengths)

    @torch.no_grad()
    def standardise_frames(self, waveforms: Iterable[np.ndarray]) -> None:
        """Give each dimension of Whisper's frames mean 0 and deviation 1 over `waveforms`, by the encoder's last norm.

        Whisper's dimensions differ tenfold in size, and a new head hears little but the largest; no decoder reads these
        frames any more. The other families' frames are of a size as they are: no waveform is asked for.
        """
        if not isinstance(self.network, WhisperForCTC):
            return
        frames = torch.cat([self.infer([one], lambda frames: frames.states[0]) for one in waveforms])
        norm = self.network.encoder.layer_norm
        deviation, mean = torch.std_mean(frames, 0, correction=0)
        deviation.clamp_(min=1e-3)  # a dimension that says nothing is not blown up
        norm.bias.copy_((norm.bias - mean) / deviation)
        norm.weight.div_(deviation)

    def compute_loss(self, frames: Frames, labels: Tensor) -> Tensor:
        return compute_ctc_loss(self.compute_emissions(frames), labels, self.blank)

    def decode_frames(self, frames: Frames) -> list[str]:
        """By the best path, or with `settings.beams` of 2 or more by beam search with what language model there is."""
        if self.settings.beam_size == 1:
            return [self.decode_ids(places) for places in decode_greedy(self.compute_emissions(frames), self.blank)]
        return [found[0].text for found in self.get_beam_search()(self.compute_emissions(frames))]

    @property
    def labels(self) -> list[str | None]:
        """The text of every place of the emissions, as `BeamSearch` takes it."""
        meant = {self.space: " "} | dict.fromkeys(self._silent)
        rows: list[str | None] = [None] * self.network.lm_head.out_features  # a place without a symbol is never written
        for place, symbol in self._symbols.items():
            if place < len(rows):  # transformers gives a tokenizer a beginning and an end, which a head may not have
                rows[place] = meant.get(symbol, symbol)
        rows[self.blank] = ""
        return rows

    @property
    def search_options(self) -> BeamSearchOptions:
        """How beams are searched, by the settings."""
        stated = dict(self.settings.beam_search or {})
        return BeamSearchOptions(self.settings.beam_size, **stated | {"hot_words": tuple(stated.get("hot_words", ()))})

    def get_beam_search(self) -> BeamSearch:
        """The search that `decode_frames` uses, made anew only where the settings have changed."""
        key = (self.lm, self.search_options)
        if self._searches is None or self._searches[0] != key:
            self._searches = key, BeamSearch(self.labels, self.lm, self.search_options)
        return self._searches[1]

    def configure_beam_search(self, decoding: DecodingConfig, texts: list[str]) -> None:
        """Search as a recipe says: its hot words, and its language model or one made of `texts`, with its weights.

        Weights that the recipe leaves open are 0 until dev has chosen them. Raises UserError for a language model or a
        hot word that cannot be used, MissingExtraError without the search's package.
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
            path = Path(self._scratch.name) / LM_FILE
            train_ngram((self._cased(text) for text in texts), decoding.lm_order).write(path)
            self.lm = read_lm(path)
        elif decoding.lm is not None:
            self.lm = read_lm(decoding.lm)
        self.settings.lm = LM_FILE if self.lm else None
        self.get_beam_search()

    @contextmanager
    def override_beam_search(self, lm: str | Path | None, hot_words: Sequence[str]) -> Iterator[None]:
        """While open, beams are searched with this language model, or these hot words, in place of the saved ones.

        Weights are those that were saved; where there are none, `DEFAULT_LM_WEIGHT` and the recipes' for hot words. A model
        that decodes by the best path is searched by as many beams as a recipe has. Raises as `configure_beam_search` does.
        """
        saved = self.settings.beam_size, self.settings.beam_search, self.lm
        stated, plain = dict(self.settings.beam_search or {}), DecodingConfig.model_validate({})
        if hot_words:
            normalise = get_normaliser(self.settings.normaliser)
            stated["hot_words"] = [normalise(word) for word in hot_words]
            stated["hot_word_weight"] = stated.get("hot_word_weight") or plain.hot_word_weight
        if lm is not None:
            stated["lm_weight"] = stated.get("lm_weight") or DEFAULT_LM_WEIGHT
        try:
            self.lm = self.lm if lm is None else read_lm(lm)
            self.settings.beam_search = stated
            self.settings.beam_size = CTC_BEAM_SIZE if self.settings.beam_size == 1 else self.settings.beam_size
            self.get_beam_search()
            yield
        finally:
            self.settings.beam_size, self.settings.beam_search, self.lm = saved

    def save(self, folder: Path) -> None:
        super().save(folder)
        if self.lm is None:
            return
        target = folder / LM_FILE
        if not (target.exists() and target.samefile(self.lm.path)):
            opener = gzip.open if self.lm.path.suffix == ".gz" else open
            with opener(self.lm.path, "rb") as source, target.open("wb") as file:
                shutil.copyfileobj(source, file)

    def decode_ids(self, places: list[int]) -> str:
        symbols = (self._symbols.get(place) for place in places)  # a head may be wider than its vocabulary
        return " ".join("".join(" " if s == self.space else s for s in symbols if s and s not in self._silent).split())


class _ProcessorPair:
    """Feature extractor and tokenizer saved side by side: transformers has no processor for the two together."""

    def __init__(self, feature_extractor: Any, tokenizer: Any) -> None:
        self.feature_extractor, self.tokenizer = feature_extractor, tokenizer

    def save_pretrained(self, folder: Path) -> None:
        self.feature_extractor.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)


def open_ctc(folder: Path, settings: ModelSettings) -> CtcRecogniser:
    """A folder that has a CTC head and its vocabulary."""
    if load_config(folder).model_type == WhisperCTCConfig.model_type:
        network = load_pretrained(WhisperForCTC, folder)
    else:
        network = load_pretrained(AutoModelForCTC, folder, fresh=UNUSED_WEIGHTS)
    tokenizer = load_pretrained(Wav2Vec2CTCTokenizer, folder)
    model = CtcRecogniser(network.eval(), load_pretrained(AutoFeatureExtractor, folder), tokenizer, settings)
    if settings.lm is not None:
        model.lm = read_lm(folder / Path(settings.lm).name)
    return model


def is_new_ctc(folder: Path, settings: ModelSettings, head: HeadConfig, texts: list[str]) -> CtcRecogniser:
    """The folder's encoder with a new CTC head over `texts`' characters, or with its own (`vocabulary: own`)."""
    config = load_config(folder)
    if head.vocabulary == "own":
        if not (config.architectures or [""])[0].endswith("ForCTC"):
            raise UserError(
                "the checkpoint has no CTC head of its own",
                where="head.vocabulary",
                fix="say head.vocabulary=from-train",
            )
        return open_ctc(folder, settings)
    tokenizer = _tokenizer(build_vocabulary(texts))
    size, inner = len(tokenizer.get_vocab()), get_encoder_config(config)
    extractor = load_pretrained(AutoFeatureExtractor, folder)
    if inner.model_type == "whisper":
        encoder = load_bare_encoder(folder)
        own = {key: value for key, value in inner.to_dict().items() if key not in ("model_type", "architectures")}
        added = {"symbols": size, "final_dropout": head.dropout, "recurrent": head.lstm_layers}
        whisper = WhisperForCTC(WhisperCTCConfig(**own | added))
        whisper.encoder.load_state_dict(encoder.state_dict())
        return CtcRecogniser(whisper, extractor, tokenizer, settings)
    if head.lstm_layers:
        raise UserError(
            f"LSTM layers before a {inner.model_type} encoder's CTC output would not open in transformers",
            where="head.lstm_layers",
            fix="say head.lstm_layers=0: this family's frames need none",
        )
    stated = {
        "vocab_size": size,
        "pad_token_id": tokenizer.pad_token_id,
        "final_dropout": head.dropout,
        "ctc_loss_reduction": "mean",
        "ctc_zero_infinity": True,
    }
    if isinstance(config, AttentiveConfig):
        inner.update(stated)
        network = AutoModelForCTC.from_config(inner)
        network.base_model.load_state_dict(load_bare_encoder(folder).state_dict())
    else:
        fresh = ("lm_head", *UNUSED_WEIGHTS)
        network = load_pretrained(AutoModelForCTC, folder, fresh=fresh, ignore_mismatched_sizes=True, **stated)
    reinit_linear(
        network.lm_head, inner.initializer_range
    )  # a checkpoint's own head may have as many symbols, and others
    return CtcRecogniser(network, extractor, tokenizer, settings)


def _tokenizer(vocabulary: dict[str, int]) -> Wav2Vec2CTCTokenizer:
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
