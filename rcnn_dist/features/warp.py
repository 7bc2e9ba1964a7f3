"""The warp: every region, whatever its shape, becomes S x S pixels with some of its surroundings.

The geometry follows the original to the pixel, its oddities included; resampling is bilinear with half-pixel centres, edges
replicated within the source window, and no antialiasing. What lies outside the image is exactly 0 after the mean is subtracted.
"""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from rcnn_dist.arrays import Array, Float, Float32, Int64, UInt8
from rcnn_dist.geometry.boxes import round_half_away, voc_from_half_open

__all__ = ["WarpGeometry", "WarpParams", "paste_regions", "warp_geometry", "warp_regions"]


@dataclass(frozen=True, slots=True)
class WarpParams:
    """How a region is cut out.

    `warp` stretches the box to the square, both axes alone. `square` takes the tightest square around the box, with the pixels
    that surround the box in it. `square_tight` takes the same square and shows only the box and its context in it.
    """

    mode: Literal["warp", "square", "square_tight"] = "warp"  # App. A: warp is 3 to 5 mAP better
    context_padding: int | float = 16  # §2.1: pixels of the warped frame, meant for S = 227; 16 * S / 227 is the same context at another S


@dataclass(frozen=True, slots=True)
class WarpGeometry:
    """Which source pixels each region shows and where in its S x S frame; all else of the frame is outside.

    `window` is (x1, y1, x2, y2), whole half-open pixels inside the image; `offset` and `size` are (x, y) and (width, height) in the frame.
    """

    window: Int64[Array, "R 4"]
    offset: Int64[Array, "R 2"]
    size: Int64[Array, "R 2"]

    def __len__(self) -> int:
        return len(self.window)

    def __getitem__(self, rows: slice | Int64[Array, "_"]) -> "WarpGeometry":
        return WarpGeometry(self.window[rows], self.offset[rows], self.size[rows])

    def mirrored(self, width: int, input_size: int) -> "WarpGeometry":
        """The same regions in the mirrored image, each mirrored within its frame.

        Reference: BVLC/caffe, src/caffe/layers/window_data_layer.cpp (what was left of the region is now right of it).
        """
        left, right = width - self.window[:, 2], width - self.window[:, 0]
        window = np.stack([left, self.window[:, 1], right, self.window[:, 3]], axis=1)
        offset = np.stack([input_size - self.offset[:, 0] - self.size[:, 0], self.offset[:, 1]], axis=1)
        return WarpGeometry(window, offset, self.size)


def warp_geometry(boxes: Float[Array, "R 4"], height: int, width: int, params: WarpParams, input_size: int) -> WarpGeometry:
    """Source window, place and size in the frame of every region of an image of the given size.

    The arithmetic is done in the dtype of the boxes: at halves, float32 boxes may round to another window, as they did in the original.
    The box is scaled about a centre half a pixel to the right of and below its own, so with context (and in the square modes) the window
    is one source pixel wider than intended. Mode `warp` without context takes the box itself, rounded to whole pixels. What a window
    reaches beyond the image is cut off, on all sides, in every mode.
    Law: offset + size <= input_size; a box inside the image with no context fills the frame in mode `warp`.

    Raises:
        ValueError: the context leaves no room for the region, or a box is empty, not finite or shows no pixel of the image.

    Paper: §2.1, App. A. Reference: rcnn_im_crop.m; `square_tight` is only in the paper, its context taken to surround the box on all sides.
    """
    if not 0 <= 2 * params.context_padding < input_size:
        raise ValueError(
            f"context_padding is {params.context_padding}: it must be at least 0 and under half of the input size, {input_size}"
        )
    _refuse(~np.isfinite(boxes).all(axis=1) | (boxes[:, 2:] <= boxes[:, :2]).any(axis=1), boxes, "has no area")
    frame_first, frame_last, shown_first, shown_last = _frame(boxes, params, input_size)
    shown_first, shown_last = np.maximum(shown_first, 1), np.minimum(shown_last, np.array([width, height], dtype=boxes.dtype))
    _refuse((shown_last < shown_first).any(axis=1), boxes, f"shows no pixel of the {width}x{height} image")
    scale = input_size / (frame_last - frame_first + 1)
    offset = round_half_away((shown_first - frame_first) * scale)
    size = np.minimum(round_half_away((shown_last - shown_first + 1) * scale), input_size - offset)
    window = np.concatenate([shown_first - 1, shown_last], axis=1)
    return WarpGeometry(window.astype(np.int64), offset.astype(np.int64), size.astype(np.int64))


def warp_regions(
    image: UInt8[Array, "H W 3"], boxes: Float[Array, "R 4"], params: WarpParams, input_size: int, mean: Float32[Array, "..."]
) -> Float32[Array, "R S S 3"]:
    """All regions of one image as S x S pixels less the mean, 0 outside the image; channels in the image's order.

    `mean` is one value per channel, or a mean image [S, S, 3] of which each region loses the part where it is pasted.

    Raises:
        ValueError: as warp_geometry.

    Paper: §2.1, App. A. Reference: rcnn_im_crop.m.

    Example:
        >>> image = np.full((100, 80, 3), 50, np.uint8)
        >>> boxes = np.array([[10.0, 20.0, 50.0, 90.0]])
        >>> regions = warp_regions(image, boxes, WarpParams(context_padding=0), 32, np.full(3, 40, np.float32))
        >>> regions.shape, float(regions.min()), float(regions.max())
        ((1, 32, 32, 3), 10.0, 10.0)
    """
    height, width = image.shape[:2]
    return paste_regions(image.astype(np.float32), warp_geometry(boxes, height, width, params, input_size), input_size, mean)


def paste_regions(
    pixels: Float32[Array, "H W 3"], geometry: WarpGeometry, input_size: int, mean: Float32[Array, "..."]
) -> Float32[Array, "R S S 3"]:
    """warp_regions for a geometry that is known, from pixels that are float32 already (rounding them in between would change them)."""
    mean = np.ascontiguousarray(np.broadcast_to(mean, (input_size, input_size, 3)))  # three values per pixel are slow to subtract
    crops = np.zeros((len(geometry), input_size, input_size, 3), dtype=np.float32)
    for crop, (x1, y1, x2, y2), (x, y), (width, height) in zip(crops, geometry.window, geometry.offset, geometry.size, strict=True):
        if width > 0 and height > 0:
            place = slice(y, y + height), slice(x, x + width)
            resized = cv2.resize(pixels[y1:y2, x1:x2], (int(width), int(height)), interpolation=cv2.INTER_LINEAR)
            np.subtract(resized, mean[place], out=crop[place])
    return crops


def _frame(boxes: Float[Array, "R 4"], params: WarpParams, input_size: int) -> tuple[Array, Array, Array, Array]:
    """First and last pixel of the source square (or rectangle) that fills the frame, and of what is shown of it, all [R, 2] (x, y).

    In the original's 1-based inclusive pixels, because they decide what a half rounds to.
    """
    inclusive = voc_from_half_open(boxes)
    first, last = inclusive[:, :2], inclusive[:, 2:]
    if params.mode == "warp" and params.context_padding == 0:
        first = round_half_away(first)
        last = np.maximum(round_half_away(last), first)
        return first, last, first, last
    half = (last - first + 1) / 2
    centre = first + half
    context = input_size / (input_size - 2 * params.context_padding)
    reach = half if params.mode == "warp" else half.max(axis=1, keepdims=True)
    frame_first, frame_last = round_half_away(centre - reach * context), round_half_away(centre + reach * context)
    if params.mode != "square_tight":
        return frame_first, frame_last, frame_first, frame_last
    own = half + reach * (context - 1)  # as many source pixels of context on the short sides as on the long ones
    shown_first = np.maximum(round_half_away(centre - own), frame_first)
    shown_last = np.clip(round_half_away(centre + own) - 1, shown_first, frame_last)  # -1: none but the box's own pixels
    return frame_first, frame_last, shown_first, shown_last


def _refuse(bad: Array, boxes: Float[Array, "R 4"], why: str) -> None:
    if bad.any():
        row = int(bad.argmax())
        raise ValueError(f"region {row}, box {boxes[row].tolist()}, {why}: clip the boxes to the image and drop what is left empty")
