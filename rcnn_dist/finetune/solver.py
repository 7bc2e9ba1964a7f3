"""Stochastic gradient descent as Caffe does it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rcnn_dist.arrays import Array
from rcnn_dist.finetune.params import FinetuneParams
from rcnn_dist.finetune.pretrain_params import PretrainParams


@dataclass(frozen=True, slots=True, eq=False)
class Rate:
    """A parameter, its learning rate and its weight decay, both relative to the solver's."""

    parameter: nn.Parameter
    learning_rate: float
    weight_decay: float


def caffe_rates(named: Iterable[tuple[str, nn.Parameter]], factor: float, bias_rate: float) -> dict[str, Rate]:
    """Biases (all parameters of one dimension) learn `bias_rate` times as fast as weights and do not decay."""
    return {
        name: Rate(parameter, factor * (bias_rate if parameter.ndim == 1 else 1), 0.0 if parameter.ndim == 1 else 1.0)
        for name, parameter in named
    }


class CaffeSgd:
    """V <- momentum * V + rate * (gradient + decay * W), then W <- W - V.

    The learning rate is inside the velocity, so that after a cut the old velocity still moves at the old rate; torch's SGD has it outside.

    Reference: BVLC/caffe at rcnn-release, src/caffe/solver.cpp.
    """

    def __init__(self, rates: Mapping[str, Rate], params: FinetuneParams | PretrainParams) -> None:
        self._rates = dict(rates)
        self._params = params
        self.velocities = {name: torch.zeros_like(rate.parameter) for name, rate in rates.items()}

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        """One update from the gradients that the parameters hold, which are then dropped."""
        for name, rate in self._rates.items():
            gradient = rate.parameter.grad
            if gradient is None:
                continue
            gradient = gradient.add(rate.parameter, alpha=self._params.weight_decay * rate.weight_decay)
            self.velocities[name].mul_(self._params.momentum).add_(gradient, alpha=learning_rate * rate.learning_rate)
            rate.parameter.sub_(self.velocities[name])
            rate.parameter.grad = None

    def load(self, velocities: Mapping[str, Tensor]) -> None:
        """Goes on with the velocities of an earlier training."""
        for name, velocity in self.velocities.items():
            velocity.copy_(velocities[name])


def training_state(model: nn.Module, solver: CaffeSgd) -> dict[str, Array]:
    """All that a training goes on from: the model's arrays, and the solver's as `velocity.<name>`."""
    tensors = model.state_dict() | {f"velocity.{name}": velocity for name, velocity in solver.velocities.items()}
    return {name: tensor.cpu().numpy().copy() for name, tensor in tensors.items()}


def load_training_state(model: nn.Module, solver: CaffeSgd, state: Mapping[str, Array]) -> None:
    """Goes on from a state."""
    tensors = {name: torch.from_numpy(array) for name, array in state.items()}
    model.load_state_dict({name: tensor for name, tensor in tensors.items() if not name.startswith("velocity.")})
    solver.load({name.removeprefix("velocity."): t for name, t in tensors.items() if name.startswith("velocity.")})
