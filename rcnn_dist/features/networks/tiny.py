"""A small network of random weights: no files, a quarter of a millisecond per region, the same features on every machine.

For tests, demonstrations and dry runs. Random features tell textured, coloured objects apart once each filter is blind to the mean of its
input: after a ReLU that mean is the same for every region and would drown what differs.
"""

import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn

from rcnn_dist.errors import ConfigError
from rcnn_dist.features.networks.base import Network, Preprocess, preprocess_of
from rcnn_dist.features.networks.spec import NetworkParams

POOL5_SIDE = 4


class TinyNetwork(Network):
    """Layers pool5 [64 * 4 * 4, in channel, row, column order], fc6 [1024] and fc7 [512], the last two after their ReLU."""

    def __init__(self, name: str, preprocess: Preprocess, seed: int) -> None:
        super().__init__(name, preprocess, {"pool5": 64 * POOL5_SIDE**2, "fc6": 1024, "fc7": 512})
        generator = torch.Generator().manual_seed(seed)
        conv1, conv2, conv3 = nn.Conv2d(3, 32, 5, 2, 2), nn.Conv2d(32, 64, 3, 1, 1), nn.Conv2d(64, 64, 3, 1, 1)
        self.pool5 = nn.Sequential(
            *(conv1, nn.ReLU(), nn.MaxPool2d(2)),
            *(conv2, nn.ReLU(), nn.MaxPool2d(2)),
            *(conv3, nn.ReLU(), nn.AdaptiveMaxPool2d(POOL5_SIDE)),
        )
        fc6, fc7 = nn.Linear(64 * POOL5_SIDE**2, 1024), nn.Linear(1024, 512)
        self.fc6, self.fc7 = nn.Sequential(fc6, nn.ReLU()), nn.Sequential(fc7, nn.ReLU())
        texture, colour = _draw((16, 3, 5, 5), (2, 3), generator), _draw((16, 3, 1, 1), (), generator).expand(-1, -1, 5, 5)
        _set_weights(conv1, torch.cat([texture, colour]))
        for layer in (conv2, conv3, fc6, fc7):
            _set_weights(layer, _draw(tuple(layer.weight.shape), (1,), generator))

    def forward(self, batch: Float[Tensor, "B 3 S S"], layers: tuple[str, ...]) -> dict[str, Float[Tensor, "B _"]]:
        found: dict[str, Tensor] = {}
        values = batch
        for layer in self.layers:
            if set(layers) <= found.keys():
                break
            values = self.pool5(values).flatten(1) if layer == "pool5" else self.get_submodule(layer)(values)
            found[layer] = values
        return {layer: found[layer] for layer in layers}

    def path_to(self, layer: str) -> tuple[nn.Module, ...]:
        return tuple(self.pool5) if layer == "pool5" else ()


def build(params: NetworkParams) -> TinyNetwork:
    """The network of the params' seed, for 64 x 64 pixels or another input size.

    Raises:
        ConfigError: weights are named: there are none but the random ones.
    """
    if params.weights is not None:
        raise ConfigError("network tiny has random weights that only its seed chooses: remove weights (finetuned may name a file)")
    return TinyNetwork(params.name, preprocess_of(params, 64, mean=(127.5, 127.5, 127.5), std=(64.0, 64.0, 64.0)), params.seed)


def _draw(shape: tuple[int, ...], balanced: tuple[int, ...], generator: torch.Generator) -> Float64[Tensor, "..."]:
    """Uniform values in [-1, 1) less their mean over the balanced dimensions.

    Each is a multiple of 2**-23, so that float64 adds them without rounding: the same bits in every order of addition.
    """
    values = torch.rand(shape, generator=generator).double() * 2 - 1
    return values - values.mean(balanced, keepdim=True) if balanced else values


def _set_weights(layer: nn.Conv2d | nn.Linear, values: Float64[Tensor, "..."]) -> None:
    """Scaled to keep the variance through a ReLU (He et al. 2015); no bias."""
    fan_in = values[0].numel()
    layer.weight = nn.Parameter((values * (6 / fan_in) ** 0.5).float())
    layer.bias = nn.Parameter(torch.zeros(len(values)))
