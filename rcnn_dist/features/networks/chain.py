"""A network that is one chain of named modules, with feature layers read at named places: the paper's two networks are such chains."""

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import conv2d

from rcnn_dist.errors import ConfigError
from rcnn_dist.features.networks.base import Network, Preprocess, load_into
from rcnn_dist.features.networks.spec import NetworkParams


class ChainNetwork(Network):
    """Modules in a row, under the names of Caffe's layers, so that weights are found by name.

    A layer's features are what its module gives, flattened in channel, row, column order.
    """

    def __init__(self, name: str, preprocess: Preprocess, modules: Mapping[str, nn.Module], taps: Mapping[str, str]) -> None:
        super().__init__(name, preprocess, {})
        self._layer_of = {module: layer for layer, module in taps.items()}
        for module_name, module in modules.items():
            self.add_module(module_name, module)
        self.layer_sizes = dict.fromkeys(taps, 0)

    def forward(self, batch: Float[Tensor, "B 3 S S"], layers: tuple[str, ...]) -> dict[str, Float[Tensor, "B _"]]:
        found: dict[str, Tensor] = {}
        values = batch
        for name, module in self.named_children():
            if len(found) == len(layers):
                break
            values = module(values.flatten(1) if name.startswith("fc") else values)
            if self._layer_of.get(name) in layers:
                found[self._layer_of[name]] = values.flatten(1)
        return {layer: found[layer] for layer in layers}

    def path_to(self, layer: str) -> tuple[nn.Module, ...]:
        names = list(self._modules)
        end = next(names.index(module) for module, tapped in self._layer_of.items() if tapped == layer)
        return tuple(self.get_submodule(name) for name in names[: end + 1])

    def prepare_for_cpu(self, batch_size: int) -> None:
        if torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
            for name, module in list(self.named_children()):
                if isinstance(module, nn.Linear):
                    self.set_submodule(name, PackedLinear(module, batch_size))


def build_chain(
    params: NetworkParams, preprocess: Preprocess, modules: Callable[[], Mapping[str, nn.Module]], taps: Mapping[str, str]
) -> ChainNetwork:
    """The chain of the modules that a function makes, its weights read from the params' file, else left to be drawn.

    Raises:
        ConfigError: the input size does not suit the first fully connected layer, or the weights do not fit.
    """
    with torch.device("meta"):  # weights are not drawn to be overwritten
        network = ChainNetwork(params.name, preprocess, modules(), taps).eval()
    side = preprocess.input_size
    try:
        found = network(torch.empty(1, 3, side, side, device="meta"), tuple(taps))
    except RuntimeError as error:
        raise ConfigError(f"network {params.name} does not fit an input of {side} x {side} pixels: remove network.input_size") from error
    network.layer_sizes = {layer: values.shape[1] for layer, values in found.items()}
    network.to_empty(device="cpu")
    if params.weights is not None:
        load_into(network, params.weights, params.name)
    return network


class ChannelNorm(nn.Module):
    """Caffe's local response normalisation across n = 5 channels: x * (1 + alpha / n * sum of squares) ** -0.75.

    The window is cut off at the first and the last channel. Note that alpha is divided by n, and that 1 is added where Krizhevsky adds 2.

    Reference: BVLC/caffe, src/caffe/layers/lrn_layer.cpp.
    """

    ALPHA, SIZE = 1e-4, 5

    def forward(self, maps: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        channel = torch.arange(maps.shape[1], device=maps.device)
        window = (channel[:, None] - channel).abs() <= self.SIZE // 2
        kernel = window[:, :, None, None].to(maps.dtype) * (self.ALPHA / self.SIZE)
        root = conv2d(maps.square(), kernel, maps.new_ones(len(channel))).rsqrt()  # a product with a band matrix: fast at any precision
        return maps * root * root.sqrt()


class PackedLinear(nn.Module):
    """A fully connected layer for inference on a CPU, its weights in oneDNN's own order.

    torch multiplies with the weights as they lie, which takes twice as long where a batch has few rows.
    """

    def __init__(self, layer: nn.Linear, batch_size: int) -> None:
        super().__init__()
        self._weight = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach(), batch_size)
        self._bias = layer.bias.detach()

    def forward(self, rows: Float[Tensor, "B D"]) -> Float[Tensor, "B E"]:
        return torch.ops.mkldnn._linear_pointwise(rows, self._weight, self._bias, "none", [], "")
