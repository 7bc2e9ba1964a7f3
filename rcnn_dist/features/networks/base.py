"""What every network is: pixels of a fixed size in, named feature vectors out."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float32
from safetensors.torch import load_file
from torch import Tensor, nn

from rcnn_dist.arrays import Array
from rcnn_dist.errors import ConfigError
from rcnn_dist.features.caffe_import.model import read_mean_image
from rcnn_dist.features.networks.spec import NetworkParams
from rcnn_dist.features.networks.weight_files import MEAN_IMAGE, read_about, read_mean


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

    def path_to(self, layer: str) -> tuple[nn.Module, ...]:  # noqa: ARG002
        """The modules that a region's pixels pass one after the other up to a layer; none where that is not a plain chain."""
        return ()

    def prepare_for_cpu(self, batch_size: int) -> None:
        """Make inference on a CPU faster where that is possible; the weights can neither be trained nor saved any more."""

    def load_arrays(self, arrays: Mapping[str, Array]) -> None:
        """Take the weights of `state_dict()` as arrays, as fine-tuning leaves them.

        Raises:
            ConfigError: they are of another network.
        """
        try:
            self.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
        except RuntimeError as error:
            raise ConfigError(f"network {self.name}: the fine-tuned weights are of another network: {error}") from error

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
    """The network's own preprocessing, save for what the file of its weights says, save for what the config says.

    Raises:
        ConfigError: the mean image cannot be read or is smaller than the input.
    """
    size = params.input_size or input_size
    stated = read_about(params.weights).get("preprocess", {}) if params.weights else {}
    image = None
    if isinstance(params.mean, str):
        image = read_mean_image(params.mean)
    elif params.weights and stated and params.mean is None:
        image = read_mean(params.weights)
    values = np.array(params.mean or stated.get("mean", mean), dtype=np.float32) if image is None else _centre_crop(image, size, params)
    order = params.channel_order or stated.get("channel_order", channel_order)
    return Preprocess(size, values, np.array(params.std or stated.get("std", std), dtype=np.float32), order)


def _centre_crop(image: Float32[Array, "H W 3"], size: int, params: NetworkParams) -> Float32[Array, "S S 3"]:
    """The middle of a mean image: of 256 pixels, the 227 from the fifteenth on, as Caffe takes them."""
    if min(image.shape[:2]) < size:
        raise ConfigError(f"network {params.name}: the mean image is {image.shape}, smaller than the input, ({size}, {size}, 3)")
    top, left = ((side - size) // 2 for side in image.shape[:2])
    return np.ascontiguousarray(image[top : top + size, left : left + size])


def load_into(module: nn.Module, path: str, name: str) -> None:
    """Give a module all its weights from a state-dict file (.safetensors, or torch's own format, read without pickle).

    Raises:
        ConfigError: the file cannot be read, or lacks or adds a tensor, or one has another shape; the message names the first.
    """
    try:
        state = read_state(path)
        state.pop(MEAN_IMAGE, None)
        expected = module.state_dict()
        check_shapes({key: tuple(tensor.shape) for key, tensor in expected.items()}, state)
        _check_values(expected, state)
        module.load_state_dict(state)
    except Exception as error:  # unpickling, safetensors and torch each raise their own, without a common base
        refused = type(error).__name__ == "UnpicklingError"  # torch's text would tell how to run the code that the file may hold
        reason = "it is damaged, or holds more than tensors; save its state dict as .safetensors" if refused else error
        raise ConfigError(f"network {name}: the weights {path} do not fit or cannot be read: {reason}") from error


def _check_values(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    for key, tensor in expected.items():
        if tensor.is_floating_point() and not found[key].is_floating_point():
            raise ValueError(f"{key} is {found[key].dtype}, a kind of float is expected")
        if not found[key].isfinite().all():
            raise ValueError(f"{key} has values that are not finite")


def read_state(path: str) -> dict[str, Tensor]:
    """The tensors of a .safetensors file or of torch's own format, where they may lie under `state_dict` or `model`."""
    if path.endswith(".safetensors"):
        return load_file(path)
    state = torch.load(path, map_location="cpu", weights_only=True)
    inner = next((state[key] for key in ("state_dict", "model") if isinstance(state.get(key), dict)), state)
    return dict(inner)


def check_shapes(expected: Mapping[str, tuple[int, ...]], found: Mapping[str, Tensor]) -> None:
    """Refuses tensors that are not those of a network.

    Raises:
        ValueError: names the first that is missing, differs or is too many, with the expected and the found shape.
    """
    for key, shape in expected.items():
        if key not in found:
            raise ValueError(f"{key} {shape} is missing; it has {', '.join(list(found)[:4])}, ...")
        if tuple(found[key].shape) != shape:
            raise ValueError(f"{key} has the shape {tuple(found[key].shape)}, expected {shape}")
    if extra := [key for key in found if key not in expected]:
        raise ValueError(f"{extra[0]} {tuple(found[extra[0]].shape)} is not in the network")
