"""A page of the regions most like one: the query, and a picture of each hit with its cosine."""

from dataclasses import dataclass

import numpy as np

from rcnn_dist.arrays import Array, Float64, UInt8
from rcnn_dist.report.drawing import draw_detections
from rcnn_dist.report.page import render_page

_SURROUNDINGS = 0.35  # of a region's sides, shown around it
_SIDE = 300


@dataclass(frozen=True, slots=True)
class Hit:
    """One region: a JPEG of it (None where its image cannot be read), and what is said below."""

    picture: bytes | None
    cosine: float
    label: str
    caption: str


@dataclass(frozen=True, slots=True)
class SimilarPage:
    title: str
    note: str
    query: bytes  # JPEG
    hits: tuple[Hit, ...]


def render_similar(page: SimilarPage) -> str:
    """The page as HTML that opens from a file and asks for nothing on the network; all text is shown as text."""
    return render_page("similar.html", page=page)


def draw_region(image: UInt8[Array, "H W 3"], box: Float64[Array, "4"]) -> bytes:
    """A JPEG of a region, outlined, with some of what surrounds it."""
    height, width = image.shape[:2]
    margin = _SURROUNDINGS * max(box[2] - box[0], box[3] - box[1])
    x1, y1 = (int(max(0, edge - margin)) for edge in box[:2])
    x2, y2 = (int(np.ceil(min(limit, edge + margin))) for edge, limit in zip(box[2:], (width, height), strict=True))
    shifted = box - np.array([x1, y1, x1, y1], np.float64)
    return draw_detections(image[y1:y2, x1:x2], shifted[None], [""], ["found"], _SIDE)
