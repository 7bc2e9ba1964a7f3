import numpy as np
import pytest

from rcnn_dist.evaluate.average_precision import average_precision, precision_recall
from rcnn_dist.evaluate.matching import Matches

VARIANTS = ("voc07", "area")


def ranked(outcomes, n_positives):
    """Matches from a string: T right, F wrong, - ignored."""
    right, wrong = (np.array([outcome == letter for outcome in outcomes], dtype=bool) for letter in "TF")
    n = len(outcomes)
    return Matches(np.arange(n), right, wrong, np.full(n, -1), n_positives)


def ap(outcomes, n_positives, variant):
    return average_precision(*precision_recall(ranked(outcomes, n_positives)), variant)


def test_by_hand():
    recall, precision = precision_recall(ranked("TFT", 2))
    np.testing.assert_allclose(recall, [0.5, 0.5, 1])
    np.testing.assert_allclose(precision, [1, 1 / 2, 2 / 3])
    assert ap("TFT", 2, "voc07") == pytest.approx(0.84848, abs=1e-5)
    assert ap("TFT", 2, "area") == pytest.approx(0.83333, abs=1e-5)


@pytest.mark.parametrize(("n_found", "levels_reached"), [(3, 3), (6, 7), (7, 8)])
def test_recall_levels_are_matlab_s(n_found, levels_reached):
    # of ten objects: 0.6 and 0.7 are reached exactly, 0.3 is not, because there the level is 3 * 0.1
    assert ap("T" * n_found, 10, "voc07") == pytest.approx(levels_reached / 11)


def slow_voc07(recall, precision):
    levels = (0, 0.1, 0.2, 3 * 0.1, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1)
    return sum(max((p for r, p in zip(recall, precision, strict=True) if r >= level and p == p), default=0) for level in levels) / 11


def slow_area(recall, precision):
    points = list(zip(recall, precision, strict=True))
    total, previous = 0.0, 0.0
    for r in sorted(set(recall)):
        total += (r - previous) * max((p for other, p in points if other >= r and p == p), default=0)
        previous = r
    return total


def random_outcomes(seed):
    generator = np.random.default_rng(seed)
    return "T" + "".join(generator.choice(list("TF-"), 40)), 45


@pytest.mark.parametrize(("variant", "slow"), [("voc07", slow_voc07), ("area", slow_area)])
def test_agrees_with_a_slow_twin(variant, slow):
    for seed in range(20):
        recall, precision = precision_recall(ranked(*random_outcomes(seed)))
        assert average_precision(recall, precision, variant) == pytest.approx(slow(recall.tolist(), precision.tolist()))


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_proportion_that_trailing_errors_leave_alone(variant):
    for seed in range(10):
        outcomes, n_positives = random_outcomes(seed)
        value = ap(outcomes, n_positives, variant)
        assert 0 < value < 1
        assert ap(outcomes + "FFF", n_positives, variant) == pytest.approx(value)
        assert ap("-" + outcomes, n_positives, variant) == pytest.approx(value)
    assert ap("TTTT", 4, variant) == pytest.approx(1)
    assert ap("FFFF", 4, variant) == 0


def test_recall_never_falls():
    recall, _ = precision_recall(ranked(*random_outcomes(3)))
    assert (np.diff(recall) >= 0).all()


@pytest.mark.parametrize(
    ("outcomes", "n_positives", "voc07", "area"), [("--", 3, np.nan, 0), ("FF", 0, 0, np.nan), ("", 5, 0, 0), ("", 0, 0, 0)]
)
def test_nothing_to_count(outcomes, n_positives, voc07, area):
    assert ap(outcomes, n_positives, "voc07") == pytest.approx(voc07, nan_ok=True)
    assert ap(outcomes, n_positives, "area") == pytest.approx(area, nan_ok=True)
