"""Passes over a features table, queries and a search: megabytes per second and the most memory that the process held.

A generated table (fc7 after a ReLU: half of its values zero) is read again and again until the wanted volume has passed.
"""

import importlib.util
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from rcnn_dist.arrays import Array
from rcnn_dist.explore.nearest import Nearest, Scan, faiss_scan, numpy_scan
from rcnn_dist.store.query import ALL, Regions, matrix, stream_regions
from rcnn_dist.store.schema import features_schema
from rcnn_dist.store.shards import read_markers, write_shard
from rcnn_dist.store.tables import box_columns, make_table

_LAYER, _SIZE, _REGIONS = "fc7", 4096, 2000
_IMAGES_PER_SHARD = 8
_QUERIES = {"all rows": ALL, "one class of 8, overlap 0.7 or more": Regions(classes=["class 3"], overlap=(0.7, 1.0))}


def run(gigabytes: float, shards: int) -> dict[str, Any]:
    """Every query over the volume, on one thread of Python."""
    with tempfile.TemporaryDirectory() as folder:
        _generate(folder, shards)
        markers = read_markers(folder)
        table_bytes = sum(m.rows for m in markers) * 2 * _SIZE
        passes = max(1, round(gigabytes * 1e9 / table_bytes))
        figures: dict[str, Any] = {
            "table_mb": table_bytes / 1e6,
            "files_mb": sum(m.bytes for m in markers) / 1e6,
            "passes": passes,
            "volume_gb": passes * table_bytes / 1e9,
        }
        figures["queries"] = {name: _timed(folder, where, passes, table_bytes) for name, where in _QUERIES.items()}
        figures["queries"] |= {f"the 20 nearest regions by {name}": _nearest(folder, scan, passes, table_bytes) for name, scan in _scans()}
    return figures


def lines(figures: dict[str, Any]) -> list[str]:
    head = f"{figures['volume_gb']:.1f} GB of {_LAYER} ({figures['passes']} passes over {figures['table_mb']:.0f} MB)"
    return [
        f"{head}, {name}: {f['mb_per_s']:.0f} MB/s, {f['rows']} rows found, at most {f['peak_rss_mb']:.0f} MB of memory"
        for name, f in figures["queries"].items()
    ]


def _timed(folder: str, where: Regions, passes: int, table_bytes: int) -> dict[str, Any]:
    """Streams the wanted rows and touches every feature; the rate is of the table's features, found or not."""
    start, rows = time.perf_counter(), 0
    for _ in range(passes):
        for table in stream_regions(folder, where, ["image_id", "region", _LAYER]):
            rows += table.num_rows
            matrix(table, _LAYER).view(np.uint16).max(initial=0)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "mb_per_s": passes * table_bytes / 1e6 / seconds, "rows": rows, "peak_rss_mb": _peak_rss_mb()}


def _scans() -> Iterator[tuple[str, Callable[[Array], Scan]]]:
    yield "NumPy", numpy_scan
    if importlib.util.find_spec("faiss"):
        yield "FAISS", faiss_scan


def _nearest(folder: str, make_scan: Callable[[Array], Scan], passes: int, table_bytes: int) -> dict[str, Any]:
    """The regions nearest to one direction, over all passes."""
    query = np.random.default_rng(1).random(_SIZE)
    start = time.perf_counter()
    for _ in range(passes):
        nearest = Nearest(query, 20, scan=make_scan(query))
        for table in stream_regions(folder, ALL, ["image_id", _LAYER]):
            nearest.add(matrix(table, _LAYER), table["image_id"].to_pylist(), int)
    seconds = time.perf_counter() - start
    rate = passes * table_bytes / 1e6 / seconds
    return {"seconds": seconds, "mb_per_s": rate, "rows": len(nearest.found), "peak_rss_mb": _peak_rss_mb()}


def _peak_rss_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3  # kilobytes on Linux


def _generate(folder: str, shards: int) -> None:
    schema = features_schema({_LAYER: _SIZE})
    for index in range(shards):
        with write_shard(folder, f"part-{index:05d}", schema, layers=(_LAYER,)) as shard:
            for image in range(_IMAGES_PER_SHARD):
                image_id = f"image-{index:05d}-{image}"
                shard.add(image_id, make_table(schema, _columns(image_id, image, np.random.default_rng([index, image]))))


def _columns(image_id: str, class_index: int, rng: np.random.Generator) -> dict[str, Array | list[str]]:
    corners = rng.random((_REGIONS, 2)) * 300
    return {
        "image_id": [image_id] * _REGIONS,
        "width": np.full(_REGIONS, 500),
        "height": np.full(_REGIONS, 375),
        "region": np.arange(_REGIONS),
        "is_ground_truth": np.zeros(_REGIONS, bool),
        **box_columns(np.hstack([corners, corners + 20 + rng.random((_REGIONS, 2)) * 50])),
        "gt_class": [f"class {class_index}"] * _REGIONS,  # as in photographs of one object
        "gt_iou": rng.random(_REGIONS).astype(np.float32),
        _LAYER: np.maximum(rng.standard_normal((_REGIONS, _SIZE), np.float32), 0).astype(np.float16),
    }
