"""The report's figures as SVG text that follows the reader's light or dark setting.

Equal arguments give equal bytes, and no pyplot state is touched. Names are drawn as text, never as formulas or markup.
"""

import io
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, MaxNLocator, NullLocator, PercentFormatter

from rcnn_dist.arrays import Array, Float64, Int64
from rcnn_dist.report.drawing import short_label

# the ink becomes currentColor, which the figure's own style sets for a light or a dark page
INK = "#1b2431"
THEME = (
    "<style>svg{color:#1b2430}text{font-family:system-ui,sans-serif!important}@media(prefers-color-scheme:dark){svg{color:#dfe6ee}}</style>"
)
RC: Any = {
    "svg.hashsalt": "rcnn_dist",
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": INK,
    "grid.alpha": 0.14,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
}
# Okabe and Ito's colours, which colour-blind readers tell apart
BLUE, ORANGE, SKY, GREY = "#2f86c9", "#e69f00", "#56b4e9", "#8a94a0"
_PHASES = {"read": SKY, "warp": "#009e73", "forward": "#cc79a7", "compute": BLUE, "write": ORANGE, "wait": GREY}
_OTHERS = ("#d55e00", "#f0e442")
_MARKS = (("D", ORANGE), ("o", "#36b58e"), ("^", "#cc79a7"), ("s", "#d55e00"))
_LEGEND_LETTERS = 56


@matplotlib.rc_context(RC)
def plot_average_precision(classes: Sequence[str], ap: Mapping[str, Sequence[float]]) -> str:
    """AP of each class, the best on top: bars for the first variant of `ap`, a mark for each other, a line for the first's mean.

    Classes whose AP is NaN (they have no objects) come last and are marked "no objects".
    """
    names = [short_label(name, 22) for name in classes]
    first, *others = ap
    values = np.asarray(ap[first], dtype=np.float64)
    order = np.argsort(np.where(np.isnan(values), 2, -values), kind="stable")
    figure, axes = bars([names[k] for k in order])
    rows = np.arange(order.size)
    axes.barh(rows, np.nan_to_num(values[order]), height=0.62, color=BLUE, label=first)
    for variant, (mark, colour) in zip(others, cycle(_MARKS), strict=False):
        axes.plot(
            np.asarray(ap[variant])[order],
            rows,
            mark,
            color=colour,
            markersize=5.5,
            markeredgecolor="white",
            markeredgewidth=0.6,
            label=short_label(variant, 30),
        )
    for row in np.flatnonzero(np.isnan(values[order])):
        axes.text(0.01, float(row), "no objects", va="center")
    if not np.isnan(values).all():
        axes.axvline(float(np.nanmean(values)), color=INK, linestyle=(0, (4, 3)), linewidth=1, label=f"mean of {first}")
    axes.set(xlim=(0, 1), xticks=[0, 0.25, 0.5, 0.75, 1])
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    add_legend(figure, axes)
    return to_svg(figure)


OWN = "this run"  # how the labels of a run's own boxes begin


@matplotlib.rc_context(RC)
def plot_ap_boxes(rows: Mapping[str, Sequence[float]]) -> str:
    """The spread of AP over the classes (percent), a box from quartile to quartile for each row, whiskers to the extremes.

    Classes without AP (NaN) count in no box. A row of one number, such as a mean without its classes, is a diamond alone.
    """
    known = {label: [value for value in values if not np.isnan(value)] for label, values in rows.items()}
    shown = {short_label(label, 36): values for label, values in known.items() if values}
    figure, axes = bars(list(shown))
    figure.set_figwidth(6.4)
    left, (_, bottom, _, height) = 0.02 + 0.0125 * max(len(label) for label in shown), axes.get_position().bounds
    axes.set_position((left, bottom, 0.97 - left, height))
    styles: dict[str, Any] = {f"{part}props": {"color": INK, "linewidth": 1} for part in ("whisker", "cap", "box")}
    found = axes.boxplot(
        list(shown.values()), positions=range(len(shown)), orientation="horizontal", widths=0.55, whis=(0, 100), patch_artist=True,
        showmeans=True, manage_ticks=False, medianprops={"color": INK, "linewidth": 1.6},
        meanprops={"marker": "D", "markerfacecolor": ORANGE, "markeredgecolor": INK, "markersize": 4}, **styles,
    )  # fmt: skip
    for row, (label, values) in enumerate(shown.items()):
        found["boxes"][row].set_facecolor(SKY if label.startswith(OWN) else "none")
        pair = slice(2 * row, 2 * row + 2)
        for artist in (found["boxes"][row], found["medians"][row], *found["whiskers"][pair], *found["caps"][pair]):
            artist.set_visible(len(values) > 1)
    axes.set(xlim=(0, 100), ylim=(len(shown) - 0.4, -0.6))
    axes.xaxis.set_major_formatter(PercentFormatter())
    return to_svg(figure)


@matplotlib.rc_context(RC)
def plot_proposal_recall(table: Mapping[str, Any], proposals: float) -> str:
    """Left: recall and mean best overlap against the first proposals of each image; right: recall at 0.5 by size of objects.

    `table` is budget ("all": no budget) -> measures, as `recall_json` gives it; `proposals` is how many an image has on average.
    """
    figure = Figure(figsize=(6.4, 2.6))
    panels = [figure.add_axes((left, 0.2, 0.41, 0.62)) for left in (0.075, 0.565)]
    budgets = [max(proposals, 1.0) if budget == "all" else float(budget) for budget in table]
    rows = list(table.values())
    order = np.argsort(budgets, kind="stable")
    overall = {"recall at 0.5": "recall_50", "at 0.7": "recall_70", "0.5 to 0.95": "average_recall", "best overlap": "mabo"}
    lines: list[dict[str, list[float | None]]] = [{label: [row[name] for row in rows] for label, name in overall.items()}]
    lines.append({name: [row["by_size"][name]["recall_50"] for row in rows] for name in rows[0]["by_size"]})
    for axes, curves in zip(panels, lines, strict=True):
        for (label, values), (mark, colour) in zip(curves.items(), cycle(_MARKS), strict=False):
            if values[0] is not None:
                axes.plot(np.array(budgets)[order], np.array(values)[order], marker=mark, color=colour, markersize=3.5, label=label)
        axes.set(xscale="log", ylim=(0, 1.03), xlabel="proposals per image")
        axes.set_xticks([int(budget) for budget in table if budget != "all"], [budget for budget in table if budget != "all"])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.grid(True)
        axes.legend(
            loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, frameon=False, fontsize=7.5, handlelength=1.4, columnspacing=1.0
        )
    panels[1].set_xlabel("proposals per image (recall at 0.5, by size)")
    return to_svg(figure)


@matplotlib.rc_context(RC)
def plot_stage_times(names: Sequence[str], seconds: Sequence[float], phases: Sequence[Mapping[str, float]]) -> str:
    """Wall time of each stage, its bar split in the proportions of its phases, or one plain bar where none was measured."""
    figure, axes = bars([short_label(name, 22) for name in names])
    unit, unit_name = next(
        (size, name) for size, name in ((3600, "hours"), (60, "minutes"), (1, "seconds")) if max(seconds) >= 2 * size or size == 1
    )
    rows, ends = np.arange(len(names)), np.zeros(len(names))
    totals = np.array([sum(stage.values()) for stage in phases])
    others = iter(_OTHERS * len(totals))
    for phase in order_phases(phases):
        shares = np.array([stage.get(phase, 0.0) for stage in phases]) / np.where(totals > 0, totals, 1)
        widths = shares * np.asarray(seconds) / unit
        axes.barh(rows, widths, left=ends, height=0.62, color=_PHASES.get(phase) or next(others), label=short_label(phase, 16))
        ends += widths
    plain = (totals <= 0) & (np.asarray(seconds) > 0)
    if plain.any():
        axes.barh(rows[plain], np.asarray(seconds)[plain] / unit, height=0.62, color="none", edgecolor=INK, label="not split")
    for row, stage_seconds in enumerate(seconds):
        axes.annotate(format_duration(stage_seconds), (stage_seconds / unit, row), (4, 0), textcoords="offset points", va="center")
    axes.set(xlim=(0, max(max(seconds) / unit, 1e-3) * 1.3), xlabel=unit_name)
    add_legend(figure, axes)
    return to_svg(figure)


@matplotlib.rc_context(RC)
def plot_mining(waves: Int64[Array, "T"], negatives: Int64[Array, "T"], found: Int64[Array, "T"], objective: Float64[Array, "T"]) -> str:
    """One class's refits over the waves of hard negative mining.

    Above the negatives in its cache, and as bars those found since the fit before; below the SVM's objective.
    """
    figure = Figure(figsize=(2.7, 2.3))
    upper: Axes | None = None
    cache = "negatives, and bars: newly found"
    for values, name, colour, bottom in ((negatives, cache, BLUE, 0.59), (objective, "objective", ORANGE, 0.16)):
        axes = upper = figure.add_axes((0.17, bottom, 0.78, 0.31), sharex=upper)
        if name == cache:
            axes.bar(waves, found, width=max(0.6, float(np.ptp(waves)) / 60), color=SKY, alpha=0.6)
        axes.plot(waves, values, "o-", color=colour, linewidth=1.5, markersize=3)
        axes.set_title(name, loc="left", fontsize=9, pad=3)
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_locator(MaxNLocator(3))
        axes.yaxis.set_major_formatter(EngFormatter(sep="") if name == cache else "{x:g}")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.grid(True)
        axes.tick_params(labelbottom=name == "objective")
    axes.set_xlabel("wave", labelpad=0)
    return to_svg(figure)


def order_phases(phases: Iterable[Iterable[str]]) -> list[str]:
    """Every phase once: read, warp, forward, compute, write and wait first, then the others by name."""
    found = {phase for stage in phases for phase in stage}
    return [phase for phase in _PHASES if phase in found] + sorted(found - _PHASES.keys())


def format_duration(seconds: float) -> str:
    """A time as a reader says it: 0.42 s, 12.3 s, 3 min 05 s, 2 h 07 min."""
    if seconds < 59.95:
        return f"{seconds:.2f} s" if seconds < 9.995 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{round(seconds) // 3600} h {round(seconds) % 3600 // 60:02d} min"


def bars(names: Sequence[str]) -> tuple[Figure, Axes]:
    """An empty figure with one row per name from top to bottom, its left margin as wide as the longest name."""
    height = 0.27 * len(names) + 0.55
    figure = Figure(figsize=(4.2, height))
    left = 0.04 + 0.022 * max(len(name) for name in names)
    axes = figure.add_axes((left, 0.5 / height, 0.94 - left, 1 - 0.55 / height))
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", length=0)
    axes.grid(True, axis="x")
    return figure, axes


def add_legend(figure: Figure, axes: Axes) -> None:
    """Names the bars, then the lines, in a strip that makes the figure higher."""
    handles = sorted(axes.get_legend_handles_labels()[0], key=lambda handle: isinstance(handle, Line2D))
    letters = [len(str(handle.get_label())) + 4 for handle in handles] or [0]
    columns = len(letters) if sum(letters) <= _LEGEND_LETTERS else max(1, _LEGEND_LETTERS // max(letters))
    height, (left, bottom, width, part) = figure.get_figheight(), axes.get_position().bounds
    higher = height + 0.1 + 0.2 * -(-len(letters) // columns)
    figure.set_figheight(higher)
    axes.set_position((left, bottom * height / higher, width, part * height / higher))
    spacing = {"handlelength": 1.1, "handletextpad": 0.5, "columnspacing": 1.1, "borderpad": 0.0}
    figure.legend(handles=handles, loc="upper left", bbox_to_anchor=(0.02, 1), ncols=columns, frameon=False, **spacing)


def to_svg(figure: Figure) -> str:
    """The figure as SVG text whose ink is the page's."""
    stream = io.StringIO()
    with warnings.catch_warnings():
        # letters that matplotlib's font lacks are drawn by the browser, which looks in all of its own
        warnings.filterwarnings("ignore", message="Glyph")
        figure.savefig(stream, format="svg", transparent=True, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    # a hundredth of a point is finer than any screen; what stands between tags is read by people
    text = re.sub(r">[^<]*<|(\d\.\d\d)\d+", lambda found: found[1] or found[0], stream.getvalue())
    return text[text.index("<svg") :].replace(INK, "currentColor").replace("<defs>", THEME + "<defs>", 1)
