"""Windows of a training set, which of them are foreground, and which of them a step sees."""

from dataclasses import dataclass

import numpy as np

from rcnn_dist.arrays import Array, Bool, Float, Float32, Int64
from rcnn_dist.errors import DataError
from rcnn_dist.finetune.params import FinetuneParams

BACKGROUND, LEFT_OUT = 0, -1
_NO_OVERLAP = 1e-5


def best_class(overlap: Float[Array, "R C"]) -> tuple[Int64[Array, "R"], Float[Array, "R"]]:
    """The class 1..C that each region overlaps most, the first on ties, and that overlap; 0 and 0 where it overlaps none.

    Reference: finetuning/rcnn_make_window_file.m.
    """
    best = overlap.max(axis=1, initial=0)
    none = best < _NO_OVERLAP
    label = np.where(none, BACKGROUND, overlap.argmax(axis=1) + 1) if overlap.shape[1] else np.zeros(len(overlap), np.int64)
    return label.astype(np.int64), np.where(none, 0, best).astype(overlap.dtype)


@dataclass(frozen=True, slots=True, eq=False)
class WindowSet:
    """All windows of a training set: ground truth and proposals of every image.

    `image` numbers the images of the set, `boxes` are half-open pixels, `label` is 0 for background, else the class, counted from 1.
    """

    image: Int64[Array, "N"]
    boxes: Float32[Array, "N 4"]
    label: Int64[Array, "N"]

    @property
    def foreground(self) -> Int64[Array, "_"]:
        """The windows of all objects, in set order."""
        return np.flatnonzero(self.label != BACKGROUND)

    @property
    def background(self) -> Int64[Array, "_"]:
        return np.flatnonzero(self.label == BACKGROUND)


def foreground_labels(label: Int64[Array, "R"], overlap: Float[Array, "R"], params: FinetuneParams) -> Int64[Array, "R"]:
    """The class of each region that overlaps an object of it by foreground_iou or more, 0 (background) below background_iou, else -1.

    Paper: §2.3, App. B.
    """
    return np.where(overlap >= params.foreground_iou, label, np.where(overlap < params.background_iou, BACKGROUND, LEFT_OUT))


class WindowSampler:
    """Draws the windows of each step, uniformly and with replacement from lists over the whole set: no class and no image is favoured.

    Law: a step's windows depend on the seed and the step alone, so that a training that goes on sees what it would have seen.
    """

    def __init__(self, windows: WindowSet, params: FinetuneParams) -> None:
        """Raises: DataError: there is no foreground or no background to draw from."""
        self._params = params
        self._foreground, self._background = windows.foreground, windows.background
        if not len(self._foreground) or not len(self._background):
            kind = "background" if len(self._foreground) else "foreground"
            raise DataError(f"fine-tuning has no {kind} windows among {len(windows.label)}: check the annotations and the proposals")

    def draw(self, step: int) -> tuple[Int64[Array, "B"], Bool[Array, "B"]]:
        """The windows of a step, background first, and which of them are mirrored.

        Reference: BVLC/caffe, src/caffe/layers/window_data_layer.cpp.
        """
        rng = np.random.default_rng([self._params.seed, step])
        n_foreground = self._params.foreground_count
        background = rng.choice(self._background, self._params.batch_size - n_foreground)
        foreground = rng.choice(self._foreground, n_foreground)
        return np.concatenate([background, foreground]), rng.random(self._params.batch_size) < 0.5
