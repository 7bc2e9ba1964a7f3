"""`rcnn-dist runs export`: what a run found, in other programs' forms."""

from enum import StrEnum
from typing import Annotated

import typer


class Form(StrEnum):
    COCO = "coco"
    LIST = "list"
    NPY = "npy"
    WINDOWS = "windows"
    VOC = "voc"


_FORMS = """coco: detections and objects of the test images as COCO JSON;
list: features as Parquet with lists of floats, for SQL; npy: features as NumPy matrices, and the regions that their rows are;
windows: the training windows as the window file that Caffe reads;
voc: the results files of the test images, or of those of --images, for VOC's server."""


def export(
    run: Annotated[str, typer.Argument(help="The run's directory.")],
    form: Annotated[Form, typer.Option("--format", help=_FORMS)],
    out: Annotated[str | None, typer.Option(help="Where the files go; export/FORMAT in the run's directory if not given.")] = None,
    images: Annotated[str | None, typer.Option(help="With voc: a file that lists the images, such as VOC2010's test.txt.")] = None,
    year: Annotated[str, typer.Option(help="With voc: the year that the archive's folder names.")] = "VOC2010",
) -> None:
    """Write a run's results in another form.

    Example: rcnn-dist runs export runs/fruit --format coco
    """
    from rcnn_dist.stages.export_coco import export_coco
    from rcnn_dist.stages.export_features import export_features
    from rcnn_dist.stages.export_voc import export_voc
    from rcnn_dist.stages.record import read_config
    from rcnn_dist.stages.run import Run
    from rcnn_dist.stages.windows import export_windows
    from rcnn_dist.store import files

    place = out or files.join(run, "export", form)
    if form is Form.VOC:
        urls = export_voc(Run(read_config(run)), place, images, year)
    elif form in (Form.COCO, Form.WINDOWS):
        urls = (export_coco if form is Form.COCO else export_windows)(Run(read_config(run)), place)
    else:
        urls = export_features(run, form.value, place)
    for url in urls:
        print(url)
