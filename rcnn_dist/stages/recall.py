"""How well a run's proposals cover its objects, from the proposals table and the annotations."""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from rcnn_dist.data.dataset import Objects
from rcnn_dist.errors import BadAnnotationError, DataError
from rcnn_dist.evaluate.proposal_recall import BudgetRecall, object_overlaps, pool_overlaps, proposal_recall, recall_json
from rcnn_dist.report.plots import plot_proposal_recall
from rcnn_dist.stages import propose
from rcnn_dist.stages.run import Run
from rcnn_dist.store import files
from rcnn_dist.store.shards import read_images
from rcnn_dist.store.tables import boxes_of


@dataclass(frozen=True, slots=True)
class RunRecall:
    """The recall of one split's proposals."""

    split: str
    source: str
    images: int  # with proposals and an annotation
    proposals: float  # per image
    table: list[BudgetRecall]
    figures: dict[str, Any]  # the table as JSON holds it
    files: tuple[str, str]  # the same as JSON and as a plot


def measure_recall(run: Run, split: str) -> RunRecall:
    """Recall and overlaps of a split, written to `evaluation/proposal_recall-<split>.json` and `.svg` too.

    Objects marked difficult take no part, nor do images without an annotation or without a row in the proposals table.

    Raises:
        MissingShardError: the proposals are not complete.
        DataError: no image has an object.
    """
    stage = propose.ProposeStage(run)
    stage.require(split)
    numbers: dict[str, int] = {}
    found, counts = [], []
    for task in stage.tasks(split):
        for image_id, table in read_images(stage.folder(split), task.part):
            objects = _objects(run, image_id) if run.dataset.exhaustive(image_id) else None
            if objects is not None:
                easy = ~objects.difficult
                classes = [numbers.setdefault(name, len(numbers)) for name, kept in zip(objects.classes, easy, strict=True) if kept]
                found.append(object_overlaps(boxes_of(table), objects.boxes[easy], np.array(classes, np.int64)))
                counts.append(table.num_rows)
    if not numbers:
        raise DataError(f"{run.dataset.name}: no image of '{run.image_set(split)}' has an object, so there is nothing to recall")
    recall = proposal_recall(pool_overlaps(found))
    source = run.config.proposals.source
    mean = float(np.mean(counts))
    figures = recall_json(recall)
    about = {"split": split, "source": source, "images": len(found), "proposals_per_image": mean}
    urls = tuple(files.join(run.url, "evaluation", f"proposal_recall-{split}.{ending}") for ending in ("json", "svg"))
    files.write_bytes(urls[0], (json.dumps(about | figures, indent=1) + "\n").encode())
    files.write_bytes(urls[1], plot_proposal_recall(figures, mean).encode())
    return RunRecall(split, source, len(found), mean, recall, figures, (urls[0], urls[1]))


def _objects(run: Run, image_id: str) -> Objects | None:
    try:
        return run.dataset.objects(image_id)
    except BadAnnotationError:
        return None
