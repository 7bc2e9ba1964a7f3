"""Any network that a function of the user's returns."""

from importlib import import_module

from torch import nn

from rcnn_dist.errors import ConfigError
from rcnn_dist.features.networks.base import load_into, preprocess_of
from rcnn_dist.features.networks.spec import NetworkParams, is_file_name
from rcnn_dist.features.networks.tapped import TappedNetwork
from rcnn_dist.features.networks.torchvision_network import IMAGENET_MEAN, IMAGENET_STD


def build(params: NetworkParams) -> TappedNetwork:
    """The module that `<module>:<factory>` returns for the params' kwargs, its weights from a file where one is named.

    Raises:
        ConfigError: there is no such function, it returns no torch.nn.Module, or the weights do not fit.
    """
    module_name, _, function_name = params.name.partition(":")
    try:
        function = getattr(import_module(module_name), function_name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"network {params.name} cannot be imported ({error}): the name is <module>:<function>") from error
    model = function(**params.kwargs)
    if not isinstance(model, nn.Module):
        raise ConfigError(f"network {params.name} returns {type(model).__name__}: it must return a torch.nn.Module")
    if params.weights is not None:
        if not is_file_name(params.weights):
            raise ConfigError(f"network {params.name}: weights is {params.weights!r}: it must be a .pth, .pt or .safetensors file")
        load_into(model, params.weights, params.name)
    preprocess = preprocess_of(params, 224, IMAGENET_MEAN, IMAGENET_STD)
    return TappedNetwork(params.name, preprocess, model, params.taps, params.pool)
