"""Stage scale: a run's detectors among more and more classes (paper §2.2): seconds, bytes, and the AP of the real ones.

Every number of classes has a table of its own, in which the real classes' detections stand: equal bytes mean that no other class
changed them. Boxes are the proposals, not regressed.
"""

import json
from typing import Any

import numpy as np

from rcnn_dist.detect.class_blocks import padded_classes
from rcnn_dist.errors import ConfigError
from rcnn_dist.evaluate.voc import ClassDetections, evaluate_class, mean_average_precision
from rcnn_dist.stages import class_counts
from rcnn_dist.stages.base import Executor, Progress
from rcnn_dist.stages.class_counts import ClassCountStage, class_bytes
from rcnn_dist.stages.class_weights import weights_folder
from rcnn_dist.stages.evaluate import excluded_images, judged_objects
from rcnn_dist.stages.record import stage_costs
from rcnn_dist.stages.run import Run
from rcnn_dist.store import files
from rcnn_dist.store.manifest import MANIFEST, fingerprint, read_signed
from rcnn_dist.store.query import detections_by_class

NAME = class_counts.NAME
FIGURES = "scaling.json"


def figures_url(run: Run) -> str:
    return files.join(run.url, "scaling", FIGURES)


class ScaleStage:
    """Detects with each number of classes, then writes `scaling/scaling.json`."""

    name = NAME

    def __init__(self, run: Run) -> None:
        self._run = run

    def run(self, executor: Executor, progress: Progress) -> None:
        """Raises: ConfigError: every number of classes is below that of the real ones."""
        real, wanted = len(self._run.classes), sorted(set(self._run.config.scaling.classes))
        counts = [count for count in wanted if count >= real]
        if not counts:
            raise ConfigError(f"scaling.classes is {wanted}, but the run has {real} classes: give larger numbers")
        if len(counts) < len(wanted):
            progress.note(f"{NAME}: the run has {real} classes, so {wanted[: -len(counts)]} are left out")
        for count in counts:
            ClassCountStage(self._run, count).run(executor, progress)
        found = figures(self._run, counts)
        files.write_bytes(figures_url(self._run), (json.dumps(found, indent=1) + "\n").encode())
        files.remove_folder(str(weights_folder(self._run.url)))


def figures(run: Run, counts: list[int]) -> dict[str, Any]:
    """What `scaling.json` holds: for each number of classes seconds per image by step, bytes, mAP of the real ones."""
    shared = {cost.name: sum(cost.phases.values()) / max(1, cost.images) for cost in stage_costs(run.url) if cost.images}
    size, block = class_bytes(run), run.config.scaling.block_classes
    rows: list[dict[str, Any]] = []
    for count in counts:
        folder = ClassCountStage(run, count).folder("test")
        manifest = read_signed(files.join(folder, MANIFEST))
        seconds = {phase: manifest["seconds"].get(phase, 0.0) / max(1, manifest["images"]) for phase in ("product", "nms")}
        rows.append(
            {
                "classes": count,
                "seconds_per_image": {"proposals": shared.get("propose", 0.0), "features": shared.get("extract", 0.0), **seconds},
                "predictor_bytes": count * size,
                "padded_bytes": padded_classes(count, block) * size,
                "mAP": real_map(run, folder),
                "detections_sha256": fingerprint([part["sha256"] for part in manifest["parts"]]),
            }
        )
    return {
        "precision": run.config.scaling.precision,
        "real_classes": len(run.classes),
        "images": manifest["images"],
        "variant": run.config.evaluate.variant,
        "feature_size": size // (2 if run.config.scaling.precision == "bfloat16" else 4),
        "equal": len({row["detections_sha256"] for row in rows}) == 1 and len({row["mAP"] for row in rows}) == 1,
        "rows": rows,
    }


def real_map(run: Run, folder: str) -> float | None:
    """mAP of the real classes' proposals that a table keeps; None without annotations."""
    chosen, excluded, objects = run.config.evaluate.variant, excluded_images(run), judged_objects(run)
    results = {}
    for name, rows in detections_by_class(folder, run.classes, run.image_ids("test")).items():
        mask = rows.kept & ~np.isin(rows.image, excluded[name])
        if name in objects:
            own = ClassDetections(rows.image[mask], rows.proposals[mask], rows.scores[mask])
            results[name] = evaluate_class(own, objects[name], run.config.evaluate.min_iou, chosen)
    value = mean_average_precision(results, chosen) if results else float("nan")
    return None if np.isnan(value) else value


def lines(content: bytes) -> list[str]:
    """`scaling.json` as sentences; the last says whether the real classes were left alone."""
    found = json.loads(content)
    out = []
    for row in found["rows"]:
        seconds = ", ".join(f"{step} {value:.3f} s" for step, value in row["seconds_per_image"].items())
        ap = "-" if row["mAP"] is None else f"{row['mAP']:.4f}"
        out.append(f"{row['classes']:>7} classes: per image {seconds}; predictors {row['predictor_bytes'] / 1e6:.1f} MB; mAP {ap}")
    verdict = "the same bytes" if found["equal"] else "OTHER bytes"
    return [*out, f"detections of the {found['real_classes']} real classes: {verdict} at every number of classes"]
