"""The warp of many regions at once, on the device that holds the image."""

import torch
from jaxtyping import Bool, Float32, Float64, Int64, UInt8
from torch import Tensor

from rcnn_dist.features.warp import WarpGeometry


def warp_regions_torch(
    image: UInt8[Tensor, "H W 3"], geometry: WarpGeometry, input_size: int, mean: Float32[Tensor, "..."]
) -> Float32[Tensor, "R 3 S S"]:
    """All regions of the geometry as S x S pixels less the mean, 0 outside the image, on the image's device.

    `mean` is as in warp.warp_regions. The result is channels-last in memory; about 60 * S * S bytes per region are in use on the way, so
    that the caller bounds the memory by the number of regions he passes.
    Law: equal to warp.warp_regions within 0.01 on the 0 to 255 scale.

    Paper: §2.1, App. A. Reference: rcnn_im_crop.m.
    """
    window, offset, size = (torch.from_numpy(part).to(image.device) for part in (geometry.window, geometry.offset, geometry.size))
    left, right, x_weight, x_inside = _taps(window[:, 0], window[:, 2], offset[:, 0], size[:, 0], input_size)
    top, bottom, y_weight, y_inside = _taps(window[:, 1], window[:, 3], offset[:, 1], size[:, 1], input_size)
    pixels = image.reshape(-1, 3)

    def row(y: Int64[Tensor, "R S"]) -> Float32[Tensor, "R S S 3"]:
        start = (y * image.shape[1])[:, :, None]
        return torch.lerp(pixels[start + left[:, None]].float(), pixels[start + right[:, None]].float(), x_weight[:, None, :, None])

    crops = torch.lerp(row(top), row(bottom), y_weight[:, :, None, None]) - mean
    outside = ~(y_inside[:, :, None] & x_inside[:, None, :])
    return crops.masked_fill_(outside[..., None], 0).permute(0, 3, 1, 2)


def _taps(
    first: Int64[Tensor, "R"], end: Int64[Tensor, "R"], offset: Int64[Tensor, "R"], size: Int64[Tensor, "R"], input_size: int
) -> tuple[Int64[Tensor, "R S"], Int64[Tensor, "R S"], Float32[Tensor, "R S"], Bool[Tensor, "R S"]]:
    """Per region and place along one axis of its frame: the two source pixels, the weight of the second, and whether it shows the image."""
    place = torch.arange(input_size, device=first.device) - offset[:, None]
    last = (end - first - 1)[:, None]
    scale = (end - first).double() / size.clamp(min=1)  # float64: at 4000 pixels float32 would misplace a tap by 1e-4 pixels
    source: Float64[Tensor, "R S"] = ((place + 0.5) * scale[:, None] - 0.5).clamp(min=0).minimum(last.double())
    lower = source.long()
    upper = torch.minimum(lower + 1, last)
    inside = (place >= 0) & (place < size[:, None])
    return first[:, None] + lower, first[:, None] + upper, (source - lower).float(), inside
