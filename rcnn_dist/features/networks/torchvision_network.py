"""Any classification network of torchvision."""

from pathlib import Path

import torch
import torchvision

from rcnn_dist.errors import ConfigError
from rcnn_dist.features.networks.base import load_into, preprocess_of
from rcnn_dist.features.networks.spec import NetworkParams, is_file_name
from rcnn_dist.features.networks.tapped import TappedNetwork

IMAGENET_MEAN = (123.675, 116.28, 103.53)  # torchvision's, on the 0 to 255 scale
IMAGENET_STD = (58.395, 57.12, 57.375)


def build(params: NetworkParams) -> TappedNetwork:
    """The model after `torchvision:`, with weights of a file, with torchvision's own from its cache, or random.

    Raises:
        ConfigError: no such model or weights, or the file of the weights is not there: nothing is downloaded.
    """
    model_name = params.name.partition(":")[2]
    if model_name not in torchvision.models.list_models():
        raise ConfigError(f"network {params.name}: torchvision has no such model; torchvision.models.list_models() names those it has")
    model = torchvision.models.get_model(model_name, weights=None, **params.kwargs)
    if params.weights is not None:
        load_into(model, params.weights if is_file_name(params.weights) else _cached_file(model_name, params.weights), params.name)
    preprocess = preprocess_of(params, 224, IMAGENET_MEAN, IMAGENET_STD)
    return TappedNetwork(params.name, preprocess, model, params.taps, params.pool)


def _cached_file(model_name: str, weights_name: str) -> str:
    choices = torchvision.models.get_model_weights(model_name).__members__
    if weights_name not in choices:
        raise ConfigError(f"network torchvision:{model_name} has no weights {weights_name!r}: use {', '.join(choices)} or a file")
    url = choices[weights_name].url
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not path.is_file():
        raise ConfigError(f"network torchvision:{model_name}: the weights {weights_name} are not at {path}: put {url} there")
    return str(path)
