"""The result of an ablation beside the published one: CSV, Markdown, a plot."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np

from rcnn_dist.report.drawing import short_label
from rcnn_dist.report.plots import BLUE, ORANGE, RC, add_legend, bars, to_svg
from rcnn_dist.report.run_data import median_ap


@dataclass(frozen=True, slots=True)
class ResultRow:
    """One variant; AP in percent, NaN where there is none."""

    name: str
    variant: str  # of AP
    ap: Mapping[str, float]
    mean: float
    published: float | None
    published_ap: Mapping[str, float]  # empty where only a mean was published, or of other classes
    published_median: float | None = None  # over the classes

    @property
    def median(self) -> float:
        """Over the classes that have an AP."""
        return median_ap(self.ap.values())


def table_classes(rows: Sequence[ResultRow]) -> list[str]:
    """The classes of all rows, in the order of their first mention."""
    return list(dict.fromkeys(name for row in rows for name in row.ap))


def format_csv(rows: Sequence[ResultRow], source: str) -> str:
    """One line per variant, and one per published row: method, source, AP of each class, mAP, median AP, all in percent.

    Law: csv.reader gives the names back, whatever is in them.
    """
    classes, stream = table_classes(rows), io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["method", "source", "ap", *classes, "mAP", "median"])
    for row in rows:
        writer.writerow(
            [row.name, "this run", row.variant, *(_cell(row.ap.get(name)) for name in classes), _cell(row.mean), _cell(row.median)]
        )
        if row.published is not None:
            published = (_cell(row.published_ap.get(name)) for name in classes)
            writer.writerow([row.name, source, row.variant, *published, _cell(row.published), _cell(row.published_median)])
    return stream.getvalue()


def format_markdown(rows: Sequence[ResultRow], title: str, source: str) -> str:
    """The table as Markdown: a line per variant, its mean, the published one and the difference, medians, then each class."""
    classes = table_classes(rows)
    variants = ", ".join(dict.fromkeys(row.variant for row in rows))
    about = [f"# {title}", "", f"AP in percent ({variants}){f'; published: {source}' if source else ''}.", ""]
    head = ["", "mAP", "published", "difference", "median", "published median", *classes]
    lines = ["| " + " | ".join(_escaped(cell) for cell in cells) + " |" for cells in (head, *(_cells(row, classes) for row in rows))]
    return "\n".join([*about, lines[0], "|---|" + "---:|" * (len(head) - 1), *lines[1:], ""])


@matplotlib.rc_context(RC)
def plot_rows(rows: Sequence[ResultRow], source: str) -> str:
    """mAP of each variant as a bar, the published one as a mark."""
    figure, axes = bars([short_label(row.name, 30) for row in rows])
    axes.barh(np.arange(len(rows)), np.nan_to_num([row.mean for row in rows]), height=0.62, color=BLUE, label="this run")
    published = [(row.published, place) for place, row in enumerate(rows) if row.published is not None]
    if published:
        axes.plot(*zip(*published, strict=True), "D", color=ORANGE, markersize=5.5, label=short_label(source or "published", 40))
    axes.set(xlim=(0, 100), xlabel="mAP in percent")
    add_legend(figure, axes)
    return to_svg(figure)


def _cells(row: ResultRow, classes: Sequence[str]) -> list[str]:
    difference = "" if row.published is None else f"{row.mean - row.published:+.1f}"
    medians = (_cell(row.median), _cell(row.published_median))
    return [row.name, _cell(row.mean), _cell(row.published), difference, *medians, *(_cell(row.ap.get(name)) for name in classes)]


def _cell(value: float | None) -> str:
    return "" if value is None or np.isnan(value) else f"{value:.1f}"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
