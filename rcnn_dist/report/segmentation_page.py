"""One self-contained HTML page about a segmentation: accuracy of every method and class, what was taken for what, pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rcnn_dist.report.page import render_page
from rcnn_dist.report.run_data import PublishedRow


@dataclass(frozen=True, slots=True)
class SegmentedPicture:
    """A photograph beside its label map and, where there is one, the annotated map: a JPEG."""

    image_id: str
    caption: str
    picture: bytes


@dataclass(frozen=True, slots=True)
class SegmentationPage:
    title: str
    metrics: Mapping[str, Any]  # what evaluation/segmentation.json holds
    published: Sequence[PublishedRow]
    pictures: Sequence[SegmentedPicture]
    colours: Sequence[tuple[str, str]]  # label and its colour as CSS writes it
    config_yaml: str


def render_segmentation(page: SegmentationPage) -> str:
    """The page as HTML that opens from a file and asks for nothing on the network; all text is shown as text."""
    means = {row.method.replace("R-CNN ", ""): row.mean for row in page.published if not row.values}
    rows = [row for row in page.published if row.values]
    confusion = page.metrics.get("confusion")
    shares = [[value / max(1, sum(row)) for value in row] for row in confusion] if confusion else []
    return render_page("segmentation.html", page=page, m=page.metrics, means=means, rows=rows, shares=shares)
