import numpy as np
import pytest
import torch

from rcnn_dist.features.extract import Extractor, ExtractParams
from rcnn_dist.features.networks import NetworkParams, build_network
from rcnn_dist.features.warp import WarpParams, warp_geometry, warp_regions
from rcnn_dist.features.warp_torch import warp_regions_torch

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def photo_and_boxes(count=300):
    rng = np.random.default_rng(0)
    first = rng.uniform(-50, 500, (count, 2))
    boxes = np.concatenate([first, np.maximum(first + rng.uniform(5, 400, (count, 2)), 10)], axis=1)
    return rng.integers(0, 256, (600, 700, 3), dtype=np.uint8), boxes


@pytest.mark.parametrize("mode", ["warp", "square", "square_tight"])
@pytest.mark.parametrize("mean_shape", [(3,), (160, 160, 3)])
def test_the_gpus_warp_is_the_references(mode, mean_shape):
    image, boxes = photo_and_boxes()
    params = WarpParams(mode, 16 * 160 / 227)
    mean = np.random.default_rng(1).uniform(90, 140, mean_shape).astype(np.float32)
    geometry = warp_geometry(boxes, *image.shape[:2], params, 160)
    crops = warp_regions_torch(torch.from_numpy(image).cuda(), geometry, 160, torch.from_numpy(mean).cuda())
    expected = warp_regions(image, boxes, params, 160, mean)
    np.testing.assert_allclose(crops.permute(0, 2, 3, 1).cpu().numpy(), expected, rtol=0, atol=0.01)


def test_features_of_the_gpu_repeat_to_the_bit_and_are_near_the_cpus():
    image, boxes = photo_and_boxes(40)
    params = ExtractParams(("pool5", "fc7"), 32)
    on_gpu = Extractor(build_network(NetworkParams()), params, torch.device("cuda"))
    first, again = on_gpu.extract(image, boxes), on_gpu.extract(image, boxes)
    on_cpu = Extractor(build_network(NetworkParams()), params, torch.device("cpu")).extract(image, boxes)
    for layer, expected in on_cpu.items():
        assert first[layer].tobytes() == again[layer].tobytes()
        difference = np.linalg.norm(first[layer].astype(np.float32) - expected.astype(np.float32))
        assert difference < 0.01 * np.linalg.norm(expected.astype(np.float32))
