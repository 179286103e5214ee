"""Several processes train one model (`torchrun`, `accelerate launch`): one of them says, measures and writes.

Every process trains on its own batches of each step; gradients are summed by DistributedDataParallel. Alone, a process
is the main one, and everything here does nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

import torch.distributed as dist

Answer = TypeVar("Answer")
_LONGEST = timedelta(hours=6)  # that others wait for the main one, which measures long parts alone


def begin(device: str) -> None:
    """Join the others, where a launcher has started several. device: as the recipe says, `cpu` or another."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        from accelerate import PartialState

        PartialState(cpu=device == "cpu", timeout=_LONGEST)


def count() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """This process's number; 0 is the main one."""
    return dist.get_rank() if dist.is_initialized() else 0


def wait() -> None:
    """Until every process is here."""
    if count() > 1:
        dist.barrier()


def by_main(work: Callable[[], Answer]) -> Answer:
    """What `work` gives on the main process, told to all; the others do not do it, but wait."""
    if count() == 1:
        return work()
    told: list[Answer | None] = [work() if rank() == 0 else None]
    dist.broadcast_object_list(told)
    return told[0]  # type: ignore[return-value]
