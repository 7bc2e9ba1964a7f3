import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rcnn_dist.arrays import Array
from rcnn_dist.proposals.descriptors import adjacent_pairs, describe, pixel_codes
from rcnn_dist.proposals.grouping import Likeness, Neighbours, group, neighbours
from rcnn_dist.proposals.pixel_graph import smooth

F = np.float32
ALL = Likeness(1.0, 1.0, 1.0, 1.0)
strategies = st.sampled_from(
    [ALL, Likeness(0.0, 1.0, 1.0, 1.0), Likeness(1.0, 0.125, 1.0, 1.0), Likeness(0.0, 0.0, 0.0, 1.0), Likeness(0.0, 0.0, 1.0, 0.0)]
)


def start_of(labels: Array, seed: int) -> Neighbours:
    planes = np.random.default_rng(seed).integers(0, 256, (3, *labels.shape), dtype=np.uint8)
    return neighbours(describe(labels, pixel_codes(planes, smooth(planes, 0.8)), int(labels.max()) + 1), adjacent_pairs(labels))


def random_labels(seed: int, regions: int, shape: tuple[int, int]) -> Array:
    """Every pixel belongs to the nearest of a few random points."""
    points = np.random.default_rng(seed).uniform(0, shape, (regions, 2))
    grid = np.stack(np.mgrid[: shape[0], : shape[1]], axis=-1)
    nearest = ((grid[:, :, None] - points) ** 2).sum(axis=-1).argmin(axis=-1)
    return np.unique(nearest, return_inverse=True)[1].reshape(shape).astype(np.int32)


def slow_similarity(a: dict, b: dict, weights: list[np.float32], area: np.float32) -> int:
    colour, texture = (sum(min(int(u), int(v)) for u, v in zip(a[name], b[name], strict=True)) for name in ("colour", "texture"))
    box = union(a["box"], b["box"])
    hull = F(box[2] - box[0]) * F(box[3] - box[1])
    pixels = F(a["size"] + b["size"])
    histograms = (weights[0] * F(colour if weights[0] > 0 else 0) + weights[1] * F(texture)) / F(65535)
    total = histograms + weights[2] * (F(1) - pixels / area) + weights[3] * (F(1) - (hull - pixels) / area)
    return int(total * F(2**24))


def union(a: list[int], b: list[int]) -> list[int]:
    return [min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])]


def blend(a: list[int], b: list[int], share: int) -> list[int]:
    return [u + ((v - u) * share >> 15) for u, v in zip(a, b, strict=True)]


def slow_group(start: Neighbours, likeness: Likeness) -> tuple[list[list[int]], list[list[int]]]:
    """All live pairs are looked at in every step. Returns the boxes of all regions and the children of the unions."""
    weights = [F(w) for w in likeness]
    area = F(start.sizes.sum())
    live = {
        i: {
            "size": int(start.sizes[i]),
            "box": start.boxes[i].tolist(),
            "colour": start.colour[i].tolist(),
            "texture": start.texture[i].tolist(),
        }
        for i in range(len(start.sizes))
    }
    boxes = [region["box"] for region in live.values()]
    rows: list[list[int]] = []
    pairs = {frozenset(pair): i for i, pair in enumerate(start.pairs.tolist())}
    while len(live) > 1:
        likes = {pair: (slow_similarity(*(live[i] for i in pair), weights, area), -first) for pair, first in pairs.items()}
        best = max(likes, key=lambda pair: likes[pair])
        # the part that holds the region named first in the pair stands first
        a, b = parts_in_order(best, start.pairs[pairs[best]].tolist(), rows, len(start.sizes))
        total = live[a]["size"] + live[b]["size"]
        share = int(F(live[b]["size"]) / F(total) * F(32768))
        new = len(boxes)
        live[new] = {
            "size": total,
            "box": union(live[a]["box"], live[b]["box"]),
            "colour": blend(live[a]["colour"], live[b]["colour"], share),
            "texture": blend(live[a]["texture"], live[b]["texture"], share),
        }
        boxes.append(live[new]["box"])
        rows.append([a, b])
        del live[a], live[b]
        moved: dict[frozenset, int] = {}
        for pair, first in pairs.items():
            if pair != best:
                renamed = frozenset(new if i in (a, b) else i for i in pair)
                moved[renamed] = min(first, moved.get(renamed, first))
        pairs = moved
    return boxes, rows


def parts_in_order(pair: frozenset, named: list[int], rows: list[list[int]], count: int) -> list[int]:
    def leaves(node: int) -> set[int]:
        return {node} if node < count else leaves(rows[node - count][0]) | leaves(rows[node - count][1])

    return sorted(pair, key=lambda node: named[0] not in leaves(node))


def test_three_regions_by_hand() -> None:
    flat = np.zeros((3, 96), np.uint16)
    flat[:, 0] = 65535
    flat[2, 0], flat[2, 1] = 0, 65535
    start = Neighbours(
        sizes=np.array([2, 2, 4], np.int32),
        boxes=np.array([[0, 0, 2, 1], [0, 1, 2, 2], [2, 0, 4, 2]], np.int32),
        colour=flat,
        texture=np.zeros((3, 256), np.uint16),
        pairs=np.array([[0, 1], [0, 2], [1, 2]], np.int32),
        shared=np.array([[65535, 0], [0, 0], [0, 0]], np.int32),
    )
    tree = group(start, Likeness(1.0, 0.0, 0.0, 0.0))
    assert tree.children.tolist() == [[0, 1], [3, 2]]
    assert tree.boxes[3:].tolist() == [[0, 0, 2, 2], [0, 0, 4, 2]]


@given(st.integers(0, 10**6), st.integers(1, 14), strategies)
@settings(max_examples=60, deadline=None)
def test_grouping_equals_the_search_over_all_pairs(seed: int, regions: int, likeness: Likeness) -> None:
    start = start_of(random_labels(seed, regions, (9, 11)), seed)
    tree = group(start, likeness)
    boxes, rows = slow_group(start, likeness)
    assert tree.children.tolist() == rows
    assert tree.boxes.tolist() == boxes


@given(st.integers(0, 10**6), st.integers(1, 40), strategies)
@settings(deadline=None)
def test_n_regions_give_2n_minus_1_and_the_last_is_the_image(seed: int, regions: int, likeness: Likeness) -> None:
    labels = random_labels(seed, regions, (12, 17))
    count = labels.max() + 1
    tree = group(start_of(labels, seed), likeness)
    assert len(tree.boxes) == 2 * count - 1
    assert tree.boxes[-1].tolist() == [0, 0, 17, 12]
    assert sorted(tree.children.ravel()) == list(range(2 * count - 2))
    leaves = [{i} for i in range(count)]
    for a, b in tree.children:
        leaves.append(leaves[a] | leaves[b])
    for box, inside in zip(tree.boxes, leaves, strict=True):
        ys, xs = np.nonzero(np.isin(labels, list(inside)))
        assert box.tolist() == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]


def test_grouping_leaves_its_input_alone() -> None:
    start = start_of(random_labels(1, 9, (9, 9)), 1)
    before = [part.copy() for part in start]
    group(start, ALL)
    group(start, Likeness(0.0, 1.0, 1.0, 1.0))
    assert all((a == b).all() for a, b in zip(before, start, strict=True))


def test_regions_that_do_not_touch_are_an_error() -> None:
    start = start_of(random_labels(2, 6, (9, 9)), 2)
    with pytest.raises(ValueError, match="do not connect"):
        group(start._replace(pairs=start.pairs[:1], shared=start.shared[:1]), ALL)


def test_equal_similarities_go_to_the_pair_met_first() -> None:
    labels = np.arange(6, dtype=np.int32).reshape(1, 6)
    start = start_of(np.repeat(labels, 2, axis=0), 0)
    same = start._replace(colour=start.colour[[0] * 6], texture=start.texture[[0] * 6])
    tree = group(same, Likeness(0.0, 0.0, 0.0, 0.0))
    assert tree.children.tolist() == [[0, 1], [6, 2], [7, 3], [8, 4], [9, 5]]
