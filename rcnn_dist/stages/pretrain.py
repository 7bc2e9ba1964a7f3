"""Pre-training on whole images (paper §2.3): a step of its own before any run, whose result is a file of weights.

Every process of the training runs `Pretraining.run`; the first one writes checkpoints, which the next start goes on from.
"""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from rcnn_dist.arrays import Array
from rcnn_dist.config import RunConfig
from rcnn_dist.data.images import read_image
from rcnn_dist.data.labelled_images import LabelledImages, read_classes, read_labelled_images
from rcnn_dist.errors import BadImageError, ConfigError
from rcnn_dist.features.networks import build_network, network_identity
from rcnn_dist.features.networks.weight_files import MEAN_IMAGE
from rcnn_dist.stages.base import worker_name
from rcnn_dist.stages.checkpoints import latest_step, load_checkpoint, remove_checkpoints, save_checkpoint
from rcnn_dist.stages.run import Run
from rcnn_dist.store import files
from rcnn_dist.store.manifest import fingerprint
from rcnn_dist.store.tensors import load_tensors, save_tensors

if TYPE_CHECKING:
    from rcnn_dist.features.networks.base import Network

NAME = "pretrain"
VERSION = 1
NETWORK, CLASSIFIER, MEAN = "network.safetensors", "classifier.safetensors", "mean.safetensors"
TELEMETRY, METRICS, CURVE = "telemetry.jsonl", "metrics.json", "curve.svg"
_NOT_IN_THE_RESULT = ("checkpoint_every", "loader_threads")
_WITH_MEAN_IMAGE = ("tnet", "onet")  # whose files of weights carry one


class Pretraining:
    """One training: what it learns from, where its files lie, and the work of each of its processes."""

    def __init__(self, config: RunConfig) -> None:
        """Raises: ConfigError: settings that do not fit each other."""
        self.config, self.params = config, config.pretrain
        if self.params.batch_size % self.params.workers:
            raise ConfigError(f"pretrain.batch_size {self.params.batch_size} cannot be shared by {self.params.workers} workers")
        if self.params.mean_image and config.network.name not in _WITH_MEAN_IMAGE:
            raise ConfigError(
                f"pretrain.mean_image is for {' and '.join(_WITH_MEAN_IMAGE)}: network {config.network.name} has a fixed mean"
            )
        if self.params.mean_image and self.params.crop == "scale":
            raise ConfigError("pretrain.mean_image needs parts of one size: set pretrain.crop to shift")
        if config.data.root is None:
            raise ConfigError("data.root is not set: add --set data.root=PATH, the folder that holds a folder of classes per image set")

    @cached_property
    def classes(self) -> tuple[str, ...]:
        return read_classes(str(self.config.data.root), self.config.data.train)

    @cached_property
    def train(self) -> LabelledImages:
        return read_labelled_images(str(self.config.data.root), self.config.data.train, self.classes)

    @cached_property
    def test(self) -> LabelledImages | None:
        name = self.config.data.test
        return read_labelled_images(str(self.config.data.root), name, self.classes) if name else None

    @cached_property
    def folder(self) -> str:
        """Where the result lies."""
        section = {name: value for name, value in asdict(self.params).items() if name not in _NOT_IN_THE_RESULT}
        images = [self.train.digest(), self.test.digest() if self.test else None]
        inputs = {"network": json.loads(network_identity(self.config.network)), NAME: section, "classes": self.classes, "images": images}
        return Run(self.config).folder("pretrained", self.config.network.name, fingerprint(NAME, VERSION, inputs))

    @property
    def is_done(self) -> bool:
        return files.exists(files.join(self.folder, NETWORK))

    def steps_done(self) -> int:
        """Steps that are on disk."""
        return self.params.iterations if self.is_done else latest_step(self.folder)

    def run(self) -> None:
        """Trains from the latest checkpoint to the end: what every process of the training does."""
        from rcnn_dist.finetune.processes import wait_for_all

        process = _Process(self)
        done = latest_step(self.folder)
        history = process.load(done) if done else []
        wait_for_all()  # nobody may remove the checkpoint that another still reads
        while done < self.params.iterations:
            last = min(done + self.params.checkpoint_every, self.params.iterations)
            history = [*history, process.segment(done, last)]
            process.save(last, history)
            done = last

    def publish(self) -> dict[str, Any]:
        """Writes the weights, the last layer, the telemetry and the metrics from the last checkpoint; the last row of the telemetry."""
        from rcnn_dist.features.weight_import import describe_trained
        from rcnn_dist.report.learning_curve import plot_learning_curve

        if self.is_done:
            return dict(json.loads(files.read_bytes(files.join(self.folder, METRICS))))
        state, about = load_checkpoint(self.folder, self.params.iterations)
        parts = {p: {k.removeprefix(p): a for k, a in state.items() if k.startswith(p)} for p in ("network.", "classifier.")}
        if self.params.mean_image:
            parts["network."][MEAN_IMAGE] = load_tensors(files.join(self.folder, MEAN))[0]["mean"]
        network = build_network(self.config.network)
        described = {"classes": len(self.classes), "iterations": self.params.iterations, "images": self.train.digest()}
        save_tensors(files.join(self.folder, CLASSIFIER), parts["classifier."], {"classes": self.classes})
        history = about["history"]
        files.write_bytes(files.join(self.folder, TELEMETRY), "".join(json.dumps(row) + "\n" for row in history).encode())
        files.write_bytes(files.join(self.folder, CURVE), plot_learning_curve(history).encode())
        files.write_bytes(files.join(self.folder, METRICS), json.dumps(history[-1], indent=1).encode())
        save_tensors(files.join(self.folder, NETWORK), parts["network."], describe_trained(parts["network."], network, described))
        remove_checkpoints(self.folder, before=self.params.iterations + 1)
        return dict(history[-1])


class _Process:
    """One process's network, its part of every batch, and its share of the test images."""

    def __init__(self, training: Pretraining) -> None:
        from rcnn_dist.features.extract import choose_device
        from rcnn_dist.finetune.pretrainer import Pretrainer
        from rcnn_dist.finetune.processes import place

        self._training, self._params = training, training.params
        network: Network = build_network(training.config.network)
        self._preprocess = network.preprocess
        self._side = self._params.stretched_side(network.input_size)
        if self._side < network.input_size:
            raise ConfigError(f"pretrain.stretch {self._side} is less than the input of the network, {network.input_size}")
        self._rank, self._size = place()
        self._device = choose_device()
        self._mean = self._mean_image() if self._params.mean_image else network.preprocess.mean
        self._trainer: Pretrainer = Pretrainer(network, len(training.classes), self._params, self._device)
        self._orders: dict[int, Array] = {}

    def load(self, step: int) -> list[dict[str, Any]]:
        state, about = load_checkpoint(self._training.folder, step)
        self._trainer.load(state)
        return list(about["history"])

    def save(self, step: int, history: list[dict[str, Any]]) -> None:
        from rcnn_dist.finetune.processes import wait_for_all

        if self._rank == 0:
            save_checkpoint(self._training.folder, step, self._trainer.state(), {"history": history})
        wait_for_all()

    def segment(self, first: int, last: int) -> dict[str, Any]:
        """Trains steps first, ..., last - 1 and tests; their row of the telemetry."""
        from rcnn_dist.finetune.processes import sum_over_all

        start = time.perf_counter()
        losses, waited = [], 0.0
        for step, pixels, labels, wait in self._batches(first, last):
            losses.append(self._trainer.step(step, pixels, labels))
            waited += wait
        seconds = time.perf_counter() - start
        (loss,) = sum_over_all([float(np.mean(losses)) / self._size], self._device)
        row = {
            "steps": last,
            "learning_rate": self._params.learning_rate_at(last - 1),
            "loss": loss,
            **self._test(),
            "images_per_s": round((last - first) * self._params.batch_size / seconds, 1),
            "seconds": {"compute": round(seconds - waited, 3), "wait": round(waited, 3)},
            "waiting": round(waited / seconds, 4),
            "worker": worker_name(),
        }
        return row

    def _test(self) -> dict[str, float]:
        from rcnn_dist.finetune.processes import sum_over_all

        images = self._training.test
        if images is None:
            return {}
        own = range(self._rank, len(images.paths), self._size)
        hits = np.zeros(2)
        size = self._params.batch_size // self._size
        with ThreadPoolExecutor(self._params.loader_threads) as pool:
            for start in range(0, len(own), size):
                numbers = own[start : start + size]
                pixels = _as_batch(list(pool.map(partial(self._central, images), numbers)))
                hits += self._trainer.hits(pixels, images.labels[list(numbers)])
        first, first_five = sum_over_all(hits.tolist(), self._device)
        return {"top1": first / len(images.paths), "top5": first_five / len(images.paths)}

    def _batches(self, first: int, last: int) -> Iterator[tuple[int, Array, Array, float]]:
        """Step, pixels, labels, and the seconds that were waited for them; the next batch is read while a step computes."""
        images = self._training.train
        with ThreadPoolExecutor(self._params.loader_threads) as pool:

            def begin(step: int) -> tuple[Array, Any]:
                numbers, places = self._drawn(step)
                return images.labels[numbers], pool.map(partial(self._part, images, step), numbers, places)

            ahead = begin(first)
            for step in range(first, last):
                start = time.perf_counter()
                labels, parts = ahead[0], list(ahead[1])
                pixels = _as_batch(parts)
                waited = time.perf_counter() - start
                if step + 1 < last:
                    ahead = begin(step + 1)
                yield step, pixels, labels, waited

    def _drawn(self, step: int) -> tuple[Array, range]:
        """This process's images of a step, and their places in the whole batch: each epoch is one order of all images."""
        size, count = self._params.batch_size // self._size, len(self._training.train.paths)
        places = range(self._rank * size, (self._rank + 1) * size)
        drawn = [divmod(step * self._params.batch_size + place, count) for place in places]
        known = self._orders
        self._orders = {
            epoch: known[epoch] if epoch in known else np.random.default_rng([self._params.seed, epoch]).permutation(count)
            for epoch in {epoch for epoch, _ in drawn}
        }
        return np.array([self._orders[epoch][position] for epoch, position in drawn]), places

    def _part(self, images: LabelledImages, step: int, number: int, place: int) -> Array:
        from rcnn_dist.finetune.image_crops import scaled_part, shifted_part, stretched

        rng = np.random.default_rng([self._params.seed, step, place])
        image, side = self._pixels(images, number), self._preprocess.input_size
        if self._params.crop == "scale":
            return scaled_part(image, self._mean, side, rng) / self._preprocess.std
        return shifted_part(stretched(image, self._side), self._mean, side, rng) / self._preprocess.std

    def _central(self, images: LabelledImages, number: int) -> Array:
        from rcnn_dist.finetune.image_crops import central_part, stretched

        image = stretched(self._pixels(images, number), self._side)
        return central_part(image, self._mean, self._preprocess.input_size) / self._preprocess.std

    def _pixels(self, images: LabelledImages, number: int) -> Array:
        """An image in the network's order of channels.

        Raises:
            BadImageError: it cannot be read; the message names it.
        """
        try:
            image = read_image(images.url(number), self._training.config.data.max_pixels, self._training.config.data.exif_rotation)
        except BadImageError as error:
            raise BadImageError(f"{images.url(number)}: {error}; remove it or mend it, then run the same command again") from error
        return np.ascontiguousarray(image[:, :, ::-1]) if self._preprocess.channel_order == "bgr" else image

    def _mean_image(self) -> Array:
        """The mean of all stretched training images, made once by the first process."""
        from rcnn_dist.finetune.image_crops import stretched
        from rcnn_dist.finetune.processes import wait_for_all

        url = files.join(self._training.folder, MEAN)
        if self._rank == 0 and not files.exists(url):
            images = self._training.train
            total = np.zeros((self._side, self._side, 3), np.int64)
            with ThreadPoolExecutor(self._params.loader_threads) as pool:
                for start in range(0, len(images.paths), 256):
                    numbers = range(start, min(start + 256, len(images.paths)))
                    for image in pool.map(lambda number: stretched(self._pixels(images, number), self._side), numbers):
                        total += image
            save_tensors(url, {"mean": (total / len(images.paths)).astype(np.float32)}, {"images": images.digest()})
        wait_for_all()
        return load_tensors(url)[0]["mean"]


def _as_batch(parts: list[Array]) -> Array:
    """float32 [B, 3, S, S]."""
    return np.ascontiguousarray(np.stack(parts).transpose(0, 3, 1, 2), dtype=np.float32)
