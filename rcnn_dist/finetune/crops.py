"""The pixels of a step's windows."""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from rcnn_dist.arrays import Array, Bool, Int64, UInt8
from rcnn_dist.features.extract import region_warp
from rcnn_dist.features.networks.base import Preprocess
from rcnn_dist.features.warp import WarpParams, warp_geometry
from rcnn_dist.finetune.windows import WindowSet


def window_pixels(
    windows: WindowSet,
    drawn: Int64[Array, "B"],
    mirrored: Bool[Array, "B"],
    read_image: Callable[[int], UInt8[Array, "H W 3"]],
    preprocess: Preprocess,
    warp: WarpParams,
    device: torch.device,
) -> Float32[Tensor, "B 3 S S"]:
    """The drawn windows as the network takes them, warped on the device; each image is read once.

    A mirrored window is mirrored before the mean is subtracted, so that a mean image stays as it is.

    Paper: §2.3. Reference: BVLC/caffe, src/caffe/layers/window_data_layer.cpp (which rounds the warped pixels to integers; this does not).
    """
    side = preprocess.input_size
    pixels = torch.empty((len(drawn), 3, side, side), device=device, memory_format=torch.channels_last)
    image_of = windows.image[drawn]
    for number in np.unique(image_of):
        image = read_image(int(number))
        rows = np.flatnonzero(image_of == number)
        geometry = warp_geometry(windows.boxes[drawn[rows]], image.shape[0], image.shape[1], warp, side)
        for flip in (False, True):
            chosen = np.flatnonzero(mirrored[rows] == flip)
            if len(chosen):
                shown = image[:, ::-1] if flip else image
                part = geometry[chosen].mirrored(image.shape[1], side) if flip else geometry[chosen]
                pixels[torch.from_numpy(rows[chosen]).to(device)] = region_warp(shown, preprocess, device)(part)
    return pixels.div_(torch.from_numpy(preprocess.std).to(device)[:, None, None])
