"""A page of warped regions, as the paper's Figures 2 and 7."""

import io
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from rcnn_dist.arrays import Array
from rcnn_dist.report.plots import RC

_CELL = 1.1  # inches


@matplotlib.rc_context(RC)
def draw_warp_samples(rows: Mapping[str, Sequence[Array]]) -> bytes:
    """A PNG with one row of pictures [H, W, 3] (0 to 255) for each label.

    Raises:
        ValueError: there is no picture, or rows differ in length.

    Paper: App. A, Figure 7.
    """
    count = len(next(iter(rows.values()), ()))
    if not count or any(len(pictures) != count for pictures in rows.values()):
        raise ValueError(
            f"pictures per row: { {label: len(pictures) for label, pictures in rows.items()} }; equally many wanted, one at least"
        )
    figure = Figure(figsize=(1.3 + _CELL * count, _CELL * len(rows)), dpi=150, facecolor="white")
    grid = figure.subplots(len(rows), count, squeeze=False)
    for line, (label, pictures) in zip(grid, rows.items(), strict=True):
        line[0].set_ylabel(label, rotation=0, ha="right", va="center")
        for axes, picture in zip(line, pictures, strict=True):
            axes.imshow(np.clip(np.round(picture), 0, 255).astype(np.uint8))
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
    figure.tight_layout(pad=0.4)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()
