"""Stage segment: the best regions of every test image by each method's regressors (paper §5)."""

from typing import Any

import numpy as np

from rcnn_dist.arrays import Array
from rcnn_dist.errors import MissingShardError
from rcnn_dist.segment.paste import best_segments
from rcnn_dist.stages import regions, svr
from rcnn_dist.stages.base import ShardStage, ShardTask
from rcnn_dist.stages.run import Run
from rcnn_dist.stages.shard_worker import ShardWorker
from rcnn_dist.stages.svr_work import Method
from rcnn_dist.store import files
from rcnn_dist.store.manifest import fingerprint, read_marker
from rcnn_dist.store.query import matrix
from rcnn_dist.store.schema import SEGMENTS
from rcnn_dist.store.shards import ShardWriter, read_images
from rcnn_dist.store.tables import make_table

NAME = "segment"
VERSION = 1


def folder(run: Run) -> str:
    """Where the best regions of this run's test images lie."""
    return run.folder("segments", "svr", fingerprint(NAME, VERSION, inputs(run)))


def inputs(run: Run) -> dict[str, Any]:
    """All that shapes the rows, named as the configuration names it; the background's score is chosen later."""
    return {"segment": {"segments": run.config.segment.segments}, "regressors": run.relative(svr.folder(run))}


class SegmentStage(ShardStage):
    name = NAME
    VERSION = VERSION
    splits = ("test",)

    @property
    def url(self) -> str:
        return folder(self.context)

    def inputs(self) -> dict[str, Any]:
        return inputs(self.context)

    def make_worker(self) -> "SegmentWorker":
        return SegmentWorker(self.context, self.url)


class SegmentWorker(ShardWorker):
    """Holds the regressors of all methods; scores the regions of a shard."""

    name = NAME

    def __init__(self, run: Run, url: str) -> None:
        super().__init__(url, SEGMENTS)
        self._run = run
        self._regressors = [(method, *svr.read_regressors(run, method)) for method in svr.methods(run)]

    def fill(self, task: ShardTask, shard: ShardWriter) -> None:
        """Raises: MissingShardError: the features of this shard are not complete."""
        url = files.join(regions.folder(self._run), task.split)
        marker = read_marker(url, task.part)
        if marker is None:
            raise MissingShardError(f"{url}/{task.part} is not complete: run the stage regions first")
        for failure in marker.failures:
            shard.fail(failure.image_id, failure.stage, failure.reason)
        columns = ["image_id", "width", "height", *dict.fromkeys(c for method, _, _ in self._regressors for c in method.columns)]
        for image_id, table in read_images(url, task.part, task.wanted, columns):
            with shard.timed("compute"):
                rows = [self._best(table, *regressor) for regressor in self._regressors]
            shard.add(image_id, make_table(SEGMENTS, self._columns(image_id, table, rows)))

    def _best(self, table: Any, method: Method, weights: Array, biases: Array) -> tuple[Array, Array, Array]:
        """Region, class and score of the best regions."""
        features = np.concatenate([matrix(table, column) for column in method.columns], axis=1).astype(np.float32)
        scores = features @ weights.T + biases
        found, classes = best_segments(scores, self._run.config.segment.segments)
        return found, classes, scores[found, classes]

    def _columns(self, image_id: str, table: Any, rows: list[tuple[Array, Array, Array]]) -> dict[str, Any]:
        n = sum(len(found) for found, _, _ in rows)
        return {
            "image_id": [image_id] * n,
            "width": np.full(n, table["width"][0].as_py() if n else 0),
            "height": np.full(n, table["height"][0].as_py() if n else 0),
            "method": [method.name for (method, _, _), (found, _, _) in zip(self._regressors, rows, strict=True) for _ in found],
            "rank": np.concatenate([np.arange(len(found)) for found, _, _ in rows]),
            "region": np.concatenate([found for found, _, _ in rows]),
            "class": [self._run.classes[c] for _, classes, _ in rows for c in classes],
            "score": np.concatenate([scores for _, _, scores in rows]),
        }
