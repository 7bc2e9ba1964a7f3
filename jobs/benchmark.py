"""Benchmarks, one subject each; every one prints a table and writes its figures with --json.

python jobs/benchmark.py proposals --voc data/VOCdevkit --split test --limit 100 --json proposals.json
"""

import importlib
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from rcnn_dist.cli import guarded

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None, help=__doc__)

Json = Annotated[Path | None, typer.Option("--json", help="Where the figures go, as JSON.")]


def _report(subject: str, json_path: Path | None, **arguments: Any) -> None:
    """Runs `rcnn_dist.benchmarks.<subject>.run`, prints what its `lines` makes of the figures, and writes them."""
    module = importlib.import_module(f"rcnn_dist.benchmarks.{subject}")
    figures = module.run(**arguments)
    print("\n".join(module.lines(figures)))
    if json_path:
        json_path.parent.mkdir(parents=True, exist_ok=True)
        json_path.write_text(json.dumps(figures, indent=1) + "\n")


@app.callback()
def _root() -> None:
    pass


@app.command()
def proposals(
    voc: Annotated[list[str], typer.Option(help="A folder that holds VOC2007/; may be given several times, sets are then pooled.")],
    split: Annotated[str, typer.Option(help="Image set of each.")] = "test",
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first images of each set.")] = None,
    preset: Annotated[str, typer.Option(help="Of our selective search.")] = "swift",
    json_path: Json = None,
) -> None:
    """Our selective search against OpenCV's fast mode, image by image on one core: time, recall, overlap.

    Example: python jobs/benchmark.py proposals --voc data/VOCdevkit --split test --limit 100 --json proposals.json
    """
    _report("proposals", json_path, roots=voc, split=split, limit=limit, preset=preset)


@app.command("proposal-workers")
def proposal_workers(json_path: Json = None) -> None:
    """Memory of a worker of our selective search, and how two processes on two cores compare with one.

    Example: python jobs/benchmark.py proposal-workers --json workers.json
    """
    _report("proposal_workers", json_path)


@app.command()
def svm(
    rows: Annotated[list[int] | None, typer.Option(min=20, help="Rows of a generated cache; may be given several times.")] = None,
    size: Annotated[int, typer.Option(min=1, help="Features of each row.")] = 4096,
    repeats: Annotated[int, typer.Option(min=1, help="Fits of each solver, by turns.")] = 7,
    run: Annotated[str | None, typer.Option(help="A trained run, whose hard negatives are tried too.")] = None,
    json_path: Json = None,
) -> None:
    """Our SVM solver against liblinear at equal objective: seconds, and how far above the minimum each ends.

    Example: python jobs/benchmark.py svm --rows 6000 --rows 21000 --json svm.json
    """
    _report("svm", json_path, rows=rows or [6000, 21000], size=size, repeats=repeats, run_dir=run)


@app.command()
def svr(
    rows: Annotated[int, typer.Option(min=100, help="Regions that both solvers learn from.")] = 10_000,
    alone: Annotated[int, typer.Option(min=100, help="Regions that ours learns from alone.")] = 50_000,
    size: Annotated[int, typer.Option(min=1, help="Features of each region.")] = 8192,
    classes: Annotated[int, typer.Option(min=1, help="Regressors.")] = 20,
    cost: Annotated[float, typer.Option(help="Of an error, for features whose mean norm is 1.")] = 3.0,
    json_path: Json = None,
) -> None:
    """Our support vector regressors against liblinear's at equal objective: seconds on one thread.

    Example: python jobs/benchmark.py svr --json svr.json
    """
    _report("svr", json_path, rows=rows, alone=alone, size=size, classes=classes, cost=cost)


@app.command()
def segmentation(
    seeds: Annotated[int, typer.Option(min=1, help="Generated sets, each from a seed of its own.")] = 3,
    train: Annotated[int, typer.Option(min=6, help="Training images of each.")] = 120,
    test: Annotated[int, typer.Option(min=1, help="Test images of each.")] = 60,
    config: Annotated[str, typer.Option(help="The run's configuration.")] = "configs/seg_shapes.yaml",
    overrides: Annotated[list[str] | None, typer.Option("--set", help="Change a value of the configuration.")] = None,
    json_path: Json = None,
) -> None:
    """Segmentation accuracy on generated sets: full, fg and full+fg beside colour histograms, chance and nothing but background.

    Example: python jobs/benchmark.py segmentation --seeds 3 --json segmentation.json
    """
    _report("segmentation", json_path, seeds=seeds, images={"train": train, "test": test}, config=config, overrides=overrides or [])


@app.command()
def networks(
    batch_size: Annotated[int | None, typer.Option(min=1, help="Regions of a forward; 16, on a GPU 256, if not given.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Of each network: one forward, on a GPU ten.")] = 10,
    threads: Annotated[int | None, typer.Option(min=1, help="Of torch; its own choice, if not given.")] = None,
    compiled: Annotated[bool, typer.Option("--compiled", help="Also through torch.compile, as on a GPU in any case.")] = False,
    json_path: Json = None,
) -> None:
    """T-Net and O-Net against torchvision's models of the same cost and against their bare products: regions per second, by arithmetic.

    Example: python jobs/benchmark.py networks --threads 2 --json networks.json
    """
    _report("networks", json_path, batch_size=batch_size, rounds=rounds, threads=threads, compiled=compiled)


@app.command()
def extract(
    network: Annotated[str, typer.Option(help="Random weights.")] = "tnet",
    images: Annotated[int, typer.Option(min=1, help="Of the shard that is extracted in every round.")] = 4,
    regions: Annotated[int, typer.Option(min=1, help="Of each image.")] = 256,
    rounds: Annotated[int, typer.Option(min=1, help="Of the pipeline, a bare forward before and after each.")] = 7,
    threads: Annotated[int, typer.Option(min=1, help="Of the forward.")] = 1,
    batch_size: Annotated[int, typer.Option(min=1, help="Regions of a forward; a GPU wants 256.")] = 16,
    precision: Annotated[str, typer.Option(help="float32 or bfloat16.")] = "float32",
    json_path: Json = None,
) -> None:
    """The extraction pipeline against the bare forward of the same crops: rates, phases, waiting; the writer's rate per core.

    Example: python jobs/benchmark.py extract --json extract.json
    """
    arguments = {"images": images, "regions": regions, "rounds": rounds, "threads": threads}
    _report("extract", json_path, network=network, **arguments, batch_size=batch_size, precision=precision)


@app.command()
def query(
    gigabytes: Annotated[float, typer.Option(min=0.01, help="Features that pass, decoded.")] = 20.0,
    shards: Annotated[int, typer.Option(min=1, help="Of the generated table that is read again and again, 131 MB each.")] = 4,
    json_path: Json = None,
) -> None:
    """Streaming queries over a features table: rate and memory.

    Example: python jobs/benchmark.py query --json query.json
    """
    _report("query", json_path, gigabytes=gigabytes, shards=shards)


@app.command()
def units(
    rows: Annotated[int, typer.Option(min=1, help="Generated regions, 18 KB each.")] = 200_000,
    k: Annotated[int, typer.Option(min=1, help="Regions of each unit.")] = 16,
    json_path: Json = None,
) -> None:
    """The regions that activate each of 9216 units most, in one pass: rate and memory.

    Example: python jobs/benchmark.py units --json units.json
    """
    _report("units", json_path, rows=rows, k=k)


@app.command()
def gist(
    images: Annotated[str | None, typer.Option(help="A folder of photographs, into which duplicates are planted.")] = None,
    json_path: Json = None,
) -> None:
    """GIST descriptors and the search for duplicates: images per second of one core, time for 1.2 million x 10,000, planted ones found.

    Example: python jobs/benchmark.py gist --images data/fruit/VOC2007/JPEGImages --json gist.json
    """
    _report("gist", json_path, images=images)


@app.command()
def report(classes: Annotated[int, typer.Option(min=1, help="Of the generated result set.")] = 200, json_path: Json = None) -> None:
    """The report's page with very many classes: size, and the time to open and to filter it in a headless Chromium.

    Example: python jobs/benchmark.py report --classes 200 --json report.json
    """
    _report("report", json_path, classes=classes)


@app.command()
def plan(images: Annotated[int, typer.Option(min=1, help="How many.")] = 400_000, json_path: Json = None) -> None:
    """Plan very many images: time and memory of the driver.

    Example: python jobs/benchmark.py plan --images 400000 --json plan.json
    """
    _report("plan", json_path, images=images)


@app.command()
def chaos(
    kills: Annotated[int, typer.Option(min=1, help="Runs per stage, each of which loses one process.")] = 20,
    stages: Annotated[list[str] | None, typer.Option(help="Only these: propose, finetune, extract, train, detect.")] = None,
    json_path: Json = None,
) -> None:
    """SIGKILL workers, actors and drivers at counted events; what was lost, doubled, computed again.

    Example: python jobs/benchmark.py chaos --kills 20 --json chaos.json
    """
    _report("chaos", json_path, kills=kills, stages=stages or ("propose", "finetune", "extract", "train", "detect"))


@app.command()
def scale(
    regions_per_s: Annotated[float, typer.Option(min=1, help="Of one GPU, forward to fc7: from the benchmark `networks`, on yours.")],
    proposals_per_s: Annotated[float, typer.Option(min=0.01, help="Images per second of one core: from `proposals`.")] = 90.0,
    decoded_per_s: Annotated[float, typer.Option(min=0.01, help="Images that one core reads and decodes.")] = 100.0,
    write_mb_s: Annotated[float, typer.Option(min=1, help="Of features that one core writes: from `extract`.")] = 150.0,
    gpus: Annotated[list[int] | None, typer.Option(min=1, help="May be given several times.")] = None,
    cores_per_gpu: Annotated[list[int] | None, typer.Option(min=1, help="May be given several times.")] = None,
    node_life_h: Annotated[float, typer.Option(min=0.1, help="Mean hours until a node is lost.")] = 24.0,
    slow_share: Annotated[float, typer.Option(min=0, max=1, help="Share of nodes that are slow.")] = 0.05,
    slowdown: Annotated[float, typer.Option(min=1, help="How many times as long they take.")] = 2.0,
    gpu_price: Annotated[float, typer.Option(min=0, help="Of an hour of one GPU.")] = 2.0,
    core_price: Annotated[float, typer.Option(min=0, help="Of an hour of one core.")] = 0.04,
    run: Annotated[str | None, typer.Option(help="A run on Ray that computed proposals and features in one go: played again.")] = None,
    plot: Annotated[str | None, typer.Option(help="Where a drawing goes, PNG or SVG.")] = None,
    json_path: Json = None,
) -> None:
    """ILSVRC2013 on 1 to 64 GPUs and 1 to 1024 cores, simulated with the real dispatcher: hours, cost, where GPUs starve.

    Example: python jobs/benchmark.py scale --regions-per-s 20000 --run runs/demo --plot scale.png --json scale.json
    """
    from rcnn_dist.benchmarks.scale import Rates, Trouble

    _report(
        "scale",
        json_path,
        rates=Rates(proposals_per_s, decoded_per_s, regions_per_s, write_mb_s),
        gpus=gpus or [1, 4, 16, 64],
        cores_per_gpu=cores_per_gpu or [1, 2, 4, 8, 16],
        trouble=Trouble(node_life_h, slow_share, slowdown),
        prices=(gpu_price, core_price),
        run_dir=run,
        plot=plot,
    )


@app.command()
def peers(
    images: Annotated[str, typer.Option(help="A folder of photographs.")],
    count: Annotated[int, typer.Option(min=5, help="How many of them.")] = 24,
    regions: Annotated[int, typer.Option(min=1, help="Of each, at most.")] = 400,
    rounds: Annotated[int, typer.Option(min=1, help="Runs of each contender, by turns.")] = 3,
    svm_rows: Annotated[int, typer.Option(min=20, help="Rows of the SVM's cache.")] = 6000,
    plot: Annotated[str | None, typer.Option(help="Where a drawing goes, PNG or SVG.")] = None,
    json_path: Json = None,
) -> None:
    """What a user would write instead: a plain loop with OpenCV and torchvision, a Ray Data pipeline, liblinear.

    Example: python jobs/benchmark.py peers --images data/fruit/VOC2007/JPEGImages --plot peers.png --json peers.json
    """
    _report("peers", json_path, images=images, count=count, regions=regions, rounds=rounds, svm_rows=svm_rows, plot=plot)


@app.command()
def classes(json_path: Json = None) -> None:
    """Detectors of 10,000 and 100,000 classes on one image: seconds, memory beyond the weights, suppression against torchvision's.

    Example: python jobs/benchmark.py classes --json classes.json
    """
    _report("classes", json_path)


if __name__ == "__main__":
    sys.exit(guarded(app))
