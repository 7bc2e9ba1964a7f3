"""Figures of the error analysis, from what `evaluation/errors.json` holds; SVG text as in `plots`."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator, PercentFormatter

from rcnn_dist.report.drawing import short_label
from rcnn_dist.report.plots import BLUE, GREY, INK, ORANGE, RC, SKY, bars, to_svg

_COLOURS = {"right": "#009e73", "localisation": BLUE, "similar": ORANGE, "other": "#cc79a7", "background": GREY}
_SHOWN_SUBSETS = 6  # more could not be told apart
_CAUSES = (GREY, BLUE, ORANGE, "#cc79a7", "#009e73", SKY)


@matplotlib.rc_context(RC)
def plot_error_modes(trend: Mapping[int, Mapping[str, float]], top: Mapping[str, int]) -> str:
    """Left: the share of each kind among so many of a group's surest false positives; right: what its surest detections are.

    Paper: Figure 5.
    """
    figure = Figure(figsize=(4.6, 2.2))
    axes = figure.add_axes((0.11, 0.2, 0.5, 0.66))
    if len(trend) > 1:
        numbers, kinds = list(trend), list(next(iter(trend.values())))
        shares = [[trend[number][kind] for number in numbers] for kind in kinds]
        axes.stackplot(numbers, shares, labels=kinds, colors=[_COLOURS[kind] for kind in kinds], linewidth=0)
        axes.set(xscale="log", xlim=(numbers[0], numbers[-1]), ylim=(0, 1), xlabel="false positives, the surest first")
        shown = numbers[:: -(-len(numbers) // 5)]
        axes.set_xticks(shown, [str(number) for number in shown])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(PercentFormatter(1))
    else:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "too few\nfalse positives\nfor a trend", ha="center", va="center")
    pie = figure.add_axes((0.64, 0.2, 0.34, 0.66))
    _pie(pie, top)
    handles = [matplotlib.patches.Patch(color=_COLOURS[kind], label=kind) for kind in top]
    figure.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(0.0, 1.01), ncols=5, frameon=False, handlelength=0.9, columnspacing=0.9
    )
    return to_svg(figure)


@matplotlib.rc_context(RC)
def plot_costs(costs: Mapping[str, float]) -> str:
    """The mAP that each kind of mistake costs, in points."""
    figure, axes = bars(list(costs))
    values = 100 * np.array(list(costs.values()))
    axes.barh(range(len(values)), values, height=0.62, color=BLUE)
    for row, value in enumerate(values):
        axes.annotate(f"{value:+.1f}", (max(value, 0), row), (4, 0), textcoords="offset points", va="center")
    axes.set_xlim(min(0.0, *values), max(1.0, *values) * 1.2)
    return to_svg(figure)


@matplotlib.rc_context(RC)
def plot_sensitivity(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Normalised AP of the subsets of each characteristic: a bar from the worst case to the best, the average case dashed.

    Paper: Figure 6.
    """
    names = list(found)
    figure = Figure(figsize=(0.7 + 1.75 * len(names), 2.5))
    top = max(1e-3, *(one["highest"] for one in found.values()))
    for index, name in enumerate(names):
        one = found[name]
        axes = figure.add_axes(((0.6 + 1.75 * index) / figure.get_figwidth(), 0.16, 1.55 / figure.get_figwidth(), 0.7))
        subsets = list(one["subsets"]) if len(one["subsets"]) <= _SHOWN_SUBSETS else []
        positions = np.arange(len(subsets)) + 1.2
        axes.bar([0], [one["highest"] - one["lowest"]], bottom=[one["lowest"]], width=0.5, color=SKY)
        axes.plot(positions, [one["subsets"][subset] for subset in subsets], "o-", color=BLUE, markersize=4, linewidth=1.2)
        axes.axhline(one["overall"], color=INK, linestyle=(0, (4, 3)), linewidth=1)
        axes.set_xticks([0, *positions], ["range", *(short_label(subset, 9) for subset in subsets)], fontsize=7.5)
        axes.set(ylim=(0, top * 1.15), xlim=(-0.5, (positions[-1] if subsets else 1.0) + 0.5))
        axes.set_title(name, fontsize=9)
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.tick_params(labelleft=index == 0)
        axes.grid(True, axis="y")
    return to_svg(figure)


@matplotlib.rc_context(RC)
def plot_missed(causes: Mapping[str, int]) -> str:
    """How many of the missed objects each step lost."""
    figure, axes = bars(list(causes))
    total = max(1, sum(causes.values()))
    for row, (count, colour) in enumerate(zip(causes.values(), _CAUSES, strict=False)):
        axes.barh([row], [count], height=0.62, color=colour)
        axes.annotate(f"{count} ({count / total:.0%})", (count, row), (4, 0), textcoords="offset points", va="center")
    axes.set_xlim(0, max(1, *causes.values()) * 1.3)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    return to_svg(figure)


def _pie(axes: Axes, top: Mapping[str, int]) -> None:
    shown = {kind: count for kind, count in top.items() if count}
    if not shown:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "no detections", ha="center", va="center")
        return
    total = sum(shown.values())
    wedges: Sequence[Any] = axes.pie(list(shown.values()), colors=[_COLOURS[kind] for kind in shown], startangle=90, counterclock=False)[0]
    for wedge, count in zip(wedges, shown.values(), strict=True):
        angle = np.deg2rad((wedge.theta1 + wedge.theta2) / 2)
        if count / total >= 0.06:
            axes.text(
                0.66 * np.cos(angle), 0.66 * np.sin(angle), f"{count / total:.0%}", ha="center", va="center", color="#10151b", fontsize=8
            )
    axes.set_title(f"the {total} surest", fontsize=8.5, y=-0.16)
