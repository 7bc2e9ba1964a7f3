"""Hard negative mining as pure steps: what a wave scans, which rows a class wants, when it is refitted, what it then evicts."""

from dataclasses import dataclass, field

import numpy as np

from rcnn_dist.arrays import Array, Bool, Float32, Int64


@dataclass(frozen=True, slots=True)
class MiningParams:
    negative_iou: float = 0.3  # paper §2.3
    positive_iou: float | None = None  # None: objects alone are positives; 0.5 with negative_iou 0.5: fine-tuning's labels (App. B)
    hard_threshold: float = -1.0001  # this and the next two: rcnn_train.m
    evict_threshold: float = -1.2  # ILSVRC: -1.1
    retrain_after: int = 2000
    wave_images: int = 64  # images scored by the same detectors; 1 is the original's order
    max_images: int | None = None  # random ones, in set order; None: all. ILSVRC: 5000
    seed: int = 3  # of the choice


def mined_images(n_images: int, params: MiningParams) -> Int64[Array, "_"]:
    """The images that are mined, ascending, so that each part of the features is read once.

    Paper: §4.3. Reference: rcnn_train.m of branch ilsvrc (which takes them in random order).
    """
    if params.max_images is None or n_images <= params.max_images:
        return np.arange(n_images)
    return np.sort(np.random.default_rng(params.seed).permutation(n_images)[: params.max_images])


def wave_ranges(n_images: int, wave_images: int) -> list[range]:
    """The images of each wave: the first alone, then twice as many each time up to wave_images.

    Small first waves, because detectors of few images want most rows. Law: the waves are all images, in order, each once.

    Raises:
        ValueError: wave_images is below 1.
    """
    if wave_images < 1:
        raise ValueError(f"wave_images is {wave_images}: a wave has at least one image; 1 is the original's order")
    waves: list[range] = []
    start, size = 0, 1
    while start < n_images:
        waves.append(range(start, min(start + size, n_images)))
        start, size = start + size, min(2 * size, wave_images)
    return waves


def wanted_negatives(negative: Bool[Array, "R C"], scores: Float32[Array, "R C"] | None, hard_threshold: float) -> Bool[Array, "R C"]:
    """The negatives that each class adds: all in the first wave (no scores yet), then those scored above the threshold, strictly.

    Reference: rcnn_train.m, which compares in single precision.
    """
    return negative if scores is None else negative & (scores > np.float32(hard_threshold))


def kept_after_eviction(scores_of_cached: Float32[Array, "M"], evict_threshold: float) -> Bool[Array, "M"]:
    """The cached negatives that stay: all but those scored below the threshold, strictly, by the detector just fitted.

    Reference: rcnn_train.m, which compares in single precision.
    """
    return scores_of_cached >= np.float32(evict_threshold)


@dataclass(slots=True)
class ClassCache:
    """The negatives that one class has now, by key (image, region) in the order visited, and how many are newer than its detector."""

    keys: Int64[Array, "M 2"] = field(default_factory=lambda: np.empty((0, 2), dtype=np.int64))
    added_since_fit: int = 0

    def add(self, keys: Int64[Array, "new 2"]) -> None:
        """Appends a wave's rows.

        Raises:
            ValueError: they do not follow the rows of earlier waves, each key once; an evicted row never comes back in one pass.
        """
        joined = np.concatenate([self.keys, keys])
        image_step, region_step = np.diff(joined, axis=0).T
        if np.any((image_step < 0) | ((image_step == 0) & (region_step <= 0))):
            raise ValueError("mined keys are not in (image, region) order after those cached: was a wave added twice?")
        self.keys = joined
        self.added_since_fit += len(keys)

    def must_refit(self, is_first_wave: bool, is_last_wave: bool, retrain_after: int) -> bool:
        """Whether the class is fitted now: after the first and last wave, and after more than retrain_after new rows.

        Never without any negative: a class that has found none keeps its zero detector, which then wants every negative.
        """
        return len(self.keys) > 0 and (is_first_wave or is_last_wave or self.added_since_fit > retrain_after)

    def after_fit(self, keep: Bool[Array, "M"]) -> None:
        """Evicts the rows that the new detector finds easy and starts to count anew."""
        self.keys = self.keys[keep]
        self.added_since_fit = 0
