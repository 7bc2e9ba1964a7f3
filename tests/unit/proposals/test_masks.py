import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rcnn_dist.arrays import Array
from rcnn_dist.proposals.masks import RegionMasks, decode_mask, encode_mask, leaf_order, region_runs

masks = st.tuples(st.integers(1, 7), st.integers(1, 7)).flatmap(lambda size: arrays(np.bool_, size))


def test_runs_start_with_the_background() -> None:
    assert encode_mask(np.array([[True, True, False], [False, True, True]])).tolist() == [0, 2, 2, 2]
    assert encode_mask(np.array([[False, True]])).tolist() == [1, 1]
    assert encode_mask(np.zeros((2, 3), bool)).tolist() == [6]
    assert encode_mask(np.ones((2, 3), bool)).tolist() == [0, 6]


@given(masks)
@settings(deadline=None)
def test_decoding_gives_the_mask_back(mask: Array) -> None:
    counts = encode_mask(mask)
    assert (decode_mask(counts, *mask.shape) == mask).all()
    assert (counts[1:] > 0).all()


def test_the_wrong_size_is_an_error() -> None:
    with pytest.raises(ValueError, match="6 pixels do not make a mask of 2 x 4"):
        decode_mask(np.array([2, 4], np.int32), 2, 4)


def test_masks_are_cut_from_one_array() -> None:
    both = RegionMasks(1, 3, np.array([1, 2, 0, 3], np.int32), np.array([0, 2, 4]))
    assert len(both) == 2
    assert both.decode(0).tolist() == [[False, True, True]]
    assert both.decode(1).tolist() == [[True, True, True]]


def test_leaves_of_a_node_follow_each_other() -> None:
    place, spans = leaf_order(np.array([[0, 2], [1, 3], [4, 5]], np.int32))
    assert place.tolist() == [0, 2, 1, 3]
    assert spans[4:].tolist() == [[0, 2], [2, 4], [0, 4]]


def test_one_leaf_is_the_whole_tree() -> None:
    place, spans = leaf_order(np.empty((0, 2), np.int32))
    assert (place.tolist(), spans.tolist()) == ([0], [[0, 1]])


@given(masks, st.floats(0.4, 3), st.integers(0, 4), st.integers(0, 4))
@settings(deadline=None)
def test_runs_equal_those_of_the_enlarged_and_cut_mask(mask: Array, scale: float, left: int, top: int) -> None:
    rows, columns = (np.floor(np.arange(size + 1) * scale + 0.5).astype(np.int64) for size in mask.shape)
    if rows[-1] == 0 or columns[-1] == 0 or not mask.any():
        return
    large = np.repeat(np.repeat(mask, np.diff(rows), axis=0), np.diff(columns), axis=1)
    box = np.array([left, top, max(columns[-1] - 1, left), max(rows[-1] - 1, top)])
    large[:top], large[box[3] :], large[:, :left], large[:, box[2] :] = False, False, False, False
    ys, xs = np.nonzero(mask)
    cells = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], np.int32)
    counts = region_runs(mask.astype(np.int32) * 3, np.array([3, 5], np.int32), cells, box, rows, columns)
    assert counts.tolist() == encode_mask(large).tolist()
