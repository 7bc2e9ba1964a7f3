import numpy as np

from rcnn_dist.benchmarks import segmentation

SMALL = ["runtime.executor=in_process", "masks.max_regions=15", "extract.layers=[pool5]", "svr.strategies=[full]", "run.shard_images=4"]


def test_every_method_is_measured_on_every_set():
    found = segmentation.run(seeds=2, images={"train": 8, "test": 3}, config="seg_shapes.yaml", overrides=SMALL)
    names = ["full pool5", "colour histogram", "chance", "background alone"]
    assert list(found["methods"]) == names
    for name in names:
        row = found["methods"][name]
        assert len(row["accuracy"]) == 2
        assert 0 < row["mean"] < 1
        assert row["mean"] == np.mean(row["accuracy"])
    assert found["methods"]["background alone"]["mean"] < 0.2
    assert len(segmentation.lines(found)) == 5
