"""Boxes and labels drawn on a photograph for a reader who may not tell red from green."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from rcnn_dist.arrays import Array, Float64, UInt8

BoxKind = Literal["true", "false", "missed", "object", "found"]

_DARK = "#10151b"


@dataclass(frozen=True, slots=True)
class _Style:
    """How one kind of box looks: never by colour alone, also by its dashes and the mark before its label."""

    colour: str
    width: int
    dash: tuple[int, int] | None
    mark: str


_STYLES: dict[BoxKind, _Style] = {
    "true": _Style("#1fc795", 5, None, "✓ "),
    "false": _Style("#ff5c3d", 5, (24, 8), "✗ "),
    "missed": _Style("#f0e442", 5, (8, 6), "○ "),
    "object": _Style("#ffffff", 2, (5, 5), ""),
    "found": _Style("#56b4e9", 4, None, ""),
}


def short_label(text: str, limit: int) -> str:
    """`text` in at most `limit` characters, with � for what cannot be printed (controls, direction marks, lone surrogates)."""
    clean = "".join(letter if letter.isprintable() else "�" for letter in text[: limit + 1])
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"


def draw_detections(
    image: UInt8[Array, "H W 3"], boxes: Float64[Array, "K 4"], labels: Sequence[str], kinds: Sequence[BoxKind], max_side: int = 480
) -> bytes:
    """A JPEG of `image` with its boxes and labels, the longer side scaled to `max_side` pixels.

    Lines and letters are drawn after scaling, so they read the same on every picture; box i is scaled by the same factor and cut at
    the border. True detections are green and solid, false ones red in long dashes, missed objects yellow in short
    dashes, other ground truth (`"object"`) thin, white and below the rest, detections that nobody has judged (`"found"`) blue and solid
    without a mark. A box with an empty label gets none.

    Raises:
        ValueError: boxes, labels and kinds differ in number, or a box is not finite.
    """
    if not len(boxes) == len(labels) == len(kinds):
        raise ValueError(f"{len(boxes)} boxes, {len(labels)} labels and {len(kinds)} kinds: give one label and one kind per box")
    if not np.isfinite(boxes).all():
        raise ValueError(f"box {np.flatnonzero(~np.isfinite(boxes).all(axis=1))[0]} is not finite: leave it out of the picture")
    picture, scale = _scaled(image, max_side)
    size = picture.size
    draw = ImageDraw.Draw(picture)
    corners = [_pixels(box * scale, size) for box in boxes]
    # ground truth first: an object that was missed may be among the objects too
    for corner, kind in sorted(zip(corners, kinds, strict=True), key=lambda drawn: drawn[1] != "object"):
        _draw_outline(draw, corner, _STYLES[kind])
    font = ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans-Bold.ttf"), max(12, max_side // 20))
    for corner, kind, label in zip(corners, kinds, labels, strict=True):
        if label:
            _draw_label(draw, corner, short_label(_STYLES[kind].mark + label, 60), _STYLES[kind].colour, font, size)
    return _jpeg(picture)


def draw_plain(image: UInt8[Array, "H W 3"], max_side: int) -> bytes:
    """A JPEG of `image` alone, the longer side scaled to `max_side` pixels."""
    return _jpeg(_scaled(image, max_side)[0])


def _scaled(image: UInt8[Array, "H W 3"], max_side: int) -> tuple[Image.Image, float]:
    """The picture and its scale."""
    height, width = image.shape[:2]
    scale = max_side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return Image.fromarray(image).resize(size, Image.Resampling.LANCZOS), scale


def _jpeg(picture: Image.Image) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=80)
    return stream.getvalue()


def _pixels(box: Float64[Array, "4"], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """First and last pixel of a half-open box, inside the picture."""
    x1, y1, x2, y2 = (round(float(edge)) for edge in box)
    left, top = min(max(x1, 0), size[0] - 1), min(max(y1, 0), size[1] - 1)
    return left, top, max(left, min(x2, size[0]) - 1), max(top, min(y2, size[1]) - 1)


def _draw_outline(draw: ImageDraw.ImageDraw, corner: tuple[int, int, int, int], style: _Style) -> None:
    x1, y1, x2, y2 = corner
    # a dark frame below keeps a light line visible on a light photograph and fills the gaps of a dashed one
    draw.rectangle((x1 - 1, y1 - 1, x2 + 1, y2 + 1), outline=_DARK, width=style.width + 2)
    if style.dash is None:
        draw.rectangle(corner, outline=style.colour, width=style.width)
        return
    on, off = style.dash
    inset = style.width - 1
    for x in range(x1, x2 + 1, on + off):
        end = min(x + on - 1, x2)
        draw.rectangle((x, y1, end, min(y1 + inset, y2)), fill=style.colour)
        draw.rectangle((x, max(y2 - inset, y1), end, y2), fill=style.colour)
    for y in range(y1, y2 + 1, on + off):
        end = min(y + on - 1, y2)
        draw.rectangle((x1, y, min(x1 + inset, x2), end), fill=style.colour)
        draw.rectangle((max(x2 - inset, x1), y, x2, end), fill=style.colour)


def _draw_label(
    draw: ImageDraw.ImageDraw,
    corner: tuple[int, int, int, int],
    text: str,
    colour: str,
    font: ImageFont.FreeTypeFont,
    size: tuple[int, int],
) -> None:
    """A filled tag on the box's upper edge, or inside the box where there is no room above it."""
    while len(text) > 2 and font.getlength(text) + 10 > size[0]:
        text = text[:-2] + "…"
    height = int(font.size * 1.35)
    wide = int(font.getlength(text)) + 10
    left = max(0, min(corner[0] - 1, size[0] - wide))
    top = corner[1] - height if corner[1] >= height else corner[1]
    draw.rectangle((left, top, left + wide - 1, top + height - 1), fill=colour)
    draw.text((left + 5, top + height / 2), text, fill=_DARK, font=font, anchor="lm")
