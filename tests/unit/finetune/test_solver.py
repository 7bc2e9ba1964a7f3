import pytest
import torch
from torch import nn

from rcnn_dist.finetune.params import FinetuneParams
from rcnn_dist.finetune.solver import CaffeSgd, caffe_rates

PARAMS = FinetuneParams(learning_rate=0.1, cut=0.1, cut_every=2, momentum=0.9, weight_decay=0.5)


def test_the_velocity_keeps_the_old_learning_rate_after_a_cut():
    """By hand: the gradient is 1, the weight begins at 2 and decays, the learning rate is cut after two steps."""
    weight = nn.Parameter(torch.full((1, 1), 2.0, dtype=torch.float64))
    solver = CaffeSgd(caffe_rates([("weight", weight)], 1.0, 2.0), PARAMS)
    found = []
    for step in range(3):
        weight.grad = torch.ones_like(weight)
        solver.step(PARAMS.learning_rate_at(step))
        found.append(weight.item())
    # V1 = 0.1 * (1 + 0.5 * 2) = 0.2; V2 = 0.9 * 0.2 + 0.1 * (1 + 0.5 * 1.8) = 0.37; V3 = 0.9 * 0.37 + 0.01 * (1 + 0.5 * 1.43) = 0.35015
    assert found == pytest.approx([1.8, 1.43, 1.07985], abs=1e-12)
    assert weight.grad is None


def test_biases_and_the_new_layer_learn_faster_and_biases_do_not_decay():
    layer = nn.Linear(1, 1).double()
    with torch.no_grad():
        layer.weight.fill_(1)
        layer.bias.fill_(1)
    solver = CaffeSgd(caffe_rates(layer.named_parameters(), 10.0, 2.0), PARAMS)
    layer(torch.ones(1, 1, dtype=torch.float64)).sum().backward()
    solver.step(0.001)
    assert layer.weight.item() == pytest.approx(1 - 0.01 * (1 + 0.5), abs=1e-12)
    assert layer.bias.item() == pytest.approx(1 - 0.02, abs=1e-12)


def test_at_a_constant_learning_rate_it_is_torchs_solver():
    torch.manual_seed(0)
    ours = nn.Linear(5, 3, bias=False).double()
    torchs = nn.Linear(5, 3, bias=False).double()
    torchs.load_state_dict(ours.state_dict())
    solver = CaffeSgd(caffe_rates(ours.named_parameters(), 1.0, 2.0), PARAMS)
    expected = torch.optim.SGD(torchs.parameters(), lr=0.1, momentum=0.9, weight_decay=0.5)
    for batch in torch.randn(6, 4, 5, dtype=torch.float64):
        ours(batch).square().sum().backward()
        solver.step(0.1)
        expected.zero_grad()
        torchs(batch).square().sum().backward()
        expected.step()
    torch.testing.assert_close(ours.weight, torchs.weight, rtol=1e-12, atol=0)


def test_the_schedule_is_the_originals():
    params = FinetuneParams()
    assert [params.learning_rate_at(step) for step in (0, 19_999, 20_000, 40_000, 69_999)] == pytest.approx([1e-3, 1e-3, 1e-4, 1e-5, 1e-6])
