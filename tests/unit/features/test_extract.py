import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from rcnn_dist.errors import ConfigError
from rcnn_dist.features.extract import Extractor, ExtractParams, choose_device
from rcnn_dist.features.networks import NetworkParams, build_network
from rcnn_dist.features.networks.base import Network, Preprocess
from rcnn_dist.features.warp import WarpParams, warp_regions

REPOSITORY = Path(__file__).resolve().parents[3]
CPU = torch.device("cpu")
LAYERS = ("pool5", "fc7")


class Recorder(Network):
    """Gives each region's mean per channel, and keeps the batches it was given."""

    def __init__(self, channel_order="rgb", mean=(10.0, 20.0, 30.0), std=(1.0, 2.0, 4.0), factor=1.0):
        preprocess = Preprocess(16, np.array(mean, dtype=np.float32), np.array(std, dtype=np.float32), channel_order)
        super().__init__("recorder", preprocess, {"colour": 3})
        self.batches = []
        self.factor = factor

    def forward(self, batch, layers):
        self.batches.append(batch.clone())
        return {layer: batch.mean((2, 3), dtype=torch.float32) * self.factor for layer in layers}


def photo(height=90, width=120, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def random_boxes(count, seed=0):
    first = np.random.default_rng(seed).uniform(0, 60, (count, 2))
    return np.concatenate([first, first + 28], axis=1)


def tiny_extractor(**changes):
    return Extractor(build_network(NetworkParams()), ExtractParams(**{"layers": LAYERS, "batch_size": 8} | changes), CPU)


def recorder_params(batch_size=4):
    return ExtractParams(("colour",), batch_size, warp=WarpParams(context_padding=2))


def test_every_layer_has_one_row_per_box():
    rows = tiny_extractor().extract(photo(), random_boxes(19))
    assert {layer: (values.shape, values.dtype.name) for layer, values in rows.items()} == {
        "pool5": ((19, 1024), "float16"),
        "fc7": ((19, 512), "float16"),
    }
    assert list(rows) == list(LAYERS)


def test_no_boxes_give_empty_rows():
    rows = tiny_extractor().extract(photo(), np.zeros((0, 4)))
    assert {layer: (values.shape, values.dtype.name) for layer, values in rows.items()} == {
        "pool5": ((0, 1024), "float16"),
        "fc7": ((0, 512), "float16"),
    }


@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_features_are_those_of_the_warped_regions_in_the_networks_channels(order):
    image, boxes, network = photo(), random_boxes(10), Recorder(order)
    rows = Extractor(network, recorder_params(), CPU).extract(image, boxes)["colour"]
    pixels = image[:, :, ::-1] if order == "bgr" else image
    crops = warp_regions(pixels, boxes, WarpParams(context_padding=2), 16, np.array([10, 20, 30], dtype=np.float32))
    np.testing.assert_allclose(rows, crops.mean((1, 2)) / [1, 2, 4], atol=0.05)


def test_a_mean_image_is_subtracted_where_a_region_is_pasted():
    mean = np.random.default_rng(1).uniform(90, 140, (16, 16, 3)).astype(np.float32)
    image, boxes, network = photo(), np.array([[-10.0, 5, 30, 40]]), Recorder(mean=mean)
    Extractor(network, recorder_params(1), CPU).extract(image, boxes)
    crop = warp_regions(image, boxes, WarpParams(context_padding=2), 16, mean) / np.array([1, 2, 4], dtype=np.float32)
    np.testing.assert_allclose(network.batches[0].permute(0, 2, 3, 1).numpy(), crop, atol=1e-4)


def test_every_forward_has_the_batch_size_and_one_image():
    network = Recorder()
    extractor = Extractor(network, recorder_params(), CPU)
    extractor.extract(photo(), random_boxes(6))
    extractor.extract(photo(seed=1), random_boxes(3))
    assert [tuple(batch.shape) for batch in network.batches] == [(4, 3, 16, 16)] * 3
    assert (network.batches[1][2:] == 0).all()
    assert (network.batches[2][3:] == 0).all()
    assert (network.batches[2][:3] != 0).any()


def test_same_bits_whatever_was_extracted_before():
    extractor = tiny_extractor()
    image, boxes = photo(), random_boxes(13)
    first = extractor.extract(image, boxes)
    extractor.extract(photo(200, 80, seed=1), random_boxes(5, seed=1))
    again, fresh = extractor.extract(image, boxes), tiny_extractor().extract(image, boxes)
    for layer in LAYERS:
        assert first[layer].tobytes() == again[layer].tobytes() == fresh[layer].tobytes()


SCRIPT = """
import hashlib, sys
import numpy as np, torch
from rcnn_dist.features.extract import Extractor, ExtractParams
from rcnn_dist.features.networks import NetworkParams, build_network
torch.set_num_threads(1)
image = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
boxes = np.tile([[5.0, 6, 40, 60], [20, 3, 110, 80], [0, 0, 120, 90]], (5, 1))
extractor = Extractor(build_network(NetworkParams()), ExtractParams(("pool5", "fc7"), 8), torch.device("cpu"))
for values in extractor.extract(image, boxes).values():
    print(hashlib.sha256(values.tobytes()).hexdigest())
"""


def test_same_bits_in_another_process():
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    outputs = [
        subprocess.run([sys.executable, "-c", SCRIPT], cwd=REPOSITORY, env=environment, check=True, capture_output=True, text=True).stdout
        for _ in range(2)
    ]
    assert outputs[0] == outputs[1]
    assert len(outputs[0].split()) == 2


def test_layers_together_are_the_layers_alone():
    image, boxes = photo(), random_boxes(5)
    together = tiny_extractor().extract(image, boxes)
    for layer in LAYERS:
        np.testing.assert_array_equal(tiny_extractor(layers=(layer,)).extract(image, boxes)[layer], together[layer])


def test_batch_size_changes_features_by_rounding_only():
    image, boxes = photo(), random_boxes(9)
    small, large = (tiny_extractor(batch_size=size).extract(image, boxes)["fc7"].astype(np.float32) for size in (2, 16))
    np.testing.assert_allclose(small, large, atol=0.02)


def test_bfloat16_stays_near_float32():
    image, boxes = photo(), random_boxes(9)
    exact, rounded = (tiny_extractor(precision=name).extract(image, boxes)["fc7"].astype(np.float32) for name in ("float32", "bfloat16"))
    assert not np.array_equal(exact, rounded)
    assert np.linalg.norm(exact - rounded) < 0.05 * np.linalg.norm(exact)


def test_features_leave_the_network_without_gradients_and_in_evaluation_mode():
    network = Recorder().train()
    Extractor(network, recorder_params(), CPU).extract(photo(), random_boxes(2))
    assert not network.training
    assert network.batches[0].is_inference()


@pytest.mark.parametrize("factor", [1e6, float("nan")])
def test_a_value_that_float16_cannot_hold_is_an_error(factor):
    with pytest.raises(ConfigError, match="layer colour has values that are not finite in float16"):
        Extractor(Recorder(factor=factor), recorder_params(), CPU).extract(photo(), random_boxes(3))


def test_a_layer_that_the_network_does_not_have_is_refused():
    with pytest.raises(ConfigError, match="network tiny has no layer 'fc8': it has pool5, fc6, fc7"):
        tiny_extractor(layers=("fc7", "fc8"))


def test_a_box_off_the_image_is_refused():
    with pytest.raises(ValueError, match=r"region 1.*shows no pixel"):
        tiny_extractor().extract(photo(), np.array([[1.0, 1, 9, 9], [500, 1, 530, 9]]))


def test_the_device_is_a_gpu_where_there_is_one(monkeypatch):
    for available, expected in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda available=available: available)
        assert choose_device().type == expected
