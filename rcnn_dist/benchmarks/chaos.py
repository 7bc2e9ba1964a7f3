"""Real SIGKILLs of workers, actors and drivers on Ray, placed by counted events: what a run loses by them.

Every run starts where the stages before are whole, loses one process when its n-th event is logged, and is driven to its end. Then its
digest is compared with that of a run that nothing disturbed, and its plans with its shards.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rcnn_dist.config import RunConfig, RuntimeSection, make_config
from rcnn_dist.data.shapes import ShapesParams, generate_shapes
from rcnn_dist.driver import run_stages
from rcnn_dist.runtime.cluster import address, connected
from rcnn_dist.runtime.events import FOLDER, read_events
from rcnn_dist.stages.verify import verify_run

STAGES = ("propose", "finetune", "extract", "train", "detect")
TARGETS = ("worker", "driver")  # in finetune and extract, workers are actors
_WORKERS = 2
_TIMEOUT_S = 300.0


def run(kills: int, stages: Sequence[str] = STAGES) -> dict[str, Any]:
    """Kills one process in each of so many runs per stage.

    `recomputed_max` is the largest number of tasks of one run that were given out more than once, whether or not they had begun.
    """
    with tempfile.TemporaryDirectory(prefix="rcnn-chaos-") as folder, connected(RuntimeSection(workers=_WORKERS)):
        rows = []
        run_has = tuple(stage for stage in STAGES if stage != "finetune" or stage in stages)
        world = World(Path(folder), run_has)
        for stage in run_has:
            if stage in stages:
                rows += world.disturb(stage, kills)
            run_stages(world.config(world.whole), (stage,), quiet=True)
    return {**_totals(rows), "by_stage": {stage: _totals([row for row in rows if row["stage"] == stage]) for stage in stages}}


def lines(figures: dict[str, Any]) -> list[str]:
    """The figures as a table."""
    names = ("runs", "killed", "equal", "lost", "doubled", "recomputed_max")
    rows = [*figures["by_stage"].items(), ("all", figures)]
    return [f"{'':10}" + "".join(f"{name:>16}" for name in names)] + [
        f"{stage:10}" + "".join(f"{row[name]:>16}" for name in names) for stage, row in rows
    ]


def _totals(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        "runs": len(rows),
        "killed": sum(row["killed"] for row in rows),
        "equal": sum(row["equal"] for row in rows),
        "lost": sum(row["lost"] for row in rows),
        "doubled": sum(row["doubled"] for row in rows),
        "recomputed_max": max((row["recomputed"] for row in rows), default=0),
    }


class World:
    """A small data set, a run that nothing disturbs, and copies of it that are disturbed."""

    def __init__(self, folder: Path, stages: Sequence[str] = ("propose", "extract", "train", "detect")) -> None:
        self._folder = folder
        self._stages = stages
        self.whole = folder / "whole"
        params = ShapesParams(
            images={"train": 8, "test": 8}, classes=("striped_disc", "dotted_triangle"), min_size=(90, 70), max_size=(120, 90)
        )
        generate_shapes(str(folder / "data"), params)

    def config(self, run_dir: Path, executor: str = "in_process") -> RunConfig:
        tree = {
            "run": {"dir": str(run_dir), "shard_images": 1, "stages": list(self._stages)},
            "data": {"root": str(self._folder / "data")},
            "finetune": {"iterations": 40, "batch_size": 8, "checkpoint_every": 4},
            "extract": {"layers": ["fc7"], "max_proposals": 20},
            "regress": {"layer": "fc7"},
            "mining": {"wave_images": 2},
            "runtime": {"executor": executor, "workers": _WORKERS},
        }
        return make_config(tree)

    def disturb(self, stage: str, kills: int) -> list[dict[str, Any]]:
        undisturbed = self._copy("undisturbed")
        self._drive(undisturbed, stage)
        digest, events = verify_run(str(undisturbed)).digest, len(_events(undisturbed))
        rows = []
        for i in range(kills):
            run_dir = self._copy("disturbed")
            at = 2 + i * max(1, events - 3) // max(1, kills)
            killed = self._drive(run_dir, stage, TARGETS[i % len(TARGETS)], at)
            if killed and TARGETS[i % len(TARGETS)] == "driver":
                self._drive(run_dir, stage)
            rows.append({"stage": stage, "killed": killed, **_judge(run_dir, digest)})
        return rows

    def _copy(self, name: str) -> Path:
        run_dir = self._folder / name
        shutil.rmtree(run_dir, ignore_errors=True)
        if self.whole.exists():
            shutil.copytree(self.whole, run_dir)
            shutil.rmtree(run_dir / FOLDER)
        return run_dir

    def _drive(self, run_dir: Path, stage: str, target: str | None = None, at: int = 0) -> bool:
        """Runs a stage in a process of its own; True where its target was killed."""
        config = self._folder / "config.yaml"
        config.write_text(self.config(run_dir, "ray").to_yaml())
        code = "import sys; from rcnn_dist.cli import main; main()"
        command = [sys.executable, "-c", code, "run", str(config), "--stages", stage]
        with (self._folder / "log").open("w") as log:
            driver = subprocess.Popen(command, env={**os.environ, "RAY_ADDRESS": address()}, stdout=log, stderr=log)  # noqa: S603
            killed = target is not None and _kill_at(run_dir, driver, target, at)
            code_found = driver.wait(_TIMEOUT_S)
        if code_found and not (killed and target == "driver"):
            raise RuntimeError(f"the driver of {stage} ended with {code_found}:\n{(self._folder / 'log').read_text()[-2000:]}")
        return killed


def _kill_at(run_dir: Path, driver: subprocess.Popen[bytes], target: str, at: int) -> bool:
    """Waits until so many events are logged, then kills; False where the driver ended before."""
    while driver.poll() is None:
        if len(_events(run_dir)) >= at:
            victims = [driver.pid] if target == "driver" else _busy_workers()
            if victims:
                os.kill(victims[0], signal.SIGKILL)
                return True
        time.sleep(0.005)
    return False


def _busy_workers() -> list[int]:
    """Ray's worker processes below this one that compute or wait for a task."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if (folder / "cmdline").read_text().startswith("ray::_") and os.getpid() in _ancestors(int(folder.name)):
                found.append(int(folder.name))
        except (OSError, ValueError):
            continue
    return sorted(found)


def _ancestors(pid: int) -> list[int]:
    found = []
    while pid > 1:
        pid = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
        found.append(pid)
    return found


def _events(run_dir: Path) -> list[bytes]:
    return [line for path in (run_dir / FOLDER).glob("*.jsonl") for line in path.read_bytes().splitlines()]


def _judge(run_dir: Path, digest: str) -> dict[str, Any]:
    found = verify_run(str(run_dir))
    given = Counter(event["task"] for event in read_events(str(run_dir)) if event["event"] == "submitted")
    return {
        "equal": found.digest == digest and not found.damaged and not found.unfinished,
        "lost": found.images - found.images_with_rows - found.failures,
        "doubled": sum(" times" in problem for problem in found.damaged),
        "recomputed": sum(count - 1 for count in given.values()),
    }
