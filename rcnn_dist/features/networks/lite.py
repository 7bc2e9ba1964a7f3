"""EfficientNet-Lite0 with ImageNet weights: small, good on a CPU, one feature layer."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.nn.utils.fusion import fuse_conv_bn_eval

from rcnn_dist.features.networks.base import Network, Preprocess, load_into, preprocess_of
from rcnn_dist.features.networks.for_cpu import RectifiedConv, has_onednn
from rcnn_dist.features.networks.spec import NetworkParams, lite_weights_file


class LiteNetwork(Network):
    """One layer, `pooled` [1280]: the last feature map averaged over space."""

    def __init__(self, name: str, preprocess: Preprocess, model: Any) -> None:
        super().__init__(name, preprocess, {"pooled": 1280})
        self.model = model

    def forward(self, batch: Float[Tensor, "B 3 S S"], layers: tuple[str, ...]) -> dict[str, Float[Tensor, "B _"]]:
        pooled = self.model.extract_features(batch).mean((2, 3), dtype=torch.float32)
        return dict.fromkeys(layers, pooled)

    def prepare_for_cpu(self, batch_size: int) -> None:  # noqa: ARG002
        if not has_onednn():
            return
        for owner, name, _ in _convolutions(self.model):
            if name != "_project_conv":  # the only one without a ReLU
                setattr(owner, name, RectifiedConv(getattr(owner, name), highest=6.0))
        for owner in (self.model, *self.model._blocks):
            owner._swish = nn.Identity()


def build(params: NetworkParams) -> LiteNetwork:
    """The network for any input size; `weights` may name another state-dict file of the same model.

    Raises:
        ConfigError: the extra `lite` is not installed, or the weights do not fit.
    """
    weights = params.weights or str(lite_weights_file())
    from efficientnet_lite_pytorch import EfficientNet

    preprocess = preprocess_of(params, 224, mean=(127.0, 127.0, 127.0), std=(128.0, 128.0, 128.0))
    model = EfficientNet.from_name("efficientnet-lite0", image_size=preprocess.input_size)
    load_into(model, weights, params.name)
    model.eval()
    for owner, conv_name, norm_name in _convolutions(model):
        _merge(owner, conv_name, norm_name)
    for module in model.modules():
        if isinstance(module, nn.ReLU6):
            module.inplace = True
    return LiteNetwork(params.name, preprocess, model)


def _convolutions(model: Any) -> list[tuple[nn.Module, str, str]]:
    """Every convolution as its owner, its name there, and that of the normalisation behind it."""
    names = (("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2"))
    in_blocks = [(block, *pair) for block in model._blocks for pair in names if hasattr(block, pair[0])]
    return [(model, "_conv_stem", "_bn0"), *in_blocks, (model, "_conv_head", "_bn1")]


def _merge(owner: nn.Module, conv_name: str, norm_name: str) -> None:
    """Put one ordinary convolution in the place of a padding, a convolution and a batch normalisation: half the time on a CPU.

    TensorFlow's "same" padding may be one pixel wider at the end than at the start; a convolution pads both sides alike, so the kernel
    gets a leading row and column of zeros that falls on the extra pixel.
    """
    fused = fuse_conv_bn_eval(getattr(owner, conv_name), getattr(owner, norm_name))
    start, end, *_ = getattr(fused.static_padding, "padding", (0, 0))
    kernel = pad(fused.weight.detach(), (end - start, 0, end - start, 0))
    height, width = kernel.shape[2:]
    conv = nn.Conv2d(fused.in_channels, fused.out_channels, (height, width), fused.stride, end, groups=fused.groups)
    conv.weight, conv.bias = nn.Parameter(kernel), fused.bias
    setattr(owner, conv_name, conv)
    setattr(owner, norm_name, nn.Identity())
