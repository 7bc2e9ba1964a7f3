"""Files of weights: where `weights: auto` looks, what an imported file says of itself. Loads no torch.

An imported file is safetensors: the network's tensors, where there is one the mean image as `preprocess.mean`, and one JSON object that
says which network it is of, what it was made from (with its sha256), what its pixels must look like, and a digest of the tensors.
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from rcnn_dist.arrays import Array
from rcnn_dist.errors import ConfigError

AUTO = "auto"
FOLDERS_VARIABLE = "RCNN_DIST_WEIGHTS"
MEAN_IMAGE = "preprocess.mean"  # the one tensor of a file that is not the network's
_KEY = "rcnn_dist"
SOURCES = {
    "tnet": "bvlc_reference_caffenet.caffemodel of BVLC Caffe's model zoo, or the R-CNN authors' own caffe_reference_imagenet_model, "
    "and --mean imagenet_mean.binaryproto of Caffe's auxiliary ILSVRC2012 data",
    "onet": "VGG_ILSVRC_16_layers.caffemodel of Caffe's model zoo (VGG team), or torchvision's or timm's vgg16 state dict",
}


def search_folders() -> tuple[Path, ...]:
    """Where `weights: auto` looks, in this order: the folders of $RCNN_DIST_WEIGHTS, ./weights, the user's cache."""
    named = [Path(folder) for folder in os.environ.get(FOLDERS_VARIABLE, "").split(os.pathsep) if folder]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return (*named, Path("weights"), cache / "rcnn_dist" / "weights")


def file_name(network: str) -> str:
    """The file that `weights: auto` looks for: `tnet.safetensors`, `torchvision.alexnet.safetensors`."""
    return network.replace(":", ".").replace("/", ".") + ".safetensors"


def look_for_weights(network: str) -> str | None:
    """The first file of this network's weights on the search path, None where there is none."""
    paths = (folder / file_name(network) for folder in search_folders())
    return next((str(path) for path in paths if path.is_file()), None)


def find_weights(network: str) -> str:
    """As look_for_weights.

    Raises:
        ConfigError: there is none; the message says what is needed and where users get it.
    """
    if path := look_for_weights(network):
        return path
    looked = ", ".join(str(folder) for folder in search_folders())
    source = SOURCES.get(network, "a state dict of this network (.pth or .safetensors)")
    raise ConfigError(
        f"network {network}: no {file_name(network)} lies in {looked}, where `weights: auto` looks. Make it once: "
        f"rcnn-dist weights import FILE --network {network}, where FILE is {source}"
    )


def read_about(path: str) -> dict[str, Any]:
    """What an imported file says of itself; nothing of a safetensors file that another program wrote, or of one in another format.

    Raises:
        ConfigError: the file cannot be read.
    """
    if not path.endswith(".safetensors"):
        return {}
    try:
        with safe_open(path, framework="numpy") as file:
            return json.loads((file.metadata() or {}).get(_KEY, "{}"))
    except (OSError, SafetensorError, ValueError) as error:
        raise ConfigError(f"the weights {path} cannot be read ({error}): correct the path or import them again") from error


def read_tensor_shapes(path: str) -> dict[str, tuple[int, ...]]:
    """Tensor -> shape, of a safetensors file.

    Raises:
        ConfigError: the file is none.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118  not a dictionary
    except (OSError, SafetensorError) as error:
        raise ConfigError(f"{path} is no safetensors file ({error}): import it first, see rcnn-dist weights import --help") from error


def read_mean(path: str) -> Array | None:
    """The mean image [H, W, 3] of an imported file, None where it has none."""
    with safe_open(path, framework="numpy") as file:
        return np.array(file.get_tensor(MEAN_IMAGE)) if MEAN_IMAGE in file.keys() else None  # noqa: SIM118  not a dictionary


def about_metadata(about: dict[str, Any]) -> dict[str, str]:
    """The metadata of a file that says this of itself: one key, because two would have no fixed order in the file."""
    return {_KEY: json.dumps(about, sort_keys=True)}
