import math

import numpy as np
import pytest

from rcnn_dist.explore.gist import SIDE, SIZE, gist, shrink

SCALES = (8, 8, 4)


def literal_gist(image):
    """One image by the definition, pixel by pixel, in double precision; frequencies are shifted as the reference shifts them."""
    logs = [[[math.log(float(image[y, x, c]) + 1) for x in range(SIDE)] for y in range(SIDE)] for c in range(3)]
    mirror = [*range(4, -1, -1), *range(SIDE), *range(SIDE - 1, SIDE - 6, -1)]
    padded = np.array([[[channel[y][x] for x in mirror] for y in mirror] for channel in logs])
    side = SIDE + 10
    low = shifted(side, lambda fx, fy: math.exp(-(fx * fx + fy * fy) / (4 / math.sqrt(math.log(2))) ** 2))
    sharp = np.array([channel - np.fft.ifft2(np.fft.fft2(channel) * low).real for channel in padded])
    variance = np.fft.ifft2(np.fft.fft2((sharp.sum(axis=0) / 3) ** 2) * low)
    sharp = (sharp / (0.2 + np.sqrt(np.abs(variance))))[:, 5:-5, 5:-5]
    found = []
    for channel in sharp:
        spectrum = np.fft.fft2(channel)
        for scale, orientations in enumerate(SCALES):
            for orientation in range(orientations):
                magnitude = np.abs(np.fft.ifft2(spectrum * gabor(scale, orientations, orientation)))
                for column in range(4):
                    for row in range(4):
                        cell = [magnitude[y, x] for y in range(8 * row, 8 * row + 8) for x in range(8 * column, 8 * column + 8)]
                        found.append(sum(cell) / 64)
    return np.array(found)


def gabor(scale, orientations, orientation):
    def transfer(fx, fy):
        angle = math.atan2(fy, fx) + math.pi / orientations * orientation
        if angle > math.pi:
            angle -= 2 * math.pi
        radius = math.sqrt(fx * fx + fy * fy)
        band = radius / SIDE / (0.3 / 1.85**scale) - 1
        return math.exp(-10 * 0.35 * band**2 - 2 * 16 * orientations**2 / 32**2 * math.pi * angle**2)

    return shifted(SIDE, transfer)


def shifted(side, function):
    """A function of the frequencies -side/2 .. side/2 - 1, moved so that the frequency 0 comes first."""
    centred = np.array([[function(x - side / 2, y - side / 2) for x in range(side)] for y in range(side)])
    half = side // 2
    return np.block([[centred[half:, half:], centred[half:, :half]], [centred[:half, half:], centred[:half, :half]]])


def pictures(count, seed=0):
    """Smooth patterns with edges and noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE]
    waves = [128 + 90 * np.sin(rng.uniform(-0.9, 0.9) * x + rng.uniform(-0.9, 0.9) * y + phase) for phase in rng.uniform(0, 6, 3 * count)]
    noisy = np.array(waves).reshape(count, 3, SIDE, SIDE).transpose(0, 2, 3, 1) + rng.normal(0, 15, (count, SIDE, SIDE, 3))
    noisy[:, 10:20, 5:15] = rng.integers(0, 255, (count, 1, 1, 3))
    return np.clip(noisy, 0, 255).astype(np.uint8)


def test_the_same_as_a_slow_literal_implementation():
    images = np.concatenate(
        [
            pictures(2),
            np.zeros((1, SIDE, SIDE, 3), np.uint8),
            np.random.default_rng(1).integers(0, 256, (1, SIDE, SIDE, 3)).astype(np.uint8),
        ]
    )
    found = gist(images)
    assert found.shape == (4, SIZE) and found.dtype == np.float32
    for image, descriptor in zip(images, found, strict=True):
        np.testing.assert_allclose(descriptor, literal_gist(image), atol=2e-6, rtol=2e-4)


def test_a_descriptor_depends_on_its_own_image_alone():
    images = pictures(70)
    whole = gist(images)
    assert np.array_equal(gist(images[33:34]), whole[33:34])
    assert np.array_equal(gist(images[::-1])[::-1], whole)


def test_no_image_and_a_plain_one():
    assert gist(np.empty((0, SIDE, SIDE, 3), np.uint8)).shape == (0, SIZE)
    plain = gist(np.full((1, SIDE, SIDE, 3), 77, np.uint8))
    np.testing.assert_allclose(plain, 0, atol=1e-4)


def test_a_stripe_answers_in_its_own_cells_and_direction():
    image = np.full((1, SIDE, SIDE, 3), 100, np.uint8)
    image[0, :8, 24:, :] = np.where(np.arange(8) % 4 < 2, 40, 200)[None, :, None]  # upright stripes, upper right
    cells = gist(image).reshape(3, 20, 4, 4).mean(axis=0)
    assert np.unravel_index(cells.argmax(), cells.shape)[1:] == (3, 0)
    assert cells[:8, 3, 0].argmax() == 0  # along x


@pytest.mark.parametrize("size", [(100, 37), (32, 32), (9, 200)])
def test_shrinking_gives_the_described_size(size):
    assert shrink(np.zeros((*size, 3), np.uint8)).shape == (SIDE, SIDE, 3)
