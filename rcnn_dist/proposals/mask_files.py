"""Masks that somebody else made: CPMC's MATLAB files, folders of PNG, COCO's run lengths."""

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from rcnn_dist.arrays import Array, Bool
from rcnn_dist.errors import DataError
from rcnn_dist.proposals.masks import decode_mask

Masks = list[Bool[Array, "H W"]]


def read_cpmc(data: bytes, source: str) -> Masks:
    """The masks of a file `<image>.mat` that holds `masks`, logical or whole numbers [H, W, R], the best first.

    Raises:
        DataError: it is not such a file.
    """
    from scipy.io import loadmat  # slow to load, and few data sets have such files

    try:
        found = np.asarray(loadmat(io.BytesIO(data), variable_names=["masks"])["masks"])
    except NotImplementedError as error:
        raise DataError(f"{source} is a MATLAB 7.3 file: save it again in MATLAB with the option -v7") from error
    except MemoryError:
        raise
    except Exception as error:  # damaged bytes make the reader raise nearly anything
        raise DataError(f"{source} cannot be read as a MATLAB file with 'masks': {error or type(error).__name__}") from error
    if found.ndim == 2:
        found = found[:, :, None]  # MATLAB drops a last dimension of 1
    if found.ndim != 3 or found.dtype.kind not in "buif":
        raise DataError(f"{source}: 'masks' is {found.dtype} {found.shape}, [H, W, R] is wanted")
    return [found[:, :, i] != 0 for i in range(found.shape[2])]


def read_png_mask(data: bytes, source: str) -> Bool[Array, "H W"]:
    """One mask from a PNG: every pixel that is not 0 (black, or the first colour of a palette) is inside.

    Raises:
        DataError: it cannot be read.
    """
    try:
        image = Image.open(io.BytesIO(data), formats=["PNG"])
        pixels = np.asarray(image)
    except MemoryError:
        raise
    except Exception as error:  # damaged bytes make Pillow raise nearly anything
        raise DataError(f"{source} cannot be read as PNG: {error or type(error).__name__}") from error
    if image.mode in ("LA", "RGBA"):
        pixels = pixels[..., :-1]
    return np.asarray(pixels.reshape(*pixels.shape[:2], -1).any(axis=2))


def parse_coco(data: bytes, source: str) -> dict[str, list[Mapping[str, Any]]]:
    """Image id -> segmentations of a COCO results file: a list of {image_id, segmentation: {size, counts}} and perhaps score.

    Where all entries of an image have a score, the highest comes first, else they keep the file's order.

    Raises:
        DataError: it is not such a file.
    """
    try:
        entries = json.loads(data)
        found: dict[str, list[Mapping[str, Any]]] = {}
        for entry in entries:
            found.setdefault(str(entry["image_id"]), []).append(entry)
        if any(not isinstance(entry["segmentation"], dict) for entry in entries):
            raise DataError(f"{source}: a segmentation is a polygon: write run lengths, {{size, counts}}")
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"{source} is no list of image_id and segmentation: {error!r}") from error
    for rows in found.values():
        if all(isinstance(row.get("score"), int | float) for row in rows):
            rows.sort(key=lambda row: -row["score"])
    return {image_id: [row["segmentation"] for row in rows] for image_id, rows in found.items()}


def decode_coco(segmentations: Sequence[Mapping[str, Any]], source: str) -> Masks:
    """The masks of COCO's run lengths, packed as text or as a list of numbers; columns first, the first run outside.

    Raises:
        DataError: the run lengths do not fit the size.
    """
    masks = []
    for number, found in enumerate(segmentations):
        try:
            height, width = (int(edge) for edge in found["size"])
            packed = found["counts"]
            counts = _unpack(packed) if isinstance(packed, str) else np.array(packed, np.int64)
            masks.append(np.ascontiguousarray(decode_mask(counts, width, height).T))
        except (ValueError, TypeError, KeyError, IndexError) as error:
            raise DataError(f"{source}, mask {number}: {error!r}") from error
    return masks


def _unpack(text: str) -> Array:
    """Run lengths from their text: six bits a letter, five of them a digit, lowest first; from the third on differences to the run but one.

    Reference: cocoapi, common/maskApi.c (rleFrString).
    """
    counts: list[int] = []
    position = 0
    while position < len(text):
        value, shift, more = 0, 0, True
        while more:
            letter = ord(text[position]) - 48
            value |= (letter & 0x1F) << shift
            more = bool(letter & 0x20)
            position += 1
            shift += 5
            if not more and letter & 0x10:
                value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
    if min(counts, default=0) < 0:
        raise ValueError("a run is negative")
    return np.array(counts, np.int64)
