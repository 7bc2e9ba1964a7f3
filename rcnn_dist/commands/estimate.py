"""`rcnn-dist estimate`: what a run will cost, before it starts."""

import json
from dataclasses import asdict, replace
from typing import Annotated, Any

import typer


def estimate(
    config: Annotated[str, typer.Argument(help="A YAML file; those that come with the package are found by their name.")],
    gpus: Annotated[int, typer.Option(min=0, help="GPUs of the cluster.")] = 0,
    cpus: Annotated[int, typer.Option(min=1, help="Its CPU cores.")] = 2,
    nodes: Annotated[int, typer.Option(min=1, help="Machines that these are spread over.")] = 1,
    proposals: Annotated[int | None, typer.Option(min=1, help="Of an image; 2403 if not given, as the paper counts on ILSVRC2013.")] = None,
    regions_per_s: Annotated[float | None, typer.Option(min=0.001, help="Of a GPU or core; measured here if not given.")] = None,
    images_per_s: Annotated[float | None, typer.Option(min=0.001, help="That a core searches; measured here if not given.")] = None,
    overrides: Annotated[list[str] | None, typer.Option("--set", help="Change a value: section.key=value.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Tell images, regions, bytes, hours and memory of a run from rates measured on this machine, or given.

    Where data.root is set, images and objects are counted there; without it the published sizes of ILSVRC2013 are taken.

    Example: rcnn-dist estimate configs/ilsvrc2013.yaml --gpus 8 --cpus 128 --regions-per-s 3000
    """
    from rcnn_dist.config import load_config
    from rcnn_dist.data.ilsvrc_lists import N_CLASSES
    from rcnn_dist.driver import find_config
    from rcnn_dist.features.extract import choose_device
    from rcnn_dist.runtime.threads import set_threads
    from rcnn_dist.stages import estimate as stage
    from rcnn_dist.stages.run import Run

    run = Run(load_config(find_config(config), overrides or []))
    trained = "train" in run.config.run.stages
    n_classes = N_CLASSES if run.config.data.root is None else len(run.classes) if trained else 0
    per_image = proposals or stage.PROPOSALS
    choose_device()  # loads torch, whose threads are then limited
    set_threads(run.config.runtime.threads_per_worker)
    rates, layers = stage.measure_rates(run.config, n_classes, stage.sample_images(run), per_image)
    if regions_per_s:
        rates = replace(rates, region_s=1 / regions_per_s)
    if images_per_s:
        rates = replace(rates, propose_s=1 / images_per_s)
    found = stage.estimate(run, stage.Fleet(gpus, cpus, nodes), rates, layers, n_classes, per_image) | {"rates": asdict(rates)}
    print(json.dumps(found, indent=1) if as_json else "\n".join(_lines(found)))


def _lines(found: dict[str, Any]) -> list[str]:
    assumed = found["assumed"]
    fleet = f"{assumed['gpus']} GPUs, {assumed['cpus']} cores, nodes: {assumed['nodes']}"
    out = [f"{fleet}, {assumed['classes']} classes, {assumed['proposals_per_image']} proposals per image"]
    for split, c in found["splits"].items():
        how = "counted" if c["exact"] else "published sizes"
        images = f"{split}: {c['images']} images ({c['searched']} searched), {c['objects']} objects"
        out.append(f"{images}, {found['regions'][split]} regions; {how}")
    rows, stored = found["row_bytes"], found["file_bytes"]
    tables = {"proposals": (rows["proposals"], stored["proposals"])}
    tables |= {f"features of {split}": (value, stored["features"][split]) for split, value in rows["features"].items()}
    out += [f"{name}: {before / 1e9:.3f} GB, {after / 1e9:.3f} GB in compressed files" for name, (before, after) in tables.items()]
    out += [f"{name:>9}: {hours:.3f} h" for name, hours in found["hours"].items()]
    out += [f"memory of {what}: {value:.0f} MB at most" for what, value in found["peak_memory_mb"].items()]
    return out
