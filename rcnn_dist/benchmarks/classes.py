"""Detectors of 10,000 and 100,000 classes on one image of 2000 regions: seconds of product and suppression, memory beyond the weights.

Each measurement has a process of its own, which maps weights that lie on disk. The threshold leaves 0.1% of the scores.
"""

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rcnn_dist.arrays import Array

_CLASSES = (10_000, 100_000)
_KINDS: dict[str, Any] = {"float32": np.dtype(np.float32), "bfloat16": np.dtype(np.uint16)}
_REGIONS, _SIZE = 2000, 4096
_ABOVE = 0.001  # share of the scores above the threshold
_REPEATS = 3
_THREADS = 2


def run() -> dict[str, Any]:
    """Seconds, megabytes, and our suppression against torchvision's on the same rows."""
    figures: dict[str, Any] = {"classes": {}, "nms_ratio": {}, "kept_equal": {}}
    with tempfile.TemporaryDirectory() as folder:
        for n_classes in _CLASSES:
            by_kind = {}
            for kind in _KINDS:
                file = _write_weights(Path(folder), n_classes, kind)
                by_kind[kind] = _child("measure", file)
                if kind == "float32":
                    against = _child("compare", file)
                file.unlink()
            figures["classes"][str(n_classes)] = by_kind
            figures["nms_ratio"][str(n_classes)] = against["ratio"]
            figures["kept_equal"][str(n_classes)] = against["equal"]
    return figures


def lines(figures: dict[str, Any]) -> list[str]:
    """The figures as sentences."""
    out = []
    for n_classes, by_kind in figures["classes"].items():
        for kind, f in by_kind.items():
            out.append(
                f"{n_classes:>7} classes, {kind:8}: product {f['product_s']:.2f} s, suppression {f['nms_s']:.3f} s, "
                f"{f['extra_mb']:.0f} MB beyond the {f['weights_mb']:.0f} MB of weights"
            )
        ratio, equal = figures["nms_ratio"][n_classes], figures["kept_equal"][n_classes]
        out.append(
            f"        suppression {ratio:.1f} times as fast as torchvision's batched_nms, {'the same' if equal else 'OTHER'} rows kept"
        )
    return out


def measure(file: str) -> None:
    """Prints the best seconds of some passes and the private memory of the process at its largest, over what it had at the start."""
    from rcnn_dist.detect.class_blocks import score_classes, suppress

    weights, biases = _open(file)
    _warm(weights)
    with _PrivateMemory() as memory:
        features, boxes = _image()
        params = _params(features, weights)
        product_s, found = _best_of(lambda: score_classes(features, weights, biases, params))
        nms_s, _ = _best_of(lambda: suppress(found, boxes, params))
    extra = {"extra_mb": memory.extra_mb, "weights_mb": weights.nbytes / 1e6}
    print(json.dumps({"product_s": product_s, "nms_s": nms_s, "rows": len(found.score), **extra}))


def compare(file: str) -> None:
    """Prints how many times as fast as torchvision's suppression ours is, and whether both keep the same rows."""
    import torch
    from torchvision.ops import batched_nms

    from rcnn_dist.detect.class_blocks import score_classes, suppress

    weights, biases = _open(file)
    features, boxes = _image()
    params = _params(features, weights)
    found = score_classes(features, weights, biases, params)
    suppress(found, boxes, params)  # compiles
    arguments = (torch.from_numpy(boxes[found.region]), torch.from_numpy(found.score), torch.from_numpy(found.class_index))
    ours_s, ours = _best_of(lambda: suppress(found, boxes, params))
    theirs_s, theirs = _best_of(lambda: batched_nms(*arguments, params.nms_threshold))
    print(json.dumps({"ratio": theirs_s / ours_s, "equal": bool(np.array_equal(np.flatnonzero(ours), np.sort(theirs.numpy())))}))


class _PrivateMemory:
    """Watches the memory that belongs to this process alone; pages of mapped files are not among it."""

    def __enter__(self) -> "_PrivateMemory":
        self._start = self._peak = _private_mb()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def extra_mb(self) -> float:
        return self._peak - self._start

    def _watch(self) -> None:
        while not self._over.wait(0.01):
            self._peak = max(self._peak, _private_mb())


def _private_mb() -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024 / 1e6


def _best_of(work: Callable[[], Any]) -> tuple[float, Any]:
    seconds = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - start)
    return min(seconds), result


def _image() -> tuple[Array, Array]:
    """Features like those of fc7 (half of them zero) of mean norm 20, and boxes, both float32."""
    rng = np.random.default_rng(1)
    features = np.maximum(rng.standard_normal((_REGIONS, _SIZE), dtype=np.float32), 0)
    features *= np.float32(20) / np.linalg.norm(features, axis=1).mean()
    corner = rng.uniform(0, 400, (_REGIONS, 2))
    return features, np.concatenate([corner, corner + rng.uniform(20, 300, (_REGIONS, 2))], axis=1).astype(np.float32)


def _write_weights(folder: Path, n_classes: int, kind: str) -> Path:
    from rcnn_dist.detect.class_blocks import BLOCK, padded_classes, to_bfloat16

    file = folder / f"{n_classes}-{kind}.npy"
    stored = np.lib.format.open_memmap(file, "w+", _KINDS[kind], (padded_classes(n_classes), _SIZE))
    for start in range(0, len(stored), BLOCK):
        block = np.random.default_rng([2, start]).standard_normal((BLOCK, _SIZE), dtype=np.float32) / _SIZE**0.5
        stored[start : start + BLOCK] = to_bfloat16(block) if kind == "bfloat16" else block
    stored.flush()
    return file


def _open(file: str) -> tuple[Array, Array]:
    weights, n_classes = np.load(file, mmap_mode="r"), int(Path(file).name.split("-")[0])
    biases = np.zeros(len(weights), np.float32)
    biases[n_classes:] = -np.inf
    return weights, biases


def _warm(weights: Array) -> None:
    """Compiles, and starts the libraries' threads, on a small image."""
    from rcnn_dist.detect.class_blocks import BLOCK, BlockParams, score_classes, suppress

    some = np.random.default_rng(0).standard_normal((64, _SIZE), dtype=np.float32)
    found = score_classes(some, weights[:BLOCK], np.zeros(BLOCK, np.float32), BlockParams(min_score=0.0))
    suppress(found, np.tile(np.array([0, 0, 9, 9], np.float32), (64, 1)), BlockParams())


def _params(features: Array, weights: Array) -> Any:
    """The threshold that leaves `_ABOVE` of the scores of the first block."""
    from rcnn_dist.detect.class_blocks import BLOCK, BlockParams, score_classes

    all_of = score_classes(features, weights[:BLOCK], np.zeros(BLOCK, np.float32), BlockParams(min_score=0.0))
    limit = int(_ABOVE * len(features) * BLOCK)
    return BlockParams(min_score=float(np.partition(all_of.score, -limit)[-limit]))


def _child(what: str, file: Path) -> Any:
    code = f"from rcnn_dist.benchmarks.classes import {what}; import torch, threadpoolctl; torch.set_num_threads({_THREADS}); "
    code += f"threadpoolctl.threadpool_limits({_THREADS}); {what}({str(file)!r})"
    return json.loads(subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True).stdout)  # noqa: S603
