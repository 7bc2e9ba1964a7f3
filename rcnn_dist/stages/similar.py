"""The regions of a run's whole store that are most like one box of a photograph (by cosine of a feature layer)."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from rcnn_dist.arrays import Array
from rcnn_dist.data.images import read_image
from rcnn_dist.errors import BadImageError, ConfigError, DamagedFileError
from rcnn_dist.explore.nearest import Nearest, Scan, faiss_scan, numpy_scan
from rcnn_dist.stages import extract
from rcnn_dist.stages.plan import changed_fields, read_plan
from rcnn_dist.stages.record import read_config, read_record
from rcnn_dist.stages.run import Run
from rcnn_dist.store import files
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


class SimilarRegions:
    """A run's store, opened for a search.

    Raises:
        ConfigError: there is no run, it has no features, or its configuration has changed since they were made.
    """

    def __init__(self, run_url: str) -> None:
        self.config = read_config(run_url)
        self._run = Run(self.config)
        self._folders = [files.join(run_url, folder) for folder in read_record(run_url).get("extract", {}).get("folders", ())]
        if not self._folders:
            raise ConfigError(f"{run_url} has no features: give the directory of a run whose stage extract has ended")
        plan = read_plan(self._folders[0])
        inputs = plan.inputs if plan else {}
        wanted = extract.forward_inputs(self.config)
        if changes := changed_fields({name: inputs.get(name, {}) for name in wanted}, wanted):
            raise ConfigError(f"{run_url} has another configuration than its features ({'; '.join(changes)}): run its stage extract again")
        self._finetuned = files.join(run_url, inputs["finetuned"]) if "finetuned" in inputs else None

    def layer(self, wanted: Wanted) -> str:
        """The layer that is compared.

        Raises:
            ConfigError: the store does not hold it.
        """
        stored = self.config.extract.layers
        if wanted.layer is None:
            return self.config.classify.layer if self.config.classify.layer in stored else stored[-1]
        if wanted.layer not in stored:
            raise ConfigError(f"layer {wanted.layer} is not stored: the run has {', '.join(stored)}")
        return wanted.layer

    def read_image(self, image: str) -> Array:
        """The pixels of a file, or of an image of the run's data, uint8 [H, W, 3].

        Raises:
            ConfigError: it is neither, or cannot be read.
        """
        if files.exists(image):
            return self._decode(image, image)
        if not any(image in self._run.image_ids(split) for split in self._run.splits):
            raise ConfigError(f"{image} is neither a file nor an image of {self._run.dataset.name}")
        return self.read_stored(image)

    def read_stored(self, image_id: str) -> Array:
        """The pixels of an image of the run's data.

        Raises:
            ConfigError: it cannot be read.
        """
        return self._decode(image_id, self._run.dataset.image_url(image_id))

    def _decode(self, name: str, url: str) -> Array:
        try:
            return read_image(url, self.config.data.max_pixels, self.config.data.exif_rotation)
        except BadImageError as error:
            raise ConfigError(f"{name} cannot be read: {error}") from error

    def find(self, wanted: Wanted, image: Array) -> list[SimilarRegion]:
        """One pass over all splits, a row group in memory at a time; the most similar first, the query itself too if it is stored.

        Raises:
            ConfigError: the box is no part of the image.
            DamagedFileError: the stored layer has another size than the network gives.
        """
        layer = self.layer(wanted)
        query = self._query(wanted.box, image, layer)
        nearest = Nearest(query, wanted.k, wanted.per_image, _faiss_scan(query) if wanted.use_faiss else numpy_scan(query))
        for folder in self._folders:
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
        return extract.make_extractor(self._run, self._finetuned).extract(image, np.array([box], np.float64))[layer][0]


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
