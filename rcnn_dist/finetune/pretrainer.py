"""A network that learns to classify whole images, on one process or on several that share each batch."""

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor
from torch.nn.functional import cross_entropy

from rcnn_dist.arrays import Array, Int64
from rcnn_dist.errors import ConfigError
from rcnn_dist.features.networks.base import Network
from rcnn_dist.finetune.pretrain_params import PretrainParams
from rcnn_dist.finetune.processes import place, shared
from rcnn_dist.finetune.solver import CaffeSgd, caffe_rates, load_training_state, training_state
from rcnn_dist.finetune.trainer import Classifier


class Pretrainer:
    """Softmax cross-entropy by Caffe's solver; the processes' gradients are averaged.

    Law: a step's outcome depends on the state, the step's number, its images and the number of processes alone; on one CPU a training
    that is saved and loaded between any two steps ends with the same bits as one that is not.

    Paper: §2.3, supervised pre-training.
    """

    def __init__(self, network: Network, n_classes: int, params: PretrainParams, device: torch.device) -> None:
        self._params, self._device = params, device
        self._model = Classifier(network, n_classes, params.dropout, params.seed).to(device).to(memory_format=torch.channels_last)
        self._model.requires_grad_(True)
        self._solver = CaffeSgd(caffe_rates(self._model.named_parameters(), 1.0, params.bias_rate), params)
        self._shared = shared(self._model)

    def step(self, iteration: int, pixels: Float32[Array, "B 3 S S"], labels: Int64[Array, "B"]) -> float:
        """One update from this process's part of a batch; the loss of that part before it.

        Raises:
            ConfigError: the loss is not finite.
        """
        self._shared.train()
        seed = np.random.SeedSequence([self._params.seed, iteration, place()[0]]).generate_state(1, np.uint64)[0]
        with torch.random.fork_rng(devices=[self._device] if self._device.type == "cuda" else []):
            torch.manual_seed(int(seed))  # of dropout
            with torch.autocast(self._device.type, torch.bfloat16, enabled=self._params.precision == "bfloat16"):
                scores = self._shared(self._on_device(pixels))
            loss = cross_entropy(scores.float(), torch.from_numpy(labels).to(self._device), label_smoothing=self._params.label_smoothing)
            if not loss.isfinite():
                raise ConfigError(f"pre-training diverged, the loss of step {iteration} is {loss.item()}: lower pretrain.learning_rate")
            loss.backward()  # type: ignore[no-untyped-call]
        self._solver.step(self._params.learning_rate_at(iteration))
        return float(loss.detach())

    @torch.no_grad()
    def hits(self, pixels: Float32[Array, "B 3 S S"], labels: Int64[Array, "B"]) -> tuple[int, int]:
        """How many images have their class first, and among the first five."""
        self._model.eval()
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._params.precision == "bfloat16"):
            scores = self._model(self._on_device(pixels)).float()
        best = scores.topk(min(5, scores.shape[1])).indices.cpu() == torch.from_numpy(labels)[:, None]
        return int(best[:, 0].sum()), int(best.any(dim=1).sum())

    def state(self) -> dict[str, Array]:
        """All that goes on: `network.`, `classifier.` and the solver's `velocity.`"""
        return training_state(self._model, self._solver)

    def load(self, state: Mapping[str, Array]) -> None:
        """Goes on from a state."""
        load_training_state(self._model, self._solver, state)

    def _on_device(self, pixels: Float32[Array, "B 3 S S"]) -> Tensor:
        return torch.from_numpy(pixels).to(self._device, memory_format=torch.channels_last)
