"""A network that images of one colour kill, as a faulty library would; the workers of test_poison.py have this folder on their path."""

import ctypes

import torch
from torch import nn

CRASH = (250, 0, 0)


class Trap(nn.Module):
    def forward(self, batch):
        middle = batch[0, :, batch.shape[2] // 2, batch.shape[3] // 2]
        if tuple(int(value) for value in middle) == CRASH:
            ctypes.string_at(0)
        return batch


def network():
    layer = nn.Linear(48, 32)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(32, 48, generator=torch.Generator().manual_seed(1)) / 500)
        layer.bias.zero_()
    return nn.Sequential(Trap(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), layer)
