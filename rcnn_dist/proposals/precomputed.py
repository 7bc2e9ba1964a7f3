"""Boxes that somebody else proposed: the authors' MATLAB files, and what every such table is held to."""

import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rcnn_dist.arrays import Array, Float64
from rcnn_dist.errors import BadImageError, DataError
from rcnn_dist.geometry.boxes import clip_boxes, half_open_from_voc


@dataclass(frozen=True, slots=True)
class PrecomputedParams:
    files: tuple[str, ...] = ()  # urls: Parquet (a file or a folder) with image_id, x1, y1, x2, y2 in our frame, or the authors' .mat


def read_mat(data: bytes, name: str) -> dict[str, Float64[Array, "R 4"]]:
    """Image id -> boxes in our frame, in the file's order, from a file such as the authors' `voc_2007_test.mat`.

    It holds two cell arrays of one length: `images` (ids) and `boxes` (per image [R, 4], 1-based inclusive y1, x1, y2, x2).

    Raises:
        DataError: it is not such a file; the message gives `name` and, where one is to blame, the image.

    Reference: fact sheet §3; rcnn imdb/roidb_from_voc.m.
    """
    from scipy.io import loadmat  # slow to load, and few data sets have such files

    try:
        content = loadmat(io.BytesIO(data), variable_names=["images", "boxes"])
    except NotImplementedError as error:
        raise DataError(f"{name} is a MATLAB 7.3 file: save it again in MATLAB with the option -v7") from error
    except Exception as error:  # damaged bytes make the reader raise nearly anything
        raise DataError(f"{name} cannot be read as a MATLAB file: {error or type(error).__name__}") from error
    cells = [content.get(key, np.empty(0)) for key in ("images", "boxes")]
    if any(cell.dtype != object for cell in cells) or cells[0].size != cells[1].size:
        raise DataError(f"{name}: two cell arrays of one length wanted, 'images' and 'boxes', found {_shapes(content)}")
    found: dict[str, Array] = {}
    for image, boxes in zip(cells[0].ravel(), cells[1].ravel(), strict=True):
        image_id = str(image.item()) if image.size == 1 else str(image)
        if image_id in found:
            raise DataError(f"{name}: image {image_id} comes twice")
        if boxes.size and (boxes.ndim != 2 or boxes.shape[1] != 4 or boxes.dtype.kind not in "iuf"):
            raise DataError(f"{name}: the boxes of image {image_id} are {boxes.dtype} {boxes.shape}, numbers [R, 4] are wanted")
        y1_x1_y2_x2 = boxes.astype(np.float64).reshape(-1, 4)
        found[image_id] = half_open_from_voc(y1_x1_y2_x2[:, [1, 0, 3, 2]])
    return found


def fit_to_image(boxes: Float64[Array, "R 4"], width: int, height: int) -> Float64[Array, "R 4"]:
    """The boxes clipped to their image, in their order.

    Raises:
        BadImageError: a box is not finite, or nothing of it lies in the image, so that the table must be wrong; the message names it.
    """
    clipped = clip_boxes(boxes, width, height)
    wrong = np.flatnonzero(~((clipped[:, 2] > clipped[:, 0]) & (clipped[:, 3] > clipped[:, 1]) & np.isfinite(boxes).all(axis=1)))
    if len(wrong):
        box = ", ".join(f"{edge:g}" for edge in boxes[wrong[0]])
        raise BadImageError(f"precomputed box {wrong[0]} is ({box}), which is no part of an image of {width} x {height} pixels")
    return clipped


def _shapes(content: Mapping[str, object]) -> str:
    arrays = {key: value for key, value in content.items() if isinstance(value, np.ndarray)}
    return ", ".join(f"'{key}' {value.dtype} {value.shape}" for key, value in arrays.items()) or "neither"
