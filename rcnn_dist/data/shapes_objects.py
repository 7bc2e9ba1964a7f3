"""What a shape looks like: an outline filled with a texture, the two that its class name says, and a hue where it says one."""

from collections.abc import Callable

import cv2
import numpy as np

from rcnn_dist.arrays import Array, Float32, Float64

_SUBPIXEL_BITS = 4  # cv2's fixed-point coordinates
_FINER = 4
_CIRCLE = np.linspace(0, 2 * np.pi, 64, endpoint=False)

Polygons = tuple[np.ndarray, ...]
Texture = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _ellipse(radius: float) -> Float64[Array, "P 2"]:
    return radius * np.stack([np.cos(_CIRCLE), np.sin(_CIRCLE)], axis=1)


def _regular(corners: int, inner: float = 1.0) -> Float64[Array, "P 2"]:
    """A regular polygon, or a star where every second corner lies at radius `inner`; the first corner points up."""
    count = corners if inner == 1.0 else 2 * corners
    angle = np.arange(count) * 2 * np.pi / count - np.pi / 2
    radius = np.where(np.arange(count) % 2, inner, 1.0)
    return radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _cross(arm: float) -> Float64[Array, "P 2"]:
    corner = np.array([[-arm, -1], [arm, -1], [arm, -arm]])
    quarter_turn = np.array([[0, 1], [-1, 0]])
    return np.concatenate([corner @ np.linalg.matrix_power(quarter_turn, turn) for turn in range(4)])


def _soft(wave: np.ndarray) -> np.ndarray:
    """A wave of amplitude 1 turned into bands of 0 and 1 with narrow ramps, so that edges do not flicker."""
    return 0.5 + 0.5 * np.tanh(5 * wave)


def _stripes(u: np.ndarray, _: np.ndarray) -> np.ndarray:
    return _soft(np.sin(2 * np.pi * u))


def _checks(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return _soft(np.sin(np.pi * u) * np.sin(np.pi * v) * 2)


def _dots(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return _soft(np.cos(2 * np.pi * u) + np.cos(2 * np.pi * v) - 0.6)


def _rings(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return _soft(np.cos(2 * np.pi * np.hypot(u, v)))


def _waves(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return _soft(np.sin(2 * np.pi * (u + 0.3 * np.sin(2 * np.pi * v * 0.8))))


def _spokes(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return _soft(np.sin(9 * np.arctan2(v, u)))


OUTLINES: dict[str, Polygons] = {
    "cross": (_cross(0.38),),
    "disc": (_ellipse(1.0),),
    "ring": (_ellipse(1.0), _ellipse(0.55)),
    "square": (0.9 * np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]]),),
    "star": (_regular(5, inner=0.45),),
    "triangle": (_regular(3),),
}
HUES = {"red": 0.0, "yellow": 60.0, "green": 120.0, "cyan": 180.0, "blue": 240.0, "magenta": 300.0}  # degrees
TEXTURES: dict[str, Texture] = {
    "checkered": _checks,
    "dotted": _dots,
    "ringed": _rings,
    "spoked": _spokes,
    "striped": _stripes,
    "wavy": _waves,
}


def coverage(outline: Polygons, to_image: Float64[Array, "2 3"], height: int, width: int) -> Float32[Array, "H W"]:
    """How much of each pixel lies inside the outline, 0 to 1, after the affine map from the shape's frame to the image's."""
    fine = np.zeros((height * _FINER, width * _FINER), dtype=np.uint8)  # cv2's own smooth edges make a shape a pixel wider
    polygons = [(points @ to_image[:, :2].T + to_image[:, 2]) * _FINER for points in outline]
    # a pixel's centre is at .5 in our half-open frame and at 0 in cv2's
    fixed_point = [np.round((points - 0.5) * 2**_SUBPIXEL_BITS).astype(np.int32) for points in polygons]
    cv2.fillPoly(fine, fixed_point, 255, shift=_SUBPIXEL_BITS)
    return cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def texture_weight(texture: Texture, to_image: Float64[Array, "2 3"], cells: float, height: int, width: int) -> Float32[Array, "H W"]:
    """The texture at each pixel, 0 to 1, with `cells` repeats across the shape; it turns and stretches with the shape."""
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    from_image = np.linalg.inv(to_image[:, :2])
    offset = np.stack([x - to_image[0, 2], y - to_image[1, 2]])
    u, v = np.tensordot(from_image, offset, axes=1) * cells / 2
    return texture(u, v).astype(np.float32)
