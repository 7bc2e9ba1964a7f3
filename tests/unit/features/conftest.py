"""Caffe's layers written once more, in NumPy: what the networks and the import of weights are checked against."""

import numpy as np
import pytest


def _conv(maps, weight, bias, stride, pad, groups):
    maps = np.pad(maps, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    kernel = weight.shape[2:]
    windows = np.lib.stride_tricks.sliding_window_view(maps, kernel, (2, 3))[:, :, ::stride, ::stride]
    inputs, outputs = np.split(windows, groups, 1), np.split(weight, groups)
    parts = [np.einsum("bchwij,ocij->bohw", i, o, optimize=True) for i, o in zip(inputs, outputs, strict=True)]
    return np.concatenate(parts, 1) + bias[:, None, None]


def _pool(maps, kernel, stride):
    height, width = (-(-(side - kernel) // stride) + 1 for side in maps.shape[2:])
    return np.stack(
        [
            np.stack([maps[:, :, y : y + kernel, x : x + kernel].max((2, 3)) for x in range(0, width * stride, stride)], -1)
            for y in range(0, height * stride, stride)
        ],
        -2,
    )


def _norm(maps):
    normed = np.empty_like(maps)
    for channel in range(maps.shape[1]):
        window = maps[:, max(0, channel - 2) : channel + 3]
        normed[:, channel] = maps[:, channel] / (1 + 1e-4 / 5 * (window**2).sum(1)) ** 0.75
    return normed


T_NET = (
    "conv1 4 0 1, relu, pool 3, norm, conv2 1 2 2, relu, pool 3, norm, conv3 1 1 1, relu, conv4 1 1 2, relu, conv5 1 1 2, relu > conv5, "
    "pool 3 > pool5, fc6, relu > fc6, fc7, relu > fc7"
)
O_NET = (
    ", pool 2, ".join(", ".join(f"conv{block}_{i} 1 1 1, relu" for i in range(1, n + 1)) for block, n in enumerate((2, 2, 3, 3, 3), 1))
    + " > conv5, pool 2 > pool5, fc6, relu > fc6, fc7, relu > fc7"
)


def _forward(description, state, batch):
    values, found = batch.astype(np.float64), {}
    for step in description.split(", "):
        what, _, layer = step.partition(" > ")
        kind, *numbers = what.split()
        weights = [state[f"{kind}.{part}"].astype(np.float64) for part in ("weight", "bias") if f"{kind}.{part}" in state]
        if kind.startswith("conv"):
            values = _conv(values, *weights, *map(int, numbers))
        elif kind.startswith("fc"):
            values = values.reshape(len(values), -1) @ weights[0].T + weights[1]
        elif kind == "pool":
            values = _pool(values, int(numbers[0]), 2)
        else:
            values = np.maximum(values, 0) if kind == "relu" else _norm(values)
        if layer:
            found[layer] = values.reshape(len(values), -1)
    return found


@pytest.fixture(scope="session")
def caffe_forward():
    """(name, state dict as arrays, batch [B, 3, S, S]) -> layer -> features, in float64 and in Caffe's order of layers."""
    return lambda name, state, batch: _forward({"tnet": T_NET, "onet": O_NET}[name], state, batch)
