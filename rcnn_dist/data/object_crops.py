"""Objects cut out of annotated images, one folder per class: images to pre-train on."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from rcnn_dist.data.dataset import Dataset, clip_to_image
from rcnn_dist.data.images import read_image
from rcnn_dist.store import files

_CONTEXT = 0.15  # of the box's size, on each side
_SMALLEST = 12  # pixels


def write_object_crops(dataset: Dataset, image_sets: Sequence[str], out: str) -> dict[str, int]:
    """Writes `<out>/<image set>/<class>/<image>_<object>.png`, each object with some of its surroundings; crops per image set.

    Objects that are difficult or smaller than 12 pixels are passed over.
    """
    counts = {}
    for image_set in image_sets:
        counts[image_set] = 0
        for image_id in dataset.image_ids(image_set):
            objects = dataset.objects(image_id)
            if objects is None:
                continue
            image = read_image(dataset.image_url(image_id))
            objects, _ = clip_to_image(objects, image.shape[1], image.shape[0])
            for index, (box, name) in enumerate(zip(objects.boxes, objects.classes, strict=True)):
                if objects.difficult[index] or min(box[2:] - box[:2]) < _SMALLEST:
                    continue
                context = _CONTEXT * (box[2:] - box[:2])
                x1, y1 = np.maximum(np.round(box[:2] - context), 0).astype(int)
                x2, y2 = np.round(box[2:] + context).astype(int)
                url = files.join(out, image_set, name, f"{image_id}_{index}.png")
                with files.scratch_file(url) as scratch:
                    Image.fromarray(image[y1:y2, x1:x2]).save(scratch, format="png")
                    files.replace(scratch, url)
                counts[image_set] += 1
    return counts
