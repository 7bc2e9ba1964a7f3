"""T-Net and O-Net: the sizes and counts of the paper, and every layer against a forward written in NumPy."""

from copy import deepcopy

import numpy as np
import pytest
import torch

from rcnn_dist.errors import ConfigError
from rcnn_dist.features.extract import Extractor, ExtractParams
from rcnn_dist.features.networks import NetworkParams, build_network, network_layers, onet
from rcnn_dist.features.networks.channel_norm import ChannelNorm, PixelNorm
from rcnn_dist.features.networks.for_cpu import PixelPool, RectifiedConv, WideConv

LAYERS = ("conv5", "pool5", "fc6", "fc7")


@pytest.fixture(scope="module")
def tnet():
    return build_network(NetworkParams("tnet"))


@pytest.fixture
def narrow_onet(monkeypatch):
    """O-Net with few channels: its structure, quickly."""
    monkeypatch.setattr(onet, "BLOCKS", ((4, 4), (5, 5), (6, 6, 6), (7, 7, 7), (8, 8, 8)))
    return build_network(NetworkParams("onet"))


def pixels(network, count=2):
    side = network.input_size
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(0)) * 60


def parameters(network):
    """Group of layers -> number of parameters."""
    counts = {}
    for name, parameter in network.named_parameters():
        group = "conv" if name.startswith("conv") else name.partition(".")[0]
        counts[group] = counts.get(group, 0) + parameter.numel()
    return counts


def assert_equal_layers(network, expected, batch):
    with torch.inference_mode():
        found = network(batch, LAYERS)
    for layer in LAYERS:
        assert found[layer].shape == expected[layer].shape == (len(batch), network.layer_sizes[layer])
        assert np.abs(found[layer].numpy() - expected[layer]).max() < 1e-4 * np.abs(expected[layer]).max() > 0


def test_tnet_has_the_papers_sizes_and_parameters(tnet):
    assert network_layers(NetworkParams("tnet")) == tnet.layers == LAYERS
    assert tnet.layer_sizes == {"conv5": 256 * 13 * 13, "pool5": 9216, "fc6": 4096, "fc7": 4096}
    counts = parameters(tnet)
    assert [round(counts[group] / 1e6, 2) for group in ("conv", "fc6", "fc7")] == [2.33, 37.75, 16.78]
    assert round(sum(counts.values()) / 1e6, 2) == 56.87
    assert (tnet.input_size, tnet.preprocess.channel_order, tnet.preprocess.std.tolist()) == (227, "bgr", [1, 1, 1])


def test_tnet_is_caffes_network_layer_by_layer(tnet, caffe_forward):
    batch = pixels(tnet)
    state = {name: tensor.numpy() for name, tensor in tnet.state_dict().items()}
    assert_equal_layers(tnet, caffe_forward("tnet", state, batch.numpy()), batch)


def test_tnet_pools_with_ceil_as_caffe_does(caffe_forward):
    network = build_network(NetworkParams("tnet", input_size=224))
    batch = pixels(network, 1)
    state = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    assert_equal_layers(network, caffe_forward("tnet", state, batch.numpy()), batch)


def test_tnet_is_drawn_as_for_the_papers_pre_training(tnet):
    state = tnet.state_dict()
    assert [name.removesuffix(".bias") for name in state if name.endswith("bias") and (state[name] == 1).all()] == [
        *("conv2", "conv4", "conv5", "fc6", "fc7"),
    ]
    assert all((state[f"{name}.bias"] == 0).all() for name in ("conv1", "conv3"))
    for name, std in (("conv1", 0.01), ("conv4", 0.01), ("fc6", 0.005), ("fc7", 0.005)):
        assert state[f"{name}.weight"].std().item() == pytest.approx(std, rel=0.02)


def test_onet_has_the_papers_sizes_and_parameters():
    with torch.device("meta"):
        modules = onet.modules()
    counts = {name: sum(p.numel() for p in module.parameters()) for name, module in modules.items()}
    assert len([name for name in counts if name.startswith("conv")]) == 13
    assert sum(counts.values()) == 134_260_544
    assert (counts["fc6"], counts["fc7"]) == (25_088 * 4096 + 4096, 4096 * 4096 + 4096)


def test_onet_is_caffes_network_layer_by_layer(narrow_onet, caffe_forward):
    assert narrow_onet.layer_sizes == {"conv5": 8 * 14 * 14, "pool5": 8 * 7 * 7, "fc6": 4096, "fc7": 4096}
    batch = pixels(narrow_onet)
    state = {name: tensor.numpy() for name, tensor in narrow_onet.state_dict().items()}
    assert_equal_layers(narrow_onet, caffe_forward("onet", state, batch.numpy()), batch)


def test_channel_norm_is_torchs_at_caffes_settings_and_has_its_gradient():
    maps = torch.randn(2, 9, 3, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 100
    ours, torchs = maps.clone().requires_grad_(), maps.clone().requires_grad_()
    found, expected = ChannelNorm()(ours), torch.nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0)(torchs)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
    for values in (found, expected):
        values.square().sum().backward()
    torch.testing.assert_close(ours.grad, torchs.grad, rtol=1e-9, atol=0)


def test_layers_alone_are_the_layers_together_and_nothing_after_them_runs(tnet):
    batch = pixels(tnet)
    with torch.inference_mode():
        together = tnet(batch, LAYERS)
        for layer in LAYERS:
            assert torch.equal(tnet(batch, (layer,))[layer], together[layer])
    assert tnet(batch, ()) == {}


def test_dropout_is_between_the_layers_and_only_in_training(narrow_onet):
    batch = pixels(narrow_onet)
    with torch.inference_mode():
        still = narrow_onet(batch, LAYERS)
        moving = narrow_onet.train()(batch, LAYERS)
    assert torch.equal(still["fc6"], moving["fc6"])
    assert not torch.equal(still["fc7"], moving["fc7"])


def test_bfloat16_features_stay_near_those_of_float32(narrow_onet):
    image = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    boxes = np.array([[5.0, 6, 60, 80], [20, 10, 110, 60]])
    found = {
        name: Extractor(deepcopy(narrow_onet), ExtractParams(("fc7",), 2, name), torch.device("cpu")).extract(image, boxes)["fc7"]
        for name in ("float32", "bfloat16")
    }
    exact, rounded = (values.astype(np.float32) for values in found.values())
    assert 0 < np.linalg.norm(exact - rounded) < 0.05 * np.linalg.norm(exact)


def test_weights_packed_for_a_cpu_give_the_same_features_up_to_rounding(narrow_onet):
    batch = pixels(narrow_onet)
    with torch.inference_mode():
        exact = narrow_onet(batch, ("fc7",))["fc7"]
        narrow_onet.prepare_for_cpu(len(batch))
        packed = narrow_onet(batch, ("fc7",))["fc7"]
    assert (packed - exact).abs().max() < 1e-5 * exact.max()
    assert "fc7.weight" not in narrow_onet.state_dict()


def test_tnet_prepared_for_a_cpu_gives_the_same_features_up_to_rounding(tnet):
    batch, fast = pixels(tnet).to(memory_format=torch.channels_last), deepcopy(tnet)
    fast.prepare_for_cpu(len(batch))
    with torch.inference_mode():
        exact, found = tnet(batch, LAYERS), fast(batch, LAYERS)
    for layer in LAYERS:
        assert (found[layer] - exact[layer]).abs().max() < 1e-5 * exact[layer].max()


@pytest.mark.parametrize(("size", "padding", "step"), [((9, 11), 11, 4), ((13, 13), 5, 3), ((8, 9), 4, 4)])
def test_a_wide_convolution_is_the_convolution(size, padding, step):
    layer = torch.nn.Conv2d(3, 5, 7, stride=step).requires_grad_(False)
    maps = torch.randn(2, 3, *(side + padding for side in size))
    torch.testing.assert_close(WideConv(layer)(maps), layer(maps), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("size", "kernel"), [((7, 9), 3), ((8, 6), 3), ((6, 8), 2)])
def test_pooling_by_pixels_is_max_pooling_after_a_relu(size, kernel, dtype):
    maps = torch.randn(2, 5, *size).to(dtype)
    maps[:, 0] = -1
    pool = torch.nn.MaxPool2d(kernel, stride=2, ceil_mode=True)
    for order in (torch.contiguous_format, torch.channels_last):
        assert torch.equal(PixelPool(pool)(maps.contiguous(memory_format=order)), pool(maps.relu()))


def test_the_norm_by_pixels_rounds_the_exact_one_once():
    maps = (torch.randn(2, 9, 3, 4).relu() * 300).bfloat16()
    exact = ChannelNorm()(maps.double())
    found = PixelNorm()(maps.clone(memory_format=torch.channels_last))
    nearest = exact.bfloat16()
    assert (found == nearest).float().mean() > 0.95  # the others lie between two numbers, nearly in the middle
    torch.testing.assert_close(found.double(), exact, rtol=2**-8, atol=0)


def test_the_norm_by_pixels_of_float32_is_the_norm():
    maps = torch.randn(2, 9, 3, 4) * 300
    found = PixelNorm()(maps.clone(memory_format=torch.channels_last))
    torch.testing.assert_close(found.double(), ChannelNorm()(maps.double()), rtol=1e-6, atol=0)


@pytest.mark.parametrize("highest", [None, 0.5])
@pytest.mark.parametrize("groups", [1, 2])
def test_a_rectified_convolution_is_the_convolution_and_its_relu(groups, highest):
    layer = torch.nn.Conv2d(6, 8, 3, stride=2, padding=1, groups=groups).requires_grad_(False)
    maps = torch.randn(2, 6, 9, 11).to(memory_format=torch.channels_last)
    expected = layer(maps).clamp(0, highest)
    assert (expected == 0).any()
    torch.testing.assert_close(RectifiedConv(layer, highest)(maps), expected, rtol=1e-5, atol=1e-6)


def test_tnet_in_bfloat16_stays_near_float32_and_a_region_does_not_depend_on_its_neighbours(tnet):
    batch = pixels(tnet).to(memory_format=torch.channels_last)
    rounded = deepcopy(tnet).bfloat16().to(memory_format=torch.channels_last)
    rounded.prepare_for_cpu(2)
    with torch.inference_mode():
        exact, found = tnet(batch, LAYERS), rounded(batch.bfloat16(), LAYERS)
        others = rounded(torch.stack([batch[0], 9 * batch[1]]).bfloat16().to(memory_format=torch.channels_last), LAYERS)
    for layer in LAYERS:
        assert (found[layer] - exact[layer]).norm() < 0.02 * exact[layer].norm()
        assert torch.equal(others[layer][0], found[layer][0])
        assert not torch.equal(others[layer][1], found[layer][1])


def test_an_input_size_that_does_not_suit_the_network_is_refused():
    with pytest.raises(ConfigError, match="network tnet does not fit an input of 300 x 300 pixels"):
        build_network(NetworkParams("tnet", input_size=300))
