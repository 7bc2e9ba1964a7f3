import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rcnn_dist.arrays import Array
from rcnn_dist.proposals.graph_segmentation import RegionGraph, coarsen, segment
from rcnn_dist.proposals.pixel_graph import BUCKET_WEIGHTS, smooth, sorted_edges

planes_of_bytes = st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(lambda size: arrays(np.uint8, (3, *size)))
STEPS = {4: [(0, 1), (1, 0)], 8: [(0, 1), (1, 0), (1, 1), (1, -1)]}


def slow_edges(planes: Array, neighbours: int) -> list[tuple[int, int, np.float32]]:
    """(pixel, pixel, weight) by weight: every pair of neighbours, its distance rounded to the middle of its bucket."""
    _, height, width = planes.shape
    found = []
    for y in range(height):
        for x in range(width):
            for dy, dx in STEPS[neighbours]:
                if y + dy < height and 0 <= x + dx < width:
                    u, v, w = planes[:, y, x] - planes[:, y + dy, x + dx]
                    square = u * u + v * v + w * w
                    bucket = max((int(square.view(np.int32)) >> 14) - (int(np.float32(2**-10).view(np.int32)) >> 14), 0)
                    found.append((bucket, y * width + x, (y + dy) * width + x + dx))
    found.sort(key=lambda edge: edge[0])
    return [(p, q, BUCKET_WEIGHTS[bucket]) for bucket, p, q in found]


def slow_merge(
    sizes: list[int], inner: list[np.float32], edges: list[tuple[int, int, np.float32]], k: float, min_size: int
) -> tuple[list[int], list[int], list[np.float32], list[tuple[int, int, np.float32]]]:
    """Algorithm 1 of Felzenszwalb and Huttenlocher on sets of nodes: labels, sizes, inner weights, edges between different regions."""
    k = np.float32(k)
    owner = [{"nodes": {i}, "size": size, "inner": weight} for i, (size, weight) in enumerate(zip(sizes, inner, strict=True))]

    def join(a: dict, b: dict, weight: np.float32 | None) -> None:
        if a["size"] < b["size"]:
            a, b = b, a
        a["nodes"] |= b["nodes"]
        a["size"] += b["size"]
        if weight is not None:
            a["inner"] = weight
        for node in b["nodes"]:
            owner[node] = a

    def limit(component: dict) -> np.float32:
        return component["inner"] + k / np.float32(component["size"])

    for p, q, weight in edges:
        a, b = owner[p], owner[q]
        if a is not b and weight <= min(limit(a), limit(b)):
            join(a, b, weight)
    for p, q, _ in edges:
        a, b = owner[p], owner[q]
        if a is not b and min(a["size"], b["size"]) < min_size:
            join(a, b, None)
    regions: list[dict] = []
    for component in owner:
        if not any(component is seen for seen in regions):
            regions.append(component)
    labels = [next(i for i, region in enumerate(regions) if region is component) for component in owner]
    between = [(labels[p], labels[q], w) for p, q, w in edges if labels[p] != labels[q]]
    return labels, [r["size"] for r in regions], [r["inner"] for r in regions], between


def between_regions(graph: RegionGraph) -> list[tuple[int, int, np.float32]]:
    """The graph's edges as pairs of its regions."""
    ends = graph.region[graph.edges.astype(np.int64)].reshape(-1, 2).tolist()
    return [(a, b, w) for (a, b), w in zip(ends, graph.weights, strict=True) if a != b]


def lightest(edges: list[tuple[int, int, np.float32]]) -> list[tuple[int, int, np.float32]]:
    """The first edge of each pair, the smaller number first."""
    first: dict[tuple[int, int], np.float32] = {}
    for a, b, weight in edges:
        first.setdefault((min(a, b), max(a, b)), weight)
    return [(a, b, weight) for (a, b), weight in first.items()]


def prepared(planes: Array, neighbours: int) -> tuple[Array, tuple[Array, Array]]:
    smoothed = smooth(planes, 0.8)
    return smoothed, sorted_edges(smoothed, neighbours)


def test_two_flat_halves_are_two_regions() -> None:
    planes = np.zeros((3, 4, 6), np.uint8)
    planes[:, :, 3:] = 200
    edges, ends = sorted_edges(planes.astype(np.float32), 4)
    labels, graph = segment(edges, ends, (4, 6), 10.0, 1)
    assert labels.tolist() == [[0, 0, 0, 1, 1, 1]] * 4
    assert graph.sizes.tolist() == [12, 12]
    assert graph.inner[0] == BUCKET_WEIGHTS[0]
    assert [(a, b) for a, b, _ in between_regions(graph)] == [(0, 1)] * 4
    assert graph.weights == pytest.approx(np.full(4, 200 * 3**0.5), rel=1e-3)


def test_a_flat_image_is_one_region() -> None:
    edges, ends = sorted_edges(np.full((3, 5, 5), 9, np.float32), 8)
    labels, graph = segment(edges, ends, (5, 5), 1.0, 1)
    assert (labels == 0).all()
    assert graph.edges.shape == (0, 2)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1)])
@pytest.mark.parametrize("neighbours", [4, 8])
def test_thin_images_have_only_the_edges_they_can_have(shape: tuple[int, int], neighbours: int) -> None:
    planes = np.random.default_rng(3).integers(0, 256, (3, *shape), dtype=np.uint8)
    _, (edges, ends) = prepared(planes, neighbours)
    assert ends[-1] == max(shape) - 1
    labels, graph = segment(edges, ends, shape, 20.0, 1)
    assert graph.sizes.sum() == labels.size == max(shape)


@given(planes_of_bytes, st.floats(0.3, 2.5))
@settings(deadline=None)
def test_smoothing_is_the_weighted_mean_of_the_square_around(planes: Array, sigma: float) -> None:
    radius = max(1, int(np.ceil(3 * sigma)))
    line = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    padded = np.pad(planes.astype(np.float64), ((0, 0), (radius, radius), (radius, radius)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (len(line), len(line)), axis=(1, 2))
    expected = np.einsum("chwij,i,j->chw", windows, line, line) / line.sum() ** 2
    assert smooth(planes, sigma) == pytest.approx(expected, abs=2e-3)


@given(planes_of_bytes, st.sampled_from([4, 8]))
@settings(deadline=None)
def test_edges_come_by_weight_and_then_in_raster_order(planes: Array, neighbours: int) -> None:
    smoothed, (edges, ends) = prepared(planes, neighbours)
    width, directions = planes.shape[2], neighbours // 2
    pixel = edges[: ends[-1]] // directions
    dy, dx = np.array(STEPS[neighbours])[edges[: ends[-1]] % directions].T
    weights = np.repeat(BUCKET_WEIGHTS, np.diff(ends, prepend=0))
    assert list(zip(pixel, pixel + dy * width + dx, weights, strict=True)) == slow_edges(smoothed, neighbours)


@given(planes_of_bytes, st.sampled_from([4, 8]))
@settings(deadline=None)
def test_the_weight_of_a_bucket_is_within_a_thousandth_of_the_distance(planes: Array, neighbours: int) -> None:
    smoothed = smooth(planes, 0.8)
    flat = smoothed.reshape(3, -1).astype(np.float64)
    for p, q, weight in slow_edges(smoothed, neighbours):
        distance = np.linalg.norm(flat[:, p] - flat[:, q])
        assert weight == pytest.approx(distance, rel=1e-3, abs=2**-4.9)


@given(planes_of_bytes, st.sampled_from([4, 8]), st.floats(0.5, 500), st.integers(1, 20))
@settings(max_examples=200, deadline=None)
def test_segment_equals_the_algorithm_on_sets(planes: Array, neighbours: int, k: float, min_size: int) -> None:
    smoothed, (edges, ends) = prepared(planes, neighbours)
    labels, graph = segment(edges, ends, planes.shape[1:], k, min_size)
    pixels = labels.size
    expected = slow_merge([1] * pixels, [np.float32(0)] * pixels, slow_edges(smoothed, neighbours), k, min_size)
    assert labels.ravel().tolist() == expected[0]
    assert (graph.sizes.tolist(), graph.inner.tolist()) == expected[1:3]
    assert between_regions(graph) == expected[3]


@given(planes_of_bytes, st.floats(0.5, 100), st.floats(1, 20), st.integers(1, 20))
@settings(max_examples=200, deadline=None)
def test_coarsen_equals_the_algorithm_on_sets_of_regions(planes: Array, k: float, factor: float, min_size: int) -> None:
    _, (edges, ends) = prepared(planes, 8)
    _, graph = segment(edges, ends, planes.shape[1:], k, 2)
    number, coarse = coarsen(graph, k * factor, min_size)
    expected = slow_merge(graph.sizes.tolist(), list(graph.inner), between_regions(graph), k * factor, min_size)
    assert number.tolist() == expected[0]
    assert (coarse.sizes.tolist(), coarse.inner.tolist()) == expected[1:3]
    assert lightest(between_regions(coarse)) == lightest(expected[3])


def test_coarsening_one_region_leaves_it() -> None:
    pixels = np.zeros(9, np.int32)
    alone = RegionGraph(np.array([9], np.int32), np.zeros(1, np.float32), pixels, np.empty((0, 2), np.uint32), np.empty(0, np.float32))
    number, coarse = coarsen(alone, 100.0, 50)
    assert number.tolist() == [0]
    assert coarse.sizes.tolist() == [9]


@given(planes_of_bytes, st.integers(2, 30))
@settings(deadline=None)
def test_regions_partition_the_image_are_connected_and_large_enough(planes: Array, min_size: int) -> None:
    _, (edges, ends) = prepared(planes, 4)
    labels, graph = segment(edges, ends, planes.shape[1:], 5.0, min_size)
    assert np.bincount(labels.ravel()).tolist() == graph.sizes.tolist()
    assert len(graph.sizes) == 1 or graph.sizes.min() >= min_size
    for region in range(len(graph.sizes)):
        todo = [tuple(np.argwhere(labels == region)[0])]
        seen = set(todo)
        while todo:
            y, x = todo.pop()
            for near in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                inside = 0 <= near[0] < labels.shape[0] and 0 <= near[1] < labels.shape[1]
                if inside and near not in seen and labels[near] == region:
                    seen.add(near)
                    todo.append(near)
        assert len(seen) == graph.sizes[region]


def test_more_edges_than_one_block_still_equal_the_algorithm_on_sets() -> None:
    planes = np.random.default_rng(7).integers(0, 256, (3, 18, 23), dtype=np.uint8)
    smoothed, (edges, ends) = prepared(planes, 8)
    labels, graph = segment(edges, ends, (18, 23), 60.0, 6)
    expected = slow_merge([1] * 414, [np.float32(0)] * 414, slow_edges(smoothed, 8), 60.0, 6)
    assert labels.ravel().tolist() == expected[0]
    assert 1 < len(graph.sizes) < 414
