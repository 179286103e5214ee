"""Low-rank adapters (Hu et al. 2021) with peft: injected before training, merged before saving."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from speechxfer.config.recipe import LoraAdapterConfig
from speechxfer.errors import MissingExtraError, UserError
from speechxfer.models import SpeechModel

_WAVLM_ATTENTION = ("q_proj", "k_proj", "v_proj", "out_proj")
_ADAPTER_PREFIX = "lora_"  # in the name of every weight that peft adds


def inject_adapters(model: SpeechModel, lora: LoraAdapterConfig) -> None:
    """Add adapters to the pretrained linear layers that `lora.targets` names; a new head gets none.

    Raises:
        UserError: for a target that is not the name of a layer.
        MissingExtraError: if peft is not installed.
    """
    new = {module for head in model.randomly_initialised_head for module in head.modules()}
    linear = {
        name: module
        for name, module in model.network.named_modules()
        if isinstance(module, nn.Linear) and module not in new
    }
    layer_names = {name.rpartition(".")[2] for name in linear}
    if unknown := [target for target in lora.targets if target not in layer_names]:
        raise UserError(
            f"unknown layer names: {', '.join(unknown)}",
            where="lora.targets",
            fix=f"use names of this model's linear layers: {', '.join(sorted(layer_names))}",
        )
    if model.encoder.family == "wavlm" and (unused := [one for one in lora.targets if one in _WAVLM_ATTENTION]):
        raise UserError(
            f"WavLM's attention reads only the weights of {', '.join(unused)}: adapters on them would not be used",
            where="lora.targets",
            fix="set lora.targets=[intermediate_dense, output_dense]",
        )
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise MissingExtraError("peft", "lora", "training with lora.rank") from None
    module_names = [name for name in linear if name.rpartition(".")[2] in lora.targets]
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha if lora.alpha is not None else 2 * lora.rank,
        lora_dropout=lora.dropout,
        target_modules=module_names,
    )
    inject_adapter_in_model(config, model.network)


def select_trainable_parameters(model: SpeechModel, modules: Iterable[nn.Module]) -> list[nn.Parameter]:
    """Return the adapters' parameters in `modules`, and all parameters of a new head."""
    new = {parameter for head in model.randomly_initialised_head for parameter in head.parameters()}
    return [
        parameter
        for module in modules
        for name, parameter in module.named_parameters()
        if _ADAPTER_PREFIX in name or parameter in new
    ]


def merge_adapters(model: SpeechModel) -> None:
    """Merge every adapter into its weight; the network then has the structure it had before `inject_adapters`."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for path, module in list(model.network.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge(safe_merge=True)
            parent, _, name = path.rpartition(".")
            setattr(model.network.get_submodule(parent), name, module.get_base_layer())
