"""Stage accuracy: label maps of the test images, their accuracy, files for VOC's server, the report's page (paper §5)."""

import io
import json
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from rcnn_dist.arrays import Array
from rcnn_dist.data.images import read_image
from rcnn_dist.data.label_maps import encode_label_map, voc_palette
from rcnn_dist.errors import BadImageError, ConfigError
from rcnn_dist.report.overlay import draw_label_maps
from rcnn_dist.report.published import published_segmentation
from rcnn_dist.report.segmentation_page import SegmentationPage, SegmentedPicture, render_segmentation
from rcnn_dist.segment.accuracy import SegmentationAccuracy, count_confusion, segmentation_accuracy
from rcnn_dist.stages import evaluate, svr
from rcnn_dist.stages.base import Executor, Progress
from rcnn_dist.stages.errors import json_number
from rcnn_dist.stages.pasted import Backgrounds, PastedImage, find_backgrounds, paste_images, read_ranked
from rcnn_dist.stages.report import page_url
from rcnn_dist.stages.run import Run
from rcnn_dist.store import files

NAME = "accuracy"
METRICS = "segmentation.json"
ARCHIVE = "segmentation.tar.gz"
_PICTURES = 10  # of the best images, and as many of the worst


@dataclass(frozen=True, slots=True)
class _Shown:
    """An image that the page may show."""

    accuracy: float  # NaN without annotation
    image: PastedImage


class AccuracyStage:
    """Small and quick, so it runs anew each time."""

    name = NAME

    def __init__(self, run: Run) -> None:
        self._run = run

    def run(self, executor: Executor, progress: Progress) -> None:  # noqa: ARG002
        run, method = self._run, chosen_method(self._run)
        progress.start(NAME, len(run.image_ids("test")))
        ranked = read_ranked(run)
        backgrounds = find_backgrounds(run.config.segment, [m.name for m in svr.methods(run)], ranked)
        n_labels = len(run.classes) + 1
        confusion = {name: np.zeros((n_labels, n_labels), np.int64) for name in backgrounds.scores}
        shown: list[_Shown] = []
        annotated = 0
        with _submission(run) as submit:
            for image in paste_images(run, ranked, backgrounds):
                submit(image.image_id, image.maps[method])
                counts = {name: _confusion(image, found, n_labels) for name, found in image.maps.items()}
                for name, count in counts.items():
                    confusion[name] += count
                annotated += image.truth is not None
                shown = _keep_extremes([*shown, _Shown(segmentation_accuracy(counts[method]).mean, image)])
                progress.advance(1)
        progress.finish()
        results = {name: segmentation_accuracy(counts) for name, counts in confusion.items()}
        content = metrics(run, backgrounds, results, annotated)
        files.write_bytes(files.join(evaluate.folder(run), METRICS), (json.dumps(content, indent=1) + "\n").encode())
        files.write_bytes(page_url(run), render_segmentation(_page(run, content, shown)).encode())


def chosen_method(run: Run) -> str:
    """The method whose label maps are written.

    Raises:
        ConfigError: `segment.method` names none of the run.
    """
    names = [method.name for method in svr.methods(run)]
    wanted = run.config.segment.method or f"{run.config.svr.strategies[-1]} {run.config.extract.layers[0]}"
    if wanted not in names:
        raise ConfigError(f"segment.method is '{wanted}': this run has {', '.join(names)}")
    return wanted


def metrics(run: Run, backgrounds: Backgrounds, results: dict[str, SegmentationAccuracy], annotated: int) -> dict[str, Any]:
    """What `segmentation.json` holds; accuracy is null for a label that neither the truth nor the result has."""
    labels = ["background", *run.classes]
    return {
        "data": run.dataset.name,
        "split": run.image_set("test"),
        "images": len(run.image_ids("test")),
        "annotated": annotated,
        "labels": labels,
        "method": chosen_method(run),
        "methods": {
            name: {
                "mean": json_number(found.mean),
                "pixel_accuracy": json_number(found.pixel_accuracy),
                "accuracy": {label: json_number(value) for label, value in zip(labels, found.per_label.tolist(), strict=True)},
                "background": round(backgrounds.scores[name], 6),
                "segments_per_image": backgrounds.segments_per_image[name],
            }
            for name, found in results.items()
        },
        "confusion": results[chosen_method(run)].confusion.tolist(),
        "archive": ARCHIVE,
    }


@contextmanager
def _submission(run: Run) -> Iterator[Callable[[str, Array], None]]:
    """Takes label maps, as single files and for an archive in the layout of VOC's server; comp6: trained on images of more than VOC."""
    stream, name = io.BytesIO(), f"comp6_{run.image_set('test')}_cls"
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:

        def add(image_id: str, labels: Array) -> None:
            data = encode_label_map(labels)
            files.write_bytes(files.join(evaluate.folder(run), name, f"{image_id}.png"), data)
            entry = tarfile.TarInfo(f"results/{run.config.data.year}/Segmentation/{name}/{image_id}.png")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))

        yield add
    files.write_bytes(files.join(evaluate.folder(run), ARCHIVE), stream.getvalue())


def _confusion(image: PastedImage, found: Array, n_labels: int) -> Array:
    if image.truth is None:
        return np.zeros((n_labels, n_labels), np.int64)
    return count_confusion(image.truth.class_map, found, n_labels)


def _keep_extremes(shown: list[_Shown]) -> list[_Shown]:
    """The best and the worst images, the best first; those without an annotation in set order, at the end."""
    ordered = sorted(shown, key=lambda s: (np.isnan(s.accuracy), -s.accuracy if s.accuracy == s.accuracy else 0))
    return ordered if len(ordered) <= 2 * _PICTURES else [*ordered[:_PICTURES], *ordered[-_PICTURES:]]


def _page(run: Run, content: dict[str, Any], shown: list[_Shown]) -> SegmentationPage:
    palette = voc_palette()
    colours = [(name, "#" + bytes(palette[i + 1]).hex()) for i, name in enumerate(run.classes)]
    pictures = tuple(picture for one in shown if (picture := _picture(run, content["method"], one, palette)) is not None)
    published = published_segmentation(f"{run.dataset.name} {run.image_set('test')}", run.classes)
    return SegmentationPage(run.url.split("/")[-1], content, published, pictures, colours, run.config.to_yaml())


def _picture(run: Run, method: str, shown: _Shown, palette: Array) -> SegmentedPicture | None:
    image, data = shown.image, run.config.data
    try:
        pixels = read_image(run.dataset.image_url(image.image_id), data.max_pixels, data.exif_rotation)
    except BadImageError:
        return None  # a row of the failures table already
    if pixels.shape[:2] != image.maps[method].shape:
        return None
    truth = [] if image.truth is None else [image.truth.class_map]
    caption = "" if np.isnan(shown.accuracy) else f", mean accuracy of this image {100 * shown.accuracy:.1f}"
    return SegmentedPicture(image.image_id, caption, draw_label_maps(pixels, [image.maps[method], *truth], palette))
