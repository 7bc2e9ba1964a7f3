import pytest
import torch

from rcnn_dist.features.networks import NetworkParams, build_network

LAYERS = ("pool5", "fc6", "fc7")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
# of the layer's norm; a GPU's float32 products of convolutions have 10 bits of mantissa, bfloat16 has 7
TOLERANCES = {"float32": 0.005, "bfloat16": 0.05}


def on(device, name, precision):
    network = build_network(NetworkParams(name)).to(device, DTYPES[precision])
    return network.to(memory_format=torch.channels_last)


def pixels_for(network, device, precision):
    side = network.input_size
    pixels = 60 * torch.randn(3, 3, side, side, generator=torch.Generator().manual_seed(0))
    return pixels.to(device, DTYPES[precision]).to(memory_format=torch.channels_last)


def assert_near(found, expected, tolerance):
    for layer in LAYERS:
        one, other = found[layer].float().cpu(), expected[layer].float().cpu()
        assert one.norm() > 0
        assert (one - other).norm() < tolerance * other.norm(), layer


@pytest.mark.parametrize("precision", DTYPES)
@pytest.mark.parametrize("name", ["tnet", "onet"])
@torch.inference_mode()
def test_a_forward_repeats_to_the_bit_and_is_near_the_cpus(device, name, precision):
    network = on(device, name, precision)
    pixels = pixels_for(network, device, precision)
    first, again = (network(pixels, LAYERS) for _ in range(2))
    assert all(torch.equal(first[layer], again[layer]) for layer in LAYERS)
    cpu = torch.device("cpu")
    exact = on(cpu, name, "float32")
    assert_near(first, exact(pixels_for(exact, cpu, "float32"), LAYERS), TOLERANCES[precision])


@pytest.mark.parametrize("precision", DTYPES)
@pytest.mark.parametrize("name", ["tnet", "onet"])
@torch.inference_mode()
def test_a_compiled_forward_is_near_the_plain_one(device, name, precision):
    network = on(device, name, precision)
    pixels = pixels_for(network, device, precision)
    assert_near(torch.compile(network)(pixels, LAYERS), network(pixels, LAYERS), TOLERANCES[precision])
