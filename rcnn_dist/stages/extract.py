"""Stage extract: regions of every image -> features -> Parquet (paper §2.1, App. A)."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rcnn_dist.arrays import Array
from rcnn_dist.config import RunConfig
from rcnn_dist.errors import BadAnnotationError, MissingShardError
from rcnn_dist.features.networks import network_identity
from rcnn_dist.geometry.boxes import best_object
from rcnn_dist.stages import finetune, propose
from rcnn_dist.stages.base import ShardStage, ShardTask
from rcnn_dist.stages.run import Run
from rcnn_dist.stages.shard_worker import ShardWorker
from rcnn_dist.store import files
from rcnn_dist.store.manifest import fingerprint, read_marker
from rcnn_dist.store.schema import PROPOSALS, features_schema
from rcnn_dist.store.shards import ShardWriter
from rcnn_dist.store.shards import read_images as read_rows
from rcnn_dist.store.tables import box_columns, boxes_of, make_table

if TYPE_CHECKING:
    from rcnn_dist.features.extract import Extractor

NAME = "extract"
VERSION = 1


def folder(run: Run) -> str:
    """Where this run's features lie."""
    return run.folder("features", run.config.network.name, fingerprint(NAME, VERSION, inputs(run)))


def inputs(run: Run) -> dict[str, Any]:
    """All that shapes the features, named as the configuration names it."""
    section = run.section("extract")
    section.pop("splits")
    finetuned = finetuned_folder(run)
    return {
        **({"finetuned": run.relative(finetuned)} if finetuned else {}),
        **forward_inputs(run.config),
        "extract": section,
        "proposals": run.relative(propose.folder(run)),
        "annotations": {split: run.annotations_digest(split) for split in run.splits},
    }


def forward_inputs(config: RunConfig) -> dict[str, Any]:
    """What shapes the features of a given box."""
    return {"network": json.loads(network_identity(config.network)), "warp": asdict(config.warp)}


class ExtractStage(ShardStage):
    name = NAME
    VERSION = VERSION

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(split for split in self.context.splits if split in self.context.config.extract.splits)

    @property
    def heavy(self) -> bool:
        return True

    def folder(self, split: str) -> str:
        return files.join(folder(self.context), split)

    def inputs(self) -> dict[str, Any]:
        return inputs(self.context)

    def make_worker(self) -> "ExtractWorker":
        return ExtractWorker(self.context, folder(self.context))


class ExtractWorker(ShardWorker):
    """Holds the network; turns the images of a shard into rows of features."""

    name = NAME

    def __init__(self, run: Run, url: str) -> None:
        self._run = run
        self._extractor = make_extractor(run, finetuned_folder(run))
        super().__init__(url, features_schema(self._extractor.layer_sizes), tuple(self._extractor.layer_sizes))

    def fill(self, task: ShardTask, shard: ShardWriter) -> None:
        for regions in read_regions(self._run, task, shard, NAME):
            features = self._extractor.extract(regions.image, regions.boxes, shard.timed)
            shard.add(regions.image_id, make_table(self._schema, {**regions.columns(), **features}))


@dataclass(frozen=True, slots=True)
class ImageRegions:
    """One image and the boxes whose features are wanted: ground truth first (in training), then the proposals by rank."""

    image_id: str
    image: Array  # uint8 [H, W, 3]
    boxes: Array  # float64 [R, 4], as float32 holds them
    is_ground_truth: Array  # bool [R]
    gt_class: list[str | None]
    gt_iou: Array  # float32 [R]

    def columns(self) -> dict[str, object]:
        """The columns of a features table, layers apart."""
        height, width = self.image.shape[:2]
        n = len(self.boxes)
        return {
            "image_id": [self.image_id] * n,
            "width": np.full(n, width),
            "height": np.full(n, height),
            "region": np.arange(n),
            "is_ground_truth": self.is_ground_truth,
            **box_columns(self.boxes),
            "gt_class": self.gt_class,
            "gt_iou": self.gt_iou,
        }


def finetuned_folder(run: Run) -> str | None:
    """Where the network's fine-tuned weights lie, None in a run without fine-tuning."""
    return finetune.folder(run) if finetune.NAME in run.config.run.stages else None


def make_extractor(run: Run, finetuned: str | None) -> "Extractor":
    """Builds network, with the fine-tuned weights of a folder, and extractor on this process's device; loads torch."""
    from rcnn_dist.features.extract import Extractor, ExtractParams, choose_device
    from rcnn_dist.features.networks import build_network

    section = run.config.extract
    params = ExtractParams(layers=section.layers, batch_size=section.batch_size, precision=section.precision, warp=run.config.warp)
    network = build_network(run.config.network)
    if finetuned is not None:
        network.load_arrays(finetune.load_finetuned(finetuned))
    return Extractor(network, params, choose_device())


def read_regions(run: Run, task: ShardTask, shard: ShardWriter, stage: str) -> Iterator[ImageRegions]:
    """The regions of each image of a shard; images that cannot be used become failures of the shard.

    Raises:
        MissingShardError: the proposals of this shard are not complete.
    """
    proposals_url = files.join(propose.folder(run), task.split)
    marker = read_marker(proposals_url, task.part)
    if marker is None:
        raise MissingShardError(f"{proposals_url}/{task.part} is not complete: run the stage propose first")
    for failure in marker.failures:
        shard.fail(failure.image_id, failure.stage, failure.reason)
    with shard.timed("read"):
        proposals = {image_id: boxes_of(table) for image_id, table in read_rows(proposals_url, task.part, task.wanted, schema=PROPOSALS)}
    for image_id, image in propose.read_images(run, tuple(proposals), shard, stage):
        try:
            yield _regions(run, task.split, image_id, image, proposals[image_id][: run.config.extract.max_proposals])
        except BadAnnotationError as error:
            shard.fail(image_id, stage, str(error))


def _regions(run: Run, split: str, image_id: str, image: Array, proposals: Array) -> ImageRegions:
    height, width = image.shape[:2]
    objects = run.objects(image_id, width, height)
    gt_boxes = objects.boxes.astype(np.float32).astype(np.float64) if objects else np.empty((0, 4))
    names = objects.classes if objects else ()
    n_first = len(gt_boxes) if split == "train" else 0
    boxes = np.concatenate([gt_boxes[:n_first], proposals])
    index, iou = best_object(boxes, gt_boxes)
    index[:n_first] = np.arange(n_first)  # two objects with one box: each row keeps its own class
    return ImageRegions(
        image_id,
        image,
        boxes,
        np.arange(len(boxes)) < n_first,
        [names[i] if overlap > 0 else None for i, overlap in zip(index, iou, strict=True)],
        iou.astype(np.float32),
    )
