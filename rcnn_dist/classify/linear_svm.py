"""One class's linear SVM: hinge loss, weighted positives, a regularised bias."""

from dataclasses import dataclass

import numpy as np

from rcnn_dist.arrays import Array, Float32


@dataclass(frozen=True, slots=True)
class SvmParams:
    cost: float = 1e-3  # this and the next two: rcnn_train.m
    positive_weight: float = 2.0
    bias_scale: float = 10.0  # the constant feature that carries the bias
    # liblinear's own 0.1 was up to 1.5% above the minimum on the golden caches; this is at most 0.11%, in the same time
    tolerance: float = 0.01
    max_iterations: int = 10_000  # the slowest golden cache takes 180, features ten times too large 790
    seed: int = 3  # of the order in which the solver visits the rows


@dataclass(frozen=True, slots=True)
class LinearSvm:
    """score = features @ weights + bias."""

    weights: Float32[Array, "D"]
    bias: float
    objective: float


@dataclass(frozen=True, slots=True)
class SvmObjective:
    """The three terms that a fit minimises the sum of."""

    positive_loss: float
    negative_loss: float
    regularisation: float

    @property
    def total(self) -> float:
        return self.positive_loss + self.negative_loss + self.regularisation


def svm_objective(
    positives: Float32[Array, "P D"], negatives: Float32[Array, "M D"], weights: Float32[Array, "D"], bias: float, params: SvmParams
) -> SvmObjective:
    """What the detector costs on these rows, in double precision.

    cost * positive_weight * sum max(0, 1 - score) over positives, cost * sum max(0, 1 + score) over negatives, and
    (|weights|² + (bias / bias_scale)²) / 2: the bias is penalised too.

    Reference: rcnn_train.m.
    """
    w = weights.astype(np.float64)
    positive_hinge = np.maximum(0, 1 - (positives @ w + bias)).sum()
    negative_hinge = np.maximum(0, 1 + (negatives @ w + bias)).sum()
    return SvmObjective(
        float(params.cost * params.positive_weight * positive_hinge),
        float(params.cost * negative_hinge),
        float(w @ w + (bias / params.bias_scale) ** 2) / 2,
    )


def fit_svm(positives: Float32[Array, "P D"], negatives: Float32[Array, "M D"], params: SvmParams) -> LinearSvm:
    """The detector that separates a class's positives from its negatives, features scaled to mean norm 20.

    Weights and bias are rounded to single precision, as the original keeps them. The same rows give the same bits.
    Law: the objective is within 1% of its minimum.

    Raises:
        ValueError: there are no positives or no negatives.

    Paper: §2.3, App. B. Reference: rcnn_train.m (liblinear -s 3 -w1 2 -B 10).
    """
    if len(positives) == 0:
        raise ValueError("an SVM needs positives: the training set shows no object of this class")
    if len(negatives) == 0:
        raise ValueError("an SVM needs negatives: no region overlaps this class by less than negative_iou")
    from sklearn.svm import LinearSVC  # takes over a second, which every command that only reads SvmParams would wait

    solver = LinearSVC(
        loss="hinge",
        dual=True,
        C=params.cost,
        class_weight={1: params.positive_weight, -1: 1.0},
        intercept_scaling=params.bias_scale,
        tol=params.tolerance,
        max_iter=params.max_iterations,
        random_state=params.seed,
    )
    labels = np.repeat([1, -1], [len(positives), len(negatives)])
    solver.fit(np.concatenate([positives, negatives], dtype=np.float64), labels)
    weights, bias = solver.coef_[0].astype(np.float32), float(np.float32(solver.intercept_[0]))
    return LinearSvm(weights, bias, svm_objective(positives, negatives, weights, bias, params).total)
