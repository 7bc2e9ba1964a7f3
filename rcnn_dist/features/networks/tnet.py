"""T-Net: CaffeNet, the network of the paper's Table 2. Unlike AlexNet it pools before it normalises."""

from torch import nn

from rcnn_dist.features.networks.base import preprocess_of
from rcnn_dist.features.networks.chain import ChainNetwork, build_chain
from rcnn_dist.features.networks.channel_norm import ChannelNorm
from rcnn_dist.features.networks.spec import NetworkParams

MEAN_BGR = (104.007, 116.669, 122.679)  # of ILSVRC2012's mean image, where the image itself is not given
_BIASES_OF_ONE = ("conv2", "conv4", "conv5", "fc6", "fc7")


def build(params: NetworkParams) -> ChainNetwork:
    """Layers conv5 [256 * 13 * 13], pool5 [256 * 6 * 6], fc6 and fc7 [4096], all after their ReLU.

    Without weights they are drawn as for the paper's pre-training: Gaussian, and biases of 1 in front of half of the layers.

    Raises:
        ConfigError: the weights do not fit, or the input size does not.

    Paper: §2.1. Reference: model-defs/rcnn_batch_256_output_fc7.prototxt; BVLC/caffe, examples/imagenet.
    """
    preprocess = preprocess_of(params, 227, mean=MEAN_BGR, std=(1.0, 1.0, 1.0), channel_order="bgr")
    taps = {"conv5": "relu5", "pool5": "pool5", "fc6": "relu6", "fc7": "relu7"}
    network = build_chain(params, preprocess, modules, taps)
    if params.weights is None:
        for name, parameter in network.named_parameters():
            layer, _, kind = name.partition(".")
            if kind == "bias":
                nn.init.constant_(parameter, 1.0 if layer in _BIASES_OF_ONE else 0.0)
            else:
                nn.init.normal_(parameter, std=0.005 if layer in ("fc6", "fc7") else 0.01)
    return network


def modules() -> dict[str, nn.Module]:
    """In layers 1 and 2 the ReLU follows the max pooling: the same numbers as in front of it, from a quarter of the work."""
    return {
        "conv1": nn.Conv2d(3, 96, 11, stride=4),
        "pool1": _pool(),
        "relu1": nn.ReLU(inplace=True),
        "norm1": ChannelNorm(),
        "conv2": nn.Conv2d(96, 256, 5, padding=2, groups=2),
        "pool2": _pool(),
        "relu2": nn.ReLU(inplace=True),
        "norm2": ChannelNorm(),
        "conv3": nn.Conv2d(256, 384, 3, padding=1),
        "relu3": nn.ReLU(inplace=True),
        "conv4": nn.Conv2d(384, 384, 3, padding=1, groups=2),
        "relu4": nn.ReLU(inplace=True),
        "conv5": nn.Conv2d(384, 256, 3, padding=1, groups=2),
        "relu5": nn.ReLU(inplace=True),
        "pool5": _pool(),
        "fc6": nn.Linear(256 * 6 * 6, 4096),
        "relu6": nn.ReLU(inplace=True),
        "drop6": nn.Dropout(0.5),
        "fc7": nn.Linear(4096, 4096),
        "relu7": nn.ReLU(inplace=True),
    }


def _pool() -> nn.MaxPool2d:
    return nn.MaxPool2d(3, stride=2, ceil_mode=True)  # Caffe rounds up
