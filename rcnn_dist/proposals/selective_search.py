"""Selective search: class-independent boxes from grouping an image's regions in several ways.

The steps are `colour_spaces`, `pixel_graph`, `graph_segmentation`, `descriptors`, `grouping` and `priority`; here they become one list of
boxes, the most promising first, with a mask for each on request. Paper: Uijlings, van de Sande, Gevers, Smeulders, IJCV 2013.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple

import numpy as np

from rcnn_dist.arrays import Array, Float64, Int64, UInt8
from rcnn_dist.compiled import one_compiles
from rcnn_dist.errors import BadImageError
from rcnn_dist.proposals.colour_spaces import COLOUR_SPACES, colour_planes
from rcnn_dist.proposals.descriptors import Regions, adjacent_pairs, describe, join_regions, joined_pairs, pixel_codes
from rcnn_dist.proposals.graph_segmentation import RegionGraph, coarsen, segment
from rcnn_dist.proposals.grouping import Hierarchy, Likeness, group, neighbours
from rcnn_dist.proposals.masks import RegionMasks, leaf_order, region_runs
from rcnn_dist.proposals.pixel_graph import smooth, sorted_edges
from rcnn_dist.proposals.priority import Order, Steps, order_boxes, region_steps
from rcnn_dist.proposals.resample import resample

__all__ = ["PRESETS", "SelectiveSearchParams", "selective_search", "selective_search_regions", "warm_up"]

_COLOUR_TEXTURE_SIZE_FILL = Likeness(1.0, 1.0, 1.0, 1.0)
_TEXTURE_SIZE_FILL = Likeness(0.0, 1.0, 1.0, 1.0)
_LARGEST_FRAME = 2**24  # pixel counts are exact in float32 up to here


@dataclass(frozen=True, slots=True)
class SelectiveSearchParams:
    """What is grouped, how, and in which order boxes come out. The defaults are the preset `paper`; `PRESETS` has the others.

    `scales` and `min_side` are meant for the image (after `resize_width`, and shrunk where `max_pixels` asks for it): at a segmentation of
    half the width k is halved and the minimum size quartered.
    """

    colour_spaces: tuple[str, ...] = ("hsv", "lab")  # Uijlings et al., table 5, fast; rcnn selective_search_boxes.m
    scales: tuple[float, ...] = (50.0, 100.0)  # k; the same file
    min_size_per_k: float = 1.0  # minimum size of a region: k pixels; the same file
    nested: bool = False  # the regions of a greater k are unions of those of the one before (ours); False: from the pixels again
    strategies: tuple[Likeness, ...] = (_COLOUR_TEXTURE_SIZE_FILL, _TEXTURE_SIZE_FILL)  # the same file
    sigma: float = 0.8  # Gaussian before the segmentation, in pixels of the segmentation; the same file
    neighbours: int = 8  # 4 or 8, edges of a pixel; Felzenszwalb and Huttenlocher, §5
    resolution: float = 1.0  # width of the segmentation / width of the image
    canonical_width: int | None = None  # in pixels, in place of `resolution`
    max_pixels: int = 3_000_000  # of the segmentation: larger images are searched as if shrunk, which bounds memory and time
    min_side: int = 20  # px; rcnn selective_search_boxes.m, in the resized frame
    order: Order = "large_first"  # large_first: the same file; lasting: ours, see `priority`
    resize_width: int | None = None  # 500 for ILSVRC; the same file
    seed: int = 0  # of the random factor of the order; the original's is unseeded

    def __post_init__(self) -> None:
        unknown = [space for space in self.colour_spaces if space not in COLOUR_SPACES]
        if unknown or not self.colour_spaces:
            raise ValueError(f"colour spaces {self.colour_spaces}: name one or more of {', '.join(COLOUR_SPACES)}")
        if not self.scales or min(self.scales) <= 0 or not self.strategies:
            raise ValueError(f"scales {self.scales}, {len(self.strategies)} strategies: give at least one of each, and positive scales")
        if self.nested and list(self.scales) != sorted(self.scales):
            raise ValueError(f"scales {self.scales}: nested scales grow, sort them")
        if self.neighbours not in (4, 8):
            raise ValueError(f"neighbours {self.neighbours}: a pixel has 4 or 8")
        if not 0 < self.resolution <= 4 or not 1 <= self.max_pixels <= _LARGEST_FRAME:
            raise ValueError(f"resolution {self.resolution}, max_pixels {self.max_pixels}: keep to (0, 4] and 1..{_LARGEST_FRAME}")
        if any(width is not None and width < 1 for width in (self.resize_width, self.canonical_width)):
            raise ValueError(f"resize_width {self.resize_width}, canonical_width {self.canonical_width}: give at least 1 px, or none")


PRESETS = {
    "paper": SelectiveSearchParams(),
    "quality": SelectiveSearchParams(  # Uijlings et al., table 5, quality: 80 hierarchies
        colour_spaces=("hsv", "lab", "rgi", "h", "i"),
        scales=(50.0, 100.0, 150.0, 300.0),
        strategies=(_COLOUR_TEXTURE_SIZE_FILL, _TEXTURE_SIZE_FILL, Likeness(0.0, 0.0, 0.0, 1.0), Likeness(0.0, 0.0, 1.0, 0.0)),
    ),
    "swift": SelectiveSearchParams(  # ours, chosen on photographs for recall at 500 to 2000 boxes within a time
        scales=(50.0, 100.0, 200.0, 400.0),
        nested=True,
        strategies=(Likeness(1.0, 0.125, 1.0, 1.0), Likeness(0.0, 0.125, 1.0, 1.0)),
        sigma=0.5,  # of the half resolution
        resolution=0.5,
        min_side=16,
        max_pixels=1_000_000,
        order="lasting",
    ),
}


class _Frame(NamedTuple):
    """How the segmentation's pixels lie in the image: cell i spans columns[i]..columns[i+1], in the frame of the boxes."""

    scale: float  # image pixels per pixel of the segmentation
    shrink: float  # width of the segmentation / width of the picture that `scales` and `min_side` are meant for
    min_side: float  # of boxes, in their frame
    columns: Int64[Array, " w1"]
    rows: Int64[Array, " h1"]
    resized: float  # original pixels per pixel of the resized image, 1 where it is not


def _edges(cells: int, cell: float, limit: int) -> Int64[Array, " C1"]:
    """Where cells begin and end in whole pixels up to `limit`, each with a pixel of its own unless there are more cells than pixels."""
    edges = np.floor(np.arange(cells + 1) * cell + 0.5).astype(np.int64)
    edges[-1] = limit
    return np.minimum(edges, limit - np.arange(cells, -1, -1) if cells <= limit else limit)


def _frame(height: int, width: int, params: SelectiveSearchParams) -> _Frame:
    resized = width / params.resize_width if params.resize_width else 1.0
    tall, wide = math.ceil(height / resized - 1e-9), params.resize_width or width
    wanted = wide / params.canonical_width if params.canonical_width else 1 / params.resolution
    cell = max(wanted, math.sqrt(tall * wide / params.max_pixels), max(tall, wide) / params.max_pixels)
    rows, columns = (_edges(math.ceil(size / (resized * cell) - 1e-9), cell, limit) for size, limit in ((height, tall), (width, wide)))
    return _Frame(resized * cell, 1 / wanted, params.min_side * cell / wanted, columns, rows, resized)


class _Level(NamedTuple):
    """The regions of one colour space and k."""

    labels: Array  # int32 [h, w]
    region: Array  # int32: the region of each label
    graph: RegionGraph
    regions: Regions
    pairs: Array  # int32 [E, 2]


class _Grouped(NamedTuple):
    labels: Array  # of the level, and so `region`
    region: Array
    hierarchies: list[Hierarchy]  # one per strategy


def _levels(image: UInt8[Array, "h w 3"], params: SelectiveSearchParams, shrink: float) -> Iterator[_Level]:
    scales = [(k * shrink, max(1, math.ceil(params.min_size_per_k * k * shrink**2))) for k in params.scales]
    for space in params.colour_spaces:
        planes = colour_planes(image, space)
        smoothed = smooth(planes, params.sigma)
        edges, ends = sorted_edges(smoothed, params.neighbours)
        codes = pixel_codes(planes, smoothed)
        level = None
        for scale in scales:
            level = _next_level(level, *scale) if level and params.nested else _first_level(edges, ends, codes, *scale)
            yield level


def _first_level(edges: Array, ends: Array, codes: UInt8[Array, "6 h w"], k: float, min_size: int) -> _Level:
    labels, graph = segment(edges, ends, codes.shape[1:], k, min_size)
    count = len(graph.sizes)
    return _Level(labels, np.arange(count, dtype=np.int32), graph, describe(labels, codes, count), adjacent_pairs(labels))


def _next_level(level: _Level, k: float, min_size: int) -> _Level:
    number, graph = coarsen(level.graph, k, min_size)
    regions, pairs = join_regions(level.regions, number, len(graph.sizes)), joined_pairs(level.pairs, number)
    return _Level(level.labels, number[level.region], graph, regions, pairs)


def _grouped(image: UInt8[Array, "h w 3"], params: SelectiveSearchParams, shrink: float) -> Iterator[_Grouped]:
    for level in _levels(image, params, shrink):
        start = neighbours(level.regions, level.pairs)
        yield _Grouped(level.labels, level.region, [group(start, strategy) for strategy in params.strategies])


class _Choice(NamedTuple):
    boxes: Int64[Array, "R 4"]  # in whole pixels of the image or, if it is resized, of the resized one
    cells: Array  # int32 [R, 4], the same in pixels of the segmentation
    sources: Int64[Array, "R 3"]  # segmentation, hierarchy, region


def _choose(grouped: list[_Grouped], frame: _Frame, params: SelectiveSearchParams) -> _Choice:
    """The regions' boxes in the order of proposals; the initial regions of a segmentation enter once, not once per strategy."""
    parts = [(i, j, h) for i, part in enumerate(grouped) for j, h in enumerate(part.hierarchies)]
    firsts = [0 if j == 0 else len(h.children) + 1 for _, j, h in parts]
    cells = np.concatenate([h.boxes[first:] for first, (_, _, h) in zip(firsts, parts, strict=True)])
    steps = [region_steps(h.children) for _, _, h in parts]
    pooled = Steps(*(np.concatenate([s[first:] for first, s in zip(firsts, field, strict=True)]) for field in zip(*steps, strict=True)))
    boxes = np.stack([frame.columns[cells[:, 0]], frame.rows[cells[:, 1]], frame.columns[cells[:, 2]], frame.rows[cells[:, 3]]], axis=1)
    chosen = order_boxes(boxes, pooled, frame.min_side, params.order, np.random.default_rng(params.seed))
    ends = np.cumsum([len(h.boxes) - first for first, (_, _, h) in zip(firsts, parts, strict=True)])
    part = np.searchsorted(ends, chosen, side="right")
    node = chosen - ends[part] + np.array([len(h.boxes) for _, _, h in parts])[part]
    sources = np.column_stack([np.array([(i, j) for i, j, _ in parts])[part], node])
    return _Choice(boxes[chosen], cells[chosen], sources)


def _search(image: Array, params: SelectiveSearchParams) -> tuple[list[_Grouped], _Frame, _Choice]:
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        found = f"{image.dtype} {list(image.shape)}" if isinstance(image, np.ndarray) else type(image).__name__
        raise BadImageError(f"selective search was given {found}: give an RGB image, uint8 [H, W, 3] with at least one pixel")
    frame = _frame(image.shape[0], image.shape[1], params)
    grouped = list(_grouped(resample(image, frame.scale), params, frame.shrink))
    return grouped, frame, _choose(grouped, frame, params)


def _to_original(boxes: Int64[Array, "R 4"], frame: _Frame) -> Float64[Array, "R 4"]:
    """b = (b - 1) * s + 1 of 1-based inclusive boxes, in half-open ones. Reference: selective_search_boxes.m (fact sheet §3)."""
    mapped = boxes.astype(np.float64)
    if frame.resized != 1:
        mapped[:, :2] *= frame.resized
        mapped[:, 2:] = (mapped[:, 2:] - 1) * frame.resized + 1
    return mapped


def selective_search(image: Array, params: SelectiveSearchParams = PRESETS["swift"]) -> Float64[Array, "R 4"]:
    """Proposals of an RGB image (uint8 [H, W, 3]), the most promising first, in its pixels.

    Whole numbers, except after a resize. Law: the same image, parameters and seed give the same boxes in the same order, in any thread,
    process and call; the whole image is among them if its sides are long enough. Memory: `max_pixels` bounds it.

    Raises:
        BadImageError: the array is no RGB image of bytes.

    Paper: Uijlings et al. 2013; R-CNN §2.1, App. A.

    Example:
        >>> image = np.zeros((120, 160, 3), np.uint8)
        >>> image[30:90, 40:100] = (200, 30, 30)
        >>> boxes = selective_search(image)
        >>> [0.0, 0.0, 160.0, 120.0] in boxes.tolist()
        True
    """
    _, frame, choice = _search(image, params)
    return _to_original(choice.boxes, frame)


def selective_search_regions(image: Array, params: SelectiveSearchParams = PRESETS["swift"]) -> tuple[Float64[Array, "R 4"], RegionMasks]:
    """The same proposals, and the region each one is the box of.

    A mask has the image's size, in blocks where the segmentation is coarser. Law: a box covers its mask, and is its bounding box
    unless the image is resized (the box then follows the original's mapping, the mask is cut to the box).
    """
    grouped, frame, choice = _search(image, params)
    boxes = _to_original(choice.boxes, frame)
    rows, columns = (np.ceil(edges * frame.resized - 1e-9).astype(np.int64) for edges in (frame.rows, frame.columns))
    rows[-1], columns[-1] = image.shape[:2]
    inside = np.concatenate([np.ceil(boxes[:, :2]), np.floor(boxes[:, 2:])], axis=1).astype(np.int64)
    counts = [np.empty(0, np.int32)] * len(boxes)
    for source in {(int(i), int(j)) for i, j, _ in choice.sources}:
        part = grouped[source[0]]
        place, spans = leaf_order(part.hierarchies[source[1]].children)
        places = place[part.region][part.labels]
        for r in np.flatnonzero((choice.sources[:, :2] == source).all(axis=1)):
            counts[r] = region_runs(places, spans[choice.sources[r, 2]], choice.cells[r], inside[r], rows, columns)
    offsets = np.cumsum([0] + [len(c) for c in counts], dtype=np.int64)
    return boxes, RegionMasks(image.shape[0], image.shape[1], np.concatenate([*counts, np.empty(0, np.int32)]), offsets)


@cache
def warm_up(params: SelectiveSearchParams = PRESETS["swift"]) -> None:
    """Has the kernels of the search ready in this process, once: compiled in the first process of a machine, loaded in all others."""
    image = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    with one_compiles():
        selective_search(image, replace(params, min_side=1))
