"""Stored regions as a torch data set: each shard is read by one worker of the loader."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

__all__ = ["RegionDataset", "ShardSource"]


@runtime_checkable
class ShardSource(Protocol):
    """A table in shards, such as `store.query.RegionShards`."""

    @property
    def parts(self) -> Sequence[str]: ...
    def read(self, part: str) -> Iterator[Mapping[str, Any]]: ...


class RegionDataset(IterableDataset[dict[str, Any]]):
    """Batches as they are stored, about one image each: arrays become tensors, lists stay; use it with `batch_size=None`.

    Law: whatever the number of workers, every shard is read once; without workers in the table's order.
    """

    def __init__(self, source: ShardSource) -> None:
        self._source = source

    def __iter__(self) -> Iterator[dict[str, Any]]:
        worker = get_worker_info()
        first, step = (worker.id, worker.num_workers) if worker else (0, 1)
        for part in self._source.parts[first::step]:
            for batch in self._source.read(part):
                yield {name: torch.from_numpy(value.copy()) if isinstance(value, np.ndarray) else value for name, value in batch.items()}
