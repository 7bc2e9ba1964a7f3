"""Feature layers read from inside any torch module."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from threading import get_ident
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rcnn_dist.errors import ConfigError
from rcnn_dist.features.networks.base import Network, Preprocess


class TappedNetwork(Network):
    """A layer is what a submodule gives when it first runs: a vector as it is, a map [B, C, H, W] averaged over space or flattened."""

    def __init__(
        self, name: str, preprocess: Preprocess, model: nn.Module, taps: Mapping[str, str], pool: Literal["average", "flatten"]
    ) -> None:
        super().__init__(name, preprocess, {})
        self.model = model.eval()
        self._taps = dict(taps)
        self._pool = pool
        for layer, path in taps.items():
            if path not in dict(model.named_modules()):
                inside = ", ".join(child for child, _ in model.named_children())
                raise ConfigError(f"network {name}: layer {layer} taps {path!r}, which it does not have; at its top it has {inside}")
        self._forwards: dict[int, _Forward] = {}  # by thread: several may forward at once
        for layer, path in taps.items():
            model.get_submodule(path).register_forward_hook(partial(self._keep, layer))
        with torch.inference_mode():
            sample = self(torch.zeros(1, 3, self.input_size, self.input_size), tuple(taps))
        self.layer_sizes = {layer: sample[layer].shape[1] for layer in taps}

    def forward(self, batch: Float[Tensor, "B 3 S S"], layers: tuple[str, ...]) -> dict[str, Float[Tensor, "B _"]]:
        forward = self._forwards[get_ident()] = _Forward(layers)
        try:
            if layers:
                self.model(batch)
        except _AllFoundError:
            pass
        finally:
            del self._forwards[get_ident()]
        if missing := [layer for layer in layers if layer not in forward.found]:
            raise ConfigError(f"network {self.name}: the tap of layer {missing[0]}, {self._taps[missing[0]]}, does not run in a forward")
        return {layer: forward.found[layer] for layer in layers}

    def _keep(self, layer: str, _module: nn.Module, _inputs: Any, output: Any) -> None:
        forward = self._forwards.get(get_ident())
        if forward is None or layer not in forward.layers:
            return
        if layer not in forward.found:
            forward.found[layer] = self._vector(output)
        if len(forward.found) == len(forward.layers):
            raise _AllFoundError

    def _vector(self, output: Any) -> Tensor:
        if isinstance(output, Tensor) and output.ndim == 4 and self._pool == "average":
            return output.mean((2, 3), dtype=torch.float32)
        if isinstance(output, Tensor) and (output.ndim in (2, 4) or self._pool == "flatten"):
            return output.flatten(1).clone()  # the module after the tap may work in place
        raise ConfigError(
            f"network {self.name}: a tap gives neither vectors nor maps [B, C, H, W]; tap a later module, or use pool: flatten"
        )


@dataclass(slots=True)
class _Forward:
    """One forward: which layers are wanted, and those that it has come to."""

    layers: tuple[str, ...]
    found: dict[str, Tensor] = field(default_factory=dict)


class _AllFoundError(Exception):
    """Ends a forward whose last wanted layer is there."""
