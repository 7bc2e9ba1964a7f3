import numpy as np
import torch

from rcnn_dist.features.baselines import ColourHistogram
from rcnn_dist.features.networks import NetworkParams, build_network


def test_a_histogram_by_hand():
    pixels = torch.zeros(1, 3, 2, 2)
    pixels[0, :, 0, 0] = torch.tensor([255.0, 0, 32])  # bins 7, 0, 1
    found = ColourHistogram()(pixels)[0]
    assert found[7 * 64 + 1].item() == 0.5
    assert found[0].item() == np.float32(np.sqrt(0.75))
    assert found.square().sum().item() == 1


def test_noise_is_the_same_for_the_same_pixels_and_unrelated_for_others():
    pixels = torch.rand(40, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 255
    settings = {"input_size": 8, "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
    network = build_network(NetworkParams("rcnn_dist.features.baselines:noise", taps={"noise": ""}, **settings))
    assert network.layer_sizes == {"noise": 64}
    with torch.inference_mode():
        found = network(pixels, ("noise",))["noise"]
        again = network(pixels[5:], ("noise",))["noise"]
        near = network(pixels + 0.01, ("noise",))["noise"]
    torch.testing.assert_close(again, found[5:], rtol=0, atol=0)
    assert found.abs().max() < 1
    assert abs(np.corrcoef(found.flatten(), near.flatten())[0, 1]) < 0.1
