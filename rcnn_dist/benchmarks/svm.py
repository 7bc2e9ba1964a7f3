"""Our SVM solver against liblinear (scikit-learn's LinearSVC) at equal objective, in turn, on one thread.

Equal objective: both end within a thousandth of the minimum, which a run of ours to a gap of 1e-9 gives. Ours stops by its own
duality gap; for liblinear, whose stopping rule bounds no objective, the loosest tolerance that is good enough is looked for first.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from rcnn_dist.arrays import Array
from rcnn_dist.classify.labelling import svm_labels
from rcnn_dist.classify.linear_svm import SvmParams, fit_svm, score_rows, svm_objective
from rcnn_dist.config import load_config
from rcnn_dist.features.scaling import scale_factor
from rcnn_dist.stages import extract, train
from rcnn_dist.stages.labels import COLUMNS, label_regions
from rcnn_dist.stages.models import load_model
from rcnn_dist.stages.run import Run
from rcnn_dist.store import files
from rcnn_dist.store.query import matrix
from rcnn_dist.store.shards import read_images, read_markers

_TOLERANCES = (0.3, 0.1, 0.03, 0.01, 0.003, 0.001)  # liblinear's, the loosest first; 0.1 is its own default
_WITHIN = 1e-3

Rows = tuple[Array, Array]  # positives [P, D] and negatives [M, D], float16 as stored


def run(rows: Sequence[int], size: int, repeats: int, run_dir: str | None) -> dict[str, Any]:
    """Median seconds of both solvers per set of rows: generated ones, and a run's own hard negatives where one is given."""
    cases = {f"{count} rows, {size} features": (generated_rows(count, size), 1.0) for count in rows}
    if run_dir:
        cases |= dict(_rows_of_run(run_dir))
    with threadpool_limits(1):
        return {name: compare(*case, repeats) for name, case in cases.items()}


def lines(figures: dict[str, Any]) -> list[str]:
    return [
        f"{name}: ours {1e3 * f['ours_s']:.0f} ms ({f['ours_above']:.1e} above the minimum), liblinear {1e3 * f['liblinear_s']:.0f} ms "
        f"({f['liblinear_above']:.1e}, tolerance {f['liblinear_tolerance']}): {f['speedup']:.1f} times as fast"
        for name, f in figures.items()
    ]


def compare(rows: Rows, scale: float, repeats: int) -> dict[str, Any]:
    """One set of rows: both solvers by turns, the medians, and how far above the minimum each ends."""
    params = SvmParams(tolerance=_WITHIN)
    least = fit_svm(*rows, replace(params, tolerance=1e-9), scale).objective.total
    positives, negatives = (part.astype(np.float32) * np.float32(scale) for part in rows)

    def above(weights: Array, bias: float) -> float:
        return svm_objective(*rows, weights, bias, params, scale).total / least - 1

    tolerance = next((t for t in _TOLERANCES if above(*fit_liblinear(positives, negatives, params, t)) <= _WITHIN), _TOLERANCES[-1])
    seconds: dict[str, list[float]] = {"ours": [], "liblinear": []}
    for _ in range(repeats):
        ours = _timed(lambda: fit_svm(*rows, params, scale), seconds["ours"])
        theirs = _timed(lambda: fit_liblinear(positives, negatives, params, tolerance), seconds["liblinear"])
    medians = {name: float(np.median(times)) for name, times in seconds.items()}
    return {
        "rows": sum(len(part) for part in rows),
        "features": rows[0].shape[1],
        "ours_s": medians["ours"],
        "liblinear_s": medians["liblinear"],
        "speedup": medians["liblinear"] / medians["ours"],
        "ours_above": above(ours.weights, ours.bias),
        "liblinear_above": above(*theirs),
        "liblinear_tolerance": tolerance,
        "seconds": seconds,
    }


def fit_liblinear(positives: Array, negatives: Array, params: SvmParams, tolerance: float) -> tuple[Array, float]:
    """Weights and bias of the same problem by liblinear -s 3 -w1 2 -B 10, from scaled float32 rows."""
    from sklearn.svm import LinearSVC

    solver = LinearSVC(
        loss="hinge",
        C=params.cost,
        class_weight={1: params.positive_weight, -1: 1.0},
        intercept_scaling=params.bias_scale,
        tol=tolerance,
        max_iter=100_000,
        random_state=params.seed,
    )
    labels = np.repeat([1, -1], [len(positives), len(negatives)])
    solver.fit(np.concatenate([positives, negatives], dtype=np.float64), labels)
    return solver.coef_[0].astype(np.float32), float(np.float32(solver.intercept_[0]))


def generated_rows(count: int, size: int) -> Rows:
    """One row in 20 a positive; sparse features of mean norm 20, the negatives the nearest third of many to the positives.

    Features are what a rectified layer gives: linear in a latent of 48 directions of falling strength, noise, a threshold that
    leaves about a quarter above zero.
    """
    generator = np.random.default_rng(0)
    latent_size, n_positives = 48, max(1, count // 20)
    basis = 1.2 * generator.standard_normal((latent_size, size), np.float32) * np.arange(1, latent_size + 1)[:, None] ** -0.5
    threshold = 0.7 * np.sqrt(np.square(basis).sum(axis=0) + 1)

    def features(latent: Array) -> Array:
        values = (latent @ basis).astype(np.float32) + generator.standard_normal((len(latent), size), np.float32)
        return np.maximum(values - threshold, 0, dtype=np.float32)

    direction = np.full(latent_size, latent_size**-0.5)
    positives = features(0.8 * generator.standard_normal((n_positives, latent_size)) + 5 * direction)
    many = generator.standard_normal((3 * (count - n_positives), latent_size))
    nearness = many @ direction + 0.5 * generator.standard_normal(len(many))
    negatives = features(many[np.sort(np.argsort(-nearness)[: count - n_positives])])
    scale = np.float32(20 / np.linalg.norm(negatives, axis=1).mean())
    return (positives * scale).astype(np.float16), (negatives * scale).astype(np.float16)


def _rows_of_run(run_dir: str) -> Iterator[tuple[str, tuple[Rows, float]]]:
    """For each class of a trained run its positives, and the negatives that its detector does not find easy (score >= -1.2)."""
    context = Run(load_config(Path(run_dir) / "config.yaml", [f"run.dir={run_dir}"]))
    model, config = load_model(train.folder(context), context.classes), context.config
    scale = scale_factor(model.mean_norms[config.classify.layer], config.scaling.target_norm)
    folder = files.join(extract.folder(context), "train")
    detectors = list(zip(model.detector.weights, model.detector.biases, strict=True))
    found: list[tuple[list[Array], list[Array]]] = [([], []) for _ in context.classes]
    for marker in read_markers(folder):
        for _, table in read_images(folder, marker.part, columns=[*COLUMNS, config.classify.layer]):
            features, labels = matrix(table, config.classify.layer), label_regions(table, context.classes)
            positive, negative = svm_labels(labels.overlap, labels.gt_class >= 0, labels.gt_class, config.mining.negative_iou)
            for index, (weights, bias) in enumerate(detectors):
                hard = negative[:, index] & (score_rows(features, weights, float(bias), scale) >= config.mining.evict_threshold)
                found[index][0].append(features[positive[:, index]])
                found[index][1].append(features[hard])
    for name, (positives, negatives) in zip(context.classes, found, strict=True):
        yield f"hard negatives of {name}", ((np.concatenate(positives), np.concatenate(negatives)), scale)


def _timed(fit: Callable[[], Any], seconds: list[float]) -> Any:
    start = time.perf_counter()
    found = fit()
    seconds.append(time.perf_counter() - start)
    return found
