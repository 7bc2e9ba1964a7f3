"""VOC's results files for a part of the test images: VOC2010's test set is one of VOC2012's."""

from dataclasses import replace

import numpy as np

from rcnn_dist.errors import ConfigError, DataError
from rcnn_dist.evaluate.voc import ClassDetections
from rcnn_dist.stages.evaluate import ARCHIVE, evaluate, write_comp4
from rcnn_dist.stages.run import Run
from rcnn_dist.store import files


def export_voc(run: Run, out: str, images: str | None, year: str) -> list[str]:
    """Writes the results of the images that a file lists (an id at the start of each line; None: all); the archive's url.

    Raises:
        ConfigError: there is no such file.
        DataError: it lists an image that is not in the run's test set.

    Reference: utils/test_2010_from_2012.m.
    """
    found = evaluate(run)
    if images is not None:
        chosen = np.isin(np.array(found.image_ids, dtype=object), _listed(images, found.image_ids))
        kept = {}
        for name, rows in found.detections.items():
            mask = chosen[rows.image]
            kept[name] = ClassDetections(rows.image[mask], rows.boxes[mask], rows.scores[mask])
        found = replace(found, detections=kept)
    write_comp4(found, out, run.image_set("test"), year)
    return [files.join(out, ARCHIVE)]


def _listed(url: str, known: tuple[str, ...]) -> list[str]:
    try:
        names = [line.split()[0] for line in files.read_text(url).splitlines() if line.strip()]
    except FileNotFoundError as error:
        raise ConfigError(f"--images: there is no {url}") from error
    if unknown := sorted(set(names) - set(known)):
        raise DataError(f"{url} lists {unknown[0]}, which is not among the run's {len(known)} test images")
    return names
