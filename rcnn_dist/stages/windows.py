"""The windows and the images that fine-tuning learns from."""

import numpy as np

from rcnn_dist.arrays import Array
from rcnn_dist.data.images import decode_image
from rcnn_dist.errors import BadAnnotationError
from rcnn_dist.finetune.windows import WindowSet, best_class, foreground_labels
from rcnn_dist.geometry.boxes import class_overlap
from rcnn_dist.stages import propose
from rcnn_dist.stages.run import Run
from rcnn_dist.store import files
from rcnn_dist.store.shards import read_images as read_rows
from rcnn_dist.store.tables import boxes_of


def read_windows(run: Run) -> tuple[WindowSet, list[str]]:
    """All windows of the training set, ground truth before the proposals of each image, and the ids of the images that they number.

    An image without an annotation has background only; one whose annotation cannot be read has no windows.

    Reference: finetuning/rcnn_make_window_file.m, imdb/roidb_from_voc.m (difficult objects count).
    """
    stage = propose.ProposeStage(run)
    ids: list[str] = []
    boxes, labels = [np.empty((0, 4), np.float32)], [np.empty(0, np.int64)]
    for task in stage.tasks("train"):
        for image_id, table in read_rows(stage.folder("train"), task.part):
            proposals = boxes_of(table)[: run.config.extract.max_proposals]
            try:
                own, label = _label(run, image_id, int(table["width"][0].as_py()), int(table["height"][0].as_py()), proposals)
            except BadAnnotationError:
                continue
            ids.append(image_id)
            boxes.append(own)
            labels.append(label)
    image = np.repeat(np.arange(len(ids)), [len(label) for label in labels[1:]])
    return WindowSet(image, np.concatenate(boxes), np.concatenate(labels)), ids


def _label(run: Run, image_id: str, width: int, height: int, proposals: Array) -> tuple[Array, Array]:
    objects = run.objects(image_id, width, height)
    index = {name: i for i, name in enumerate(run.classes)}
    wanted = [i for i, name in enumerate(objects.classes) if name in index] if objects else []
    gt_boxes = objects.boxes[wanted] if objects else np.empty((0, 4))
    gt_class = np.array([index[objects.classes[i]] for i in wanted] if objects else [], np.int64)
    boxes = np.concatenate([gt_boxes, proposals]).astype(np.float32)
    overlap = class_overlap(boxes, gt_boxes.astype(np.float32), gt_class, len(run.classes))
    return boxes, foreground_labels(*best_class(overlap), run.config.finetune)


class ImageReader:
    """Decoded images of a set, kept while they fit into `finetune.image_cache_mb`."""

    def __init__(self, run: Run, image_ids: list[str]) -> None:
        self._run = run
        self._ids = image_ids
        self._kept: dict[int, Array] = {}
        self._free = run.config.finetune.image_cache_mb * 2**20

    def read(self, number: int) -> Array:
        """The image of that number, uint8 [H, W, 3]."""
        if number in self._kept:
            return self._kept[number]
        data = self._run.config.data
        url = self._run.dataset.image_url(self._ids[number])
        image = decode_image(files.read_bytes(url), data.max_pixels, data.exif_rotation)
        if image.nbytes <= self._free:
            self._free -= image.nbytes
            self._kept[number] = image
        return image
