"""`rcnn-dist explore units`: what the units of a layer respond to."""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rcnn_dist.errors import ConfigError, RcnnError

if TYPE_CHECKING:
    from rcnn_dist.features.receptive_field import LayerMap
    from rcnn_dist.report.units_page import UnitRegion
    from rcnn_dist.stages.stored import StoredFeatures
    from rcnn_dist.stages.units import UnitsFound


def units(
    run: Annotated[str, typer.Option(help="The directory of a run with features.")],
    layer: Annotated[str | None, typer.Option(help="A stored layer; if not given, the one that classes are trained on.")] = None,
    unit: Annotated[list[str] | None, typer.Option(help="To draw: a number from 0, or row,column,channel, each from 1.")] = None,
    k: Annotated[int, typer.Option(min=1, help="Regions of each unit.")] = 16,
    limit: Annotated[int, typer.Option(min=1, help="Units to draw where none is named.")] = 100,
    out: Annotated[str, typer.Option(help="The folder for units.parquet and index.html.")] = "units",
) -> None:
    """The regions that activate each unit of a layer most, over the whole store, in one pass for all units.

    units.parquet has all units. The page shows those that are named, else the first ones; of maps, those of the middle cell.

    Example: rcnn-dist explore units --run runs/fruit --layer pool5 --unit 3,3,12 --unit 3,3,20
    """
    from rcnn_dist.driver import make_executor
    from rcnn_dist.features.networks import build_network
    from rcnn_dist.features.receptive_field import layer_map
    from rcnn_dist.runtime.events import Observed
    from rcnn_dist.runtime.progress import make_progress
    from rcnn_dist.stages.stored import StoredFeatures
    from rcnn_dist.stages.units import UnitsPass, find_top_regions, write_top_regions
    from rcnn_dist.store import files

    store = StoredFeatures(run)
    name = store.layer(layer)
    network = build_network(store.config.network)
    maps = layer_map(network, name)
    chosen = _chosen(unit, maps, network.layer_sizes[name], limit)
    progress = Observed(make_progress(sys.stdout), no_log)
    with make_executor(store.config, progress) as executor:
        found = find_top_regions(store.folders, UnitsPass(name, k), executor, progress)
    table, page = files.join(out, "units.parquet"), files.join(out, "index.html")
    write_top_regions(table, found)
    files.write_bytes(page, _page(store, name, found, chosen, maps, network.input_size).encode())
    print(f"{found.regions:,} regions of {len(found.images):,} images")
    print(f"{table} has all {len(found.top.bits)} units, {page} shows {len(chosen)} of them")


def no_log(event: str, /, **fields: Any) -> None:
    pass


def _chosen(wanted: list[str] | None, maps: "LayerMap | None", size: int, limit: int) -> list[int]:
    """Numbers of the units to draw.

    Raises:
        ConfigError: there is no such unit.
    """
    if wanted:
        return [_unit(text, maps, size) for text in wanted]
    middle = (maps.side - 1) // 2 if maps else 0
    return [maps.unit(middle, middle, channel) for channel in range(min(limit, maps.channels))] if maps else list(range(min(limit, size)))


def _unit(text: str, maps: "LayerMap | None", size: int) -> int:
    try:
        numbers = [int(number) for number in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) == 1 and 0 <= numbers[0] < size:
        return numbers[0]
    bounds = (maps.side, maps.side, maps.channels) if maps else ()
    if len(numbers) == 3 and maps and all(1 <= number <= bound for number, bound in zip(numbers, bounds, strict=True)):
        return maps.unit(*(number - 1 for number in numbers))
    maps_text = f", or row,column,channel up to {maps.side},{maps.side},{maps.channels}" if maps else ""
    raise ConfigError(f"--unit {text}: give a number from 0 to {size - 1}{maps_text}")


def _page(store: "StoredFeatures", layer: str, found: "UnitsFound", chosen: list[int], maps: "LayerMap | None", side: int) -> str:
    from rcnn_dist.report.units_page import UnitRow, UnitsPage, render_units
    from rcnn_dist.stages.units import unit_maxima

    cells = maps.side**2 if maps else 1
    maxima = unit_maxima(found.top, cells)
    regions = _regions(store, found, chosen, maps, maxima, side)
    rows = tuple(UnitRow(unit, _name(unit, maps), float(found.top.activations[unit, 0]), regions[unit]) for unit in chosen)
    whole = "the highest of its channel" if maps else "its highest"
    box = " The box is the unit's receptive field." if maps else ""
    note = (
        f"Of {found.regions:,} regions of {len(found.images):,} images, those that activate each unit most, as the network saw them, "
        f"after non-maximum suppression in each image. The number is the activation as a share of {whole}.{box}"
    )
    return render_units(UnitsPage(f"Units of {layer}, {store.config.run.dir.split('/')[-1]}", note, rows))


def _name(unit: int, maps: "LayerMap | None") -> str:
    if maps is None:
        return ""
    row, column, channel = maps.place(unit)
    return f"channel {channel + 1}, row {row + 1}, column {column + 1}"


def _regions(
    store: "StoredFeatures", found: "UnitsFound", chosen: list[int], maps: "LayerMap | None", maxima: Any, side: int
) -> "dict[int, tuple[UnitRegion, ...]]":
    """The drawn regions of each unit; one photograph in memory at a time."""
    import numpy as np

    from rcnn_dist.report.units_page import UnitRegion, draw_unit_region
    from rcnn_dist.stages.units import show_regions

    top, drawn = found.top, {}
    wanted = [(int(top.images[unit, rank]), unit, int(rank)) for unit in chosen for rank in np.flatnonzero(top.bits[unit])]
    for image in sorted({number for number, _, _ in wanted}):
        split, image_id = found.images[image]
        own = [(unit, rank) for number, unit, rank in wanted if number == image]
        try:
            pictures: Any = show_regions(store, image_id, np.array([top.boxes[place] for place in own], np.float64), side)
        except RcnnError:
            pictures = [None] * len(own)
        for (unit, rank), pixels in zip(own, pictures, strict=True):
            share = float(top.activations[unit, rank] / maxima[unit])
            picture = None if pixels is None else draw_unit_region(pixels, maps.field(unit) if maps else None, share)
            drawn[unit, rank] = UnitRegion(picture, share, f"{split} {image_id}")
    return {unit: tuple(drawn[unit, int(rank)] for rank in np.flatnonzero(top.bits[unit])) for unit in chosen}
