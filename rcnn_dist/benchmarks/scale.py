"""ILSVRC2013's detection set on fleets of any size, simulated: the real dispatcher, measured or assumed seconds per image.

Proposals come first, on every core; then one worker per GPU extracts, while the cores of its share decode and write.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rcnn_dist.runtime.events import read_events
from rcnn_dist.runtime.simulate import Fleet, recorded, simulate
from rcnn_dist.stages.estimate import SIZES, TRAIN_OBJECTS

SHARD_IMAGES = 16
REGION_BYTES = 4096 * 2  # fc7 in float16
GPUS_PER_NODE, CORES_PER_NODE = 8, 64
PROPOSED_IMAGES = SIZES["val"] + SIZES["test"]  # the images of train are known by their ground truth alone
TRAIN_IMAGES = SIZES["train"]
REPLACE_S = 300.0
JITTER = 0.3  # of a shard's seconds, as the standard deviation of their logarithm
DRIVER_S = 0.001


@dataclass(frozen=True, slots=True)
class Rates:
    """What one core, one GPU and one writer do."""

    proposals_per_s: float  # images, of a core
    decoded_per_s: float  # images, of a core
    regions_per_s: float  # of a GPU
    write_mb_s: float  # of a core
    regions: int = 2000  # of an image


@dataclass(frozen=True, slots=True)
class Trouble:
    node_life_h: float = math.inf
    slow_share: float = 0.0
    slowdown: float = 1.0


def run(
    rates: Rates,
    gpus: Sequence[int],
    cores_per_gpu: Sequence[int],
    trouble: Trouble,
    prices: tuple[float, float],
    run_dir: str | None,
    plot: str | None,
) -> dict[str, Any]:
    """Every number of GPUs with every number of cores per GPU.

    Args:
        prices: of an hour of a GPU and of a core.
        run_dir: a run on Ray, whose stages are played again from their recorded seconds.
        plot: where the drawing goes.
    """
    points = [_point(rates, count, count * share, trouble, prices) for count in gpus for share in cores_per_gpu]
    figures = {
        "rates": dataclasses.asdict(rates),
        "trouble": {key: value for key, value in dataclasses.asdict(trouble).items() if math.isfinite(value)},
        "assumed": {"driver_s": DRIVER_S, "jitter": JITTER, "replace_s": REPLACE_S, "shard_images": SHARD_IMAGES},
        "prices": {"gpu_hour": prices[0], "core_hour": prices[1]},
        "points": points,
        "cores_per_gpu": {
            "to_keep_a_gpu_busy": round(_cpu_seconds(rates) * rates.regions_per_s / rates.regions, 2),
            "to_propose_as_fast_as_a_gpu_extracts": round(rates.regions_per_s / rates.regions / rates.proposals_per_s, 2),
        },
        "replayed": _replay(run_dir) if run_dir else {},
    }
    if plot:
        _draw(figures, plot)
    return figures


def lines(figures: dict[str, Any]) -> list[str]:
    """The figures as text."""
    need = figures["cores_per_gpu"]
    head = [
        f"cores per GPU: {need['to_keep_a_gpu_busy']} keep it busy on images with proposals, "
        f"{need['to_propose_as_fast_as_a_gpu_extracts']} propose as fast as it extracts",
        f"{'GPUs':>5} {'cores':>6} {'propose min':>12} {'extract min':>12} {'GPU busy':>9} {'efficiency':>11} {'cost':>8}",
    ]
    rows = [
        f"{p['gpus']:>5} {p['cores']:>6} {p['propose_s'] / 60:>12.1f} {p['extract_s'] / 60:>12.1f} {p['gpu_busy']:>9.2f} "
        f"{p['efficiency']:>11.2f} {p['cost']:>8.0f}"
        for p in figures["points"]
    ]
    replays = [
        f"{stage}, {r['tasks']} tasks on {r['workers']} workers: recorded {r['recorded_s']:.1f} s, simulated {r['simulated_s']:.1f} s"
        for stage, r in figures["replayed"].items()
    ]
    return [*head, *rows, *replays]


def _cpu_seconds(rates: Rates) -> float:
    """Of one core, per image that is extracted."""
    return 1 / rates.decoded_per_s + rates.regions * REGION_BYTES / 1e6 / rates.write_mb_s


def _point(rates: Rates, gpus: int, cores: int, trouble: Trouble, prices: tuple[float, float]) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    forward_s = rates.regions / rates.regions_per_s
    ideal_image_s = max(forward_s, _cpu_seconds(rates) * gpus / cores)
    train_regions = TRAIN_OBJECTS / TRAIN_IMAGES
    train_image_s = max(train_regions / rates.regions_per_s, gpus / cores / rates.decoded_per_s)
    propose = _shards(PROPOSED_IMAGES, 1 / rates.proposals_per_s, rng)
    extract = _shards(PROPOSED_IMAGES, ideal_image_s, rng) + _shards(TRAIN_IMAGES, train_image_s, rng)
    proposing = simulate(propose, _fleet(cores, CORES_PER_NODE, trouble), items=SHARD_IMAGES)
    extracting = simulate(extract, _fleet(gpus, GPUS_PER_NODE, trouble), seed=1, items=SHARD_IMAGES)
    total = proposing.makespan_s + extracting.makespan_s
    forwards = PROPOSED_IMAGES * forward_s + TRAIN_OBJECTS / rates.regions_per_s
    return {
        "gpus": gpus,
        "cores": cores,
        "propose_s": round(proposing.makespan_s, 1),
        "extract_s": round(extracting.makespan_s, 1),
        "gpu_busy": round(forwards / (gpus * extracting.makespan_s), 4),  # while extracting
        "efficiency": round((sum(propose) / cores + sum(extract) / gpus) / total, 4),
        "lost_s": round(proposing.lost_s + extracting.lost_s, 1),
        "node_losses": proposing.node_losses + extracting.node_losses,
        "cost": round(total / 3600 * (gpus * prices[0] + cores * prices[1]), 2),
    }


def _shards(images: int, image_s: float, rng: np.random.Generator) -> list[float]:
    count = math.ceil(images / SHARD_IMAGES)
    drawn = np.exp(rng.normal(0, JITTER, count))
    return (drawn / drawn.mean() * image_s * images / count).tolist()


def _fleet(workers: int, per_node: int, trouble: Trouble) -> Fleet:
    life_s = trouble.node_life_h * 3600
    return Fleet(workers, per_node, 0.0, life_s, REPLACE_S, trouble.slow_share, trouble.slowdown, DRIVER_S)


def _replay(run_dir: str) -> dict[str, Any]:
    events = read_events(run_dir)
    replayed = {}
    for stage in ("propose", "extract"):
        found = recorded(events, stage)
        outcome = simulate(found.seconds, Fleet(found.workers, start_s=found.start_s))
        replayed[stage] = {
            "tasks": len(found.seconds),
            "workers": found.workers,
            "recorded_s": round(found.makespan_s, 2),
            "simulated_s": round(outcome.makespan_s, 2),
        }
    return replayed


def _draw(figures: dict[str, Any], path: str) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.6), layout="constrained")
    busy, efficiency, cost = figure.subplots(1, 3)
    points = figures["points"]
    for gpus in sorted({p["gpus"] for p in points}):
        own = [p for p in points if p["gpus"] == gpus]
        shares = [p["cores"] / gpus for p in own]
        busy.plot(shares, [p["gpu_busy"] for p in own], marker="o", markersize=3, label=f"{gpus} GPUs")
        efficiency.plot(shares, [p["efficiency"] for p in own], marker="o", markersize=3, label=f"{gpus} GPUs")
        hours = [(p["propose_s"] + p["extract_s"]) / 3600 for p in own]
        cost.plot(hours, [p["cost"] for p in own], marker="o", markersize=3, label=f"{gpus} GPUs")
    busy.axvline(figures["cores_per_gpu"]["to_keep_a_gpu_busy"], color="grey", linestyle=":", linewidth=1)
    for axes, x, y in (
        (busy, "cores per GPU", "share of time that GPUs compute"),
        (efficiency, "cores per GPU", "efficiency of the schedule"),
        (cost, "hours for ILSVRC2013", "cost at the stated prices"),
    ):
        axes.set(xlabel=x, ylabel=y, xscale="log", ylim=(0, None))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.grid(alpha=0.3)
    cost.legend(fontsize=7)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
