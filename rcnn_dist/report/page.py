"""One self-contained HTML page about a run: what it found, what it missed, and what it cost."""

import base64
import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import jinja2
import numpy as np

from rcnn_dist.arrays import Array, Float64
from rcnn_dist.report.error_plots import plot_costs, plot_error_modes, plot_missed, plot_sensitivity
from rcnn_dist.report.plots import (
    format_duration,
    order_phases,
    plot_average_precision,
    plot_mining,
    plot_precision_recall,
    plot_stage_times,
)
from rcnn_dist.report.scaling_plot import CLAIMS, plot_scaling

Verdict = Literal["true", "false", "missed"]

_VARIANTS = ("voc07", "area", "coco", "ilsvrc")


@dataclass(frozen=True, slots=True)
class Curve:
    """Recall and precision after each detection of a class, the detections by falling score; each in [0, 1]."""

    recall: Float64[Array, "K"]
    precision: Float64[Array, "K"]


@dataclass(frozen=True, slots=True)
class StageTiming:
    """What one stage cost: `seconds` on the wall, and the seconds of each phase summed over its workers."""

    name: str
    seconds: float
    images: int
    failures: int
    workers: int
    phases: dict[str, float]


@dataclass(frozen=True, slots=True)
class Example:
    """A picture of a detection, or of an object that was missed (its score may be NaN), and why it counts as it does."""

    image_id: str
    class_name: str
    score: float
    verdict: Verdict
    picture_png_or_jpeg: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class Failure:
    """An image that a stage left out."""

    image_id: str
    stage: str
    reason: str


@dataclass(frozen=True, slots=True)
class Refit:
    """One fit of a class's SVM while hard negatives were mined.

    It was fitted to `positives` and to the `negatives` in its cache, of which `found` are newer than the fit before, and `evicted`
    left the cache afterwards; `objective` is that of the fit.
    """

    class_name: str
    wave: int
    positives: int
    negatives: int
    found: int
    evicted: int
    objective: float
    seconds: float


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """A row of a published table: AP per class and their mean in percent as printed; `source` is the table and its AP variant."""

    method: str
    values: dict[str, float]
    mean: float
    source: str = ""


@dataclass(frozen=True, slots=True)
class ReportData:
    """Everything the page shows.

    `ap` maps a variant (voc07, area, coco, ilsvrc) to the AP of each class in [0, 1], NaN for a class without objects; it is empty where
    the test set has no annotations, as `errors` is. `n_objects` counts the objects that the evaluation looked for.
    """

    title: str
    data_name: str
    classes: tuple[str, ...]
    ap: dict[str, dict[str, float]]
    curves: dict[str, Curve]
    n_objects: dict[str, int]
    stages: tuple[StageTiming, ...]
    config_yaml: str
    versions: dict[str, str]
    examples: tuple[Example, ...]
    failures: tuple[Failure, ...]
    telemetry: tuple[Refit, ...]
    published: tuple[PublishedRow, ...]
    errors: Mapping[str, Any]  # what evaluation/errors.json holds
    scaling: Mapping[str, Any] = field(default_factory=dict)  # what scaling/scaling.json holds


class _Mining(NamedTuple):
    class_name: str
    refits: tuple[Refit, ...]
    plot: str


def render_report(data: ReportData) -> str:
    """The page as HTML that opens from a file, asks for nothing on the network, and runs no script but its own sorting of tables.

    Law: equal data give equal text, whatever the order of the dictionaries, but for `errors`, whose order is that on the page. All text
    from `data` is shown as text.

    Raises:
        ValueError: an example's picture is neither PNG nor JPEG; the message names its image.
    """
    variants = [name for name in _VARIANTS if name in data.ap] + sorted(data.ap.keys() - set(_VARIANTS))
    ap = {variant: [data.ap[variant].get(name, math.nan) for name in data.classes] for variant in variants}
    phases = [stage.phases for stage in data.stages]
    html = (
        environment()
        .get_template("template.html")
        .render(
            data=data,
            ap=ap,
            mean_ap={variant: _mean(values) for variant, values in ap.items()},
            without_objects=sum(all(math.isnan(values[k]) for values in ap.values()) for k in range(len(data.classes))) if ap else 0,
            galleries={
                verdict: [example for example in data.examples if example.verdict == verdict] for verdict in ("true", "false", "missed")
            },
            ap_plot=plot_average_precision(data.classes, ap) if ap and data.classes else None,
            curve_plots=[_plot_curve(data.curves.get(name)) for name in data.classes] if ap else [],
            scaling_plot=plot_scaling(data.scaling) if data.scaling else None,
            claims=CLAIMS,
            error_plots=_error_plots(data.errors) if data.errors else None,
            mining=_mining(data),
            phases=order_phases(phases),
            time_plot=plot_stage_times([s.name for s in data.stages], [s.seconds for s in data.stages], phases) if data.stages else None,
        )
    )
    # a file name with bytes that are no text arrives with lone surrogates, which no UTF-8 file can hold
    return html.encode("utf-8", "replace").decode("utf-8")


def environment() -> jinja2.Environment:
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
    """The refits of each class that has any, in the order of the classes."""
    names = dict.fromkeys((*data.classes, *(refit.class_name for refit in data.telemetry)))
    by_class = {name: tuple(refit for refit in data.telemetry if refit.class_name == name) for name in names}
    return [
        _Mining(
            name,
            refits,
            plot_mining(
                np.array([refit.wave for refit in refits], np.int64),
                np.array([refit.negatives for refit in refits], np.int64),
                np.array([refit.found for refit in refits], np.int64),
                np.array([refit.objective for refit in refits], np.float64),
            ),
        )
        for name, refits in by_class.items()
        if refits
    ]


def _picture_uri(example: Example) -> str:
    picture = example.picture_png_or_jpeg
    if picture.startswith(b"\x89PNG\r\n\x1a\n"):
        return _data_uri("image/png", picture)
    if picture.startswith(b"\xff\xd8\xff"):
        return _data_uri("image/jpeg", picture)
    raise ValueError(f"the picture of image {example.image_id!r} is neither PNG nor JPEG: draw it with draw_detections")


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
