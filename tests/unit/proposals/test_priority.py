import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rcnn_dist.arrays import Array
from rcnn_dist.proposals.priority import Order, Steps, order_boxes, region_steps

many_boxes = arrays(np.int64, st.tuples(st.integers(0, 30), st.just(4)), elements=st.integers(0, 40))
orders = st.sampled_from(["large_first", "lasting"])


def random_steps(seed: int, length: int) -> Steps:
    rng = np.random.default_rng(seed)
    count = rng.integers(2, 20, length)
    born = rng.integers(0, count)
    return Steps(born, rng.integers(born + 1, count + 1), count)


def slow_order(boxes: list[tuple[int, ...]], steps: Steps, min_side: int, order: Order, seed: int) -> list[int]:
    rng = np.random.default_rng(seed)
    large = [i for i, (x1, y1, x2, y2) in enumerate(boxes) if x2 - x1 >= min_side and y2 - y1 >= min_side]
    if order == "large_first":
        priority = {i: (steps.regions[i] - steps.born[i]) * u for i, u in zip(large, rng.random(len(large)), strict=True)}
        chosen: list[int] = []
        for i in sorted(large, key=lambda i: priority[i]):
            if all(boxes[i] != boxes[j] for j in chosen):
                chosen.append(i)
        return chosen
    speaking: dict[tuple[int, ...], float] = {}
    loudest: dict[tuple[int, ...], tuple[float, int]] = {}
    for i in large:
        lasted = (steps.joined[i] - steps.born[i]) / steps.regions[i]
        voice = np.sqrt(lasted / (steps.regions[i] - steps.born[i]))
        speaking[boxes[i]] = speaking.get(boxes[i], 0.0) + voice
        loudest[boxes[i]] = max(loudest.get(boxes[i], (0.0, 0)), (voice, -i))
    priority = {box: np.sqrt(u) / speaking[box] for box, u in zip(speaking, rng.random(len(speaking)), strict=True)}
    front, back, seen = [], [], set()
    for box in sorted(speaking, key=lambda box: priority[box]):
        area = (box[2] - box[0]) * (box[3] - box[1])
        size = next(2**p for p in range(40) if area < 2 * 4**p)
        coarse = (size, *(int(np.floor(10 * v / size + 0.5)) for v in box))
        (back if coarse in seen else front).append(-loudest[box][1])
        seen.add(coarse)
    return front + back


def test_steps_of_a_chain() -> None:
    steps = region_steps(np.array([[0, 1], [4, 2], [5, 3]], np.int32))
    assert steps.born.tolist() == [0, 0, 0, 0, 1, 2, 3]
    assert steps.joined.tolist() == [1, 1, 2, 3, 2, 3, 4]
    assert steps.regions.tolist() == [4] * 7


def test_an_image_of_one_region() -> None:
    steps = region_steps(np.empty((0, 2), np.int32))
    assert [part.tolist() for part in steps] == [[0], [1], [1]]
    box = np.array([[0, 0, 30, 20]])
    for order in ("large_first", "lasting"):
        assert order_boxes(box, steps, 20, order, np.random.default_rng(0)).tolist() == [0]  # type: ignore[arg-type]


@given(many_boxes, st.integers(0, 99), st.integers(0, 4), orders)
@settings(deadline=None, max_examples=200)
def test_order_equals_one_box_at_a_time(boxes: Array, seed: int, min_side: int, order: Order) -> None:
    boxes[:, 2:] += boxes[:, :2]
    steps = random_steps(seed, len(boxes))
    chosen = order_boxes(boxes, steps, min_side, order, np.random.default_rng(seed)).tolist()
    expected = slow_order([tuple(box) for box in boxes.tolist()], steps, min_side, order, seed)
    assert chosen == expected


@given(many_boxes, st.integers(0, 99), orders)
@settings(deadline=None)
def test_every_box_is_handed_out_once(boxes: Array, seed: int, order: Order) -> None:
    boxes[:, 2:] += boxes[:, :2]
    chosen = order_boxes(boxes, random_steps(seed, len(boxes)), 0, order, np.random.default_rng(seed))
    assert sorted(boxes[chosen].tolist()) == np.unique(boxes, axis=0).reshape(-1, 4).tolist()


@pytest.mark.parametrize("order", ["large_first", "lasting"])
def test_low_ranks_tend_to_the_front(order: Order) -> None:
    boxes = np.column_stack([50 * np.arange(1000), np.zeros((1000, 1), int), 50 * np.arange(1000) + 50, np.full(1000, 50)])
    born = np.where(np.arange(1000) < 500, 99, 0)
    steps = Steps(born, born + 1, np.full(1000, 100))
    assert (order_boxes(boxes, steps, 20, order, np.random.default_rng(0))[:300] < 500).mean() > 0.9


def test_nearly_equal_boxes_come_last() -> None:
    boxes = np.array([[0, 0, 100, 100], [1, 1, 101, 101], [300, 0, 400, 100], [0, 0, 50, 100]])
    steps = Steps(np.array([9, 8, 0, 0]), np.full(4, 10), np.full(4, 10))
    chosen = order_boxes(boxes, steps, 20, "lasting", np.random.default_rng(0))
    assert sorted(chosen[:3].tolist()) in ([0, 2, 3], [1, 2, 3])
