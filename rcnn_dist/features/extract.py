"""Regions of one image in, their features out."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float16
from torch import Tensor
from torch.nn.functional import pad

from rcnn_dist.arrays import Array, Float32, Float64, UInt8
from rcnn_dist.errors import ConfigError
from rcnn_dist.features.networks.base import Network, Preprocess
from rcnn_dist.features.warp import WarpGeometry, WarpParams, paste_regions, warp_geometry
from rcnn_dist.features.warp_torch import warp_regions_torch

__all__ = ["ExtractParams", "Extractor", "choose_device", "region_warp"]


@dataclass(frozen=True, slots=True)
class ExtractParams:
    """Which layers are computed, and in which arithmetic: all of it shapes the bits of the features."""

    layers: tuple[str, ...]
    batch_size: int = 16  # measured: best on a CPU, where the maps of more regions leave the heap; a GPU wants 256
    precision: Literal["float32", "bfloat16"] = "float32"
    warp: WarpParams = field(default_factory=WarpParams)


class Extractor:
    """Computes features with one network on one device; the network is moved and converted in place.

    Every forward has `batch_size` rows, the last one of an image filled up, and none has rows of two images.
    Law: the same image and boxes give the same bits on one kind of processor, whatever was computed before.

    Example:
        >>> from rcnn_dist.features.networks import NetworkParams, build_network
        >>> extractor = Extractor(build_network(NetworkParams("tiny")), ExtractParams(("fc7",)), choose_device())
        >>> features = extractor.extract(np.zeros((60, 80, 3), np.uint8), np.array([[0.0, 0.0, 40.0, 50.0]]))["fc7"]
        >>> features.shape, str(features.dtype)
        ((1, 512), 'float16')
    """

    def __init__(self, network: Network, params: ExtractParams, device: torch.device) -> None:
        """Raises: ConfigError: the network has no such layer."""
        if unknown := [layer for layer in params.layers if layer not in network.layers]:
            raise ConfigError(f"network {network.name} has no layer {unknown[0]!r}: it has {', '.join(network.layers)}")
        self._dtype = torch.bfloat16 if params.precision == "bfloat16" else torch.float32
        self._network = network.to(device, self._dtype).to(memory_format=torch.channels_last).eval()
        if device.type == "cpu":
            self._network.prepare_for_cpu(params.batch_size)
        self._std = None if (network.preprocess.std == 1).all() else _whole_std(network, device)
        self._params = params
        self.device = device

    @property
    def input_size(self) -> int:
        """S, the side of the network's frame in pixels."""
        return self._network.input_size

    @property
    def layer_sizes(self) -> dict[str, int]:
        """Layer -> D, of the layers that are computed."""
        return {layer: self._network.layer_sizes[layer] for layer in self._params.layers}

    def geometry(self, boxes: Float64[Array, "R 4"], height: int, width: int) -> WarpGeometry:
        """Where the pixels of each box go in the network's frame, of an image of this size.

        Raises:
            ValueError: a box cannot be warped, see warp_geometry.
        """
        return warp_geometry(boxes, height, width, self._params.warp, self.input_size)

    def extract(self, image: UInt8[Array, "H W 3"], boxes: Float64[Array, "R 4"]) -> dict[str, Float16[Array, "R _"]]:
        """Each layer's features of all boxes, in their order: `warp`, `forward` and `rows` one after the other.

        Raises:
            ValueError, ConfigError: as these.
        """
        return self.rows([self.forward(batch) for batch in self.warp(image, boxes)], len(boxes))

    def warp(self, image: UInt8[Array, "H W 3"], boxes: Float64[Array, "R 4"]) -> Iterator[Float[Tensor, "B 3 S S"]]:
        """Batches of warped regions as the network wants them, the last one filled up; each is made when it is asked for.

        Raises:
            ValueError: a box cannot be warped, see warp_geometry.
        """
        geometry = self.geometry(boxes, *image.shape[:2])
        warp, size = region_warp(image, self._network.preprocess, self.device), self._params.batch_size
        for start in range(0, len(geometry), size):
            crops = warp(geometry[start : start + size])
            missing = size - len(crops)
            full = pad(crops, (0, 0, 0, 0, 0, 0, 0, missing)) if missing else crops
            scaled = full if self._std is None else full.div_(self._std)
            yield scaled.to(self._dtype, memory_format=torch.channels_last)

    @torch.inference_mode()
    def forward(self, batch: Float[Tensor, "B 3 S S"]) -> dict[str, Float16[Tensor, "B _"]]:
        """Each layer's rows of one batch, on the device; a GPU may still be computing them."""
        return {layer: values.to(torch.float16) for layer, values in self._network(batch, self._params.layers).items()}

    def rows(self, batches: Sequence[dict[str, Float16[Tensor, "B _"]]], count: int) -> dict[str, Float16[Array, "R _"]]:
        """Each layer's first `count` rows of an image's batches, in this process's memory; waits for the device.

        Raises:
            ConfigError: a feature is not finite in float16, so that the network or its preprocessing cannot be right.
        """
        return {layer: self._rows(layer, [batch[layer] for batch in batches])[:count] for layer in self._params.layers}

    def _rows(self, layer: str, batches: Sequence[Float16[Tensor, "B _"]]) -> Float16[Array, "R _"]:
        empty = torch.empty((0, self._network.layer_sizes[layer]), dtype=torch.float16, device=self.device)
        rows = torch.cat([empty, *batches])
        if not rows.isfinite().all():
            raise ConfigError(
                f"network {self._network.name}: layer {layer} has values that are not finite in float16 (over 65504, or NaN): "
                "check its mean, std and weights"
            )
        return rows.cpu().numpy()


def _whole_std(network: Network, device: torch.device) -> Float32[Tensor, "1 3 S S"]:
    """Every pixel's divisors, laid out as the crops are: three values per pixel are slow to divide by."""
    side = network.input_size
    whole = torch.from_numpy(network.preprocess.std).to(device)[None, :, None, None].expand(1, 3, side, side)
    return whole.contiguous(memory_format=torch.channels_last)


def region_warp(
    image: UInt8[Array, "H W 3"], preprocess: Preprocess, device: torch.device
) -> Callable[[WarpGeometry], Float32[Tensor, "R 3 S S"]]:
    """A warp of one image's regions: by OpenCV on a CPU, where it is several times faster, else all at once on the device."""
    pixels = np.ascontiguousarray(image[:, :, ::-1] if preprocess.channel_order == "bgr" else image)
    if device.type == "cpu":
        exact, side = pixels.astype(np.float32), preprocess.input_size
        whole_mean = np.ascontiguousarray(np.broadcast_to(preprocess.mean, (side, side, 3)))

        def by_opencv(geometry: WarpGeometry) -> Tensor:
            return torch.from_numpy(paste_regions(exact, geometry, side, whole_mean)).permute(0, 3, 1, 2)

        return by_opencv
    on_device, mean = torch.from_numpy(pixels).to(device), torch.from_numpy(preprocess.mean).to(device)
    return partial(warp_regions_torch, on_device, input_size=preprocess.input_size, mean=mean)


def choose_device() -> torch.device:
    """The first CUDA device where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
