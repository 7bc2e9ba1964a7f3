"""The pixels and the learning rate of pre-training."""

import numpy as np
import pytest

from rcnn_dist.finetune.image_crops import central_part, scaled_part, shifted_part, stretched
from rcnn_dist.finetune.pretrain_params import PretrainParams

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (40, 60, 3), dtype=np.uint8)
MEAN = RNG.random((32, 32, 3), np.float32) * 255


def test_stretching_ignores_the_aspect_ratio():
    assert stretched(IMAGE, 32).shape == (32, 32, 3)
    assert (stretched(np.full((3, 9, 3), 7, np.uint8), 16) == 7).all()


def test_a_shifted_part_is_a_part_less_the_same_part_of_the_mean():
    image = stretched(IMAGE, 32)
    whole = image.astype(np.float32) - MEAN
    places = [(top, left, flip) for top in range(6) for left in range(6) for flip in (False, True)]
    seen = set()
    for seed in range(300):
        part = shifted_part(image, MEAN, 27, np.random.default_rng(seed))
        found = [
            place
            for place in places
            if np.array_equal(part, whole[place[0] : place[0] + 27, place[1] : place[1] + 27][:, :: -1 if place[2] else 1])
        ]
        assert len(found) == 1
        seen.add(found[0])
    assert {flip for _, _, flip in seen} == {False, True}
    assert {top for top, _, _ in seen} == {left for _, left, _ in seen} == set(range(6))


def test_the_central_part_takes_the_middle():
    image = stretched(IMAGE, 32)
    assert np.array_equal(central_part(image, MEAN, 28), (image.astype(np.float32) - MEAN)[2:30, 2:30])
    three = np.float32([1, 2, 3])
    assert np.array_equal(central_part(image, three, 32), image.astype(np.float32) - three)


def test_scaled_parts_have_one_size_and_differ():
    parts = [scaled_part(IMAGE, np.zeros(3, np.float32), 24, np.random.default_rng(seed)) for seed in range(20)]
    assert {part.shape for part in parts} == {(24, 24, 3)}
    assert len({part.tobytes() for part in parts}) == 20
    assert (
        scaled_part(np.full((1, 500, 3), 9, np.uint8), np.float32([9, 9, 9]), 8, np.random.default_rng(0)).tolist()
        == np.zeros((8, 8, 3)).tolist()
    )


def test_the_papers_schedule_and_a_cosine():
    paper = PretrainParams()
    assert [paper.learning_rate_at(step) for step in (0, 99_999, 100_000, 309_999)] == pytest.approx([0.01, 0.01, 0.001, 1e-5])
    cosine = PretrainParams(iterations=110, schedule="cosine", warmup=10, learning_rate=1.0)
    assert [cosine.learning_rate_at(step) for step in (0, 4, 9, 10, 60)] == pytest.approx([0.1, 0.5, 1.0, 1.0, 0.5])
    assert 0 < cosine.learning_rate_at(109) < 0.001


def test_the_stretched_side_follows_the_input():
    assert [PretrainParams().stretched_side(side) for side in (227, 64, 224)] == [256, 72, 253]
    assert PretrainParams(stretch=300).stretched_side(227) == 300
