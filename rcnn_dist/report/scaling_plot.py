"""Figure of a run's detectors among more and more classes, beside what the paper and Dean et al. printed; SVG text as in `plots`."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import matplotlib
from matplotlib.figure import Figure

from rcnn_dist.report.plots import BLUE, INK, ORANGE, RC, SKY, to_svg

_STEPS = {"proposals": SKY, "features": ORANGE, "product": BLUE, "nms": INK}


class Claim(NamedTuple):
    """A published figure: seconds of one image with so many classes."""

    who: str
    classes: int
    seconds: float
    what: str


# Paper: §2.2; the second is its estimate from the first, the third what it cites.
CLAIMS = (
    Claim("R-CNN, product alone", 100_000, 10.0, "2000 x 4096 times 4096 x 100,000 on a multi-core CPU; predictors take 1.5 GB"),
    Claim("R-CNN, whole", 10_000, 60.0, "about a minute on a CPU, 53 s of it proposals and features; mAP said to stay at 59% (VOC2007)"),
    Claim("Dean et al. 2013", 10_000, 300.0, "5 minutes; mAP about 16% (VOC2007) with 10,000 distractor classes"),
)


@matplotlib.rc_context(RC)
def plot_scaling(scaling: Mapping[str, Any]) -> str:
    """Seconds per image and step over the number of classes, both logarithmic.

    Paper: §2.2.
    """
    figure = Figure(figsize=(5.4, 3.0), layout="constrained")
    axes = figure.add_subplot(xscale="log", yscale="log", xlabel="classes", ylabel="seconds per image")
    counts = [row["classes"] for row in scaling["rows"]]
    for step, colour in _STEPS.items():
        values = [max(row["seconds_per_image"][step], 1e-6) for row in scaling["rows"]]
        axes.plot(counts, values, color=colour, marker="o", markersize=3, label=step)
    for claim, marker in zip(CLAIMS, "sD^", strict=True):
        axes.plot([claim.classes], [claim.seconds], marker, color=INK, markerfacecolor="none", label=claim.who)
    axes.xaxis.set_major_formatter("{x:,.0f}")  # powers of ten would be formulas
    axes.yaxis.set_major_formatter("{x:g}")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    return to_svg(figure)
