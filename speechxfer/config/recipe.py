"""A recipe's closed vocabulary: every key, its type, its default (here and nowhere else) and its meaning."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

REQUIRED = "REQUIRED"  # a shipped recipe's mark for what only the user can say

DECODER_BEAM_SIZE, CTC_BEAM_SIZE = 5, 50  # a CTC head's search is cheap, and needs the width

_TRAINABLE = re.compile(r"head|encoder|all|top-[1-9]\d*")


def _as_list(value: Any) -> Any:
    """One value is a list of one: `augment.speed=0.9`, `train: head`."""
    return [value] if isinstance(value, (str, int, float)) else value


def _as_columns(value: Any) -> Any:
    return [value] if isinstance(value, str) and value != "auto" else value


def _known_parts(parts: list[str]) -> list[str]:
    for part in parts:
        if not _TRAINABLE.fullmatch(part):
            raise ValueError(f"'{part}' is not one of head, top-N (say top-2), encoder, all")
    return parts


OneOrMore = BeforeValidator(_as_list)
TrainableParts = Annotated[list[str], OneOrMore, AfterValidator(_known_parts), Field(min_length=1)]
Share = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", validate_default=True, allow_inf_nan=False)


class DataConfig(Section):
    train: str = Field(REQUIRED, description="DATA to train on: a table, a folder, or hub:owner/name.")
    dev: str = Field("auto", description="Where the best epoch is chosen: DATA, COLUMN=VALUE, or auto.")
    test: str = Field("auto", description="What is reported: DATA, COLUMN=VALUE, or auto.")
    retention: str | None = Field(None, description="DATA of other speech, heard before and after: what was forgotten.")
    group: str = Field("speaker", description="Column whose values never stand on both sides of a split.")
    split: Literal["auto", "ignore"] = Field("auto", description="ignore: carve anew although a split column exists.")
    case: Literal["auto", "keep", "lower"] = Field(
        "auto", description="Case of the training text; auto writes an all-capitals corpus small for Whisper's decoder."
    )
    skip_bad: bool = Field(False, description="Leave unusable rows out and count them, rather than stop.")
    limit: int | None = Field(None, gt=0, description="Use this many training utterances only (to size an experiment).")


class EncoderConfig(Section):
    name: str = Field("whisper-tiny.en", description="MODEL: a folder, a name of installed weights, hub:owner/name.")
    language: str | None = Field(None, description="Language code of a multilingual checkpoint (en, de, ...).")
    pad_to_30s: bool = Field(False, description="Whisper only: pad every utterance to 30 s, the original way.")
    pad_silence: float = Field(0.0, ge=0, le=10, description="Seconds of silence put before and after every utterance.")


class HeadConfig(Section):
    kind: Literal["ctc", "classify", "seq2seq", "joint"] = Field(
        "ctc", description="seq2seq keeps Whisper's own decoder, joint has a CTC head beside it."
    )
    vocabulary: Literal["from-train", "own"] = Field("from-train", description="CTC: own keeps the checkpoint's.")
    pooling: Literal["mean", "attentive"] = Field("mean", description="Classifier: how frames become one vector.")
    dropout: Share = Field(0.1, description="On the frames, before a new head.")
    lstm_layers: int = Field(
        0, ge=0, le=4, description="Joint, and CTC on Whisper: bidirectional LSTMs before the output."
    )
    ctc_weight: Share = Field(0.3, description="Joint: the CTC loss's share, the decoder's is the rest.")

    @property
    def is_new_ctc(self) -> bool:
        """Whether it is a CTC head that starts from nothing, over the training text's characters."""
        return self.kind == "ctc" and self.vocabulary == "from-train"


class StageConfig(Section):
    train: TrainableParts = Field(
        description="head, top-N (upper encoder layers), encoder (all but the feature extractor), all."
    )
    epochs: float = Field(gt=0, description="As the shipped recipe for the head has it, when absent.")
    lr: float = Field(gt=0, description="Peak learning rate; as the shipped recipe for the head has it, when absent.")
    encoder_lr: float | None = Field(None, gt=0, description="Another peak for the encoder's layers.")
    decoder_lr: float | None = Field(None, gt=0, description="Another peak for Whisper's own decoder.")
    layer_decay: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Each of the encoder's layers has this times the rate of the one above it; or as lr.",
    )
    warmup: Share = Field(0.1, description="Share of the steps in which the rate rises; it falls linearly after.")
    batch_seconds: float = Field(80.0, gt=0, description="Audio in one batch, seconds.")
    gradient_accumulation: int = Field(1, ge=1, description="Batches to one step.")
    max_grad_norm: float = Field(1.0, gt=0, description="Largest norm of the gradient.")
    weight_decay: float = Field(0.0, ge=0, description="AdamW's, of all but norms and biases.")
    patience: int | None = Field(
        None, ge=1, description="Stop after so many epochs without a better dev WER; or as epochs."
    )


class DecodingConfig(Section):
    kind: Literal["greedy", "beam"] = Field("greedy", description="A beam finds more, and takes longer.")
    beam_size: int = Field(
        0,
        ge=0,
        le=1000,
        description="Width, where kind is beam; 0 becomes 5 with Whisper's decoder and 50 with a CTC head.",
    )
    length_penalty: float = Field(
        0.0,
        ge=0,
        le=2,
        description="Whisper, beam: a hypothesis's log-probability is divided by its tokens to this power. 0 takes the "
        "likeliest; 1, which others take, prefers what goes on surely, a loop above all.",
    )
    lm: str | None = Field(
        None, description="CTC, beam: an ARPA file (`speechxfer lm`), or from-train: made of the training part's text."
    )
    lm_order: int = Field(4, ge=2, le=6, description="Words to an n-gram, where lm is from-train.")
    lm_weight: float | None = Field(None, ge=0, description="Times its log-probabilities; chosen on dev when absent.")
    word_bonus: float | None = Field(None, description="Added for every word with lm; chosen on dev when absent.")
    hot_words: Annotated[list[Annotated[str, Field(min_length=1)]], OneOrMore] = Field(
        [], description="CTC, beam: names and terms that are to be preferred."
    )
    hot_word_weight: float = Field(10.0, ge=0, description="How much, as a natural logarithm for each of their words.")
    batch_seconds: float = Field(120.0, gt=0, description="Audio transcribed at once, seconds.")


class ScoringConfig(Section):
    normaliser: str = Field("default", description="Applied to both sides: none, basic, default, english.")
    by: Annotated[list[str] | Literal["auto"], BeforeValidator(_as_columns)] = Field(
        "auto", description="Columns to break the result down by."
    )


class AugmentConfig(Section):
    speed: Annotated[list[float], OneOrMore] = Field([], description="Speeds drawn from, say [0.9, 1.0, 1.1].")
    pitch: Annotated[list[float], OneOrMore] = Field(
        [], description="How many times as high, drawn from, say [0.85, 1.0, 1.2]; tempo stays."
    )
    gain: float = Field(0.0, ge=0, description="Loudness changes by up to this many dB.")
    noise: Share = Field(0.0, description="Share of utterances that get noise.")
    noise_snr: tuple[float, float] = Field((5.0, 25.0), description="Signal-to-noise ratio, dB, lowest and highest.")
    room: Share = Field(0.0, description="Share of utterances that get a synthetic room.")
    time_masks: int = Field(0, ge=0, description="SpecAugment: masks in time.")
    time_width: float = Field(0.4, gt=0, description="Longest time mask, seconds.")
    freq_masks: int = Field(0, ge=0, description="SpecAugment: masks over the encoder's channels.")
    freq_width: Share = Field(0.1, description="Widest channel mask, as a share of the channels.")
    pad_to_30s: Share = Field(
        0.0, description="Whisper: share of batches padded to 30 s, for use in plain transformers."
    )


class CacheConfig(Section):
    use: Literal["auto", "always", "never"] = Field(
        "auto",
        description="Hidden states below the lowest trained layer are computed once and kept; auto: if it pays. Unless "
        "never, the untouched model's answers are kept too.",
    )
    dtype: Literal["float32", "float16"] = Field("float32", description="Number type on disk.")
    copies: int = Field(
        4, ge=1, description="Augmented copies of each utterance that epochs take in turn where layers are frozen."
    )
    max_gb: float = Field(10.0, gt=0, description="What all kept states may take on disk, GB; the oldest go first.")
    features: bool = Field(False, description="Keep the convolutions' output too, in stages that train every layer.")


class LoraAdapterConfig(Section):
    rank: int = Field(0, ge=0, description="Of the adapters that train in place of pretrained weights; 0: none.")
    alpha: int | None = Field(None, gt=0, description="Their scale is alpha / rank; twice the rank where absent.")
    dropout: Share = Field(0.0, description="On what the adapters are given.")
    targets: Annotated[list[str], OneOrMore] = Field(
        ["q_proj", "v_proj"], min_length=1, description="Names of the layers that get one."
    )


class CandidatesConfig(Section):
    means: Annotated[list[Annotated[int, Field(ge=1)]], OneOrMore] = Field(
        [2, 3, 5], description="Means of so many last epochs' weights are measured on dev too."
    )
    pretrained_share: Annotated[list[Share], OneOrMore] = Field(
        [0.1, 0.2, 0.3, 0.4, 0.5],
        description="Whisper with its decoder: so are mixtures with this share of untouched weights.",
    )


class Recipe(Section):
    """A whole recipe. `speechxfer.config.load_recipe` reads one from YAML and `key=value` overrides."""

    data: DataConfig = DataConfig()
    encoder: EncoderConfig = EncoderConfig()
    head: HeadConfig = HeadConfig()
    stages: list[StageConfig] = Field(min_length=1)
    lora: LoraAdapterConfig = LoraAdapterConfig()
    candidates: CandidatesConfig = CandidatesConfig()
    decoding: DecodingConfig = DecodingConfig()
    scoring: ScoringConfig = ScoringConfig()
    augment: AugmentConfig = AugmentConfig()
    cache: CacheConfig = CacheConfig()
    seed: int = Field(0, ge=0, le=2**32 - 1, description="Of parts, order, augmentation and new weights.")
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="auto: a GPU where there is one.")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="Of the arithmetic in training; auto: bfloat16 where the processor or GPU is made for it. "
        "Weights, frozen frames and what is measured stay float32.",
    )
    output: str | None = Field(None, description="The run folder; default runs/NAME, of the recipe.")
    overwrite: bool = Field(False, description="Replace a finished run in the output folder.")

    @model_validator(mode="after")
    def _whole(self) -> Recipe:
        if self.head.kind == "classify" and self.decoding.kind == "beam":
            raise ValueError("decoding.kind: a classifier has no beam search; remove it or say greedy")
        if self.decoding.beam_size == 1:
            raise ValueError("decoding.beam_size: 1 is decoding.kind=greedy; a beam is 2 or more")
        if not self.decoding.beam_size:
            beam_size = CTC_BEAM_SIZE if self.head.kind == "ctc" else DECODER_BEAM_SIZE
            self.decoding = self.decoding.model_copy(update={"beam_size": beam_size})
        if (self.head.kind, self.decoding.kind) != ("ctc", "beam"):
            for key in ("lm", "hot_words"):
                if getattr(self.decoding, key):
                    raise ValueError(f"decoding.{key}: only with head.kind ctc and decoding.kind beam")
        if self.encoder.pad_to_30s and self.augment.pad_to_30s:
            raise ValueError("augment.pad_to_30s: encoder.pad_to_30s pads every batch already")
        return self
