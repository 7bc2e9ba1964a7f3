import numpy as np
import pytest
import torch

from rcnn_dist.errors import ConfigError
from rcnn_dist.features.networks import NetworkParams, build_network
from rcnn_dist.features.networks.base import Preprocess
from rcnn_dist.features.warp import WarpParams, warp_regions
from rcnn_dist.finetune.crops import window_pixels
from rcnn_dist.finetune.params import FinetuneParams
from rcnn_dist.finetune.trainer import Trainer
from rcnn_dist.finetune.windows import WindowSet

CPU = torch.device("cpu")
PARAMS = FinetuneParams(batch_size=8, learning_rate=0.01, cut_every=3)


def photo(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (60, 80, 3), dtype=np.uint8)


def batch(step):
    rng = np.random.default_rng([1, step])
    return torch.from_numpy(rng.normal(size=(8, 3, 64, 64)).astype(np.float32)), rng.integers(0, 3, 8)


def new_trainer(**changes):
    return Trainer(
        build_network(NetworkParams("tiny")), 2, FinetuneParams(**{"batch_size": 8, "learning_rate": 0.01, "cut_every": 3} | changes), CPU
    )


def train(trainer, steps):
    return [trainer.step(step, *batch(step)) for step in steps]


# --- pixels


@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_windows_of_many_images_come_in_the_order_in_which_they_were_drawn(order):
    images = [photo(0), photo(1)]
    boxes = np.array([[5, 6, 40, 50], [0, 0, 80, 60], [10, 0, 70, 30]], np.float32)
    windows = WindowSet(np.array([0, 1, 0]), boxes, np.array([1, 0, 0]))
    mean = np.random.default_rng(2).uniform(90, 130, (32, 32, 3)).astype(np.float32)
    preprocess = Preprocess(32, mean, np.array([1, 2, 4], np.float32), order)
    drawn = np.array([2, 1, 0, 2])
    params = WarpParams(context_padding=2)
    found = window_pixels(windows, drawn, np.zeros(4, bool), images.__getitem__, preprocess, params, CPU)
    for row, window in enumerate(drawn):
        pixels = images[windows.image[window]][:, :, :: -1 if order == "bgr" else 1]
        expected = warp_regions(pixels, boxes[[window]], params, 32, mean)[0] / preprocess.std
        np.testing.assert_allclose(found[row].permute(1, 2, 0).numpy(), expected, atol=1e-4)


def test_a_mirrored_window_is_the_mirrored_pixels_less_the_mean_where_they_now_lie():
    """A box over the left border: its pixels end at the right border of the frame, and what is outside stays 0."""
    image, box = photo(), np.array([[0, 10, 30, 50]], np.float32)
    mean = np.random.default_rng(2).uniform(90, 130, (32, 32, 3)).astype(np.float32)
    windows = WindowSet(np.array([0]), box, np.array([1]))
    preprocess = Preprocess(32, mean, np.ones(3, np.float32))
    params = WarpParams(context_padding=4)
    found = window_pixels(windows, np.array([0]), np.array([True]), lambda _: image, preprocess, params, CPU)[0].permute(1, 2, 0).numpy()
    plain = warp_regions(image, box, params, 32, np.zeros_like(mean))[0]
    outside = (plain == 0).all(axis=2)
    assert outside.any()
    expected = np.where(outside[:, ::-1, None], 0, plain[:, ::-1] - mean)
    np.testing.assert_allclose(found, expected, atol=1e-3)


# --- training


def test_a_training_that_is_saved_and_loaded_anywhere_ends_with_the_same_bits():
    whole = new_trainer()
    losses = train(whole, range(7))
    state, pieces = None, []
    for steps in (range(2), range(2, 3), range(3, 7)):
        part = new_trainer()
        if state is not None:
            part.load(state)
        pieces += train(part, steps)
        state = part.state()
    assert losses == pieces
    expected = whole.state()
    assert {name.partition(".")[0] for name in expected} == {"network", "classifier", "velocity"}
    assert all(state[name].tobytes() == array.tobytes() for name, array in expected.items())


def test_the_network_and_the_new_layer_both_learn():
    trainer = new_trainer(dropout=0.0, learning_rate=0.0005, cut_every=100)
    before = trainer.state()
    losses = [trainer.step(step, *batch(0)) for step in range(15)]
    after = trainer.state()
    assert losses[-1] < 0.5 * losses[0]
    assert all(not np.array_equal(before[name], after[name]) for name in before)
    assert before["classifier.weight"].shape == (3, 512)
    assert before["classifier.weight"].std() == pytest.approx(0.01, rel=0.05)
    assert not before["classifier.bias"].any()


def test_a_training_that_diverges_says_so():
    with pytest.raises(ConfigError, match=r"diverged, the loss of step \d+ is .*: lower finetune\.learning_rate"):
        train(new_trainer(learning_rate=1e9), range(10))


def test_dropout_depends_on_the_step_and_touches_no_global_generator():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, again = (new_trainer(dropout=0.5, learning_rate=0.0) for _ in range(2))
    pixels, labels = batch(0)
    assert first.step(3, pixels, labels) == again.step(3, pixels, labels) != first.step(4, pixels, labels)
    assert torch.equal(torch.get_rng_state(), before)


def test_batch_normalisation_keeps_its_statistics():
    network = build_network(NetworkParams("torchvision:resnet18", input_size=32, taps={"pooled": "avgpool"}))
    trainer = Trainer(network, 2, PARAMS, CPU)
    before = trainer.state()
    trainer.step(0, batch(0)[0][:, :, :32, :32], batch(0)[1])
    after = trainer.state()
    assert all(np.array_equal(before[name], after[name]) for name in before if "running" in name or "num_batches" in name)
    assert not np.array_equal(before["network.model.conv1.weight"], after["network.model.conv1.weight"])


def test_bfloat16_computes_in_it_and_learns_in_float32():
    exact, rounded = new_trainer(), new_trainer(precision="bfloat16")
    losses = [trainer.step(0, *batch(0)) for trainer in (exact, rounded)]
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.05)
    assert {array.dtype.name for array in rounded.state().values()} == {"float32"}
