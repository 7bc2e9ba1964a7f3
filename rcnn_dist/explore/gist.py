"""GIST: the layout of an image of 32 x 32 pixels as 960 numbers, near each other for images that look alike.

Oriented filters at three scales, their responses averaged over a grid of 4 x 4 cells, in each of three colour channels.

Paper: App. F. Reference: Oliva and Torralba 2001; the details are those of Douze et al. 2009 (LEAR's tool, its defaults).
"""

from functools import cache
from typing import Any

import cv2
import numpy as np
import scipy.fft

from rcnn_dist.arrays import Array, Float32, UInt8
from rcnn_dist.compiled import compiled

SIDE, SIZE = 32, 960
_ORIENTATIONS = (8, 8, 4)  # of each scale, the finest first
_CELLS = 4
_MARGIN = 5  # pixels, mirrored
_CUT_OFF = 4.0  # cycles per image
_CONTRAST = np.float32(0.2)
_BATCH = 32  # images whose responses to one filter stay in the processor's cache


def shrink(image: UInt8[Array, "H W 3"]) -> UInt8[Array, "32 32 3"]:
    """An image warped to the size that is described; pixels are averaged where it shrinks."""
    return cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def gist(images: UInt8[Array, "N 32 32 3"]) -> Float32[Array, "N 960"]:
    """The descriptors, by channel, filter (scale, then orientation), column, row of the cells; each depends on its own image alone."""
    found = np.empty((len(images), 3, sum(_ORIENTATIONS), _CELLS, _CELLS), np.float32)
    for first in range(0, len(images), _BATCH):
        spectra = scipy.fft.fft2(_prefiltered(images[first : first + _BATCH]))
        for index, transfer in enumerate(_filters(SIDE)):
            _cell_means(scipy.fft.ifft2(spectra * transfer, overwrite_x=True), found[first : first + _BATCH, :, index])
    return found.reshape(len(images), SIZE)


def _prefiltered(images: UInt8[Array, "N S S 3"]) -> Float32[Array, "N 3 S S"]:
    """Logarithms without their coarse part, divided by the contrast around each pixel."""
    logs = np.log(images.transpose(0, 3, 1, 2).astype(np.float32) + 1)
    edges = ((0, 0), (0, 0), (_MARGIN, _MARGIN), (_MARGIN, _MARGIN))
    padded = np.pad(logs, edges, mode="symmetric")
    side = padded.shape[-1]
    sharp = padded - _smooth(padded, side)
    contrast = np.sqrt(np.abs(_smooth(sharp.mean(axis=1, keepdims=True) ** 2, side)))
    inner = slice(_MARGIN, -_MARGIN)
    return (sharp / (_CONTRAST + contrast))[..., inner, inner]


def _smooth(maps: Float32[Array, "N C S S"], side: int) -> Float32[Array, "N C S S"]:
    found: Array = scipy.fft.irfft2(scipy.fft.rfft2(maps) * _low_pass(side)[:, : side // 2 + 1], s=(side, side))
    return found


@cache
def _low_pass(side: int) -> Float32[Array, "S S"]:
    """A Gaussian that is one half at the cut-off, the frequency 0 first."""
    x, y = _frequencies(side)
    return np.exp(-(x * x + y * y) / (_CUT_OFF**2 / np.log(2))).astype(np.float32)


@cache
def _filters(side: int) -> Float32[Array, "F S S"]:
    """The transfer functions, the frequency 0 first: bands of a scale's frequency, in each a fan of directions."""
    x, y = _frequencies(side)
    radius, angle = np.hypot(x, y) / side, np.arctan2(y, x)
    found = []
    for scale, orientations in enumerate(_ORIENTATIONS):
        centre, narrow = 0.3 / 1.85**scale, 16 * orientations**2 / 32**2
        for orientation in range(orientations):
            turned = angle + np.pi / orientations * orientation
            turned = np.where(turned > np.pi, turned - 2 * np.pi, turned)
            found.append(np.exp(-10 * 0.35 * (radius / centre - 1) ** 2 - 2 * np.pi * narrow * turned**2))
    return np.array(found, np.float32)


def _frequencies(side: int) -> tuple[Array, Array]:
    """Cycles per image along x and y, the frequency 0 first, the highest one negative."""
    cycles = np.fft.ifftshift(np.arange(side) - side // 2).astype(np.float64)
    return np.broadcast_to(cycles, (side, side)), np.broadcast_to(cycles[:, None], (side, side))


@compiled
def _cell_means(responses: Any, means: Any) -> None:
    """The mean magnitude in each cell: means[image, channel, column, row]."""
    cell = responses.shape[2] // means.shape[2]
    for image in range(len(responses)):
        for channel in range(responses.shape[1]):
            for row in range(means.shape[3]):
                for column in range(means.shape[2]):
                    total = np.float32(0)
                    for y in range(row * cell, (row + 1) * cell):
                        for x in range(column * cell, (column + 1) * cell):
                            value = responses[image, channel, y, x]
                            total += np.sqrt(value.real * value.real + value.imag * value.imag)
                    means[image, channel, column, row] = total / np.float32(cell * cell)
