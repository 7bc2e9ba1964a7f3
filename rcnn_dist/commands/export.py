"""`rcnn-dist runs export`: what a run found, in other programs' forms."""

from enum import StrEnum
from typing import Annotated

import typer


class Form(StrEnum):
    COCO = "coco"


def export(
    run: Annotated[str, typer.Argument(help="The run's directory.")],
    form: Annotated[Form, typer.Option("--format", help="coco: detections and objects of the test images as COCO JSON.")],
    out: Annotated[str | None, typer.Option(help="Where the files go; export/FORMAT in the run's directory if not given.")] = None,
) -> None:
    """Write a run's results in another form.

    Example: rcnn-dist runs export runs/fruit --format coco
    """
    from rcnn_dist.stages.export_coco import export_coco
    from rcnn_dist.stages.record import read_config
    from rcnn_dist.stages.run import Run
    from rcnn_dist.store import files

    for url in export_coco(Run(read_config(run)), out or files.join(run, "export", form)):
        print(url)
