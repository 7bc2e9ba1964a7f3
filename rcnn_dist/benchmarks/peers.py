"""Features of the same images by us and by what a user would write instead: a plain loop, and Ray Data; liblinear for the SVMs.

Every contender is a process of its own, run with few and with all images: the difference gives seconds per image, the rest is
fixed. Memory is the peak of the proportional set sizes of the process and all that it started.
"""

import inspect
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from rcnn_dist.benchmarks import svm
from rcnn_dist.driver import config_file
from rcnn_dist.errors import DataError
from rcnn_dist.runtime.events import read_events
from rcnn_dist.store import files

FEW = 8  # images of the short run
_SHARD_IMAGES = 4
_POLL_S = 0.1
_PROGRAMS = "rcnn_dist.benchmarks.peer_programs"
_NOT_OVERHEAD = ("forward", "wait")


@dataclass(frozen=True, slots=True)
class _Measured:
    seconds: float
    peak_mb: float
    disk_mb: float
    regions: int
    overhead_s: float | None  # all phases but the forward


def run(images: str, count: int, regions: int, rounds: int, svm_rows: int, plot: str | None) -> dict[str, Any]:
    """All contenders by turns, `rounds` times; the median of each figure."""
    sources = sorted(path for path in Path(images).iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png"))[:count]
    if len(sources) <= FEW:
        raise DataError(f"{images}: {len(sources)} images, more than {FEW} are needed: give a folder with more")
    contenders: dict[str, tuple[Callable[..., _Measured], dict[str, Any]]] = {
        "plain loop, one core": (_plain_loop, {"cores": 1}),
        "rcnn_dist, one core": (_ours, {"cores": 1}),
        "Ray Data": (_ray_data, {"cores": None}),
        "rcnn_dist": (_ours, {"cores": None}),
    }
    taken: dict[str, list[tuple[_Measured, _Measured]]] = {name: [] for name in contenders}
    with tempfile.TemporaryDirectory() as folder:
        few, many = (_links(Path(folder) / str(number), sources[:number]) for number in (FEW, len(sources)))
        for _ in range(rounds):
            for name, (contender, options) in contenders.items():
                taken[name].append((contender(few, regions, **options), contender(many, regions, **options)))
    figures = {
        "images": len(sources),
        "regions": regions,
        "features": {name: _figures(pairs, len(sources)) for name, pairs in taken.items()},
        "svm": next(iter(svm.run([svm_rows], 4096, 5, None).values())),
        "user_lines": {
            "plain loop": _code_lines(inspect.getsource(import_module(f"{_PROGRAMS}.plain_loop"))),
            "Ray Data": _code_lines((Path(__file__).parent / "peer_programs" / "ray_data.py").read_text()),
            "rcnn_dist": _code_lines(config_file("features.yaml").read_text()) + 1,
        },
    }
    figures["ratios"] = _ratios(figures)
    if plot:
        _draw(figures, plot)
    return figures


def lines(figures: dict[str, Any]) -> list[str]:
    """The figures as text."""
    rows = [f"{'':<22} {'fixed s':>8} {'s/image':>8} {'but forward':>12} {'regions/s':>10} {'peak MB':>8} {'MB on disk':>11}"]
    for name, f in figures["features"].items():
        overhead = "" if f["overhead_s"] is None else f"{f['overhead_s']:.3f}"
        rows.append(
            f"{name:<22} {f['fixed_s']:>8.1f} {f['image_s']:>8.3f} {overhead:>12} {f['regions_per_s']:>10.0f} "
            f"{f['peak_mb']:>8.0f} {f['disk_mb']:>11.1f}"
        )
    rows.append("lines that a user writes: " + ", ".join(f"{name} {count}" for name, count in figures["user_lines"].items()))
    return [*rows, *(f"{name}: {value:.2f}" for name, value in figures["ratios"].items())]


def _links(folder: Path, sources: list[Path]) -> Path:
    folder.mkdir()
    for path in sources:
        (folder / path.name).symlink_to(path.resolve())
    return folder


def _plain_loop(images: Path, regions: int, cores: int | None) -> _Measured:
    with tempfile.TemporaryDirectory() as out:
        text, seconds, peak = _watched([sys.executable, "-m", f"{_PROGRAMS}.plain_loop", str(images), out, str(regions)], cores)
        phases = json.loads(text.splitlines()[-1])
        overhead = sum(phases[phase] for phase in ("propose", "crop", "write"))
        return _Measured(seconds, peak, _size_mb(Path(out)), phases["regions"], overhead)


def _ray_data(images: Path, regions: int, cores: int | None) -> _Measured:
    with tempfile.TemporaryDirectory() as out:
        text, seconds, peak = _watched([sys.executable, "-m", f"{_PROGRAMS}.ray_data", str(images), out, str(regions)], cores)
        return _Measured(seconds, peak, _size_mb(Path(out)), json.loads(text.splitlines()[-1])["regions"], None)


def _ours(images: Path, regions: int, cores: int | None) -> _Measured:
    with tempfile.TemporaryDirectory() as out:
        settings = {"data.root": images, "run.dir": out, "extract.max_proposals": regions, "run.shard_images": _SHARD_IMAGES}
        if cores:
            settings["runtime.executor"] = "in_process"
        arguments = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
        program = "import sys; from rcnn_dist.cli import main; sys.exit(main())"
        _, seconds, peak = _watched([sys.executable, "-c", program, "run", str(config_file("features.yaml")), *arguments], cores)
        shards = [event for event in read_events(out) if event["event"] == "shard_done"]
        overhead = sum(s for event in shards for phase, s in event["seconds"].items() if phase not in _NOT_OVERHEAD)
        rows = files.open_dataset(str(next(Path(out).glob("features/*/train")))).count_rows()
        return _Measured(seconds, peak, _size_mb(Path(out) / "features"), rows, overhead)


def _watched(command: list[str], cores: int | None) -> tuple[str, float, float]:
    """The standard output of a program, its seconds, and the peak memory in MB of it and what it started."""
    allowed = sorted(os.sched_getaffinity(0))[: cores or None]
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        threads = {"OMP_NUM_THREADS": "1"} if cores == 1 else {}
        child = subprocess.Popen(  # noqa: S603
            command, stdout=out, stderr=errors, env=os.environ | threads, preexec_fn=lambda: os.sched_setaffinity(0, allowed)
        )
        peak = 0.0
        while child.poll() is None:
            peak = max(peak, _tree_mb(child.pid))
            time.sleep(_POLL_S)
        seconds = time.perf_counter() - start
        for file in (out, errors):
            file.seek(0)
        if child.returncode:
            raise RuntimeError(f"{' '.join(command[:4])} ended with {child.returncode}: {errors.read()[-2000:]}")
        return out.read(), seconds, peak


def _tree_mb(root: int) -> float:
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            fields = _read(entry / "stat").rpartition(")")[2].split()
            if fields:
                parents.setdefault(int(fields[1]), []).append(int(entry.name))
    tree, found = [root], [root]
    while tree:
        children = parents.get(tree.pop(), [])
        tree += children
        found += children
    return sum(_pss_kb(pid) for pid in found) / 1024


def _pss_kb(pid: int) -> int:
    line = next((line for line in _read(Path(f"/proc/{pid}/smaps_rollup")).splitlines() if line.startswith("Pss:")), "Pss: 0")
    return int(line.split()[1])


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # the process has ended
        return ""


def _size_mb(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def _figures(pairs: list[tuple[_Measured, _Measured]], images: int) -> dict[str, Any]:
    def median(values: list[float]) -> float:
        return round(statistics.median(values), 4)

    slopes = [(many.seconds - few.seconds) / (images - FEW) for few, many in pairs]
    overheads = [((many.overhead_s or 0) - (few.overhead_s or 0)) / (images - FEW) for few, many in pairs]
    last = pairs[-1][1]
    return {
        "fixed_s": median([few.seconds - FEW * slope for slope, (few, _) in zip(slopes, pairs, strict=True)]),
        "image_s": median(slopes),
        "overhead_s": None if last.overhead_s is None else median(overheads),
        "regions": last.regions,
        "regions_per_s": median([last.regions / images / slope for slope in slopes]),
        "peak_mb": median([many.peak_mb for _, many in pairs]),
        "disk_mb": round(last.disk_mb, 2),
        "total_s": median([many.seconds for _, many in pairs]),
    }


def _ratios(figures: dict[str, Any]) -> dict[str, float]:
    """How many times as much the others take, for the same number of regions where the time goes by regions."""
    loop, alone, data, ours = figures["features"].values()
    same = alone["regions"] / loop["regions"]
    return {
        "plain loop / rcnn_dist on one core, seconds per image without the forward": loop["overhead_s"] / alone["overhead_s"],
        "plain loop / rcnn_dist on one core, seconds per region": loop["image_s"] / alone["image_s"] * same,
        "Ray Data / rcnn_dist, seconds per image": data["image_s"] / ours["image_s"],
        "Ray Data / rcnn_dist, fixed seconds": data["fixed_s"] / ours["fixed_s"],
        "Ray Data / rcnn_dist, peak memory": data["peak_mb"] / ours["peak_mb"],
        "LinearSVC / rcnn_dist, seconds of a fit": figures["svm"]["speedup"],
    }


def _code_lines(text: str) -> int:
    body = text.split('"""', 2)[2] if text.startswith('"""') else text
    return sum(bool(line.strip()) and not line.strip().startswith("#") for line in body.splitlines())


def _draw(figures: dict[str, Any], path: str) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 2.8), layout="constrained")
    names = list(figures["features"])
    for axes, (key, title) in zip(
        figure.subplots(1, 3),
        {"image_s": "seconds per image", "fixed_s": "fixed seconds", "peak_mb": "peak memory, MB"}.items(),
        strict=True,
    ):
        axes.barh(names[::-1], [figures["features"][name][key] for name in names[::-1]], color=["#3b6fb6", "#b0b0b0"] * 2)
        axes.set_title(title, fontsize=10)
        if axes.get_subplotspec().colspan.start:
            axes.set_yticklabels([])
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
