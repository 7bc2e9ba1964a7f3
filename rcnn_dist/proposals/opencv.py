"""Selective search as OpenCV has it: slow, an independent yardstick for our own."""

import math
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from rcnn_dist.arrays import Array, Float64, UInt8
from rcnn_dist.proposals.ordering import order_proposals


@dataclass(frozen=True, slots=True)
class OpenCvParams:
    """How OpenCV searches one image."""

    mode: Literal["fast", "quality"] = "fast"  # the paper's choice, §2.1
    min_side: int = 20  # pixels of the searched image; fact sheet §3
    resize_width: int | None = None  # None as on VOC; 500 on ILSVRC and in the authors' demo, fact sheet §3
    max_pixels: int = 1_000_000  # the search takes about 10 s there and grows faster than the pixels
    seed: int = 3  # the authors' seed wherever they have one, fact sheet §0


def opencv_selective_search(image: UInt8[Array, "H W 3"], params: OpenCvParams) -> Float64[Array, "R 4"]:
    """The proposals of an RGB image in the order of `order_proposals`, in the image's own pixels, clipped to it.

    An image with a side under `params.min_side` has none. OpenCV's "fast" is not the original's: other thresholds, other histograms, no
    lower limit on the size of a box.
    Law: equal images and parameters give equal boxes in equal order, in any process and for any number of OpenCV threads.

    Paper: §2.1.
    Reference: fact sheet §3.
    """
    if min(image.shape[:2]) < max(params.min_side, 1):
        return np.zeros((0, 4))
    height, width = image.shape[:2]
    searched = _resized(image, params)
    found = _search(searched, params.mode)
    large = (found[:, 2:] - found[:, :2] >= params.min_side).all(axis=1)
    boxes = _to_original_frame(found[large], width / searched.shape[1])
    boxes = np.clip(boxes, 0, np.array([width, height, width, height], dtype=np.float64))
    return order_proposals(boxes, params.seed, min_side=0.0)  # the limit held in the searched frame


def _resized(image: UInt8[Array, "H W 3"], params: OpenCvParams) -> UInt8[Array, "h w 3"]:
    height, width = image.shape[:2]
    scale = 1.0 if params.resize_width is None else params.resize_width / width
    scale = min(scale, math.sqrt(params.max_pixels / (height * width)))
    if scale == 1.0:
        return image
    new_width = max(round(width * scale), 1)
    new_height = math.ceil(height * new_width / width)
    return cv2.resize(image, (new_width, new_height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)


def _search(image: UInt8[Array, "H W 3"], mode: str) -> Float64[Array, "R 4"]:
    search = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation()
    search.setBaseImage(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    if mode == "fast":
        search.switchToSelectiveSearchFast()
    else:
        search.switchToSelectiveSearchQuality()
    x_y_width_height = np.asarray(search.process(), dtype=np.float64).reshape(-1, 4)
    return np.hstack([x_y_width_height[:, :2], x_y_width_height[:, :2] + x_y_width_height[:, 2:]])


def _to_original_frame(boxes: Float64[Array, "R 4"], scale: float) -> Float64[Array, "R 4"]:
    """Scales about the centre of pixel one, as the original does: (b - 1) * scale + 1 in its 1-based inclusive coordinates.

    Reference: fact sheet §3.
    """
    last_pixel = np.array([0.0, 0.0, 1.0, 1.0])
    return (boxes - last_pixel) * scale + last_pixel
