"""One training by several processes: their ranks, their shares of the work, and how they start.

`torchrun -m stages.train 0` starts them, on one machine or several; `train.processes` does the same from inside the
stage. The global batch is the same for any number of processes: each takes its share of the rows. Rank 0 alone writes.

In torch 2.13 torchrun hands restarted workers the addresses of the old ones, unless TORCH_DISABLE_SHARE_RDZV_TCP_STORE
is 1.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn

from goldilocks.core.cli import UserError


class World(NamedTuple):
    """This process among those that train together."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def writes(self) -> bool:
        return self.rank == 0

    def share(self, windows: Tensor) -> Tensor:
        """This process's rows of the global batch (B, T + 1)."""
        return windows.tensor_split(self.size)[self.rank]

    def any(self, here: bool, where: torch.device) -> bool:
        """Whether it is true in at least one process."""
        if self.size == 1:
            return here
        flag = torch.tensor(int(here), device=where)
        dist.all_reduce(flag, dist.ReduceOp.MAX)
        return bool(flag)

    def mean(self, value: Tensor) -> float:
        """The mean over processes of a scalar."""
        if self.size > 1:
            value = value.clone()
            dist.all_reduce(value)
            value = value / self.size
        return float(value)

    def broadcast(self, tensor: Tensor) -> None:
        """Overwrite a tensor with that of rank 0."""
        if self.size > 1:
            dist.broadcast(tensor, 0)

    def wrapped(self, objective: nn.Module) -> nn.Module:
        """The module with its gradients averaged over processes."""
        if self.size == 1:
            return objective
        return nn.parallel.DistributedDataParallel(objective, gradient_as_bucket_view=True)

    def summing_only(self, objective: nn.Module, more_to_come: bool) -> Any:
        """A context that adds gradients up locally while more parts of the batch follow, before they are averaged."""
        if isinstance(objective, nn.parallel.DistributedDataParallel) and more_to_come:
            return objective.no_sync()
        return nullcontext()


def started_by_torchrun() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ


@contextmanager
def process_group(world: World, where: torch.device) -> Iterator[None]:
    """Join the other processes, over NCCL on GPUs and gloo on CPUs, and leave them at the end.

    Raises:
        UserError: if another process is lost.
    """
    try:
        if world.size > 1:
            dist.init_process_group("nccl" if where.type == "cuda" else "gloo")
        yield
    except RuntimeError as error:
        lost = isinstance(error, dist.DistError) or "gloo" in str(error).lower()
        if world.size == 1 or not lost:
            raise
        reason = str(error).splitlines()[0]
        raise UserError(
            f"process {world.rank} lost the others ({reason}); start all again, they go on from the last checkpoint"
        ) from error
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def world() -> World:
    """The world that torchrun set for this process; one process if torchrun did not start it."""
    if not started_by_torchrun():
        return World()
    return World(*(int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")))


def launch(processes: int, arguments: list[str]) -> None:
    """Run `python -m stages.train ARGUMENTS` in several processes on this machine, as torchrun does, and wait for them.

    Exits with the code of the one that failed first.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    config = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=processes, rdzv_backend="c10d", rdzv_endpoint="localhost:0",
        max_restarts=0, run_id="goldilocks",
    )  # fmt: skip
    try:
        elastic_launch(config, sys.executable)("-m", "stages.train", *arguments)
    except ChildFailedError as error:
        code = error.get_first_failure()[1].exitcode
        sys.exit(code if code > 0 else 128 - code)
    except SignalException as error:
        sys.exit(128 + error.sigval)
