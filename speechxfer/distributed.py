"""Multi-process training and evaluation (`torchrun`, `accelerate launch`).

Training: each process takes its own batches of every step, and DistributedDataParallel sums the gradients. Evaluation:
each process takes its share of the batches, and the results are gathered in all processes, which therefore make the
same decisions. Only the main process (rank 0) writes files. Single-process: all functions are no-ops.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TypeVar

import torch.distributed as dist

Result = TypeVar("Result")
_TIMEOUT = timedelta(hours=6)  # of collectives: one process may encode or write a lot while the others wait


def init_processes(device: str) -> None:
    """Initialize the process group if a launcher started several processes. device: `cpu`, `cuda`, ..."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        from accelerate import PartialState

        PartialState(cpu=device == "cpu", timeout=_TIMEOUT)


def destroy_processes() -> None:
    """Destroy the process group at the end of a successful run.

    A process that exits while gloo's threads still run may be aborted, and the launcher then reports the run as failed.
    Do not call it in a process that fails: the launcher stops the others, and the barrier could block.
    """
    if dist.is_initialized():
        wait_for_all()  # a process that leaves earlier closes connections that another may still use
        dist.destroy_process_group()


def get_world_size() -> int:
    """Return the number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def get_rank() -> int:
    """Return the rank of this process; 0 is the main process."""
    return dist.get_rank() if dist.is_initialized() else 0


def get_local_rank() -> tuple[int, int]:
    """Return the rank of this process on its machine, and the number of processes there."""
    return int(os.environ.get("LOCAL_RANK", "0")), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def wait_for_all() -> None:
    """Block until all processes have called this (barrier)."""
    if get_world_size() > 1:
        dist.barrier()


def gather_from_all(results: Mapping[int, Result]) -> dict[int, Result]:
    """All-gather: merge the results of all processes, by index, in every process."""
    if get_world_size() == 1:
        return dict(results)
    shares: list[Mapping[int, Result] | None] = [None] * get_world_size()
    dist.all_gather_object(shares, results)
    return {index: result for share in shares for index, result in (share or {}).items()}


def run_on_main(work: Callable[[], Result]) -> Result:
    """Call `work` in the main process only, and return its result in every process (broadcast)."""
    if get_world_size() == 1:
        return work()
    result: list[Result | None] = [work() if get_rank() == 0 else None]
    dist.broadcast_object_list(result)
    return result[0]  # type: ignore[return-value]
