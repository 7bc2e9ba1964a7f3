"""The precision-recall curve of one class as a small SVG: a report has one for each of hundreds of classes."""

import numpy as np

from rcnn_dist.arrays import Array, Float64
from rcnn_dist.report.plots import BLUE, THEME

MAX_POINTS = 100

_LEFT, _RIGHT, _TOP, _BOTTOM = 31.104, 186.624, 7.2, 115.2  # the axes, in points
_WIDTH, _HEIGHT = 194.4, 144
_HIGHEST = 1.03  # precision at the upper end of the axis


def plot_precision_recall(recall: Float64[Array, "K"], precision: Float64[Array, "K"]) -> str:
    """One class's curve over its detections in the order of their scores, and shaded below it the precision that area AP integrates.

    The line goes through the detections that raise the recall, each with the one before it: all up to `MAX_POINTS`, of more as many,
    spread evenly over the recall.
    No detections give empty axes that say so.
    """
    if recall.size and np.isfinite(recall).all() and np.isfinite(precision).all():
        drawn = _curve(recall, precision)
    else:
        drawn = f'<text x="{(_LEFT + _RIGHT) / 2:g}" y="{(_TOP + _BOTTOM) / 2:g}" text-anchor="middle">no curve</text>'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH:g} {_HEIGHT}" font-size="9" fill="currentColor">'
    return f"{head}{THEME}{_axes()}{drawn}</svg>\n"


def _curve(recall: Array, precision: Array) -> str:
    rises = np.searchsorted(recall, np.linspace(recall[0], recall[-1], MAX_POINTS))
    shown = np.unique(np.concatenate([rises, np.maximum(rises - 1, 0), [recall.size - 1]]))
    best = np.maximum.accumulate(precision[::-1])[::-1]
    edges = shown[np.append(np.diff(best[shown]) != 0, True)]  # the last of each that share a precision
    steps = np.column_stack([np.repeat(np.append(0, recall[edges]), 2)[1:-1], np.repeat(best[edges], 2)])
    area = np.vstack([[0, 0], steps, [recall[-1], 0]])
    line = np.column_stack([recall[shown], precision[shown]])
    if len(line) == 1:
        (x, y) = _points(line)[0]
        mark = f'<rect x="{x - 2:.2f}" y="{y - 2:.2f}" width="4" height="4" fill="{BLUE}"/>'
    else:
        mark = f'<path d="{_path(line)}" fill="none" stroke="{BLUE}" stroke-width="1.5" stroke-linejoin="round"/>'
    return f'<path d="{_path(area)} z" fill="{BLUE}" fill-opacity=".16"/>{mark}'


def _axes() -> str:
    """A grid in quarters, the axes with their numbers and names."""
    quarters = [0.0, 0.25, 0.5, 0.75, 1.0]
    corners = _points(np.column_stack([quarters, quarters]))
    lines = [(x, _TOP, 0.6, _BOTTOM - _TOP) for x, _ in corners] + [(_LEFT, y, _RIGHT - _LEFT, 0.6) for _, y in corners]
    grid = "".join(f'<rect x="{x:.2f}" y="{y:.2f}" width="{width:.2f}" height="{height:.2f}"/>' for x, y, width, height in lines)
    numbers = "".join(
        f'<text x="{x:.2f}" y="{_BOTTOM + 10:g}" text-anchor="middle">{value:g}</text>'
        f'<text x="{_LEFT - 4:g}" y="{y + 3:.2f}" text-anchor="end">{value:g}</text>'
        for value, (x, y) in zip(quarters[::2], corners[::2], strict=True)
    )
    return (
        f'<g opacity=".14">{grid}</g><g opacity=".9">'
        f'<rect x="{_LEFT}" y="{_TOP}" width=".6" height="{_BOTTOM - _TOP:g}"/>'
        f'<rect x="{_LEFT}" y="{_BOTTOM}" width="{_RIGHT - _LEFT:g}" height=".6"/></g>{numbers}'
        f'<text x="{(_LEFT + _RIGHT) / 2:g}" y="{_HEIGHT - 7}" text-anchor="middle">recall</text>'
        f'<text transform="translate(9 {(_TOP + _BOTTOM) / 2:g}) rotate(-90)" text-anchor="middle">precision</text>'
    )


def _points(values: Float64[Array, "K 2"]) -> Float64[Array, "K 2"]:
    """(recall, precision) as (x, y) in the figure."""
    scale = np.array([_RIGHT - _LEFT, -(_BOTTOM - _TOP) / _HIGHEST])
    return values * scale + (_LEFT, _BOTTOM)


def _path(values: Float64[Array, "K 2"]) -> str:
    """A hundredth of a point is finer than any screen."""
    return "M" + " L".join(f"{x:.2f} {y:.2f}" for x, y in _points(values))
