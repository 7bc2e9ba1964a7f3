"""The windows and the images that fine-tuning learns from."""

from collections.abc import Iterator

import numpy as np

from rcnn_dist.arrays import Array
from rcnn_dist.data.images import decode_image, image_size
from rcnn_dist.errors import BadAnnotationError, ConfigError, DataError
from rcnn_dist.finetune.window_file import ImageWindows, format_window_file, parse_window_file
from rcnn_dist.finetune.windows import LEFT_OUT, WindowSet, best_class, foreground_labels
from rcnn_dist.geometry.boxes import class_overlap
from rcnn_dist.stages import propose
from rcnn_dist.stages.run import Run
from rcnn_dist.store import files
from rcnn_dist.store.shards import read_images as read_rows
from rcnn_dist.store.tables import boxes_of


def read_windows(run: Run) -> tuple[WindowSet, list[str]]:
    """All windows of the training set, from `finetune.window_file` where it is given, and the urls of the images that they number.

    Raises:
        ConfigError: there is no such window file.
        DataError: it is none, or has a class that the run does not have.
    """
    images = list(_file_windows(run) if run.config.finetune.window_file else image_windows(run))
    labels = [foreground_labels(image.label, image.overlap, run.config.finetune) for image in images]
    boxes = [image.boxes.astype(np.float32) for image in images]
    number = np.repeat(np.arange(len(images)), [len(label) for label in labels])
    label, box = np.concatenate([np.empty(0, np.int64), *labels]), np.concatenate([np.empty((0, 4), np.float32), *boxes])
    used = label != LEFT_OUT
    return WindowSet(number[used], box[used], label[used]), [image.path for image in images]


def image_windows(run: Run) -> Iterator[ImageWindows]:
    """The windows of each training image: ground truth, then proposals.

    An image without an annotation has background only; one whose annotation cannot be read has no windows.

    Raises:
        MissingShardError: the training images have no complete proposals.
        ConfigError: finetune.image_set is no part of data.train.

    Reference: finetuning/rcnn_make_window_file.m, imdb/roidb_from_voc.m (difficult objects count).
    """
    stage = propose.ProposeStage(run)
    stage.require("train")
    chosen, trained = run.config.finetune.image_set, frozenset(run.image_ids("train"))
    wanted = trained if chosen is None else frozenset(run.dataset.image_ids(chosen))
    if not wanted <= trained:
        raise ConfigError(f"finetune.image_set {chosen} has images that data.train {run.config.data.train} does not have")
    for task in stage.tasks("train"):
        for image_id, table in read_rows(stage.folder("train"), task.part, [i for i in task.image_ids if i in wanted]):
            url = run.dataset.image_url(image_id)
            if table.num_rows:
                width, height = (int(table[side][0].as_py()) for side in ("width", "height"))
            else:
                width, height = image_size(files.read_bytes(url))
            proposals = boxes_of(table)[: run.config.extract.max_proposals]
            try:
                gt_boxes, gt_class = _ground_truth(run, image_id, width, height)
            except BadAnnotationError:
                continue
            boxes = np.concatenate([gt_boxes, proposals])
            label, overlap = best_class(class_overlap(boxes, gt_boxes, gt_class, len(run.classes)))
            yield ImageWindows(url, height, width, boxes, label, overlap)


def export_windows(run: Run, out: str) -> list[str]:
    """Writes the training windows as the original's window file, which Caffe reads; its url.

    Raises:
        MissingShardError: the training images have no complete proposals.
    """
    url = files.join(out, "windows.txt")
    files.write_bytes(url, format_window_file(list(image_windows(run))).encode())
    return [url]


class ImageReader:
    """Decoded images of a set, kept while they fit into `finetune.image_cache_mb`."""

    def __init__(self, run: Run, urls: list[str]) -> None:
        self._data = run.config.data
        self._urls = urls
        self._kept: dict[int, Array] = {}
        self._free = run.config.finetune.image_cache_mb * 2**20

    def read(self, number: int) -> Array:
        """The image of that number, uint8 [H, W, 3]."""
        if number in self._kept:
            return self._kept[number]
        image = decode_image(files.read_bytes(self._urls[number]), self._data.max_pixels, self._data.exif_rotation)
        if image.nbytes <= self._free:
            self._free -= image.nbytes
            self._kept[number] = image
        return image


def _ground_truth(run: Run, image_id: str, width: int, height: int) -> tuple[Array, Array]:
    """Boxes and classes (from 0) of the objects of the run's classes."""
    objects = run.objects(image_id, width, height)
    index = {name: i for i, name in enumerate(run.classes)}
    wanted = [i for i, name in enumerate(objects.classes) if name in index] if objects else []
    if not objects or not wanted:
        return np.empty((0, 4)), np.empty(0, np.int64)
    return objects.boxes[wanted], np.array([index[objects.classes[i]] for i in wanted], np.int64)


def _file_windows(run: Run) -> list[ImageWindows]:
    url = str(run.config.finetune.window_file)
    try:
        images = parse_window_file(files.read_text(url))
    except FileNotFoundError as error:
        raise ConfigError(f"finetune.window_file: there is no {url}") from error
    highest = max((int(image.label.max(initial=0)) for image in images), default=0)
    if highest > len(run.classes):
        raise DataError(f"{url} has a class {highest}, but the run has {len(run.classes)} classes: set data.classes in the file's order")
    return images
