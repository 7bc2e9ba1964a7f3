"""Label maps of a run's test images, by any of its methods, from the tables of segments and masks."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rcnn_dist.arrays import Array
from rcnn_dist.data.segmentation import Segmentation
from rcnn_dist.errors import BadAnnotationError
from rcnn_dist.proposals.masks import decode_mask
from rcnn_dist.segment.params import PasteParams
from rcnn_dist.segment.paste import beats_background, choose_background, paste_segments
from rcnn_dist.stages import masks, segment, svr
from rcnn_dist.stages.run import Run
from rcnn_dist.store.shards import read_images
from rcnn_dist.store.tables import lists_of


@dataclass(frozen=True, slots=True)
class Ranked:
    """The best regions of one image by one method, best first."""

    regions: Array  # int64 [K]
    classes: Array  # int64 [K]
    scores: Array  # float64 [K]


@dataclass(frozen=True, slots=True)
class PastedImage:
    """The label maps of one image by method, and its annotation where there is one."""

    image_id: str
    maps: Mapping[str, Array]  # uint8 [H, W]
    truth: Segmentation | None


@dataclass(frozen=True, slots=True)
class Backgrounds:
    """The background's score of each method, and how many segments an image keeps on average."""

    scores: dict[str, float]
    segments_per_image: dict[str, float]


def read_ranked(run: Run) -> dict[str, dict[str, Ranked]]:
    """Image id -> method -> the best regions; images that failed have none.

    Raises:
        MissingShardError: the table of segments is not complete.
    """
    stage = segment.SegmentStage(run)
    stage.require("test")
    number = {name: i for i, name in enumerate(run.classes)}
    found: dict[str, dict[str, Ranked]] = {}
    for task in stage.tasks("test"):
        for image_id, table in read_images(stage.folder("test"), task.part):
            methods = np.array(table["method"].to_pylist(), object)
            classes = np.array([number[name] for name in table["class"].to_pylist()], np.int64)
            regions, scores = np.asarray(table["region"]).astype(np.int64), np.asarray(table["score"]).astype(np.float64)
            found[image_id] = {
                method.name: Ranked(regions[rows], classes[rows], scores[rows])
                for method in svr.methods(run)
                for rows in [np.flatnonzero(methods == method.name)]
            }
    return found


def find_backgrounds(params: PasteParams, names: Sequence[str], ranked: Mapping[str, Mapping[str, Ranked]]) -> Backgrounds:
    """What O2P's rule gives each of some methods on these images."""
    scores, per_image = {}, {}
    for name in names:
        table = np.full((len(ranked), params.segments), -np.inf)
        for row, found in zip(table, ranked.values(), strict=True):
            row[: len(found[name].scores)] = found[name].scores
        scores[name] = choose_background(table, params)
        kept = beats_background(table, scores[name], params.margin)
        per_image[name] = float(kept.sum() / len(table)) if len(table) else 0.0
    return Backgrounds(scores, per_image)


def paste_images(
    run: Run, ranked: Mapping[str, Mapping[str, Ranked]], backgrounds: Backgrounds, split: str = "test"
) -> Iterator[PastedImage]:
    """The label maps of a split's images, in order; one that failed is background where its annotation tells the size, else left out."""
    stage = masks.MasksStage(run)
    for task in stage.tasks(split):
        tables = dict(read_images(stage.folder(split), task.part, columns=["height", "width", "counts"]))
        for image_id in task.image_ids:
            table = tables.get(image_id)
            if table is None or not table.num_rows:
                truth = _truth(run, image_id, None)
                if truth is not None:
                    yield PastedImage(image_id, {name: np.zeros_like(truth.class_map) for name in backgrounds.scores}, truth)
                continue
            shape = (table["height"][0].as_py(), table["width"][0].as_py())
            found, counts = ranked.get(image_id, {}), lists_of(table, "counts")
            maps = {name: _paste(run, found.get(name), counts, shape, background) for name, background in backgrounds.scores.items()}
            yield PastedImage(image_id, maps, _truth(run, image_id, shape))


def _paste(run: Run, found: Ranked | None, counts: list[Array], shape: tuple[int, int], background: float) -> Array:
    if found is None:
        return np.zeros(shape, np.uint8)
    kept = beats_background(found.scores[None], background, run.config.segment.margin)[0]
    return paste_segments([decode_mask(counts[i], *shape) for i in found.regions[kept]], found.classes[kept], shape)


def _truth(run: Run, image_id: str, shape: tuple[int, int] | None) -> Segmentation | None:
    """The annotation of an image; None where there is none that can be used: then it is a row of the failures table already."""
    try:
        return run.segmentation.read(image_id) if shape is None else masks.read_truth(run, image_id, shape)
    except BadAnnotationError:
        return None
