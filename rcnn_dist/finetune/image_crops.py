"""Whole images as a network is pre-trained with them: stretched, a random part of them, perhaps mirrored."""

import cv2
import numpy as np

from rcnn_dist.arrays import Array, Float32, UInt8

_LEAST_AREA = 0.08  # of a part of any size
_MOST_ASPECT = 4 / 3
_TRIES = 10


def stretched(image: UInt8[Array, "H W 3"], side: int) -> UInt8[Array, "S S 3"]:
    """The image at side x side pixels, its aspect ratio ignored. Reference: BVLC/caffe, docs/imagenet_training.md."""
    return np.asarray(cv2.resize(image, (side, side), interpolation=cv2.INTER_LINEAR))


def shifted_part(image: UInt8[Array, "T T 3"], mean: Float32[Array, "..."], side: int, rng: np.random.Generator) -> Float32[Array, "S S 3"]:
    """A random part of the stretched image less the same part of the mean (or less its three values), mirrored every second time.

    Paper: §2.3, supervised pre-training. Reference: BVLC/caffe, src/caffe/layers/data_layer.cpp (which never takes the last of the places:
    0 to 28 of a side of 256 pixels; this takes 0 to 29).
    """
    top, left = rng.integers(0, image.shape[0] - side + 1, 2)
    return _mirrored(_less_mean(image, mean, int(top), int(left), side), rng)


def central_part(image: UInt8[Array, "T T 3"], mean: Float32[Array, "..."], side: int) -> Float32[Array, "S S 3"]:
    """The middle of the stretched image less the mean, as a network is tested."""
    offset = (image.shape[0] - side) // 2
    return _less_mean(image, mean, offset, offset, side)


def scaled_part(image: UInt8[Array, "H W 3"], mean: Float32[Array, "3"], side: int, rng: np.random.Generator) -> Float32[Array, "S S 3"]:
    """A part of any size (8% of the image or more) and shape (3:4 to 4:3), resized, mirrored every second time.

    Reference: Szegedy et al. 2015, Going deeper with convolutions, §6.
    """
    height, width = image.shape[:2]
    for _ in range(_TRIES):
        area = height * width * rng.uniform(_LEAST_AREA, 1)
        aspect = np.exp(rng.uniform(-np.log(_MOST_ASPECT), np.log(_MOST_ASPECT)))
        w, h = round(np.sqrt(area * aspect)), round(np.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            top, left = rng.integers(0, height - h + 1), rng.integers(0, width - w + 1)
            image = image[top : top + h, left : left + w]
            break
    return _mirrored(stretched(image, side).astype(np.float32) - mean, rng)


def _less_mean(image: UInt8[Array, "T T 3"], mean: Float32[Array, "..."], top: int, left: int, side: int) -> Float32[Array, "S S 3"]:
    place = (slice(top, top + side), slice(left, left + side))
    return image[place].astype(np.float32) - (mean[place] if mean.ndim == 3 else mean)


def _mirrored(part: Float32[Array, "S S 3"], rng: np.random.Generator) -> Float32[Array, "S S 3"]:
    return np.ascontiguousarray(part[:, ::-1]) if rng.random() < 0.5 else part
