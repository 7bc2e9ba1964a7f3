"""Models as safetensors: named arrays and one JSON object that says what they are."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from rcnn_dist.arrays import Array
from rcnn_dist.errors import DamagedFileError, MissingShardError
from rcnn_dist.store import files

_KEY = "rcnn_dist"


def save_tensors(url: str, tensors: Mapping[str, Array], about: Mapping[str, Any]) -> None:
    """Writes arrays and their description; equal content gives equal bytes (a second metadata key would not)."""
    contiguous = {name: np.ascontiguousarray(t) for name, t in tensors.items()}
    files.write_bytes(url, save(contiguous, metadata={_KEY: json.dumps(about, sort_keys=True)}))


def load_tensors(url: str) -> tuple[dict[str, Array], dict[str, Any]]:
    """The arrays and the description of a file.

    Raises:
        MissingShardError: there is no such file.
        DamagedFileError: it is not one of ours.
    """
    try:
        data = files.read_bytes(url)
    except FileNotFoundError as error:
        raise MissingShardError(f"{url} is missing: run the stage that writes it again") from error
    try:
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        return load(data), json.loads(header["__metadata__"][_KEY])
    except (SafetensorError, KeyError, ValueError) as error:
        raise DamagedFileError(f"{url} is not a model file ({error!r}): delete it and run the stage again") from error
