import numpy as np
import pytest
import torch

from rcnn_dist.features.networks import NetworkParams, build_network
from rcnn_dist.features.receptive_field import layer_map


@pytest.fixture(scope="module")
def tnet():
    return build_network(NetworkParams("tnet"))


def test_the_papers_pool5(tnet):
    found = layer_map(tnet, "pool5")
    assert (found.channels, found.side, found.size, found.stride, found.units) == (256, 6, 195, 32, 9216)
    assert [found.first + found.stride * cell for cell in range(6)] == [33, 65, 97, 129, 161, 193]
    assert found.field(found.unit(2, 3, 255)).tolist() == [129 - 97, 0, 227, 97 + 98]
    assert layer_map(tnet, "conv5").size == 163
    assert layer_map(tnet, "fc6") is None


def test_places_and_units_are_one_to_one(tnet):
    found = layer_map(tnet, "pool5")
    assert [found.unit(*found.place(unit)) for unit in range(9216)] == list(range(9216))
    assert found.place(36 + 6 + 2) == (1, 2, 1)


@pytest.mark.parametrize("cell", [(0, 0), (1, 2), (3, 3)])
def test_pixels_outside_of_a_field_change_nothing_and_some_inside_do(cell):
    network = build_network(NetworkParams("tiny"))
    found = layer_map(network, "pool5")
    assert found.units == network.layer_sizes["pool5"]
    x1, y1, x2, y2 = found.field(found.unit(*cell, 0)).astype(int)
    inside = np.zeros((64, 64), bool)
    inside[y1:y2, x1:x2] = True
    rng = np.random.default_rng(0)
    batch = torch.from_numpy(rng.standard_normal((1, 3, 64, 64)).astype(np.float32))
    values = {}
    for name, mask in (("as it is", None), ("outside", ~inside), ("inside", inside)):
        changed = batch if mask is None else torch.where(torch.from_numpy(mask), -batch, batch)
        maps = network(changed, ("pool5",))["pool5"].reshape(found.channels, found.side, found.side)
        values[name] = maps[:, cell[0], cell[1]].detach().numpy()
    np.testing.assert_allclose(values["outside"], values["as it is"], atol=1e-5)
    assert np.abs(values["inside"] - values["as it is"]).max() > 0.01
