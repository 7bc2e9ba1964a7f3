"""The regions that activate each unit of pool5 most: rate and memory of one pass over a generated store, and what 10 million take."""

import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np

from rcnn_dist.arrays import Array
from rcnn_dist.explore.units import add_image, no_regions
from rcnn_dist.stages.units import UnitsPass, find_top_regions
from rcnn_dist.store.schema import features_schema
from rcnn_dist.store.shards import write_shard
from rcnn_dist.store.tables import box_columns, make_table

_LAYER, _SIZE, _REGIONS, _IMAGES_PER_SHARD = "pool5", 9216, 2000, 8
_PAPER = 10_000_000  # §3.1: "about 10 million held-out region proposals"


def run(rows: int, k: int) -> dict[str, Any]:
    """Writes the store, then makes the pass in a process of its own, on one thread."""
    with tempfile.TemporaryDirectory() as folder:
        images = -(-rows // _REGIONS)
        _generate(f"{folder}/train", images)
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            return pool.submit(_measure, f"{folder}/train", k).result()


def lines(figures: dict[str, Any]) -> list[str]:
    return [
        f"{figures['regions']:,} regions, {figures['units']} units, the {figures['k']} best of each: {figures['seconds']:.1f} s, "
        f"{figures['regions_per_s']:,.0f} regions/s; {_PAPER:,} regions at this rate: {figures['seconds_for_10_million'] / 60:.0f} minutes",
        f"memory before the pass {figures['rss_before_mb']:.0f} MB, at most {figures['peak_rss_mb']:.0f} MB, "
        f"bound {figures['bound_mb']:.0f} MB (whatever the number of regions)",
    ]


def _measure(folder: str, k: int) -> dict[str, Any]:
    from rcnn_dist.runtime.executor import InProcessExecutor

    _compile(k)
    before, start = _peak_rss_mb(), time.perf_counter()
    found = find_top_regions([folder], UnitsPass(_LAYER, k), InProcessExecutor(1), _Silent())
    seconds = time.perf_counter() - start
    return {
        "regions": found.regions,
        "units": len(found.top.bits),
        "k": k,
        "seconds": seconds,
        "regions_per_s": found.regions / seconds,
        "seconds_for_10_million": seconds * _PAPER / found.regions,
        "rss_before_mb": before,
        "peak_rss_mb": _peak_rss_mb(),
        # the regions of an image, of the pass, of both merged, of the tasks before; an image's features, compressed, read and decoded
        "bound_mb": before + (5 * found.top.nbytes + 4 * 2 * _SIZE * _REGIONS) / 1e6 + 50,
    }


def _compile(k: int) -> None:
    add_image(no_regions(2, k), np.ones((2, 2), np.float16), 0, np.arange(2), np.array([[0.0, 0, 9, 9], [20, 20, 29, 29]]))


def _peak_rss_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3  # kilobytes on Linux


class _Silent:
    """A progress that shows nothing."""

    def start(self, name: str, total: int, unit: str = "images") -> None: ...
    def advance(self, count: int) -> None: ...
    def finish(self) -> None: ...
    def note(self, message: str) -> None: ...
    def event(self, event: str, /, **fields: Any) -> None: ...


def _generate(folder: str, images: int) -> None:
    """Rectified Gaussian activations, some images and some regions stronger than others."""
    schema = features_schema({_LAYER: _SIZE})
    pool = np.maximum(np.random.default_rng(0).standard_normal((1024, _SIZE), np.float32), 0)
    for first in range(0, images, _IMAGES_PER_SHARD):
        with write_shard(folder, f"part-{first // _IMAGES_PER_SHARD:05d}", schema, layers=(_LAYER,)) as shard:
            for image in range(first, min(images, first + _IMAGES_PER_SHARD)):
                shard.add(f"image-{image}", make_table(schema, _columns(f"image-{image}", pool, np.random.default_rng([1, image]))))


def _columns(image_id: str, pool: Array, rng: np.random.Generator) -> dict[str, Array | list[str]]:
    corners = rng.random((_REGIONS, 2)) * 300
    strength = rng.gamma(4, 1, (_REGIONS, 1)).astype(np.float32) * np.float32(rng.gamma(8, 1))
    return {
        "image_id": [image_id] * _REGIONS,
        "width": np.full(_REGIONS, 500),
        "height": np.full(_REGIONS, 375),
        "region": np.arange(_REGIONS),
        "is_ground_truth": np.zeros(_REGIONS, bool),
        **box_columns(np.hstack([corners, corners + 20 + rng.random((_REGIONS, 2)) * 150])),
        "gt_class": ["none"] * _REGIONS,
        "gt_iou": np.zeros(_REGIONS, np.float32),
        _LAYER: (pool[rng.integers(0, len(pool), _REGIONS)] * strength).astype(np.float16),
    }
