"""Runs the variants one after the other in one run directory, so that each stage is computed by the first that needs it."""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from rcnn_dist.ablation.spec import Ablation, Variant
from rcnn_dist.config import RunConfig
from rcnn_dist.data.images import decode_image
from rcnn_dist.driver import run_stages
from rcnn_dist.errors import ConfigError
from rcnn_dist.features.warp import WarpParams, warp_regions
from rcnn_dist.report.ablation_table import ResultRow, format_csv, format_markdown, plot_rows
from rcnn_dist.report.warp_samples import draw_warp_samples
from rcnn_dist.stages import detect, evaluate, report
from rcnn_dist.stages.nms_tuning import tune_nms
from rcnn_dist.stages.ranked import RANKED
from rcnn_dist.stages.run import Run
from rcnn_dist.store import files

_GREY = np.full(3, 128, np.float32)  # what lies outside the image, as the mean would


def run_ablation(ablation: Ablation) -> tuple[list[ResultRow], list[str]]:
    """The table's rows, and the files that hold it: CSV, Markdown, a plot; all in `ablation/` of the run directory.

    A run that was stopped goes on where it was: stages that are done are found by their fingerprints.

    Raises:
        ConfigError: the test images of a variant have no annotations, so that there is no AP.
    """
    out = files.join(ablation.variants[0].config.run.dir, "ablation")
    if ablation.samples:
        files.write_bytes(files.join(out, "warps.png"), _warp_samples(ablation))
    rows: list[ResultRow] = []
    for variant in ablation.variants:
        print(f"--- {variant.name}", flush=True)
        rows.append(_run_variant(variant, files.join(out, "variants", re.sub(r"[^A-Za-z0-9_.-]+", "_", variant.name))))
    texts = {
        "table.csv": format_csv(rows, ablation.source),
        "table.md": format_markdown(rows, ablation.title, ablation.source),
        "plot.svg": plot_rows(rows, ablation.source),
    }
    for name, text in texts.items():
        files.write_bytes(files.join(out, name), text.encode())
    return rows, [files.join(out, name) for name in (*texts, *(["warps.png"] if ablation.samples else []))]


def _run_variant(variant: Variant, out: str) -> ResultRow:
    """Runs what is missing of a variant, and keeps its verdict beside those of the others."""
    config = variant.config
    if variant.tune_nms:
        config = replace_nms(config, _tuned_thresholds(variant.tune_nms))
    run = run_stages(config, tuple(stage for stage in config.run.stages if stage != report.NAME))
    verdict = files.join(out, "evaluation")  # as of a run, for `runs compare`
    for name in (evaluate.METRICS, evaluate.ERRORS, RANKED):
        files.write_bytes(files.join(verdict, name), files.read_bytes(files.join(evaluate.folder(run), name)))
    files.write_bytes(files.join(out, "config.yaml"), config.to_yaml().encode())
    metrics: dict[str, Any] = json.loads(files.read_bytes(files.join(verdict, evaluate.METRICS)))
    if "mAP" not in metrics:
        raise ConfigError(f"{variant.name}: {metrics['data']} {metrics['split']} has no annotations, so there is no AP to compare")
    used = metrics["variant"]
    ap = {name: _percent(values[used]) for name, values in metrics["ap"].items()}
    published_ap = variant.published_ap if sorted(variant.published_ap) == sorted(ap) else {}
    return ResultRow(variant.name, used, ap, _percent(metrics["mAP"][used]), variant.published, published_ap, variant.published_median)


def _tuned_thresholds(config: RunConfig) -> dict[str, float]:
    """Trains and detects on the validation split, then lets each class choose."""
    stages = config.run.stages[: config.run.stages.index(detect.NAME) + 1]
    thresholds = tune_nms(run_stages(config, stages))
    print("NMS thresholds: " + ", ".join(f"{name} {value:.2f}" for name, value in thresholds.items()))
    return thresholds


def replace_nms(config: RunConfig, thresholds: Mapping[str, float]) -> RunConfig:
    """The configuration with an NMS threshold of its own for each class."""
    return config.model_copy(update={"detect": replace(config.detect, nms_by_class=dict(thresholds))})


def _percent(value: float | None) -> float:
    return float("nan") if value is None else 100 * value


def _warp_samples(ablation: Ablation) -> bytes:
    """Objects of training images from all over the set, as each of the variants' warps shows them."""
    run = Run(ablation.variants[0].config)
    ids = run.image_ids("train")
    shown: list[tuple[Any, Any]] = []
    for image_id in ids[:: max(1, len(ids) // (2 * ablation.samples))]:
        if len(shown) == ablation.samples:
            break
        image = decode_image(files.read_bytes(run.dataset.image_url(image_id)), run.config.data.max_pixels)
        objects = run.objects(image_id, image.shape[1], image.shape[0])
        if objects and len(objects.classes):
            shown.append((image, objects.boxes[:1]))
    warps: dict[WarpParams, list[Any]] = {}
    for variant in ablation.variants:
        side = variant.config.network.input_size or 227
        warps.setdefault(
            variant.config.warp, [warp_regions(image, boxes, variant.config.warp, side, _GREY)[0] + _GREY for image, boxes in shown]
        )
    labelled = {f"{warp.mode}, p = {warp.context_padding:g}": crops for warp, crops in warps.items()}
    return draw_warp_samples({"object": [_cut(image, boxes[0]) for image, boxes in shown], **labelled})


def _cut(image: Any, box: Any) -> Any:
    x1, y1, x2, y2 = np.round(box).astype(int)
    return image[y1 : max(y2, y1 + 1), x1 : max(x2, x1 + 1)]
