"""Colour spaces of selective search: each shows other boundaries of an image, so that no object depends on one of them.

Every space gives three planes of bytes; a space with one channel repeats it, so that the steps after it know only one shape.
"""

import math

import numpy as np

from rcnn_dist.arrays import Array, UInt8
from rcnn_dist.compiled import compiled

_LEVELS = 4096  # resolution of linear light in the Lab tables
_TO_XYZ = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))  # sRGB, D65
_WHITE = (0.950456, 1.0, 1.088754)
_SHIFT = 12  # fraction bits of the integer tables


def _linear_light(level: int) -> float:
    v = level / 255
    return v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4


def _lab_root(t: float) -> float:
    return t ** (1 / 3) if t > 0.008856 else 7.787 * t + 16 / 116


# integers, so that the last bit of a machine's mathematical library does not reach the result
_XYZ = np.array(
    [
        [[round(_linear_light(v) * m / _WHITE[i] * (_LEVELS - 1) * 2**_SHIFT) for v in range(256)] for m in row]
        for i, row in enumerate(_TO_XYZ)
    ],
    np.int32,
)
_ROOTS = [_lab_root(t / (_LEVELS - 1)) for t in range(_LEVELS + 1)]
_LIGHTNESS = np.array([min(255, math.floor((116 * f - 16) * 2.55 + 0.5)) for f in _ROOTS], np.uint8)
_ROOT = np.array([round(100 * f * 2**_SHIFT) for f in _ROOTS], np.int32)


@compiled
def _hsv(image: Array) -> Array:
    height, width, _ = image.shape
    planes = np.empty((3, height, width), np.uint8)
    for y in range(height):
        for x in range(width):
            r, g, b = np.int32(image[y, x, 0]), np.int32(image[y, x, 1]), np.int32(image[y, x, 2])
            value = np.int32(max(r, g, b))
            chroma = value - min(r, g, b)
            if chroma == 0:
                sixth = np.float32(0)
            elif value == r:
                sixth = np.float32(g - b) / np.float32(chroma)
            elif value == g:
                sixth = np.float32(b - r) / np.float32(chroma) + np.float32(2)
            else:
                sixth = np.float32(r - g) / np.float32(chroma) + np.float32(4)
            if sixth < np.float32(0):
                sixth += np.float32(6)
            planes[0, y, x] = int(sixth * np.float32(42.5) + np.float32(0.5))
            planes[1, y, x] = int(np.float32(255 * chroma) / np.float32(value if value > 0 else 1) + np.float32(0.5))
            planes[2, y, x] = value
    return planes


@compiled
def _lab(image: Array) -> Array:
    height, width, _ = image.shape
    planes = np.empty((3, height, width), np.uint8)
    for y in range(height):
        for x in range(width):
            r, g, b = image[y, x, 0], image[y, x, 1], image[y, x, 2]
            i = (_XYZ[0, 0, r] + _XYZ[0, 1, g] + _XYZ[0, 2, b]) >> _SHIFT
            j = (_XYZ[1, 0, r] + _XYZ[1, 1, g] + _XYZ[1, 2, b]) >> _SHIFT
            k = (_XYZ[2, 0, r] + _XYZ[2, 1, g] + _XYZ[2, 2, b]) >> _SHIFT
            half = 257 << (_SHIFT - 1)  # 128.5: the neutral level and rounding
            planes[0, y, x] = _LIGHTNESS[j]
            planes[1, y, x] = min(max((5 * (_ROOT[i] - _ROOT[j]) + half) >> _SHIFT, 0), 255)
            planes[2, y, x] = min(max((2 * (_ROOT[j] - _ROOT[k]) + half) >> _SHIFT, 0), 255)
    return planes


@compiled
def _normalised_rg_intensity(image: Array) -> Array:
    height, width, _ = image.shape
    planes = np.empty((3, height, width), np.uint8)
    for y in range(height):
        for x in range(width):
            r, g, b = np.int32(image[y, x, 0]), np.int32(image[y, x, 1]), np.int32(image[y, x, 2])
            total = r + g + b
            planes[0, y, x] = (255 * r + total // 2) // total if total else 85
            planes[1, y, x] = (255 * g + total // 2) // total if total else 85
            planes[2, y, x] = (total + 1) // 3
    return planes


def _hue(image: Array) -> Array:
    return np.repeat(_hsv(image)[:1], 3, axis=0)


def _intensity(image: Array) -> Array:
    return np.repeat(_normalised_rg_intensity(image)[2:], 3, axis=0)


_CONVERSIONS = {"hsv": _hsv, "lab": _lab, "rgi": _normalised_rg_intensity, "h": _hue, "i": _intensity}
COLOUR_SPACES = tuple(_CONVERSIONS)


def colour_planes(image: UInt8[Array, "H W 3"], space: str) -> UInt8[Array, "3 H W"]:
    """The image in one of `COLOUR_SPACES`, each channel stretched to 0..255.

    hsv: hue (a full turn is 255), saturation, value. lab: CIE L*a*b* of sRGB, L times 2.55, a and b shifted by 128.
    rgi: r / (r+g+b), g / (r+g+b), intensity. h, i: hue or intensity alone, three times.

    Paper: Uijlings et al. 2013, §3.2 (complementary colour spaces).
    """
    planes: Array = _CONVERSIONS[space](image)
    return planes
