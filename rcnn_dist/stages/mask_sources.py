"""The regions of an image as masks from whichever source the configuration names."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from typing import Any

import numpy as np

from rcnn_dist.arrays import Array
from rcnn_dist.errors import BadImageError, ConfigError, DataError
from rcnn_dist.proposals.mask_files import decode_coco, parse_coco, read_cpmc, read_png_mask
from rcnn_dist.proposals.selective_search import SelectiveSearchParams, selective_search_regions, warm_up
from rcnn_dist.segment.regions import tight_box
from rcnn_dist.stages.proposal_sources import params_of
from rcnn_dist.stages.run import Run
from rcnn_dist.store import files


class MaskSource:
    """Boxes and masks of images, the best first.

    Precomputed masks lie in folders and files: `<folder>/<image>.mat` (CPMC's), `<folder>/<image>/*.png` in the order of their names,
    or a file `*.json` in COCO's results format; the first that has the image counts. Masks without a pixel are passed over.
    """

    def __init__(self, run: Run) -> None:
        self._params = run.config.masks
        self._search = None if self._params.source == "precomputed" else search_params(run)
        if self._search is not None:
            warm_up(self._search)

    def regions(self, image_id: str, image: Array) -> tuple[Array, list[Array]]:
        """Boxes float64 [R, 4] and masks of at most `max_regions` regions.

        Raises:
            BadImageError: no file has masks of this image, or they have another size.
        """
        limit = self._params.max_regions
        if self._search is not None:
            boxes, found = selective_search_regions(image, self._search)
            count = min(len(boxes), limit)
            return boxes[:count], [found.decode(i) for i in range(count)]
        try:
            masks = _read(self._params.files, image_id)
        except DataError as error:
            raise BadImageError(str(error)) from error
        if wrong := [mask.shape for mask in masks if mask.shape != image.shape[:2]]:
            raise BadImageError(f"image {image_id}: a precomputed mask has {wrong[0]} pixels, the image {image.shape[:2]}")
        masks = [mask for mask in masks if mask.any()][:limit]
        return np.array([tight_box(mask) for mask in masks]).reshape(-1, 4), masks


def source_identity(run: Run) -> dict[str, Any]:
    """All that shapes the regions of a given image, named as the configuration names it."""
    params = run.config.masks
    if params.source == "selective_search":
        return asdict(search_params(run))
    return {"bytes": run.files_digest(params.files)}


def search_params(run: Run) -> SelectiveSearchParams:
    """How regions are searched.

    Raises:
        ConfigError: the section proposals names another source.
    """
    params = params_of(run.config.proposals)
    if not isinstance(params, SelectiveSearchParams):
        raise ConfigError(f"proposals.source is {run.config.proposals.source}, which knows no masks: selective_search does")
    return params


def _read(urls: Sequence[str], image_id: str) -> list[Array]:
    for url in urls:
        if url.endswith(".json"):
            found = _coco(url).get(image_id)
            if found is not None:
                return decode_coco(found, f"{url}, image {image_id}")
            continue
        mat = files.join(url, f"{image_id}.mat")
        if files.exists(mat):
            return read_cpmc(files.read_bytes(mat), mat)
        folder = files.join(url, image_id)
        if names := sorted(name for name in files.list_names(folder) if name.endswith(".png")):
            return [read_png_mask(files.read_bytes(files.join(folder, name)), files.join(folder, name)) for name in names]
    raise DataError(f"no masks of image {image_id} in {' or '.join(urls)}")


@lru_cache(maxsize=4)  # a file is one whole image set, a worker asks for it image after image
def _coco(url: str) -> Mapping[str, Any]:
    return parse_coco(files.read_bytes(url), url)
