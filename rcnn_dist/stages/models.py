"""Trained models as files: one `<class>.safetensors` per class, so that a class that comes later changes no byte of the others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import numpy as np

from rcnn_dist.arrays import Array
from rcnn_dist.detect.detector import Detector
from rcnn_dist.errors import MissingShardError
from rcnn_dist.regress.ridge import BoxRegressor
from rcnn_dist.store import files
from rcnn_dist.store.manifest import MANIFEST, read_signed, sha256_of, write_signed
from rcnn_dist.store.tensors import load_tensors, save_tensors

_REGRESSOR = ("weights", "target_mean", "whitening", "unwhitening")


@dataclass(frozen=True, slots=True)
class ClassModel:
    """What training gives one class."""

    weights: Array  # float32 [D]
    bias: float  # -inf: the class has no positives and detects nothing
    regressor: BoxRegressor | None  # None: regression is off, or no proposal overlaps an object of the class enough


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """A detector, and the mean norms that its layers' features were scaled by."""

    detector: Detector
    mean_norms: Mapping[str, float]


def read_models_manifest(folder: str) -> dict[str, Any]:
    """What `publish_models` wrote last; no files where nothing was published."""
    try:
        return read_signed(files.join(folder, MANIFEST))
    except FileNotFoundError:
        return {"files": []}


def trained_classes(folder: str) -> tuple[str, ...]:
    """The classes whose models are complete, sorted by file name."""
    return tuple(entry["class"] for entry in read_models_manifest(folder)["files"])


def publish_models(folder: str, models: Mapping[str, ClassModel], about: Mapping[str, Any], manifest: Mapping[str, Any]) -> None:
    """Writes the file of each class, then a manifest that names these classes and those that were there before.

    Law: the files and the names in the manifest are the same whether classes are published together or one after the other.
    """
    entries = {entry["name"]: entry for entry in read_models_manifest(folder)["files"]}
    for class_name, model in models.items():
        name = _file_name(class_name)
        save_tensors(files.join(folder, name), _tensors(model), {**about, "class": class_name})
        entries[name] = {"class": class_name, "name": name, "sha256": sha256_of(files.join(folder, name))}
    write_signed(files.join(folder, MANIFEST), {**manifest, "files": [entries[name] for name in sorted(entries)]})


def load_model(folder: str, classes: Sequence[str]) -> TrainedModel:
    """The detector of some classes, in their order.

    Raises:
        MissingShardError: a class has not been trained.
        DamagedFileError: a file is not a model.
    """
    if missing := sorted(set(classes) - set(trained_classes(folder))):
        raise MissingShardError(f"{folder} holds no model of class '{missing[0]}': run the stage train first")
    loaded = [load_tensors(files.join(folder, _file_name(name))) for name in classes]
    weights = np.stack([tensors["weights"] for tensors, _ in loaded])
    biases = np.concatenate([tensors["bias"] for tensors, _ in loaded])
    regressors = {
        index: BoxRegressor(*(np.asarray(tensors[f"regressor.{field}"]) for field in _REGRESSOR))
        for index, (tensors, _) in enumerate(loaded)
        if "regressor.weights" in tensors
    }
    return TrainedModel(Detector(tuple(classes), weights, biases, regressors), loaded[0][1]["mean_norms"])


def _tensors(model: ClassModel) -> dict[str, Array]:
    regressor = {f"regressor.{field}": getattr(model.regressor, field) for field in _REGRESSOR} if model.regressor else {}
    return {"weights": model.weights, "bias": np.array([model.bias], np.float32), **regressor}


def _file_name(class_name: str) -> str:
    return f"{quote(class_name, safe=' ')}.safetensors"  # a name may hold a slash
