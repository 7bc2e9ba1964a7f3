from rcnn_dist.benchmarks import svr


def test_both_solvers_end_at_the_same_objective():
    found = svr.run(rows=600, alone=900, size=64, classes=3, cost=3.0)
    assert (found["rows"], found["alone_rows"], found["features"]) == (600, 900, 64)
    assert 0 <= found["ours_above"] <= 1.01e-3
    assert -1e-6 <= found["liblinear_above"] <= 1.01e-3
    assert found["alone_gap"] <= 1e-3
    assert svr.lines(found)[0].startswith("600 regions, 3 regressors, 64 features, cost 3: ours ")


def test_most_regions_overlap_nothing_and_half_of_the_features_are_0():
    blocks, targets = svr.generated_regions(2500, 128, 4)
    assert [len(block) for block in blocks] == [2000, 500]
    assert 0.4 < (blocks[0] == 0).mean() < 0.6
    overlap = targets - targets.min(axis=0)
    assert 0.2 < (overlap.max(axis=1) > 1e-6).mean() < 0.45
