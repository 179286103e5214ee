"""Opens parts of a transformers folder, quiet and offline; what is damaged or lacking is the user's message."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, AutoModel, WhisperConfig, WhisperModel

from speechxfer.errors import UserError
from speechxfer.heads.classification import AttentiveClassifier, AttentiveConfig
from speechxfer.heads.whisper_ctc import WhisperCTCConfig, WhisperForCTC

FAMILIES_WITH_MASKING = ("wav2vec2", "hubert", "wavlm", "data2vec_audio", "wav2vec2_conformer", "wav2vec2_bert")
# transformers' own masking, which we do not use; a checkpoint may lack it
UNUSED_WEIGHTS = ("masked_spec_embed", *(f"{family}.masked_spec_embed" for family in FAMILIES_WITH_MASKING))


def load_config(folder: Path) -> Any:
    """The folder's transformers configuration. Raises UserError where it cannot be read."""
    try:
        return AutoConfig.from_pretrained(folder)
    except (OSError, ValueError, KeyError, StrictDataclassError) as error:
        raise UserError(
            f"transformers cannot read its config.json ({_to_one_line(error)})", where=str(folder)
        ) from None


def get_encoder_config(config: Any) -> Any:
    """The encoder's own configuration inside a folder's: the two differ for heads that transformers lacks."""
    if isinstance(config, AttentiveConfig):
        return AutoConfig.for_model(**config.encoder)
    if isinstance(config, WhisperCTCConfig):
        ours = ("model_type", "architectures", "symbols", "final_dropout", "recurrent")
        return WhisperConfig(**{key: value for key, value in config.to_dict().items() if key not in ours})
    return config


def load_bare_encoder(folder: Path) -> Any:
    """The encoder alone, whatever head the folder has: Whisper's encoder, or the bare model of its family."""
    config = load_config(folder)
    if isinstance(config, AttentiveConfig):
        return load_pretrained(AttentiveClassifier, folder).encoder
    if isinstance(config, WhisperCTCConfig):
        return load_pretrained(WhisperForCTC, folder).encoder
    if isinstance(config, WhisperConfig):
        return load_pretrained(WhisperModel, folder, fresh=("decoder",)).encoder  # a classifier has none
    return load_pretrained(AutoModel, folder, fresh=UNUSED_WEIGHTS)


def _to_one_line(error: Exception) -> str:
    first, *rest = str(error).splitlines()
    return f"{first} {rest[0].strip()}" if first.endswith(":") and rest else first


def reinit_linear(layer: nn.Linear, std: float) -> None:
    """A new head's weights, as transformers draws them, where a checkpoint's own stood in the same shape."""
    with torch.no_grad():
        layer.weight.normal_(0.0, std)
        layer.bias.zero_()


def load_pretrained(kind: Any, folder: Path, **options: Any) -> Any:
    """`kind.from_pretrained(folder)`, quiet and offline; a damaged or incomplete folder is a UserError.

    A network comes in float32 with every weight that the folder should have.
    """
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    if not hasattr(kind, "from_config") and not hasattr(kind, "gradient_checkpointing_enable"):  # no network
        try:
            return kind.from_pretrained(folder, local_files_only=True, **options)
        except (OSError, ValueError, TypeError, AttributeError) as error:  # the last: JSON of another shape
            raise UserError(
                f"its tokenizer or feature extractor cannot be read ({_to_one_line(error)})", where=str(folder)
            ) from None
    fresh = options.pop("fresh", ())  # prefixes of weights that are new on purpose
    try:
        network, found = kind.from_pretrained(
            folder, local_files_only=True, dtype=torch.float32, output_loading_info=True, **options
        )
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise UserError(
            f"its weights cannot be read ({_to_one_line(error)})",
            where=str(folder),
            fix="the file is damaged or cut short: copy or download it again",
        ) from None
    missing = sorted(name for name in found["missing_keys"] if not name.startswith(tuple(fresh)))
    if missing:
        raise UserError(f"weights are missing: {', '.join(missing[:5])}", where=str(folder))
    return network
