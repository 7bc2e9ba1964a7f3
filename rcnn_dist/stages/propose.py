"""Stage propose: class-independent boxes of every image (paper §2.1)."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np

from rcnn_dist.arrays import Array
from rcnn_dist.data.images import read_image
from rcnn_dist.errors import BadImageError
from rcnn_dist.stages.base import ShardStage, ShardTask
from rcnn_dist.stages.proposal_sources import ProposalSource, params_of
from rcnn_dist.stages.run import Run
from rcnn_dist.stages.shard_worker import ShardWorker
from rcnn_dist.store.manifest import fingerprint
from rcnn_dist.store.schema import PROPOSALS
from rcnn_dist.store.shards import ShardWriter
from rcnn_dist.store.tables import box_columns, make_table

NAME = "propose"
VERSION = 1


def folder(run: Run) -> str:
    """Where this run's proposals lie, shared by all runs of the same directory that search the same way."""
    return run.folder("proposals", run.config.proposals.source, fingerprint(NAME, VERSION, inputs(run)))


def inputs(run: Run) -> dict[str, Any]:
    """All that shapes the proposals, named as the configuration names it."""
    data, section = run.config.data, run.config.proposals
    return {
        "proposals": {"source": section.source, section.source: _source_identity(run)},
        "data": {"max_pixels": data.max_pixels, "exif_rotation": data.exif_rotation},
        "run": {"shard_images": run.config.run.shard_images},
        "image ids": {split: run.ids_digest(split) for split in run.splits},
    }


def _source_identity(run: Run) -> dict[str, Any]:
    """The source's parameters; of tables their bytes, wherever they lie."""
    section = run.config.proposals
    return {"bytes": run.files_digest(section.precomputed.files)} if section.source == "precomputed" else asdict(params_of(section))


class ProposeStage(ShardStage):
    name = NAME
    VERSION = VERSION

    @property
    def url(self) -> str:
        return folder(self.context)

    def inputs(self) -> dict[str, Any]:
        return inputs(self.context)

    def make_worker(self) -> "ProposeWorker":
        return ProposeWorker(self.context, self.url)


class ProposeWorker(ShardWorker):
    """Searches the images of one shard after the other."""

    name = NAME

    def __init__(self, run: Run, url: str) -> None:
        super().__init__(url, PROPOSALS)
        self._run = run

    def fill(self, task: ShardTask, shard: ShardWriter) -> None:
        source = ProposalSource(self._run.config.proposals, task.wanted)
        for image_id, image in self._searched(task, shard):
            try:
                with shard.timed("compute"):
                    boxes = source.boxes(image_id, image)
            except BadImageError as error:
                shard.fail(image_id, NAME, str(error))
                continue
            height, width = image.shape[:2]
            n = len(boxes)
            columns = {
                "image_id": [image_id] * n,
                "width": np.full(n, width),
                "height": np.full(n, height),
                "region": np.arange(n),
                **box_columns(boxes),
            }
            shard.add(image_id, make_table(PROPOSALS, columns))

    def _searched(self, task: ShardTask, shard: ShardWriter) -> Iterator[tuple[str, Array]]:
        """The images that are searched, in order; one that is not annotated completely has no proposals and is not read (paper §4.2)."""
        for image_id in task.wanted:
            if self._run.dataset.exhaustive(image_id):
                yield from read_images(self._run, (image_id,), shard, NAME)
            else:
                shard.add(image_id, PROPOSALS.empty_table())


def read_images(run: Run, image_ids: tuple[str, ...], shard: ShardWriter, stage: str) -> Iterator[tuple[str, Array]]:
    """Decoded images in order; one that cannot be read becomes a failure of the shard."""
    data = run.config.data
    for image_id in image_ids:
        try:
            with shard.timed("read"):
                image = read_image(run.dataset.image_url(image_id), data.max_pixels, data.exif_rotation)
        except BadImageError as error:
            shard.fail(image_id, stage, str(error))
        else:
            yield image_id, image
