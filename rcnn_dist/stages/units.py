"""The regions that activate each unit of a layer most, over a run's whole store."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rcnn_dist.arrays import Array
from rcnn_dist.errors import DamagedFileError, DataError
from rcnn_dist.explore.units import TopRegions, add_image, merge, no_regions
from rcnn_dist.features.warp import warp_regions
from rcnn_dist.stages.base import Executor, Progress
from rcnn_dist.stages.stored import StoredFeatures
from rcnn_dist.store.query import matrix
from rcnn_dist.store.schema import TOP_REGIONS
from rcnn_dist.store.shards import read_images, read_markers
from rcnn_dist.store.tables import box_columns, boxes_of, write_table

_IMAGES_PER_TASK = 256  # the first images of a task cost most, before there is anything to exceed


@dataclass(frozen=True, slots=True)
class PassTask:
    """Consecutive shards of one split; an image's number is its place among all images of the store."""

    folder: str
    parts: tuple[str, ...]
    first_image: int
    images: int


@dataclass(frozen=True, slots=True)
class PassReport:
    """What a share of the pass found: the best regions, at most K of each unit however many were seen; None: no region at all."""

    task: PassTask
    regions: int
    top: TopRegions | None


@dataclass(frozen=True, slots=True)
class UnitsPass:
    """The work of the pass: one layer, K regions of each unit."""

    layer: str
    k: int

    @property
    def heavy(self) -> bool:
        return False

    def make_worker(self) -> "UnitsPass":
        return self

    def run(self, task: PassTask) -> PassReport:
        top, image, rows = None, task.first_image, 0
        for part in task.parts:
            for _, table in read_images(task.folder, part, columns=["region", "x1", "y1", "x2", "y2", self.layer]):
                if table.num_rows:
                    features = matrix(table, self.layer)
                    top = top or no_regions(features.shape[1], self.k)
                    if features.shape[1] != len(top.bits):
                        raise DamagedFileError(
                            f"{task.folder}/{part}: {self.layer} has {features.shape[1]} values, others have {len(top.bits)}"
                        )
                    top = add_image(top, features, image, np.asarray(table["region"]), boxes_of(table))
                    rows += table.num_rows
                image += 1
        return PassReport(task, rows, top)


@dataclass(frozen=True, slots=True)
class UnitsFound:
    """The result, and which image each number of `top.images` means."""

    top: TopRegions
    images: tuple[tuple[str, str], ...]  # (split, image id)
    regions: int  # seen


def find_top_regions(folders: Sequence[str], work: UnitsPass, executor: Executor, progress: Progress) -> UnitsFound:
    """One pass over the splits of a features table; each process holds one image's features and K regions of each unit.

    The result is the same however the shards are shared out, and in whatever order they are done.

    Raises:
        DataError: the table has no region.
    """
    images: list[tuple[str, str]] = []
    tasks: list[PassTask] = []
    for folder in folders:
        tasks += _tasks(folder, images)
    progress.start("units", len(images))
    top, regions = None, 0
    for report in executor.map(work, tasks):
        regions += report.regions
        if report.top is not None:
            top = report.top if top is None else merge(top, report.top)
        progress.advance(report.task.images)
    progress.finish()
    if top is None:
        raise DataError(f"{', '.join(folders)}: no image has a region, so no unit responds to any")
    return UnitsFound(top, tuple(images), regions)


def _tasks(folder: str, images: list[tuple[str, str]]) -> list[PassTask]:
    """Shares of a split; its images are added to those before."""
    tasks, parts, first = [], [], len(images)
    split = folder.split("/")[-1]
    markers = read_markers(folder)
    for marker in markers:
        parts.append(marker.part)
        images += [(split, image_id) for image_id, _ in marker.images]
        if len(images) - first >= _IMAGES_PER_TASK or marker is markers[-1]:
            tasks.append(PassTask(folder, tuple(parts), first, len(images) - first))
            parts, first = [], len(images)
    return tasks


def write_top_regions(url: str, found: UnitsFound) -> None:
    """The regions of all units as one Parquet file, by unit, then rank."""
    units, ranks = np.nonzero(found.top.bits > 0)
    names = [found.images[number] for number in found.top.images[units, ranks].tolist()]
    columns = {
        "unit": units,
        "rank": ranks,
        "activation": found.top.activations[units, ranks],
        "split": [split for split, _ in names],
        "image_id": [image_id for _, image_id in names],
        "region": found.top.regions[units, ranks],
        **box_columns(found.top.boxes[units, ranks]),
    }
    write_table(url, TOP_REGIONS, columns)


def unit_maxima(top: TopRegions, cells: int) -> Array:
    """What a unit's activations are divided by to be shown: the highest of its channel, over all `cells` of it, float32 [D].

    Paper: §3.1. Reference: vis/pool5-explorer (the maximum over the 36 cells of a channel).
    """
    highest = top.activations[:, 0].reshape(-1, cells).max(axis=1)
    return np.repeat(highest, cells)


def show_regions(store: StoredFeatures, image_id: str, boxes: Array, side: int) -> Array:
    """Regions of an image as the network sees them, uint8 [R, side, side, 3]; what lies outside the image is grey.

    Raises:
        ConfigError: the image cannot be read.
    """
    grey = np.full(3, 128, np.float32)
    warped = warp_regions(store.read_stored(image_id), boxes, store.config.warp, side, grey)
    return np.clip(np.round(warped + grey), 0, 255).astype(np.uint8)
