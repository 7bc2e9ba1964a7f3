"""How a worker turns one task into one shard: its images or their failures, published once; or a trial that publishes nothing."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from rcnn_dist.stages.base import ShardReport, ShardTask, worker_name
from rcnn_dist.store import files
from rcnn_dist.store.shards import ShardWriter, discarded_shard, write_shard


class ShardWorker(ABC):
    """Writes the shards of one table, one at a time.

    Args:
        url: the table's folder, without the split.
        layers: the feature columns of the schema.
    """

    name: ClassVar[str]

    def __init__(self, url: str, schema: Any, layers: Sequence[str] = ()) -> None:
        self._url = url
        self._schema = schema
        self._layers = tuple(layers)

    @abstractmethod
    def fill(self, task: ShardTask, shard: ShardWriter) -> None:
        """Adds the rows or the failure of every wanted image of the task."""

    def run(self, task: ShardTask) -> ShardReport:
        with write_shard(files.join(self._url, task.split), task.part, self._schema, layers=self._layers, worker=worker_name()) as shard:
            for image_id, reason in task.quarantined:
                shard.fail(image_id, self.name, reason)
            self.fill(task, shard)
            shard.order_failures(task.image_ids)
        return ShardReport(task, worker_name(), tuple(shard.failures), {phase: round(s, 4) for phase, s in shard.seconds.items()})

    def probe(self, task: ShardTask) -> None:
        """Does the work of `run` and keeps nothing: whether an image kills the process is all that there is to learn."""
        with discarded_shard(self._schema, self._layers) as shard:
            self.fill(task, shard)
