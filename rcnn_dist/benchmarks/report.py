"""The report's page with very many classes: its size, and how quickly a browser opens and filters it."""

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from rcnn_dist.arrays import Array
from rcnn_dist.data.images import read_image
from rcnn_dist.data.shapes import ShapesParams, generate_shapes
from rcnn_dist.evaluate.error_modes import MODES, TREND
from rcnn_dist.report import (
    Curve,
    DrawnBox,
    DrawnImage,
    Example,
    FalsePositive,
    ProposalRecall,
    Refit,
    ReportData,
    StageTiming,
    draw_detections,
    draw_plain,
    render_report,
)
from rcnn_dist.report.browser import Page, browse
from rcnn_dist.stages.examples import picture_plan

_DETECTIONS = 5000  # of each class
_NEXT_FRAME = "new Promise(done => requestAnimationFrame(() => setTimeout(() => done(performance.now() - start))))"


def run(classes: int) -> dict[str, Any]:
    """Renders the page of a generated result set and opens it in a headless browser."""
    with tempfile.TemporaryDirectory() as folder:
        data = make_result_set(classes, folder)
        start = time.perf_counter()
        html = render_report(data)
        seconds = time.perf_counter() - start
        page = Path(folder) / "index.html"
        page.write_text(html)
        return {
            "classes": classes,
            "pictures": len(data.examples) + len(data.images),
            "render_s": seconds,
            "megabytes": page.stat().st_size / 1e6,
            **browse(lambda opened: _measure(opened, page)),
        }


def lines(figures: dict[str, Any]) -> list[str]:
    return [
        f"{figures['classes']} classes, {figures['pictures']} pictures: {figures['megabytes']:.1f} MB, made in {figures['render_s']:.1f} s",
        f"first paint after {figures['first_paint_ms']:.0f} ms, loaded after {figures['loaded_ms']:.0f} ms, "
        f"a class filtered in {figures['filter_ms']:.0f} ms, the slider moved in {figures['slider_ms']:.0f} ms, "
        f"the table sorted in {figures['sort_ms']:.0f} ms, a curve shown in {figures['pick_ms']:.0f} ms",
        f"errors of the console: {len(figures['problems'])}",
    ]


async def _measure(page: Page, path: Path) -> dict[str, Any]:
    await page.open(path)
    timing = "performance.getEntriesByType('navigation')[0].loadEventEnd"
    paint = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
    found = {"loaded_ms": await page.evaluate(timing), "first_paint_ms": await page.evaluate(paint)}
    for name, act in _ACTS.items():
        found[f"{name}_ms"] = await page.evaluate(f"(() => {{ const start = performance.now(); {act}; return {_NEXT_FRAME}; }})()")
    return found | {"problems": page.problems}


def _set(section: str, name: str, value: str) -> str:
    control = f"document.querySelector('#{section} [name={name}]')"
    return f"{control}.value = '{value}'; {control}.dispatchEvent(new Event('input', {{bubbles: true}}))"


_ACTS = {
    "filter": _set("examples", "class", "class 3"),
    "slider": _set("images", "least", "80"),
    "sort": "document.querySelector('#ap th.number button').click()",
    "pick": "document.querySelector('button.pick').click()",
}


def make_result_set(classes: int, folder: str) -> ReportData:
    """What the report of so many classes shows, as many pictures and lines as a run would give it."""
    rng = np.random.default_rng(0)
    generate_shapes(folder, ShapesParams(images={"train": 1, "test": 24}, max_size=(500, 375)))
    paths = sorted((Path(folder) / "VOC2007/JPEGImages").iterdir())
    photographs = [read_image(str(path)) for path in paths]
    names = tuple(f"class {index}" for index in range(classes))
    each, side = picture_plan(classes)
    ap = {variant: dict(zip(names, rng.beta(2, 3, classes).tolist(), strict=True)) for variant in ("voc07", "area", "coco")}
    return ReportData(
        title=f"{classes} classes",
        data_name="generated results",
        classes=names,
        ap=ap,
        curves={name: _curve(rng) for name in names},
        n_objects=dict.fromkeys(names, 300),
        stages=tuple(StageTiming(name, 1000.0, 20000, 0, 16, {"compute": 9000.0}) for name in ("extract", "train", "detect")),
        config_yaml="run: {}\n" * 150,
        versions={"numpy": "2"},
        examples=tuple(_example(rng, name, photographs, verdict, side) for name in names for verdict in ("true", "false", "missed") * each),
        images=tuple(_image(rng, names, pixels, str(number)) for number, pixels in enumerate(photographs)),
        false_positives=tuple(
            FalsePositive("image", name, 0.5, 0.4, "similar", "IoU 0.31 with an object") for name in names for _ in range(5)
        ),
        proposals=ProposalRecall({"100": _RECALL, "all": _RECALL}, 2403.0),
        failures=(),
        telemetry=tuple(Refit(name, wave, 300, 4000, 900, 50, 0.5, 0.25) for name in names for wave in range(8)),
        published=(),
        errors=_errors(names),
    )


_RECALL = {"recall_50": 0.9, "recall_70": 0.7, "average_recall": 0.5, "mabo": 0.8, "by_size": {"large": {"recall_50": 1.0}}}


def _curve(rng: np.random.Generator) -> Curve:
    right = rng.random(_DETECTIONS) < 1 / (1 + np.arange(_DETECTIONS) / 60)
    found = np.cumsum(right)
    return Curve(found / max(300, found[-1]), found / np.arange(1, _DETECTIONS + 1))


def _example(rng: np.random.Generator, name: str, photographs: list[Array], verdict: Any, side: int) -> Example:
    pixels = photographs[rng.integers(len(photographs))]
    picture = draw_detections(pixels, _box(rng, pixels)[None], [name], [verdict], side)
    kind = MODES[rng.integers(4)] if verdict == "false" else ""
    return Example("image", name, float(rng.normal()), verdict, picture, "IoU 0.71 with its object", float(rng.random()), kind)


def _image(rng: np.random.Generator, names: tuple[str, ...], pixels: Array, image_id: str) -> DrawnImage:
    shown = [names[rng.integers(len(names))] for _ in range(40)]
    boxes = tuple(DrawnBox(name, float(rng.normal()), float(rng.random()), "true", "", _box(rng, pixels)) for name in shown)
    height, width = pixels.shape[:2]
    return DrawnImage(image_id, width, height, draw_plain(pixels, 480), boxes, np.array([_box(rng, pixels)]))


def _box(rng: np.random.Generator, pixels: Array) -> Array:
    height, width = pixels.shape[:2]
    x, y = rng.random(2) * (width * 0.6, height * 0.6)
    return np.array([x, y, x + width * 0.3, y + height * 0.3])


def _errors(names: tuple[str, ...]) -> dict[str, Any]:
    counts = dict(zip(MODES, (40, 10, 20, 100), strict=True))
    shares = {mode: count / 170 for mode, count in counts.items()}
    causes = {"proposals": 5, "classifier": 3, "suppression": 2}
    extremes = {"lowest": 0.1, "highest": 0.5, "overall": 0.3, "sensitivity": 0.4, "impact": 0.2, "classes": 200}
    return {
        "modes": {name: {"false_positives": counts, "top": {"right": 130, **counts}, "normalised_ap": 0.3} for name in names},
        "groups": {"all classes": {"classes": list(names), "top": {"right": 9, **counts}, "trend": dict.fromkeys(TREND, shares)}},
        "cost": {"variant": "voc07", "localisation": {"count": 5000, "mAP_gain": 0.1}},
        "normalised_ap": {"n_j": 3000.0, "mean": 0.3},
        "sensitivity": {"size": {**extremes, "subsets": {"XS": 0.1, "S": 0.3, "M": 0.5}}},
        "missed": {"objects": 60000, "missed": 20000, "causes": causes, "classes": dict.fromkeys(names, causes)},
    }
