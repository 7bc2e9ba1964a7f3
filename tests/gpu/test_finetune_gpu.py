"""On a GPU the gradients of poolings and convolutions may be added up in any order, so steps repeat nearly, not to the bit."""

import numpy as np
import pytest
import torch

from rcnn_dist.features.networks import NetworkParams, build_network
from rcnn_dist.features.networks.base import Preprocess
from rcnn_dist.features.warp import WarpParams
from rcnn_dist.finetune.crops import window_pixels
from rcnn_dist.finetune.params import FinetuneParams
from rcnn_dist.finetune.trainer import Trainer
from rcnn_dist.finetune.windows import WindowSet

CPU = torch.device("cpu")
SIDES = {"tiny": 64, "tnet": 227}


def train(name, device, **changes):
    """Losses of five steps on the same eight windows, and the state after them."""
    rng = np.random.default_rng(1)
    pixels = torch.from_numpy(rng.normal(size=(8, 3, SIDES[name], SIDES[name])).astype(np.float32)).to(device)
    labels = rng.integers(0, 3, 8)
    params = FinetuneParams(**{"batch_size": 8, "learning_rate": 0.0005, "dropout": 0.0} | changes)
    trainer = Trainer(build_network(NetworkParams(name)).eval(), 2, params, device)
    return [trainer.step(step, pixels, labels) for step in range(5)], trainer


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_steps_learn_as_the_cpus_do(device, precision):
    losses, trainer = train("tiny", device, precision=precision)
    expected, exact = train("tiny", CPU)
    assert losses[-1] < losses[0]
    assert losses == pytest.approx(expected, rel=0.02 if precision == "float32" else 0.1)
    learned, wanted = trainer.state(), exact.state()
    assert learned.keys() == wanted.keys() and {array.dtype.name for array in learned.values()} == {"float32"}
    for key in ("classifier.weight", "network.fc7.0.weight"):
        assert np.linalg.norm(learned[key] - wanted[key]) < 0.02 * np.linalg.norm(wanted[key])


@pytest.mark.parametrize("name", SIDES)
def test_steps_with_dropout_repeat(device, name):
    first, again = (train(name, device, dropout=0.5)[0] for _ in range(2))
    assert first == pytest.approx(again, rel=1e-3)
    assert np.isfinite(first).all() and len(set(first)) > 1


def test_a_state_goes_on_where_it_was_saved(device):
    _, whole = train("tiny", device)
    state = whole.state()
    rng = np.random.default_rng(2)
    pixels, labels = torch.from_numpy(rng.normal(size=(8, 3, 64, 64)).astype(np.float32)).to(device), rng.integers(0, 3, 8)
    _, other = train("tiny", device, learning_rate=0.001)
    other.load(state)
    assert all(np.array_equal(array, state[key]) for key, array in other.state().items())
    assert other.step(5, pixels, labels) == pytest.approx(whole.step(5, pixels, labels), rel=1e-4)


def test_windows_are_cut_on_the_device_as_on_the_cpu(device):
    rng = np.random.default_rng(3)
    images = [rng.integers(0, 256, (60, 80, 3), dtype=np.uint8) for _ in range(2)]
    windows = WindowSet(np.array([0, 1, 0]), np.array([[5, 6, 40, 50], [0, 0, 80, 60], [10, 0, 70, 30]], np.float32), np.array([1, 0, 0]))
    preprocess = Preprocess(64, rng.uniform(90, 130, (64, 64, 3)).astype(np.float32), np.array([1, 2, 4], np.float32), "bgr")
    drawn, mirrored = np.array([2, 1, 0, 2]), np.array([False, True, True, False])
    found, expected = (
        window_pixels(windows, drawn, mirrored, images.__getitem__, preprocess, WarpParams(context_padding=5), where)
        for where in (device, CPU)
    )
    assert found.device.type == device.type
    np.testing.assert_allclose(found.cpu().numpy(), expected.numpy(), atol=0.01)
