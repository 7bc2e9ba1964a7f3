"""The layouts that a data set may have on disk: `data.layout` in a configuration."""

from collections.abc import Callable
from dataclasses import dataclass

from rcnn_dist.data.coco import CocoDataset
from rcnn_dist.data.csv_boxes import CsvDataset
from rcnn_dist.data.dataset import Dataset
from rcnn_dist.data.folder import FolderDataset
from rcnn_dist.data.ilsvrc import IlsvrcDataset
from rcnn_dist.data.url_list import ListFileDataset, ParquetDataset
from rcnn_dist.data.voc import VocDataset


@dataclass(frozen=True, slots=True)
class Source:
    """Where a data set lies, and what some layouts have to know besides."""

    root: str
    splits: tuple[str, ...]  # the image sets that will be read
    year: str  # voc
    column: str  # parquet
    task: str = "Main"  # voc
    lists: str | None = None  # ilsvrc2013: a folder with val1.txt and val2.txt
    made: str = ""  # where a layout keeps lists that it makes
    seed: int = 3  # of those


@dataclass(frozen=True, slots=True)
class Layout:
    root: str  # what its data.root is
    open: Callable[[Source], Dataset]


LAYOUTS = {
    "voc": Layout("the folder that holds VOC2007/ (or the year of data.year)", lambda s: VocDataset(s.root, s.year, s.task)),
    "folder": Layout("a folder of images", lambda s: FolderDataset(s.root)),
    "coco": Layout("the folder that holds annotations/instances_<split>.json", lambda s: CocoDataset(s.root, s.splits)),
    "csv": Layout("the folder that holds <split>.csv", lambda s: CsvDataset(s.root, s.splits)),
    "ilsvrc2013": Layout(
        "the folder that holds ILSVRC2013_devkit/ and ILSVRC2013_DET_val/",
        lambda s: IlsvrcDataset(s.root, s.splits, s.lists, s.made, s.seed),
    ),
    "list": Layout("a text file with one path or URL per line", lambda s: ListFileDataset(s.root)),
    "parquet": Layout("a Parquet file or folder with a column of paths or URLs (data.column)", lambda s: ParquetDataset(s.root, s.column)),
}
