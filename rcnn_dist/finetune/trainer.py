"""A network and its new last layer, trained step by step."""

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from rcnn_dist.arrays import Array, Int64
from rcnn_dist.errors import ConfigError
from rcnn_dist.features.networks.base import Network
from rcnn_dist.finetune.params import FinetuneParams
from rcnn_dist.finetune.processes import place, shared
from rcnn_dist.finetune.solver import CaffeSgd, caffe_rates, load_training_state, training_state


class Classifier(nn.Module):
    """Scores from a network's last layer: dropout and a new layer after it, Gaussian with a standard deviation of 0.01."""

    def __init__(self, network: Network, outputs: int, dropout: float, seed: int) -> None:
        super().__init__()
        self._layer = network.layers[-1]
        self.network = network
        self.dropout = nn.Dropout(dropout)
        with torch.device("meta"):  # drawn below, by a generator of its own
            self.classifier = nn.Linear(network.layer_sizes[self._layer], outputs)
        self.classifier.to_empty(device="cpu")
        generator = torch.Generator().manual_seed(seed)
        nn.init.normal_(self.classifier.weight, std=0.01, generator=generator)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, pixels: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B L"]:
        scores: Tensor = self.classifier(self.dropout(self.network(pixels, (self._layer,))[self._layer]))
        return scores


class WindowClassifier(Classifier):
    """Scores of background and the C classes."""

    def __init__(self, network: Network, n_classes: int, params: FinetuneParams) -> None:
        super().__init__(network, n_classes + 1, params.dropout, params.seed)

    def train(self, mode: bool = True) -> "WindowClassifier":
        """Dropout works in training; batch normalisation keeps the statistics of the pre-training."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self


class Trainer:
    """Softmax cross-entropy by Caffe's solver.

    The gradients of several processes are averaged.
    Law: a step's outcome depends on the state, the step's number, its windows and the number of processes alone; on one CPU a training that
    is saved and loaded between any two steps ends with the same bits as one that is not.

    Paper: §2.3, App. B.
    """

    def __init__(self, network: Network, n_classes: int, params: FinetuneParams, device: torch.device) -> None:
        self._params = params
        self._device = device
        self._model = WindowClassifier(network, n_classes, params).to(device).to(memory_format=torch.channels_last).train()
        self._model.requires_grad_(True)
        self._shared = shared(self._model)
        rates = caffe_rates(network.named_parameters(prefix="network"), 1.0, params.bias_rate)
        new = caffe_rates(self._model.classifier.named_parameters(prefix="classifier"), params.new_layer_rate, params.bias_rate)
        self._solver = CaffeSgd(rates | new, params)

    def step(self, iteration: int, pixels: Float32[Tensor, "B 3 S S"], labels: Int64[Array, "B"]) -> float:
        """One update from this process's part of a batch; the loss of that part before it.

        Raises:
            ConfigError: the loss is not finite.
        """
        number, _ = place()
        seed = np.random.SeedSequence([self._params.seed, iteration, *([number] if number else [])]).generate_state(1, np.uint64)[0]
        with torch.random.fork_rng(devices=[self._device] if self._device.type == "cuda" else []):
            torch.manual_seed(int(seed))  # of dropout
            with torch.autocast(self._device.type, torch.bfloat16, enabled=self._params.precision == "bfloat16"):
                scores = self._shared(pixels)
            loss = cross_entropy(scores.float(), torch.from_numpy(labels).to(self._device))
            if not loss.isfinite():
                raise ConfigError(f"fine-tuning diverged, the loss of step {iteration} is {loss.item()}: lower finetune.learning_rate")
            loss.backward()  # type: ignore[no-untyped-call]
        self._solver.step(self._params.learning_rate_at(iteration))
        return float(loss.detach())

    def state(self) -> dict[str, Array]:
        """All that goes on: `network.`, `classifier.` and the solver's `velocity.`"""
        return training_state(self._model, self._solver)

    def load(self, state: Mapping[str, Array]) -> None:
        """Goes on from a state."""
        load_training_state(self._model, self._solver, state)
