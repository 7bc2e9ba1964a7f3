"""`rcnn-dist data crops`: objects as images to pre-train on."""

from typing import Annotated

import typer


def crops(
    root: Annotated[str, typer.Argument(help="A data set in VOC2007 layout: the folder that holds VOC2007/.")],
    out: Annotated[str, typer.Argument(help="Where the crops go, in a folder per image set and class.")],
    image_sets: Annotated[str, typer.Option("--sets", help="Image sets, comma separated.")] = "train,val",
) -> None:
    """Cut the annotated objects out of their images, as jobs/pretrain.py takes them.

    Example: rcnn-dist data crops data/other_shapes data/crops
    """
    from rcnn_dist.data.object_crops import write_object_crops
    from rcnn_dist.data.voc import VocDataset

    for name, count in write_object_crops(VocDataset(root, "VOC2007"), image_sets.split(","), out).items():
        print(f"{count} crops in {out}/{name}")
