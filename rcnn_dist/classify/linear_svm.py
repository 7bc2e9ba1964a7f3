"""One class's linear SVM: hinge loss, weighted positives, a regularised bias."""

import warnings
from dataclasses import dataclass

import numpy as np

from rcnn_dist.arrays import Array, Float16, Float32, Float64
from rcnn_dist.classify import dual_descent as descent
from rcnn_dist.compiled import as_numbers

__all__ = ["LinearSvm", "SvmObjective", "SvmParams", "fit_svm", "score_rows", "svm_objective"]


@dataclass(frozen=True, slots=True)
class SvmParams:
    """What one class's detector is fitted with; the defaults are the paper's."""

    cost: float = 1e-3  # this and the next two: rcnn_train.m
    positive_weight: float = 2.0
    bias_scale: float = 10.0  # the constant feature that carries the bias
    tolerance: float = 1e-3  # the objective ends at most this share of itself above its minimum
    max_epochs: int = 10_000  # the slowest golden cache takes 29, features ten times too large 1111
    seed: int = 3  # of the order in which the solver visits the rows


@dataclass(frozen=True, slots=True)
class SvmObjective:
    """The three terms that a fit minimises the sum of."""

    positive_loss: float
    negative_loss: float
    regularisation: float

    @property
    def total(self) -> float:
        return self.positive_loss + self.negative_loss + self.regularisation


@dataclass(frozen=True, slots=True)
class LinearSvm:
    """score = scale * features @ weights + bias, with the scale that it was fitted with."""

    weights: Float32[Array, "D"]
    bias: float
    objective: SvmObjective  # before weights and bias were rounded
    gap: float  # at most so much above the minimum the objective lies
    multipliers: Float64[Array, "rows"]  # of the positives, then of the negatives: where a later fit may start


def score_rows(
    features: Float16[Array, "R D"] | Float32[Array, "R D"], weights: Float32[Array, "D"], bias: float, scale: float = 1.0
) -> Float32[Array, "R"]:
    """Scores of features that are still to be scaled, summed in double precision, without a scaled copy."""
    return _scores(features, weights, bias, scale).astype(np.float32)


def svm_objective(
    positives: Float16[Array, "P D"] | Float32[Array, "P D"],
    negatives: Float16[Array, "M D"] | Float32[Array, "M D"],
    weights: Float32[Array, "D"],
    bias: float,
    params: SvmParams,
    scale: float = 1.0,
) -> SvmObjective:
    """What the detector costs on these rows, in double precision.

    cost * positive_weight * sum max(0, 1 - score) over positives, cost * sum max(0, 1 + score) over negatives, and
    (|weights|² + (bias / bias_scale)²) / 2: the bias is penalised too.

    Reference: rcnn_train.m.
    """
    positive_hinge = np.maximum(0, 1 - _scores(positives, weights, bias, scale)).sum()
    negative_hinge = np.maximum(0, 1 + _scores(negatives, weights, bias, scale)).sum()
    w = weights.astype(np.float64)
    return SvmObjective(
        float(params.cost * params.positive_weight * positive_hinge),
        float(params.cost * negative_hinge),
        float(w @ w + (bias / params.bias_scale) ** 2) / 2,
    )


def fit_svm(
    positives: Float16[Array, "P D"] | Float32[Array, "P D"],
    negatives: Float16[Array, "M D"] | Float32[Array, "M D"],
    params: SvmParams,
    scale: float = 1.0,
    start: Float64[Array, "rows"] | None = None,
) -> LinearSvm:
    """The detector that separates a class's positives from its negatives, features scaled to mean norm 20.

    Args:
        scale: what the features are still to be multiplied by. Float16 rows stay as they are stored: no copy of them is made.
        start: multipliers of an earlier fit, 0 for rows that it did not have; it ends sooner, within the same tolerance.

    Weights and bias are rounded to single precision, as the original keeps them. The same rows give the same bits.
    Law: the objective is at most `tolerance` of itself above its minimum.

    Raises:
        ValueError: there are no positives or no negatives, or a feature is not finite.

    Paper: §2.3, App. B. Reference: rcnn_train.m (liblinear -s 3 -w1 2 -B 10).

    Example:
        >>> rows = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
        >>> positives, negatives = rows[:20] + 3, rows[20:]
        >>> detector = fit_svm(positives, negatives, SvmParams(cost=1.0))
        >>> bool((positives @ detector.weights + detector.bias > 0).all())
        True
    """
    if len(positives) == 0:
        raise ValueError("an SVM needs positives: the training set shows no object of this class")
    if len(negatives) == 0:
        raise ValueError("an SVM needs negatives: no region overlaps this class by less than negative_iou")
    costs = params.cost * params.positive_weight, params.cost
    rows = as_numbers(positives), as_numbers(negatives)
    problem = descent.DualProblem(*rows, scale, params.bias_scale, *costs)
    start = np.zeros(len(positives) + len(negatives)) if start is None else start
    solution = descent.solve(problem, start, params.seed, params.tolerance, params.max_epochs)
    if not np.isfinite(solution.gap):
        raise ValueError("a feature is not finite: the network's output overflows float16; check its weights")
    if solution.gap > params.tolerance * solution.objective:
        above = solution.gap / solution.objective
        message = f"the SVM may lie {above:.1%} above its minimum after {solution.epochs} epochs: raise classify.max_epochs"
        warnings.warn(message, RuntimeWarning, stacklevel=2)
    weights, bias = solution.weights[:-1].astype(np.float32), float(np.float32(solution.weights[-1] * params.bias_scale))
    objective = SvmObjective(solution.positive_loss, solution.negative_loss, solution.regularisation)
    return LinearSvm(weights, bias, objective, float(solution.gap), solution.multipliers)


def _scores(features: Array, weights: Float32[Array, "D"], bias: float, scale: float) -> Float64[Array, "R"]:
    return descent.score_rows(as_numbers(features), weights.astype(np.float64), bias, scale)
