"""Stage detect: detectors on the test images (paper §2.2), from stored features where they exist, else forwarding again.

Both ways score float16-rounded features, so they write the same bytes.
"""

from collections.abc import Generator
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np

from rcnn_dist.arrays import Array
from rcnn_dist.config import RunConfig
from rcnn_dist.detect.detector import Detections, class_probabilities, detect_regions, score_regions
from rcnn_dist.features.scaling import scale_features
from rcnn_dist.stages import extract, train
from rcnn_dist.stages.base import ShardStage, ShardTask
from rcnn_dist.stages.models import TrainedModel, load_model
from rcnn_dist.stages.run import Run
from rcnn_dist.stages.shard_worker import ShardWorker
from rcnn_dist.store import files
from rcnn_dist.store.manifest import fingerprint, read_marker
from rcnn_dist.store.query import matrix
from rcnn_dist.store.schema import DETECTIONS
from rcnn_dist.store.shards import ShardWriter, read_images
from rcnn_dist.store.tables import box_columns, boxes_of, make_table

if TYPE_CHECKING:
    from rcnn_dist.features.extract import Extractor

NAME = "detect"
VERSION = 3

_Image = tuple[str, tuple[int, int], Array, dict[str, Array]]  # id, (width, height), proposals, features by layer


def folder(run: Run) -> str:
    """Where this run's detections lie."""
    return run.folder("detections", run.config.classify.layer, fingerprint(NAME, VERSION, inputs(run)))


def inputs(run: Run) -> dict[str, Any]:
    """All that shapes the detections, named as the configuration names it."""
    return {
        "detect": run.section("detect"),
        "classes": run.classes,
        "models": run.relative(train.folder(run)),
        "features": run.relative(extract.folder(run)),
    }


class ImageDetector:
    """Trained models, ready for the regions of one image after the other."""

    def __init__(self, config: RunConfig, model: TrainedModel) -> None:
        self._config = config
        self._model = model
        self.classes = model.detector.classes

    @property
    def layers(self) -> list[str]:
        """The feature layers that `detect` wants."""
        config = self._config
        return sorted({config.classify.layer, config.regress.layer} if config.regress.enabled else {config.classify.layer})

    def detect(self, size: tuple[int, int], boxes: Array, features: dict[str, Array]) -> Detections:
        """What one image shows.

        Args:
            size: (width, height) of the image.
            boxes: its proposals, float64 [R, 4], as float32 holds them.
            features: layer -> float16 [R, D].
        """
        config, detector = self._config, self._model.detector
        scaled = {
            layer: scale_features(features[layer].astype(np.float32), self._model.mean_norms[layer], config.scaling.target_norm)
            for layer in self.layers
        }
        scores = score_regions(scaled[config.classify.layer], detector.weights, detector.biases)
        if config.classify.method == "softmax":
            scores = class_probabilities(scores)
        regression = scaled[config.regress.layer if config.regress.enabled else config.classify.layer]
        return detect_regions(detector, scores, boxes, regression, size, config.detect)


class DetectStage(ShardStage):
    name = NAME
    VERSION = VERSION
    splits = ("test",)

    @property
    def heavy(self) -> bool:
        return "test" not in self.context.config.extract.splits

    @property
    def url(self) -> str:
        return folder(self.context)

    def inputs(self) -> dict[str, Any]:
        return inputs(self.context)

    def make_worker(self) -> "DetectWorker":
        return DetectWorker(self.context, self.url)


class DetectWorker(ShardWorker):
    """Holds the models, and the network where features have to be computed again."""

    name = NAME

    def __init__(self, run: Run, url: str) -> None:
        super().__init__(url, DETECTIONS)
        self._run = run
        self._detector = ImageDetector(run.config, load_model(train.folder(run), run.classes))
        self._extractor = None if "test" in run.config.extract.splits else extract.make_extractor(run, extract.finetuned_folder(run))

    def fill(self, task: ShardTask, shard: ShardWriter) -> None:
        images = self._forwarded(self._extractor, task, shard) if self._extractor else self._stored(task, shard)
        with closing(images):
            for image_id, size, boxes, features in images:
                with shard.timed("compute"):
                    found = self._detector.detect(size, boxes, features)
                shard.add(image_id, make_table(DETECTIONS, self._columns(image_id, size, boxes, found)))

    def _stored(self, task: ShardTask, shard: ShardWriter) -> Generator[_Image]:
        """Id, (width, height), proposals and features of each image of a stored shard."""
        url = files.join(extract.folder(self._run), task.split)
        marker = read_marker(url, task.part)
        for failure in marker.failures if marker else ():
            shard.fail(failure.image_id, failure.stage, failure.reason)
        columns = ["width", "height", "is_ground_truth", "x1", "y1", "x2", "y2", *self._detector.layers]
        for image_id, table in read_images(url, task.part, task.wanted, columns):
            proposals = np.flatnonzero(~np.asarray(table["is_ground_truth"]))
            size = (table["width"][0].as_py(), table["height"][0].as_py()) if table.num_rows else (0, 0)
            yield image_id, size, boxes_of(table)[proposals], {layer: matrix(table, layer)[proposals] for layer in self._detector.layers}

    def _forwarded(self, extractor: "Extractor", task: ShardTask, shard: ShardWriter) -> Generator[_Image]:
        """The same, from images and proposals."""
        for regions, batches in extract.forward_regions(self._run, extractor, task, shard, NAME):
            with shard.timed("forward"):  # what a GPU has not ended yet
                features = extract.rows_of(extractor, regions, batches)
            yield regions.image_id, regions.size, regions.boxes, features

    def _columns(self, image_id: str, size: tuple[int, int], boxes: Array, found: Detections) -> dict[str, object]:
        n = len(found.region)
        return {
            "image_id": [image_id] * n,
            "width": np.full(n, size[0]),
            "height": np.full(n, size[1]),
            "class": [self._detector.classes[i] for i in found.class_index],
            "score": found.score,
            "region": found.region,
            **box_columns(found.boxes),
            **box_columns(boxes[found.region], "proposal_"),
            "kept": found.kept,
            "kept_unregressed": found.kept_unregressed,
        }
