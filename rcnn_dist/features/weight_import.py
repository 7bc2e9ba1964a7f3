"""Weights of other programs, written once as safetensors that say where they come from.

Sources are Caffe's `.caffemodel`, and state dicts (`.pth`, `.pt`, `.bin`, `.safetensors`): torchvision's and timm's VGG16 for `onet`, or
those of the very network that they are imported for. Nothing is unpickled, nothing is downloaded.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from rcnn_dist.arrays import Array
from rcnn_dist.errors import ConfigError
from rcnn_dist.features.caffe_import.model import read_caffe_model, read_mean_image
from rcnn_dist.features.networks import onet, tnet
from rcnn_dist.features.networks.base import Network, check_shapes, read_state
from rcnn_dist.features.networks.spec import NetworkParams, build_network
from rcnn_dist.features.networks.torchvision_network import IMAGENET_MEAN, IMAGENET_STD
from rcnn_dist.features.networks.weight_files import MEAN_IMAGE, about_metadata, read_about

_STATE_DICT_SUFFIXES = (".pth", ".pt", ".bin", ".safetensors")
_CLASSIFIERS = ("fc8", "classifier.6", "head.")  # the last layer, which features have no use for
_WITH_WEIGHTS = ("tiny", "lite")
_CHAINS = {"tnet": tnet, "onet": onet}
_CAFFE_PIXELS = {"channel_order": "bgr", "std": (1.0, 1.0, 1.0)}
_TORCHVISION_PIXELS = {"channel_order": "rgb", "mean": IMAGENET_MEAN, "std": IMAGENET_STD}


def import_weights(source: str, network: str, out: str, mean: str | None = None) -> dict[str, Any]:
    """Reads weights, checks every tensor against the network, writes one file; what the file says of itself.

    Raises:
        ConfigError: a file cannot be read, or the weights are of another network: the message names the first layer that differs.
    """
    if network in _WITH_WEIGHTS:
        raise ConfigError(f"network {network} brings its weights: there is nothing to import")
    if missing := [path for path in (source, mean) if path is not None and not Path(path).is_file()]:
        raise ConfigError(f"there is no file {missing[0]}")
    reads_caffe = Path(source).suffix not in _STATE_DICT_SUFFIXES
    shapes = network_shapes(network)
    try:
        tensors, preprocess = (_read_caffe if reads_caffe else _read_state_dict)(source, network, shapes)
        check_shapes(shapes, tensors)
        if bad := [name for name in shapes if not tensors[name].isfinite().all()]:
            raise ValueError(f"{bad[0]} has values that are not finite")
    except ConfigError:
        raise
    except Exception as error:  # unpickling, safetensors and torch each raise their own, without a common base
        raise ConfigError(f"{source} is not a file of {network}'s weights: {error}") from error
    about = {
        "network": network,
        "source": _provenance(source) | {"format": "caffe" if reads_caffe else "state dict"},
        "preprocess": preprocess,
    }
    if mean is not None:
        if not reads_caffe:
            raise ConfigError("--mean belongs to Caffe models of tnet and onet; give network.mean in the configuration of others")
        tensors[MEAN_IMAGE] = torch.from_numpy(read_mean_image(mean))
        about["mean"] = _provenance(mean)
    about["digest"] = tensors_digest(tensors)
    _write(out, tensors, about)
    return about


def describe_trained(tensors: Mapping[str, Array], network: Network, source: Mapping[str, Any]) -> dict[str, Any]:
    """What a file of weights that were trained here says of itself; `tensors` are all that it holds."""
    mean = {} if MEAN_IMAGE in tensors else {"mean": network.preprocess.mean.tolist()}
    pixels = {"channel_order": network.preprocess.channel_order, "std": network.preprocess.std.tolist(), **mean}
    digest = tensors_digest({name: torch.from_numpy(array) for name, array in tensors.items()})
    return {"network": network.name, "source": {**source, "format": "trained here"}, "preprocess": pixels, "digest": digest}


def verify_weights(path: str) -> list[str]:
    """What is wrong with an imported file: nothing where it is whole.

    Raises:
        ConfigError: the file cannot be read, or is none that an import wrote.
    """
    try:
        about = read_about(path)
    except ConfigError as error:
        if Path(path).is_file():
            return [str(error)]
        raise
    if "digest" not in about:
        raise ConfigError(f"{path} was not written by `rcnn-dist weights import`: there is nothing to verify it against")
    tensors = load_file(path)
    problems = [] if tensors_digest(tensors) == about["digest"] else [f"{path}: the tensors are not those that were imported"]
    tensors.pop(MEAN_IMAGE, None)
    try:
        check_shapes(network_shapes(about["network"]), tensors)
    except ValueError as error:
        problems.append(f"{path}: {error}")
    return problems


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """A hash of names, kinds, shapes and values."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return "sha256:" + digest.hexdigest()


def network_shapes(network: str) -> dict[str, tuple[int, ...]]:
    """Tensor -> shape, in the network's order, without its weights."""
    with torch.device("meta"):
        if network in _CHAINS:
            module: nn.Module = nn.ModuleDict(_CHAINS[network].modules())
        else:
            built: Any = build_network(NetworkParams(network, taps={"output": ""}))
            module = built.model
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def _read_caffe(path: str, network: str, shapes: Mapping[str, tuple[int, ...]]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a Caffe model under our names, which are Caffe's, and what its pixels must look like.

    Raises:
        ValueError: it is AlexNet, whose weights fit T-Net but which normalises before it pools; or the network is not Caffe's.
    """
    if network not in _CHAINS:
        raise ValueError("a Caffe model can only be one of tnet and onet")
    layers = read_caffe_model(path)
    names = [layer.name for layer in layers]
    if network == "tnet" and {"norm1", "pool1"} <= set(names) and names.index("norm1") < names.index("pool1"):
        raise ValueError("norm1 comes before pool1, as in AlexNet; CaffeNet pools first")
    tensors = {}
    for layer in layers:
        if layer.name.startswith(_CLASSIFIERS):
            continue
        for part, blob in zip(("weight", "bias"), layer.blobs, strict=False):
            shape = shapes.get(f"{layer.name}.{part}", ())
            legacy = (1,) * (blob.ndim - len(shape)) + shape  # before V2 a blob has four dimensions, the first ones of size 1
            tensors[f"{layer.name}.{part}"] = torch.from_numpy(blob.reshape(shape) if blob.shape == legacy else blob)
    return tensors, _CAFFE_PIXELS


def _read_state_dict(path: str, network: str, _shapes: Mapping[str, tuple[int, ...]]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a state dict under our names, and what its pixels must look like where that is not the network's own."""
    state = read_state(path)
    if network not in _CHAINS:
        return state, {}
    names = _vgg_names() if network == "onet" else {}
    is_foreign = any(key.rpartition(".")[0] in names for key in state)
    tensors = {}
    for key, tensor in state.items():
        layer, _, part = key.rpartition(".")
        if not key.startswith(_CLASSIFIERS) and key != MEAN_IMAGE:
            is_convolution = layer.startswith("pre_logits") and part == "weight"
            tensors[f"{names.get(layer, layer)}.{part}"] = (tensor.flatten(1) if is_convolution else tensor).float()
    return tensors, _TORCHVISION_PIXELS if is_foreign else _CAFFE_PIXELS


def _vgg_names() -> dict[str, str]:
    """The layers of torchvision's and timm's VGG16 (which has its fully connected layers as convolutions) -> ours."""
    names = {"classifier.0": "fc6", "classifier.3": "fc7", "pre_logits.fc1": "fc6", "pre_logits.fc2": "fc7"}
    place = 0
    for block, widths in enumerate(onet.BLOCKS, 1):
        for number in range(1, len(widths) + 1):
            names[f"features.{place}"] = f"conv{block}_{number}"
            place += 2  # a convolution and its ReLU
        place += 1  # the pooling
    return names


def _provenance(path: str) -> dict[str, str]:
    with Path(path).open("rb") as file:
        return {"file": Path(path).name, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _write(out: str, tensors: Mapping[str, Tensor], about: dict[str, Any]) -> None:
    """Writes beside the place first, so that no reader finds a part of a file."""
    path = Path(out)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"_tmp-{path.name}")
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, unfinished, metadata=about_metadata(about))
    unfinished.replace(path)
