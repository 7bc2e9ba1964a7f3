"""Linear regressors of all classes at once, insensitive to errors under epsilon: |w|²/2 + cost * sum(max(0, |y - w.x| - epsilon)²).

Newton's method on this primal objective. A class's curvature comes from its active rows alone (those with an error over epsilon), which are
few, because most regions overlap no object of it; so one step costs one pass over all rows, shared by the classes, and conjugate gradients
over the active rows of each. The gradient g bounds what is left: objective - minimum <= |g|²/2, which is the duality gap at the
multipliers 2 * cost * max(0, |y - w.x| - epsilon).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from rcnn_dist.arrays import Array, Float32, Float64
from rcnn_dist.compiled import as_numbers, as_single, compiled
from rcnn_dist.segment.params import SvrParams

_ROWS = 256  # converted to float32 at a time, so that the product finds them in the processor's cache
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
        found, done = np.empty((len(self), len(weights))), 0
        for part in _in_single(self._blocks):
            found[done : done + len(part)] = part @ columns
            done += len(part)
        return found

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
        return np.concatenate([np.empty(0), *(part @ scaled for part in _in_single([self._rows]))])

    def _transposed(self, vector: Float64[Array, "A"]) -> Float64[Array, "D"]:
        total, done = np.zeros(len(self._scale)), 0
        for part in _in_single([self._rows]):
            total += vector[done : done + len(part)].astype(np.float32) @ part
            done += len(part)
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


def _in_single(blocks: Sequence[Array]) -> Iterator[Array]:
    """The rows of blocks in float32, a few at a time; those of float16 in one buffer, which the next ones overwrite."""
    for block in blocks:
        buffer = np.empty((_ROWS, block.shape[1]), np.float32)
        for start in range(0, len(block), _ROWS):
            part = block[start : start + _ROWS]
            if part.dtype != np.float32:
                _convert(as_numbers(part), buffer)
                part = buffer[: len(part)]
            yield part


@compiled
def _convert(rows: Array, into: Array) -> None:
    """Rows as float32 into the first rows of a buffer, converted by the processor, which NumPy does more slowly."""
    for i in range(len(rows)):
        for k in range(rows.shape[1]):
            into[i, k] = as_single(rows[i, k])
