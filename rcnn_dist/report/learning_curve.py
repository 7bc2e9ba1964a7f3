"""Loss and error of a training over its steps."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rcnn_dist.report.plots import BLUE, ORANGE, RC, SKY, to_svg


@matplotlib.rc_context(RC)
def plot_learning_curve(rows: Sequence[Mapping[str, Any]]) -> str:
    """The loss on the left; on the right top-1 and top-5 error, where the rows have them. Rows have `steps` and `loss`."""
    figure = Figure(figsize=(6.6, 2.6), layout="constrained")
    steps = [row["steps"] for row in rows]
    curves = {"loss": {"training loss": ("loss", BLUE)}, "error": {"top-1 error": ("top1", ORANGE), "top-5 error": ("top5", SKY)}}
    panels = [title for title in curves if title == "loss" or "top1" in rows[-1]]
    for axes, title in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for label, (key, colour) in curves[title].items():
            values = [row[key] if title == "loss" else 1 - row[key] for row in rows]
            axes.plot(steps, values, "o-", color=colour, linewidth=1.5, markersize=3, label=label)
        axes.set_xlabel("step")
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.grid(True)
        axes.legend(frameon=False, fontsize=8)
    return to_svg(figure)
