"""The model as Trainer calls it: frozen parts in eval mode and without gradient, the others trained."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_model
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from speechxfer.adaptation.training import lora
from speechxfer.adaptation.training.checkpoints import WEIGHTS_FILE
from speechxfer.config.recipe import AugmentConfig, LoraAdapterConfig, StageConfig
from speechxfer.data.augment import spec_augment
from speechxfer.encoders.base import FEATURE_OUTPUT
from speechxfer.errors import UserError
from speechxfer.models.base import SpeechModel
from speechxfer.shapes import IGNORE_INDEX, Hidden, Inputs

_MAX_STATE_VALUES = 60_000_000  # output values of all trained layers for the utterances that pass through together


class StagedModule(nn.Module):
    """A `SpeechModel` in one stage of training.

    The stage determines the split: everything below it is frozen, runs in eval mode (no dropout, no layerdrop, fixed
    running statistics) and builds no graph. SpecAugment acts on the hidden states at the split. With LoRA the adapters
    and a new head are trained in place of the pretrained weights.
    """

    accepts_loss_kwargs = True  # Trainer then passes the number of targets of the whole step
    _keys_to_ignore_on_save = None  # read by Trainer when it resumes from a checkpoint

    def __init__(
        self, model: SpeechModel, augment: AugmentConfig, adapters: LoraAdapterConfig = LoraAdapterConfig()
    ) -> None:
        super().__init__()
        self.lora = adapters.rank > 0
        if self.lora:
            lora.inject_adapters(model, adapters)
        self.model = model
        self.network = model.network  # registers the weights
        self.augment = augment
        self.split = FEATURE_OUTPUT
        self._frame_rate = 1 / model.encoder.frame_seconds

    def apply_stage(self, stage: StageConfig) -> None:
        """Freeze and unfreeze the parts of the model for `stage`."""
        self.stage = stage
        self.split = find_frozen_depth(stage, self.model.encoder.depth)
        trained = set(self._list_trained_parameters(stage))
        for parameter in self.network.parameters():
            parameter.requires_grad_(parameter in trained)
        self.train()

    def _list_trained_parameters(self, stage: StageConfig) -> list[nn.Parameter]:
        encoder = self.model.encoder
        modules: list[nn.Module] = []
        if {"head", "all"} & set(stage.train):
            modules += self.model.head
        lowest = find_lowest_trained_layer(stage, encoder.depth)
        if lowest < encoder.depth:
            modules += [*encoder.layers[max(lowest, 0) :], *encoder.get_output_modules()]
        if lowest == FEATURE_OUTPUT:
            modules += encoder.get_embedding_modules()
        if "adapter" in stage.train:
            modules += self._get_language_adapters(stage)
        if self.lora:
            return lora.select_trainable_parameters(self.model, modules)
        return [parameter for module in modules for parameter in module.parameters()]

    def _get_language_adapters(self, stage: StageConfig) -> list[nn.Module]:
        where = f"stages, train [{', '.join(stage.train)}]"
        adapters = self.model.encoder.get_language_adapters()
        if not adapters:
            fix = "leave adapter out; it is a part of MMS checkpoints (lora.rank adds adapters to any)"
            raise UserError("this checkpoint has no language adapters", where=where, fix=fix)
        if self.lora:
            raise UserError("adapter cannot be trained with lora.rank", where=where, fix="leave one of the two out")
        return adapters

    def train(self, mode: bool = True) -> StagedModule:
        """Set the mode; everything below the split and every other frozen module stays in eval mode."""
        super().train(mode)
        if mode:
            encoder = self.model.encoder
            if self.split > FEATURE_OUTPUT:  # there is dropout between the modules too
                encoder.module.eval()
                for module in [*encoder.layers[self.split :], *encoder.get_output_modules()]:
                    module.train()
            for module in encoder.list_modules_below(self.split):
                module.eval()
            for module in self.network.modules():
                own = list(module.parameters())
                if own and not any(parameter.requires_grad for parameter in own):
                    module.eval()
        return self

    def load_checkpoint(self, checkpoint: Path) -> None:
        """Load the weights of a checkpoint."""
        load_model(self, str(checkpoint / WEIGHTS_FILE))

    def forward(
        self,
        lengths: Tensor | Sequence[int],
        labels: Tensor,
        features: Tensor | None = None,
        states: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
    ) -> dict[str, Any]:
        """Compute the loss.

        Args:
            lengths: of the utterances in the features or states.
            labels: (batch, targets), -100 where padded.
            features: (batch, ...) encoder inputs; or
            states: (batch, frames, dim) cached hidden states at the split.
            num_items_in_batch: targets of the whole step.

        Returns:
            `loss`: the sum over the batch's targets divided by `num_items_in_batch`, so that accumulated batches are
            weighted by their targets.
        """
        sizes = torch.as_tensor(lengths)
        if states is not None:
            hidden = Hidden(states, sizes, self.split)
        else:
            assert features is not None
            # in float32, like the cached states
            with torch.no_grad(), torch.autocast(features.device.type, enabled=False):
                hidden = self.model.encoder.forward_to(Inputs(features, sizes), self.split)
        if self.training and (self.augment.time_masks or self.augment.freq_masks):
            hidden.states = spec_augment(
                hidden.states,
                hidden.lengths,
                time_masks=self.augment.time_masks,
                time_width_frames=max(1, round(self.augment.time_width * self._frame_rate)),
                freq_masks=self.augment.freq_masks,
                freq_width=self.augment.freq_width,
                generator=torch.default_generator,  # restored when a run is resumed
            )
        size = self._count_at_once(hidden)
        if size >= len(labels):
            total = self._loss(hidden, labels)
        else:  # gradient checkpointing: the activations of one part at a time are in memory
            parts = map(Hidden, hidden.states.split(size), hidden.lengths.split(size), repeat(self.split))
            pairs = zip(parts, labels.split(size), strict=True)
            total = torch.stack([checkpoint(self._loss, *pair, use_reentrant=False) for pair in pairs]).sum()
        count = (labels != IGNORE_INDEX).sum() if num_items_in_batch is None else torch.as_tensor(num_items_in_batch)
        return {"loss": total / count.to(total.device).clamp(min=1)}  # a normalised text may be empty

    def _loss(self, hidden: Hidden, labels: Tensor) -> Tensor:
        return self.model.compute_loss(self.model.encoder.forward_from(hidden), labels)

    def _count_at_once(self, hidden: Hidden) -> int:
        """Return the number of utterances that pass through the layers together: fewer if they are padded to 30 s.

        A padded batch has about ten times the frames of `batch_seconds` and would determine the peak memory.
        """
        batch, frames, _ = hidden.states.shape
        if not self.training:
            return batch
        if batch * frames <= 2 * self.stage.batch_seconds * self._frame_rate:
            return batch
        layers = max(1, self.model.encoder.depth - max(0, self.split))
        parts = min(batch, -(-hidden.states.numel() * layers // _MAX_STATE_VALUES))
        return -(-batch // parts)


def find_frozen_depth(stage: StageConfig, depth: int) -> int:
    """Return the highest split below which `stage` trains nothing: `FEATURE_OUTPUT` (-1), a layer's number, or `depth`.

    Raises:
        UserError: for more upper layers than the encoder has.
    """
    lowest = find_lowest_trained_layer(stage, depth)
    return min(lowest, 0) if "adapter" in stage.train else lowest  # every layer has an adapter


def find_lowest_trained_layer(stage: StageConfig, depth: int) -> int:
    """Return the number of the lowest layer that `stage` trains as a whole, or a value as of `find_frozen_depth`."""
    if {"encoder", "all"} & set(stage.train):
        return FEATURE_OUTPUT
    tops = [int(part.removeprefix("top-")) for part in stage.train if part.startswith("top-")]
    if max(tops, default=0) > depth:
        raise UserError(
            f"top-{max(tops)} is more than the encoder's {depth} layers",
            where=f"stages, train [{', '.join(stage.train)}]",
            fix=f"use top-{depth} or fewer, or encoder",
        )
    return depth - max(tops, default=0)


def count_parameters(model: SpeechModel) -> dict[str, dict[str, int]]:
    """Count trained and frozen parameters by part of the model: `{"decoder": {"trained": n, "frozen": m}}`."""
    encoder = model.encoder
    part_of: dict[nn.Parameter, str] = {}
    named: list[tuple[str, list[nn.Module]]] = [
        ("feature extractor", encoder.feature_extractor),
        ("below the layers", encoder.get_embedding_modules()),
        *((f"layer {number}", [layer]) for number, layer in enumerate(encoder.layers)),
        ("final norm", encoder.get_output_modules()),
        ("head", model.head),
    ]
    for name, modules in named:
        for module in modules:
            for parameter in module.parameters():
                part_of.setdefault(parameter, name)
    counts: dict[str, dict[str, int]] = {}
    for parameter in model.network.parameters():
        part = counts.setdefault(part_of.get(parameter, "fixed tables"), {"trained": 0, "frozen": 0})
        part["trained" if parameter.requires_grad else "frozen"] += parameter.numel()
    return counts
