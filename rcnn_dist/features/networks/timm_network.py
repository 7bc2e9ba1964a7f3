"""Any model of timm (extra: timm)."""

from importlib import import_module
from typing import Any

from rcnn_dist.errors import ConfigError
from rcnn_dist.features.networks.base import load_into, preprocess_of
from rcnn_dist.features.networks.spec import NetworkParams
from rcnn_dist.features.networks.tapped import TappedNetwork


def build(params: NetworkParams) -> TappedNetwork:
    """The model after `timm:`, with the pixels that its own configuration states, its weights from a file or random.

    Raises:
        ConfigError: timm is not installed or has no such model, or the weights do not fit: nothing is downloaded.
    """
    try:
        timm: Any = import_module("timm")
    except ImportError as error:
        raise ConfigError(f"network {params.name} needs an extra that is not installed: pip install 'rcnn-dist[timm]'") from error
    model_name = params.name.partition(":")[2]
    if not timm.is_model(model_name):
        raise ConfigError(f"network {params.name}: timm has no such model; timm.list_models() names those it has")
    model = timm.create_model(model_name, pretrained=False, **params.kwargs)
    if params.weights is not None:
        load_into(model, params.weights, params.name)
    about = model.pretrained_cfg
    mean, std = (tuple(255.0 * value for value in about[key]) for key in ("mean", "std"))
    return TappedNetwork(params.name, preprocess_of(params, about["input_size"][-1], mean, std), model, params.taps, params.pool)
