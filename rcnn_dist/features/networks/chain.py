"""A network that is one chain of named modules, with feature layers read at named places: the paper's two networks are such chains."""

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rcnn_dist.errors import ConfigError
from rcnn_dist.features.networks.base import Network, Preprocess, load_into
from rcnn_dist.features.networks.for_cpu import module_for_cpu
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
        half = next(self.parameters()).dtype == torch.bfloat16
        names, modules = zip(*self.named_children(), strict=True)
        for name, before, module, after in zip(names, (self, *modules[:-1]), modules, (*modules[1:], self), strict=True):
            if better := module_for_cpu(module, before, after, batch_size, half):
                self.set_submodule(name, better)


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
