"""Dual coordinate descent for a linear SVM with hinge loss, as compiled kernels over rows that are never copied.

The primal is |w|²/2 + sum cost_i * max(0, 1 - m_i) with margins m_i = sign_i * (w @ x_i); its dual has one multiplier a_i in
[0, cost_i] per row, w = sum a_i * sign_i * x_i. A step moves one multiplier to its best value, exactly. The duality gap
sum (cost_i - a_i) * max(0, 1 - m_i) + a_i * max(0, m_i - 1) bounds how far the objective lies above its minimum; every term is
what one row still has to give. Rows whose multiplier stays at a bound leave the active set (shrinking) until the next look at all rows.

Rows are float16 as stored or float32; products and sums are in double precision, so weights do not drift over many steps.

Reference: Hsieh et al. 2008, "A dual coordinate descent method for large-scale linear SVM".
"""

from typing import Any, NamedTuple

import numpy as np

from rcnn_dist.arrays import Array, Float64
from rcnn_dist.compiled import as_single, compiled, compiled_sum

_LOOKAHEAD = 0.1  # a look at all rows keeps those active whose margin is at most this far on the right side of 1
_SAMPLE = 2500  # about so many negatives, evenly spread, does a cold start begin with
_EARLY = 0.1  # share of the last exact gap to which the active rows are brought before the next look


class DualProblem(NamedTuple):
    """Positives, then negatives; each row is multiplied by `scale` and has a constant feature `bias_scale`, which carries the bias."""

    positives: Array  # float16 bits (uint16) or float32 [P, D]
    negatives: Array  # the same [M, D]
    scale: float
    bias_scale: float
    positive_cost: float
    negative_cost: float


class DualSolution(NamedTuple):
    """weights [D + 1]: the last one belongs to the bias feature. Law: gap <= tolerance * objective, where max_epochs allowed it."""

    weights: Float64[Array, "D+1"]
    multipliers: Float64[Array, "rows"]
    positive_loss: float
    negative_loss: float
    regularisation: float
    gap: float
    epochs: int

    @property
    def objective(self) -> float:
        return self.positive_loss + self.negative_loss + self.regularisation


@compiled_sum
def _dot(row: Array, weights: Array) -> float:
    total = 0.0
    for k in range(row.size):
        total += np.float64(as_single(row[k])) * weights[k]
    return total


@compiled_sum
def _squared_norm(row: Array) -> float:
    total = 0.0
    for k in range(row.size):
        value = np.float64(as_single(row[k]))
        total += value * value
    return total


@compiled
def _add(weights: Array, factor: float, row: Array) -> None:
    for k in range(row.size):
        weights[k] += factor * np.float64(as_single(row[k]))


@compiled
def score_rows(rows: Array, weights: Array, bias: float, scale: float) -> Array:
    """float64 [R] scores scale * (row @ weights) + bias."""
    scores = np.empty(len(rows))
    for i in range(len(rows)):
        scores[i] = scale * _dot(rows[i], weights) + bias
    return scores


@compiled
def _row(problem: DualProblem, i: int) -> Any:
    """Row i, its sign, its cost."""
    count = len(problem.positives)
    if i < count:
        return problem.positives[i], 1.0, problem.positive_cost
    return problem.negatives[i - count], -1.0, problem.negative_cost


@compiled
def _violation(problem: DualProblem, weights: Array, i: int) -> float:
    """margin - 1: the slope of the dual along multiplier i."""
    row, sign, _ = _row(problem, i)
    return sign * (problem.scale * _dot(row, weights) + problem.bias_scale * weights[row.size]) - 1.0


@compiled
def _row_gap(slope: float, multiplier: float, cost: float) -> float:
    return (multiplier - cost) * slope if slope < 0.0 else multiplier * slope


@compiled
def _look_at_all(problem: DualProblem, weights: Array, multipliers: Array, active: Array) -> Any:
    """Exact loss of both kinds of rows, and gap; writes the rows that may still move to `active`, and returns how many they are."""
    positive_loss, negative_loss, gap, count = 0.0, 0.0, 0.0, 0
    for i in range(multipliers.size):
        slope, cost = _violation(problem, weights, i), _row(problem, i)[2]
        if i < len(problem.positives):
            positive_loss += cost * max(0.0, -slope)
        else:
            negative_loss += cost * max(0.0, -slope)
        gap += _row_gap(slope, multipliers[i], cost)
        if not (multipliers[i] == 0.0 and slope > _LOOKAHEAD) and not (multipliers[i] == cost and slope < -_LOOKAHEAD):
            active[count] = i
            count += 1
    return positive_loss, negative_loss, gap, count


@compiled
def _epoch(problem: DualProblem, weights: Array, multipliers: Array, curvatures: Array, active: Array, low: float, high: float) -> Any:
    """One step for each active row, in the order given.

    A row at a bound whose slope lies outside (low, high), the slopes that the epoch before has met, leaves the active set.
    Returns the number of rows that stay (moved to the front), their gap as met on the way, and the slopes for the next epoch.
    """
    count, at, gap, lowest, highest = active.size, 0, 0.0, 0.0, 0.0
    while at < count:
        i = active[at]
        row, sign, cost = _row(problem, i)
        slope, before = _violation(problem, weights, i), multipliers[i]
        gap += _row_gap(slope, before, cost)
        if (before == 0.0 and slope > high) or (before == cost and slope < low):
            count -= 1
            active[at], active[count] = active[count], i
            continue
        if curvatures[i] == 0.0:  # most rows never come here
            curvatures[i] = problem.scale**2 * _squared_norm(row) + problem.bias_scale**2
        multipliers[i] = min(max(before - slope / curvatures[i], 0.0), cost)
        if multipliers[i] != before:
            lowest, highest = min(lowest, slope), max(highest, slope)
            factor = sign * (multipliers[i] - before)
            _add(weights, factor * problem.scale, row)
            weights[row.size] += factor * problem.bias_scale
        at += 1
    return count, gap, (lowest if lowest < 0.0 else -np.inf), (highest if highest > 0.0 else np.inf)


@compiled
def _weights_of(problem: DualProblem, multipliers: Array) -> Any:
    """The weights that belong to the multipliers."""
    weights = np.zeros(problem.negatives.shape[1] + 1)
    for i in range(multipliers.size):
        if multipliers[i] != 0.0:
            row, sign, _ = _row(problem, i)
            _add(weights, sign * multipliers[i] * problem.scale, row)
            weights[row.size] += sign * multipliers[i] * problem.bias_scale
    return weights


@compiled
def descend(problem: DualProblem, multipliers: Array, generator: np.random.Generator, tolerance: float, max_epochs: int) -> Any:
    """Moves the multipliers, in place, until the gap is at most tolerance * objective; a DualSolution without them."""
    weights, curvatures = _weights_of(problem, multipliers), np.zeros(multipliers.size)  # squared lengths with the bias feature, once met
    active, epochs = np.arange(multipliers.size), 0
    if np.any(multipliers):
        positive_loss, negative_loss, gap, count = _look_at_all(problem, weights, multipliers, active)
    else:  # every margin is 0, so the gap is the objective; most negatives will never matter, so a sample of them begins
        n_positives, n_negatives = len(problem.positives), len(problem.negatives)
        positive_loss, negative_loss = n_positives * problem.positive_cost, n_negatives * problem.negative_cost
        gap = positive_loss + negative_loss
        sample = np.arange(n_positives, active.size, max(1, n_negatives // _SAMPLE))
        active[n_positives : n_positives + sample.size] = sample
        count = n_positives + sample.size
    regularisation = 0.5 * np.sum(weights * weights)
    objective = positive_loss + negative_loss + regularisation
    while gap > tolerance * objective and epochs < max_epochs:
        wanted = max(_EARLY * gap, 0.5 * tolerance * objective)
        low, high = -np.inf, np.inf
        while count and epochs < max_epochs:
            generator.shuffle(active[:count])
            count, active_gap, low, high = _epoch(problem, weights, multipliers, curvatures, active[:count], low, high)
            epochs += 1
            if active_gap <= wanted:
                break
        positive_loss, negative_loss, gap, count = _look_at_all(problem, weights, multipliers, active)
        regularisation = 0.5 * np.sum(weights * weights)
        objective = positive_loss + negative_loss + regularisation
    return weights, positive_loss, negative_loss, regularisation, gap, epochs


def solve(problem: DualProblem, start: Float64[Array, "rows"], seed: int, tolerance: float, max_epochs: int) -> DualSolution:
    """The minimum, to a relative tolerance, from zeros or (sooner) from the multipliers of a similar problem.

    The same problem, start and seed give the same bits on one kind of processor.
    """
    costs = np.repeat([problem.positive_cost, problem.negative_cost], [len(problem.positives), len(problem.negatives)])
    multipliers = np.clip(start, 0, costs)
    weights, *figures = descend(problem, multipliers, np.random.default_rng(seed), tolerance, max_epochs)
    return DualSolution(weights, multipliers, *figures)
