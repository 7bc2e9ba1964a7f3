import json

import numpy as np
import pytest
from defusedxml import ElementTree

from rcnn_dist import driver
from rcnn_dist.errors import DataError, MissingShardError
from rcnn_dist.geometry.boxes import iou_matrix
from rcnn_dist.stages import propose
from rcnn_dist.stages.recall import measure_recall
from rcnn_dist.stages.run import Run
from rcnn_dist.store.shards import read_images
from rcnn_dist.store.tables import boxes_of


def test_recall_is_that_of_the_boxes_in_the_table(small_config):
    config = small_config()
    with pytest.raises(MissingShardError, match="run the stage propose first"):
        measure_recall(Run(config), "train")
    run = driver.run_stages(config, ("propose",))
    found = measure_recall(run, "train")
    assert (found.images, found.source) == (12, "selective_search")
    stage = propose.ProposeStage(run)
    best = []
    for task in stage.tasks("train"):
        for image_id, table in read_images(stage.folder("train"), task.part):
            objects = run.dataset.objects(image_id)
            best += iou_matrix(boxes_of(table)[:100], objects.boxes[~objects.difficult]).max(axis=0).tolist()
    assert found.table[0].overall.objects == len(best)
    assert found.table[0].overall.recall_50 == pytest.approx(np.mean(np.array(best) >= 0.5))
    written = json.loads(open(found.files[0]).read())
    assert written["100"]["recall_50"] == found.table[0].overall.recall_50
    assert written["proposals_per_image"] == found.proposals
    ElementTree.parse(found.files[1])


def test_a_set_without_objects_is_told(small_config):
    run = driver.run_stages(small_config(), ("propose",))
    run.dataset.objects = lambda image_id: None
    with pytest.raises(DataError, match="no image of 'test' has an object"):
        measure_recall(run, "test")
