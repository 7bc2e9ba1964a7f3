"""Detectors of classes that are not there: as large a vocabulary as one likes around the real classes (paper §2.2)."""

import numpy as np

from rcnn_dist.arrays import Array, Float32

_PERTURBATION = 0.5  # length of what is added to a real detector, in units of that detector's length


def distractors(
    weights: Float32[Array, "C D"], biases: Float32[Array, "C"], count: int, generator: np.random.Generator
) -> tuple[Float32[Array, "count D"], Float32[Array, "count"]]:
    """Weights and biases with the norms and biases of real detectors, drawn with replacement: every second one has a random direction,
    the others are real ones with a random direction added.

    Raises:
        ValueError: no real detector has a finite bias.
    """
    trained = np.flatnonzero(np.isfinite(biases))
    if not len(trained):
        raise ValueError("no class is trained, so there are no detectors to be like")
    like = generator.choice(trained, count)
    norms = np.linalg.norm(weights, axis=1)[like, None]
    directions = generator.standard_normal((count, weights.shape[1]), dtype=np.float32)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    perturbed = weights[like] + np.float32(_PERTURBATION) * norms * directions
    random = (np.arange(count) % 2 == 0)[:, None]
    return np.where(random, norms * directions, perturbed).astype(np.float32), biases[like]
