"""Our support vector regressors against liblinear (scikit-learn's LinearSVR) at equal objective, on one thread, by the processor's time.

Equal objective: both end within a thousandth of the minimum. Ours proves it by its gap; liblinear's stopping rule bounds nothing, so its
objective is compared with what our gap leaves possible, and for each class only the loosest tolerance that is good enough counts.
"""

import resource
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from rcnn_dist.arrays import Array
from rcnn_dist.segment.params import SvrParams
from rcnn_dist.segment.svr import FeatureRows, fit_svrs

_TOLERANCES = (0.1, 0.03, 0.01, 0.003, 0.001, 1e-4, 1e-5)  # liblinear's, the loosest first; O2P uses 0.01
_WITHIN = 1e-3
_BLOCK = 2000


def run(rows: int, alone: int, size: int, classes: int, cost: float) -> dict[str, Any]:
    """Seconds of all regressors: both solvers on `rows` generated regions, ours on `alone` of them."""
    params = SvrParams(cost=cost, tolerance=_WITHIN)
    with threadpool_limits(1):
        found = {"rows": rows, "features": size, "classes": classes, "cost": cost, **_both(rows, size, classes, params)}
        blocks, targets = generated_regions(alone, size, classes)
        start = time.process_time()
        fit = fit_svrs(FeatureRows(blocks, _scale(blocks)), targets, params)
        alone_s = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {**found, "alone_rows": alone, "alone_s": alone_s, "alone_gap": float((fit.gaps / fit.objectives).max()), "peak_gb": peak}


def lines(figures: dict[str, Any]) -> list[str]:
    f = figures
    loosest, tightest = max(f["liblinear_tolerances"]), min(f["liblinear_tolerances"])
    kind = f"{f['classes']} regressors, {f['features']} features, cost {f['cost']:g}"
    return [
        f"{f['rows']} regions, {kind}: ours {f['ours_s']:.1f} s (at most {f['ours_above']:.1e} above the minimum), LinearSVR "
        f"{f['liblinear_s']:.1f} s ({f['liblinear_above']:.1e}, tolerance {loosest:g} to {tightest:g}): {f['speedup']:.1f} times as fast",
        f"{f['alone_rows']} regions, {kind}: ours {f['alone_s']:.1f} s (gap {f['alone_gap']:.1e}); peak memory {f['peak_gb']:.1f} GB",
    ]


def generated_regions(count: int, size: int, classes: int) -> tuple[list[Array], Array]:
    """Rows such as a rectified layer's (float16, about half of them 0) of regions of which a third overlap an object; centred overlaps."""
    rng = np.random.default_rng(0)
    looks = rng.standard_normal((classes, size)).astype(np.float32)
    scenes = rng.standard_normal((64, size)).astype(np.float32) / 8
    label = rng.integers(0, 3 * classes, count)
    overlaps = np.where(label[:, None] == np.arange(classes), rng.beta(0.8, 2, count)[:, None], 0).astype(np.float32)
    blocks = []
    for start in range(0, count, _BLOCK):
        part = overlaps[start : start + _BLOCK]
        scene = rng.standard_normal((len(part), 64)).astype(np.float32) @ scenes
        values = scene + np.sqrt(part) @ looks + rng.standard_normal((len(part), size), dtype=np.float32)
        blocks.append(np.maximum(values, 0).astype(np.float16))
    return blocks, overlaps - overlaps.mean(axis=0)


def _both(rows: int, size: int, classes: int, params: SvrParams) -> dict[str, Any]:
    blocks, targets = generated_regions(rows, size, classes)
    scale = _scale(blocks)
    start = time.process_time()
    fit = fit_svrs(FeatureRows(blocks, scale), targets, params)
    ours_s = time.process_time() - start
    least = fit.objectives - fit.gaps
    dense = np.concatenate(blocks).astype(np.float64) * scale
    theirs = [_good_enough(dense, targets[:, c], params, (1 + _WITHIN) * least[c]) for c in range(classes)]
    seconds, objectives, tolerances = (list(column) for column in zip(*theirs, strict=True))
    return {
        "ours_s": ours_s,
        "liblinear_s": sum(seconds),
        "speedup": sum(seconds) / ours_s,
        "ours_above": float((fit.gaps / least).max()),
        "liblinear_above": float((np.array(objectives) / least - 1).max()),
        "liblinear_tolerances": tolerances,
        "ours_below_liblinear": float((1 - fit.objectives / np.array(objectives)).min()),
    }


def _good_enough(rows: Array, targets: Array, params: SvrParams, wanted: float) -> tuple[float, float, float]:
    """Seconds, objective and tolerance of the first of liblinear's fits that reaches an objective, the loosest tolerance first."""
    for tolerance in _TOLERANCES:
        seconds, objective = _liblinear(rows, targets, params, tolerance)
        if objective <= wanted:
            break
    return seconds, objective, tolerance


def _liblinear(rows: Array, targets: Array, params: SvrParams, tolerance: float) -> tuple[float, float]:
    """Seconds and objective of liblinear -s 12 on one class."""
    from sklearn.svm import LinearSVR

    start = time.process_time()
    solver = LinearSVR(
        loss="squared_epsilon_insensitive",
        C=params.cost,
        epsilon=params.epsilon,
        fit_intercept=False,
        tol=tolerance,
        max_iter=100_000,
        random_state=0,
    ).fit(rows, targets)
    seconds = time.process_time() - start
    excess = np.maximum(np.abs(targets - rows @ solver.coef_) - params.epsilon, 0)
    return seconds, float(solver.coef_ @ solver.coef_ / 2 + params.cost * (excess @ excess))


def _scale(blocks: Sequence[Array]) -> Array:
    """One factor for all dimensions, which makes the mean norm 1."""
    norms = np.concatenate([np.linalg.norm(block.astype(np.float32), axis=1) for block in blocks]).astype(np.float64)
    return np.full(blocks[0].shape[1], 1 / norms.mean(), np.float64)
