"""Stage regions: features of every mask's box as it is (`full`) and without what lies outside the mask (`fg`) (paper §5)."""

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from rcnn_dist.arrays import Array
from rcnn_dist.errors import MissingShardError
from rcnn_dist.proposals.masks import decode_mask
from rcnn_dist.segment.regions import warp_masks
from rcnn_dist.stages import masks
from rcnn_dist.stages.base import ShardStage, ShardTask
from rcnn_dist.stages.extract import IMAGES_AHEAD, IMAGES_BEHIND, ImageRegions, forward_inputs, make_extractor
from rcnn_dist.stages.overlap import ahead, behind, timed_items
from rcnn_dist.stages.propose import read_images
from rcnn_dist.stages.run import Run
from rcnn_dist.stages.shard_worker import ShardWorker
from rcnn_dist.store import files
from rcnn_dist.store.manifest import fingerprint, read_marker
from rcnn_dist.store.schema import MASKS, features_schema
from rcnn_dist.store.shards import ShardWriter
from rcnn_dist.store.shards import read_images as read_rows
from rcnn_dist.store.tables import boxes_of, lists_of, make_table

if TYPE_CHECKING:
    from rcnn_dist.features.extract import Extractor

NAME = "regions"
VERSION = 1
VIEWS = ("full", "fg")

Rows = dict[str, Array]


def folder(run: Run) -> str:
    """Where this run's features of masked regions lie."""
    return run.folder("features", f"{run.config.network.name}.regions", fingerprint(NAME, VERSION, inputs(run)))


def inputs(run: Run) -> dict[str, Any]:
    """All that shapes the features, named as the configuration names it."""
    section = run.section("extract")
    return {
        **forward_inputs(run.config),
        "extract": {name: section[name] for name in ("layers", "batch_size", "precision")},
        "masks": run.relative(masks.folder(run)),
    }


class RegionsStage(ShardStage):
    name = NAME
    VERSION = VERSION

    @property
    def heavy(self) -> bool:
        return True

    @property
    def url(self) -> str:
        return folder(self.context)

    def inputs(self) -> dict[str, Any]:
        return inputs(self.context)

    def make_worker(self) -> "RegionsWorker":
        return RegionsWorker(self.context, self.url)


@dataclass(frozen=True, slots=True)
class MaskedRegions:
    """The regions of one image, those of the mirrored image last; `counts` are their masks."""

    regions: ImageRegions
    is_mirrored: Array  # bool [R]
    counts: list[Array]  # run lengths


class RegionsWorker(ShardWorker):
    """Holds the network; turns the masks of a shard into rows of features."""

    name = NAME

    def __init__(self, run: Run, url: str) -> None:
        self._run = run
        self.extractor = make_extractor(run, None)
        sizes = {f"{layer}.{view}": size for layer, size in self.extractor.layer_sizes.items() for view in VIEWS}
        super().__init__(url, features_schema(sizes), tuple(sizes))

    def fill(self, task: ShardTask, shard: ShardWriter) -> None:
        def write(masked: MaskedRegions, forwarded: list[tuple[int, dict[str, list[Any]]]]) -> None:
            with shard.timed("forward"):  # what a GPU has not ended yet
                features = self._rows(forwarded)
            shard.add(masked.regions.image_id, make_table(self._schema, {**masked.regions.columns(), **features}))

        found = self._forwarded(task, shard)
        with behind(write, IMAGES_BEHIND) as leave, closing(found):
            for masked, forwarded in found:
                with shard.timed("wait"):
                    leave(masked, forwarded)

    def _forwarded(self, task: ShardTask, shard: ShardWriter) -> Generator[tuple[MaskedRegions, list[tuple[int, dict[str, list[Any]]]]]]:
        """The regions of each image, and per group (plain, mirrored) their number and the forwarded batches of each view."""
        with ahead(_read_masked(self._run, task, shard), IMAGES_AHEAD) as read:
            for masked, image in timed_items(read, partial(shard.timed, "wait")):
                groups = []
                for flipped in (False, True):
                    rows = np.flatnonzero(masked.is_mirrored == flipped)
                    pixels = np.ascontiguousarray(image[:, ::-1]) if flipped else image
                    groups.append((len(rows), _forward(self.extractor, pixels, masked, rows, shard)))
                yield masked, groups

    def _rows(self, forwarded: list[tuple[int, dict[str, list[Any]]]]) -> Rows:
        parts = [{view: self.extractor.rows(batches[view], count) for view in VIEWS} for count, batches in forwarded]
        names = [(layer, view) for layer in self.extractor.layer_sizes for view in VIEWS]
        return {f"{layer}.{view}": np.concatenate([part[view][layer] for part in parts]) for layer, view in names}


def _forward(extractor: "Extractor", image: Array, masked: MaskedRegions, rows: Array, shard: ShardWriter) -> dict[str, list[Any]]:
    """The forwarded batches of some regions of an image, in each view."""
    from rcnn_dist.features.foreground import keep_foreground

    height, width = image.shape[:2]
    boxes, start = masked.regions.boxes[rows], 0
    geometry = extractor.geometry(boxes, height, width)
    batches: dict[str, list[Any]] = {view: [] for view in VIEWS}
    for crops in timed_items(extractor.warp(image, boxes), partial(shard.timed, "warp")):
        part = slice(start, start + len(crops))
        with shard.timed("warp"):
            inside = warp_masks((decode_mask(masked.counts[i], height, width) for i in rows[part]), geometry[part], extractor.input_size)
            foreground = keep_foreground(crops, inside)
        with shard.timed("forward"):
            batches["full"].append(extractor.forward(crops))
            batches["fg"].append(extractor.forward(foreground))
        start = part.stop
    return batches


def _read_masked(run: Run, task: ShardTask, shard: ShardWriter) -> Iterator[tuple[MaskedRegions, Array]]:
    """The masks of each image of a shard, and its pixels; images that cannot be used become failures of the shard.

    Raises:
        MissingShardError: the masks of this shard are not complete.
    """
    url = files.join(masks.folder(run), task.split)
    marker = read_marker(url, task.part)
    if marker is None:
        raise MissingShardError(f"{url}/{task.part} is not complete: run the stage masks first")
    for failure in marker.failures:
        shard.fail(failure.image_id, failure.stage, failure.reason)
    with shard.timed("read"):
        tables = dict(read_rows(url, task.part, task.wanted, schema=MASKS))
    for image_id, image in read_images(run, tuple(tables), shard, NAME):
        yield _masked(run, image_id, image.shape[:2], tables[image_id]), image


def _masked(run: Run, image_id: str, shape: tuple[int, ...], table: Any) -> MaskedRegions:
    overlap = np.array(lists_of(table, "overlap")).reshape(table.num_rows, len(run.classes))
    best = overlap.argmax(axis=1)
    regions = ImageRegions(
        image_id,
        (shape[1], shape[0]),
        boxes_of(table),
        np.asarray(table["is_ground_truth"]),
        [run.classes[i] if row[i] > 0 else None for i, row in zip(best, overlap, strict=True)],
        overlap.max(axis=1),
    )
    return MaskedRegions(regions, np.asarray(table["is_mirrored"]), lists_of(table, "counts"))
