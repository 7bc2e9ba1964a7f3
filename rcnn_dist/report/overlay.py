"""A label map over its photograph."""

import io

import numpy as np
from PIL import Image

from rcnn_dist.arrays import Array, UInt8

_SHARE = 0.6  # of the colour
_GAP = 4  # pixels between two pictures


def draw_label_maps(
    image: UInt8[Array, "H W 3"], maps: list[UInt8[Array, "H W"]], palette: UInt8[Array, "256 3"], side: int = 240
) -> bytes:
    """A JPEG of the photograph and, to its right, each label map laid over it: labels coloured and outlined in white, 0 dimmed.

    The longer side of each picture is `side` pixels.
    """
    height, width = image.shape[:2]
    size = (max(1, round(width * side / max(height, width))), max(1, round(height * side / max(height, width))))
    pictures = [_resized(picture, size) for picture in (image, *(_overlay(image, labels, palette) for labels in maps))]
    gap = np.full((size[1], _GAP, 3), 255, np.uint8)
    row = [part for picture in pictures for part in (picture, gap)][:-1]
    stream = io.BytesIO()
    Image.fromarray(np.concatenate(row, axis=1)).save(stream, "JPEG", quality=88)
    return stream.getvalue()


def _overlay(image: Array, labels: Array, palette: Array) -> Array:
    colours = (1 - _SHARE) * image + _SHARE * palette[labels]
    mixed = np.where((labels == 0)[..., None], image * 0.5, colours)
    edge = np.zeros(labels.shape, bool)
    edge[1:] |= labels[1:] != labels[:-1]
    edge[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    mixed[edge] = 255
    return mixed.astype(np.uint8)


def _resized(picture: Array, size: tuple[int, int]) -> Array:
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS))
