"""Linear regressors of all classes at once, insensitive to errors under epsilon: |w|²/2 + cost * sum(max(0, |y - w.x| - epsilon)²).

Newton's method on this primal objective. A class's curvature comes from its active rows alone (those with an error over epsilon), which are
few, because most regions overlap no object of it; so one step costs one pass over all rows, shared by the classes, and conjugate gradients
over the active rows of each. The gradient g bounds what is left: objective - minimum <= |g|²/2, which is the duality gap at the
multipliers 2 * cost * max(0, |y - w.x| - epsilon).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rcnn_dist.arrays import Array, Float32, Float64
from rcnn_dist.segment.params import SvrParams

_ROWS = 2048  # converted to float32 at a time
_IN_FLOAT32 = 1 << 28  # active values that are kept in single precision, 1 GB; more stay as stored
_MOST_CG_STEPS = 250


@dataclass(frozen=True, slots=True)
class SvrFit:
    """What the solver found; `gaps` bound the distance of each objective to its minimum."""

    weights: Float64[Array, "C D"]
    objectives: Float64[Array, "C"]
    gaps: Float64[Array, "C"]
    steps: int


class FeatureRows:
    """Rows of features in blocks (mapped files, say), each a float16 or float32 [R_i, D], with one factor per dimension."""

    def __init__(self, blocks: Sequence[Array], scale: Float64[Array, "D"]) -> None:
        self._blocks = [block for block in blocks if len(block)]
        self._ends = np.cumsum([len(block) for block in self._blocks], dtype=np.int64)
        self.scale = scale

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def products(self, weights: Float64[Array, "C D"]) -> Float64[Array, "N C"]:
        """Every row's product with every vector of weights."""
        columns = np.ascontiguousarray((weights * self.scale).T, dtype=np.float32)
        parts = [_single(block[i : i + _ROWS]) @ columns for block in self._blocks for i in range(0, len(block), _ROWS)]
        return np.concatenate([np.empty((0, len(weights)), np.float32), *parts]).astype(np.float64)

    def picked(self, rows: Array) -> Array:
        """Some rows, ascending, unscaled: in float32 where they are not too many."""
        edges: Array = np.concatenate([np.zeros(1, np.int64), self._ends])
        bounds: Array = np.searchsorted(rows, edges)
        dtype = np.float32 if len(rows) * len(self.scale) <= _IN_FLOAT32 else np.float16
        found = np.empty((len(rows), len(self.scale)), dtype)
        for block, start, low, high in zip(self._blocks, edges[:-1], bounds[:-1], bounds[1:], strict=True):
            found[low:high] = block[rows[low:high] - start]
        return found


def fit_svrs(rows: FeatureRows, targets: Float32[Array, "N C"], params: SvrParams) -> SvrFit:
    """One regressor per column of `targets`, each within `tolerance` of its minimum unless `max_steps` end it first.

    Law: a class without a target over epsilon has weights 0. Memory: 16 bytes per row and class beside the rows' own, 1 GB of active rows.

    Paper: §5. Reference: liblinear -s 12 (fact sheet §15), of which scikit-learn's LinearSVR is the oracle of the tests.
    """
    weights = np.zeros((targets.shape[1], len(rows.scale)))
    residuals = targets.astype(np.float64)
    objectives, gaps = np.zeros(len(weights)), np.zeros(len(weights))
    for step in range(params.max_steps + 1):
        moves = np.zeros_like(weights)
        for c in range(len(weights)):
            problem = _Active(rows, residuals[:, c], params)
            gradient = problem.gradient(weights[c])
            objectives[c] = problem.loss + weights[c] @ weights[c] / 2
            gaps[c] = gradient @ gradient / 2
            if gaps[c] > params.tolerance * max(objectives[c] - gaps[c], 0):
                moves[c] = problem.newton_move(gradient)
        moving = [c for c in range(len(weights)) if moves[c].any()]
        if not moving or step == params.max_steps:
            return SvrFit(weights, objectives, gaps, step)
        changes = rows.products(moves)
        for c in moving:
            length = _line_search(weights[c], moves[c], residuals[:, c], changes[:, c], params)
            weights[c] += length * moves[c]
            residuals[:, c] -= length * changes[:, c]
    raise AssertionError("the loop ends by itself")


class _Active:
    """The rows of one class whose error is over epsilon, at its present weights."""

    def __init__(self, rows: FeatureRows, residuals: Float64[Array, "N"], params: SvrParams) -> None:
        excess = np.abs(residuals) - params.epsilon
        active = np.flatnonzero(excess > 0)
        self._scale, self._curvature = rows.scale, 2 * params.cost
        self._rows = rows.picked(active)
        self._pull = self._curvature * np.sign(residuals[active]) * excess[active]
        self.loss = params.cost * float((excess[active] ** 2).sum())

    def gradient(self, weights: Float64[Array, "D"]) -> Float64[Array, "D"]:
        return weights - self._transposed(self._pull)

    def newton_move(self, gradient: Float64[Array, "D"]) -> Float64[Array, "D"]:
        """-(I + 2 cost X'X)^-1 g by conjugate gradients, to a hundredth of the gradient."""
        move, residual = np.zeros_like(gradient), -gradient
        direction, size = residual.copy(), residual @ residual
        enough = 1e-4 * size
        for _ in range(_MOST_CG_STEPS):
            if size <= enough:
                break
            curved = direction + self._curvature * self._transposed(self._product(direction))
            length = size / (direction @ curved)
            move += length * direction
            residual -= length * curved
            size, before = residual @ residual, size
            direction = residual + size / before * direction
        return move

    def _product(self, vector: Float64[Array, "D"]) -> Float64[Array, "A"]:
        scaled = (vector * self._scale).astype(np.float32)
        parts = [_single(self._rows[i : i + _ROWS]) @ scaled for i in range(0, len(self._rows), _ROWS)]
        return np.concatenate([np.empty(0, np.float32), *parts]).astype(np.float64)

    def _transposed(self, vector: Float64[Array, "A"]) -> Float64[Array, "D"]:
        total = np.zeros(len(self._scale))
        for i in range(0, len(self._rows), _ROWS):
            total += vector[i : i + _ROWS].astype(np.float32) @ _single(self._rows[i : i + _ROWS])
        return total * self._scale


def _line_search(
    weights: Float64[Array, "D"], move: Float64[Array, "D"], residuals: Float64[Array, "N"], changes: Float64[Array, "N"], params: SvrParams
) -> float:
    """Where the objective along a move has hardly any slope left; the slope grows with the length, so it is bracketed and halved."""

    def slope(length: float) -> float:
        left = residuals - length * changes
        excess = np.maximum(np.abs(left) - params.epsilon, 0)
        return float(weights @ move + length * (move @ move) - 2 * params.cost * (np.sign(left) * excess) @ changes)

    enough = 0.05 * abs(slope(0.0))
    low, high, length = 0.0, np.inf, 1.0
    for _ in range(60):
        found = slope(length)
        if abs(found) <= enough:
            break
        low, high = (length, high) if found < 0 else (low, length)
        length = 2 * length if np.isinf(high) else (low + high) / 2
    return length


def _single(rows: Array) -> Array:
    return np.ascontiguousarray(rows, dtype=np.float32)
