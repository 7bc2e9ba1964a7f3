from rcnn_dist.benchmarks import chaos, plan


def test_a_killed_worker_and_a_killed_driver_cost_no_byte():
    figures = chaos.run(2, ("extract",))
    assert (figures["runs"], figures["killed"], figures["equal"], figures["lost"], figures["doubled"]) == (2, 2, 2, 0, 0)
    assert figures["recomputed_max"] <= 8
    assert chaos.lines(figures)[1].split() == ["extract", "2", "2", "2", "0", "0", str(figures["recomputed_max"])]


def test_a_plan_is_written_and_found():
    figures = plan.run(1000)
    assert (figures["images"], figures["shards"]) == (1000, 63)
    assert "1,000 images in 63 shards" in plan.lines(figures)[0]
