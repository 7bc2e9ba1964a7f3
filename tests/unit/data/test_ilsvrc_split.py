import numpy as np
import pytest

from rcnn_dist.data.ilsvrc_split import balanced_split, imbalance


def like_the_real_thing(n_images, n_classes, seed):
    """Class counts of which half the classes have under 110 examples, the rarest about 30 and the most frequent thousands."""
    generator = np.random.default_rng(seed)
    share = np.exp(generator.normal(np.log(111), 1.0, n_classes)).clip(31, 12823)
    totals = np.round(share * n_images / 20121).astype(int).clip(8)
    counts = np.zeros((n_images, n_classes), np.int64)
    for c, total in enumerate(totals):
        left = total
        while left > 0:
            together = min(left, 1 + generator.geometric(0.55))
            counts[generator.integers(n_images), c] += together
            left -= together
    return counts


def test_imbalance_by_hand():
    counts = np.array([[3, 0, 0], [1, 2, 0]])
    np.testing.assert_allclose(imbalance(counts, np.array([True, False])), [0.5, 1.0, 0.0])


@pytest.mark.parametrize("seed", [0, 1])
def test_halves_are_as_even_as_the_papers_and_far_more_even_than_random_ones(seed):
    counts = like_the_real_thing(20121, 200, seed)
    assert 80 <= np.count_nonzero(counts.sum(axis=0) < 110) <= 120
    uneven = imbalance(counts, balanced_split(counts, np.random.default_rng(seed), trials=1))
    assert uneven.max() <= 0.11 and np.median(uneven) <= 0.04, "what the paper reports of its halves"
    generator = np.random.default_rng(seed)
    random = [imbalance(counts, generator.random(len(counts)) < 0.5) for _ in range(20)]
    assert uneven.max() < min(r.max() for r in random) and np.median(uneven) < min(np.median(r) for r in random)


def test_more_trials_are_never_worse_and_equal_seeds_give_equal_halves():
    counts = like_the_real_thing(400, 12, 4)
    one, five = (balanced_split(counts, np.random.default_rng(0), trials) for trials in (1, 5))
    assert imbalance(counts, five).max() <= imbalance(counts, one).max()
    np.testing.assert_array_equal(one, balanced_split(counts, np.random.default_rng(0), 1))


@pytest.mark.parametrize("n_images", [0, 1, 3])
def test_of_next_to_nothing(n_images):
    halves = balanced_split(np.ones((n_images, 2), np.int64), np.random.default_rng(0))
    assert halves.shape == (n_images,) and halves.sum() in (n_images // 2, (n_images + 1) // 2)
