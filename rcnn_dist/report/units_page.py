"""A page to browse what units respond to: per unit its regions as the network saw them, with the unit's receptive field and activation."""

import io
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from rcnn_dist.arrays import Array, Float64, UInt8
from rcnn_dist.report.page import render_page

_SIDE = 112


@dataclass(frozen=True, slots=True)
class UnitRegion:
    """One region: a JPEG of it (None where its image cannot be read), its activation as a share of the maximum, and where it is."""

    picture: bytes | None
    share: float
    caption: str


@dataclass(frozen=True, slots=True)
class UnitRow:
    """A unit and its regions, the strongest first."""

    unit: int
    name: str
    maximum: float
    regions: tuple[UnitRegion, ...]


@dataclass(frozen=True, slots=True)
class UnitsPage:
    title: str
    note: str
    rows: tuple[UnitRow, ...]


def render_units(page: UnitsPage) -> str:
    """The page as HTML that opens from a file and asks for nothing on the network; all text is shown as text."""
    return render_page("units.html", page=page, side=_SIDE)


def draw_unit_region(warped: UInt8[Array, "S S 3"], field: Float64[Array, "4"] | None, share: float) -> bytes:
    """A JPEG of a warped region, its receptive field (a box in the same frame) outlined, its activation written in the corner.

    Paper: Figures 4 and 12.
    """
    scale = _SIDE / len(warped)
    picture = Image.fromarray(warped).resize((_SIDE, _SIDE), Image.Resampling.BILINEAR)
    draw = ImageDraw.Draw(picture)
    if field is not None:
        x1, y1, x2, y2 = np.round(field * scale).astype(int).tolist()
        draw.rectangle((x1, y1, x2 - 1, y2 - 1), outline="#10151b", width=3)
        draw.rectangle((x1 + 1, y1 + 1, x2 - 2, y2 - 2), outline="#ffffff", width=1)
    font = ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans-Bold.ttf"), 13)
    draw.text((5, 4), f"{share:.1f}", fill="#ffffff", font=font, stroke_width=2, stroke_fill="#10151b")
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=80)
    return stream.getvalue()
