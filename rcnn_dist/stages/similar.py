"""The regions of a run's whole store that are most like one box of a photograph (by cosine of a feature layer)."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from rcnn_dist.arrays import Array
from rcnn_dist.errors import ConfigError, DamagedFileError
from rcnn_dist.explore.nearest import Nearest, Scan, faiss_scan, numpy_scan
from rcnn_dist.stages import extract
from rcnn_dist.stages.stored import StoredFeatures
from rcnn_dist.store.query import matrix, stream_regions
from rcnn_dist.store.tables import boxes_of

_COLUMNS = ["image_id", "region", "is_ground_truth", "x1", "y1", "x2", "y2", "gt_class", "gt_iou"]


@dataclass(frozen=True, slots=True)
class SimilarRegion:
    """A stored region and its cosine to the query."""

    cosine: float
    split: str
    image_id: str
    region: int
    box: tuple[float, ...]  # x1, y1, x2, y2
    is_ground_truth: bool
    gt_class: str | None
    gt_iou: float


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked for: a box of an image, how many regions, and how."""

    image: str  # a file, else an image id of the run's data
    box: Sequence[float]
    k: int = 20
    per_image: int | None = None  # at most so many regions of one image
    layer: str | None = None  # None: the one that classes are trained on, or the last one stored
    use_faiss: bool = False


class SimilarRegions(StoredFeatures):
    """A run's store, opened for a search."""

    def find(self, wanted: Wanted, image: Array) -> list[SimilarRegion]:
        """One pass over all splits, a row group in memory at a time; the most similar first, the query itself too if it is stored.

        Raises:
            ConfigError: the box is no part of the image.
            DamagedFileError: the stored layer has another size than the network gives.
        """
        layer = self.layer(wanted.layer)
        query = self._query(wanted.box, image, layer)
        nearest = Nearest(query, wanted.k, wanted.per_image, _faiss_scan(query) if wanted.use_faiss else numpy_scan(query))
        for folder in self.folders:
            for table in stream_regions(folder, columns=[*_COLUMNS, layer]):
                features = matrix(table, layer)
                if features.shape[1] != len(query):
                    raise DamagedFileError(f"{folder}: {layer} has {features.shape[1]} values, the network gives {len(query)}")
                nearest.add(features, table["image_id"].to_pylist(), _Rows(folder.split("/")[-1], table).describe)
        return [SimilarRegion(cosine, **row) for cosine, row in nearest.found]

    def _query(self, box: Sequence[float], image: Array, layer: str) -> Array:
        height, width = image.shape[:2]
        x1, y1, x2, y2 = box
        if not (0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height):
            raise ConfigError(f"box {x1:g},{y1:g},{x2:g},{y2:g} is no part of an image of {width} x {height} pixels: give x1,y1,x2,y2")
        return extract.make_extractor(self.run, self.finetuned).extract(image, np.array([box], np.float64))[layer][0]


def _faiss_scan(query: Array) -> Scan:
    try:
        return faiss_scan(query)
    except ImportError as error:
        raise ConfigError("FAISS is not installed: pip install 'rcnn-dist[faiss]', or leave --faiss out") from error


class _Rows:
    """Says what a row of one row group is."""

    def __init__(self, split: str, table: Any) -> None:
        self._split = split
        self._table = table
        self._boxes = boxes_of(table)

    def describe(self, row: int) -> dict[str, Any]:
        own = self._table.select([name for name in _COLUMNS if not name.startswith(("x", "y"))]).slice(row, 1).to_pylist()[0]
        return {"split": self._split, "box": tuple(self._boxes[row].tolist()), **own}


def similar_json(wanted: Wanted, layer: str, found: Sequence[SimilarRegion]) -> dict[str, Any]:
    """What `similar.json` holds."""
    query = {"image": wanted.image, "box": list(wanted.box), "layer": layer}
    return {"query": query, "boxes": "x1, y1, x2, y2 in pixels, 0-based, half-open", "regions": [asdict(region) for region in found]}
