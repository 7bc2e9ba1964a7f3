"""rcnn_train.m's hard negative mining, step by step, in waves of one image."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest

from rcnn_dist.classify.labelling import svm_labels
from rcnn_dist.classify.linear_svm import SvmParams, fit_svm
from rcnn_dist.classify.mining import ClassCache, MiningParams, kept_after_eviction, wanted_negatives, wave_ranges
from rcnn_dist.features.scaling import scale_features

PARAMS = MiningParams(wave_images=1)

Fit = Callable[[int, np.ndarray], tuple[np.ndarray, float]]  # class, rows of its negatives -> weights, bias


@dataclass
class Case:
    """One training set; `recorded` holds what the original did with it, under the keys of the file without the case's letter."""

    recorded: dict[str, np.ndarray]
    features: np.ndarray
    positive: np.ndarray
    negative: np.ndarray

    def of_image(self, keys: np.ndarray) -> np.ndarray:
        return self.features[keys[:, 0], keys[:, 1]]


@dataclass
class Trace:
    added_per_image: list[np.ndarray] = field(default_factory=list)
    retrains: list[tuple[int, int, int]] = field(default_factory=list)  # image, class, rows added since the last
    keys_before: list[np.ndarray] = field(default_factory=list)
    keys_after: list[np.ndarray] = field(default_factory=list)
    weights: np.ndarray | None = None
    n_cached: list[int] = field(default_factory=list)


@pytest.fixture(scope="module")
def cases(golden):
    return [load_case(file, letter) for file in golden("mining_trace") for letter in file["cases"]]


def load_case(file, letter) -> Case:
    recorded = {key.removeprefix(f"{letter}_"): value for key, value in file.items() if key.startswith(f"{letter}_")}
    recorded["variants"] = file["variants"]
    stored = recorded["feat_u8"]
    rows = stored.reshape(-1, stored.shape[-1]).astype(np.float32) / 8
    features = scale_features(rows, float(recorded["feat_norm_mean"]), 20.0).reshape(stored.shape)
    labels = [
        svm_labels(overlap, is_gt, roi_class.astype(np.int64) - 1, PARAMS.negative_iou)
        for overlap, is_gt, roi_class in zip(recorded["overlap"], recorded["gt"], recorded["class"], strict=True)
    ]
    positive, negative = (np.stack(masks) for masks in zip(*labels, strict=True))
    positive[recorded["missing_images"]] = negative[recorded["missing_images"]] = False
    return Case(recorded, features, positive, negative)


def single_scores(features, weights, biases):
    # summed in double: one recorded score lies 3.6e-7 from the threshold, which the order of a sum in single can cross
    return (features.astype(np.float64) @ weights.T + biases).astype(np.float32)


def mine(case: Case, fit: Fit) -> Trace:
    n_images, _, n_classes = case.negative.shape
    weights, biases = np.zeros((n_classes, case.features.shape[2]), np.float32), np.zeros(n_classes, np.float32)
    caches, trace = [ClassCache() for _ in range(n_classes)], Trace()
    for (image,) in wave_ranges(n_images, PARAMS.wave_images):
        scores = single_scores(case.features[image], weights, biases) if image else None
        wanted = wanted_negatives(case.negative[image], scores, PARAMS.hard_threshold)
        trace.added_per_image.append(wanted.sum(axis=0))
        for c, cache in enumerate(caches):
            regions = np.flatnonzero(wanted[:, c])
            cache.add(np.stack([np.full_like(regions, image), regions], axis=1))
            if cache.must_refit(image == 0, image == n_images - 1, PARAMS.retrain_after):
                trace.retrains.append((image, c, cache.added_since_fit))
                trace.keys_before.append(cache.keys)
                rows = case.of_image(cache.keys)
                weights[c], biases[c] = fit(c, rows)
                cache.after_fit(kept_after_eviction(single_scores(rows, weights[c], biases[c]), PARAMS.evict_threshold))
                trace.keys_after.append(cache.keys)
    trace.weights, trace.n_cached = weights, [len(cache.keys) for cache in caches]
    return trace


def slices(recorded, name) -> Iterator[np.ndarray]:
    return np.split(recorded[name], recorded[f"{name}_off"][1:-1])


def test_positives(cases):
    for case in cases:
        for c in range(case.positive.shape[2]):
            expected = case.recorded[f"keys_pos_{c}"]
            np.testing.assert_array_equal(np.argwhere(case.positive[:, :, c]), expected[np.lexsort(expected.T[::-1])])


def test_with_the_original_s_detectors_every_step_is_the_original_s(cases):
    for case in cases:
        for variant in case.recorded["variants"]:
            recorded = {key.removeprefix(f"{variant}_"): value for key, value in case.recorded.items()}
            detectors = zip(recorded["upd_w"], recorded["upd_b"], strict=True)
            trace = mine(case, lambda _class, _rows, detectors=detectors: next(detectors))
            np.testing.assert_array_equal(trace.added_per_image, recorded["added_per_image"])
            retrains = np.stack([recorded["upd_image"], recorded["upd_class"], recorded["upd_num_added"]], axis=1)
            np.testing.assert_array_equal(trace.retrains, retrains)
            for ours, theirs in (("keys_before", "upd_keys_before"), ("keys_after", "upd_keys_after")):
                for mined, expected in zip(getattr(trace, ours), slices(recorded, theirs), strict=True):
                    np.testing.assert_array_equal(mined, expected)
            np.testing.assert_array_equal(trace.n_cached, recorded["final_n_neg"])


def own_fit(case: Case, params: SvmParams) -> Fit:
    def fit(class_index, rows):
        svm = fit_svm(case.features[case.positive[:, :, class_index]], rows, params)
        return svm.weights, svm.bias

    return fit


def distance_from_exact(case: Case, weights):
    exact = case.recorded["tight_W"].T
    return np.linalg.norm(weights - exact, axis=-1) / np.linalg.norm(exact, axis=-1)


def test_mining_with_an_exact_solver_ends_where_the_original_does_with_one(cases):
    for case in cases:
        trace = mine(case, own_fit(case, SvmParams(tolerance=1e-11, max_epochs=2_000_000)))
        np.testing.assert_array_equal(trace.n_cached, case.recorded["tight_final_n_neg"])
        n_retrains = np.bincount([c for _, c, _ in trace.retrains])
        np.testing.assert_array_equal(n_retrains, case.recorded["tight_n_retrains"])
        assert distance_from_exact(case, trace.weights).max() < 1e-4


def test_mining_with_the_default_solver_ends_as_near_as_the_original_s_other_seeds(cases):
    for case in cases:
        trace = mine(case, own_fit(case, SvmParams()))
        seeds = distance_from_exact(case, case.recorded["seed_W"].transpose(0, 2, 1))
        assert distance_from_exact(case, trace.weights).max() <= seeds.max()
