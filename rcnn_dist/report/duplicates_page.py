"""A page of pairs of images that may be one, to be judged by eye."""

import io
from dataclasses import dataclass

from PIL import Image

from rcnn_dist.arrays import Array, UInt8
from rcnn_dist.report.page import render_page

_SIDE = 320


@dataclass(frozen=True, slots=True)
class ShownPair:
    """Two images, a JPEG of each (None where it cannot be read), how far apart they are, and what else they share."""

    a: str
    b: str
    pictures: tuple[bytes | None, bytes | None]
    distance: float | None
    shared: str


@dataclass(frozen=True, slots=True)
class DuplicatesPage:
    title: str
    note: str
    pairs: tuple[ShownPair, ...]


def render_duplicates(page: DuplicatesPage) -> str:
    """The page as HTML that opens from a file and asks for nothing on the network; all text is shown as text."""
    return render_page("duplicates.html", page=page)


def small_jpeg(image: UInt8[Array, "H W 3"]) -> bytes:
    """A JPEG of a whole image, the longer side at most 320 pixels."""
    picture = Image.fromarray(image)
    picture.thumbnail((_SIDE, _SIDE))
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=80)
    return stream.getvalue()
