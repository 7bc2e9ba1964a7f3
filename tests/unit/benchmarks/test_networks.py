from rcnn_dist.benchmarks import networks
from rcnn_dist.features.networks import NetworkParams


def test_every_side_of_a_pair_is_measured_in_both_arithmetics(monkeypatch):
    other = NetworkParams("torchvision:squeezenet1_1", input_size=32, taps={"fc7": "features"})
    monkeypatch.setattr(networks, "_PAIRS", {"tiny": other})
    figures = networks.run(batch_size=2, rounds=2, threads=None, compiled=False)
    assert [(row["network"], row["beside"], row["precision"]) for row in figures["figures"]] == [
        ("tiny", "torchvision:squeezenet1_1", "float32"),
        ("tiny", "torchvision:squeezenet1_1", "bfloat16"),
    ]
    for row in figures["figures"]:
        assert list(row["regions_per_s"]) == ["ours", "torchvision"]
        assert all(speed["best"] >= speed["median"] > 0 for speed in row["regions_per_s"].values())
    shown = networks.lines(figures)
    assert len(shown) == 6
    assert "squeezenet1_1" in shown[-1]
