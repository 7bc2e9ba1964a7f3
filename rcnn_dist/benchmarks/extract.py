"""The extraction worker against the bare forward of the same crops, by turns in one process; and how fast a shard is written.

A generated set is proposed once. Then, round after round, one shard is extracted from image files to published Parquet, and the crops of
the same shard, kept in memory, go through the network alone, before and after.
"""

import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from rcnn_dist.config import RunConfig, make_config
from rcnn_dist.data.shapes import ShapesParams, generate_shapes
from rcnn_dist.driver import run_stages
from rcnn_dist.features.extract import Extractor
from rcnn_dist.runtime.memory import tune_memory
from rcnn_dist.runtime.threads import set_threads
from rcnn_dist.stages import extract
from rcnn_dist.stages.base import ShardTask
from rcnn_dist.stages.run import Run
from rcnn_dist.store.schema import features_schema
from rcnn_dist.store.shards import discarded_shard, write_shard
from rcnn_dist.store.tables import make_table

_LAYER = "fc7"
_ROWS, _SIZE, _IMAGES = 2000, 4096, 6  # of the writer's measure
_WANTED_IMAGES_PER_S, _CORES = 100, 16


def run(network: str, images: int, regions: int, rounds: int, threads: int, batch_size: int, precision: str) -> dict[str, Any]:
    """Rates of pipeline and forward in every round, the phases and waiting shares of all rounds, and the writer's rate per core."""
    with tempfile.TemporaryDirectory() as folder:
        generate_shapes(f"{folder}/data", ShapesParams(images={"train": images, "test": 0}, min_size=(375, 333), max_size=(500, 375)))
        section = {"layers": [_LAYER], "splits": ["train"], "max_proposals": regions, "batch_size": batch_size, "precision": precision}
        config = make_config(
            {
                "run": {"dir": f"{folder}/run", "stages": ["propose", "extract"], "shard_images": images},
                "data": {"root": f"{folder}/data", "test": None},
                "proposals": {"source": "sliding_window"},
                "network": {"name": network},
                "extract": section,
                "runtime": {"executor": "in_process"},
            }
        )
        run_stages(config, ("propose",), quiet=True)
        load = os.getloadavg()[0]
        measured = _race(config, rounds, threads)
    about = {"network": network, "precision": precision, "batch_size": batch_size, "threads": threads, "images": images}
    return {**about, "load_before": round(load, 2), "load_after": round(os.getloadavg()[0], 2), **measured, "writer": _writer()}


def lines(figures: dict[str, Any]) -> list[str]:
    """The figures as text."""
    rate, writer = figures["regions_per_s"], figures["writer"]
    seconds = ", ".join(f"{phase} {value:.2f}" for phase, value in figures["seconds_per_round"].items())
    shares = ", ".join(f"{name} {value:.1%}" for name, value in figures["waiting_shares"].items())
    return [
        f"{figures['network']} {figures['precision']} on {figures['device']}, {figures['threads']} threads, load {figures['load_before']}: "
        f"pipeline {rate['pipeline']:.1f} regions/s, bare forward {rate['bare_forward']:.1f}; "
        f"{figures['ratio']['median']:.3f} of it ({figures['ratio']['min']:.3f} to {figures['ratio']['max']:.3f}), "
        f"{figures['ratio_of_cpu_seconds']['median']:.3f} by the processor's seconds",
        f"seconds of a round of {figures['regions']} regions: {seconds}; of the time the threads waited: {shares}",
        *(f"writer, {name} rows: {found:.0f} MB/s of features per core" for name, found in writer["mb_per_core_second"].items()),
        f"{_WANTED_IMAGES_PER_S} images/s of {_ROWS} x {_SIZE} are {writer['mb_per_s_wanted']:.0f} MB/s: "
        f"{writer['cores_wanted']:.1f} of {_CORES} cores",
    ]


def _race(config: RunConfig, rounds: int, threads: int) -> dict[str, Any]:
    """Forward, pipeline, forward, pipeline, ..., forward: a round's pipeline is compared with the forwards on both sides of it."""
    run = Run(config)
    stage = extract.ExtractStage(run)
    (task,) = stage.tasks("train")
    tune_memory()  # as workers on Ray do
    worker = stage.make_worker()
    extractor = worker.extractor
    set_threads(threads)
    crops, regions = _crops(run, extractor, task)
    _forward(extractor, crops)  # to warm up
    bare, pipeline, phases_of = [_timed(lambda: _forward(extractor, crops))], [], []
    for _ in range(rounds):
        shutil.rmtree(stage.folder("train"), ignore_errors=True)
        pipeline.append(_timed(lambda: phases_of.append(worker.run(task).seconds)))
        bare.append(_timed(lambda: _forward(extractor, crops)))
    phases = {phase: statistics.mean(s.get(phase, 0.0) for s in phases_of) for phase in ("read", "warp", "forward", "write", "wait")}
    wall = statistics.mean(clock for clock, _ in pipeline)
    return {
        "device": str(extractor.device),
        "regions": regions,
        "rounds": rounds,
        "regions_per_s": {"pipeline": _rate(regions, pipeline), "bare_forward": _rate(regions, bare)},
        "ratio": _ratios([clock for clock, _ in bare], [clock for clock, _ in pipeline]),
        "ratio_of_cpu_seconds": _ratios([cpu for _, cpu in bare], [cpu for _, cpu in pipeline]),
        "seconds_per_round": {"wall": wall, **phases},
        "waiting_shares": {
            "forward": phases["wait"] / wall,
            "reader": 1 - phases["read"] / wall,
            "writer": 1 - phases["write"] / wall,
        },
    }


def _crops(run: Run, extractor: Extractor, task: ShardTask) -> tuple[list[Any], int]:
    """All batches of a shard as the pipeline makes them, and the regions in them."""
    batches, regions = [], 0
    with discarded_shard(features_schema(extractor.layer_sizes)) as shard:
        for found, image in extract.read_regions(run, task, shard, extract.NAME):
            batches += list(extractor.warp(image, found.boxes))
            regions += len(found.boxes)
    return batches, regions


def _forward(extractor: Extractor, batches: list[Any]) -> None:
    """The network alone."""
    for batch in batches:
        rows = extractor.forward(batch)
    extractor.rows([rows], 1)  # waits for a GPU


def _timed(action: Callable[[], object]) -> tuple[float, float]:
    """Seconds of the clock, and of all threads of this process on the processor."""
    clock, cpu = time.perf_counter(), time.process_time()
    action()
    return time.perf_counter() - clock, time.process_time() - cpu


def _rate(regions: int, times: list[tuple[float, float]]) -> float:
    return regions / statistics.median(clock for clock, _ in times)


def _ratios(bare: list[float], pipeline: list[float]) -> dict[str, Any]:
    """The mean of the bare forwards on both sides of a pipeline, divided by it."""
    ratios = [(before + after) / 2 / between for before, after, between in zip(bare, bare[1:], pipeline, strict=False)]
    return {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios), "all": ratios}


def _writer() -> dict[str, Any]:
    """Megabytes of stored features per second of a core, from rows in memory to a published shard with its digest.

    The store holds float16; rows that come as float32 are rounded on the way. Half of the values are zero, as after a ReLU. The process's
    own seconds are counted, so that other processes do not matter.
    """
    rng = np.random.default_rng(0)
    rates = {}
    for dtype in ("float16", "float32"):
        rows = np.maximum(rng.standard_normal((_ROWS, _SIZE), np.float32), 0).astype(dtype)
        with tempfile.TemporaryDirectory() as folder:
            start = time.process_time()
            with write_shard(folder, "part-00000", features_schema({_LAYER: _SIZE}), layers=(_LAYER,)) as shard:
                for i in range(_IMAGES):
                    shard.add(str(i), _table(str(i), rows))
            rates[dtype] = _IMAGES * _ROWS * _SIZE * 2 / 1e6 / (time.process_time() - start)
    wanted = _WANTED_IMAGES_PER_S * _ROWS * _SIZE * 2 / 1e6
    return {
        "mb_per_core_second": rates,
        "mb_per_s_wanted": wanted,
        "cores_wanted": wanted / rates["float16"],
        "is_the_bottleneck": wanted / min(rates.values()) > _CORES,
    }


def _table(image_id: str, rows: Any) -> Any:
    n = len(rows)
    boxes = np.tile(np.array([[1.0, 2.0, 30.0, 40.0]]), (n, 1))
    regions = extract.ImageRegions(image_id, (500, 375), boxes, np.zeros(n, bool), [None] * n, np.zeros(n, np.float32))
    return make_table(features_schema({_LAYER: _SIZE}), {**regions.columns(), _LAYER: rows})
