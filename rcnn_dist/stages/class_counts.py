"""The test images with some number of classes: the detections of the real ones among them.

Where the weights of all classes are more than a node may map, ranges of classes are worked on apart, by several nodes at one time, and
their rows are merged: the table has the same bytes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from rcnn_dist.arrays import Array
from rcnn_dist.detect.class_blocks import BlockParams, ClassScores, class_ranges, score_classes, suppress
from rcnn_dist.errors import ConfigError
from rcnn_dist.features.scaling import scale_features
from rcnn_dist.stages import extract, train
from rcnn_dist.stages.base import Executor, Progress, ShardStage, ShardTask
from rcnn_dist.stages.class_weights import mapped_weights, weights_folder
from rcnn_dist.stages.models import load_model
from rcnn_dist.stages.run import Run
from rcnn_dist.stages.shard_worker import ShardWorker
from rcnn_dist.store import files
from rcnn_dist.store.manifest import fingerprint, read_marker
from rcnn_dist.store.query import matrix
from rcnn_dist.store.schema import DETECTIONS
from rcnn_dist.store.shards import ShardWriter, read_images
from rcnn_dist.store.tables import box_columns, boxes_of, make_table

NAME = "scale"
VERSION = 1


def class_bytes(run: Run) -> int:
    """Bytes of the weights of one class."""
    numbers = load_model(train.folder(run), run.classes[:1]).detector.weights.shape[1]
    return int(numbers) * (2 if run.config.scaling.precision == "bfloat16" else 4)


class ClassCountStage(ShardStage):
    """The table of one number of classes."""

    name = NAME
    VERSION = VERSION
    splits = ("test",)

    def __init__(self, run: Run, n_classes: int) -> None:
        super().__init__(run)
        self.n_classes = n_classes

    @property
    def heavy(self) -> bool:
        return self.context.config.scaling.device != "cpu" and len(self.ranges) == 1

    @cached_property
    def ranges(self) -> list[range]:
        """The classes whose weights a node maps at a time.

        Raises:
            ConfigError: a node may not even map those of one block.
        """
        scaling = self.context.config.scaling
        try:
            return class_ranges(self.n_classes, class_bytes(self.context), round(scaling.weights_gb * 1e9), scaling.block_classes)
        except ValueError as error:
            raise ConfigError(f"scaling.weights_gb is {scaling.weights_gb:g}: {error}; raise it or lower scaling.block_classes") from error

    @property
    def url(self) -> str:
        return self.context.folder("scaling", f"classes{self.n_classes}", fingerprint(NAME, VERSION, self.inputs()))

    def inputs(self) -> dict[str, Any]:
        run = self.context
        return {
            "n_classes": self.n_classes,
            "precision": run.config.scaling.precision,
            "block_classes": run.config.scaling.block_classes,
            "device": run.config.scaling.device,
            "detect": run.section("detect"),
            "min_score": run.config.scaling.min_score,
            "classes": run.classes,
            "models": run.relative(train.folder(run)),
            "features": run.relative(extract.folder(run)),
        }

    def make_worker(self) -> ShardWorker:
        ranges = self.ranges
        if len(ranges) == 1:
            return RangeWorker(self.context, self.url, self.n_classes, {"test": ranges[0]})
        by_range = RangesStage(self)
        return MergeWorker(self.url, [by_range.folder(split) for split in by_range.splits])

    def run(self, executor: Executor, progress: Progress) -> None:
        """As of every such stage; tables of ranges go when their rows are merged."""
        by_range = RangesStage(self)
        if len(by_range.splits) > 1 and not self.is_complete("test"):
            progress.note(f"{NAME}: {self.n_classes} classes in {len(by_range.splits)} ranges, a node maps one (scaling.weights_gb)")
            by_range.compute(executor, progress)
        super().run(executor, progress)
        files.remove_folder(by_range.url)


class RangesStage(ShardStage):
    """A table for each range of the classes, as a split of its own; a node works on one range at a time."""

    name = NAME
    VERSION = VERSION

    def __init__(self, whole: ClassCountStage) -> None:
        super().__init__(whole.context)
        self._whole = whole
        self._ranges = {f"test-{classes.start}-{classes.stop}": classes for classes in whole.ranges}

    @property
    def url(self) -> str:
        return self.context.folder("scaling", f"ranges{self._whole.n_classes}", fingerprint(NAME, VERSION, self.inputs()))

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self._ranges)

    @property
    def heavy(self) -> bool:
        return self.context.config.scaling.device != "cpu"

    def inputs(self) -> dict[str, Any]:
        return self._whole.inputs()

    def image_ids(self, split: str) -> tuple[str, ...]:  # noqa: ARG002  every range has all images
        return super().image_ids("test")

    def tasks(self, split: str) -> list[ShardTask]:
        return [replace(task, lane=split) for task in super().tasks(split)]

    def make_worker(self) -> ShardWorker:
        return RangeWorker(self.context, self.url, self._whole.n_classes, self._ranges)


class RangeWorker(ShardWorker):
    """Maps the weights of a shard's range of classes; scores and suppresses the regions of one image after the other.

    Args:
        ranges: split -> its classes.

    Raises:
        ConfigError: the products are wanted on a GPU and this process has none.
    """

    name = NAME

    def __init__(self, run: Run, url: str, n_classes: int, ranges: Mapping[str, range]) -> None:
        super().__init__(url, DETECTIONS)
        self._run = run
        self._n_classes = n_classes
        self._ranges = ranges
        self._model = load_model(train.folder(run), run.classes)
        detect, scaling = run.config.detect, run.config.scaling
        self._device = scaling.device
        if self._device == "cuda":
            from rcnn_dist.features.extract import choose_device

            if choose_device().type != "cuda":
                raise ConfigError("scaling.device is cuda, and this process finds no GPU: set it to cpu, or give workers GPUs")
        floor = max(detect.min_score, scaling.min_score)
        self._params = BlockParams(floor, detect.max_per_image, detect.nms_threshold, scaling.block_classes)

    def fill(self, task: ShardTask, shard: ShardWriter) -> None:
        scaling, classes = self._run.config.scaling, self._ranges[task.split]
        folder, detector = weights_folder(self._run.url), self._model.detector
        with mapped_weights(folder, detector, classes, self._n_classes, scaling.precision, scaling.block_classes) as mapped:
            self._detect(task, shard, classes.start, *mapped)

    def _detect(self, task: ShardTask, shard: ShardWriter, first: int, weights: Array, biases: Array) -> None:
        layer, url = self._run.config.classify.layer, files.join(extract.folder(self._run), "test")
        columns = ["width", "height", "is_ground_truth", "x1", "y1", "x2", "y2", layer]
        stored = set()
        for image_id, table in read_images(url, task.part, task.wanted, columns):
            stored.add(image_id)
            proposals = np.flatnonzero(~np.asarray(table["is_ground_truth"]))
            boxes, features = boxes_of(table)[proposals], matrix(table, layer)[proposals].astype(np.float32)
            scaled = scale_features(features, self._model.mean_norms[layer], self._run.config.scaling.target_norm)
            with shard.timed("product"):
                found = score_classes(scaled, weights, biases, self._params, self._device)
            with shard.timed("nms"):
                kept = suppress(found, boxes, self._params)
            found = replace(found, class_index=found.class_index + first)
            size = (table["width"][0].as_py(), table["height"][0].as_py()) if table.num_rows else (0, 0)
            shard.add(image_id, make_table(DETECTIONS, self._columns(image_id, size, boxes, found, kept)))
        for image_id in task.wanted:
            if image_id not in stored:
                shard.fail(image_id, NAME, "it has no features")

    def _columns(self, image_id: str, size: tuple[int, int], boxes: Array, found: ClassScores, kept: Array) -> dict[str, object]:
        """The rows of the real classes."""
        real = np.flatnonzero(found.class_index < len(self._run.classes))
        own = boxes[found.region[real]]
        return {
            "image_id": [image_id] * len(real),
            "width": np.full(len(real), size[0]),
            "height": np.full(len(real), size[1]),
            "class": [self._run.classes[i] for i in found.class_index[real]],
            "score": found.score[real],
            "region": found.region[real],
            **box_columns(own),
            **box_columns(own, "proposal_"),
            "kept": kept[real],
            "kept_unregressed": kept[real],
        }


class MergeWorker(ShardWorker):
    """Puts the rows that ranges of classes have of an image behind each other: the order of the classes."""

    name = NAME

    def __init__(self, url: str, ranges: Sequence[str]) -> None:
        super().__init__(url, DETECTIONS)
        self._ranges = ranges

    def fill(self, task: ShardTask, shard: ShardWriter) -> None:
        markers = [marker for url in self._ranges if (marker := read_marker(url, task.part))]
        for phase in ("product", "nms"):
            shard.seconds[phase] = sum(marker.seconds.get(phase, 0.0) for marker in markers)
        failed = {failure.image_id: failure for marker in markers for failure in marker.failures}
        tables = [dict(read_images(url, task.part, task.wanted)) for url in self._ranges]
        for image_id in task.wanted:
            if image_id in failed:
                shard.fail(image_id, failed[image_id].stage, failed[image_id].reason)
                continue
            rows = [table[image_id] for table in tables]
            columns = {name: [value for table in rows for value in table[name].to_pylist()] for name in DETECTIONS.names}
            shard.add(image_id, make_table(DETECTIONS, columns))
