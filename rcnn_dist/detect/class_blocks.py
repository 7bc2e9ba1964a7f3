"""Detectors of very many classes on one image (paper §2.2): the score matrix never exists, only a block of it at a time.

Weights are an array on disk, mapped into memory, so that all workers of a node share its pages. They are float32, or bfloat16 as the
uint16 of its bits, which halves their bytes and their product's time and gives scores 8 bits of precision.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from rcnn_dist.arrays import Array, Bool, Float, Float32, Int64
from rcnn_dist.detect.postprocess import best_of_class
from rcnn_dist.geometry.nms import grouped_nms

BLOCK = 1024


@dataclass(frozen=True, slots=True)
class BlockParams:
    min_score: float = -1.0  # rcnn_detect.m, the demo: strictly above
    max_per_image: int = 100  # per class, before NMS: rcnn_test.m
    nms_threshold: float = 0.3  # imdb_eval_voc.m
    block: int = BLOCK  # classes of one product; scores of blocks of another width have other bits


@dataclass(frozen=True, slots=True)
class ClassScores:
    """The scores of one image above the threshold, ordered by class, then score descending, then region."""

    region: Int64[Array, "K"]
    class_index: Int64[Array, "K"]
    score: Float32[Array, "K"]


def padded_classes(n_classes: int, block: int = BLOCK) -> int:
    """Rows of an array of weights that holds n_classes: whole blocks."""
    return math.ceil(n_classes / block) * block


def class_ranges(n_classes: int, row_bytes: int, limit: int, block: int = BLOCK) -> list[range]:
    """All classes, padded, as consecutive ranges of whole blocks whose weights take at most `limit` bytes each.

    Raises:
        ValueError: one block takes more.
    """
    blocks, rows = limit // (block * row_bytes), padded_classes(n_classes, block)
    if not blocks:
        raise ValueError(f"the weights of {block} classes, one block, take {block * row_bytes} bytes, and {limit} are allowed")
    return [range(start, min(start + blocks * block, rows)) for start in range(0, rows, blocks * block)]


def score_classes(
    features: Float32[Array, "R D"], weights: Array, biases: Float32[Array, "C"], params: BlockParams, device: str = "cpu"
) -> ClassScores:
    """The best regions of every class that score above the threshold.

    Law: a class's rows have the same bits whatever classes stand beside and behind it, for every product has one width and its place in
    its block is its own; so whole blocks may be scored apart, and their rows follow each other.

    Args:
        weights: float32, or bfloat16 as uint16; padded to whole blocks with rows of any content whose bias is -inf.
        device: where the products are computed, as torch calls it; it takes one block of weights at a time.

    Raises:
        ValueError: the classes are no whole number of blocks.

    Paper: §2.2. Reference: rcnn_test.m.
    """
    if len(weights) % params.block:
        raise ValueError(f"{len(weights)} classes: weights are padded to whole blocks of {params.block}, with biases of -inf")
    found = list(_blocks(features, weights, biases, params, device))
    empty = ClassScores(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))
    parts = [*found, empty]
    return ClassScores(
        np.concatenate([part.region for part in parts]),
        np.concatenate([part.class_index for part in parts]),
        np.concatenate([part.score for part in parts]),
    )


def suppress(found: ClassScores, boxes: Float[Array, "R 4"], params: BlockParams) -> Bool[Array, "K"]:
    """Mask of the rows that survive non-maximum suppression among the rows of their class."""
    return grouped_nms(boxes[found.region], found.score, found.class_index, params.nms_threshold)


def to_bfloat16(values: Float32[Array, "*shape"]) -> Array:
    """The nearest bfloat16 of each number, as the uint16 of its bits."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(values)).bfloat16().view(torch.uint16).numpy()


def _blocks(features: Array, weights: Array, biases: Array, params: BlockParams, device: str) -> Iterator[ClassScores]:
    half = weights.dtype == np.uint16
    product = _torch_product(features, half, device) if half or device != "cpu" else _product(features, params.block)
    for start in range(0, len(weights), params.block):
        scores = product(weights[start : start + params.block])
        scores += biases[start : start + params.block]
        yield _best_of_block(scores, start, params)


def _product(features: Array, width: int) -> Callable[[Array], Array]:
    """Scores of a block without its biases, in memory that is used again for every block."""
    scores = np.empty((len(features), width), np.float32)
    return lambda block: np.matmul(features, block.T, out=scores)


def _torch_product(features: Array, half: bool, device: str) -> Callable[[Array], Array]:
    """The same by torch; of bfloat16 weights the sum is float32, rounded to bfloat16."""
    import torch

    kept = torch.from_numpy(features).to(device, torch.bfloat16 if half else torch.float32)

    def product(block: Array) -> Array:
        rows = torch.from_numpy(np.array(block))
        rows = (rows.view(torch.bfloat16) if half else rows).to(device)
        return (kept @ rows.T).float().cpu().numpy()

    return product


def _best_of_block(scores: Array, start: int, params: BlockParams) -> ClassScores:
    """The rows of a block above the threshold, at most max_per_image of each class."""
    flat = np.flatnonzero(scores > np.float32(params.min_score))
    region, column = np.divmod(flat, scores.shape[1])
    score = scores.ravel()[flat]
    order = np.lexsort((region, -score, column))
    best = order[best_of_class(column[order], params.max_per_image)]
    return ClassScores(region[best], column[best] + start, score[best])
