import numpy as np
import pytest

from rcnn_dist.benchmarks import svm


def test_both_solvers_end_at_the_same_objective():
    (found,) = svm.run(rows=[400], size=96, repeats=2, run_dir=None).values()
    assert (found["rows"], found["features"]) == (400, 96)
    assert -1e-8 <= found["ours_above"] <= 1e-3
    assert -1e-8 <= found["liblinear_above"] <= 1e-3
    assert [len(times) for times in found["seconds"].values()] == [2, 2]
    (line,) = svm.lines({"a case": found})
    assert line.startswith("a case: ours ")


def test_generated_features_are_those_of_a_rectified_layer():
    positives, negatives = svm.generated_rows(1000, 512)
    assert (len(positives), len(negatives)) == (50, 950)
    assert 0.15 < np.mean(negatives > 0) < 0.35
    assert negatives.min() == 0
    assert np.linalg.norm(negatives.astype(np.float32), axis=1).mean() == pytest.approx(20, rel=1e-3)
