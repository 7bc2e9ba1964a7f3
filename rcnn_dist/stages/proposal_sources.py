"""The proposals of an image from whichever source the configuration names."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import lru_cache

from rcnn_dist.arrays import Array
from rcnn_dist.config import ProposalsSection
from rcnn_dist.errors import BadImageError, ConfigError
from rcnn_dist.proposals.opencv import OpenCvParams, opencv_selective_search
from rcnn_dist.proposals.precomputed import PrecomputedParams, fit_to_image, read_mat
from rcnn_dist.proposals.selective_search import PRESETS, SelectiveSearchParams, selective_search, warm_up
from rcnn_dist.proposals.sliding_window import SlidingWindowParams, sliding_windows
from rcnn_dist.store import files
from rcnn_dist.store.box_tables import read_box_table

Params = OpenCvParams | SelectiveSearchParams | SlidingWindowParams | PrecomputedParams


def params_of(section: ProposalsSection) -> Params:
    """The parameters of the source that is chosen.

    Raises:
        ConfigError: values that replace the preset's cannot be used.
    """
    if section.source == "selective_search":
        changes = {name: value for name, value in asdict(section.selective_search).items() if value is not None}
        try:
            return replace(PRESETS[section.preset], **changes)
        except ValueError as error:
            raise ConfigError(f"proposals.selective_search: {error}") from error
    chosen: Params = getattr(section, section.source)
    return chosen


def search(image: Array, section: ProposalsSection) -> Array:
    """The proposals of an image (uint8 [H, W, 3]), float64 [R, 4], best first.

    Raises:
        ConfigError: the source is a table, which knows only its own images.
    """
    params = params_of(section)
    if isinstance(params, OpenCvParams):
        return opencv_selective_search(image, params)
    if isinstance(params, SelectiveSearchParams):
        return selective_search(image, params)
    if isinstance(params, SlidingWindowParams):
        return sliding_windows(image.shape[1], image.shape[0], params)
    raise ConfigError(
        "proposals.source is precomputed, which has no boxes for other images: choose another source, detect --proposals selective_search"
    )


class ProposalSource:
    """The proposals of a shard's images; a table is read once for all of them."""

    def __init__(self, section: ProposalsSection, image_ids: Sequence[str]) -> None:
        self._section = section
        params = params_of(section)
        if isinstance(params, SelectiveSearchParams):
            warm_up(params)
        self._found = _read(section.precomputed.files, image_ids) if section.source == "precomputed" else None

    def boxes(self, image_id: str, image: Array) -> Array:
        """The proposals of one image, float64 [R, 4], best first.

        Raises:
            BadImageError: a table has none for this image, or they cannot be its own.
        """
        if self._found is None:
            return search(image, self._section)
        if image_id not in self._found:
            raise BadImageError(f"image {image_id} is not in {' or '.join(self._section.precomputed.files)}")
        return fit_to_image(self._found[image_id], image.shape[1], image.shape[0])


def _read(urls: Sequence[str], image_ids: Sequence[str]) -> dict[str, Array]:
    """The boxes of some images; where several files have an image, those of the first."""
    found: dict[str, Array] = {}
    for url in reversed(urls):
        table = _mat(url) if url.endswith(".mat") else read_box_table(url, image_ids)
        found |= {image_id: table[image_id] for image_id in image_ids if image_id in table}
    return found


@lru_cache(maxsize=4)  # a file is one whole image set, a worker asks for it shard after shard
def _mat(url: str) -> Mapping[str, Array]:
    return read_mat(files.read_bytes(url), url)
