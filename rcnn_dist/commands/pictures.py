"""`rcnn-dist runs draw | screenshot`: pictures of what a run found."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from rcnn_dist.errors import ConfigError

_SIDE = 900
_RUN_HELP = "The run's directory."


def draw(
    run: Annotated[str, typer.Argument(help=_RUN_HELP)],
    image: Annotated[list[str] | None, typer.Option(help="An image id of the test set; may be given several times.")] = None,
    precision: Annotated[float, typer.Option(min=0, max=1, help="Draw what is at least this precise on the test images.")] = 0.5,
    count: Annotated[int, typer.Option("--count", min=1, help="Images drawn by chance where none is named.")] = 24,
    seed: Annotated[int, typer.Option(help="Another seed, other images.")] = 0,
    out: Annotated[str, typer.Option(help="The folder for the pictures.")] = "pictures",
) -> None:
    """Draw the detections of test images above a precision, right ones green, wrong ones red, with the annotated objects.

    Example: rcnn-dist runs draw runs/fruit --precision 0.5 --count 24
    """
    from rcnn_dist.runtime.progress import make_progress
    from rcnn_dist.stages.evaluate import evaluate
    from rcnn_dist.stages.examples import choose_images, draw_image, image_boxes, image_objects, image_pixels
    from rcnn_dist.stages.judged import judge_detections
    from rcnn_dist.stages.record import read_config
    from rcnn_dist.stages.run import Run
    from rcnn_dist.store import files

    opened = Run(read_config(run))
    found = evaluate(opened)
    if not found.results:
        raise ConfigError(f"the test images of {run} have no annotations, so no precision is known: rcnn-dist detect draws by score")
    if unknown := sorted(set(image or ()) - set(found.image_ids)):
        raise ConfigError(f"--image {unknown[0]}: the test set of {run} has no such image")
    judged = judge_detections(opened, found)
    numbers = [found.image_ids.index(name) for name in image] if image else choose_images(found, seed)[:count]
    progress = make_progress(sys.stdout)
    progress.start("draw", len(numbers))
    for number in numbers:
        pixels = image_pixels(opened, found, number)
        if pixels is not None:
            picture = draw_image(pixels, image_boxes(found, judged, number, precision), image_objects(found, number), _SIDE)
            files.write_bytes(files.join(out, f"{found.image_ids[number]}.jpg"), picture)
        progress.advance(1)
    progress.finish()
    print(f"{out} holds the pictures")


def screenshot(
    run: Annotated[str, typer.Argument(help=_RUN_HELP)],
    out: Annotated[Path, typer.Option(help="The PNG to write.")] = Path("report.png"),
    dark: Annotated[bool, typer.Option("--dark", help="As on a dark screen.")] = False,
    width: Annotated[int, typer.Option(min=320, max=4000, help="Of the window, pixels.")] = 1400,
) -> None:
    """Take a picture of a run's report in a headless Chromium, which must be installed.

    Example: rcnn-dist runs screenshot runs/fruit --out fruit.png --dark
    """
    import tempfile

    from rcnn_dist.report.browser import take_screenshot
    from rcnn_dist.store import files

    try:
        page = files.read_bytes(files.join(run, "report", "index.html"))
    except FileNotFoundError as error:
        raise ConfigError(f"{run} has no report: run its stage report") from error
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "index.html"
        path.write_bytes(page)
        out.write_bytes(take_screenshot(path, width, dark))
    print(out)
