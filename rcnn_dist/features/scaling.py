"""One number that brings a layer's features to the norm that every later hyperparameter presupposes."""

from dataclasses import dataclass

import numpy as np

from rcnn_dist.arrays import Array, Float, Float32, Int64


@dataclass(frozen=True, slots=True)
class ScalingParams:
    target_norm: float = 20.0  # rcnn_scale_features.m
    max_images: int = 200  # this and the next: rcnn_feature_stats.m
    max_regions: int = 200  # per image, ground truth included
    seed: int = 3  # for the generator that the caller makes; the original seeds MATLAB's with the same


def sample_rows(
    region_counts: Int64[Array, "N"], params: ScalingParams, generator: np.random.Generator
) -> list[tuple[int, Int64[Array, "_"]]]:
    """Which regions the mean norm is taken over: (image, region indices) pairs, both ascending.

    At most max_images random images that have regions, at most max_regions random regions of each.
    Law: where the counts stay within both limits, every region is chosen, whatever the generator.

    Reference: rcnn_feature_stats.m (200 x 200, another generator).
    """
    images = generator.permutation(np.flatnonzero(region_counts))[: params.max_images]
    return [(int(i), np.sort(generator.permutation(region_counts[i])[: params.max_regions])) for i in np.sort(images)]


def mean_norm(norms: Float[Array, "R"]) -> tuple[float, float]:
    """Mean of the sampled rows' L2 norms, and their standard deviation (n - 1; 0 for a single row).

    Raises:
        ValueError: there is no row.

    Reference: rcnn_feature_stats.m.
    """
    if len(norms) == 0:
        raise ValueError("no feature row to take the mean norm of: the training set has no regions; check its proposals")
    values = norms.astype(np.float64)
    return float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else 0.0


def scale_features(features: Float32[Array, "R D"], mean_norm: float, target: float) -> Float32[Array, "R D"]:
    """Features scaled so that the training set's mean norm becomes the target; tests reuse the training set's number.

    Law: mean_norm(norms of scale_features(features, mean_norm(norms))) == target.

    Raises:
        ValueError: the mean norm is not positive.

    Reference: rcnn_scale_features.m.
    """
    return features * np.float32(scale_factor(mean_norm, target))


def scale_factor(mean_norm: float, target: float) -> float:
    """What `scale_features` multiplies by.

    Raises:
        ValueError: the mean norm is not positive.
    """
    if not mean_norm > 0:
        raise ValueError(f"the mean norm of the features is {mean_norm}: the network's output is all zero; check its weights")
    return target / mean_norm
