"""The whole loop: runs the stages in order on an executor, notes what each cost, says how it ended."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from rcnn_dist.config import STAGES, RunConfig, TrainSection
from rcnn_dist.errors import ConfigError, DataError, RunStoppedError
from rcnn_dist.features.networks import network_identity
from rcnn_dist.runtime.events import Observed, observed
from rcnn_dist.runtime.executor import InProcessExecutor
from rcnn_dist.runtime.progress import make_progress
from rcnn_dist.stages import detect, extract, finetune, masks, propose, regions, segment, svr, train
from rcnn_dist.stages.base import Executor, ShardStage, Stage
from rcnn_dist.stages.checkpoints import watched
from rcnn_dist.stages.pretrain import NETWORK, Pretraining
from rcnn_dist.stages.record import CONFIG, record_stage
from rcnn_dist.stages.run import Run
from rcnn_dist.store import files

__all__ = ["open_run", "run_stages"]


def _loaded_late(name: str) -> Callable[[Run], Stage]:
    """A stage whose module is loaded when its turn comes: with it comes matplotlib, which a run of features never needs."""

    def stage(run: Run) -> Stage:
        made: Stage = getattr(import_module(f"rcnn_dist.stages.{name}"), f"{name.capitalize()}Stage")(run)
        return made

    return stage


_MODEL_FOLDERS = {finetune.NAME: finetune.folder, train.NAME: train.folder, svr.NAME: svr.folder}
_STAGES: dict[str, Callable[[Run], Stage]] = {
    propose.NAME: propose.ProposeStage,
    finetune.NAME: finetune.FinetuneStage,
    extract.NAME: extract.ExtractStage,
    train.NAME: train.TrainStage,
    detect.NAME: detect.DetectStage,
    **{name: _loaded_late(name) for name in ("evaluate", "scale", "report", "accuracy")},
    masks.NAME: masks.MasksStage,
    regions.NAME: regions.RegionsStage,
    svr.NAME: svr.SvrStage,
    segment.NAME: segment.SegmentStage,
}


def open_run(config: RunConfig, stages: Sequence[str]) -> Run:
    """The run, once stages, place, weights and images are found to be what they should; nothing is written.

    Raises:
        ConfigError: a stage is not known, or the run does not have it; the run's place or the network's weights do not do.
        DataError: images are not where they should be.
    """
    for name in stages:
        if name not in _STAGES:
            raise ConfigError(f"no stage is called '{name}': choose from {', '.join(STAGES)}")
        if name not in config.run.stages:
            raise ConfigError(f"this run has the stages {', '.join(config.run.stages)}: add {name} to run.stages")
    _refuse_lost_place(config.run.dir)
    if set(stages) - {propose.NAME, masks.NAME}:
        network_identity(config.network)  # weights that are missing are named now, not after hours of proposals
    run = Run(config)
    for split in run.splits:
        if not run.image_ids(split):
            raise DataError(f"{run.dataset.name}: image set '{run.image_set(split)}' is empty")
    if train.NAME in stages and config.train.classes is not None:
        train.chosen_classes(run)
    return run


def planned_stages(run: Run, stages: Sequence[str]) -> Iterator[tuple[str, Stage, list[str]]]:
    """Name, stage and folders of the stages that are asked for, in their order; made one by one, as a stage may need the one before."""
    for name in [name for name in STAGES if name in stages]:
        stage = _STAGES[name](run)
        if isinstance(stage, ShardStage):
            yield name, stage, [stage.folder(split) for split in stage.splits]
        else:
            yield name, stage, [_MODEL_FOLDERS[name](run)] if name in _MODEL_FOLDERS else []


def run_stages(config: RunConfig, stages: Sequence[str] | None = None, quiet: bool = False) -> Run:
    """Runs the stages that are asked for (None: all that the run has), in their order; each picks up what is done.

    Progress goes to the standard output; where that is for a program (`quiet`), to the standard error.

    Raises:
        ConfigError, DataError: as `open_run`.
    """
    stages = config.run.stages if stages is None else stages
    run = open_run(config, stages)
    run.dataset.save()
    lasting = config.model_copy(update={"train": TrainSection()})  # train.classes is about this call alone
    files.write_bytes(files.join(run.url, CONFIG), lasting.to_yaml().encode())
    shown = make_progress(sys.stderr if quiet else sys.stdout)
    with observed(shown, run.url) as progress, make_executor(config, progress) as executor, _stoppable():
        start = time.perf_counter()
        for name, stage, folders in planned_stages(run, stages):
            record_stage(run, name, folders, 0.0)
            stage.run(executor, progress)
            if isinstance(stage, ShardStage):
                for split, failure in stage.failures():
                    progress.note(f"{name}: {split} image {failure.image_id} left out: {failure.reason}")
            record_stage(run, name, folders, time.perf_counter() - start)
            start = time.perf_counter()
    return run


@dataclass(frozen=True, slots=True)
class Pretrained:
    """What a pre-training has made."""

    network: str
    weights: str
    last_row: Mapping[str, Any]

    @property
    def how_to_use(self) -> str:
        setting = "weights" if self.network in ("tnet", "onet") else "finetuned"
        return f"use it: --set network.name={self.network} --set network.{setting}={self.weights}"

    @property
    def last_line(self) -> str:
        tested = [f"{name} {self.last_row[key]:.3f}" for name, key in (("top-1", "top1"), ("top-5", "top5")) if key in self.last_row]
        return ", ".join([*tested, f"loss {self.last_row['loss']:.3f} after {self.last_row['steps']} steps"])


def pretrain(config: RunConfig) -> Pretrained:
    """Trains a network on whole images, on `pretrain.workers` processes of Ray or in this one; goes on where it was stopped.

    Raises:
        ConfigError: settings that do not fit each other.
        DataError: there are no images, or they are not where they should be.
    """
    _refuse_lost_place(config.run.dir)
    training = Pretraining(config)
    params = config.pretrain
    if config.runtime.executor == "in_process" and params.workers > 1:
        raise ConfigError(f"pretrain.workers is {params.workers}: in one process there is one; set runtime.executor to ray")
    with observed(make_progress(sys.stdout), config.run.dir) as progress, make_executor(config, progress) as executor, _stoppable():
        progress.start("pretrain", params.iterations, "steps")
        progress.advance(training.steps_done())
        if not training.is_done:
            with watched(training.steps_done, params.iterations, progress):
                executor.gang(training.run, params.workers, files.join(training.folder, "_gang"))
        progress.finish()
        last_row = training.publish()
    return Pretrained(config.network.name, files.join(training.folder, NETWORK), last_row)


def _refuse_lost_place(run_dir: str) -> None:
    """A Ray job works in a copy of the submitted folder that goes with the job.

    Raises:
        ConfigError: the run's files would lie there.
    """
    if "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ and "://" not in run_dir and not Path(run_dir).is_absolute():
        raise ConfigError(
            f"run.dir is '{run_dir}', which would be lost with the Ray job: give an absolute path or a URL that all nodes reach"
        )


@contextmanager
def _stoppable() -> Iterator[None]:
    """Lets SIGTERM (`ray job stop`) end the run in order; Ray sets a handler of its own when it connects, so this comes after."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        yield
    except SystemError as error:  # what the handler raises while Ray waits comes out of its compiled code so
        if isinstance(error.__cause__, RunStoppedError):
            raise error.__cause__ from None
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def _stop(number: int, frame: object) -> None:  # noqa: ARG001  what the system calls a handler with
    raise RunStoppedError("stopped by SIGTERM: the same command goes on where this one ended")


@contextmanager
def make_executor(config: RunConfig, events: Observed) -> Iterator[Executor]:
    """The executor that the configuration names, connected for the length of a block; it tells what happens."""
    if config.runtime.executor == "in_process":
        yield InProcessExecutor(config.runtime.threads_per_worker)
        return
    from rcnn_dist.runtime.cluster import connected
    from rcnn_dist.runtime.metrics import RayMetrics
    from rcnn_dist.runtime.ray_executor import RayExecutor

    with connected(config.runtime) as runtime:
        events.listen(RayMetrics())
        yield RayExecutor(runtime, events.event)


def find_config(name: str) -> Path:
    """A configuration by its path, or one that comes with the package by its name."""
    path = Path(name)
    return config_file(name) if path.parent == Path() and not path.exists() else path


def config_file(name: str) -> Path:
    """A configuration that comes with the package: beside it in a checkout, inside it where it was installed.

    Raises:
        ConfigError: there is none of that name.
    """
    package = Path(__file__).parent
    for folder in (package / "configs", package.parent / "configs"):
        if (folder / name).is_file():
            return folder / name
    raise ConfigError(f"no configuration {name} comes with this installation")
