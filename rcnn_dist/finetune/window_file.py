"""The window file of the original: all windows of a set as text, which Caffe's window data layer reads.

One block per image: `# index`, path, channels, height, width, number of windows, then `label overlap x1 y1 x2 y2`, in inclusive pixels
counted from 0. The overlap has three decimals, so that an IoU of 0.4995 comes back as 0.5 and is foreground.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from rcnn_dist.arrays import Array, Float, Int64
from rcnn_dist.errors import DataError
from rcnn_dist.geometry.boxes import round_half_away

_TO_INCLUSIVE = np.array([0, 0, 1, 1])


@dataclass(frozen=True, slots=True, eq=False)
class ImageWindows:
    """One image's block: ground truth first, then proposals.

    `label` is the class that a window overlaps most, counted from 1, 0 where it overlaps none (whether it is foreground is decided later).
    """

    path: str
    height: int
    width: int
    boxes: Float[Array, "R 4"]  # half-open pixels
    label: Int64[Array, "R"]
    overlap: Float[Array, "R"]


def format_window_file(images: Sequence[ImageWindows]) -> str:
    """The text of a window file; coordinates are rounded and kept inside the image.

    Law: parse_window_file(format_window_file(images)) gives the images back, overlaps to three decimals.

    Reference: finetuning/rcnn_make_window_file.m (rounding and clipping as on its branch ilsvrc).
    """
    lines = []
    for index, image in enumerate(images):
        lines += [f"# {index}", image.path, "3", str(image.height), str(image.width), str(len(image.boxes))]
        limits = np.array([image.width, image.height, image.width, image.height]) - 1
        corners = np.clip(round_half_away(image.boxes - _TO_INCLUSIVE), 0, limits).astype(np.int64)
        for label, overlap, (x1, y1, x2, y2) in zip(image.label, image.overlap, corners, strict=True):
            lines.append(f"{label} {overlap:.3f} {x1} {y1} {x2} {y2}")
    return "".join(f"{line}\n" for line in lines)


def parse_window_file(text: str) -> list[ImageWindows]:
    """The images of a window file.

    Raises:
        DataError: the text is no window file; the message names the image.
    """
    lines = iter(text.splitlines())
    images: list[ImageWindows] = []
    try:
        for line in lines:
            if line.strip() != f"# {len(images)}":
                raise ValueError(f"found {line!r}, expected '# {len(images)}'")
            images.append(_read_image(lines))
    except ValueError as error:
        raise DataError(f"no window file: image {len(images)}: {error}") from error
    return images


def _read_image(lines: Iterator[str]) -> ImageWindows:
    path, channels, height, width, count = _take(lines, 5)
    if channels.strip() != "3":
        raise ValueError(f"{path} has {channels} channels, expected 3")
    rows = np.array([line.split() for line in _take(lines, int(count))], dtype=np.float64).reshape(-1, 6)
    return ImageWindows(path, int(height), int(width), rows[:, 2:] + _TO_INCLUSIVE, rows[:, 0].astype(np.int64), rows[:, 1])


def _take(lines: Iterator[str], count: int) -> list[str]:
    taken = list(islice(lines, count))
    if len(taken) < count:
        raise ValueError(f"it ends after {len(taken)} of {count} lines")
    return taken
