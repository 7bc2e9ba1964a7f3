"""Planning very many images: time and memory of the driver, in processes of their own, which have loaded what a driver on Ray loads."""

import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from rcnn_dist.config import make_config
from rcnn_dist.stages.propose import ProposeStage
from rcnn_dist.stages.run import Run

_PER_FOLDER = 1000


def run(images: int) -> dict[str, Any]:
    """Plans the proposals of so many images with generated ids: a first start, then one that finds the plan."""
    spawn = get_context("spawn")
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(1, mp_context=spawn, max_tasks_per_child=1) as process:
        image_sets = Path(folder) / "VOC2007" / "ImageSets" / "Main"
        image_sets.mkdir(parents=True)
        with (image_sets / "train.txt").open("w") as file:
            file.writelines(f"n{i // _PER_FOLDER:08d}/n{i // _PER_FOLDER:08d}_{i:08d}\n" for i in range(images))
        first, again = (process.submit(_plan, folder).result() for _ in range(2))
    peak = max(first["peak_mb"], again["peak_mb"])
    return {"images": images, **first, "seconds_again": again["seconds"], "peak_mb": peak}


def lines(figures: dict[str, Any]) -> list[str]:
    """The figures as text."""
    return [
        f"{figures['images']:,} images in {figures['shards']:,} shards: planned in {figures['seconds']:.1f} s, "
        f"found planned in {figures['seconds_again']:.1f} s; peak memory {figures['peak_mb']:.0f} MB, "
        f"{figures['loaded_mb']:.0f} MB of it once the modules are loaded"
    ]


def _plan(root: str) -> dict[str, Any]:
    import rcnn_dist.driver
    import rcnn_dist.runtime.ray_executor  # noqa: F401  what a driver holds

    loaded = _peak_mb()
    data = {"root": root, "train": "train", "test": None}
    config = make_config({"run": {"dir": f"{root}/run", "stages": ["propose"]}, "data": data})
    start = time.perf_counter()
    tasks = ProposeStage(Run(config)).plan()
    seconds = time.perf_counter() - start
    return {"shards": len(tasks), "seconds": round(seconds, 3), "peak_mb": round(_peak_mb(), 1), "loaded_mb": round(loaded, 1)}


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
