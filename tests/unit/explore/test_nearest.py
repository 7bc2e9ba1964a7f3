import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rcnn_dist.explore.nearest import Nearest, exact_cosines, faiss_scan, numpy_scan, unit


def features(rows, size=7, seed=0, levels=None):
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((rows, size)) if levels is None else rng.integers(0, levels, (rows, size))
    return np.maximum(values, 0).astype(np.float16)


def search(query, blocks, k, per_image=None, scan=None):
    """Blocks are (features, images); what is found, as (cosine, (block, row))."""
    nearest = Nearest(query, k, per_image, scan)
    for number, (rows, images) in enumerate(blocks):
        nearest.add(rows, images, lambda row, number=number: (number, row))
    return nearest.found


def slow(query, rows, images, k, per_image=None):
    """Every cosine, then one long sort."""
    cosines = [float(a @ query / np.linalg.norm(a) / np.linalg.norm(query)) if a.any() else 0.0 for a in rows.astype(np.float64)]
    taken, found = {}, []
    for row in sorted(range(len(rows)), key=lambda row: -round(cosines[row], 12)):
        if per_image is None or taken.get(images[row], 0) < per_image:
            taken[images[row]] = taken.get(images[row], 0) + 1
            found.append((cosines[row], row))
    return found[:k]


def test_the_hand_example_ties_as_they_came():
    rows = np.array([[0, 2], [3, 3], [0, 0], [5, 0], [1, 1]], np.float16)
    found = search(np.array([1.0, 0.0]), [(rows, ["a"] * 5)], k=4)
    assert [row for _, (_, row) in found] == [3, 1, 4, 0]
    np.testing.assert_allclose([cosine for cosine, _ in found], [1, 0.5**0.5, 0.5**0.5, 0])


@given(st.integers(0, 60), st.integers(1, 12), st.sampled_from([None, 1, 3]), st.integers(1, 25), st.integers(0, 5))
def test_any_cut_into_blocks_gives_what_sorting_everything_gives(count, k, per_image, block, seed):
    rows = features(count, seed=seed)
    images = [f"image {row // block}" for row in range(count)]
    query = np.random.default_rng(seed + 100).standard_normal(7)
    cuts = [(rows[i : i + block], images[i : i + block]) for i in range(0, count, block)]
    found = search(query, cuts, k, per_image)
    expected = slow(query, rows, images, k, per_image)
    assert [number * block + row for _, (number, row) in found] == [row for _, row in expected]
    np.testing.assert_allclose([cosine for cosine, _ in found], [cosine for cosine, _ in expected], atol=1e-12)


def test_more_rows_than_one_scan_takes():
    rows = features(1000, size=32, seed=1)
    query = rows[777].astype(np.float64)
    found = search(query, [(rows, ["a"] * 1000)], k=30)
    assert found[0][1] == (0, 777)
    assert [row for _, (_, row) in found] == [row for _, row in slow(query, rows, ["a"] * 1000, 30)]


def test_no_rows_and_fewer_than_wanted():
    query = np.ones(7)
    assert search(query, [], k=3) == []
    assert search(query, [(features(0), [])], k=3) == []
    assert len(search(query, [(features(2), ["a", "b"])], k=3)) == 2


@pytest.mark.parametrize("query", [np.zeros(3), np.full(3, np.nan), np.full(3, np.inf)])
def test_a_query_without_direction_is_refused(query):
    with pytest.raises(ValueError, match="all zero or not finite"):
        Nearest(query, 1)


def test_a_scan_errs_less_than_the_candidates_margin():
    rows = features(300, size=4096, seed=2)
    query = rows[5]
    exact = exact_cosines(unit(query), rows)
    np.testing.assert_allclose(numpy_scan(query)(rows), exact, atol=1e-5)
    assert numpy_scan(query)(np.zeros((2, 4096), np.float16)).tolist() == [0, 0]


def test_faiss_finds_the_same():
    pytest.importorskip("faiss")
    rows = features(900, size=64, seed=3)
    rows[10] = 0
    images = [str(row // 90) for row in range(900)]
    blocks = [(rows[i : i + 90], images[i : i + 90]) for i in range(0, 900, 90)]
    for query in (rows[40], np.random.default_rng(4).standard_normal(64)):
        np.testing.assert_allclose(faiss_scan(query)(rows[:200]), exact_cosines(unit(query), rows[:200]), atol=1e-5)
        for per_image in (None, 2):
            by_faiss, by_numpy = (search(query, blocks, 25, per_image, scan(query)) for scan in (faiss_scan, numpy_scan))
            assert by_faiss == by_numpy
