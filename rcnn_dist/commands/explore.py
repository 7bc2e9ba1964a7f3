"""`rcnn-dist explore`: what the stored features know."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rcnn_dist.commands.duplicates import duplicates
from rcnn_dist.commands.units import units
from rcnn_dist.errors import ConfigError, RcnnError

if TYPE_CHECKING:
    from rcnn_dist.stages.similar import SimilarRegion, SimilarRegions, Wanted

explore = typer.Typer(no_args_is_help=True, help="Look into the stored features.")

explore.command()(units)
explore.command()(duplicates)


@explore.callback()
def _root() -> None:
    pass


@explore.command()
def similar(
    run: Annotated[str, typer.Option(help="The directory of a run with features.")],
    image: Annotated[str, typer.Option(help="An image file, or an image id of the run's data.")],
    box: Annotated[str, typer.Option(help="x1,y1,x2,y2 in pixels from the upper left corner.")],
    k: Annotated[int, typer.Option(min=1, help="How many regions.")] = 20,
    per_image: Annotated[int | None, typer.Option(min=1, help="At most so many regions of one image.")] = None,
    layer: Annotated[str | None, typer.Option(help="A stored layer; if not given, the one that classes are trained on.")] = None,
    faiss: Annotated[bool, typer.Option("--faiss", help="Scan with FAISS (extra: faiss); the result is the same.")] = False,
    out: Annotated[str, typer.Option(help="The folder for similar.json and index.html.")] = "similar",
) -> None:
    """The regions of the whole store most like a box, by the cosine of their features.

    Example: rcnn-dist explore similar --run runs/fruit --image photo.jpg --box 40,30,210,190 --per-image 1
    """
    from rcnn_dist.stages.similar import SimilarRegions, Wanted, similar_json
    from rcnn_dist.store import files

    store = SimilarRegions(run)
    wanted = Wanted(image, _parse_box(box), k, per_image, layer, faiss)
    pixels = store.read_image(image)
    found = store.find(wanted, pixels)
    content = json.dumps(similar_json(wanted, store.layer(wanted.layer), found), indent=1) + "\n"
    files.write_bytes(files.join(out, "similar.json"), content.encode())
    files.write_bytes(files.join(out, "index.html"), _page(store, wanted, pixels, found).encode())
    for region in found:
        print(_line(region))
    print(f"{files.join(out, 'index.html')} shows them, {files.join(out, 'similar.json')} lists them")


def _parse_box(text: str) -> tuple[float, ...]:
    try:
        edges = tuple(float(edge) for edge in text.split(","))
    except ValueError:
        edges = ()
    if len(edges) != 4:
        raise ConfigError(f"--box {text!r}: expected x1,y1,x2,y2, for example --box 40,30,210,190")
    return edges


def _line(region: "SimilarRegion") -> str:
    edges = ",".join(f"{edge:.1f}" for edge in region.box)
    return f"{region.cosine:.4f} {region.split} {region.image_id} {edges} {_label(region)}".rstrip()


def _label(region: "SimilarRegion") -> str:
    """Which object it overlaps, if any."""
    return f"{region.gt_class} ({region.gt_iou:.2f})" if region.gt_class else ""


def _page(store: "SimilarRegions", wanted: "Wanted", pixels: Any, found: "list[SimilarRegion]") -> str:
    import numpy as np

    from rcnn_dist.report.similar_page import Hit, SimilarPage, draw_region, render_similar

    pictures: dict[int, bytes] = {}
    for image_id in {region.image_id for region in found}:  # one photograph in memory at a time
        try:
            image = store.read_stored(image_id)
        except RcnnError:
            continue
        pictures |= {i: draw_region(image, np.array(region.box)) for i, region in enumerate(found) if region.image_id == image_id}
    hits = tuple(Hit(pictures.get(i), region.cosine, _label(region), f"{region.split} {region.image_id}") for i, region in enumerate(found))
    layer, run = store.layer(wanted.layer), store.config.run.dir
    note = f"The {len(hits)} regions of {run} with the highest cosine of {layer}; in brackets the overlap with the object."
    return render_similar(SimilarPage(wanted.image.split("/")[-1], note, draw_region(pixels, np.array(wanted.box)), hits))
