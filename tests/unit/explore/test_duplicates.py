import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rcnn_dist.explore import duplicates
from rcnn_dist.explore.duplicates import merge_neighbours, nearest_rows, no_neighbours


def rows_of(count, seed=0, size=6, levels=4):
    """Descriptors with many ties and repetitions."""
    return np.random.default_rng(seed).integers(0, levels, (count, size)).astype(np.float32)


def slow(queries, rows, numbers, k):
    """Every distance, then one long sort."""
    found = []
    for query in queries.astype(np.float64):
        ranked = sorted(
            (float(np.sqrt(((query - row) ** 2).sum())), int(number)) for row, number in zip(rows.astype(np.float64), numbers, strict=True)
        )
        found.append((ranked + [(np.inf, -1)] * k)[:k])
    return found


def listed(found):
    pairs = zip(found.distances.tolist(), found.rows.tolist(), strict=True)
    return [list(zip(distances, rows, strict=True)) for distances, rows in pairs]


@given(st.integers(0, 5), st.integers(0, 40), st.integers(1, 4), st.integers(0, 1000))
def test_the_same_as_sorting_all_distances(queries, rows, k, seed):
    a, b, numbers = rows_of(queries, seed), rows_of(rows, seed + 1), np.arange(rows) + 100
    assert listed(nearest_rows(a, b, numbers, k)) == slow(a, b, numbers, k)


@pytest.mark.parametrize("block", [3, 7, 1000])
def test_blocks_and_shares_change_nothing(block, monkeypatch):
    a, b = (
        np.random.default_rng(3).standard_normal((50, 960)).astype(np.float32),
        np.random.default_rng(4).standard_normal((60, 960)).astype(np.float32),
    )
    b[7] = a[5]
    numbers = np.arange(60)
    whole = nearest_rows(a, b, numbers, 3)
    assert whole.distances[5, 0] == 0 and whole.rows[5, 0] == 7
    monkeypatch.setattr(duplicates, "_ROWS", block)
    monkeypatch.setattr(duplicates, "_QUERIES", block)
    shares = [nearest_rows(a, b[i:j], numbers[i:j], 3) for i, j in ((0, 20), (20, 45), (45, 60))]
    for order in ((0, 1, 2), (2, 0, 1)):
        found = no_neighbours(50, 3)
        for share in order:
            found = merge_neighbours(found, shares[share])
        assert found.distances.tobytes() == whole.distances.tobytes() and found.rows.tobytes() == whole.rows.tobytes()


def test_nothing_to_search_in_or_for():
    assert nearest_rows(rows_of(2), rows_of(0), np.arange(0), 2).rows.tolist() == [[-1, -1], [-1, -1]]
    assert nearest_rows(rows_of(0), rows_of(3), np.arange(3), 2).rows.shape == (0, 2)
