"""What a segmentation run can be told, beside its network and its warp."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class MaskParams:
    """Which masks are the regions of an image."""

    source: Literal["selective_search", "precomputed"] = "selective_search"  # our own, as the section proposals has it, or from files
    max_regions: int = 150  # paper §5: up to 150 of each image; the first ones in the order of their source
    files: tuple[str, ...] = ()  # precomputed: folders of <image>.mat (CPMC's) or <image>/*.png, files *.json of COCO's run lengths


@dataclass(frozen=True, slots=True)
class SvrParams:
    """One class's regressor minimises |w|²/2 + cost * sum of max(0, |target - w.x| - epsilon)², with no bias.

    Paper: §5. Reference: fact sheet §15 (values of O2P, whose features have another scale; the paper does not give its own).
    """

    cost: float = 3.0  # of features whose mean norm is 1
    epsilon: float = 0.25
    tolerance: float = 1e-3  # proven distance to the minimum, as a part of it
    max_steps: int = 100  # of Newton's method at most; the telemetry tells the distance that is left


Strategy = Literal["full", "fg", "full+fg"]


@dataclass(frozen=True, slots=True)
class RegressorParams(SvrParams):
    """The regressors of a run: one per class, for every stored layer and each of the strategies."""

    strategies: tuple[Strategy, ...] = ("full", "fg", "full+fg")
    classes_per_task: int = 4  # regressors that one worker fits in one pass over the rows


@dataclass(frozen=True, slots=True)
class PasteParams:
    """How the best regions become a label map.

    Reference: fact sheet §15 (O2P's values).
    """

    segments: int = 3  # the best regions of an image, of which those under the background are dropped
    background: float = 0.28  # the first score tried for the background
    background_step: float = 0.01
    most_per_image: float = 2.2  # the background's score grows until an image has no more segments on average
    margin: float = 0.02  # the k-th best region (from 0) must beat the background by k times this
    method: str | None = None  # whose label maps are written, such as "full+fg fc6"; None: the last strategy, first layer
