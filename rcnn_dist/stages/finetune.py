"""Stage finetune: the network learns the classes from warped windows, before its features are computed (paper §2.3, App. B).

One worker trains, or `finetune.workers` that share each batch. A checkpoint is left every `finetune.checkpoint_every` steps, and the latest
one is begun with: a worker that dies, or a run that is stopped, costs the steps since then.
"""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from rcnn_dist.arrays import Array
from rcnn_dist.features.networks import network_identity
from rcnn_dist.finetune.windows import WindowSampler
from rcnn_dist.stages import propose
from rcnn_dist.stages.base import Executor, Progress, worker_name
from rcnn_dist.stages.checkpoints import latest_step, load_checkpoint, remove_checkpoints, save_checkpoint, watched
from rcnn_dist.stages.run import Run
from rcnn_dist.stages.windows import ImageReader, read_windows
from rcnn_dist.store import files
from rcnn_dist.store.manifest import MANIFEST, fingerprint, read_signed, sha256_of, write_signed
from rcnn_dist.store.tensors import load_tensors, save_tensors

NAME = "finetune"
VERSION = 1
NETWORK, CLASSIFIER, TELEMETRY = "network.safetensors", "classifier.safetensors", "telemetry.jsonl"
_NOT_IN_THE_RESULT = ("checkpoint_every", "image_cache_mb", "window_file")


def folder(run: Run) -> str:
    """Where this run's fine-tuned network lies."""
    return run.folder("finetuned", run.config.network.name, fingerprint(NAME, VERSION, inputs(run)))


def inputs(run: Run) -> dict[str, Any]:
    """All that shapes the fine-tuned network, named as the configuration names it."""
    section = {name: value for name, value in run.section(NAME).items() if name not in _NOT_IN_THE_RESULT}
    if run.config.finetune.window_file:
        windows: dict[str, Any] = {"window file": run.files_digest((run.config.finetune.window_file,))}
    else:
        windows = {"proposals": run.relative(propose.folder(run)), "max_proposals": run.config.extract.max_proposals}
    return {
        "network": json.loads(network_identity(run.config.network)),
        "warp": asdict(run.config.warp),
        "finetune": section,
        "classes": run.classes,
        **windows,
        "annotations": run.annotations_digest("train"),
    }


@dataclass(frozen=True, slots=True)
class Training:
    """The one task: all steps that are not on disk."""


class FinetuneStage:
    """Trains what is missing; publishes the network and the new layer."""

    name = NAME

    def __init__(self, run: Run) -> None:
        self._run = run
        self._folder = folder(run)

    def run(self, executor: Executor, progress: Progress) -> None:
        """Goes on after the last checkpoint.

        Raises:
            MissingShardError: the training images have no complete proposals.
            DataError: there is no foreground or no background to learn from, or the window file is none.
        """
        section = self._run.config.finetune
        progress.start(NAME, section.iterations, "steps")
        done = steps_done(self._run)
        progress.advance(done)
        if files.exists(files.join(self._folder, MANIFEST)):
            remove_checkpoints(self._folder, before=done + 1)
            progress.finish()
            return
        with watched(lambda: steps_done(self._run), section.iterations, progress):
            if section.workers > 1 and done < section.iterations:
                executor.gang(FinetuneWork(self._run), section.workers, files.join(self._folder, "_gang"))
            else:
                for _ in executor.map(FinetuneWork(self._run), [Training()] if done < section.iterations else []):
                    pass
        progress.finish()
        self._publish(section.iterations)

    def _publish(self, done: int) -> None:
        state, about = load_checkpoint(self._folder, done)
        described = {"network": self._run.config.network.name, "classes": self._run.classes, "iterations": done}
        for name, prefix in ((NETWORK, "network."), (CLASSIFIER, "classifier.")):
            part = {key.removeprefix(prefix): array for key, array in state.items() if key.startswith(prefix)}
            save_tensors(files.join(self._folder, name), part, described)
        lines = "".join(json.dumps(row) + "\n" for row in about["history"])
        files.write_bytes(files.join(self._folder, TELEMETRY), lines.encode())
        write_signed(
            files.join(self._folder, MANIFEST),
            {
                "stage": NAME,
                "version": VERSION,
                "folder": self._folder.split("/")[-1],
                "images": len(self._run.image_ids("train")),
                "files": [{"name": name, "sha256": sha256_of(files.join(self._folder, name))} for name in (CLASSIFIER, NETWORK)],
                "seconds": {phase: round(sum(row["seconds"][phase] for row in about["history"]), 3) for phase in ("compute", "wait")},
                "workers": sorted({row["worker"] for row in about["history"]}),
            },
        )
        remove_checkpoints(self._folder, before=done + 1)


class FinetuneWork:
    """What an executor carries: one process trains, or several that share each batch, on a GPU each where there are some."""

    heavy = True

    def __init__(self, run: Run) -> None:
        self._run = run

    def make_worker(self) -> "FinetuneWorker":
        return FinetuneWorker(self._run)

    def __call__(self) -> None:
        """What each of several processes does."""
        self.make_worker().run(Training())


class FinetuneWorker:
    """Holds the network, the windows of the set and decoded images."""

    def __init__(self, run: Run) -> None:
        from rcnn_dist.features.extract import choose_device
        from rcnn_dist.features.networks import build_network
        from rcnn_dist.finetune.processes import place
        from rcnn_dist.finetune.trainer import Trainer

        self._number, self._count = place()
        self._run = run
        self._folder = folder(run)
        self._device = choose_device()
        network = build_network(run.config.network)
        self._preprocess = network.preprocess
        self._trainer = Trainer(network, len(run.classes), run.config.finetune, self._device)
        self._windows, urls = read_windows(run)
        self._sampler = WindowSampler(self._windows, run.config.finetune)
        self._images = ImageReader(run, urls)

    def run(self, task: Training) -> Training:
        """Trains from the latest checkpoint to the end; the first process writes the checkpoints."""
        from rcnn_dist.finetune.processes import wait_for_all

        section = self._run.config.finetune
        done, history = steps_done(self._run), []
        if done:
            state, about = load_checkpoint(self._folder, done)
            self._trainer.load(state)
            history = about["history"]
        wait_for_all()  # nobody may remove the checkpoint that another still reads
        while done < section.iterations:
            last = min(done + section.checkpoint_every, section.iterations)
            history = [*history, self._segment(done, last)]
            if self._number == 0:
                save_checkpoint(self._folder, last, self._trainer.state(), {"history": history})
            wait_for_all()
            done = last
        return task

    def _segment(self, first: int, last: int) -> dict[str, Any]:
        """Trains steps first, ..., last - 1; their row of the telemetry."""
        from rcnn_dist.finetune.processes import sum_over_all

        start = time.perf_counter()
        losses, waited = [], 0.0
        for step, pixels, labels, wait in self._batches(first, last):
            losses.append(self._trainer.step(step, pixels, labels))
            waited += wait
        passed = time.perf_counter() - start
        seconds = {"compute": round(passed - waited, 3), "wait": round(waited, 3)}
        (loss,) = sum_over_all([float(np.mean(losses)) / self._count], self._device)
        return {"steps": last, "loss": loss, "seconds": seconds, "waiting": round(waited / passed, 4), "worker": worker_name()}

    def _batches(self, first: int, last: int) -> Iterator[tuple[int, Any, Array, float]]:
        """Step, pixels, labels, and the seconds that were waited for them; the next batch is made while a step computes."""
        from rcnn_dist.finetune.crops import window_pixels

        def make(step: int) -> tuple[Any, Array]:
            drawn, mirrored = (part[self._number :: self._count] for part in self._sampler.draw(step))
            warp = self._run.config.warp
            pixels = window_pixels(self._windows, drawn, mirrored, self._images.read, self._preprocess, warp, self._device)
            return pixels, self._windows.label[drawn]

        with ThreadPoolExecutor(1) as pool:
            ahead = pool.submit(partial(make, first))
            for step in range(first, last):
                start = time.perf_counter()
                pixels, labels = ahead.result()
                waited = time.perf_counter() - start
                if step + 1 < last:
                    ahead = pool.submit(partial(make, step + 1))
                yield step, pixels, labels, waited


def steps_done(run: Run) -> int:
    """Steps that are on disk: those of the latest checkpoint, or all."""
    url = folder(run)
    if files.exists(files.join(url, MANIFEST)):
        return run.config.finetune.iterations
    return latest_step(url)


def waiting_share(run: Run) -> float | None:
    """Which share of a finished training's time was waited for pixels; None before its end."""
    try:
        seconds = read_signed(files.join(folder(run), MANIFEST))["seconds"]
    except FileNotFoundError:
        return None
    return float(seconds["wait"] / max(sum(seconds.values()), 1e-3))


def load_finetuned(folder: str) -> dict[str, Array]:
    """The weights of the fine-tuned network.

    Raises:
        MissingShardError: it is not there.
    """
    return load_tensors(files.join(folder, NETWORK))[0]
