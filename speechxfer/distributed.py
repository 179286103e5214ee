"""Several processes work on one model (`torchrun`, `accelerate launch`): each has its share, the main one writes.

In training, each has its own batches of every step, and DistributedDataParallel sums the gradients. In measuring,
each answers its share of the batches, all are told all answers, and so choose alike. Alone, a process is the main one,
and everything here does nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TypeVar

import torch.distributed as dist

Result = TypeVar("Result")
_LONGEST = timedelta(hours=6)  # that others wait for one, which may encode or write much


def init_processes(device: str) -> None:
    """Join the others, where a launcher has started several. device: as the recipe says, `cpu` or another."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        from accelerate import PartialState

        PartialState(cpu=device == "cpu", timeout=_LONGEST)


def destroy_processes() -> None:
    """Part from the others, when all is done.

    A process that ends while gloo's threads still run may be aborted, and a launcher then calls the whole run failed.
    Not for a process that fails: its launcher stops the others, and parting could wait for them.
    """
    if dist.is_initialized():
        wait_for_all()  # one that leaves earlier breaks the connection on which another may still wait
        dist.destroy_process_group()


def get_world_size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def get_rank() -> int:
    """This process's number; 0 is the main one."""
    return dist.get_rank() if dist.is_initialized() else 0


def get_local_rank() -> tuple[int, int]:
    """This process's number among those that its launcher started here, and how many they are."""
    return int(os.environ.get("LOCAL_RANK", "0")), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def wait_for_all() -> None:
    """Until every process is here."""
    if get_world_size() > 1:
        dist.barrier()


def gather_from_all(found: Mapping[int, Result]) -> dict[int, Result]:
    """What each process found of its own, told to all."""
    if get_world_size() == 1:
        return dict(found)
    parts: list[Mapping[int, Result] | None] = [None] * get_world_size()
    dist.all_gather_object(parts, found)
    return {place: answer for part in parts for place, answer in (part or {}).items()}


def run_on_main(work: Callable[[], Result]) -> Result:
    """What `work` gives on the main process, told to all; the others do not do it, but wait."""
    if get_world_size() == 1:
        return work()
    told: list[Result | None] = [work() if get_rank() == 0 else None]
    dist.broadcast_object_list(told)
    return told[0]  # type: ignore[return-value]
