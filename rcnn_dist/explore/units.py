"""What single units of a layer respond to: the regions with the highest activations, for all units in one pass."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from rcnn_dist.arrays import Array, Float, Float32, Float64, Int64
from rcnn_dist.compiled import compiled

NMS_THRESHOLD = 0.1
_INFINITE = 0x7C00  # as bits of a float16; what is above is no number


@dataclass(frozen=True, slots=True)
class TopRegions:
    """The K best regions of each of D units, best first; a place is empty where the activation is 0.

    Activations are kept as the bits of float16, which sort like the positive numbers that they stand for.
    """

    bits: Array  # int16 [D, K]
    images: Array  # int32 [D, K], the image's number in the pass
    regions: Array  # int32 [D, K]
    boxes: Array  # float32 [D, K, 4]

    @property
    def activations(self) -> Float32[Array, "D K"]:
        return self.bits.view(np.float16).astype(np.float32)

    @property
    def floors(self) -> Array:
        """What an activation must exceed to enter, where its image comes after all others: int16 [D]."""
        return np.ascontiguousarray(self.bits[:, -1])

    @property
    def nbytes(self) -> int:
        return self.bits.nbytes + self.images.nbytes + self.regions.nbytes + self.boxes.nbytes


def no_regions(units: int, k: int) -> TopRegions:
    """Only empty places: what a pass begins with."""
    shape = (units, k)
    return TopRegions(np.zeros(shape, np.int16), np.zeros(shape, np.int32), np.zeros(shape, np.int32), np.zeros((*shape, 4), np.float32))


def add_image(
    top: TopRegions, features: Float[Array, "R D"], image: int, regions: Int64[Array, "R"], boxes: Float64[Array, "R 4"]
) -> TopRegions:
    """The best regions with those of one more image among them.

    Of one image a unit keeps what survives non-maximum suppression at IoU 0.1 among the regions that activate it: an activation is
    a positive, finite number. Whether a region is too weak to enter is asked before the suppression, which changes nothing: only
    stronger regions suppress it.

    Args:
        features: float16.
        image: a number above those of all images that were added before.
    """
    bits = np.ascontiguousarray(features).view(np.int16)
    k = top.bits.shape[1]
    own = no_regions(len(top.bits), k)
    if _image_best(bits, boxes, top.floors, own.bits, own.images):
        rows = own.images.astype(np.int64)  # the kernel leaves rows here
        filled = own.bits > 0
        found = TopRegions(
            own.bits,
            np.where(filled, np.int32(image), np.int32(0)),
            np.where(filled, regions[rows], 0).astype(np.int32),
            np.where(filled[..., None], boxes[rows], 0).astype(np.float32),
        )
        return merge(top, found)
    return top


def merge(a: TopRegions, b: TopRegions) -> TopRegions:
    """The best of two passes over different images.

    Order: activation descending, then the image's number, then the region's, so the result is the same however images are shared out
    to passes and in whatever order passes are merged.
    """
    merged = no_regions(*a.bits.shape)
    _merge(
        a.bits, a.images, a.regions, a.boxes, b.bits, b.images, b.regions, b.boxes, merged.bits, merged.images, merged.regions, merged.boxes
    )
    return merged


@compiled
def _image_best(bits: Any, boxes: Any, floors: Any, best: Any, best_rows: Any) -> int:
    """Fills in each unit's surviving regions of one image, strongest first, ties by row; how many candidates there were."""
    starts = np.zeros(len(floors) + 1, np.int64)
    for row in range(len(bits)):
        for unit in range(len(floors)):
            starts[unit + 1] += (bits[row, unit] > floors[unit]) & (bits[row, unit] < _INFINITE)
    starts = np.cumsum(starts)
    if starts[-1] == 0:
        return 0
    candidates, ends = np.empty(starts[-1], np.int32), starts.copy()
    for row in range(len(bits)):
        for unit in range(len(floors)):
            if bits[row, unit] > floors[unit] and bits[row, unit] < _INFINITE:
                candidates[ends[unit]] = row
                ends[unit] += 1
    alive = np.empty(len(bits), np.int16)
    for unit in range(len(floors)):
        rows = candidates[starts[unit] : starts[unit + 1]]
        for i in range(len(rows)):
            alive[i] = bits[rows[i], unit]
        for place in range(best.shape[1]):
            strongest = _strongest(alive[: len(rows)])
            if strongest < 0:
                break
            best[unit, place] = alive[strongest]
            best_rows[unit, place] = rows[strongest]
            _suppress(alive, rows, boxes, rows[strongest])
    return starts[-1]


@compiled
def _strongest(alive: Any) -> int:
    """The first of the highest positive values; -1: none."""
    found, highest = -1, 0
    for i in range(len(alive)):
        if alive[i] > highest:
            found, highest = i, alive[i]
    return found


@compiled
def _suppress(alive: Any, rows: Any, boxes: Any, picked: Any) -> None:
    """Takes out the picked row and those that overlap it by more than the threshold."""
    x1, y1, x2, y2 = boxes[picked]
    area = (x2 - x1) * (y2 - y1)
    for i in range(len(rows)):
        if alive[i] > 0:
            box = boxes[rows[i]]
            width, height = min(x2, box[2]) - max(x1, box[0]), min(y2, box[3]) - max(y1, box[1])
            shared = width * height if width > 0 and height > 0 else 0.0
            union = area + (box[2] - box[0]) * (box[3] - box[1]) - shared
            if rows[i] == picked or shared > NMS_THRESHOLD * union:
                alive[i] = 0


@compiled
def _merge(a_bits: Any, a_images: Any, a_regions: Any, a_boxes: Any, b_bits: Any, b_images: Any, b_regions: Any, b_boxes: Any,
           bits: Any, images: Any, regions: Any, boxes: Any) -> None:  # fmt: skip
    """Two sorted rows of each unit into one."""
    for unit in range(len(bits)):
        i = j = 0
        for place in range(bits.shape[1]):
            later = a_images[unit, i] > b_images[unit, j] or (
                a_images[unit, i] == b_images[unit, j] and a_regions[unit, i] > b_regions[unit, j]
            )
            if b_bits[unit, j] > a_bits[unit, i] or (b_bits[unit, j] == a_bits[unit, i] and later):
                bits[unit, place], images[unit, place] = b_bits[unit, j], b_images[unit, j]
                regions[unit, place], boxes[unit, place] = b_regions[unit, j], b_boxes[unit, j]
                j += 1
            else:
                bits[unit, place], images[unit, place] = a_bits[unit, i], a_images[unit, i]
                regions[unit, place], boxes[unit, place] = a_regions[unit, i], a_boxes[unit, i]
                i += 1
