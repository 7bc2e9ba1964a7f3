import json

from rcnn_dist.benchmarks import extract


def test_pipeline_and_bare_forward_take_turns_over_the_same_regions(monkeypatch):
    monkeypatch.setattr(extract, "_ROWS", 50)
    figures = extract.run("tiny", images=4, regions=20, rounds=2, threads=1, batch_size=8, precision="float32")
    assert json.loads(json.dumps(figures))["device"] == "cpu"
    assert 80 < figures["regions"] < 120, "those of each image, and its objects"
    assert len(figures["ratio"]["all"]) == 2
    assert all(seconds > 0 for seconds in figures["seconds_per_round"].values())
    assert figures["writer"]["mb_per_s_wanted"] == 100 * 50 * 4096 * 2 / 1e6
    assert "of it (" in extract.lines(figures)[0]
    assert "100 images/s of 50 x 4096" in extract.lines(figures)[-1]
