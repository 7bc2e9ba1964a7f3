"""Stage extract: regions of every image -> features -> Parquet (paper §2.1, App. A).

One thread reads and decodes ahead, the worker's own warps and forwards, one writes behind; who is slow slows the others. Regions are warped
a batch at a time just before their forward, which finds them in the processor's cache: a thread for the warp cost more than it saved.

Whatever the data set's size, a worker holds at most IMAGES_AHEAD + 2 decoded images, two batches of warped regions, and the features of
IMAGES_BEHIND + 1 images and of those that share an unfinished row group.
"""

import json
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from rcnn_dist.arrays import Array
from rcnn_dist.config import RunConfig
from rcnn_dist.errors import BadAnnotationError, ConfigError, MissingShardError
from rcnn_dist.features.networks import network_identity
from rcnn_dist.geometry.boxes import best_object
from rcnn_dist.stages import finetune, propose
from rcnn_dist.stages.base import ShardStage, ShardTask
from rcnn_dist.stages.overlap import ahead, behind, timed_items
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
IMAGES_AHEAD, IMAGES_BEHIND = 2, 2


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

    @property
    def url(self) -> str:
        return folder(self.context)

    def inputs(self) -> dict[str, Any]:
        return inputs(self.context)

    def make_worker(self) -> "ExtractWorker":
        return ExtractWorker(self.context, self.url)


class ExtractWorker(ShardWorker):
    """Holds the network; turns the images of a shard into rows of features."""

    name = NAME

    def __init__(self, run: Run, url: str) -> None:
        self._run = run
        self.extractor = make_extractor(run, finetuned_folder(run))
        super().__init__(url, features_schema(self.extractor.layer_sizes), tuple(self.extractor.layer_sizes))

    def fill(self, task: ShardTask, shard: ShardWriter) -> None:
        def write(regions: ImageRegions, batches: list[Any]) -> None:
            with shard.timed("forward"):  # what a GPU has not ended yet
                features = rows_of(self.extractor, regions, batches)
            shard.add(regions.image_id, make_table(self._schema, {**regions.columns(), **features}))

        forwarded = forward_regions(self._run, self.extractor, task, shard, NAME)
        with behind(write, IMAGES_BEHIND) as leave, closing(forwarded):
            for regions, batches in forwarded:
                with shard.timed("wait"):
                    leave(regions, batches)


@dataclass(frozen=True, slots=True)
class ImageRegions:
    """The boxes of one image whose features are wanted: ground truth first (in training), then the proposals by rank."""

    image_id: str
    size: tuple[int, int]  # width, height of the image
    boxes: Array  # float64 [R, 4], as float32 holds them
    is_ground_truth: Array  # bool [R]
    gt_class: list[str | None]
    gt_iou: Array  # float32 [R]

    def columns(self) -> dict[str, object]:
        """The columns of a features table, layers apart."""
        n = len(self.boxes)
        return {
            "image_id": [self.image_id] * n,
            "width": np.full(n, self.size[0]),
            "height": np.full(n, self.size[1]),
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


def forward_regions(
    run: Run, extractor: "Extractor", task: ShardTask, shard: ShardWriter, stage: str
) -> Generator[tuple[ImageRegions, list[Any]]]:
    """The regions of each image of a shard and their forwarded batches, while a thread reads the next images.

    Raises:
        MissingShardError: as read_regions.
        ValueError: a box cannot be warped; names the image.
    """
    with ahead(read_regions(run, task, shard, stage), IMAGES_AHEAD) as read:
        for regions, image in timed_items(read, partial(shard.timed, "wait")):
            batches = []
            try:
                for crops in timed_items(extractor.warp(image, regions.boxes), partial(shard.timed, "warp")):
                    with shard.timed("forward"):
                        batches.append(extractor.forward(crops))
            except ValueError as error:
                raise ValueError(f"image {regions.image_id}: {error}") from error
            yield regions, batches


def rows_of(extractor: "Extractor", regions: ImageRegions, batches: list[Any]) -> dict[str, Array]:
    """Layer -> float16 [R, D] of an image's forwarded batches.

    Raises:
        ConfigError: as Extractor.rows; names the image.
    """
    try:
        return extractor.rows(batches, len(regions.boxes))
    except ConfigError as error:
        raise ConfigError(f"image {regions.image_id}: {error}") from error


def read_regions(run: Run, task: ShardTask, shard: ShardWriter, stage: str) -> Iterator[tuple[ImageRegions, Array]]:
    """The regions of each image of a shard, and its pixels; images that cannot be used become failures of the shard.

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
            regions = _regions(run, task.split, image_id, image.shape[:2], proposals[image_id][: run.config.extract.max_proposals])
        except BadAnnotationError as error:
            shard.fail(image_id, stage, str(error))
        else:
            yield regions, image


def _regions(run: Run, split: str, image_id: str, shape: tuple[int, ...], proposals: Array) -> ImageRegions:
    height, width = shape
    objects = run.objects(image_id, width, height)
    gt_boxes = objects.boxes.astype(np.float32).astype(np.float64) if objects else np.empty((0, 4))
    names = objects.classes if objects else ()
    n_first = len(gt_boxes) if split == "train" else 0
    boxes = np.concatenate([gt_boxes[:n_first], proposals])
    index, iou = best_object(boxes, gt_boxes)
    index[:n_first] = np.arange(n_first)  # two objects with one box: each row keeps its own class
    return ImageRegions(
        image_id,
        (width, height),
        boxes,
        np.arange(len(boxes)) < n_first,
        [names[i] if overlap > 0 else None for i, overlap in zip(index, iou, strict=True)],
        iou.astype(np.float32),
    )
