"""Processes of our selective search: their first call, their memory, and two of them against one."""

import json
import os
import resource
import subprocess
import sys
import time
from typing import Any

import numpy as np

from rcnn_dist.arrays import Array

_SIZES = ((500, 375), (2000, 1500), (8192, 6144))
_PAIRS = 9
_SECONDS = 3.0  # of each process of a pair


def run() -> dict[str, Any]:
    """Per image size seconds and megabytes of one process, and the rate of two processes on two cores over that of one."""
    _result(_child("once", 64, 48))  # so that none of the others compiles
    images = {f"{width}x{height}": _result(_child("once", width, height)) for width, height in _SIZES}
    ratios = []
    for _ in range(_PAIRS):
        alone = _result(_child("rate", 0))["per_second"]
        together = [_child("rate", core) for core in (0, 1)]
        ratios.append(sum(_result(process)["per_second"] for process in together) / alone)
    return {"images": images, "two_processes": {"ratios": ratios, "median": float(np.median(ratios))}}


def lines(figures: dict[str, Any]) -> list[str]:
    """The figures as sentences."""
    out = [
        f"{size:>10}: first boxes after {f['first_s']:.2f} s, then {f['ms']:.0f} ms an image; "
        f"{f['peak_mb']:.0f} MB at most, of that {f['start_mb']:.0f} the interpreter with its libraries, {f['image_mb']:.0f} the image"
        for size, f in figures["images"].items()
    ]
    return [*out, f"two processes on two cores do {figures['two_processes']['median']:.2f} times the work of one"]


def measure_once(width: int, height: int) -> None:
    """Prints seconds and megabytes of a fresh process that imports the search and searches one image twice."""
    start = time.perf_counter()
    from rcnn_dist.proposals.selective_search import selective_search
    from rcnn_dist.runtime.memory import tune_memory

    tune_memory()
    imported = time.perf_counter() - start
    start_mb = _peak_mb()
    image = _scene(width, height)
    times = []
    for _ in range(2):
        start = time.perf_counter()
        selective_search(image)
        times.append(time.perf_counter() - start)
    memory = {"start_mb": start_mb, "image_mb": image.nbytes / 1e6, "peak_mb": _peak_mb()}
    print(json.dumps({"first_s": imported + times[0], "ms": 1e3 * times[1], **memory}))


def measure_rate(core: int) -> None:
    """Prints how many images per second one process on one core searches."""
    from rcnn_dist.proposals.selective_search import selective_search
    from rcnn_dist.runtime.memory import tune_memory

    tune_memory()
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[core % len(cores)]})
    image = _scene(500, 375)
    selective_search(image)
    start = time.perf_counter()
    count = 0
    while time.perf_counter() < start + _SECONDS:
        selective_search(image)
        count += 1
    print(json.dumps({"per_second": count / (time.perf_counter() - start)}))


def _child(what: str, *arguments: int) -> "subprocess.Popen[str]":
    call = f"measure_{what}({', '.join(map(str, arguments))})"
    return subprocess.Popen([sys.executable, "-c", f"from rcnn_dist.benchmarks.proposal_workers import *; {call}"], stdout=-1, text=True)  # noqa: S603


def _result(child: "subprocess.Popen[str]") -> Any:
    return json.loads(child.communicate()[0])


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def _scene(width: int, height: int) -> Array:
    """A picture of textured rectangles, uint8 [H, W, 3]."""
    rng = np.random.default_rng(0)
    image = np.full((height, width, 3), 110, np.uint8)
    for _ in range(200):
        x, y = rng.integers(0, width), rng.integers(0, height)
        patch = image[y : y + int(height * rng.uniform(0.02, 0.4)), x : x + int(width * rng.uniform(0.02, 0.4))]
        patch[:] = rng.integers(0, 216, 3, dtype=np.uint8) + rng.integers(0, 1 + rng.integers(1, 40), patch.shape, dtype=np.uint8)
    return image
