"""What every network is: pixels of a fixed size in, named feature vectors out."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float32
from safetensors.torch import load_file
from torch import Tensor, nn

from rcnn_dist.arrays import Array
from rcnn_dist.errors import ConfigError
from rcnn_dist.features.networks.spec import NetworkParams


@dataclass(frozen=True, slots=True, eq=False)
class Preprocess:
    """What a network wants of its pixels: (pixels - mean) / std, in its channel order, on the 0 to 255 scale."""

    input_size: int
    mean: Float32[Array, "..."]  # [3], or a mean image [S, S, 3]
    std: Float32[Array, "3"]
    channel_order: Literal["rgb", "bgr"] = "rgb"


class Network(nn.Module, ABC):
    """A torch module that gives the feature layers that are asked for, each [B, D] and in the order of `layers`."""

    def __init__(self, name: str, preprocess: Preprocess, layer_sizes: dict[str, int]) -> None:
        super().__init__()
        self.name = name
        self.preprocess = preprocess
        self.layer_sizes = layer_sizes

    @property
    def input_size(self) -> int:
        """S."""
        return self.preprocess.input_size

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of the feature layers."""
        return tuple(self.layer_sizes)

    @abstractmethod
    def forward(self, batch: Float[Tensor, "B 3 S S"], layers: tuple[str, ...]) -> dict[str, Float[Tensor, "B _"]]:
        """The layers asked for; what comes after the last of them is not computed."""

    def load_weights(self, path: str) -> None:
        """Take the weights of a file of `state_dict()`.

        Raises:
            ConfigError: the file cannot be read or is of another network.
        """
        load_into(self, path, self.name)


def preprocess_of(
    params: NetworkParams,
    input_size: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    channel_order: Literal["rgb", "bgr"] = "rgb",
) -> Preprocess:
    """The network's own preprocessing, save for what the config says.

    Raises:
        ConfigError: the mean image cannot be read or has another size.
    """
    size = params.input_size or input_size
    if isinstance(params.mean, str):
        try:
            values = np.load(params.mean, allow_pickle=False).astype(np.float32)
        except (OSError, ValueError) as error:
            raise ConfigError(f"network {params.name}: the mean image {params.mean} cannot be read ({error})") from error
        if values.shape != (size, size, 3):
            raise ConfigError(f"network {params.name}: the mean image {params.mean} is {values.shape}, not ({size}, {size}, 3): crop it")
    else:
        values = np.array(params.mean or mean, dtype=np.float32)
    return Preprocess(size, values, np.array(params.std or std, dtype=np.float32), params.channel_order or channel_order)


def load_into(module: nn.Module, path: str, name: str) -> None:
    """Give a module all its weights from a state-dict file (.safetensors, or torch's own format, read without pickle).

    Raises:
        ConfigError: the file cannot be read, or lacks or adds a tensor.
    """
    try:
        state = load_file(path) if path.endswith(".safetensors") else torch.load(path, map_location="cpu", weights_only=True)
        module.load_state_dict(state)
    except Exception as error:  # unpickling, safetensors and torch each raise their own, without a common base
        raise ConfigError(f"network {name}: the weights {path} do not fit or cannot be read: {error}") from error
