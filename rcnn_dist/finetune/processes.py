"""Processes that train one network together: which of them this is, and what they tell each other."""

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel


def place() -> tuple[int, int]:
    """This process's number and how many there are: 0 of 1 where torch.distributed was not started."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def wait_for_all() -> None:
    """Returns when every process has come here."""
    if dist.is_initialized():
        dist.barrier()


def sum_over_all(values: list[float], device: torch.device) -> list[float]:
    """Sums over the processes."""
    total = torch.tensor(values, dtype=torch.float64, device=device)
    if dist.is_initialized():
        dist.all_reduce(total)
    return [float(value) for value in total]


def shared(model: nn.Module) -> nn.Module:
    """The model, its gradients averaged over the processes; itself where there is one."""
    return DistributedDataParallel(model, find_unused_parameters=True) if place()[1] > 1 else model
