"""Stage scale: a run's detectors among more and more classes (paper §2.2): seconds, bytes, and the AP of the real ones.

Every number of classes has a table of its own, in which the real classes' detections stand: equal bytes mean that no other class
changed them. Boxes are the proposals, not regressed.
"""

import json
from typing import Any

import numpy as np

from rcnn_dist.arrays import Array
from rcnn_dist.detect.class_blocks import BlockParams, ClassScores, padded_classes, score_classes, suppress
from rcnn_dist.errors import ConfigError
from rcnn_dist.evaluate.voc import ClassDetections, evaluate_class, mean_average_precision
from rcnn_dist.features.scaling import scale_features
from rcnn_dist.stages import extract, train
from rcnn_dist.stages.base import Executor, Progress, ShardStage, ShardTask
from rcnn_dist.stages.class_weights import map_weights, weights_folder
from rcnn_dist.stages.evaluate import excluded_images, judged_objects
from rcnn_dist.stages.models import load_model
from rcnn_dist.stages.record import stage_costs
from rcnn_dist.stages.run import Run
from rcnn_dist.stages.shard_worker import ShardWorker
from rcnn_dist.store import files
from rcnn_dist.store.manifest import MANIFEST, fingerprint, read_signed
from rcnn_dist.store.query import detections_by_class, matrix
from rcnn_dist.store.schema import DETECTIONS
from rcnn_dist.store.shards import ShardWriter, read_images
from rcnn_dist.store.tables import box_columns, boxes_of, make_table

NAME = "scale"
VERSION = 1
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


class ClassCountStage(ShardStage):
    """The test images with so many classes."""

    name = NAME
    VERSION = VERSION
    splits = ("test",)

    def __init__(self, run: Run, n_classes: int) -> None:
        super().__init__(run)
        self._n_classes = n_classes

    def folder(self, split: str) -> str:
        table = self.context.folder("scaling", f"classes{self._n_classes}", fingerprint(NAME, VERSION, self.inputs()))
        return files.join(table, split)

    def inputs(self) -> dict[str, Any]:
        run = self.context
        return {
            "n_classes": self._n_classes,
            "precision": run.config.scaling.precision,
            "detect": run.section("detect"),
            "min_score": run.config.scaling.min_score,
            "classes": run.classes,
            "models": run.relative(train.folder(run)),
            "features": run.relative(extract.folder(run)),
        }

    def make_worker(self) -> "ClassCountWorker":
        return ClassCountWorker(self.context, self.folder("test").removesuffix("/test"), self._n_classes)


class ClassCountWorker(ShardWorker):
    """Maps the weights; scores and suppresses the regions of one image after the other."""

    name = NAME

    def __init__(self, run: Run, url: str, n_classes: int) -> None:
        super().__init__(url, DETECTIONS)
        self._run = run
        self._model = load_model(train.folder(run), run.classes)
        detect = run.config.detect
        self._params = BlockParams(max(detect.min_score, run.config.scaling.min_score), detect.max_per_image, detect.nms_threshold)
        self._weights, self._biases = map_weights(weights_folder(run.url), self._model.detector, n_classes, run.config.scaling.precision)

    def fill(self, task: ShardTask, shard: ShardWriter) -> None:
        layer, url = self._run.config.classify.layer, files.join(extract.folder(self._run), task.split)
        columns = ["width", "height", "is_ground_truth", "x1", "y1", "x2", "y2", layer]
        stored = set()
        for image_id, table in read_images(url, task.part, task.wanted, columns):
            stored.add(image_id)
            proposals = np.flatnonzero(~np.asarray(table["is_ground_truth"]))
            boxes, features = boxes_of(table)[proposals], matrix(table, layer)[proposals].astype(np.float32)
            scaled = scale_features(features, self._model.mean_norms[layer], self._run.config.scaling.target_norm)
            with shard.timed("product"):
                found = score_classes(scaled, self._weights, self._biases, self._params)
            with shard.timed("nms"):
                kept = suppress(found, boxes, self._params)
            size = (table["width"][0].as_py(), table["height"][0].as_py()) if table.num_rows else (0, 0)
            shard.add(image_id, make_table(DETECTIONS, self._columns(image_id, size, boxes, found, kept)))
        for image_id in task.wanted:
            if image_id not in stored:
                shard.fail(image_id, NAME, "it has no features")

    def _columns(self, image_id: str, size: tuple[int, int], boxes: Array, found: ClassScores, kept: Array) -> dict[str, object]:
        """The rows of the real classes."""
        real = np.flatnonzero(found.class_index < len(self._run.classes))
        own = boxes[found.region[real]]
        return {
            "image_id": [image_id] * len(real),
            "width": np.full(len(real), size[0]),
            "height": np.full(len(real), size[1]),
            "class": [self._run.classes[i] for i in found.class_index[real]],
            "score": found.score[real],
            "region": found.region[real],
            **box_columns(own),
            **box_columns(own, "proposal_"),
            "kept": kept[real],
            "kept_unregressed": kept[real],
        }


def figures(run: Run, counts: list[int]) -> dict[str, Any]:
    """What `scaling.json` holds: for each number of classes seconds per image by step, bytes, mAP of the real ones."""
    shared = {cost.name: sum(cost.phases.values()) / max(1, cost.images) for cost in stage_costs(run.url) if cost.images}
    size = load_model(train.folder(run), run.classes[:1]).detector.weights.shape[1]
    width = 2 if run.config.scaling.precision == "bfloat16" else 4
    rows: list[dict[str, Any]] = []
    for count in counts:
        folder = ClassCountStage(run, count).folder("test")
        manifest = read_signed(files.join(folder, MANIFEST))
        seconds = {phase: manifest["seconds"].get(phase, 0.0) / max(1, manifest["images"]) for phase in ("product", "nms")}
        rows.append(
            {
                "classes": count,
                "seconds_per_image": {"proposals": shared.get("propose", 0.0), "features": shared.get("extract", 0.0), **seconds},
                "predictor_bytes": count * size * width,
                "padded_bytes": padded_classes(count) * size * width,
                "mAP": real_map(run, folder),
                "detections_sha256": fingerprint([part["sha256"] for part in manifest["parts"]]),
            }
        )
    return {
        "precision": run.config.scaling.precision,
        "real_classes": len(run.classes),
        "images": manifest["images"],
        "variant": run.config.evaluate.variant,
        "feature_size": size,
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
