"""Several runs side by side: rows of a table, and one page with a plot."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np

from rcnn_dist.report.drawing import short_label
from rcnn_dist.report.page import render_page
from rcnn_dist.report.plots import BLUE, GREY, ORANGE, RC, SKY, add_legend, bars, format_duration, to_svg

_COLOURS = (BLUE, ORANGE, "#009e73", "#cc79a7", SKY, GREY)


@dataclass(frozen=True, slots=True)
class Row:
    """One measure of all runs, as text; "–" where a run has none."""

    name: str
    values: tuple[str, ...]


def comparison_rows(found: Mapping[str, Any]) -> dict[str, list[Row]]:
    """Heading -> rows, from what `stages.compare.compare_runs` gives; law: each row has one value per run."""
    runs = list(found["runs"].values())
    ap = [Row(name, tuple(_percent(run["ap"][name]) for run in runs)) for name in found["classes"]]
    means = [Row(label, tuple(_percent(run[key]) for run in runs)) for label, key in _MEANS.items()]
    return {
        f"AP in percent ({found['variant']})": [*ap, *means],
        "mAP against the first run, in points": _against_first(found["resamples"], runs),
        "False positives": _rows(runs, "false_positives", str),
        "mAP in points that it costs": _rows(runs, "mAP_gain", _percent),
        "Objects missed": _rows(runs, "missed", str),
        "Time": _rows(runs, "seconds", format_duration),
    }


_MEANS = {"mAP": "mAP", "mAP without regression": "mAP_without_regression"}


def _against_first(resamples: int, runs: list[dict[str, Any]]) -> list[Row]:
    both = [run["against_first"] or {} for run in runs]
    if not any(both):
        return []
    ends = [f"{_points(one.get('low'))} to {_points(one.get('high'))}" if one else "–" for one in both]
    return [
        Row("difference", tuple(_points(one.get("mAP")) for one in both)),
        Row(f"95% of {resamples} draws of the test images", tuple(ends)),
    ]


def render_comparison(found: Mapping[str, Any]) -> str:
    """The page as HTML that opens from a file and asks for nothing on the network; all text is shown as text."""
    rows = {heading: part for heading, part in comparison_rows(found).items() if part}
    return render_page("comparison.html", found=found, rows=rows, plot=plot_comparison(found))


@matplotlib.rc_context(RC)
def plot_comparison(found: Mapping[str, Any]) -> str:
    """AP of each class and the mean, one bar per run."""
    names = [*found["classes"], "mean"]
    figure, axes = bars([short_label(name, 22) for name in names])
    height = 0.8 / len(found["runs"])
    for index, (url, run) in enumerate(found["runs"].items()):
        values = [np.nan if value is None else 100 * value for value in (*run["ap"].values(), run["mAP"])]
        offsets = np.arange(len(names)) - 0.4 + height * (index + 0.5)
        axes.barh(offsets, np.nan_to_num(values), height=height * 0.9, color=_COLOURS[index % len(_COLOURS)], label=short_label(url, 40))
    axes.set(xlim=(0, 100))
    add_legend(figure, axes)
    return to_svg(figure)


def _rows(runs: list[dict[str, Any]], key: str, show: Any) -> list[Row]:
    names = dict.fromkeys(name for run in runs for name in run[key])
    return [Row(name, tuple("–" if (value := run[key].get(name)) is None else show(value) for run in runs)) for name in names]


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def _points(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:+.1f}"
