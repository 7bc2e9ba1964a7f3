"""Trained models as files: `detectors.safetensors` and `regressors.safetensors`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rcnn_dist.arrays import Array
from rcnn_dist.detect.detector import Detector
from rcnn_dist.regress.ridge import BoxRegressor
from rcnn_dist.store import files
from rcnn_dist.store.tensors import load_tensors, save_tensors

DETECTORS = "detectors.safetensors"
REGRESSORS = "regressors.safetensors"


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """A detector, and the mean norms that its layers' features were scaled by."""

    detector: Detector
    mean_norms: Mapping[str, float]


def save_detectors(folder: str, classes: tuple[str, ...], weights: Array, biases: Array, about: Mapping[str, Any]) -> None:
    save_tensors(files.join(folder, DETECTORS), {"weights": weights, "biases": biases}, {**about, "classes": classes})


def save_regressors(folder: str, classes: tuple[str, ...], regressors: Mapping[int, BoxRegressor], about: Mapping[str, Any]) -> None:
    """Writes one set of tensors per class that has a regressor, named by the class's index."""
    tensors = {}
    for index, regressor in regressors.items():
        tensors[f"{index}.weights"] = regressor.weights
        tensors[f"{index}.target_mean"] = regressor.target_mean
        tensors[f"{index}.whitening"] = regressor.whitening
        tensors[f"{index}.unwhitening"] = regressor.unwhitening
    save_tensors(files.join(folder, REGRESSORS), tensors, {**about, "classes": classes})


def load_model(folder: str) -> TrainedModel:
    """Reads what the train stage wrote; regressors only where they exist.

    Raises:
        MissingShardError: the detectors are missing.
        DamagedFileError: a file is not a model.
    """
    detectors, about = load_tensors(files.join(folder, DETECTORS))
    regressors: dict[int, BoxRegressor] = {}
    if files.exists(files.join(folder, REGRESSORS)):
        tensors, _ = load_tensors(files.join(folder, REGRESSORS))
        for index in sorted({int(name.split(".")[0]) for name in tensors}):
            fields = ("weights", "target_mean", "whitening", "unwhitening")
            regressors[index] = BoxRegressor(*(np.asarray(tensors[f"{index}.{name}"]) for name in fields))
    detector = Detector(tuple(about["classes"]), detectors["weights"], detectors["biases"], regressors)
    return TrainedModel(detector, about["mean_norms"])
