"""Schema of a recipe: every key with its type, default and description.

Defaults are defined here, except those of `stages` and of their epochs and learning rates: `default_stages`.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

REQUIRED = "REQUIRED"  # marks a value that only the user can give

DECODER_BEAM_SIZE, CTC_BEAM_SIZE = 5, 50  # CTC beam search is cheap and needs a wider beam

_TRAINABLE = re.compile(r"head|adapter|encoder|all|top-[1-9]\d*")


def _as_list(value: Any) -> Any:
    """Accept a single value as a list of one: `augment.speed=0.9`, `train: head`."""
    return [value] if isinstance(value, (str, int, float)) else value


def _as_tables(value: Any) -> Any:
    """Accept paths in a list of tables: `data.train=[a.csv, b.csv]`."""
    if value == []:
        raise ValueError("must not be empty")
    return [{"path": one} if isinstance(one, str) else one for one in value] if isinstance(value, list) else value


def _as_columns(value: Any) -> Any:
    return [value] if isinstance(value, str) and value != "auto" else value


def _known_parts(parts: list[str]) -> list[str]:
    for part in parts:
        if not _TRAINABLE.fullmatch(part):
            raise ValueError(f"'{part}' is not one of head, adapter, top-N (e.g. top-2), encoder, all")
    return parts


OneOrMore = BeforeValidator(_as_list)
TrainableParts = Annotated[list[str], OneOrMore, AfterValidator(_known_parts), Field(min_length=1)]
Share = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", validate_default=True, allow_inf_nan=False)


class DataTable(Section):
    """One of several tables of training data."""

    path: str = Field(description="DATA, or a pattern of file names.")
    weight: float = Field(1.0, gt=0, le=100, description="Times that each utterance is used in an epoch, on average.")
    language: str | None = Field(
        None,
        description="Multilingual Whisper (head.kind seq2seq): language code of its texts (default: encoder.language).",
    )


class DataConfig(Section):
    train: Annotated[str | list[DataTable], BeforeValidator(_as_tables)] = Field(
        REQUIRED,
        description="DATA to train on: a table, a folder, a pattern of file names, or hub:owner/name; or a list of "
        "them, also as {path: DATA, weight: 0.5, language: de}.",
    )
    dev: str = Field("auto", description="Split for model selection: DATA, COLUMN=VALUE, or auto.")
    test: str = Field("auto", description="Split for the reported score: DATA, COLUMN=VALUE, or auto.")
    retention: str | None = Field(None, description="DATA of other speech on which forgetting is measured.")
    columns: dict[str, str] = Field(
        {}, description="Names of the tables' columns by kind, e.g. {audio: file, text: sentence, speaker: spk}."
    )
    group: str = Field("speaker", description="Column whose values are never in two splits.")
    split: Literal["auto", "ignore"] = Field(
        "auto",
        description="ignore: make new splits although there is a split column.",
    )
    case: Literal["auto", "keep", "lower"] = Field(
        "auto", description="Case of the training text; auto: upper-case text becomes lower case for Whisper's decoder."
    )
    skip_bad: bool = Field(False, description="Skip and count invalid rows instead of stopping.")
    limit: int | None = Field(None, gt=0, description="Maximum number of training utterances.")


class EncoderConfig(Section):
    name: str = Field(
        "whisper-tiny.en",
        description="MODEL: a folder, the name of installed weights, or hub:owner/name.",
    )
    language: str | None = Field(
        None, description="Language code of a multilingual checkpoint: en, de, ... for Whisper, eng, deu, ... for MMS."
    )
    pad_to_30s: bool = Field(False, description="Whisper only: pad every utterance to 30 s, as in pretraining.")
    pad_silence: float = Field(
        0.0,
        ge=0,
        le=10,
        description="Silence added before and after every utterance, in seconds.",
    )


class HeadConfig(Section):
    kind: Literal["ctc", "classify", "seq2seq", "joint"] = Field(
        "ctc", description="seq2seq keeps Whisper's own decoder; joint adds a CTC head to it."
    )
    vocabulary: Literal["from-train", "own"] = Field(
        "from-train",
        description="CTC: characters of the training text, or the checkpoint's own.",
    )
    pooling: Literal["mean", "attentive"] = Field(
        "mean",
        description="Classifier: pooling of the frames into one vector.",
    )
    class_weights: Literal["none", "balanced"] = Field(
        "none",
        description="Classifier: weight of each label in the loss; balanced: inversely proportional to its number of "
        "training utterances.",
    )
    max_rejected: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="Classifier: share of dev that the rejection threshold may reject as unknown; 0: no threshold "
        "(default: 0.01 if the training data has the label unknown, else 0).",
    )
    dropout: Share = Field(0.1, description="Dropout of the frames before a new head.")
    lstm_layers: int = Field(
        0, ge=0, le=4, description="Joint, and CTC on Whisper: bidirectional LSTM layers before the output layer."
    )
    ctc_weight: Share = Field(0.3, description="Joint: weight of the CTC loss; the decoder's is the rest.")

    @property
    def is_new_ctc(self) -> bool:
        """Whether it is a CTC head that starts from nothing, over the training text's characters."""
        return self.kind == "ctc" and self.vocabulary == "from-train"


class StageConfig(Section):
    train: TrainableParts = Field(
        description="Trained parts: head, adapter (MMS's, of the language), top-N (upper encoder layers), encoder "
        "(without the feature extractor), all."
    )
    epochs: float = Field(gt=0, le=1000, description="Number of epochs (default: by head kind).")
    lr: float = Field(gt=0, le=100, description="Peak learning rate (default: by head kind).")
    encoder_lr: float | None = Field(None, gt=0, le=100, description="Peak learning rate of the encoder (default: lr).")
    decoder_lr: float | None = Field(
        None, gt=0, le=100, description="Peak learning rate of Whisper's decoder (default: lr)."
    )
    layer_decay: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Factor between the learning rates of an encoder layer and the layer above it.",
    )
    warmup: Share = Field(0.1, description="Share of the steps with rising learning rate; it falls linearly after.")
    batch_seconds: float = Field(80.0, gt=0, le=100_000, description="Audio in a batch, in seconds.")
    gradient_accumulation: int = Field(1, ge=1, le=10_000, description="Batches per optimiser step.")
    max_grad_norm: float = Field(1.0, gt=0, le=1e6, description="Maximum norm of the gradient.")
    weight_decay: float = Field(0.0, ge=0, le=100, description="Weight decay of AdamW, except for norms and biases.")
    patience: int | None = Field(
        None, ge=1, description="Epochs without a better dev error rate after which a stage stops (default: never)."
    )


class DecodingConfig(Section):
    kind: Literal["greedy", "beam"] = Field("greedy", description="Greedy or beam search.")
    beam_size: int = Field(
        0,
        ge=0,
        le=1000,
        description="Beam width; 0: 5 for Whisper's decoder, 50 for a CTC head.",
    )
    length_penalty: float = Field(
        0.0,
        ge=0,
        le=2,
        description="Whisper beam search: a hypothesis's log-probability is divided by its length to this power; 0: "
        "the most probable hypothesis; 1, usual elsewhere, prefers long ones and repetition loops.",
    )
    lm: str | None = Field(
        None,
        description="CTC beam search: an ARPA language model (`speechxfer lm`), or from-train: trained on the "
        "training text.",
    )
    lm_order: int = Field(4, ge=2, le=6, description="Order of the n-gram model with lm=from-train.")
    lm_weight: float | None = Field(
        None, ge=0, le=100, description="Weight of the language model (default: tuned on dev)."
    )
    word_bonus: float | None = Field(
        None, ge=-100, le=100, description="Score added for every word with lm (default: tuned on dev)."
    )
    hot_words: Annotated[list[Annotated[str, Field(min_length=1)]], OneOrMore] = Field(
        [], description="CTC beam search: words and phrases to bias towards."
    )
    hot_word_weight: float = Field(
        10.0,
        ge=0,
        le=1000,
        description="Score added for each word of a hot word (natural logarithm).",
    )
    batch_seconds: float = Field(120.0, gt=0, le=100_000, description="Audio transcribed in one batch, in seconds.")


class ScoringConfig(Section):
    normaliser: str = Field(
        "default",
        description="Text normaliser of both sides: none, lower, basic, default, english, or a GLM file.",
    )
    unit: Literal["auto", "word", "char", "mixed"] = Field(
        "auto",
        description="Unit of the error rate; auto: characters if the training texts are in a script written without "
        "spaces, else words; mixed: characters of such scripts, words of others.",
    )
    metric: str = Field(
        "auto",
        description="What epochs and candidates are selected by, on dev: wer (errors per scoring.unit), cer, mer or "
        "wil; for a classifier accuracy or balanced_accuracy, the mean recall of the labels; or the name of a "
        "registered metric. auto: wer, or accuracy.",
    )
    by: Annotated[list[str] | Literal["auto"], BeforeValidator(_as_columns)] = Field(
        "auto", description="Columns to break the score down by."
    )


class AugmentConfig(Section):
    speed: Annotated[list[float], OneOrMore] = Field(
        [],
        description="Speed factors to draw from, e.g. [0.9, 1.0, 1.1].",
    )
    pitch: Annotated[list[float], OneOrMore] = Field(
        [], description="Pitch factors to draw from, e.g. [0.85, 1.0, 1.2]; the tempo is kept."
    )
    gain: float = Field(0.0, ge=0, le=100, description="Maximum change of the level, in dB.")
    noise: Share = Field(0.0, description="Share of utterances with added noise.")
    noise_snr: tuple[float, float] = Field((5.0, 25.0), description="Lowest and highest signal-to-noise ratio, in dB.")
    room: Share = Field(0.0, description="Share of utterances with simulated reverberation.")
    time_masks: int = Field(0, ge=0, le=1000, description="SpecAugment: number of time masks.")
    time_width: float = Field(0.4, gt=0, le=60, description="Maximum length of a time mask, in seconds.")
    freq_masks: int = Field(0, ge=0, le=1000, description="SpecAugment: number of channel masks.")
    freq_width: Share = Field(0.1, description="Maximum width of a channel mask, as a share of the channels.")
    join: Share = Field(
        0.0,
        description="Share of utterances that are joined with others of their speaker (data.group), so that long "
        "recordings are transcribed without gaps; not in stages with cached features.",
    )
    join_seconds: float = Field(28.0, gt=0, le=60, description="Maximum length of joined utterances, in seconds.")
    pad_to_30s: Share = Field(
        0.0, description="Whisper: share of batches padded to 30 s, for use in plain transformers."
    )


class CacheConfig(Section):
    use: Literal["auto", "always", "never"] = Field(
        "auto",
        description="Cache of the hidden states below the lowest trained layer; auto: if it is worthwhile. "
        "Unless never, the zero-shot model's predictions are cached too.",
    )
    dtype: Literal["float32", "float16"] = Field("float32", description="Data type on disk.")
    copies: int = Field(
        4,
        ge=1,
        le=1000,
        description="Augmented copies of each utterance, used in turn by the epochs of a cached stage.",
    )
    max_gb: float = Field(
        10.0,
        gt=0,
        description="Maximum size of all caches on disk, in GB; the least recently used are removed.",
    )
    features: bool = Field(
        False,
        description="Also cache the feature extractor's output, in stages that train every layer.",
    )


class LoraAdapterConfig(Section):
    rank: int = Field(0, ge=0, le=4096, description="Rank of the adapters; 0: no LoRA.")
    alpha: int | None = Field(
        None, gt=0, le=1_000_000, description="Scale of the adapters times the rank (default: twice the rank)."
    )
    dropout: Share = Field(0.0, description="Dropout of the adapters' inputs.")
    targets: Annotated[list[str], OneOrMore] = Field(
        ["q_proj", "v_proj"], min_length=1, description="Names of the layers with adapters."
    )


class CandidatesConfig(Section):
    means: Annotated[list[Annotated[int, Field(ge=1)]], OneOrMore] = Field(
        [2, 3, 5], description="Numbers of last epochs whose weights are averaged, as candidates."
    )
    pretrained_share: Annotated[list[Share], OneOrMore] = Field(
        [0.1, 0.2, 0.3, 0.4, 0.5],
        description="Whisper with its decoder: interpolations with this share of pretrained weights, as candidates.",
    )


class Recipe(Section):
    """A recipe. `speechxfer.config.load_recipe` reads one from YAML and `key=value` overrides."""

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
    seed: int = Field(0, ge=0, le=2**32 - 1, description="Random seed of splits, order, augmentation and new weights.")
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="auto: a GPU if there is one.")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="Of the arithmetic in training; auto: bfloat16 where the processor or GPU is made for it. "
        "Weights, frozen frames and what is measured stay float32.",
    )
    output: str | None = Field(None, description="Run directory (default: runs/NAME with the recipe's name).")
    overwrite: bool = Field(False, description="Replace an existing run in the output directory.")

    @model_validator(mode="after")
    def _whole(self) -> Recipe:
        if self.head.kind == "classify" and self.decoding.kind == "beam":
            raise ValueError("decoding.kind: a classifier has no beam search; remove it or set greedy")
        if self.decoding.beam_size == 1:
            raise ValueError("decoding.beam_size: must be 2 or more; for 1 set decoding.kind=greedy")
        if not self.decoding.beam_size:
            beam_size = CTC_BEAM_SIZE if self.head.kind == "ctc" else DECODER_BEAM_SIZE
            self.decoding = self.decoding.model_copy(update={"beam_size": beam_size})
        if (self.head.kind, self.decoding.kind) != ("ctc", "beam"):
            for key in ("lm", "hot_words"):
                if getattr(self.decoding, key):
                    raise ValueError(f"decoding.{key}: only with head.kind ctc and decoding.kind beam")
        if self.head.kind == "classify" and self.augment.join:
            raise ValueError("augment.join: a classifier has one label per utterance; set it to 0")
        if self.encoder.pad_to_30s and self.augment.pad_to_30s:
            raise ValueError("augment.pad_to_30s: encoder.pad_to_30s pads every batch already")
        tables = [] if isinstance(self.data.train, str) else self.data.train
        if self.head.kind != "seq2seq" and any(table.language for table in tables):
            raise ValueError("data.train: a table has a language of its own only with head.kind seq2seq; remove it")
        return self

    @model_validator(mode="after")
    def _classifier_keys(self) -> Recipe:
        if self.head.kind == "classify":
            return self
        for key in ("class_weights", "max_rejected"):
            if getattr(self.head, key) != HeadConfig.model_fields[key].default:
                raise ValueError(f"head.{key}: only with head.kind classify; remove it")
        return self
