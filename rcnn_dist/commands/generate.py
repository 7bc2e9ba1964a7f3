"""`rcnn-dist data generate` and `rcnn-dist data split`: sets that are made, and halves of a set that is there."""

from dataclasses import replace
from typing import Annotated

import typer

_ILSVRC = "ilsvrc2013"
_SET_HELP = "Change a value of the configuration: section.key=value. May be given several times."


def generate(
    dir: Annotated[str, typer.Argument(help=f"Where the images go, in VOC's layout; or the word {_ILSVRC} for that layout.")],
    train: Annotated[int, typer.Option(min=1, help="Training images (VOC).")] = 60,
    test: Annotated[int, typer.Option(min=1, help="Test images.")] = 30,
    seed: Annotated[int, typer.Option(help="Another seed, other images.")] = 3,
    others: Annotated[
        bool, typer.Option("--others", help="Objects of the 30 classes that such a set (VOC) does not have otherwise.")
    ] = False,
    out: Annotated[str, typer.Option(help=f"Where the images of {_ILSVRC} go.")] = "data/ilsvrc2013_shapes",
    classes: Annotated[int, typer.Option(help=f"Classes of {_ILSVRC}, 200 at most.")] = 200,
    val: Annotated[int, typer.Option(min=1, help=f"Validation images of {_ILSVRC}.")] = 400,
    positive: Annotated[int, typer.Option(min=1, help=f"Training images of each class of {_ILSVRC}.")] = 3,
) -> None:
    """Generate textured shapes on clutter, in the layout of VOC or of ILSVRC2013.

    Example: rcnn-dist data generate data/shapes --train 200 --test 100
    Example: rcnn-dist data generate ilsvrc2013 --classes 200 --val 400 --out data/ilsvrc2013_shapes
    """
    from rcnn_dist.data.shapes import OTHER_CLASSES, ShapesParams, generate_shapes
    from rcnn_dist.data.shapes_ilsvrc import IlsvrcShapesParams, generate_ilsvrc

    if dir == _ILSVRC:
        generate_ilsvrc(out, IlsvrcShapesParams(classes=classes, val=val, test=test, positive=positive, seed=seed))
    else:
        params = ShapesParams(images={"train": train, "test": test}, seed=seed)
        generate_shapes(dir, replace(params, classes=OTHER_CLASSES) if others else params)


def split(
    config: Annotated[str, typer.Argument(help="A YAML file whose data.layout is ilsvrc2013.")],
    out: Annotated[str, typer.Option(help="Where val1.txt and val2.txt go; data.lists then names this folder.")],
    overrides: Annotated[list[str] | None, typer.Option("--set", help=_SET_HELP)] = None,
) -> None:
    """Halve ILSVRC2013's validation images so that the classes are balanced (paper §4.2), seeded by data.seed.

    Example: rcnn-dist data split configs/ilsvrc2013.yaml --set data.root=/data/ilsvrc2013 --out lists
    """
    import numpy as np

    from rcnn_dist.config import load_config
    from rcnn_dist.data.ilsvrc import IlsvrcDataset
    from rcnn_dist.data.ilsvrc_split import imbalance
    from rcnn_dist.driver import find_config
    from rcnn_dist.errors import ConfigError
    from rcnn_dist.stages.run import Run

    dataset = Run(load_config(find_config(config), overrides or [])).dataset
    if not isinstance(dataset, IlsvrcDataset):
        raise ConfigError(f"{config}: data.layout must be {_ILSVRC}; other layouts bring their own image sets")
    first = dataset.make_halves(out)
    dataset.save()
    _, counts = dataset.class_counts()
    uneven = imbalance(counts, first)[counts.any(axis=0)]
    print(f"val1 {first.sum()} images, val2 {(~first).sum()}, written to {out}")
    print(f"imbalance of the classes: largest {uneven.max():.3f}, median {np.median(uneven):.3f}")
