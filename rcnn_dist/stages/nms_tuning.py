"""NMS thresholds from the detections of a run whose test split is a validation set."""

from rcnn_dist.detect.postprocess import set_cap, set_cap_threshold
from rcnn_dist.evaluate.nms_tuning import best_nms_threshold
from rcnn_dist.evaluate.voc import ClassDetections
from rcnn_dist.stages import detect
from rcnn_dist.stages.evaluate import annotated_objects
from rcnn_dist.stages.run import Run
from rcnn_dist.store import files
from rcnn_dist.store.query import detections_by_class


def tune_nms(run: Run) -> dict[str, float]:
    """Class -> threshold. The detections are those before NMS, which the table keeps.

    Raises:
        MissingShardError: the detections are not complete.
    """
    detect.DetectStage(run).require("test")
    config, image_ids = run.config, run.image_ids("test")
    objects, found = annotated_objects(run), {}
    for name, rows in detections_by_class(files.join(detect.folder(run), "test"), run.classes, image_ids).items():
        best = rows.scores >= set_cap_threshold(rows.scores, set_cap(config.detect, len(image_ids)))
        detections = ClassDetections(rows.image[best], rows.boxes[best], rows.scores[best])
        default = config.detect.nms_threshold
        found[name] = best_nms_threshold(detections, objects[name], config.evaluate.min_iou, default) if name in objects else default
    return found
