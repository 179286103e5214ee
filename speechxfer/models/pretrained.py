"""Loads the components of a transformers folder quietly and offline; a damaged or incomplete folder is a UserError."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, AutoModel, PreTrainedTokenizerBase, WhisperConfig, WhisperModel
from transformers.utils import FEATURE_EXTRACTOR_NAME, PROCESSOR_NAME

from speechxfer.encoders.weights import list_weights
from speechxfer.errors import UserError
from speechxfer.heads.classification import AttentiveClassifier, AttentiveConfig
from speechxfer.heads.whisper_ctc import WhisperCTCConfig, WhisperForCTC

_UNUSED_WEIGHTS = "masked_spec_embed"  # of transformers' own masking, which is not used; a checkpoint may lack them

# Limits of the numbers in a checkpoint's files, several times those of the largest checkpoints
_MAX_LAYERS, _MAX_WIDTH = 500, 65_536
_MAX_CONFIG_SIZES = {
    **dict.fromkeys(("encoder_layers", "decoder_layers", "num_hidden_layers"), _MAX_LAYERS),
    **dict.fromkeys(("d_model", "hidden_size", "intermediate_size", "encoder_ffn_dim", "decoder_ffn_dim"), _MAX_WIDTH),
    **dict.fromkeys(("max_source_positions", "max_target_positions", "num_mel_bins"), _MAX_WIDTH),
    "vocab_size": 10_000_000,
}
_MAX_EXTRACTOR_SIZES = {"feature_size": 4096, "n_fft": 65_536, "chunk_length": 3600, "sampling_rate": 1_000_000}


def load_config(folder: Path) -> Any:
    """Load the transformers configuration of a folder. Raises UserError if it cannot be read."""
    try:
        # False, not None: at a terminal transformers would ask whether to run the folder's code
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        _check_sizes(config.to_dict(), _MAX_CONFIG_SIZES)
        if not isinstance(config.architectures, list | None):
            raise ValueError(f"architectures is {config.architectures!r}, not a list")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, StrictDataclassError) as error:
        if "trust_remote_code" in str(error):
            raise UserError(
                "it is an architecture with Python code of its own, which is never run",
                where=str(folder),
                fix="use a checkpoint of an architecture that transformers has",
            ) from None
        raise UserError(
            f"transformers cannot read its config.json ({_to_one_line(error)})", where=str(folder)
        ) from None
    return config


def _check_sizes(values: Any, limits: Mapping[str, float]) -> None:
    """Raise ValueError for a number beyond its limit: a network of that size would take all memory, or hours."""
    for name, limit in limits.items():
        value = values.get(name) if isinstance(values, dict) else None
        if isinstance(value, int | float) and not 0 <= value <= limit:
            raise ValueError(f"{name} is {value:g}, it can be 0 to {limit:,.0f}")


def get_encoder_config(config: Any) -> Any:
    """Return the encoder's configuration; it is nested in that of a head that transformers does not have."""
    if isinstance(config, AttentiveConfig):
        return AutoConfig.for_model(**config.encoder)
    if isinstance(config, WhisperCTCConfig):
        added = ("model_type", "architectures", "symbols", "final_dropout", "recurrent")
        return WhisperConfig(**{key: value for key, value in config.to_dict().items() if key not in added})
    return config


def load_bare_encoder(folder: Path) -> Any:
    """Load the encoder without the folder's head: Whisper's encoder, or the base model of the family."""
    config = load_config(folder)
    if isinstance(config, AttentiveConfig):
        return load_pretrained(AttentiveClassifier, folder).encoder
    if isinstance(config, WhisperCTCConfig):
        return load_pretrained(WhisperForCTC, folder).encoder
    if isinstance(config, WhisperConfig):
        return load_pretrained(WhisperModel, folder, fresh=("decoder",)).encoder  # a classifier has no decoder
    return load_pretrained(AutoModel, folder)


def _to_one_line(error: Exception) -> str:
    first, *rest = str(error).splitlines() or [type(error).__name__]
    return f"{first} {rest[0].strip()}" if first.endswith(":") and rest else first


def reinit_linear(layer: nn.Linear, std: float) -> None:
    """Initialise a linear layer as transformers does for a new head."""
    with torch.no_grad():
        layer.weight.normal_(0.0, std)
        layer.bias.zero_()


def load_pretrained(cls: Any, folder: Path, *, fresh: Sequence[str] = (), **options: Any) -> Any:
    """Call `cls.from_pretrained(folder)` quietly and offline; a network is loaded in float32.

    fresh: prefixes of weights that may be missing, because they are newly initialised.

    Raises:
        UserError: if the folder is damaged or lacks weights.
    """
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    if not hasattr(cls, "from_config") and not hasattr(cls, "gradient_checkpointing_enable"):  # not a network
        if not issubclass(cls, PreTrainedTokenizerBase):
            _check_extractor(folder)
        try:
            return cls.from_pretrained(folder, local_files_only=True, **options)
        except Exception as error:  # tokenizers and JSON of unexpected types raise many kinds
            raise UserError(
                f"its tokenizer or feature extractor cannot be read ({_to_one_line(error)})", where=str(folder)
            ) from None
    try:
        network, info = cls.from_pretrained(
            folder,
            local_files_only=True,
            dtype=torch.float32,
            output_loading_info=True,
            weights_only=True,
            # a damaged safetensors file is an error, never a reason to read another one
            use_safetensors=any(path.suffix == ".safetensors" for path in list_weights(folder)),
            **options,
        )
    except Exception as error:
        raise _explain_unreadable_weights(error, folder) or error from None
    expected = (name for name in info["missing_keys"] if not name.endswith(_UNUSED_WEIGHTS))
    missing = sorted(name for name in expected if not name.startswith(tuple(fresh)))
    if missing:
        raise UserError(f"weights are missing: {', '.join(missing[:5])}", where=str(folder))
    for name, weights in network.state_dict().items():
        if weights.is_floating_point() and not torch.isfinite(weights).all():
            raise UserError(
                f"its weights are damaged: {name} has values that are not finite numbers",
                where=str(folder),
                fix="copy it again from its source, or train it again with a lower learning rate",
            )
    return network


def _check_extractor(folder: Path) -> None:
    """Raise UserError if the folder's feature extractor is missing, or has sizes beyond any use."""
    found = [folder / name for name in (FEATURE_EXTRACTOR_NAME, PROCESSOR_NAME) if (folder / name).is_file()]
    if not found:
        raise UserError(
            f"its feature extractor is missing: there is no {FEATURE_EXTRACTOR_NAME}",
            where=str(folder),
            fix=f"copy {FEATURE_EXTRACTOR_NAME} from the source of the weights",
        )
    for path in found:
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            nested = values.get("feature_extractor") if isinstance(values, dict) else None
            for one in (values, nested):
                _check_sizes(one, _MAX_EXTRACTOR_SIZES)
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(f"its {path.name} cannot be read ({_to_one_line(error)})", where=str(folder)) from None


def _explain_unreadable_weights(error: Exception, folder: Path) -> UserError | None:
    """Return the error for weights that cannot be read; None for an error of another kind."""
    if type(error).__name__ == "UnpicklingError":  # torch's, with `weights_only`
        return UserError(
            "its .bin file is damaged or holds more than weights, which could run code: it is not opened",
            where=str(folder),
            fix="copy it again, or, where you trust its source, save it with transformers' save_pretrained, which "
            "writes safetensors",
        )
    if isinstance(error, TypeError | KeyError | AttributeError):
        problem = f"its configuration files cannot be read ({_to_one_line(error)})"
        return UserError(problem, where=str(folder), fix="copy the folder again from its source")
    if isinstance(error, SafetensorError | OSError | ValueError | RuntimeError | EOFError):
        return UserError(
            f"its weights cannot be read ({_to_one_line(error)})",
            where=str(folder),
            fix="the file is damaged or truncated; copy or download it again",
        )
    return None
