import numpy as np
import pytest

from rcnn_dist.classify.mining import ClassCache, MiningParams, kept_after_eviction, mined_images, wanted_negatives, wave_ranges

PARAMS = MiningParams()


def keys(*pairs):
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def test_waves_by_hand():
    assert [len(wave) for wave in wave_ranges(150, 64)] == [1, 2, 4, 8, 16, 32, 64, 23]
    assert [len(wave) for wave in wave_ranges(20, 6)] == [1, 2, 4, 6, 6, 1]
    assert wave_ranges(4, 1) == [range(0, 1), range(1, 2), range(2, 3), range(3, 4)]


@pytest.mark.parametrize("n_images", [0, 1, 2, 3, 64, 65, 1000])
@pytest.mark.parametrize("wave_images", [1, 5, 64])
def test_waves_are_all_images_in_order(n_images, wave_images):
    waves = wave_ranges(n_images, wave_images)
    assert [image for wave in waves for image in wave] == list(range(n_images))
    assert all(1 <= len(wave) <= wave_images for wave in waves)


def test_a_wave_of_no_images_is_refused():
    with pytest.raises(ValueError, match="wave_images is 0"):
        wave_ranges(3, 0)


def test_wanted_rows_by_hand():
    negative = np.array([[True, True], [True, False], [True, True]])
    scores = np.array([[-1.0, -1.0001], [-1.2, 5.0], [-1.0001, -0.9]], dtype=np.float32)
    wanted = wanted_negatives(negative, scores, PARAMS.hard_threshold)
    np.testing.assert_array_equal(wanted, [[True, False], [False, False], [False, True]])


def test_the_first_wave_wants_all_negatives_and_a_zero_detector_does_too():
    negative = np.random.default_rng(0).random((20, 3)) < 0.5
    np.testing.assert_array_equal(wanted_negatives(negative, None, PARAMS.hard_threshold), negative)
    zero = np.zeros((20, 3), dtype=np.float32)
    np.testing.assert_array_equal(wanted_negatives(negative, zero, PARAMS.hard_threshold), negative)
    assert wanted_negatives(negative[:0], zero[:0], PARAMS.hard_threshold).shape == (0, 3)


def test_eviction_by_hand():
    scores = np.array([-1.3, -1.2, np.nextafter(np.float32(-1.2), np.float32(-2)), 0.5], dtype=np.float32)
    np.testing.assert_array_equal(kept_after_eviction(scores, PARAMS.evict_threshold), [False, True, False, True])
    assert kept_after_eviction(scores[:0], PARAMS.evict_threshold).shape == (0,)


def test_a_row_just_added_is_never_evicted_by_the_same_detector():
    scores = np.random.default_rng(1).normal(-1.1, 0.2, (500, 1)).astype(np.float32)
    wanted = wanted_negatives(np.ones((500, 1), bool), scores, PARAMS.hard_threshold)[:, 0]
    assert wanted.any()
    assert kept_after_eviction(scores[wanted, 0], PARAMS.evict_threshold).all()


def test_a_cache_s_life_by_hand():
    cache = ClassCache()
    assert not cache.must_refit(True, True, 2)  # nothing to fit on
    cache.add(keys((0, 3), (0, 7)))
    assert cache.must_refit(True, False, 2)
    cache.after_fit(np.array([False, True]))
    np.testing.assert_array_equal(cache.keys, keys((0, 7)))
    cache.add(keys((1, 0), (1, 1)))
    assert cache.added_since_fit == 2
    assert not cache.must_refit(False, False, 2)
    cache.add(keys((2, 0)))
    assert cache.must_refit(False, False, 2)
    assert not cache.must_refit(False, False, 3)
    assert cache.must_refit(False, True, 3)
    cache.after_fit(np.ones(4, bool))
    np.testing.assert_array_equal(cache.keys, keys((0, 7), (1, 0), (1, 1), (2, 0)))
    assert (cache.added_since_fit, cache.must_refit(False, False, 0)) == (0, False)


def test_adding_nothing_changes_nothing():
    cache = ClassCache()
    cache.add(keys())
    cache.add(keys((4, 1)))
    cache.add(keys())
    np.testing.assert_array_equal(cache.keys, keys((4, 1)))
    assert cache.added_since_fit == 1


@pytest.mark.parametrize("late", [((2, 5),), ((1, 9),), ((2, 4),), ((3, 1), (3, 0)), ((3, 1), (3, 1))])
def test_rows_out_of_order_or_twice_are_refused_and_leave_the_cache_as_it_was(late):
    cache = ClassCache()
    cache.add(keys((1, 0), (2, 5)))
    with pytest.raises(ValueError, match="order"):
        cache.add(keys(*late))
    np.testing.assert_array_equal(cache.keys, keys((1, 0), (2, 5)))
    assert cache.added_since_fit == 2


def test_caches_agree_with_a_set_of_keys():
    generator = np.random.default_rng(2)
    cache, slow, counted = ClassCache(), [], 0
    for image in range(30):
        new = keys(*((image, region) for region in np.flatnonzero(generator.random(20) < 0.3)))
        cache.add(new)
        slow, counted = slow + [tuple(key) for key in new.tolist()], counted + len(new)
        assert cache.must_refit(False, False, 25) == (counted > 25)
        if counted > 25:
            keep = generator.random(len(slow)) < 0.5
            cache.after_fit(keep)
            slow, counted = [key for key, stays in zip(slow, keep, strict=True) if stays], 0
    assert [tuple(key) for key in cache.keys.tolist()] == slow


def test_images_that_are_mined():
    np.testing.assert_array_equal(mined_images(5, MiningParams()), np.arange(5))
    np.testing.assert_array_equal(mined_images(5, MiningParams(max_images=5)), np.arange(5))
    some = mined_images(100, MiningParams(max_images=7))
    assert len(set(some.tolist())) == 7 and (np.diff(some) > 0).all() and some.tolist() != list(range(7))
    assert len(mined_images(0, MiningParams(max_images=3))) == 0
