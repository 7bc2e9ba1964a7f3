import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from rcnn_dist.benchmarks import networks
from rcnn_dist.benchmarks.networks import find_products, plain_products
from rcnn_dist.features.networks import NetworkParams, build_network
from rcnn_dist.features.networks.channel_norm import ChannelNorm


def test_every_side_of_a_pair_is_measured_in_both_arithmetics(monkeypatch):
    other = NetworkParams("torchvision:squeezenet1_1", input_size=32, taps={"fc7": "features"})
    monkeypatch.setattr(networks, "_PAIRS", {"tiny": other})
    figures = networks.run(batch_size=2, rounds=2, threads=None, compiled=False)
    assert [(row["network"], row["beside"], row["precision"]) for row in figures["figures"]] == [
        ("tiny", "torchvision:squeezenet1_1", "float32"),
        ("tiny", "torchvision:squeezenet1_1", "bfloat16"),
    ]
    for row in figures["figures"]:
        speeds = row["regions_per_s"]
        assert list(speeds) == ["ours", "torchvision", "plain products"]
        assert all(speed["best"] >= speed["median"] > 0 for speed in speeds.values())
        assert row["share_of_plain"] == {"ours": pytest.approx(speeds["ours"]["best"] / speeds["plain products"]["best"])}
    shown = networks.lines(figures)
    assert len(shown) == 8
    assert "squeezenet1_1" in shown[-2] and shown[-1].split()[2:4] == ["plain", "products"]


def test_a_compiled_network_is_a_side_of_its_own(monkeypatch):
    compiled = []
    monkeypatch.setattr(networks, "_PAIRS", {"tiny": NetworkParams("torchvision:squeezenet1_1", input_size=32, taps={"fc7": "features"})})
    monkeypatch.setattr(networks.torch, "compile", lambda network: compiled.append(network) or network)
    for row in networks.run(batch_size=1, rounds=1, threads=None, compiled=True)["figures"]:
        assert list(row["regions_per_s"])[-1] == "ours compiled" and set(row["share_of_plain"]) == {"ours", "ours compiled"}
    assert [network.name for network in compiled] == ["tiny", "tiny"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # side of the output squared x filters x weights of a filter, of each layer in turn
        ("tnet", 55**2 * 96 * 3 * 121 + 27**2 * 256 * 48 * 25 + 13**2 * 9 * (384 * 256 + 384 * 192 + 256 * 192) + 4096 * (9216 + 4096)),
        ("onet", 15_346_630_656 + 4096 * (512 * 49 + 4096)),
        ("tiny", 32**2 * 32 * 3 * 25 + 16**2 * 64 * 32 * 9 + 8**2 * 64 * 64 * 9 + 1024 * (1024 + 512)),
    ],
)
def test_the_plain_products_have_the_multiplications_of_the_network(name, expected):
    network = build_network(NetworkParams(name))
    products = find_products(network)
    assert sum(product.multiplications for product in products) == expected
    batch = 2 if name != "onet" else 1
    for norm in [child for child, module in network.named_children() if isinstance(module, ChannelNorm)]:
        network.set_submodule(norm, nn.Identity())  # it sums over channels by a product of its own
    chain = plain_products(products, batch, torch.float32, torch.device("cpu"))
    pixels = torch.zeros(batch, 3, network.input_size, network.input_size)
    for forward in (chain, lambda: network(pixels, ("fc7",))):
        with FlopCounterMode(display=False) as counted:
            forward()
        assert counted.get_total_flops() == 2 * batch * expected  # a multiplication and an addition
    assert not any(module._forward_hooks for module in network.modules())
