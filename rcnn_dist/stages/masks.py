"""Stage masks: the regions of every image as masks, and in training the annotated objects, plain and mirrored (paper §5)."""

from typing import Any

import numpy as np

from rcnn_dist.arrays import Array
from rcnn_dist.data.segmentation import Segmentation
from rcnn_dist.errors import BadAnnotationError, BadImageError
from rcnn_dist.proposals.masks import encode_mask
from rcnn_dist.segment.regions import best_regions, class_overlaps, object_overlaps, tight_box
from rcnn_dist.stages.base import ShardStage, ShardTask
from rcnn_dist.stages.mask_sources import MaskSource, source_identity
from rcnn_dist.stages.propose import read_images
from rcnn_dist.stages.run import Run
from rcnn_dist.stages.shard_worker import ShardWorker
from rcnn_dist.store.manifest import fingerprint
from rcnn_dist.store.schema import MASKS
from rcnn_dist.store.shards import ShardWriter
from rcnn_dist.store.tables import box_columns, make_table

NAME = "masks"
VERSION = 1


def folder(run: Run) -> str:
    """Where this run's masks lie."""
    return run.folder("masks", run.config.masks.source, fingerprint(NAME, VERSION, inputs(run)))


def inputs(run: Run) -> dict[str, Any]:
    """All that shapes the masks, named as the configuration names it."""
    data = run.config.data
    return {
        "masks": {"max_regions": run.config.masks.max_regions, run.config.masks.source: source_identity(run)},
        "data": {"max_pixels": data.max_pixels, "exif_rotation": data.exif_rotation},
        "run": {"shard_images": run.config.run.shard_images},
        "classes": list(run.classes),
        "annotations": {split: run.masks_digest(split) for split in run.splits},
    }


class MasksStage(ShardStage):
    name = NAME
    VERSION = VERSION

    @property
    def url(self) -> str:
        return folder(self.context)

    def inputs(self) -> dict[str, Any]:
        return inputs(self.context)

    def make_worker(self) -> "MasksWorker":
        return MasksWorker(self.context, self.url)


class MasksWorker(ShardWorker):
    """Finds the masks of one shard's images after the other."""

    name = NAME

    def __init__(self, run: Run, url: str) -> None:
        super().__init__(url, MASKS)
        self._run = run
        self._source = MaskSource(run)

    def fill(self, task: ShardTask, shard: ShardWriter) -> None:
        for image_id, image in read_images(self._run, task.wanted, shard, NAME):
            try:
                with shard.timed("compute"):
                    columns = self._columns(task.split, image_id, image)
            except (BadAnnotationError, BadImageError) as error:
                shard.fail(image_id, NAME, str(error))
                continue
            shard.add(image_id, make_table(MASKS, columns))

    def _columns(self, split: str, image_id: str, image: Array) -> dict[str, Any]:
        """One image's rows: its objects (in training), its regions, its objects mirrored."""
        truth = read_truth(self._run, image_id, image.shape[:2])
        if truth is None and split == "train":
            raise BadAnnotationError(f"image {image_id} has no annotated masks to learn from")
        objects = _object_masks(truth) if truth is not None and split == "train" else []
        mirrored = [mask[:, ::-1] for mask in objects]
        boxes, regions = self._source.regions(image_id, image)
        masks = [*objects, *regions]
        overlaps = _object_overlaps(masks, truth)
        labels = truth.labels if truth is not None else np.empty(0, np.int64)
        overlap = class_overlaps(overlaps, labels, len(self._run.classes))
        n, g = len(masks) + len(mirrored), len(objects)
        return {
            "image_id": [image_id] * n,
            "width": np.full(n, image.shape[1]),
            "height": np.full(n, image.shape[0]),
            "region": np.arange(n),
            "is_ground_truth": np.r_[np.ones(g, bool), np.zeros(len(regions), bool), np.ones(g, bool)],
            "is_mirrored": np.arange(n) >= len(masks),
            **box_columns(np.concatenate([_boxes(objects), boxes, _boxes(mirrored)])),
            "counts": [encode_mask(mask) for mask in [*masks, *mirrored]],
            "overlap": [*overlap, *overlap[:g]],
            "is_best": np.isin(np.arange(n), g + best_regions(overlaps[g:])),
        }


def read_truth(run: Run, image_id: str, shape: tuple[int, ...]) -> Segmentation | None:
    """The annotated masks of an image; None where it has none.

    Raises:
        BadAnnotationError: they cannot be understood, have another size than the image, or a label that is no class of the run.
    """
    truth = run.segmentation.read(image_id)
    if truth is None:
        return None
    if truth.object_map.shape != shape:
        raise BadAnnotationError(f"image {image_id}: its masks have {truth.object_map.shape} pixels, the image {tuple(shape)}")
    labels = np.unique(np.append(truth.class_map[truth.class_map != 255], truth.labels))
    if len(labels) and labels.max() > len(run.classes):
        raise BadAnnotationError(
            f"image {image_id}: its masks have the label {labels.max()}, the run {len(run.classes)} classes: set data.classes"
        )
    return truth


def _object_overlaps(masks: list[Array], truth: Segmentation | None) -> Array:
    """Overlap of every mask with every object, [R, G]; no objects without an annotation."""
    if truth is None or not masks:
        return np.zeros((len(masks), 0 if truth is None else len(truth.labels)))
    return np.array([object_overlaps(mask, truth.object_map, len(truth.labels)) for mask in masks])


def _object_masks(truth: Segmentation) -> list[Array]:
    """The masks of the objects that have a label and pixels."""
    masks = [truth.object_map == k for k, label in enumerate(truth.labels, start=1) if label]
    return [mask for mask in masks if mask.any()]


def _boxes(masks: list[Array]) -> Array:
    return np.array([tight_box(mask) for mask in masks]).reshape(-1, 4)
