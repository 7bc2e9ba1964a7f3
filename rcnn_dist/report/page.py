"""One self-contained HTML page about a run: what it found, what it missed, and what it cost."""

import base64
import hashlib
import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import jinja2
import numpy as np

from rcnn_dist.report.curve_plot import plot_precision_recall
from rcnn_dist.report.error_plots import plot_costs, plot_error_modes, plot_missed, plot_sensitivity
from rcnn_dist.report.plots import (
    OWN,
    format_duration,
    order_phases,
    plot_ap_boxes,
    plot_average_precision,
    plot_mining,
    plot_proposal_recall,
    plot_stage_times,
)
from rcnn_dist.report.run_data import Curve, Example, Refit, ReportData, median_ap
from rcnn_dist.report.scaling_plot import CLAIMS, plot_scaling

_VARIANTS = ("voc07", "area", "coco", "ilsvrc")


_BOX_CLASSES = 5  # fewer have no quartiles worth showing
_MINING_PLOTS = 24  # classes; the table has all


class _Mining(NamedTuple):
    class_name: str
    refits: tuple[Refit, ...]
    plot: str | None  # None: other classes took longer


def render_report(data: ReportData) -> str:
    """The page as HTML that opens from a file, asks for nothing on the network, and runs no script but its own.

    Law: equal data give equal text, whatever the order of the dictionaries, but for `errors`, whose order is that on the page. All text
    from `data` is shown as text.

    Raises:
        ValueError: an example's picture is neither PNG nor JPEG; the message names its image.
    """
    variants = [name for name in dict.fromkeys((data.variant, *_VARIANTS)) if name in data.ap]
    variants += sorted(data.ap.keys() - set(variants))
    ap = {variant: [data.ap[variant].get(name, math.nan) for name in data.classes] for variant in variants}
    phases = [stage.phases for stage in data.stages]
    return render_page(
        "template.html",
        data=data,
        ap=ap,
        mean_ap={variant: _mean(values) for variant, values in ap.items()},
        median_ap={variant: median_ap(values) for variant, values in ap.items()},
        without_objects=sum(all(math.isnan(values[k]) for values in ap.values()) for k in range(len(data.classes))) if ap else 0,
        score_range=_score_range(data),
        box_plot=plot_ap_boxes(_boxes(data, ap)) if len(data.classes) >= _BOX_CLASSES and ap else None,
        proposal_plot=plot_proposal_recall(data.proposals.table, data.proposals.per_image) if data.proposals else None,
        ap_plot=plot_average_precision(data.classes, ap) if ap and data.classes else None,
        curve_plots=[_plot_curve(data.curves.get(name)) for name in data.classes] if ap else [],
        scaling_plot=plot_scaling(data.scaling) if data.scaling else None,
        claims=CLAIMS,
        error_plots=_error_plots(data.errors) if data.errors else None,
        mining=_mining(data),
        phases=order_phases(phases),
        time_plot=plot_stage_times([s.name for s in data.stages], [s.seconds for s in data.stages], phases) if data.stages else None,
    )


def render_page(template: str, **values: Any) -> str:
    """A template of this room as HTML; all text is shown as text."""
    html = _environment().get_template(template).render(**values)
    # a file name with bytes that are no text arrives with lone surrogates, which no UTF-8 file can hold
    return html.encode("utf-8", "replace").decode("utf-8")


def _environment() -> jinja2.Environment:
    """Templates of this room: autoescaped, strict about what is undefined."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("rcnn_dist.report", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "duration": format_duration,
        "percent": lambda value: "–" if math.isnan(value) else f"{100 * value:.1f}",
        "median": median_ap,
        "figures": lambda value, digits: "–" if math.isnan(value) else f"{value:.{digits}g}",
        "sortable": lambda value: "" if math.isnan(value) else f"{value:.12g}",
        "svg_uri": lambda svg: _data_uri("image/svg+xml", svg.encode("utf-8", "replace")),
        "picture_uri": _picture_uri,
        "jpeg_uri": lambda picture: _data_uri("image/jpeg", picture),
        "sha256": lambda text: base64.b64encode(hashlib.sha256(text.encode()).digest()).decode(),
    }
    environment.globals["nan"] = math.nan
    return environment


def _mean(values: Iterable[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def _plot_curve(curve: Curve | None) -> str:
    nothing = np.zeros(0)
    return plot_precision_recall(curve.recall, curve.precision) if curve else plot_precision_recall(nothing, nothing)


def _error_plots(errors: Mapping[str, Any]) -> dict[str, Any]:
    costs = {name: cost["mAP_gain"] for name, cost in errors["cost"].items() if name != "variant"}
    return {
        "groups": {name: plot_error_modes(group["trend"], group["top"]) for name, group in errors["groups"].items()},
        "costs": None if None in costs.values() else plot_costs(costs),
        "missed": plot_missed(errors["missed"]["causes"]) if errors["missed"] else None,
        "sensitivity": plot_sensitivity(errors["sensitivity"]) if errors["sensitivity"] else None,
    }


def _mining(data: ReportData) -> list[_Mining]:
    """The refits of each class that has any, in the order of the classes, with the plots of those that took longest."""
    names = dict.fromkeys((*data.classes, *(refit.class_name for refit in data.telemetry)))
    by_class: dict[str, list[Refit]] = {name: [] for name in names}
    for refit in data.telemetry:
        by_class[refit.class_name].append(refit)
    longest = sorted(by_class, key=lambda name: -sum(refit.seconds for refit in by_class[name]))[:_MINING_PLOTS]
    return [_Mining(name, tuple(refits), _plot_refits(refits) if name in longest else None) for name, refits in by_class.items() if refits]


def _plot_refits(refits: list[Refit]) -> str:
    waves, negatives, found = (np.array([getattr(refit, name) for refit in refits], np.int64) for name in ("wave", "negatives", "found"))
    return plot_mining(waves, negatives, found, np.array([refit.objective for refit in refits], np.float64))


def _boxes(data: ReportData, ap: dict[str, list[float]]) -> dict[str, list[float]]:
    """Label -> AP of the classes in percent: this run's first variant, with and without regression, then what was published."""
    first = next(iter(ap))
    own = {f"{OWN}, {name}": [100 * value for value in values] for name, values in ap.items() if name.startswith(first)}
    return own | {f"{row.method} ({row.source.split(',')[0]})": list(row.values.values()) or [row.mean] for row in data.published}


def _score_range(data: ReportData) -> tuple[float, float]:
    """The lowest and the highest score of the detections that the page shows."""
    scores = [example.score for example in data.examples] + [box.score for image in data.images for box in image.boxes]
    known = [score for score in scores if not math.isnan(score)]
    return (min(known), max(known)) if known else (0.0, 0.0)


def _picture_uri(example: Example) -> str:
    picture = example.picture_png_or_jpeg
    if picture.startswith(b"\x89PNG\r\n\x1a\n"):
        return _data_uri("image/png", picture)
    if picture.startswith(b"\xff\xd8\xff"):
        return _data_uri("image/jpeg", picture)
    raise ValueError(f"the picture of image {example.image_id!r} is neither PNG nor JPEG: draw it with draw_detections")


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
