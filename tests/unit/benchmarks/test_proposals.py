import json

import numpy as np
import pytest

from rcnn_dist.benchmarks import proposals
from rcnn_dist.data.shapes import ShapesParams, generate_shapes
from rcnn_dist.errors import ConfigError, DataError
from rcnn_dist.evaluate.proposal_recall import ObjectOverlaps, pool_overlaps, proposal_recall

BUDGETS = (None, 2000, 1000, 500)


def random_overlaps(rng: np.random.Generator, objects: int) -> ObjectOverlaps:
    return ObjectOverlaps(rng.random((objects, 4)), rng.integers(0, 3, objects), rng.uniform(10, 300, objects))


def test_intervals_are_those_of_images_drawn_one_by_one() -> None:
    rng = np.random.default_rng(1)
    mine = [random_overlaps(rng, n) for n in (3, 1, 0, 2, 5)]
    theirs = [ObjectOverlaps(rng.random(o.best.shape), o.classes, o.sizes) for o in mine]
    counts = np.random.default_rng(0).multinomial(5, np.full(5, 0.2), 2000)
    slow = []
    for row in counts:
        drawn = [i for i, n in enumerate(row) for _ in range(n)]
        sides = [proposal_recall(pool_overlaps([side[i] for i in drawn]), BUDGETS)[3].overall for side in (mine, theirs)]
        slow.append([getattr(sides[0], m) - getattr(sides[1], m) if sides[0].objects else 0.0 for m in ("recall_50", "recall_70", "mabo")])
    found = proposals._differences(mine, theirs)
    assert list(found) == ["everything"]  # no size has a hundred objects
    low, high = np.percentile(slow, [2.5, 97.5], axis=0)
    for i, measure in enumerate(("recall_50", "recall_70", "mabo")):
        assert found["everything"]["500"][measure] == pytest.approx([low[i], high[i]])


def test_figures_of_a_small_set(tmp_path) -> None:
    generate_shapes(str(tmp_path), ShapesParams(images={"train": 1, "test": 3}, max_size=(260, 200)))
    figures = proposals.run([str(tmp_path), str(tmp_path)], "test", 2, "swift")
    assert json.loads(json.dumps(figures))["images"] == 4
    for side in ("ours", "opencv"):
        everything = figures[side]["all"]
        assert everything["recall_50"] >= figures[side]["500"]["recall_50"] > 0
        assert {"recall_70", "mabo", "by_size"} <= set(everything)
    assert set(figures["ours"]["stages_ms"]) == set(proposals._STEPS)
    assert figures["speed_ratio"]["p10"] <= figures["speed_ratio"]["median"] <= figures["speed_ratio"]["p90"]
    assert any("recall_50" in line for line in proposals.lines(figures))


def test_mistakes_are_named(tmp_path) -> None:
    with pytest.raises(ConfigError, match="no preset is called 'fast': choose from paper, quality, swift"):
        proposals.run([str(tmp_path)], "test", None, "fast")
    with pytest.raises(DataError, match="ImageSets"):
        proposals.run([str(tmp_path)], "test", None, "swift")
