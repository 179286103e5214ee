"""Low-rank adapters (Hu et al. 2021) through peft: put in before training, merged before anything is saved."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from speechxfer.config.recipe import LoraAdapterConfig
from speechxfer.errors import MissingExtraError, UserError
from speechxfer.models import SpeechModel

_WAVLM_ATTENTION = ("q_proj", "k_proj", "v_proj", "out_proj")
_MARK = "lora_"  # in the name of every weight that peft adds


def inject_adapters(model: SpeechModel, lora: LoraAdapterConfig) -> None:
    """Put adapters beside the pretrained linear layers that `lora.targets` name; a new head gets none.

    Raises UserError for a target that no layer is called by, MissingExtraError without peft.
    """
    new = {module for head in model.randomly_initialised_head for module in head.modules()}
    linear = {
        name: module
        for name, module in model.network.named_modules()
        if isinstance(module, nn.Linear) and module not in new
    }
    called = {name.rpartition(".")[2] for name in linear}
    if unknown := [target for target in lora.targets if target not in called]:
        raise UserError(
            f"no layer is called {', '.join(unknown)}",
            where="lora.targets",
            fix=f"this model's linear layers are called {', '.join(sorted(called))}",
        )
    if model.encoder.family == "wavlm" and (unheard := [one for one in lora.targets if one in _WAVLM_ATTENTION]):
        raise UserError(
            f"WavLM's attention takes the weights of {', '.join(unheard)} alone: adapters beside them learn nothing",
            where="lora.targets",
            fix="say lora.targets=[intermediate_dense, output_dense]",
        )
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise MissingExtraError("peft", "lora", "training with lora.rank") from None
    places = [name for name in linear if name.rpartition(".")[2] in lora.targets]
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha if lora.alpha is not None else 2 * lora.rank,
        lora_dropout=lora.dropout,
        target_modules=places,
    )
    inject_adapter_in_model(config, model.network)


def trainable_modules(model: SpeechModel, modules: Iterable[nn.Module]) -> list[nn.Parameter]:
    """What of `modules` trains when adapters do: theirs, and a new head whole."""
    new = {parameter for head in model.randomly_initialised_head for parameter in head.parameters()}
    return [
        parameter
        for module in modules
        for name, parameter in module.named_parameters()
        if _MARK in name or parameter in new
    ]


def merge_adapters(model: SpeechModel) -> None:
    """Add every adapter's product to the weight beside it: afterwards the network is as plain as before `inject_adapters`."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for place, module in list(model.network.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge(safe_merge=True)
            parent, _, name = place.rpartition(".")
            setattr(model.network.get_submodule(parent), name, module.get_base_layer())
