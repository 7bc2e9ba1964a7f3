"""Near duplicates: rates of one core for GIST and for the search, and how many planted duplicates of photographs are found."""

import io
import time
from typing import Any

import numpy as np
from PIL import Image
from threadpoolctl import threadpool_limits

from rcnn_dist.arrays import Array
from rcnn_dist.data.images import decode_image, read_file
from rcnn_dist.explore.duplicates import nearest_rows
from rcnn_dist.explore.gist import SIDE, SIZE, gist, shrink
from rcnn_dist.stages.photos import find_photos

_IMAGES, _QUERIES, _ROWS = 4096, 2048, 16384
_MANY, _SOME = 1_200_000, 10_000  # App. F: ILSVRC2012 against a test set of VOC
_DISTANCES = (0.3, 0.45, 0.6, 0.75)


def run(images: str | None) -> dict[str, Any]:
    """Rates by the processor's time of this process, on one thread; the photographs' part only where a folder is given."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (_IMAGES, SIDE, SIDE, 3)).astype(np.uint8)
    with threadpool_limits(1):
        gist(pixels[:64])
        start = time.process_time()
        gist(pixels)
        figures: dict[str, Any] = {"images_per_s": _IMAGES / (time.process_time() - start)}
        queries, rows = (np.abs(rng.standard_normal((count, SIZE))).astype(np.float32) for count in (_QUERIES, _ROWS))
        start = time.process_time()
        nearest_rows(queries, rows, np.arange(_ROWS), 1)
        figures["distances_per_s"] = _QUERIES * _ROWS / (time.process_time() - start)
        figures["core_hours_search_1.2M_x_10k"] = _MANY * _SOME / figures["distances_per_s"] / 3600
        return figures | (_photographs(images) if images else {})


def lines(figures: dict[str, Any]) -> list[str]:
    found = [
        f"GIST of images of {SIDE} x {SIDE}: {figures['images_per_s']:,.0f} per second of a core",
        f"search: {figures['distances_per_s'] / 1e6:,.1f} million distances per second of a core; "
        f"{_MANY:,} x {_SOME:,}: {figures['core_hours_search_1.2M_x_10k']:.2f} core hours",
    ]
    if "photographs" in figures:
        rate = figures["read_and_describe_per_s"]
        hours = f"{_MANY:,}: {_MANY / rate / 3600:.1f} core hours"
        found.append(f"read, decode, shrink, describe {figures['photographs']} photographs: {rate:.0f}/s of a core; {hours}")
        for name, kind in figures["planted"].items():
            shares = ", ".join(f"{share:.1%} within {distance}" for distance, share in kind["recall"].items())
            found.append(f"planted, {name}: its original is nearest for {kind['nearest_is_right']:.1%}; {shares}")
        shares = ", ".join(f"{share:.1%} within {distance}" for distance, share in figures["false_rate"].items())
        found.append(f"photographs with another one so near: {shares}")
    return found


def _photographs(folder: str) -> dict[str, Any]:
    """Each photograph's changed copy is looked for among all originals; false: an original that has another one near."""
    urls = find_photos([folder])
    start = time.process_time()
    originals = gist(np.array([shrink(decode_image(read_file(url))) for url in urls]))
    seconds = time.process_time() - start
    numbers, planted = np.arange(len(urls)), {}
    for name, change in _CHANGES.items():
        copies = gist(np.array([shrink(change(Image.fromarray(decode_image(read_file(url))))) for url in urls]))
        found = nearest_rows(copies, originals, numbers, 1)
        right = found.rows[:, 0] == numbers
        recall = {str(distance): float((right & (found.distances[:, 0] <= distance)).mean()) for distance in _DISTANCES}
        planted[name] = {"nearest_is_right": float(right.mean()), "recall": recall}
    others = nearest_rows(originals, originals, numbers, 2).distances[:, 1]  # the nearest is itself
    false = {str(distance): float((others <= distance).mean()) for distance in _DISTANCES}
    return {"photographs": len(urls), "read_and_describe_per_s": len(urls) / seconds, "planted": planted, "false_rate": false}


def _recompressed(image: Image.Image) -> Array:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=50)
    return decode_image(stream.getvalue())


def _halved(image: Image.Image) -> Array:
    return np.asarray(image.resize((max(1, image.width // 2), max(1, image.height // 2)), Image.Resampling.BICUBIC))


def _cropped(image: Image.Image) -> Array:
    x, y = round(0.02 * image.width), round(0.02 * image.height)
    return np.asarray(image.crop((x, y, image.width - x, image.height - y)))


_CHANGES = {"JPEG of quality 50": _recompressed, "half the size": _halved, "2% cut off at each side": _cropped}
